"""Read images in files of arrays: ``.npz``, MNIST's IDX files, and the batches of CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import gzip
import io
import os
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from featx.errors import SourceError, UnreadableImageError
from featx.images.containers.archives import read_member, split_archive_path
from featx.images.containers.sequential import Item, SequentialReader, check_n_bytes
from featx.system.arrays import read_npy_header

#: Type of the values in an IDX file by its number.
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
#: Bytes of one image in CIFAR's binary files after one label, or two.
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_BYTES = 3072
#: Keys of the dictionaries in CIFAR's files for Python, and opcodes of pickles that hold texts or integers.
_CIFAR_KEYS = (
    *(b"batch_label", b"labels", b"fine_labels", b"coarse_labels", b"data", b"filenames"),
    *(b"label_names", b"fine_label_names", b"coarse_label_names", b"num_cases_per_batch", b"num_vis"),
)
_PICKLED_TEXT = {
    *("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_PICKLED_INTEGERS = {"BININT", "BININT1", "BININT2", "INT", "LONG1"}
_MAX_FILE_BYTES = 2**31


class ArrayFile:
    """The arrays of a file. Arrays of images are read row by row, others are loaded.

    Parameters
    ----------
    path : str
        File, also in an archive.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Shape of each array by its name. The only array of a file has the name "".
    objects : list of str
        Names of arrays of Python objects, which are not read.

    Raises
    ------
    SourceError
        The file has no arrays in a known format.
    """

    def __init__(self, path: str) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.objects: list[str] = []
        self._load: dict[str, Callable[[], Any]] = {}
        self._readers: dict[str, Callable[[int, int], Any]] = {}
        if path.lower().endswith(".npz"):
            self._open_npz(path)
        else:
            self._open_other(_read_file(path), os.path.basename(path))

    def _open_npz(self, path: str) -> None:
        file = zipfile.ZipFile(path)
        for info in file.infolist():
            if info.filename.endswith(".npy"):
                with file.open(info) as member:
                    shape, is_fortran, dtype = read_npy_header(member)
                key = info.filename.removesuffix(".npy")
                if dtype.hasobject:
                    self.objects.append(key)
                else:
                    self.shapes[key] = shape
                    self._load[key] = lambda info=info: _load_npy(file, info)  # type: ignore[misc]
                    if not is_fortran and len(shape) > 1:
                        self._readers[key] = _row_reader(file, info)

    def _open_other(self, data: bytes, name: str) -> None:
        for key, array in (_idx_arrays(data) or _cifar_binary(data, name) or _cifar_python(data)).items():
            self.shapes[key] = array.shape
            self._load[key] = lambda array=array: array  # type: ignore[misc]
            self._readers[key] = lambda row, max_bytes, array=array: array[row]  # type: ignore[misc]

    def load(self, key: str) -> np.ndarray[Any, Any]:
        """Return an array."""
        array: np.ndarray[Any, Any] = self._load[key]()
        return array

    def has(self, name: str) -> bool:
        """Return whether an array has a row: ``3`` or ``KEY/3``."""
        key, _, row = name.rpartition("/")
        return key in self._readers and int(row) < self.shapes[key][0]

    def read(self, name: str, max_bytes: int) -> np.ndarray[Any, Any]:
        """Return the pixels of an image. Raise KeyError if it does not exist."""
        if not self.has(name):
            raise KeyError(name)
        key, _, row = name.rpartition("/")
        array: np.ndarray[Any, Any] = self._readers[key](int(row), max_bytes)
        return array


def _read_file(path: str) -> bytes:
    member = None if os.path.isfile(path) else split_archive_path(path)
    if member is not None:
        data = read_member(*member, _MAX_FILE_BYTES)[0]
    else:
        check_n_bytes(os.path.getsize(path), _MAX_FILE_BYTES)
        with open(path, "rb") as file:
            data = file.read()
    if data[:2] != b"\x1f\x8b":
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as compressed:  # a small file may decompress to any size
        data = compressed.read(_MAX_FILE_BYTES + 1)
    check_n_bytes(len(data), _MAX_FILE_BYTES)
    return data


def _load_npy(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    with file.open(info) as member:
        array: np.ndarray[Any, Any] = np.lib.format.read_array(member, allow_pickle=False)
        return array


def _row_reader(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[int, int], Any]:
    """Return a function that reads one row of an array. Compressed arrays are decompressed once, in their order."""

    def walk(start: int) -> Iterator[Item]:
        with file.open(info) as member:
            shape, _, dtype = read_npy_header(member)
            n_bytes = int(np.prod(shape[1:])) * dtype.itemsize
            if start:
                member.seek(member.tell() + start * n_bytes)

            def read() -> Any:
                data = member.read(n_bytes)
                if len(data) < n_bytes:
                    raise UnreadableImageError("the array is truncated")
                return np.frombuffer(data, dtype).reshape(shape[1:])

            for row in range(start, shape[0]):
                yield Item(row, n_bytes, read)

    is_stored = info.compress_type == zipfile.ZIP_STORED
    return SequentialReader(walk, (lambda row: row) if is_stored else None).read


def _idx_arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Return the array of an IDX file, as those of MNIST. Empty: it is another file."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not 1 <= data[3] <= 4:
        return {}
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[position : position + 4], "big") for position in range(4, start, 4)]
    dtype = np.dtype(_IDX_TYPES[data[2]])
    if len(data) != start + int(np.prod(shape)) * dtype.itemsize:
        return {}
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return {"": array.astype(dtype.newbyteorder("="))}


def _cifar_binary(data: bytes, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return images and labels of a binary batch: one label byte before each image, or a coarse and a fine one."""
    if not name.lower().endswith(".bin"):
        return {}
    for n_labels in (1, 2):
        if data and len(data) % (_CIFAR_BYTES + n_labels) == 0:
            rows = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_BYTES + n_labels)
            return {"": rows[:, n_labels:].reshape(-1, *_CIFAR_SHAPE), "labels": rows[:, n_labels - 1]}
    return {}


