"""Where features lie: a folder or an address; and the .npy files there, of which only the rows asked for are read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import numpy as np

from featx.errors import FeaturesError, FeaturesNotFoundError
from featx.system.array_types import FloatArray, IntArray
from featx.system.files import listing as listings
from featx.system.files import remote
from featx.system.files.url_secrets import check_no_secrets

_Result = TypeVar("_Result")
#: The header of a .npy file of floats takes no more bytes than this.
_MOST_HEADER = 1024
#: Of an address, no more bytes than this are asked for at a time; and so many that nobody wants are fetched rather than
#: asked past.
_REQUEST_BYTES, _GAP_BYTES = 32 * 2**20, 2**20


class FeaturePlace:
    """A folder, or an address that fsspec knows, to read from; names in it are relative to it.

    Reading from an address is retried, see :func:`featx.system.files.remote.call_with_retries`.

    Parameters
    ----------
    address : str
    """

    def __init__(self, address: str) -> None:
        self.address = remote.local_path(address) or address if remote.is_url(address) else address
        self._system: Any = None
        self._root = self.address
        if remote.is_url(self.address):
            check_no_secrets(self.address)
            self._system, self._root = remote.open_filesystem(self.address)
            self._root = self._root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disks."""
        return self._system is None

    def at(self, name: str) -> str:
        """Return what to call something in it."""
        return os.path.join(self.address, name) if self.is_local else f"{self.address.rstrip('/')}/{name}"

    def path(self, name: str) -> str:
        """Return the path of something in it, as the system wants it."""
        return os.path.join(self._root, name) if self.is_local else f"{self._root}/{name}"

    def open(self, name: str) -> BinaryIO:
        """Open a file to read its bytes; of an address, all of them are fetched.

        Raises
        ------
        FeaturesNotFoundError, FeaturesError
        """
        if self.is_local:
            return self._asked(name, lambda: open(self.path(name), "rb"))
        return io.BytesIO(self.read(name))

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of a file, or those from one place to before another.

        Raises
        ------
        FeaturesNotFoundError, FeaturesError
        """
        return self._asked(name, lambda: self._read(name, start, stop))

    def _read(self, name: str, start: int, stop: int | None) -> bytes:
        if self.is_local:
            with open(self.path(name), "rb") as file:
                file.seek(start)
                return file.read(-1 if stop is None else stop - start)
        data = bytes(self._system.cat_file(self.path(name), start=start, end=stop))  # one request
        # Not every server knows ranges: some send all there is.
        return data if stop is None or len(data) <= stop - start else data[start:stop]

    def size_of(self, name: str) -> int:
        """Return the bytes of a file."""
        if self.is_local:
            return self._asked(name, lambda: os.stat(self.path(name)).st_size)
        size = self._asked(name, lambda: self._system.info(self.path(name)))["size"]
        return len(self.read(name)) if size is None else int(size)  # a server of the web need not say it

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the files of a folder in it, with their bytes; of one that is not there, none."""
        return self._asked(folder, lambda: self._sizes(folder))

    def _sizes(self, folder: str) -> dict[str, int]:
        try:
            path = self.path(folder)
            return listings.sizes_in(path) if self.is_local else listings.sizes_at(self._system, path)
        except NotADirectoryError:
            return {}

    def _asked(self, name: str, work: Callable[[], _Result]) -> _Result:
        """Return what storage gives; turn its own errors into one that names the file."""
        try:
            return work() if self.is_local else remote.call_with_retries(work)
        except FileNotFoundError as error:
            raise FeaturesNotFoundError(f"{self.at(name)!r} is not there. Check the address.") from error
        except MemoryError:
            raise
        except Exception as error:  # every kind of storage has its own
            reason = getattr(error, "strerror", None) or remote.error_reason(error)
            credentials = "" if self.is_local else ", and the credentials: they are taken from the environment"
            raise FeaturesError(
                f"{self.at(name)!r} cannot be read: {reason.rstrip('.')}. Check its permissions and the connection"
                f"{credentials}."
            ) from error


