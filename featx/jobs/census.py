"""What the images of a job will cost: which rows are in the store already, and how fast a sample of them is."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np

from featx.digests import DigestIndex
from featx.extraction import Extraction
from featx.folders import INDEX
from featx.options import Resolved
from featx.view_stores import ViewStores


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
        """Return images/s of the sample, how many it has, and how many of them cannot be read."""
        if self.n_stored is not None:
            self._index.close()
        if not self._drawn:
            return None, 0, 0
        compiled = None if self._cache is None else self._cache / "compiled"
        engine = self._resolved.start(compiled)
        size = self._resolved.recipe.image_size
        engine(np.zeros((1, *size, 3), dtype=np.uint8))  # a network is slower the first time
        started = time.perf_counter()
        rows = np.empty((len(self._drawn), self._resolved.n_features), dtype=np.float32)
        # Without the store, so that every image counts; the network that was just started is the one that is used.
        extraction = Extraction(self._drawn, self._resolved, rows, cache=None, raise_on_error=False)
        extraction.run()
        return len(self._drawn) / (time.perf_counter() - started), len(self._drawn), len(extraction.failures)
