from __future__ import annotations

import http.server
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from featx.errors import OutputError, SourceError
from featx.features.npy_part import FeatureFolder
from featx.system.files.folder import Folder, open_folder
from featx.system.files.local_folder import LocalFolder
from tests.folder_contract import FolderContract
from tests.s3_server import Fault, Handler, Proxy


class TestLocalFolder(FolderContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Folder:
        folder = open_folder(tmp_path)
        folder.make_folders("shards")
        return folder

    def test_created_file_whose_response_was_lost(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        """NFS repeats the request for a link, which then exists."""
        link = os.link

        def link_twice(source: Any, target: Any) -> None:
            link(source, target)
            link(source, target)

        monkeypatch.setattr(os, "link", link_twice)
        assert folder.create("shards/a", b"first")
        assert not folder.create("shards/a", b"second")
        assert folder.read("shards/a") == b"first"

    def test_without_hard_links(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_links(*args: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
        self.test_create_writes_once(folder)
        assert folder.entries() == {"shards"}

    def test_errors_name_the_file(self, folder: Folder) -> None:
        with pytest.raises(OutputError, match=r"Cannot read or write '.*/absent/a': No such file or directory. Check"):
            folder.create("absent/a", b"")
        with pytest.raises(OutputError, match=r"Cannot read or write '.*/shards': Is a directory"):
            folder.read("shards")

    def test_abandoned_files_are_removed(self, folder: Folder, tmp_path: Path) -> None:
        left = tmp_path / "shards" / ".featx-elsewhere-1-00000000-00000000.tmp"
        left.touch()
        os.utime(left, (0, 0))
        folder.remove_abandoned("shards")
        assert not left.exists()


class TestMemoryFolder(FolderContract):
    @pytest.fixture
    def folder(self) -> Folder:
        pytest.importorskip("fsspec")
        return open_folder(f"memory://folders/{uuid.uuid4().hex}")

    def test_is_not_shared(self, folder: Folder) -> None:
        assert not folder.is_shared


class TestS3Folder(FolderContract):
    @pytest.fixture
    def folder(self, s3: Proxy) -> Folder:
        return open_folder(f"s3://bucket/folders/{uuid.uuid4().hex}")

    def test_lost_response_to_create(self, folder: Folder) -> None:
        data = np.random.default_rng(0).bytes(100)
        lost = []
        send_response = Handler.send_response

        def drop(handler: Handler, status: int, message: str | None = None) -> None:
            if handler.command == "PUT" and "folders" in handler.path and not lost:
                lost.append(handler.path)
                raise ConnectionAbortedError
            send_response(handler, status, message)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Handler, "send_response", drop)
            patch.setattr(http.server.ThreadingHTTPServer, "handle_error", lambda *args: None)
            assert folder.create("a", data)
        assert lost
        assert not folder.create("a", b"other")

    @pytest.mark.parametrize(
        "body", [b"", b"<Error><Code>PreconditionFailed</Code><Message>At least one</Message></Error>"]
    )
    def test_taken_name_in_answers_of_any_server(
        self, body: bytes, folder: Folder, s3: Proxy, fault: Callable[[Fault], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """AWS alone names the condition that failed."""
        assert folder.create("a", b"first")
        monkeypatch.setattr(s3, "body", body)
        fault(lambda method, path, number: 412 if method == "PUT" else 200)
        assert not folder.create("a", b"second")
        assert folder.create("a", b"first")  # as after a lost response
        assert folder.read("a") == b"first"

    def test_conflicting_creations_are_retried(
        self, folder: Folder, s3: Proxy, fault: Callable[[Fault], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        statuses = [409, 409, 200]
        body = b"<Error><Code>ConditionalRequestConflict</Code><Message>A conflict</Message></Error>"
        monkeypatch.setattr(s3, "body", body)
        fault(lambda method, path, number: statuses.pop(0) if method == "PUT" else 200)
        assert folder.create("a", b"first")
        assert statuses == []


@pytest.mark.parametrize("url", ["s3://me:secret@bucket/job", "https://example.org/a?X-Amz-Signature=secret"])
def test_credentials_in_urls_are_refused(url: str) -> None:
    with pytest.raises(SourceError) as raised:
        open_folder(url)
    assert "secret" not in str(raised.value)


def test_file_urls_are_local(tmp_path: Path) -> None:
    assert open_folder(f"file://{tmp_path}").location == str(tmp_path)


# Listing while others write


@pytest.fixture
def vanishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a, b and c, of which b is removed while it is listed; and of a temporary file."""
    for name in ("a", "b", "c", ".featx-host-1-00000000-00000000.tmp"):
        (tmp_path / "job" / "shards" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "job" / "shards" / name).write_bytes(name.encode())
    scandir = os.scandir

    class Listed:
        def __init__(self, folder: str) -> None:
            self._entries = list(scandir(folder))
            (Path(folder) / "b").unlink(missing_ok=True)

        def __enter__(self) -> Iterator[Any]:
            return iter(self._entries)

        def __exit__(self, *error: object) -> None:
            pass

        def __iter__(self) -> Iterator[Any]:
            return iter(self._entries)

    monkeypatch.setattr(os, "scandir", Listed)
    return tmp_path / "job"


def test_removed_file_is_skipped(vanishing: Path) -> None:
    assert open_folder(vanishing).sizes("shards") == {"a": 1, "c": 1}


def test_removed_file_is_skipped_in_features(vanishing: Path) -> None:
    assert FeatureFolder(str(vanishing)).sizes("shards") == {"a": 1, "c": 1}


def test_temporary_files_are_not_listed(vanishing: Path) -> None:
    assert open_folder(vanishing).names("shards") <= {"a", "b", "c"}
    assert open_folder(vanishing).sizes("absent") == {} == FeatureFolder(str(vanishing)).sizes("shards/a")


def test_cached_listings_are_not_used() -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.get_filesystem_class("memory")

    class Caching(memory):  # type: ignore[misc, valid-type]  # a class made by a function
        """As storage of Azure: listings are cached, and `refresh` is unknown."""

        protocol = "caching"
        store: ClassVar[dict[str, Any]] = {}
        cached: ClassVar[dict[str, Any]] = {}

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.partition("://")[2].strip("/") if "://" in path else path

        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            if path not in self.cached:
                self.cached[path] = super().ls(path, detail=True)
            return self.cached[path] if detail else [entry["name"] for entry in self.cached[path]]

        def invalidate_cache(self, path: str | None = None) -> None:
            self.cached.clear()

    fsspec.register_implementation("caching", Caching, clobber=True)
    folder, features = open_folder("caching://bucket/job"), FeatureFolder("caching://bucket/job")
    for number in range(3):  # others write there
        Caching.store[f"/bucket/job/shards/{number}"] = fsspec.implementations.memory.MemoryFile(
            None, f"/bucket/job/shards/{number}", bytes(number)
        )
        expected = {str(known): known for known in range(number + 1)}
        assert folder.sizes("shards") == features.sizes("shards") == expected
        assert folder.entries() == {"shards"}


def test_local_folders_are_shared(tmp_path: Path) -> None:
    assert LocalFolder(str(tmp_path)).is_shared
