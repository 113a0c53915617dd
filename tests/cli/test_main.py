"""Help, exit codes, and standard streams."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.cli.parser import make_parser
from tests.cli.helpers import featx

COMMANDS = [
    *("extract", "compare", "rank", "train", "model", "predict", "explain", "export", "similar", "duplicates"),
    *("check", "benchmark", "demo", "backbones", "requirements", "job", "cache"),
]


JOB_COMMANDS = ["job plan", "job run", "job status", "job merge"]


CACHE_COMMANDS = ["cache info", "cache verify", "cache compact", "cache clear"]


def test_help_is_fast() -> None:
    """Processor time, not elapsed time: other processes may be busy."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "featx demo" in featx("--help").stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


@pytest.mark.parametrize("command", COMMANDS + JOB_COMMANDS + CACHE_COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = featx(*command.split(), "--help")
    assert done.returncode == 0
    assert "example" in done.stdout
    assert f"featx {command}" in done.stdout.split("example")[1]


def test_list_of_commands_is_complete() -> None:
    (commands,) = [
        action.choices for action in make_parser()._actions if isinstance(getattr(action, "choices", None), dict)
    ]
    assert list(commands) == COMMANDS


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">/dev/full"])
def test_closed_or_full_stream(closed: str) -> None:
    command = f"{sys.executable} -m featx backbones {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if closed == ">/dev/full" else 0)


LINES = [
    *("compare --help", "benchmark --help", "backbones mobilenet --layers", "extract absent", "check photos"),
    *("rank photos --backbone counting", "compare photos --backbone counting --cv 3", "cache info"),
]


def test_console_without_unicode(
    photo_folder: Path, counting: object, in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Characters of featx are spelled in ASCII, and others are escaped."""
    shutil.copytree(photo_folder, "photos")
    Path("photos/china/é.jpg").write_text("no image")
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True))
    for line in LINES:
        with contextlib.suppress(SystemExit):  # --help
            cli.main(line.split())
    written = [getattr(sys, name).buffer.getvalue().decode("ascii") for name in ("stdout", "stderr")]
    assert "mean +/- sd" in written[0]
    assert "7x7x1024" in written[0]
    assert "No such folder or file: 'absent'" in written[1]
    assert set(re.findall(r"\\(?:u|x)\w\w\w*", "".join(written))) <= {r"\xe9", r"\xe9jpg"}
    assert r"\xe9.jpg" in written[0]


def test_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m featx backbones | head -n 0"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_warning_is_one_line_on_stderr(in_folder: Path, photo_folder: Path, compiled_cache: Path) -> None:
    shutil.copytree(compiled_cache, "cache")
    Path("cache/digests.sqlite").write_bytes(b"not a database" * 100)
    done = featx("extract", photo_folder, "--cache", "cache", "--quiet")
    assert done.returncode == 0
    assert done.stderr.startswith("Warning: Cannot use the file index 'cache/digests.sqlite'")
    assert done.stderr.count("\n") == 1
