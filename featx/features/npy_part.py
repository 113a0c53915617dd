"""A folder of features, and the ``.npy`` files in it, of which only the rows that are needed are read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import numpy as np

from featx.errors import FeaturesError, FeaturesNotFoundError, OutputError
from featx.system.array_types import FloatArray, IntArray
from featx.system.arrays import read_npy_header
from featx.system.files.folder import open_folder
from featx.system.formatting import first_line

#: The header of a .npy file of floats is smaller than this.
_MAX_HEADER_BYTES = 1024
#: Maximum number of bytes of one request; and of unwanted bytes that are read rather than skipped with another request.
_REQUEST_BYTES, _GAP_BYTES = 32 * 2**20, 2**20

_Result = TypeVar("_Result")


class FeatureFolder:
    """A folder or URL from which features are read; errors of storage become a FeaturesError.

    Parameters
    ----------
    location : str
        Path or URL.

    Raises
    ------
    SourceError, MissingDependencyError
        See :func:`featx.system.files.folder.open_folder`.
    """

    def __init__(self, location: str) -> None:
        self._folder = open_folder(location)
        self.location = self._folder.location

    @property
    def is_local(self) -> bool:
        """Whether files can be memory-mapped."""
        return self._folder.is_local

    def path(self, name: str) -> str:
        """Return the path or URL of a file."""
        return self._folder.path(name)

    def open(self, name: str) -> BinaryIO:
        """Open a file to read all its bytes."""
        with self._errors(name):
            return self._folder.open(name)

    def read_with(self, name: str, read: Callable[[BinaryIO], _Result]) -> _Result:
        """Return the result of `read` for the open file, of which it reads a part."""
        with self._errors(name):
            return self._folder.read_with(name, read)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of a file from `start` to before `stop`."""
        with self._errors(name):
            return self._folder.read(name, start, stop)

    def read_tail(self, name: str, n_bytes: int) -> bytes:
        """Return the last bytes of a file, or the whole file if it is shorter."""
        with self._errors(name):
            return self._folder.read_tail(name, n_bytes)

    def size(self, name: str) -> int:
        """Return the number of bytes of a file."""
        with self._errors(name):
            n_bytes = self._folder.size(name)
            if n_bytes is None:
                raise FileNotFoundError(name)
            return n_bytes

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file directly in a folder; empty if there is no such folder."""
        with self._errors(folder):
            return self._folder.sizes(folder)

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FeaturesNotFoundError(f"{self.path(name)!r} does not exist. Check the path or URL.") from error
        except OutputError as error:
            raise FeaturesError(str(error)) from error


class MatrixPart:
    """The rows of one .npy file.

    Parameters
    ----------
    folder : FeatureFolder
        Folder of the file.
    name : str
        Name of the file.
    shape : tuple of (int, int), default=None
        Expected shape. None accepts any.
    remedy : str
        Remedy for a corrupt file.

    Raises
    ------
    FeaturesError
        The file is not a .npy file of a float32 matrix. With `shape`, this is checked when rows are read.
    """

    def __init__(
        self,
        folder: FeatureFolder,
        name: str,
        shape: tuple[int, int] | None = None,
        *,
        remedy: str = "Restore the file, or extract it again.",
    ) -> None:
        self._folder = folder
        self._name = name
        self._remedy = remedy
        self._header_bytes = 0  # 0 if unknown
        self.shape = shape or self._read_shape()

    @property
    def is_local(self) -> bool:
        """Whether rows are memory-mapped."""
        return self._folder.is_local

    def check_size(self, size: int | None) -> None:
        """Raise FeaturesError if a file of `size` bytes cannot hold the rows; None is a missing file."""
        n_bytes = 4 * self.shape[0] * self.shape[1]
        if size is None or not 0 < size - n_bytes <= _MAX_HEADER_BYTES:
            actual = "the file is missing" if size is None else f"it has {size:,} bytes"
            raise self._corrupt(f"{actual}; {self.shape[0]} rows of {self.shape[1]} features take {n_bytes:,}")

    def rows(self, start: int, stop: int) -> FloatArray:
        """Return the rows from `start` to before `stop`."""
        if self.is_local and start < stop:
            return np.array(self._mapped()[start:stop])
        rows = np.empty((max(0, stop - start), self.shape[1]), dtype=np.float32)
        step = max(1, _REQUEST_BYTES // (4 * max(1, self.shape[1])))
        for index in range(0, len(rows), step):
            rows[index : index + step] = self._request(start + index, min(start + index + step, stop))
        return rows

    def _request(self, start: int, stop: int) -> FloatArray:
        if not self._header_bytes:
            header = io.BytesIO(self._folder.read(self._name, 0, _MAX_HEADER_BYTES))
            self._check(*self._parse_header(header))
            self._header_bytes = header.tell()
        size = 4 * self.shape[1]
        data = self._folder.read(self._name, self._header_bytes + start * size, self._header_bytes + stop * size)
        if len(data) != (stop - start) * size:
            raise self._corrupt("it ends too early")
        return np.frombuffer(data, dtype="<f4").reshape(-1, self.shape[1])

    def take(self, numbers: IntArray) -> FloatArray:
        """Return rows by number, in that order."""
        if self.is_local and len(numbers):
            return np.asarray(self._mapped()[numbers])
        rows = np.empty((len(numbers), self.shape[1]), dtype=np.float32)
        for positions in self._nearby_groups(numbers):
            first = int(numbers[positions[0]])
            rows[positions] = self.rows(first, int(numbers[positions[-1]]) + 1)[numbers[positions] - first]
        return rows

    def _nearby_groups(self, numbers: IntArray) -> Iterator[IntArray]:
        """Yield the positions of numbers that are close to each other, sorted by number."""
        order = np.argsort(numbers, kind="stable")
        is_far = np.diff(numbers[order]) * 4 * self.shape[1] > _GAP_BYTES
        return (group for group in np.split(order, np.flatnonzero(is_far) + 1) if len(group))

    def _mapped(self) -> Any:
        try:
            rows = np.load(self._folder.path(self._name), mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise self._corrupt("the file is missing") from error
        except (OSError, ValueError, EOFError) as error:
            raise self._corrupt(first_line(error)) from error
        self._check(rows.shape, rows.flags.f_contiguous and not rows.flags.c_contiguous, rows.dtype)
        return rows

    def _read_shape(self) -> tuple[int, int]:
        header = io.BytesIO(self._folder.read(self._name, 0, _MAX_HEADER_BYTES))
        shape, is_fortran, dtype = self._parse_header(header)
        if len(shape) != 2 or dtype != np.dtype("<f4") or is_fortran:
            raise FeaturesError(
                f"Cannot read {self._folder.path(self._name)!r}: expected a float32 matrix in C order, got {dtype} of "
                f"shape {shape}. Extract it again, or save a matrix of your own with numpy.save(path, "
                "numpy.ascontiguousarray(X, dtype='float32'))."
            )
        return int(shape[0]), int(shape[1])

    def _parse_header(self, file: BinaryIO) -> tuple[tuple[int, ...], bool, Any]:
        try:
            return read_npy_header(file)
        except (ValueError, EOFError) as error:
            raise self._corrupt(first_line(error)) from error

    def _check(self, shape: tuple[int, ...], is_fortran: bool, dtype: Any) -> None:
        if shape != self.shape or dtype != np.dtype("<f4") or is_fortran:
            raise self._corrupt(f"expected float32 of shape {self.shape}, got {dtype} of shape {shape}")

    def _corrupt(self, reason: str) -> FeaturesError:
        return FeaturesError(
            f"Cannot read the rows of {self._folder.path(self._name)!r}: {reason.rstrip('.')}. {self._remedy}"
        )
