"""Near-duplicates: rows of features so alike that they show the same thing."""

from __future__ import annotations

import dataclasses
import functools
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import ComparisonError, OptionError
from featx.features.duplicates.cosine_bounds import UnitRows, rounding, rows_at_once
from featx.features.duplicates.large import TooConnectedError, different_rows, linked_of_many
from featx.features.matrix import FeatureMatrix
from featx.features.npy_writer import MatrixFile
from featx.system.array_types import FloatArray, IntArray
from featx.system.files.atomic import temporary_folder

#: Rows of at least this cosine are near-duplicates, unless most rows are.
THRESHOLD = 0.97
#: Below that, and down to here, those are that stand out: they are `_CLOSER` times nearer to each other (by 1 − cosine)
#: than either is to its tenth-nearest neighbour. See :func:`find_duplicates` for what was measured.
_FLOOR = 0.90
_NEIGHBOUR = 10
_CLOSER = 2.0
#: A block of the matrix of cosines takes so many bytes.
_BLOCK_BYTES = 64 * 2**20
_MOST_EDGES = 5_000_000
#: More rows than this, or of more bytes, are told by :mod:`featx.features.duplicates.large`, which does not hold them.
_MANY_ROWS, _MANY_BYTES = 20_000, 256 * 2**20
#: What is worked out of many rows lies on disk if it takes more bytes.
_MOST_BYTES = 2**30
_AT_ONCE = 4096
#: Rows of which a group of this share tells that most of all rows are one.
_SAMPLE, _MOST_OF_SAMPLE = 2000, 0.6


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Groups of rows that show the same thing.

    Attributes
    ----------
    groups : ndarray of int, shape (n_samples,)
        Equal for rows of one group; most rows are alone in theirs. What :func:`compare_baselines` takes.
    cosine : ndarray of float32, shape (n_samples,)
        To the most similar other row of its group; NaN for rows that are alone.
    threshold : float
        As it was asked for.
    centered : bool
        Whether the cosines are of what distinguishes a row from the mean of all; see :func:`find_duplicates`.
    """

    groups: IntArray
    cosine: FloatArray
    threshold: float
    centered: bool = False

    @property
    def clusters(self) -> list[IntArray]:
        """The rows of each group of two or more, the largest first."""
        _, labels, counts = np.unique(self.groups, return_inverse=True, return_counts=True)
        rows = np.flatnonzero(counts[labels] > 1)  # few of many
        order = rows[np.argsort(labels[rows], kind="stable")]
        parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []
        return sorted(parts, key=lambda part: (-len(part), int(part[0])))

    @property
    def n_rows(self) -> int:
        """Rows that have a near-duplicate."""
        return int((~np.isnan(self.cosine)).sum())

    def __len__(self) -> int:
        """Return the number of groups of two or more."""
        return len(self.clusters)


def find_duplicates(features: Any, *, threshold: float = THRESHOLD) -> Duplicates:
    """Return which rows are near-duplicates of each other.

    Two rows are if their cosine is at least `threshold`; or if it is at least 0.90 and they are twice as near to each
    other (by 1 − cosine) as either is to its tenth-nearest row. Whatever is linked by such pairs is one group. Where
    that would put more than half of the different rows into one group, cosines are of what distinguishes rows (below).

    The defaults were measured with MobileNet features of 840 aerial photos and 1,797 digits, and altered copies of 120
    of each. A threshold of 0.97 alone finds 45 % of copies at JPEG quality 50, 14 % at half the size, 3 % cut by 5 % on
    each side and 6 % of the mirrored ones among the photos; with the second rule it is 99, 78, 98 and 100 %. Of the
    photos themselves 71 are put into groups (many are neighbouring cuts of one place, one pair is identical), of the
    digits 60, no group holds more than five, and none mixes classes. A threshold of 0.95 alone would chain 104 digits
    into one group. What the second rule cannot find are more than ten images of a cosine between 0.90 and 0.97, such as
    frames of a film: the tenth-nearest row is then one of them. Give their groups by hand.

    Features that have much in common whatever they show (early layers, few columns) are all near each other, and so are
    images of one scene. There the mean row is subtracted from all before cosines are compared, unless `threshold` is 1;
    ``centered`` of the result says so. On the photos, at 0.9 of the network's depth, that finds 116 of the 126 pairs
    that the last layer tells, and 139 rather than all 840 photos are in groups; at half the depth 122 pairs, and 505
    photos.

    Parameters
    ----------
    features : array-like of float or FeatureMatrix, shape (n_samples, n_features)
        Of more than 20,000 rows, or 256 MB, those of a :class:`FeatureMatrix` (:func:`open_features`) or of a memory
        map are read as they are needed.
    threshold : float, default=0.97
        From 0 to 1; 1 finds rows that are equal but for rounding, and nothing else.

    Returns
    -------
    Duplicates

    Raises
    ------
    OptionError
        A threshold out of range.
    ComparisonError
        `features` is no matrix of finite numbers.

    Notes
    -----
    Every row is compared with every other, in blocks of 64 MB: 8,000 rows of 1,024 took 1.7 s on two cores, and the
    time grows with the square of their number. Of more than 20,000 rows, or 256 MB, pairs are first excluded by a bound
    on their cosine in a few directions, and the others computed: the same pairs decide. 200,000 rows took 52 s and
    0.36 GB beside what is mapped on two busy cores, 2.8 ns of a core a pair, more than a third of it one product of
    matrices; a million take 1.3 GB and some half an hour of processor time. 2,000 rows of 50,176 took 5 s and 0.7 GB.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(50, 64))
    >>> features[40] = 1.01 * features[7]
    >>> find_duplicates(features).clusters
    [array([ 7, 40])]
    """
    return tell_duplicates(features, threshold)


def tell_duplicates(
    features: Any, threshold: float, progress: Callable[[int], object] = lambda n_done: None
) -> Duplicates:
    """Return what :func:`find_duplicates` does; of many rows, call `progress` with numbers of rows that are done."""
    check_threshold("threshold", threshold)
    n = len(features) if hasattr(features, "shape") and len(features.shape) == 2 else 0
    if n > 2 * _NEIGHBOUR and (n > _MANY_ROWS or 4 * n * features.shape[1] > _MANY_BYTES):
        return _among_many(features, float(threshold), progress)
    rows = np.asarray(features, dtype=np.float32)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise _not_finite(rows.shape)
    # Equal rows would be similar to each other pair by pair: of each kind, one is enough.
    unique, kinds, counts = _unique(rows)
    labels, cosine = _linked(_unit(unique), float(threshold))
    centered = threshold < 1 and len(unique) > 2 * _NEIGHBOUR and 2 * int(np.bincount(labels).max()) > len(unique)
    if centered:
        labels, cosine = _linked(_unit(unique - unique.mean(axis=0)), float(threshold))
    cosine = np.where(counts > 1, np.float32(1), cosine)
    groups = np.unique(labels[kinds], return_inverse=True)[1].astype(np.int64)
    return Duplicates(groups, cosine[kinds], float(threshold), centered)


def _not_finite(shape: tuple[int, ...]) -> ComparisonError:
    return ComparisonError(
        f"Expected finite numbers of shape (n_samples, n_features), got shape {shape}"
        f"{' with NaN or infinite ones' if len(shape) == 2 else ''}. Leave such rows out."
    )


def _among_many(features: Any, threshold: float, progress: Callable[[int], object]) -> Duplicates:
    with temporary_folder() as folder:
        make = functools.partial(_room, folder)
        source = features
        if isinstance(features, FeatureMatrix) and not features.is_local:
            source = make(features.shape)  # rows are read more than once
            step = rows_at_once(_AT_ONCE, features.shape[1])
            for start in range(0, len(features), step):
                source[start : start + step] = features[start : start + step]
        elif not isinstance(features, np.ndarray | FeatureMatrix):
            source = np.asarray(features)
        try:
            numbers, kinds, counts = different_rows(source)
        except ValueError as error:
            raise _not_finite(source.shape) from error
        labels, cosine, centered = _linked_many(source, numbers, threshold, make, progress)
    cosine = np.where(counts > 1, np.float32(1), cosine)
    groups = np.unique(labels[kinds], return_inverse=True)[1].astype(np.int64)
    return Duplicates(groups, cosine[kinds], threshold, centered)


def _linked_many(
    source: Any, numbers: IntArray, threshold: float, make: Any, progress: Callable[[int], object]
) -> tuple[IntArray, FloatArray, bool]:
    """Return a label for each different row, its highest cosine, and whether cosines are of centred rows."""
    rows = UnitRows(source, numbers)
    if len(numbers) <= 2 * _NEIGHBOUR:  # most are equal
        return *_linked(rows.take(np.arange(len(numbers))), threshold), False
    highest = 1 - rounding(rows.n_features)
    linked = functools.partial(
        linked_of_many,
        threshold=min(threshold, highest),
        floor=min(_FLOOR, threshold) if threshold < highest else highest,
        n_neighbours=_NEIGHBOUR,
        closer=_CLOSER,
        make=make,
        progress=progress,
    )
    try:
        if threshold < 1:
            _refuse_connected(rows, threshold)
        return *linked(rows, most=len(numbers) // 2 if threshold < 1 else None), False
    except TooConnectedError:
        total = np.zeros(rows.n_features)
        for start, stop in rows.blocks(_AT_ONCE):
            total += rows.raw(start, stop).sum(axis=0, dtype=np.float64)
        mean = (total / len(rows)).astype(np.float32)
        return *linked(UnitRows(source, numbers, mean), most=None), True


def _refuse_connected(rows: UnitRows, threshold: float) -> None:
    """Raise if most rows of a sample are linked: those of all are then, too, and there is no need to compare them."""
    n_drawn = rows_at_once(_SAMPLE, rows.n_features // 4)
    sample = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:n_drawn]))
    one, other = np.nonzero(np.triu(sample @ sample.T, 1) >= threshold)
    if np.bincount(_components(len(sample), [one], [other])).max() > _MOST_OF_SAMPLE * len(sample):
        raise TooConnectedError


def _room(folder: Path, shape: tuple[int, int]) -> FloatArray:
    """Return an empty matrix: in memory if it is small, else in a file that is removed in the end."""
    if 4 * shape[0] * shape[1] <= _MOST_BYTES:
        return np.empty(shape, dtype=np.float32)
    path = folder / f"{uuid.uuid4().hex}.npy"
    MatrixFile(path, *shape)
    mapped: FloatArray = np.load(path, mmap_mode="r+", allow_pickle=False)
    return mapped


def check_threshold(option: str, value: Any) -> None:
    """Raise :class:`OptionError` if a value is no cosine from which rows can be near-duplicates."""
    if not isinstance(value, int | float | np.floating) or not 0 < value <= 1:
        raise OptionError(f"{option}={value!r}: expected a cosine above 0 and up to 1, 0.97 say.")


def _unit(rows: FloatArray) -> FloatArray:
    """Return rows of length one; zeros stay zeros."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: FloatArray = (rows / np.where(length > 0, length, 1)).astype(np.float32, copy=False)
    return unit


