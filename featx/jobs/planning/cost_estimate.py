"""What the images of a job will cost: which rows are in the store already, and how fast a sample of them is."""

from __future__ import annotations

import os
import random
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featx.datasets.failures import Failure
from featx.errors import FeatxWarning
from featx.extraction.extract import extract_into
from featx.extraction.options import Resolved
from featx.store.file_index import DigestIndex
from featx.store.layout import INDEX
from featx.store.view_store import ViewStores
from featx.system.files import remote

#: Images of the sample at most, and seconds that it may take.
SAMPLE, SECONDS = 4000, 20.0
#: The first block has so many images, each other at most so many times those of the one before, the last takes so long.
_FIRST, _GROWTH, _ENOUGH_SECONDS = 8, 8, 2.0


class _Block(NamedTuple):
    n_images: int
    n_bad: int
    seconds: float
    first_bad: Failure | None


class Census:
    """Counts what is in the store already, and draws the sample that is measured."""

    def __init__(self, cache: Path | None, resolved: Resolved, n_sampled: int) -> None:
        self._cache, self._resolved, self._n_sampled = cache, resolved, n_sampled
        self._drawn: list[str] = []
        self._n_seen = 0
        self._random = random.Random(0)  # noqa: S311  # a sample, no secret
        self.n_stored: int | None = None
        if cache is not None:
            self.n_stored = 0
            self._index = DigestIndex(cache / INDEX)
            self._store = ViewStores(cache, resolved.recipe, resolved.n_features)

    def add(self, paths: list[str], states: list[os.stat_result | None]) -> None:
        """Take in the images of one shard."""
        for path in paths if self._n_sampled else ():
            self._n_seen += 1
            if len(self._drawn) < self._n_sampled:
                self._drawn.append(path)
            elif (at := self._random.randrange(self._n_seen)) < self._n_sampled:
                self._drawn[at] = path
        if self.n_stored is not None:
            known = self._index.find([(path, at) for path, at in zip(paths, states, strict=True) if at is not None])
            there = b"".join(digest for digest in known if digest is not None)
            digests = np.frombuffer(there, dtype=np.uint8).reshape(-1, 16)
            self.n_stored += int(self._store.has(digests).sum()) if len(digests) else 0

    def measure(self) -> tuple[float | None, int, int]:
        """Return images/s of the sample, how many images of it were extracted, and how many cannot be read.

        The rate is that of the largest block: blocks grow until one takes long enough that the start of threads and
        the first batch are a small part of it. What is slow or hangs is not waited for.
        """
        if self.n_stored is not None:
            self._index.close()
        if not self._drawn:
            return None, 0, 0
        compiled = None if self._cache is None else self._cache / "compiled"
        engine = self._resolved.start(compiled)
        size = self._resolved.recipe.image_size
        engine(np.zeros((1, *size, 3), dtype=np.uint8))  # a network is slower the first time
        self._random.shuffle(self._drawn)  # so that a part of the sample is one, too
        blocks: list[_Block] = []
        try:
            remote.run_with_timeout(lambda: self._extract_blocks(blocks), SECONDS)
        except TimeoutError:
            if not blocks:
                warnings.warn(
                    f"How long the job takes is not known: {_FIRST} images of the sample were not done in "
                    f"{SECONDS:.0f} s. Is the source slow, or away? Leave the sample out with --sample 0.",
                    FeatxWarning,
                    stacklevel=2,
                )
                return None, 0, 0
        done = list(blocks)
        n_images, n_bad = sum(one.n_images for one in done), sum(one.n_bad for one in done)
        if n_images == n_bad and (first := done[0].first_bad):
            warnings.warn(
                f"Not one of the {n_images:,} images of the sample can be read, the first {first.image!r}: "
                f"{first.reason.rstrip('.')}. Are their paths right, their disk mounted, their server up?",
                FeatxWarning,
                stacklevel=2,
            )
            return None, n_images, n_bad
        largest = max(reversed(done), key=lambda block: block.n_images)  # of two, the latter
        return largest.n_images / largest.seconds, n_images, n_bad

    def _extract_blocks(self, blocks: list[_Block]) -> None:
        """Extract the sample, each time some more images at once."""
        at, n_images = 0, _FIRST
        # Two at least: the first is of a machine that has just begun.
        while at < len(self._drawn) and (len(blocks) < 2 or blocks[-1].seconds < _ENOUGH_SECONDS):
            block = self._extract(self._drawn[at : at + n_images])
            blocks.append(block)
            at += block.n_images
            of_enough = int(1.2 * _ENOUGH_SECONDS * block.n_images / block.seconds)
            n_images = max(_FIRST, min(of_enough, _GROWTH * n_images))

    def _extract(self, paths: list[str]) -> _Block:
        started = time.perf_counter()
        rows = np.empty((len(paths), self._resolved.n_features), dtype=np.float32)
        # Without the store, so that every image counts; the network that was just started is the one that is used.
        failures = extract_into(rows, paths, self._resolved, cache=None, raise_on_error=False).failures
        return _Block(len(paths), len(failures), time.perf_counter() - started, failures[0] if failures else None)
