"""One interface to a folder on this machine and to a folder in object storage."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from featx.system.files.local_folder import LocalFolder
from featx.system.files.remote import is_url, local_path
from featx.system.files.remote_folder import RemoteFolder
from featx.system.files.url_secrets import check_no_secrets

_Result = TypeVar("_Result")


class Folder(Protocol):
    """A folder whose files are read, listed, and created at most once.

    Names are relative to the folder and use ``/``. `LocalFolder` and `RemoteFolder` implement it, and
    ``tests/folder_contract.py`` tests the contract on both.

    All methods raise OutputError if storage fails: it names the file, the reason and a remedy. An absent file is a
    FileNotFoundError unless the method states otherwise.

    Attributes
    ----------
    location : str
        Path or URL, for messages.
    is_local : bool
        Whether files can be opened and memory-mapped by their path.
    is_shared : bool
        Whether other processes see the same files.
    poll_seconds : float
        Recommended number of seconds between two reads of the same file.
    """

    location: str
    is_local: bool
    is_shared: bool
    poll_seconds: float

    def __hash__(self) -> int:
        """Hash by identity."""

    def path(self, name: str = "") -> str:
        """Return the path or URL of a file."""

    # Reading

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of a file from `start` to before `stop`."""

    def read_tail(self, name: str, n_bytes: int) -> bytes:
        """Return the last bytes of a file, or the whole file if it is shorter."""

    def open(self, name: str) -> BinaryIO:
        """Open a file to read all its bytes."""

    def read_with(self, name: str, read: Callable[[BinaryIO], _Result]) -> _Result:
        """Return what `read` returns for the open, seekable file, of which it reads a part only."""

    def local_copy(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Yield the path of a local file with the same bytes: the file itself if the folder is local."""

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def size(self, name: str) -> int | None:
        """Return the number of bytes of a file, or None if it does not exist."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file directly in a folder; empty if there is no such folder."""

    def names(self, folder: str) -> set[str]:
        """Return the names of the files directly in a folder, without a request for each file."""

    def entries(self) -> set[str]:
        """Return the names of all files and folders directly in this folder; empty if it does not exist."""

    # Writing

    def make_folders(self, *names: str) -> None:
        """Create folders, where storage has folders."""

    def scratch(self, folder: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a path for a temporary local file that `replace` accepts; it is removed at the end."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a new file, completely and durably. Return False if the name is taken.

        Remote storage returns True for a file with the same bytes: the response to an earlier attempt may be lost.
        """

    def replace(self, name: str, temporary: Path) -> None:
        """Give a scratch file a name, durably, in place of the file that has it."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of the one that has the name; not durably."""

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    def remove_abandoned(self, *folders: str) -> None:
        """Remove temporary files whose writer has ended."""

    def refuses_overwrite(self) -> bool:
        """Return whether `create` fails if the name is taken; storage whose answer is unknown is tested."""


def open_folder(location: str | os.PathLike[str]) -> Folder:
    """Return the folder at a path or URL. It need not exist.

    Raises
    ------
    SourceError
        The URL contains credentials, no storage has its scheme, or the package for this storage is not installed.
    MissingDependencyError
        fsspec is not installed, or aiohttp for a URL of the web.
    """
    text = os.fspath(location)
    path = local_path(text) if is_url(text) else text
    if path is not None:
        return LocalFolder(path)
    check_no_secrets(text)
    return RemoteFolder(text)
