"""Where features lie: a folder or an address; and the .npy files there, of which only the rows asked for are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np

from featx import credentials, remote
from featx.errors import FeaturesError, FeaturesNotFoundError

FloatArray: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

_Result = TypeVar("_Result")
#: The header of a .npy file of floats takes no more bytes than this.
_MOST_HEADER = 1024


class Place:
    """A folder, or an address that fsspec knows; names in it are relative to it.

    Parameters
    ----------
    address : str
    """

    def __init__(self, address: str) -> None:
        self.address = remote.as_file(address) or address if remote.is_address(address) else address
        self._system: Any = None
        self._root = self.address
        if remote.is_address(self.address):
            credentials.refuse_secret(self.address)
            self._system, self._root = remote.file_system(self.address)
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
        """Open a file to read its bytes.

        Raises
        ------
        FeaturesNotFoundError, FeaturesError
        """
        return self.telling(name, lambda: self._open(name))

    def _open(self, name: str) -> BinaryIO:
        opened = open if self.is_local else self._system.open
        file: BinaryIO = opened(self.path(name), "rb")
        return file

    def read(self, name: str) -> bytes:
        """Return the bytes of a small file."""
        with self.open(name) as file:
            return self.telling(name, file.read)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the files of a folder in it, with their bytes; of one that is not there, none."""
        return self.telling(folder, lambda: self._sizes(folder))

    def _sizes(self, folder: str) -> dict[str, int]:
        try:
            if self.is_local:
                with os.scandir(self.path(folder)) as entries:
                    return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
            self._system.invalidate_cache(self.path(folder))  # others may be writing there
            found = self._system.ls(self.path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {str(one["name"]).rsplit("/", 1)[-1]: int(one["size"] or 0) for one in found if one["type"] == "file"}

    def telling(self, name: str, work: Callable[[], _Result]) -> _Result:
        """Do something; turn what storage says into an error that names the file."""
        try:
            return work()
        except FileNotFoundError as error:
            raise FeaturesNotFoundError(f"{self.at(name)!r} is not there. Check the address.") from error
        except Exception as error:  # every kind of storage has its own
            if isinstance(error, FeaturesError):
                raise
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise FeaturesError(
                f"{self.at(name)!r} cannot be read: {reason}. Check its permissions, and the connection."
            ) from error


class MatrixPart:
    """The rows of one .npy file.

    Parameters
    ----------
    place : Place
    name : str
    shape : tuple of (int, int), or None
        What it must have; None takes what there is.

    Raises
    ------
    FeaturesError
        It is no .npy file of a float32 matrix, or of another shape. With a shape, this is found out when rows are read.
    """

    def __init__(self, place: Place, name: str, shape: tuple[int, int] | None = None) -> None:
        self._place = place
        self._name = name
        self.shape = shape or self._found()[0]

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
        if start >= stop:
            return np.empty((0, self.shape[1]), dtype=np.float32)
        if self._place.is_local:
            return np.array(self._mapped()[start:stop])
        with self._place.open(self._name) as file:
            self._check(self._header(file))
            size = 4 * self.shape[1]
            file.seek(file.tell() + start * size)
            data = self._place.telling(self._name, lambda: file.read((stop - start) * size))
        if len(data) != (stop - start) * size:
            raise self._unlike("it ends too early")
        return np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(-1, self.shape[1])

    def take(self, numbers: IntArray) -> FloatArray:
        """Return rows by their numbers, in that order."""
        if self._place.is_local and len(numbers):
            return np.asarray(self._mapped()[numbers])
        first = int(numbers.min(initial=self.shape[0]))
        return self.rows(first, int(numbers.max(initial=-1)) + 1)[numbers - first]

    def _mapped(self) -> Any:
        try:
            rows = np.load(self._place.path(self._name), mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise self._unlike("no such file") from error
        except (OSError, ValueError, EOFError) as error:
            raise self._unlike(str(error)) from error
        self._check((rows.shape, rows.flags.f_contiguous and not rows.flags.c_contiguous, rows.dtype))
        return rows

    def _found(self) -> tuple[tuple[int, int], bool, Any]:
        with self._place.open(self._name) as file:
            found = self._header(file)
        (*shape,), is_fortran, dtype = found
        if len(shape) != 2 or dtype != np.dtype("<f4") or is_fortran:
            raise self._unlike(f"{dtype} of shape {tuple(shape)}, where a float32 matrix was expected")
        return (int(shape[0]), int(shape[1])), is_fortran, dtype

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
            f"{self._place.at(self._name)!r} does not hold the rows that it should: {found}. Was it replaced or cut? "
            "Bring it back, or extract it again."
        )
