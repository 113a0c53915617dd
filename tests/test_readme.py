"""What the README shows is run, and prints what the README says it prints."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.datasets.sample_images import write_sample_images
from featx.testing import registered

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _compiled(in_folder: Path, compiled_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FEATX_CACHE")
    monkeypatch.setattr(cli, "show_messages", lambda quiet: None)
    shutil.copytree(compiled_cache / "compiled", "cache/compiled")
    with registered():
        yield


def test_there_are_exactly_two_set_up_commands() -> None:
    commands = [line for _, block in BLOCKS for line in block.splitlines() if line.startswith("pip install")]
    assert commands == ["pip install . && featx demo", "pip install '.[test]' && pytest"]


def test_python_blocks_run(paths: list[str], labels: list[str]) -> None:
    names: dict[str, object] = {"paths": paths, "y": labels}
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert len(blocks) == 9
    for block in blocks:
        exec(block, names)  # the README's own code


@pytest.mark.slow
def test_command_blocks_run(
    photo_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("photos").symlink_to(photo_folder)
    # A fifth of the photos: measuring Keras takes its time.
    monkeypatch.setattr(
        "featx.datasets.sample_images.write_sample_images", functools.partial(write_sample_images, number=24)
    )
    commands = [line for _, block in BLOCKS for line in block.splitlines() if re.match(r"featx \w+.*#", line)]
    assert len(commands) == 32
    commands = [command for command in commands if not command.startswith("featx demo")]  # tests/test_cli.py runs it
    for command in commands:
        assert cli.main(command.split("#")[0].split()[1:]) == 0
        assert capsys.readouterr().out


def shown_demo() -> str:
    """Return what the README says that the demonstration prints."""
    return next(block for language, block in BLOCKS if language == "text")


def without_measurements(text: str) -> str:
    """Blank what depends on the machine: times, scores, the precision, and which estimator is best."""
    text = re.sub(r"\d+\.\d+ s, \d+ images/s \(mobilenet, \w+, \w+\)", "…", text)
    text = re.sub(r"^\*? +mobilenet +(\w+) .*$", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r"\* best: \w+ on mobilenet, .*", "best", text)
    text = re.sub(r"^\d+ labels may be wrong, .*$", "labels", text, flags=re.MULTILINE)
    text = re.sub(r"^\d+ images show in \d+ groups .*: \d+ nearly", "duplicates", text, flags=re.MULTILINE)
    return re.sub(r"ignored, \w+ would have had accuracy \d\.\d+", "naive", text)


def test_what_composes_is_shown_by_tests_that_exist() -> None:
    table = re.findall(
        r"^\| .* \| \[`(test_\w+)`\]\(tests/extraction/test_composition.py\) \|$", README, flags=re.MULTILINE
    )
    tests = re.findall(
        r"^def (test_\w+)\(",
        (Path(__file__).parent / "extraction" / "test_composition.py").read_text(),
        flags=re.MULTILINE,
    )
    assert len(table) == 16
    assert set(table) <= set(tests)
