"""Segments: immutable files of rows, each committed by a manifest and verified before its first use."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from featx.errors import StoreError
from featx.images.image import DIGEST_SIZE
from featx.store.layout import FORMAT, is_old_file, newer_format_error, older_format_error
from featx.system.array_types import DigestArray, FloatArray, IntArray
from featx.system.arrays import npy_header
from featx.system.files import checksummed_json
from featx.system.files.atomic import abandoned_files, atomic_write, open_regular_file, temporary_path, temporary_tags

_MANIFEST_NAME = re.compile(r"[0-9a-f]{32}\.json")
_ROWS_NAME = re.compile(r"[0-9a-f]{32}\.npy")
_BLOCK_BYTES = 2**20
_MAX_FEATURES = 2**24
_Result = TypeVar("_Result")


class CorruptSegmentError(Exception):
    """A segment is corrupt. The store catches this error and quarantines the segment.

    Parameters
    ----------
    manifest : Path
    path : Path
        The corrupt file: the manifest or the rows.
    reason : object
        Why the file is corrupt.
    """

    def __init__(self, manifest: Path, path: Path, reason: object) -> None:
        super().__init__(manifest, path, reason)
        self.manifest = manifest
        self.path = path
        self.reason = reason

    @property
    def is_committed(self) -> bool:
        """Whether the manifest still exists. Compacting and clearing remove it first, which is no corruption."""
        return os.path.lexists(self.manifest)


class Segment:
    """A committed segment.

    Parameters
    ----------
    manifest : Path
        Path of the manifest. The rows lie next to it.
    n_features : int or None, default=None
        Expected number of features. None: that of the manifest.

    Attributes
    ----------
    name : str
        File name of the manifest.
    digests : ndarray of uint8 of shape (n_rows, 16)
        Digest of the image of each row.
    n_features : int
        Number of features.
    nbytes : int
        Size of the file of rows.
    retry_seconds : tuple of float, default=(0.1, 1.0)
        Pauses before a file that the disk cannot read is read again.

    Raises
    ------
    CorruptSegmentError
        The manifest or the rows are corrupt or missing.
    StoreError
        Another version of featx wrote the segment in another format.
    OSError
        The files cannot be read now.
    """

    retry_seconds = (0.1, 1.0)

    def __init__(self, manifest: Path, n_features: int | None = None) -> None:
        self.name = manifest.name
        self.manifest = manifest
        self._path = manifest.with_suffix(".npy")
        self._is_verified = False
        self._state = self._current_state()
        with self._detecting_corruption(manifest):
            fields = self._repeat(manifest, self._load_manifest)
            self._checksum: str = fields["rows_checksum"]
            digests = np.frombuffer(bytes.fromhex(fields["digests"]), dtype=np.uint8)
            self.digests: DigestArray = digests.reshape(-1, DIGEST_SIZE)
            self.n_features = int(fields["features"])
            is_plausible = len(self.digests) >= 1 and 1 <= self.n_features <= _MAX_FEATURES
            if not is_plausible or fields["rows"] != len(self.digests) or n_features not in (None, self.n_features):
                raise ValueError(f"it declares {fields['rows']} rows of {fields['features']} features")
            self._header = npy_header((len(self.digests), self.n_features))
            self.nbytes = len(self._header) + 4 * len(self.digests) * self.n_features
        with self._detecting_corruption(self._path):
            status = os.lstat(self._path)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a regular file")
            if not fields["bytes"] == status.st_size == self.nbytes:
                raise ValueError(f"expected {self.nbytes} bytes, got {status.st_size}")

    def _load_manifest(self) -> dict[str, Any]:
        try:
            fields = checksummed_json.load(self.manifest)
        except ValueError as error:
            if is_old_file(self.manifest):
                raise older_format_error(self.manifest.parents[2]) from error
            raise
        if fields["format"] > FORMAT:
            raise newer_format_error(self.manifest, fields["format"])
        return fields

    @property
    def is_unchanged(self) -> bool:
        """Whether both files are the same as when this object was created."""
        return self._state is not None and self._state == self._current_state()

    def _current_state(self) -> tuple[int, ...] | None:
        try:
            states = [os.lstat(path) for path in (self.manifest, self._path)]
        except OSError:
            return None  # reading the files will report the reason
        return tuple(
            part for state in states for part in (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        )

    def read(self, offsets: IntArray) -> FloatArray:
        """Return the rows at some offsets. The first call verifies the checksum of the whole file.

        Files are read, not mapped: reading a mapped file that is truncated, or on a failing disk, kills the process.

        Parameters
        ----------
        offsets : ndarray of int64 of shape (n_offsets,)

        Returns
        -------
        ndarray of float32 of shape (n_offsets, n_features)

        Raises
        ------
        CorruptSegmentError, OSError
        """
        distinct, inverse = np.unique(offsets, return_inverse=True)
        return self._repeat(self._path, lambda: self._read(distinct))[inverse]

    def _read(self, distinct: IntArray) -> FloatArray:
        rows = np.empty((len(distinct), self.n_features), dtype=np.float32)
        with self._detecting_corruption(self._path), open_regular_file(self._path) as file:
            if not self._is_verified:
                self._verify(file)
            n_read = 0
            for run in np.split(distinct, np.flatnonzero(np.diff(distinct) != 1) + 1):
                if not len(run):
                    continue
                block = rows[n_read : n_read + len(run)]
                file.seek(len(self._header) + int(run[0]) * 4 * self.n_features)
                if _read_into(file, block) != block.nbytes:
                    raise EOFError("the file was truncated")
                n_read += len(run)
        return rows

    def read_all(self) -> FloatArray:
        """Return all rows, from the same bytes whose checksum was verified.

        Returns
        -------
        ndarray of float32 of shape (n_rows, n_features)

        Raises
        ------
        CorruptSegmentError, OSError
        """
        return self._repeat(self._path, self._read_all)

    def _read_all(self) -> FloatArray:
        with self._detecting_corruption(self._path), open_regular_file(self._path) as file:
            data = file.readall()
            if data[: len(self._header)] != self._header or hashlib.blake2b(data).hexdigest() != self._checksum:
                raise ValueError("the checksum does not match")
        return np.frombuffer(data, dtype="<f4", offset=len(self._header)).reshape(-1, self.n_features)

    def verify(self) -> None:
        """Verify the checksum of the file of rows.

        Raises
        ------
        CorruptSegmentError, OSError
        """
        self._repeat(self._path, self._read_to_verify)

    def _read_to_verify(self) -> None:
        with self._detecting_corruption(self._path), open_regular_file(self._path) as file:
            self._verify(file)

    def _verify(self, file: io.FileIO) -> None:
        header = file.read(len(self._header)) or b""
        if header != self._header:  # compared, never parsed: it could declare objects
            raise ValueError(f"expected a header of float32 rows of shape {self.digests.shape[0], self.n_features}")
        checksum = hashlib.blake2b(header)
        block = bytearray(_BLOCK_BYTES)
        while n_bytes := file.readinto(block):
            checksum.update(memoryview(block)[:n_bytes])
        if checksum.hexdigest() != self._checksum:
            raise ValueError("the checksum does not match")
        self._is_verified = True

    @contextlib.contextmanager
    def _detecting_corruption(self, path: Path) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except checksummed_json.CORRUPT as error:
            raise CorruptSegmentError(self.manifest, path, error) from error

    def _repeat(self, path: Path, read: Callable[[], _Result]) -> _Result:
        """Return what `read` returns, and repeat it if the disk cannot read a file: a network file system may time out.

        The file is corrupt if that lasts, but not if the manifest cannot be read either.
        """
        pauses = list(self.retry_seconds)
        while True:
            try:
                return read()
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                if not pauses:
                    if path != self.manifest:
                        self.manifest.read_bytes()
                    raise CorruptSegmentError(self.manifest, path, "the disk cannot read it") from error
            time.sleep(pauses.pop(0))


def find_manifests(folder: Path) -> set[str]:
    """Return the names of the manifests in a folder; an absent folder has none.

    During a compaction, a listing may miss both the new segment (not there yet) and the old ones (removed). So the
    folder is listed until no name of the previous listing is missing.
    """
    names: set[str] | None = None
    while True:
        previous = names
        try:
            names = set(filter(_MANIFEST_NAME.fullmatch, os.listdir(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return set()
        if previous is not None and previous <= names:
            return names


def write_segment(manifest: Path, digests: DigestArray, rows: FloatArray) -> None:
    """Write the rows, then the manifest, which commits them.

    Parameters
    ----------
    manifest : Path
        Path of the manifest.
    digests : ndarray of uint8 of shape (n_rows, 16)
    rows : ndarray of float32 of shape (n_rows, n_features)

    Raises
    ------
    OSError
        A file cannot be written. Neither file is left.
    """
    path = manifest.with_suffix(".npy")
    header = npy_header((len(rows), rows.shape[1]))
    checksum = hashlib.blake2b(header)
    checksum.update(rows.data)
    fields = {
        "format": FORMAT,
        "rows": len(rows),
        "features": rows.shape[1],
        "bytes": len(header) + rows.nbytes,
        "rows_checksum": checksum.hexdigest(),
        "digests": digests.tobytes().hex(),
    }
    try:
        # The temporary manifest exists before the rows get their name, and its tag is the name of the segment. After a
        # kill, it identifies rows without a manifest; see remove_leftovers.
        with atomic_write(manifest, tag=manifest.stem) as temporary_manifest:
            temporary_manifest.write_text(checksummed_json.dump(fields), encoding="utf-8")
            with atomic_write(path) as temporary, open(temporary, "xb") as file:
                file.write(header)
                file.write(rows.data)
    except BaseException:
        if not os.path.lexists(manifest):  # an interrupt may come just after the manifest got its name
            with contextlib.suppress(OSError):  # the first error matters more
                path.unlink()
        raise


def remove_segment(manifest: Path) -> None:
    """Remove a segment. The first step ends its commitment, and after a kill nothing is left for good."""
    temporary = temporary_path(manifest.parent, manifest.stem)
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        os.replace(manifest, temporary)
        manifest.with_suffix(".npy").unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote or removed segments left."""
    for path, tag in abandoned_files(folder):
        rows = folder / f"{tag}.npy"
        if not rows.with_suffix(".json").exists():
            rows.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def rows_without_manifest(folder: Path) -> list[Path]:
    """Return files of rows that have no manifest and that no process is writing or removing.

    A kill leaves none, see :func:`write_segment`: their manifests were lost.
    """
    candidates = [folder / name for name in os.listdir(folder) if _ROWS_NAME.fullmatch(name)]
    # A writer's temporary file exists from before the rows until the manifest does, a remover's from when the manifest
    # is gone until the rows are. Looking twice sees one of them, if the rows are looked for last.
    for _ in range(2):
        tags = temporary_tags(folder)
        candidates = [
            path
            for path in candidates
            if path.stem not in tags and not os.path.lexists(path.with_suffix(".json")) and os.path.lexists(path)
        ]
    return candidates


def _read_into(file: io.FileIO, block: FloatArray) -> int:
    """Read until the block is full or the file ends; return the number of bytes."""
    view = block.data.cast("B")
    n_read = 0
    while n_read < len(view) and (n_bytes := file.readinto(view[n_read:])):
        n_read += n_bytes
    return n_read
