"""Help, exit codes, and standard streams."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
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
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.split(), "--help"])
    assert ended.value.code == 0
    _, examples = capsys.readouterr().out.split("example", 1)
    assert f"featx {command}" in examples


def test_list_of_commands_is_complete() -> None:
    (commands,) = [
        action.choices for action in make_parser()._actions if isinstance(getattr(action, "choices", None), dict)
    ]
    assert list(commands) == COMMANDS


@pytest.mark.parametrize(
    ("closed", "error"),
    [
        ("<&-", ""),
        ("2>&-", ""),
        (">/dev/full", "No space left on device"),
        (">&-", "it is closed. Redirect it to a file, or to /dev/null."),
        (">&- 2>&-", "it is closed"),
    ],
)
def test_closed_or_full_stream(closed: str, error: str) -> None:
    command = f"{sys.executable} -m featx requirements --serve {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if error else 0)
    assert bool(done.stdout) is (not error)
    if "2>&-" not in closed:
        assert done.stderr.count("\n") == (1 if error else 0)
        assert done.stderr.startswith("Error: Cannot write to standard output: " if error else "")
        assert error in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        *("predict m.skops photo.jpg", "predict m.skops - --json", "model m.skops", "compare photos", "cache info"),
        *("extract photos -o f.npy", "train photos", "explain m.skops photo.jpg", "check photos", "job status job"),
    ],
)
def test_every_command_fails_before_it_works_in_vain(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_folder: Path
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(command.split()) == 1
    error = "Error: Cannot write to standard output: it is closed. Redirect it to a file, or to /dev/null.\n"
    assert capsys.readouterr().err == error


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="lists open files in /proc")
def test_no_file_becomes_a_closed_stream(tmp_path: Path) -> None:
    """Libraries print to descriptors, and must not print into a file that was opened after the start."""
    code = """
import os, sys
from featx.cli.console import open_closed_streams
open_closed_streams()
opened = open(sys.argv[1], "w")
print(*(os.readlink(f"/proc/self/fd/{number}") for number in range(3)), opened.fileno(), file=opened)
"""
    arguments = [sys.executable, "-c", code, str(tmp_path / "seen.txt")]
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *arguments], check=True)
    *streams, descriptor = (tmp_path / "seen.txt").read_text().split()
    assert streams == ["/dev/null"] * 3
    assert int(descriptor) > 2


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


def test_environment_of_the_user_changes_nothing(tmp_path: Path) -> None:
    """Variables of Python, Keras and the loader that other programs need; see test_child_process for children."""
    settings = {
        **{"PYTHONOPTIMIZE": "2", "PYTHONINSPECT": "1", "PYTHONSTARTUP": "/nonexistent", "PYTHONWARNINGS": "error"},
        **{"TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "torch", "KERAS_HOME": "/nonexistent"},
        **{"LD_PRELOAD": "/nonexistent.so", "PYTHONUNBUFFERED": "1", "COLUMNS": "x"},
    }
    images = [tmp_path / f"{level}.png" for level in (0, 100, 200)]
    for level, path in zip((0, 100, 200), images, strict=True):
        PIL.Image.new("RGB", (8, 8), (level, 10, 30)).save(path)
    command = ["extract", *images, "--backbone", "color_histogram", "--no-cache", "--json", "--quiet", "-o"]
    assert cli.main([*map(str, command), str(tmp_path / "plain.npy")]) == 0
    changed = featx(*command, tmp_path / "changed.npy", env={**os.environ, **settings}, stdin=subprocess.DEVNULL)
    assert changed.returncode == 0
    assert json.loads(changed.stdout)["rows"] == len(images)
    assert [line for line in changed.stderr.splitlines() if "ld.so" not in line] == []
    assert (tmp_path / "changed.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


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
