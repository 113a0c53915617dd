"""Committed segments: what a manifest says, rows that are checked before use, and the index of digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from featx.images import DIGEST_SIZE

FloatArray: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
DigestArray: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"


class Segment:
    """A committed segment: where it is, and what its manifest says of it."""

    def __init__(self, manifest: Path, n_features: int) -> None:
        fields = json.loads(manifest.read_text(encoding="utf-8"))
        self.path = manifest.with_suffix(".npy")
        self.n_features = n_features
        self.checksum: str = fields["checksum"]
        self.verified = False
        self.digests = np.frombuffer(bytes.fromhex(fields["digests"]), dtype=np.uint8).reshape(-1, DIGEST_SIZE)
        if fields["rows"] != len(self.digests) or fields["features"] != n_features:
            raise ValueError("its manifest contradicts itself")
        if self.path.stat().st_size != fields["bytes"]:
            raise ValueError(f"it should have {fields['bytes']} bytes, and has {self.path.stat().st_size}")

    def open(self) -> FloatArray:
        """Map the rows; the first time, after comparing the whole file with its checksum."""
        if not self.verified:
            with open(self.path, "rb") as file:
                found = hashlib.file_digest(file, "blake2b").hexdigest()
            if found != self.checksum:
                raise ValueError("its checksum does not match")
        rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        if rows.dtype != np.float32 or rows.shape != (len(self.digests), self.n_features):
            raise ValueError(f"it holds {rows.dtype} of shape {rows.shape}")
        self.verified = True
        return rows  # type: ignore[no-any-return]  # np.load is typed Any


class DamagedSegmentError(Exception):
    """Says which segment a gather failed on; the store catches it."""

    def __init__(self, name: str, reason: Exception) -> None:
        super().__init__(name)
        self.name = name
        self.reason = reason


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
