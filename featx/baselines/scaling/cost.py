"""Time and memory of a fit: estimated from small ones, or roughly from the shape of the data."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import math
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.folds.split import Fold
from featx.system.array_types import IntArray

#: Memory of a process with scikit-learn.
_PROCESS_BYTES = 250_000_000
#: Limit of the exponent of time, which grows at least as the number of samples; a small fit has constant parts.
_MAX_TIME_EXPONENT = 3.0
#: Fits until one takes long enough that its constant parts matter little.
_MIN_FITS, _MAX_FITS, _MIN_SECONDS = 2, 4, 1.0
#: Memory grows as the square of the number of samples if its slope between parts, each twice as large as the one
#: before, grows by this factor: 2 for squares, 1 for a line.
_MIN_CURVATURE = 1.5
#: Matrices of weights that L-BFGS keeps: ten pairs, and copies of point, gradient and direction.
_N_WEIGHT_COPIES = 25


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


def fit_bytes(baseline: Baseline, n_train: int, n_features: int, n_classes: int) -> float:
    """Return roughly the memory of a fit, from the shapes of its largest arrays.

    Parameters
    ----------
    baseline : Baseline
        The dummy estimator takes nothing. An estimator that is not built in may have any of the arrays of others.
    n_train, n_features, n_classes : int
        Number of training samples, features and classes.

    Examples
    --------
    >>> from featx.baselines.builtin_baselines import BASELINES
    >>> sizes = {baseline.name: fit_bytes(baseline, 5_000, 50_000, 10) for baseline in BASELINES["classification"]}
    >>> {name: round(size / 1e9, 1) for name, size in sizes.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'dummy': 0.0, 'logreg': 4.1, 'svm': 4.5, 'linear-svm': 4.5, 'knn': 4.0, 'ridge': 4.6, 'lda': 84.0,
     'centroid': 4.0}
    """
    if baseline.is_builtin and baseline.name == "dummy":
        return 0.0
    rows = 2 * 8 * n_train * n_features
    weights = 8 * _N_WEIGHT_COPIES * n_features * n_classes
    covariances = 8 * 4 * n_features**2
    votes = 4 * n_train * n_classes**2  # of a fourth as many test samples; those of built-in estimators are in blocks
    if baseline.is_precomputable:
        kernel = (4 + 8 + 8) * n_train**2  # of float32, of float64, and the copy of libsvm
        coefficients = 2 * 8 * n_train * n_classes
        return float(rows + kernel + coefficients + votes * baseline.is_calibrated)
    if not baseline.is_builtin:
        distances = 8 * n_train**2
        return float(rows + max(weights, covariances, distances, votes))
    gram = 8 * 3 * min(n_train, n_features) ** 2
    return float(rows + {"logreg": weights, "ridge": gram, "lda": covariances}.get(baseline.name, 0))


def estimate_cost(
    score: Callable[[Fold], object],
    fold: Fold,
    sample: Callable[[IntArray, int], IntArray],
    sample_rows: int,
    order: float | None = None,
    *,
    memory: float = math.inf,
) -> Cost:
    """Return the cost of a fold, from fits on parts of it.

    Parameters
    ----------
    score : callable
        Function that fits and predicts a fold.
    fold : (ndarray of int, ndarray of int)
        Training and test samples.
    sample : callable
        Function of some rows and a number, which returns about as many of the rows, with every class.
    sample_rows : int
        Number of training samples of the smallest part. Parts are doubled until a fit takes long enough to be measured.
    order : float or None, default=None
        Exponent with which the time grows with the number of samples, in addition to a constant part. None:
        it is estimated.
    memory : float, default=inf
        Available memory. If the fold may need more, a third part shows whether memory grows as a line or a square. inf:
        the system does not report it, and it may not be measured.
    """
    train, test = fold
    sizes: list[int] = []
    seconds: list[float] = []
    n_bytes: list[float] = []
    n_rows = sample_rows
    while not sizes or (sizes[-1] < len(train) and len(sizes) < _MAX_FITS):
        is_measured = len(sizes) >= _MIN_FITS and seconds[-1] >= _MIN_SECONDS
        if is_measured and (len(sizes) > _MIN_FITS or _bytes_of_square(sizes, n_bytes, len(train)) < memory):
            break
        small = sample(train, n_rows), sample(test, math.ceil(len(test) * n_rows / len(train)))
        n_seconds, peak = _measure(functools.partial(score, small), needs_memory=memory < math.inf)
        sizes.append(len(small[0]))
        seconds.append(n_seconds)
        n_bytes.append(peak)
        n_rows *= 2
    return Cost(
        extrapolate(sizes, seconds, len(train), order), _PROCESS_BYTES + extrapolate_memory(sizes, n_bytes, len(train))
    )


def _measure(call: Callable[[], object], *, needs_memory: bool) -> tuple[float, float]:
    """Return the seconds and the peak memory of a call, in addition to what the process had before."""
    before = _reset_peak()
    started = time.perf_counter()
    call()
    seconds = time.perf_counter() - started
    if before is not None:
        status = _memory_status()
        return seconds, max(0.0, status["VmHWM"] - status["RssFile"] - status["RssShmem"] - before)
    if not needs_memory:
        return seconds, 0.0
    tracemalloc.start()  # of Python and NumPy only, in a call of its own, because it takes time
    try:
        call()
        return seconds, float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def _reset_peak() -> float | None:
    """Reset the peak memory that Linux records; return the memory of the process without files, or None elsewhere."""
    if sys.platform != "linux":
        return None
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)  # what is free must not hide what a call takes
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _memory_status()["RssAnon"]
    except (OSError, KeyError):
        return None


def _memory_status() -> dict[str, float]:
    """Return the memory fields of ``/proc/self/status``, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): 1024 * float(value) for name, value, _ in fields}