def _unique(rows: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return the different rows, which of them each row is, and how often each is there."""
    whole = np.ascontiguousarray(rows + 0)  # makes 0 of -0
    as_bytes = whole.view(np.dtype((np.void, rows.dtype.itemsize * max(1, rows.shape[1]))))
    _, first, kinds, counts = np.unique(as_bytes[:, 0], return_index=True, return_inverse=True, return_counts=True)
    return rows[first], kinds, counts


def _linked(unit: FloatArray, threshold: float) -> tuple[IntArray, FloatArray]:
    """Return a label for each row, equal for those linked by pairs, and the highest cosine of its pairs."""
    n = len(unit)
    highest = 1 - rounding(unit.shape[1])
    threshold = min(threshold, highest)
    floor = min(_FLOOR, threshold) if threshold < highest else threshold
    kth = np.full(n, -1.0, dtype=np.float32)  # cosine to the tenth-nearest
    cosine = np.full(n, np.nan, dtype=np.float32)
    ones: list[IntArray] = []
    others: list[IntArray] = []
    standing_out: list[tuple[IntArray, IntArray, FloatArray]] = []
    step = max(1, _BLOCK_BYTES // (4 * max(1, n)))
    for start in range(0, n, step):
        block = unit[start : start + step] @ unit.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = -1
        here = slice(start, start + len(block))
        if n > 2 * _NEIGHBOUR:
            kth[here] = np.partition(block, n - _NEIGHBOUR, axis=1)[:, n - _NEIGHBOUR]
        one, other = np.nonzero(block >= threshold)
        np.fmax.at(cosine, one + start, block[one, other])
        ones.append(one + start)
        others.append(other)
        if sum(map(len, ones)) > _MOST_EDGES:
            ones, others = _shortened(n, ones, others)
        if n > 2 * _NEIGHBOUR:
            near = (block >= floor) & (block < threshold) & (_CLOSER * (1 - block) <= 1 - kth[here, None])
            one, other = np.nonzero(near)  # ten for each row at most
            standing_out.append((one + start, other, block[one, other]))
    for one, other, value in standing_out:
        both = _CLOSER * (1 - value) <= 1 - kth[other]
        np.fmax.at(cosine, one[both], value[both])
        ones.append(one[both])
        others.append(other[both])
    return _components(n, ones, others), cosine


def _components(n: int, ones: list[IntArray], others: list[IntArray]) -> IntArray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    one, other = np.concatenate([*ones, np.empty(0, int)]), np.concatenate([*others, np.empty(0, int)])
    links = coo_matrix((np.ones(len(one), dtype=np.int8), (one, other)), shape=(n, n))
    labels: IntArray = connected_components(links, directed=False)[1].astype(np.int64)
    return labels


def _shortened(n: int, ones: list[IntArray], others: list[IntArray]) -> tuple[list[IntArray], list[IntArray]]:
    """Return fewer pairs that link the same rows: each with the first of its group."""
    labels = _components(n, ones, others)
    _, first = np.unique(labels, return_index=True)
    linked = np.flatnonzero(first[labels] != np.arange(n))
    return [linked], [first[labels[linked]]]
