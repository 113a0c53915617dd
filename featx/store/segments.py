"""Committed segments: immutable rows beside a manifest that says what they are, checked before use."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.errors import StoreError
from featx.images.image import DIGEST_SIZE
from featx.store.layout import newer_format
from featx.system.array_types import DigestArray, FloatArray, IntArray
from featx.system.files import checksummed_json
from featx.system.files.atomic import abandoned_files, atomic_write, open_regular_file, temporary_path, temporary_tags

#: Layout of a segment and its manifest. Raised when an older featx could not read what a newer one
#: writes; an older one then refuses the folder instead of guessing.
FORMAT = 3

#: Names of manifests. Whatever else lies in the folder is nobody's segment.
MANIFEST = re.compile(r"[0-9a-f]{32}\.json")
#: Names of their rows.
ROWS = re.compile(r"[0-9a-f]{32}\.npy")


_BLOCK_BYTES = 2**20
_MOST_FEATURES = 2**24


class DamagedSegmentError(Exception):
    """A segment is proven to be damaged; the store catches this, and sets the segment aside.

    Parameters
    ----------
    manifest : Path
    path : Path
        What is damaged: the manifest, or the rows beside it.
    reason : object
        What is wrong.
    """

    def __init__(self, manifest: Path, path: Path, reason: object) -> None:
        super().__init__(manifest, path, reason)
        self.manifest = manifest
        self.path = path
        self.reason = reason

    @property
    def is_of_a_committed_segment(self) -> bool:
        """Whether the manifest is still there: merging and clearing remove it first, and that is no damage."""
        return os.path.lexists(self.manifest)


class Segment:
    """A committed segment: where it is, and what its manifest says of it.

    Parameters
    ----------
    manifest : Path
        The ``.json`` file; the rows lie beside it.
    n_features : int or None, default=None
        What the rows must have; None takes what the manifest says.

    Attributes
    ----------
    name : str
        File name of the manifest.
    digests : ndarray of uint8, shape (n_rows, 16)
        The digest of each row's image.
    n_features : int
        Length of a row.
    nbytes : int
        Size of the file of rows.

    Raises
    ------
    DamagedSegmentError
        The manifest or the rows are damaged or gone.
    StoreError
        A newer featx wrote it.
    OSError
        The files cannot be read just now, which says nothing about them.
    """

    def __init__(self, manifest: Path, n_features: int | None = None) -> None:
        self.name = manifest.name
        self.manifest = manifest
        self._path = manifest.with_suffix(".npy")
        self._verified = False
        self._state = self._state_now()
        with self._proving_damage(manifest):
            fields = checksummed_json.load(manifest)
            if fields["format"] > FORMAT:
                raise newer_format(manifest, fields["format"], FORMAT)
            self._checksum: str = fields["rows_checksum"]
            digests = np.frombuffer(bytes.fromhex(fields["digests"]), dtype=np.uint8)
            self.digests: DigestArray = digests.reshape(-1, DIGEST_SIZE)
            self.n_features = int(fields["features"])
            believable = len(self.digests) >= 1 and 1 <= self.n_features <= _MOST_FEATURES
            if not believable or fields["rows"] != len(self.digests) or n_features not in (None, self.n_features):
                raise ValueError(f"it holds {fields['rows']} rows of {fields['features']} features")
            self._header = _header(len(self.digests), self.n_features)
            self.nbytes = len(self._header) + 4 * len(self.digests) * self.n_features
        with self._proving_damage(self._path):
            status = os.lstat(self._path)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("its rows are not in a regular file")
            if not fields["bytes"] == status.st_size == self.nbytes:
                raise ValueError(f"it should have {self.nbytes} bytes, and has {status.st_size}")

    @property
    def is_unchanged(self) -> bool:
        """Whether both files are as they were when this was made; segments never change, unless by damage."""
        return self._state is not None and self._state == self._state_now()

    def _state_now(self) -> tuple[int, ...] | None:
        try:
            states = [os.lstat(path) for path in (self.manifest, self._path)]
        except OSError:
            return None  # whatever it is, reading the files will tell
        return tuple(part for at in states for part in (at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns))

    def read(self, offsets: IntArray) -> FloatArray:
        """Return the rows at these offsets; the first time, after comparing the whole file with its checksum.

        Files are read and not mapped: reading a mapped file that is truncated, or on a failing disk, kills the
        process.

        Parameters
        ----------
        offsets : ndarray of int64, shape (n,)

        Returns
        -------
        ndarray of float32, shape (n, n_features)

        Raises
        ------
        DamagedSegmentError, OSError
        """
        wanted, places = np.unique(offsets, return_inverse=True)
        rows = np.empty((len(wanted), self.n_features), dtype=np.float32)
        with self._proving_damage(self._path), open_regular_file(self._path) as file:
            if not self._verified:
                self._verify(file)
            done = 0
            for run in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1):
                if not len(run):
                    continue
                block = rows[done : done + len(run)]
                file.seek(len(self._header) + int(run[0]) * 4 * self.n_features)
                if _fill(file, block) != block.nbytes:
                    raise EOFError("it is shorter than it was")
                done += len(run)
        return rows[places]

    def read_all(self) -> FloatArray:
        """Return all rows, from the very bytes whose checksum was compared.

        Returns
        -------
        ndarray of float32, shape (n_rows, n_features)

        Raises
        ------
        DamagedSegmentError, OSError
        """
        with self._proving_damage(self._path), open_regular_file(self._path) as file:
            data = file.readall()
            if data[: len(self._header)] != self._header or hashlib.blake2b(data).hexdigest() != self._checksum:
                raise ValueError("its checksum does not match")
        return np.frombuffer(data, dtype="<f4", offset=len(self._header)).reshape(-1, self.n_features)

    def verify(self) -> None:
        """Compare the whole file of rows with its checksum.

        Raises
        ------
        DamagedSegmentError, OSError
        """
        with self._proving_damage(self._path), open_regular_file(self._path) as file:
            self._verify(file)

    def _verify(self, file: io.FileIO) -> None:
        found = hashlib.blake2b()
        begin = file.read(len(self._header)) or b""
        if begin != self._header:  # so nothing ever interprets a header, let alone one with objects
            raise ValueError(f"it does not begin as float32 rows of shape {self.digests.shape[0], self.n_features}")
        found.update(begin)
        block = bytearray(_BLOCK_BYTES)
        while n_bytes := file.readinto(block):
            found.update(memoryview(block)[:n_bytes])
        if found.hexdigest() != self._checksum:
            raise ValueError("its checksum does not match")
        self._verified = True

    @contextlib.contextmanager
    def _proving_damage(self, path: Path) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except checksummed_json.CORRUPT as error:
            raise DamagedSegmentError(self.manifest, path, error) from error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise DamagedSegmentError(self.manifest, path, "the disk cannot read it") from error


def find_manifests(folder: Path) -> set[str]:
    """Return the names of the manifests of a folder; of none, if it is absent.

    While segments are merged, one listing could pass over the new segment before it is there, and then over the
    old ones when they are gone. So a listing counts if none of the one before has disappeared from it.
    """
    found: set[str] | None = None
    while True:
        before = found
        try:
            found = set(filter(MANIFEST.fullmatch, os.listdir(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return set()
        if before is not None and before <= found:
            return found


def write_segment(manifest: Path, digests: DigestArray, rows: FloatArray) -> None:
    """Write rows beside the manifest, then the manifest, which commits them.

    Raises
    ------
    OSError
        Neither file is left.
    """
    path = manifest.with_suffix(".npy")
    header = _header(*rows.shape)
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
        # Both files are tagged with the segment, and the manifest's is there from before the rows have their name
        # until it has its own: after a kill it tells whose the rows without a manifest are. See remove_leftovers.
        with atomic_write(manifest, tag=manifest.stem) as committing:
            committing.write_text(checksummed_json.dump(fields), encoding="utf-8")
            with atomic_write(path) as temporary, open(temporary, "xb") as file:
                file.write(header)
                file.write(rows.data)
    except BaseException:
        if not os.path.lexists(manifest):  # an interrupt may come when it has just got its name
            with contextlib.suppress(OSError):  # what went wrong before matters more
                path.unlink()
        raise


def remove_segment(manifest: Path) -> None:
    """Remove a segment: from the first step on it is no longer committed, and any kill leaves nothing for good."""
    leaving = temporary_path(manifest.parent, manifest.stem)
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        os.replace(manifest, leaving)
        manifest.with_suffix(".npy").unlink(missing_ok=True)
        leaving.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote or removed segments have left."""
    for path, tag in abandoned_files(folder):
        rows = folder / f"{tag}.npy"
        if not rows.with_suffix(".json").exists():
            rows.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def rows_without_manifest(folder: Path) -> list[Path]:
    """Return files of rows that neither a manifest nor a temporary file, of a writer or remover, belongs to.

    A kill leaves none, see :func:`write_segment`: their manifests were lost.
    """
    suspects = [folder / name for name in os.listdir(folder) if ROWS.fullmatch(name)]
    # A writer's temporary file is there before the rows and until the manifest is; a remover's is there from when the
    # manifest is gone until the rows are. Each is seen by one of two looks, if the rows are looked for last.
    for _ in range(2):
        in_use = temporary_tags(folder)
        suspects = [
            path
            for path in suspects
            if path.stem not in in_use and not os.path.lexists(path.with_suffix(".json")) and os.path.lexists(path)
        ]
    return suspects


def _header(n_rows: int, n_features: int) -> bytes:
    """Return how the file of such rows begins."""
    header = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, n_features)}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def _fill(file: io.FileIO, block: FloatArray) -> int:
    """Read into the block until it is full or the file ends; return the number of bytes."""
    view = block.data.cast("B")
    done = 0
    while done < len(view) and (n_bytes := file.readinto(view[done:])):
        done += n_bytes
    return done
