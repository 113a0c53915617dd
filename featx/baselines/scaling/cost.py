"""Time and memory of a fit, estimated from two small ones."""

from __future__ import annotations

import dataclasses
import math
import os
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from featx.baselines.folds.split import Fold
from featx.system.array_types import AnyArray, IntArray

#: Memory of a process with scikit-learn.
_PROCESS_BYTES = 250_000_000
#: Limits of the exponents: cost grows at least as the number of samples; a small fit has constant parts.
_MAX_TIME_EXPONENT, _MAX_MEMORY_EXPONENT = 3.0, 2.0


@dataclasses.dataclass(frozen=True)
class Cost:
    """Estimated cost of one fold.

    Attributes
    ----------
    seconds : float
    n_bytes : float
        Peak memory of its process.
    """

    seconds: float
    n_bytes: float


def estimate_cost(score: Callable[[Fold], object], fold: Fold, y: AnyArray, sample_rows: int) -> Cost:
    """Return the cost of a fold, from fits on a part of it.

    Parameters
    ----------
    score : callable
        Function that fits and predicts a fold.
    fold : (ndarray of int, ndarray of int)
        Training and test samples.
    y : ndarray of shape (n_samples,)
        Labels. The parts are stratified.
    sample_rows : int
        Number of training samples of the smaller part.
    """
    train, test = fold
    sizes: list[int] = []
    seconds: list[float] = []
    memory: list[float] = []
    for n_rows in (sample_rows, 2 * sample_rows):
        part = min(1.0, n_rows / len(train))
        small = spread(train, y, part), spread(test, y, part)
        tracemalloc.start()
        started = time.perf_counter()
        try:
            score(small)
        finally:
            seconds.append(time.perf_counter() - started)
            memory.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        sizes.append(len(small[0]))
    growth = math.log(max(sizes[1] / sizes[0], 1.001))
    ratio = len(train) / sizes[1]

    def extrapolate(values: list[float], max_exponent: float) -> float:
        exponent = math.log(max(values[1], 1e-9) / max(values[0], 1e-9)) / growth
        grown: float = values[1] * math.pow(ratio, min(max(exponent, 1.0), max_exponent))
        return grown

    return Cost(extrapolate(seconds, _MAX_TIME_EXPONENT), _PROCESS_BYTES + extrapolate(memory, _MAX_MEMORY_EXPONENT))


def spread(rows: IntArray, y: AnyArray, part: float) -> IntArray:
    """Return a part of the rows with every class, or every range of targets, in about equal shares."""
    order = rows[np.argsort(y[rows], kind="stable")]
    n_rows = max(2, round(part * len(order)))
    return np.sort(order[np.linspace(0, len(order) - 1, n_rows).round().astype(int)])


def available_bytes() -> float:
    """Return the memory that processes can still take, or infinity if the system does not report it."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return float(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # Windows, macOS
        return math.inf
