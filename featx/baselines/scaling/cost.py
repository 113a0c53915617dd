"""Time and memory of a fit, estimated from two small ones."""

from __future__ import annotations

import dataclasses
import math
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
#: Fits until one takes long enough that its constant parts matter little.
_MIN_FITS, _MAX_FITS, _MIN_SECONDS = 2, 4, 1.0


@dataclasses.dataclass(frozen=True)
class Cost:
    """Estimated cost of one fold.

    Attributes
    ----------
    seconds : float
    n_bytes : float
        Peak memory of its process.
    start_seconds : float, default=0
        Duration of what each process does once, before its first fold.
    """

    seconds: float
    n_bytes: float
    start_seconds: float = 0.0


def estimate_cost(
    score: Callable[[Fold], object], fold: Fold, y: AnyArray, sample_rows: int, order: float | None = None
) -> Cost:
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
        Number of training samples of the smallest part. Parts are doubled until a fit takes long enough to be measured.
    order : float or None, default=None
        Exponent with which the time grows with the number of samples, in addition to a constant part. None:
        it is estimated.
    """
    train = fold[0]
    sizes: list[int] = []
    seconds: list[float] = []
    memory: list[float] = []
    n_rows = sample_rows
    while len(sizes) < _MIN_FITS or (seconds[-1] < _MIN_SECONDS and len(sizes) < _MAX_FITS and sizes[-1] < len(train)):
        n_train, n_seconds, n_bytes = _measure(score, fold, y, n_rows)
        sizes.append(n_train)
        seconds.append(n_seconds)
        memory.append(n_bytes)
        n_rows *= 2
    n_seconds = extrapolate(sizes, seconds, len(train), order, _MAX_TIME_EXPONENT)
    return Cost(n_seconds, _PROCESS_BYTES + extrapolate(sizes, memory, len(train), None, _MAX_MEMORY_EXPONENT))


def _measure(score: Callable[[Fold], object], fold: Fold, y: AnyArray, n_rows: int) -> tuple[int, float, float]:
    """Return the number of training samples, time and memory of a fit on a part of a fold."""
    train, test = fold
    part = min(1.0, n_rows / len(train))
    small = spread(train, y, part), spread(test, y, part)
    tracemalloc.start()
    started = time.perf_counter()
    try:
        score(small)
    finally:
        seconds = time.perf_counter() - started
        n_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return len(small[0]), seconds, n_bytes


def extrapolate(sizes: list[int], values: list[float], size: int, order: float | None, max_exponent: float) -> float:
    """Return the value at a larger size, from the values at the last two sizes.

    Parameters
    ----------
    sizes : list of int
        Increasing sizes.
    values : list of float
    size : int
    order : float or None
        Exponent of the growing part, in addition to a constant one. None: the exponent follows from the values.
    max_exponent : float
        Largest exponent that follows from values.

    Examples
    --------
    >>> extrapolate([10, 20], [3.0, 6.0], 100, 2, 3)  # 2 + 0.01 n²
    102.0
    >>> extrapolate([10, 20], [1.0, 4.0], 100, None, 3)
    100.0
    """
    (small, large), (low, high) = sizes[-2:], values[-2:]
    if order is None or high <= low or large <= small:
        growth = math.log(max(large / small, 1.001))
        exponent = math.log(max(high, 1e-9) / max(low, 1e-9)) / growth
        return float(high) * math.pow(size / large, min(max(exponent, 1.0), max_exponent))
    slope = (high - low) / (large**order - small**order)
    constant = max(0.0, low - slope * small**order)
    return float(constant + slope * size**order)


def spread(rows: IntArray, y: AnyArray, part: float) -> IntArray:
    """Return a part of the rows with every class, or every range of targets, in about equal shares."""
    order = rows[np.argsort(y[rows], kind="stable")]
    n_rows = max(2, round(part * len(order)))
    return np.sort(order[np.linspace(0, len(order) - 1, n_rows).round().astype(int)])
