"""A folder on this machine; see `featx.system.files.folder.Folder`."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from featx.errors import FeatxError, OutputError
from featx.system.files import atomic
from featx.system.files.atomic import make_folder, remove_abandoned, sync_folder, temporary_path

_Result = TypeVar("_Result")
#: Errors of file systems without hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class LocalFolder:
    """A folder on this machine.

    Parameters
    ----------
    path : str
        Path of the folder.
    """

    is_local = True
    is_shared = True
    poll_seconds = 0.5

    def __init__(self, path: str) -> None:
        self.location = path

    def path(self, name: str = "") -> str:
        """Return the path of a file; in the working directory its name, as users write it."""
        if not name:
            return self.location
        return name if self.location == os.curdir else os.path.join(self.location, name)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of a file from `start` to before `stop`."""
        with self._errors(name), open(self.path(name), "rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)

    def read_tail(self, name: str, n_bytes: int) -> bytes:
        """Return the last bytes of a file, or the whole file if it is shorter."""
        with self._errors(name), open(self.path(name), "rb") as file:
            file.seek(-min(n_bytes, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return file.read()

    def open(self, name: str) -> BinaryIO:
        """Open a file to read all its bytes."""
        with self._errors(name):
            return open(self.path(name), "rb")

    def read_with(self, name: str, read: Callable[[BinaryIO], _Result]) -> _Result:
        """Return what `read` returns for the open file."""
        with self._errors(name), open(self.path(name), "rb") as file:
            return read(file)

    @contextlib.contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        """Yield the path of the file itself."""
        yield Path(self.path(name))

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return os.path.isfile(self.path(name))

    def size(self, name: str) -> int | None:
        """Return the number of bytes of a file, or None if it does not exist."""
        try:
            with self._errors(name):
                return os.stat(self.path(name)).st_size
        except FileNotFoundError:
            return None

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file directly in a folder; empty if there is no such folder."""
        sizes = {}
        with self._errors(folder):
            for entry in self._files(folder):
                with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                    sizes[entry.name] = entry.stat().st_size
        return sizes

    def names(self, folder: str) -> set[str]:
        """Return the names of the files directly in a folder."""
        with self._errors(folder):
            return {entry.name for entry in self._files(folder)}

    def _files(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            entries = os.scandir(self.path(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if not entry.name.startswith(atomic.TEMPORARY_PREFIX) and entry.is_file():
                    yield entry

    def entries(self) -> set[str]:
        """Return the names of all files and folders directly in this folder; empty if it does not exist."""
        try:
            with self._errors(""):
                return set(os.listdir(self.location))
        except FileNotFoundError:
            return set()

    def make_folders(self, *names: str) -> None:
        """Create folders."""
        for name in names:
            with self._errors(name, writing=True):
                make_folder(Path(self.path(name)))

    @contextlib.contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:
        """Yield a path for a temporary file in a folder; it is removed at the end."""
        temporary = temporary_path(Path(self.path(folder)))
        try:
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def create(self, name: str, data: bytes) -> bool:
        """Write a new file, completely and durably. Return False if the name is taken."""
        path = Path(self.path(name))
        with self.scratch(os.path.dirname(name)) as temporary, self._errors(name, writing=True):
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                if not os.path.samefile(temporary, path):  # NFS repeats a request whose response was lost
                    return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if path.exists():  # without hard links, two writers at the same instant both succeed
                    return False
                os.replace(temporary, path)
            sync_folder(path.parent)
        return True

    def replace(self, name: str, temporary: Path) -> None:
        """Give a scratch file a name, durably, in place of the file that has it."""
        path = Path(self.path(name))
        with self._errors(name, writing=True):
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)

    def write(self, name: str, data: bytes) -> None:
        """Write a file in place of the one that has the name; not durably."""
        with self.scratch(os.path.dirname(name)) as temporary, self._errors(name, writing=True):
            temporary.write_bytes(data)
            os.replace(temporary, self.path(name))

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with contextlib.suppress(FileNotFoundError), self._errors(name):
            os.unlink(self.path(name))

    def remove_abandoned(self, *folders: str) -> None:
        """Remove temporary files whose writer has ended."""
        for folder in folders:
            with contextlib.suppress(OSError):
                remove_abandoned(Path(self.path(folder)))

    def refuses_overwrite(self) -> bool:
        """Return True: a link to a name that is taken fails."""
        return True

    @contextlib.contextmanager
    def _errors(self, name: str, *, writing: bool = False) -> Iterator[None]:
        """Turn an error of the system into an OutputError; a missing file is one only when writing."""
        try:
            yield
        except OSError as error:
            is_absent = isinstance(error, FileNotFoundError | FileExistsError) and not writing
            if is_absent or isinstance(error, FeatxError):
                raise
            raise OutputError(
                f"Cannot read or write {self.path(name)!r}: {error.strerror or error}. Check permissions and free "
                "space, then run the same command again: completed work is kept."
            ) from error