def extrapolate(sizes: Sequence[int], values: Sequence[float], size: int, order: float | None) -> float:
    """Return the time at a larger size, from the times at the last two sizes.

    Parameters
    ----------
    sizes : sequence of int
        Increasing sizes.
    values : sequence of float
    size : int
    order : float or None
        Exponent of the growing part, in addition to a constant one. None: the exponent follows from the values, and is
        at most 3.

    Examples
    --------
    >>> extrapolate([10, 20], [3.0, 6.0], 100, 2)  # 2 + 0.01 n²
    102.0
    >>> extrapolate([10, 20], [1.0, 4.0], 100, None)
    100.0
    """
    if sizes[-1] >= size or len(sizes) < 2:
        return values[-1] * size / sizes[-1]
    (small, large), (low, high) = sizes[-2:], values[-2:]
    if order is None or high <= low or large <= small:
        growth = math.log(max(large / small, 1.001))
        exponent = math.log(max(high, 1e-9) / max(low, 1e-9)) / growth
        return float(high) * math.pow(size / large, min(max(exponent, 1.0), _MAX_TIME_EXPONENT))
    slope = (high - low) / (large**order - small**order)
    constant = max(0.0, low - slope * small**order)
    return float(constant + slope * size**order)


def extrapolate_memory(sizes: Sequence[int], values: Sequence[float], size: int) -> float:
    """Return the memory at a larger size: a constant part, and one that grows as the size or as its square.

    Parameters
    ----------
    sizes : sequence of int
        Increasing sizes.
    values : sequence of float
        Memory at these sizes.
    size : int

    Examples
    --------
    >>> extrapolate_memory([2_000, 4_000], [3.2e9, 3.2e9], 48_000) / 1e9  # matrices of weights
    3.2
    >>> extrapolate_memory([1_000, 2_000, 4_000], [11e6, 14e6, 26e6], 10_000) / 1e6  # 10 + n² / 1e6
    110.0
    """
    if sizes[-1] >= size or len(sizes) < 2:
        return max(values)
    slopes = [
        max(0.0, values[i + 1] - values[i]) / (sizes[i + 1] - sizes[i]) if sizes[i + 1] > sizes[i] else 0.0
        for i in range(len(sizes) - 1)
    ]
    if len(slopes) > 1:
        is_square = slopes[-1] > _MIN_CURVATURE * slopes[-2]
    else:
        is_square = values[1] > values[0] * sizes[1] / sizes[0]  # on a line, the constant part would be negative
    if is_square:
        return _bytes_of_square(sizes, values, size)
    return max(values) + slopes[-1] * (size - sizes[-1])


def _bytes_of_square(sizes: Sequence[int], values: Sequence[float], size: int) -> float:
    (small, large), (low, high) = sizes[-2:], values[-2:]
    if large <= small:
        return high
    return high + max(0.0, high - low) * (size**2 - large**2) / (large**2 - small**2)
