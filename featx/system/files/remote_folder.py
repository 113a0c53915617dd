"""A folder in object storage or on the web, through fsspec; see `featx.system.files.folder.Folder`."""

from __future__ import annotations

import contextlib
import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from featx.errors import FeatxError, OutputError
from featx.system.files import atomic, remote
from featx.system.files.storage_errors import error_remedy
from featx.system.files.temporary import temporary_folder

_Result = TypeVar("_Result")


class RemoteFolder:
    """A folder at a URL.

    Requests are retried where storage may answer the next time; see `featx.system.files.remote.call_with_retries`.

    Parameters
    ----------
    url : str
        URL that fsspec understands, such as ``s3://bucket/job``.

    Raises
    ------
    SourceError, MissingDependencyError
        The storage cannot be opened.
    """

    is_local = False
    poll_seconds = 10.0

    def __init__(self, url: str) -> None:
        self.location = url.rstrip("/")
        self.is_shared = not url.lower().startswith("memory://")
        self._system, root = remote.open_filesystem(url)
        self._root = root.rstrip("/")

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written here, as on the web."""
        return "http" in self._system.protocol

    def path(self, name: str = "") -> str:
        """Return the URL of a file."""
        return f"{self.location}/{name}" if name else self.location

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of a file from `start` to before `stop`, with one request."""
        data = self._cat(name, start, stop)
        # A server without range requests sends the whole file.
        return data if stop is None or len(data) <= stop - start else data[start:stop]

    def read_tail(self, name: str, n_bytes: int) -> bytes:
        """Return the last bytes of a file, or the whole file if it is shorter."""
        return self._cat(name, -n_bytes, None)

    def _cat(self, name: str, start: int, stop: int | None) -> bytes:
        """Return a part of a file. It is always a range request: without `start`, s3fs asks for the size first."""
        try:
            return bytes(self._call(name, lambda: self._system.cat_file(self._key(name), start=start, end=stop)))
        except OutputError:
            if self.size(name) == 0:  # an empty object has no range
                return b""
            raise

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of a file as an open file."""
        return io.BytesIO(self.read(name))

    def read_with(self, name: str, read: Callable[[BinaryIO], _Result]) -> _Result:
        """Return what `read` returns for the open file, of which only the parts that it reads are requested."""

        def attempt() -> _Result:
            with self._system.open(self._key(name), "rb", block_size=2**20) as file:
                return read(file)

        return self._call(name, attempt)

    @contextlib.contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        """Yield the path of a temporary copy."""
        with self.scratch("") as temporary:
            temporary.write_bytes(self.read(name))
            yield temporary

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Return the number of bytes of a file, or None if it does not exist."""
        self._system.invalidate_cache(self._key(name))
        try:
            info = self._call(name, lambda: self._system.info(self._key(name)))
        except FileNotFoundError:
            return None
        if info["type"] != "file":
            return None
        # A web server need not report the size.
        return len(self.read(name)) if info.get("size") is None else int(info["size"])

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file directly in a folder; empty if there is no such folder."""
        files = {
            str(entry["name"]).rpartition("/")[2]: int(entry.get("size") or 0)
            for entry in self._list(folder)
            if entry["type"] == "file" and not str(entry["name"]).endswith("/")
        }
        return {name: size for name, size in files.items() if not name.startswith(atomic.TEMPORARY_PREFIX)}

    def names(self, folder: str) -> set[str]:
        """Return the names of the files directly in a folder."""
        return set(self.sizes(folder))

    def entries(self) -> set[str]:
        """Return the names of all files and folders directly in this folder; empty if it does not exist."""
        return {str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in self._list("")}

    def _list(self, folder: str) -> list[dict[str, Any]]:
        """Return the entries of a folder as they are now: other clients write there, and fsspec caches listings."""

        def attempt() -> list[dict[str, Any]]:
            self._system.invalidate_cache(self._key(folder))
            return list(self._system.ls(self._key(folder), detail=True))

        try:
            return self._call(folder, attempt)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def make_folders(self, *names: str) -> None:
        """Do nothing: object storage has no folders."""

    @contextlib.contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:
        """Yield a path for a temporary local file; it is removed at the end."""
        with temporary_folder() as temporary:
            yield temporary / "file"

    def create(self, name: str, data: bytes) -> bool:
        """Write a new file, completely. Return False if the name is taken by other bytes.

        This is a conditional request (``If-None-Match: *`` in S3).
        """
        key = self._key(name)

        def attempt() -> bool:
            try:
                self._system.pipe_file(key, data, mode="create")
            except Exception as error:  # every kind of storage has its own
                if not _is_name_taken(error):
                    raise
                # An earlier attempt may have succeeded and its response may have been lost.
                return bool(self._system.cat_file(key) == data)
            return True

        return self._call(name, attempt, writing=True)

    def replace(self, name: str, temporary: Path) -> None:
        """Write a file from a local one, in place of the file that has the name."""
        self._call(name, lambda: self._system.put_file(str(temporary), self._key(name)), writing=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of the one that has the name."""
        self._call(name, lambda: self._system.pipe_file(self._key(name), data), writing=True)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._call(name, lambda: self._system.rm_file(self._key(name)))

    def remove_abandoned(self, *folders: str) -> None:
        """Do nothing: temporary files are local."""

    def refuses_overwrite(self) -> bool:
        """Return whether `create` fails if the name is taken, by creating a file twice."""
        if not self.is_shared:
            return True
        name = f"{atomic.TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        try:
            self.create(name, b"first")
            is_refused = not self.create(name, b"second")
        except OutputError as error:
            # What fsspec raises if a kind of storage has no exclusive creation.
            if isinstance(error.__cause__, NotImplementedError | TypeError):
                return False
            raise
        self.remove(name)
        return is_refused

    def _call(self, name: str, request: Callable[[], _Result], *, writing: bool = False) -> _Result:
        """Return the response of storage; turn its errors into an OutputError, but a missing file when reading."""
        try:
            return remote.call_with_retries(request)
        except (FeatxError, MemoryError):
            raise
        except Exception as error:  # every kind of storage has its own
            if isinstance(error, FileNotFoundError | FileExistsError | NotADirectoryError) and not writing:
                raise
            reason = remote.error_reason(error)
            remedy = error_remedy(reason, "Check permissions, the connection and the credentials in the environment")
            raise OutputError(
                f"Cannot read or write {self.path(name)!r}: {reason}. {remedy}, then run the same command again: "
                "completed work is kept."
            ) from error


def _is_name_taken(error: Exception) -> bool:
    """Return whether storage refuses a name because it is taken.

    fsspec raises FileExistsError only if the server names the condition that failed, as AWS does.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(response := getattr(cause, "response", None), dict):  # botocore's
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = response.get("Error", {}).get("Code")
            return bool(status == 412 or code in ("PreconditionFailed", "412"))
        cause = cause.__cause__ or cause.__context__
    return isinstance(error, FileExistsError)