class MatrixPart:
    """The rows of one .npy file.

    Parameters
    ----------
    place : FeaturePlace
    name : str
    shape : tuple of (int, int), or None
        What it must have; None takes what there is.
    remedy : str
        What to do if it is damaged.

    Raises
    ------
    FeaturesError
        It is no .npy file of a float32 matrix, or of another shape. With a shape, this is found out when rows are read.
    """

    def __init__(
        self,
        place: FeaturePlace,
        name: str,
        shape: tuple[int, int] | None = None,
        *,
        remedy: str = "Bring it back, or extract it again.",
    ) -> None:
        self._place = place
        self._name = name
        self._remedy = remedy
        self._header_bytes = 0  # unknown
        self.shape = shape or self._found()

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disks."""
        return self._place.is_local

    def check_size(self, size: int | None) -> None:
        """Raise if a file of so many bytes cannot hold its rows."""
        n_bytes = 4 * self.shape[0] * self.shape[1]
        if size is None or not 0 < size - n_bytes <= _MOST_HEADER:
            found = "no such file" if size is None else f"{size:,} bytes"
            raise self._unlike(f"{found}; {self.shape[0]} rows of {self.shape[1]} features take {n_bytes:,}")

    def rows(self, start: int, stop: int) -> FloatArray:
        """Return the rows from one number to before another."""
        if self._place.is_local and start < stop:
            return np.array(self._mapped()[start:stop])
        found = np.empty((max(0, stop - start), self.shape[1]), dtype=np.float32)
        step = max(1, _REQUEST_BYTES // (4 * max(1, self.shape[1])))
        for at in range(0, len(found), step):
            found[at : at + step] = self._fetched(start + at, min(start + at + step, stop))
        return found

    def _fetched(self, start: int, stop: int) -> FloatArray:
        if not self._header_bytes:
            header = io.BytesIO(self._place.read(self._name, 0, _MOST_HEADER))
            self._check(self._header(header))
            self._header_bytes = header.tell()
        size = 4 * self.shape[1]
        data = self._place.read(self._name, self._header_bytes + start * size, self._header_bytes + stop * size)
        if len(data) != (stop - start) * size:
            raise self._unlike("it ends too early")
        return np.frombuffer(data, dtype="<f4").reshape(-1, self.shape[1])

    def take(self, numbers: IntArray) -> FloatArray:
        """Return rows by their numbers, in that order."""
        if self._place.is_local and len(numbers):
            return np.asarray(self._mapped()[numbers])
        found = np.empty((len(numbers), self.shape[1]), dtype=np.float32)
        for here in self._close_together(numbers):
            first = int(numbers[here[0]])
            found[here] = self.rows(first, int(numbers[here[-1]]) + 1)[numbers[here] - first]
        return found

    def _close_together(self, numbers: IntArray) -> Iterator[IntArray]:
        """Yield where among the numbers those are that lie together, in order."""
        order = np.argsort(numbers, kind="stable")
        is_far = np.diff(numbers[order]) * 4 * self.shape[1] > _GAP_BYTES
        return (here for here in np.split(order, np.flatnonzero(is_far) + 1) if len(here))

    def _mapped(self) -> Any:
        try:
            rows = np.load(self._place.path(self._name), mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise self._unlike("no such file") from error
        except (OSError, ValueError, EOFError) as error:
            raise self._unlike(str(error)) from error
        self._check((rows.shape, rows.flags.f_contiguous and not rows.flags.c_contiguous, rows.dtype))
        return rows

    def _found(self) -> tuple[int, int]:
        found = self._header(io.BytesIO(self._place.read(self._name, 0, _MOST_HEADER)))
        (*shape,), is_fortran, dtype = found
        if len(shape) != 2 or dtype != np.dtype("<f4") or is_fortran:
            raise self._unlike(f"{dtype} of shape {tuple(shape)}, where a float32 matrix was expected")
        return int(shape[0]), int(shape[1])

    def _header(self, file: BinaryIO) -> tuple[tuple[int, ...], bool, Any]:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return read(file)
        except (ValueError, EOFError) as error:
            raise self._unlike(str(error)) from error

    def _check(self, found: tuple[tuple[int, ...], bool, Any]) -> None:
        shape, is_fortran, dtype = found
        if shape != self.shape or dtype != np.dtype("<f4") or is_fortran:
            raise self._unlike(f"{dtype} of shape {shape}, where float32 of shape {self.shape} was expected")

    def _unlike(self, found: str) -> FeaturesError:
        return FeaturesError(
            f"{self._place.at(self._name)!r} does not hold the rows that it should: {found.rstrip('.')}. Was it "
            f"replaced or cut? {self._remedy}"
        )
