"""Estimate the cost of a job: the rows that are cached, and the speed on a sample of its images."""

from __future__ import annotations

import contextlib
import dataclasses
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
from featx.images.image import DIGEST_SIZE
from featx.store.file_index import FileIndex
from featx.store.layout import INDEX
from featx.store.view_store import ViewStore
from featx.system.files import remote

#: Default of `sample`.
MAX_SAMPLE = 4000


@dataclasses.dataclass(frozen=True)
class SampleLimits:
    """Limits of the measurement."""

    max_seconds: float = 20.0  # of all blocks
    first_block: int = 8  # images
    max_growth: int = 8  # of successive blocks
    block_seconds: float = 2.0  # of a block that is long enough to be the last


class Speed(NamedTuple):
    """Speed on a sample: images per second, or None if unknown; number of images, and of unreadable ones."""

    images_per_second: float | None = None
    n_images: int = 0
    n_unreadable: int = 0


class CostEstimate:
    """Counts cached rows (`n_cached`; None without a cache), and draws a sample whose speed is measured."""

    #: Limits of the measurement.
    limits = SampleLimits()

    def __init__(self, cache: Path | None, resolved: Resolved, n_sampled: int) -> None:
        self._cache, self._resolved, self._n_sampled = cache, resolved, n_sampled
        self._sample: list[str] = []
        self._n_images = 0
        self._random = random.Random(0)  # noqa: S311  # a sample, not a secret
        self.n_cached = None if cache is None else 0
        if cache is not None:
            self._index = FileIndex(cache / INDEX)
            self._store = ViewStore(cache, resolved.recipe, resolved.n_features)

    def add(self, paths: list[str], states: list[os.stat_result | None]) -> None:
        """Add the images of one shard."""
        for path in paths:  # reservoir sampling
            self._n_images += 1
            if len(self._sample) < self._n_sampled:
                self._sample.append(path)
            elif self._n_sampled and (index := self._random.randrange(self._n_images)) < self._n_sampled:
                self._sample[index] = path
        if self.n_cached is not None:
            known = [(path, state) for path, state in zip(paths, states, strict=True) if state is not None]
            joined = b"".join(digest for digest in self._index.find(known) if digest is not None)
            digests = np.frombuffer(joined, dtype=np.uint8).reshape(-1, DIGEST_SIZE)
            self.n_cached += int(self._store.contains(digests).sum()) if len(digests) else 0

    def measure(self) -> Speed:
        """Return the speed on the largest block of the sample, unless all rows are cached. FeatxWarning: it is unknown.

        Blocks grow until the start of threads and the first batch are a small part of a block. A source that is slow or
        hangs is not waited for.
        """
        if self.n_cached is not None:
            self._index.close()
        if not self._sample or self.n_cached == self._n_images:
            return Speed()
        engine = self._resolved.start(None if self._cache is None else self._cache / "compiled")
        engine(np.zeros((1, *self._resolved.recipe.image_size, 3), dtype=np.uint8))  # the first call is slower
        self._random.shuffle(self._sample)  # so that a part of the sample is a sample
        blocks: list[tuple[int, float, list[Failure]]] = []  # number of images, seconds, failures
        with contextlib.suppress(TimeoutError):
            remote.run_with_timeout(lambda: self._extract_blocks(blocks), self.limits.max_seconds)
        done = list(blocks)  # after the timeout, blocks may still be added
        n_images, failures = sum(n for n, _, _ in done), [failure for *_, found in done for failure in found]
        if not done:
            return _unknown(
                f"The duration of the job is unknown: {self.limits.first_block} images of the sample took more than "
                f"{self.limits.max_seconds:.0f} s. Check the source, or skip the sample with sample=0 (--sample 0)."
            )
        if n_images == len(failures):
            return _unknown(
                f"None of the {n_images:,} images of the sample can be read, the first is {failures[0].image!r}: "
                f"{failures[0].reason.rstrip('.')}. Check their paths, and that their disk is mounted or their server "
                "runs.",
                n_images,
            )
        n_largest, seconds, _ = max(reversed(done), key=lambda block: block[0])  # the last of several
        return Speed(n_largest / seconds, n_images, len(failures))

    def _extract_blocks(self, blocks: list[tuple[int, float, list[Failure]]]) -> None:
        """Extract the sample in growing blocks, at least two: the first is slow."""
        limits, rest, n_images = self.limits, self._sample, self.limits.first_block
        while rest and (len(blocks) < 2 or blocks[-1][1] < limits.block_seconds):
            paths, rest = rest[:n_images], rest[n_images:]
            started = time.perf_counter()
            rows = np.empty((len(paths), self._resolved.n_features), dtype=np.float32)
            # Without the cache, so that every image is computed.
            failures = extract_into(rows, paths, self._resolved, cache=None, raise_on_error=False).failures
            blocks.append((len(paths), time.perf_counter() - started, failures))
            n_enough = int(1.2 * limits.block_seconds * len(paths) / blocks[-1][1])
            n_images = max(limits.first_block, min(n_enough, limits.max_growth * n_images))


def _unknown(reason: str, n_unreadable: int = 0) -> Speed:
    warnings.warn(reason, FeatxWarning, stacklevel=4)  # the caller of plan_job
    return Speed(None, n_unreadable, n_unreadable)
