"""Committed segments: what a manifest says, rows that are checked before use, and the index of digests."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from featx import files
from featx.errors import StoreError
from featx.images import DIGEST_SIZE

#: Layout of a segment and its manifest. Raised when an older featx could not read what a newer one
#: writes; an older one then refuses the folder instead of guessing.
FORMAT = 1

FloatArray: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
DigestArray: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"


class DamagedSegmentError(Exception):
    """A segment is proven to be damaged; the store catches this, and sets the segment aside.

    Parameters
    ----------
    name : str
        File name of the manifest.
    reason : object
        What is wrong.
    """

    def __init__(self, name: str, reason: object) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason


class Segment:
    """A committed segment: where it is, and what its manifest says of it.

    Parameters
    ----------
    manifest : Path
        The ``.json`` file; the rows lie beside it.
    n_features : int
        What the rows must have.

    Raises
    ------
    DamagedSegmentError
        The manifest or the rows are damaged or gone.
    StoreError
        A newer featx wrote it.
    OSError
        The files cannot be read just now, which says nothing about them.
    """

    def __init__(self, manifest: Path, n_features: int) -> None:
        self.name = manifest.name
        self._path = manifest.with_suffix(".npy")
        self._n_features = n_features
        self._verified = False
        with self._proving_damage():
            fields = json.loads(manifest.read_text(encoding="utf-8"))
            if fields["format"] > FORMAT:
                raise newer_format(manifest, fields["format"])
            if fields["seal"] != _seal(fields):
                raise ValueError("its manifest does not match its seal")
            self._checksum: str = fields["checksum"]
            digests = np.frombuffer(bytes.fromhex(fields["digests"]), dtype=np.uint8)
            self.digests: DigestArray = digests.reshape(-1, DIGEST_SIZE)
            if (fields["rows"], fields["features"]) != (len(self.digests), n_features):
                raise ValueError(f"it holds {fields['rows']} rows of {fields['features']} features")
            if self._path.stat().st_size != fields["bytes"]:
                raise ValueError(f"it should have {fields['bytes']} bytes, and has {self._path.stat().st_size}")

    def open(self) -> FloatArray:
        """Map the rows; the first time, after comparing the whole file with its checksum.

        Returns
        -------
        ndarray of float32, shape (n_rows, n_features)
        """
        with self._proving_damage():
            if not self._verified:
                with open(self._path, "rb") as file:
                    found = hashlib.file_digest(file, "blake2b").hexdigest()
                if found != self._checksum:
                    raise ValueError("its checksum does not match")
            rows: FloatArray = np.load(self._path, mmap_mode="r", allow_pickle=False)
            if rows.dtype != np.float32 or rows.shape != (len(self.digests), self._n_features):
                raise ValueError(f"it holds {rows.dtype} of shape {rows.shape}")
            self._verified = True
        return rows

    @contextlib.contextmanager
    def _proving_damage(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (FileNotFoundError, EOFError, KeyError, TypeError, ValueError) as error:
            raise DamagedSegmentError(self.name, error) from error


def newer_format(path: Path, found: object) -> StoreError:
    """Return the error for a file that a newer featx wrote."""
    return StoreError(
        f"{str(path)!r} has format {found}; this featx reads up to {FORMAT}. Upgrade featx, or choose another cache "
        "folder."
    )


def write_segment(manifest: Path, digests: DigestArray, rows: FloatArray) -> None:
    """Write rows beside the manifest, then the manifest, which commits them.

    Raises
    ------
    OSError
        Neither file is left.
    """
    path = manifest.with_suffix(".npy")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(rows))
    checksum = hashlib.blake2b(header.getvalue())
    checksum.update(rows.data)
    with files.replacing(path) as temporary, open(temporary, "xb") as file:
        file.write(header.getvalue())
        file.write(rows.data)
    fields = {
        "format": FORMAT,
        "rows": len(rows),
        "features": rows.shape[1],
        "bytes": len(header.getvalue()) + rows.nbytes,
        "checksum": checksum.hexdigest(),
        "digests": digests.tobytes().hex(),
    }
    try:
        files.write_text(manifest, json.dumps({**fields, "seal": _seal(fields)}))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _seal(fields: dict[str, Any]) -> str:
    """Hash everything else that a manifest says."""
    said = " ".join(str(fields[name]) for name in ("format", "rows", "features", "bytes", "checksum", "digests"))
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


class DigestOrder:
    """Digests in sorted order, 24 bytes a row: a lookup is a binary search."""

    def __init__(self, segments: Sequence[DigestArray]) -> None:
        self._starts = np.cumsum([0, *(len(digests) for digests in segments)], dtype=np.int64)
        joined = np.concatenate(segments) if segments else np.empty((0, DIGEST_SIZE), dtype=np.uint8)
        halves = np.ascontiguousarray(joined).view(np.uint64).reshape(-1, 2)
        self._places: IntArray = np.lexsort((halves[:, 1], halves[:, 0])).astype(np.int64)
        self._first = halves[self._places, 0]
        self._second = halves[self._places, 1]

    def __len__(self) -> int:
        return len(self._places)

    def find(self, digests: DigestArray) -> IntArray:
        """Return the place of each digest, counted over all segments, or -1."""
        places = np.full(len(digests), -1, dtype=np.int64)
        if not len(self._places) or not len(digests):
            return places
        wanted = np.ascontiguousarray(digests).view(np.uint64).reshape(-1, 2)
        at = np.searchsorted(self._first, wanted[:, 0])
        unsettled = np.arange(len(wanted))
        while len(unsettled):  # more than one round only where first halves collide
            here = at[unsettled]
            inside = here < len(self._first)
            inside[inside] = self._first[here[inside]] == wanted[unsettled[inside], 0]
            unsettled, here = unsettled[inside], here[inside]
            equal = self._second[here] == wanted[unsettled, 1]
            places[unsettled[equal]] = self._places[here[equal]]
            unsettled = unsettled[~equal]
            at[unsettled] += 1
        return places

    def locate(self, places: IntArray) -> tuple[IntArray, IntArray]:
        """Return the segment of each place, and its offset there."""
        segments = np.searchsorted(self._starts, places, side="right") - 1
        return segments, places - self._starts[segments]
