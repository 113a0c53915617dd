"""Where a job lies, a folder or an object store: read, list, and write names that nobody else has written."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from featx.errors import FeatxError, JobError, OutputError, SourceError
from featx.system.files import listing as listings
from featx.system.files import remote
from featx.system.files.atomic import (
    atomic_write,
    make_folder,
    remove_abandoned,
    sync_folder,
    temporary_folder,
    temporary_path,
)
from featx.system.files.url_secrets import check_no_secrets

_Result = TypeVar("_Result")
#: Bytes that are compared at a time.
_PIECE = 16 * 2**20
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class Place:
    """A folder, or a folder of an object store, in which names are written once.

    Parameters
    ----------
    address : str or Path
        ``out/``, or an address that fsspec understands: ``s3://bucket/out``.

    Attributes
    ----------
    address : str
        A local folder as a whole path.
    is_local : bool

    Raises
    ------
    JobError
        An address that cannot be used, or one with a password or signature in it.
    MissingDependencyError
        Of fsspec, or of what it needs for this kind of storage.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        text = os.fspath(address)
        if not text.strip():
            raise JobError(f"A job cannot be in {text!r}. Pass a folder, or an address such as s3://bucket/job.")
        local_path = remote.local_path(text) if remote.is_url(text) else text
        self.is_local = local_path is not None
        self._is_memory = text.lower().startswith("memory://")
        if local_path is not None:
            self.address = os.path.abspath(local_path)
            return
        try:
            check_no_secrets(text)
            self._system, self._root = remote.open_filesystem(text)
        except SourceError as error:
            raise JobError(str(error)) from error
        self._root = self._root.rstrip("/")
        self.address = text.rstrip("/")
        if "http" in self._system.protocol:
            raise JobError(
                f"A job cannot be at {self.address!r}: the web is read only. Pass a folder or an s3:// address."
            )

    @property
    def is_shared(self) -> bool:
        """Whether other processes see what is here."""
        return not self._is_memory

    def path(self, name: str = "") -> str:
        """Return where a name is, for messages and for the system."""
        return f"{self.address}/{name}" if name else self.address

    def _inside(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _asked(self, name: str, work: Callable[[], _Result], *, writes: bool = False) -> _Result:
        """Return what storage gives, tried again where it may answer; its own errors in one kind."""
        try:
            return work() if self.is_local else remote.call_with_retries(work)
        except (FeatxError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError | FileExistsError) and not writes:
                raise
            if self.is_local and not isinstance(error, OSError):
                raise
            reason = (isinstance(error, OSError) and error.strerror) or remote.error_reason(error)
            raise OutputError(
                f"{self.path(name)!r} cannot be read or written: {reason}. Check permissions, room and credentials "
                "(they are taken from the environment), and run the same again: what is done is kept."
            ) from error

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; FileNotFoundError if there is none."""
        if self.is_local:
            return self._asked(name, lambda: Path(self.path(name)).read_bytes())
        return bytes(self._asked(name, lambda: self._system.cat_file(self._inside(name))))

    def end_of(self, name: str, n_bytes: int) -> bytes:
        """Return the last bytes of a file, or all; FileNotFoundError if there is none."""
        if self.is_local:
            return self._asked(name, lambda: _end_of(self.path(name), n_bytes))
        return bytes(self._asked(name, lambda: self._system.cat_file(self._inside(name), start=-n_bytes)))

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        if self.is_local:
            return os.path.isfile(self.path(name))
        return self.size_of(name) is not None

    def size_of(self, name: str) -> int | None:
        """Return the bytes of a file; None if there is none."""
        try:
            if self.is_local:
                return self._asked(name, lambda: os.stat(self.path(name)).st_size)
            self._system.invalidate_cache(self._inside(name))
            found = self._asked(name, lambda: self._system.info(self._inside(name)))
            return int(found.get("size") or 0) if found["type"] == "file" else None
        except FileNotFoundError:
            return None

    def read_within(self, name: str, read: Callable[[IO[bytes]], _Result]) -> _Result:
        """Return what a function reads of a file, of which it needs a part."""

        def attempt() -> _Result:
            with (
                open(self.path(name), "rb")
                if self.is_local
                else self._system.open(self._inside(name), "rb", block_size=2**20) as file
            ):
                return read(file)

        return self._asked(name, attempt)

    def listed(self, folder: str) -> dict[str, int]:
        """Return the files directly in a folder, and their sizes; none if the folder is not there."""
        if self.is_local:
            return self._asked(folder, lambda: listings.sizes_in(self.path(folder)))
        return self._asked(folder, lambda: listings.sizes_at(self._system, self._inside(folder).rstrip("/")))

    def names(self, folder: str) -> set[str]:
        """Return the names of the files directly in a folder, without a look at each; none if it is not there."""
        if self.is_local:
            return self._asked(folder, lambda: listings.names_in(self.path(folder)))
        return set(self.listed(folder))

    def is_empty(self) -> bool:
        """Return whether there is nothing here."""
        if self.is_local:
            try:
                with os.scandir(self.address) as entries:
                    return next(entries, None) is None
            except FileNotFoundError:
                return True
            except OSError as error:
                raise OutputError(f"{self.address!r} cannot be listed: {error.strerror}. Choose another -o.") from error
        try:
            return not self._asked("", lambda: listings.listed_anew(self._system, self._root))
        except FileNotFoundError:
            return True

    def folders(self) -> set[str]:
        """Return the names of everything directly here."""
        if self.is_local:
            return set(self._asked("", lambda: os.listdir(self.address)))
        found = self._asked("", lambda: listings.listed_anew(self._system, self._root))
        return {str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in found}

    def prepare(self, *folders: str) -> None:
        """Make folders, where storage has such."""
        if self.is_local:
            for folder in folders:
                self._asked(folder, lambda folder=folder: make_folder(Path(self.path(folder))), writes=True)  # type: ignore[misc]

    # Writing ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:
        """Yield a name for a file on this machine, which :meth:`create_from` may publish; gone in the end."""
        if not self.is_local:
            with temporary_folder() as temporary:
                yield temporary / "file"
            return
        temporary = temporary_path(Path(self.path(folder)))
        try:
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet, whole and durably; return whether it was not."""
        if self.is_local:
            with self.scratch(os.path.dirname(name)) as temporary:
                self._asked(name, lambda: _write(temporary, data), writes=True)
                return self.create_from(name, temporary)

        return self._created(
            name,
            lambda at: self._system.pipe_file(at, data, mode="create"),
            lambda at: bool(self._system.cat_file(at) == data),
        )

    def _created(self, name: str, put: Callable[[str], object], is_same: Callable[[str], bool]) -> bool:
        """Return whether storage took a file, whose name was free."""

        def attempt() -> bool:
            try:
                put(self._inside(name))
            except Exception as error:  # every kind of storage has its own
                if not _is_taken(error):
                    raise
                # The answer to an earlier attempt may have been lost on the way, and not the data.
                return is_same(self._inside(name))
            return True

        return self._asked(name, attempt, writes=True)

    def keeps_names(self) -> bool:
        """Return whether a name that is taken is refused; storage of which that is not known is asked to take two."""
        if self.is_local or self._is_memory:
            return True
        name = f"{listings.TEMPORARY}{uuid.uuid4().hex}"
        try:
            self.create(name, b"first")
            is_refused = not self.create(name, b"second")
        except OutputError as error:
            # What fsspec raises of kinds that have no exclusive creation, or no word for it.
            if isinstance(error.__cause__, NotImplementedError | TypeError):
                return False
            raise
        self.remove(name)
        return is_refused

    def create_from(self, name: str, temporary: Path) -> bool:
        """Publish a file of this machine under a name that is not there yet; return whether it was not."""
        if not self.is_local and "s3" in self._system.protocol:  # other kinds know no condition for what is in a file
            return self._created(
                name,
                lambda at: self._system.put_file(str(temporary), at, mode="create"),
                lambda at: _is_same(self._system, at, temporary),
            )
        if not self.is_local:
            return self.create(name, temporary.read_bytes())
        return self._asked(name, lambda: _link(temporary, Path(self.path(name))), writes=True)

    def replace_from(self, name: str, temporary: Path) -> None:
        """Publish a file of this machine in place of what has the name."""
        if self.is_local:
            self._asked(name, lambda: _replace(temporary, Path(self.path(name))), writes=True)
        else:
            self._asked(name, lambda: self._system.put_file(str(temporary), self._inside(name)), writes=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a note, in place of what has the name; not durably."""
        if self.is_local:
            with self.scratch(os.path.dirname(name)) as temporary:
                self._asked(name, lambda: temporary.write_bytes(data), writes=True)
                self._asked(name, lambda: os.replace(temporary, self.path(name)), writes=True)
        else:
            self._asked(name, lambda: self._system.pipe_file(self._inside(name), data), writes=True)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            if self.is_local:
                self._asked(name, lambda: os.unlink(self.path(name)))
            else:
                self._asked(name, lambda: self._system.rm_file(self._inside(name)))

    def clear(self, folder: str) -> None:
        """Remove a folder of the job and the files in it."""
        for name in self.listed(folder):
            self.remove(f"{folder}/{name}")
        if self.is_local:
            shutil.rmtree(self.path(folder), ignore_errors=True)

    def tidy(self, *folders: str) -> None:
        """Remove temporary files whose writers are gone."""
        if self.is_local:
            for folder in folders:
                with contextlib.suppress(OSError):
                    remove_abandoned(Path(self.path(folder)))


def _is_taken(error: Exception) -> bool:
    """Return whether storage says that there is something of this name, in whatever words.

    fsspec's own error is one for a server that names the condition which failed (as AWS does), and another for others.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(response := getattr(cause, "response", None), dict):  # botocore's
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = response.get("Error", {}).get("Code")
            return bool(status == 412 or code in ("PreconditionFailed", "412"))
        cause = cause.__cause__ or cause.__context__
    return isinstance(error, FileExistsError)


def _is_same(system: Any, at: str, path: Path) -> bool:
    """Return whether an object is what a file is."""
    n_bytes = path.stat().st_size
    if system.info(at)["size"] != n_bytes:
        return False
    with open(path, "rb") as file:
        pieces = range(0, n_bytes, _PIECE)
        return all(file.read(_PIECE) == system.cat_file(at, start=start, end=start + _PIECE) for start in pieces)


def _end_of(path: str, n_bytes: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(-min(n_bytes, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read()


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link(temporary: Path, path: Path) -> bool:
    """Give a file its name if nobody has it; durably."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():  # where there are no links, two writers in one instant are told apart by nobody
            return False
        _replace(temporary, path)
    sync_folder(path.parent)
    return True


def _replace(temporary: Path, path: Path) -> None:
    """Give a file a second name, whoever has it; the first stays."""
    with atomic_write(path) as second:
        try:
            os.link(temporary, second)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.copyfile(temporary, second)
