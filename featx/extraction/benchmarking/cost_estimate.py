"""Estimate the cost of a job: the rows that are cached, and the speed on a sample of its images."""

from __future__ import annotations

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
    """Limits of the measurement.

    Attributes
    ----------
    max_seconds : float
        Maximum duration.
    first_block : int
        Number of images of the first block.
    max_growth : int
        Maximum ratio of the sizes of two successive blocks.
    block_seconds : float
        Duration of a block that is long enough to be the last.
    """

    max_seconds: float = 20.0
    first_block: int = 8
    max_growth: int = 8
    block_seconds: float = 2.0


class Speed(NamedTuple):
    """Speed on a sample: images per second, or None if unknown; number of images, and of unreadable ones."""

    images_per_second: float | None = None
    n_images: int = 0
    n_unreadable: int = 0


class _Block(NamedTuple):
    n_images: int
    n_unreadable: int
    seconds: float
    first_failure: Failure | None


class CostEstimate:
    """Counts cached rows, and draws a sample whose speed is measured.

    Parameters
    ----------
    cache : Path or None
        Folder of the cache.
    resolved : Resolved
        Resolved options of the extraction.
    n_sampled : int
        Maximum number of images of the sample.
    limits : SampleLimits or None, default=None
        Limits of the measurement; None takes the defaults.

    Attributes
    ----------
    n_cached : int or None
        Number of images whose row is cached; None without a cache.
    """

    #: Limits that apply if none are given.
    default_limits = SampleLimits()

    def __init__(
        self, cache: Path | None, resolved: Resolved, n_sampled: int, limits: SampleLimits | None = None
    ) -> None:
        self._cache, self._resolved, self._n_sampled = cache, resolved, n_sampled
        self._limits = limits or self.default_limits
        self._sample: list[str] = []
        self._n_seen = 0
        self._random = random.Random(0)  # noqa: S311  # a sample, not a secret
        self.n_cached: int | None = None
        if cache is not None:
            self.n_cached = 0
            self._index = FileIndex(cache / INDEX)
            self._store = ViewStore(cache, resolved.recipe, resolved.n_features)

    def add(self, paths: list[str], states: list[os.stat_result | None]) -> None:
        """Add the images of one shard."""
        for path in paths if self._n_sampled else ():  # reservoir sampling
            self._n_seen += 1
            if len(self._sample) < self._n_sampled:
                self._sample.append(path)
            elif (index := self._random.randrange(self._n_seen)) < self._n_sampled:
                self._sample[index] = path
        if self.n_cached is not None:
            known = [(path, state) for path, state in zip(paths, states, strict=True) if state is not None]
            joined = b"".join(digest for digest in self._index.find(known) if digest is not None)
            digests = np.frombuffer(joined, dtype=np.uint8).reshape(-1, DIGEST_SIZE)
            self.n_cached += int(self._store.contains(digests).sum()) if len(digests) else 0

    def measure(self) -> Speed:
        """Return the speed on the sample.

        It is that of the largest block: blocks grow until the start of threads and the first batch are a small part of
        a block. A source that is slow or hangs is not waited for.

        Warns
        -----
        FeatxWarning
            The speed is unknown.
        """
        if self.n_cached is not None:
            self._index.close()
        if not self._sample:
            return Speed()
        compiled = None if self._cache is None else self._cache / "compiled"
        engine = self._resolved.start(compiled)
        engine(np.zeros((1, *self._resolved.recipe.image_size, 3), dtype=np.uint8))  # the first call is slower
        self._random.shuffle(self._sample)  # so that a part of the sample is a sample
        blocks: list[_Block] = []
        try:
            remote.run_with_timeout(lambda: self._extract_blocks(blocks), self._limits.max_seconds)
        except TimeoutError:
            if not blocks:
                _warn(
                    f"The duration of the job is unknown: {self._limits.first_block} images of the sample took more "
                    f"than {self._limits.max_seconds:.0f} s. Check the source, or skip the sample with --sample 0 "
                    "(sample=0)."
                )
                return Speed()
        done = list(blocks)
        n_images, n_unreadable = sum(block.n_images for block in done), sum(block.n_unreadable for block in done)
        if n_images == n_unreadable and (first := done[0].first_failure):
            _warn(
                f"None of the {n_images:,} images of the sample can be read, the first is {first.image!r}: "
                f"{first.reason.rstrip('.')}. Check their paths, and that their disk is mounted or their server runs."
            )
            return Speed(None, n_images, n_unreadable)
        largest = max(reversed(done), key=lambda block: block.n_images)  # the last of several
        return Speed(largest.n_images / largest.seconds, n_images, n_unreadable)

    def _extract_blocks(self, blocks: list[_Block]) -> None:
        """Extract the sample in growing blocks, at least two: the first is slow."""
        limits = self._limits
        start, n_images = 0, limits.first_block
        while start < len(self._sample) and (len(blocks) < 2 or blocks[-1].seconds < limits.block_seconds):
            block = self._extract(self._sample[start : start + n_images])
            blocks.append(block)
            start += block.n_images
            n_enough = int(1.2 * limits.block_seconds * block.n_images / block.seconds)
            n_images = max(limits.first_block, min(n_enough, limits.max_growth * n_images))

    def _extract(self, paths: list[str]) -> _Block:
        started = time.perf_counter()
        rows = np.empty((len(paths), self._resolved.n_features), dtype=np.float32)
        # Without the cache, so that every image is computed.
        failures = extract_into(rows, paths, self._resolved, cache=None, raise_on_error=False).failures
        return _Block(len(paths), len(failures), time.perf_counter() - started, failures[0] if failures else None)


def _warn(message: str) -> None:
    warnings.warn(message, FeatxWarning, stacklevel=4)  # the caller of plan_job
