from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from featx import files


def test_a_file_gets_its_name_when_the_block_ends(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "a") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), files.replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from featx import files\n"
        "with files.replacing(pathlib.Path(sys.argv[1]) / 'a') as temporary:\n"
        "    temporary.write_text('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with files.replacing(tmp_path / "b") as mine:
        mine.write_text("half")
        assert len(os.listdir(tmp_path)) == 2
        files.remove_abandoned(tmp_path)
        assert os.listdir(tmp_path) == [mine.name]
