"""What every folder does; a subclass provides the fixture `folder`. See `featx.system.files.folder.Folder`."""

from __future__ import annotations

import pytest

from featx.system.files.folder import Folder


class FolderContract:
    """Tests of an empty folder."""

    def test_create_writes_once(self, folder: Folder) -> None:
        assert folder.create("shards/a", b"first")
        assert not folder.create("shards/a", b"second")
        assert folder.read("shards/a") == b"first"

    def test_replace(self, folder: Folder) -> None:
        folder.create("shards/a", b"first")
        for name in ("shards/a", "shards/b"):
            with folder.scratch("shards") as temporary:
                temporary.write_bytes(b"third")
                folder.replace(name, temporary)
            assert not temporary.exists()
        assert (folder.read("shards/a"), folder.read("shards/b")) == (b"third", b"third")
        assert folder.sizes("shards") == {"a": 5, "b": 5}

    def test_write_overwrites(self, folder: Folder) -> None:
        folder.write("shards/a", b"first")
        folder.write("shards/a", b"second")
        assert folder.read("shards/a") == b"second"

    def test_read_parts(self, folder: Folder) -> None:
        folder.create("shards/a", b"0123456789")
        assert folder.read("shards/a", 2, 5) == b"234"
        assert folder.read("shards/a", 7) == b"789"
        assert folder.read_tail("shards/a", 3) == b"789"
        assert folder.read_tail("shards/a", 100) == b"0123456789"
        assert folder.read_with("shards/a", lambda file: (file.seek(4), file.read(2))[1]) == b"45"
        with folder.open("shards/a") as file:
            assert file.read() == b"0123456789"
        with folder.local_copy("shards/a") as path:
            assert path.read_bytes() == b"0123456789"

    def test_read_empty_file(self, folder: Folder) -> None:
        folder.create("shards/a", b"")
        assert folder.read("shards/a") == folder.read_tail("shards/a", 10) == b""

    def test_list(self, folder: Folder) -> None:
        folder.create("shards/a", b"12345")
        folder.create("job.json", b"{}")
        assert folder.sizes("shards") == {"a": 5}
        assert folder.names("shards") == {"a"}
        assert {"shards", "job.json"} <= folder.entries()
        assert (folder.exists("shards/a"), folder.exists("shards/b"), folder.exists("shards")) == (True, False, False)
        assert (folder.size("shards/a"), folder.size("shards/b")) == (5, None)

    def test_absent_files(self, folder: Folder) -> None:
        assert (folder.sizes("absent"), folder.names("absent")) == ({}, set())
        for name in ("shards/a", "absent/a"):
            with pytest.raises(FileNotFoundError):
                folder.read(name)
            with pytest.raises(FileNotFoundError):
                folder.read_tail(name, 1)
            with pytest.raises(FileNotFoundError):
                folder.read_with(name, lambda file: file.read())

    def test_remove(self, folder: Folder) -> None:
        folder.create("shards/a", b"1")
        folder.create("shards/b", b"2")
        folder.remove("shards/a")
        folder.remove("shards/a")
        assert folder.names("shards") == {"b"}
        folder.remove_abandoned("", "shards")

    def test_refuses_overwrite(self, folder: Folder) -> None:
        assert folder.refuses_overwrite()
        assert not any(name.startswith(".featx-") for name in folder.entries())

    def test_path(self, folder: Folder) -> None:
        assert folder.path() == folder.location
        assert folder.path("shards/a") == f"{folder.location}/shards/a"
