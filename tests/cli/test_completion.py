"""Completion in real shells: the words that a TAB offers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from featx.backbones.layers import POOLINGS
from featx.baselines.builtin_baselines import TASKS
from featx.cli.completion import VALUES, _actions, _completer
from featx.cli.parser import make_parser
from featx.extraction.engines.engine import ENGINES, PRECISIONS
from featx.extraction.options import ON_TRUNCATED
from featx.features.duplicates.select import KEEP
from featx.features.search.nearest import INDEXES
from featx.images.resize import MODES
from featx.images.tta import VIEWS
from featx.jobs.running.executors import BACKENDS
from featx.models.explain.explainer import METHODS

pytest.importorskip("argcomplete")

from argcomplete.completers import SuppressCompleter

#: How the function of argcomplete is called by bash when the user presses TAB.
_BASH = """
eval "$({register} featx)"
COMP_LINE={line}; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; COMP_KEY=9
COMP_WORDS=({words}); COMP_CWORD={index}
_python_argcomplete featx
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files, and ``featx`` in the path."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "featx"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m featx "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "work"
    (work / "photos").mkdir(parents=True)
    for name in ("model.skops", "features.npy", "labels.csv"):
        (work / name).touch()
    monkeypatch.chdir(work)
    return work


def complete(line: str) -> list[str]:
    """Return what bash offers at the end of a line."""
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    register = shlex.join([sys.executable, "-m", "argcomplete.scripts.register_python_argcomplete"])
    script = _BASH.format(
        register=register,
        line=shlex.quote(line),
        words=" ".join(map(shlex.quote, words)),
        index=len(words) - 1,
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sorted(word.strip() for word in done.stdout.splitlines() if word.strip())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("featx comp", ["compare"]),
        ("featx job st", ["status"]),
        ("featx cache c", ["clear", "compact"]),
        ("featx compare photos --diag", ["--diagnostics"]),
        ("featx extract photos --backbone inception_r", ["inception_resnet_v2"]),
        ("featx backbones color", ["color_histogram"]),
        ("featx train photos --estimator lo", ["logreg"]),
        ("featx train photos --select-from logreg,k", ["logreg,knn"]),
        ("featx extract photos --pooling a", ["avg", "avgmax"]),
        ("featx extract photos --on-error ", ["raise", "skip"]),
        ("featx predict ", ["model.skops", "photos/"]),
        ("featx similar fe", ["features.npy"]),
        ("featx job run ", ["photos/"]),
        ("featx train photos --cv ", []),
    ],
)
def test_bash_offers(line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_files_are_completed_by_the_shell(folder: Path) -> None:
    assert complete("featx compare lab") in ([], ["labels.csv"])  # none: bash completes files itself


OFFERED = {
    "pooling": "avgmax",
    "precision": "bfloat16",
    "preprocessing": "caffe",
    "weights": "imagenet",
    "keep": "sharpest",
    "estimator": "zero-shot",
    "backbone": "mobilenet",
    "zip_encoding": "cp932",
    "model": "model.skops",
    "features": "features.npy",
    "prompts": "labels.csv",
    "root": "photos/",
}
#: Values that only the user knows.
NOT_OFFERED = ("layer", "label_column", "top", "search", "bands", "window", "text", "threshold", "scheduler")


def test_each_argument_offers_its_values(folder: Path) -> None:
    seen: set[str] = set()
    for action in _actions(make_parser()):
        if (completer := _completer(action)) is None:
            continue
        is_free = isinstance(completer, SuppressCompleter)
        words = [] if is_free else list(completer(prefix="", action=action, parser=None, parsed_args=None))
        seen.add(action.dest)
        assert action.dest not in OFFERED or OFFERED[action.dest] in words, (action.dest, words)
        assert action.dest not in NOT_OFFERED or words == [], (action.dest, words)
    assert seen >= {*OFFERED, *NOT_OFFERED}


def test_values_are_those_of_the_library() -> None:
    assert VALUES["pooling"] == POOLINGS
    assert VALUES["precision"] == PRECISIONS
    assert VALUES["engine"] == ENGINES
    assert VALUES["on_truncated"] == ON_TRUNCATED
    assert VALUES["index"] == INDEXES
    assert VALUES["backend"] == BACKENDS
    assert VALUES["keep"] == KEEP
    assert VALUES["method"] == METHODS
    assert VALUES["resize"] == ("native", *MODES)
    assert VALUES["task"] == TASKS
    assert set(VALUES["tta"]) == {*VIEWS, "none"}


def test_helps_name_every_value() -> None:
    helps: dict[str, str] = {}
    for action in _actions(make_parser()):
        helps[action.dest] = f"{helps.get(action.dest, '')} {action.help} {action.choices or ''}"
    for name, values in VALUES.items():
        assert not [value for value in values if not re.search(rf"\b{value}\b", helps[name])], (name, helps[name])


def test_an_ordinary_command_does_not_load_it() -> None:
    code = "import sys; from featx.cli.main import main; main(['backbones']); print('argcomplete' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_reads_its_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command = [sys.executable, "-m", "argcomplete.scripts.register_python_argcomplete", "--shell", shell, "featx"]
    script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    check = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert (check.returncode, check.stderr) == (0, "")