def _cifar_python(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Return images and labels of a batch of CIFAR in Python's format.

    Raises
    ------
    SourceError
        The data is something else.
    """
    values = _pickled_values(data)
    pixels = b"".join(
        value for value in values.get("data", []) if isinstance(value, bytes) and len(value) > _CIFAR_BYTES
    )
    labels = [value for value in values.get("fine_labels") or values.get("labels", []) if isinstance(value, int)]
    if not labels or len(pixels) != _CIFAR_BYTES * len(labels):
        raise SourceError(f"expected the arrays of MNIST or CIFAR, got {len(data):,} bytes of another kind")
    images = np.frombuffer(pixels, np.uint8).reshape(-1, *_CIFAR_SHAPE)
    return {"": images, "labels": np.array(labels)}


def cifar_names(data: bytes) -> list[str]:
    """Return the class names in ``batches.meta`` or ``meta`` of CIFAR. Empty: it has none."""
    values = _pickled_values(data)
    names = values.get("fine_label_names") or values.get("label_names", [])
    return [name.decode("utf-8", "replace") for name in names if isinstance(name, bytes)]


def _pickled_values(data: bytes) -> dict[str, list[Any]]:
    """Return the numbers and bytes behind each key of CIFAR's dictionaries.

    A pickle may run any code, so that it is never loaded: the opcodes are scanned, as ``pickletools.dis`` does.
    """
    values: dict[str, list[Any]] = {}
    key = ""
    try:
        operations: Iterator[tuple[Any, Any, Any]] = pickletools.genops(data)
        for opcode, value, _ in operations:
            if opcode.name in _PICKLED_TEXT:
                content = value.encode("latin-1", "replace") if isinstance(value, str) else bytes(value)
                if content in _CIFAR_KEYS:
                    key = content.decode()
                else:
                    values.setdefault(key, []).append(content)
            elif opcode.name in _PICKLED_INTEGERS:
                values.setdefault(key, []).append(int(value))
    except ValueError:  # another file, or a truncated one
        return {}
    return values
