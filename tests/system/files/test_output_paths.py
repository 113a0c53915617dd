from __future__ import annotations

import os
from pathlib import Path

import pytest

from featx.errors import OutputError, SourceError
from featx.system.files.output_paths import (
    as_output_error,
    check_output_file,
    check_output_files,
    check_output_folder,
    header_pattern,
    starts_with,
)

is_table = starts_with(header_pattern(["path", "label"]))


@pytest.mark.parametrize("content", [None, b"", b"path,label\n", b"path,label\r\na.jpg,cat\r\n"])
def test_new_empty_and_own_files(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    check_output_file(path, is_table)
    assert list(tmp_path.iterdir()) == [path] * (content is not None)


@pytest.mark.parametrize("content", [b"path,label,note\n", b"mine", b" path,label\n"])
def test_other_files_are_not_replaced(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(OutputError, match="was not written by featx. Choose another file."):
        check_output_file(tmp_path / "t.csv", is_table)


def test_inputs_are_not_replaced(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(b"path,label\n")
    with pytest.raises(OutputError, match="it is also an input"):
        check_output_file(table, is_table, inputs=["absent", str(tmp_path / "." / "t.csv")])


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_folders_and_pipes(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        check_output_file(tmp_path, is_table)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="it is a device or a pipe"):
        check_output_file(tmp_path / "pipe", is_table)


def test_absent_parent_is_not_created(tmp_path: Path) -> None:
    """It may be misspelled."""
    absent = tmp_path / "absent"
    with pytest.raises(OutputError, match="there is no folder '.*absent'. Create it, or choose another file."):
        check_output_file(absent / "t.csv", is_table)
    for name in ("model", "model/"):
        with pytest.raises(OutputError, match="there is no folder '.*absent'. Create it, or choose another folder."):
            check_output_folder(absent / name, ["model.xml"])
    assert not absent.exists()
    absent.write_text("")
    with pytest.raises(OutputError, match="'.*absent' is a file. Choose another file."):
        check_output_file(absent / "t.csv", is_table)


def test_two_outputs_with_one_path(tmp_path: Path) -> None:
    check_output_files([(None, is_table), (tmp_path / "a", is_table), (str(tmp_path / "b"), is_table)])
    with pytest.raises(OutputError, match="two outputs have this path"):
        check_output_files([(tmp_path / "a", is_table), (f"{tmp_path}/./a", is_table)])


def test_output_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    check_output_folder(folder, ["model.xml"])
    folder.mkdir()
    (folder / "model.xml").write_text("")
    check_output_folder(folder, ["model.xml"])
    (folder / "thesis.txt").write_text("")
    with pytest.raises(OutputError, match="contains 'thesis.txt'"):
        check_output_folder(folder, ["model.xml"])
    with pytest.raises(OutputError, match="a file with this name exists"):
        check_output_folder(folder / "thesis.txt", [])


def test_operating_system_errors_become_output_errors() -> None:
    with (
        pytest.raises(OutputError, match="Cannot write 'a.csv': No such file or directory. Choose"),
        as_output_error("a.csv"),
    ):
        os.listdir("absent")
    with pytest.raises(SourceError), as_output_error("a.csv"):
        raise SourceError("unchanged")
