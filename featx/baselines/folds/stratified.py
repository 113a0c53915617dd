"""Stratified samples: random rows in which each class, tag or range of targets has about its share."""

from __future__ import annotations

import collections

import numpy as np

from featx.datasets.tags import are_tags
from featx.system.array_types import AnyArray, BoolArray, IntArray

#: Number of rows of each class that a sample has at least, if there are as many.
MIN_PER_CLASS = 5


def stratified_sample(
    rows: IntArray,
    strata: AnyArray,
    n_rows: int,
    rng: np.random.Generator,
    *,
    min_per_class: int = MIN_PER_CLASS,
    groups: AnyArray | None = None,
) -> IntArray:
    """Return a random sample in which each class, or each range of targets, has about its share.

    Parameters
    ----------
    rows : ndarray of int of shape (n_samples,)
        Rows to draw from.
    strata : ndarray of shape (n_all_samples,)
        Result of :func:`strata_of`: integers, or continuous targets.
    n_rows : int
        Number of rows to draw. Small classes may add some.
    rng : Generator
    min_per_class : int, default=5
        Number of rows of each class that the sample has at least, if there are as many.
    groups : ndarray of shape (n_all_samples,) or None, default=None
        Group of each row. Rows that small classes add are of different groups, as far as possible.

    Returns
    -------
    ndarray of int of shape (n_drawn,)
        Sorted rows.

    Examples
    --------
    >>> strata = np.array([0] * 96 + [1] * 3 + [2])
    >>> drawn = stratified_sample(np.arange(100), strata, 10, np.random.default_rng(0), min_per_class=2)
    >>> np.bincount(strata[drawn]).tolist()
    [9, 2, 1]
    """
    if len(rows) <= n_rows:
        return np.sort(rows)
    order = rng.permutation(rows)
    if groups is None:
        order = order[np.argsort(strata[order], kind="stable")]
    else:
        order = order[np.lexsort([_ranks(groups[order]), strata[order]])]
    is_drawn = np.zeros(len(order), dtype=bool)
    is_drawn[np.linspace(0, len(order) - 1, max(2, n_rows)).round().astype(np.int64)] = True
    if strata.dtype.kind in "iu":
        is_drawn |= _missing(strata[order], is_drawn, min_per_class)
    return np.sort(order[is_drawn])


def _missing(codes: IntArray, is_drawn: BoolArray, min_per_class: int) -> BoolArray:
    """Return the first rows of each class that are not drawn, up to its minimum; `codes` are sorted."""
    _, first, of_row = np.unique(codes, return_index=True, return_inverse=True)
    n_drawn = np.add.reduceat(is_drawn.astype(np.int64), first)
    n_others_before: IntArray = np.cumsum(~is_drawn) - ~is_drawn
    rank: IntArray = n_others_before - n_others_before[first][of_row]
    result: BoolArray = ~is_drawn & (rank < (min_per_class - n_drawn)[of_row])
    return result


def _ranks(values: AnyArray) -> IntArray:
    """Return how many equal values are before each value."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return ranks


def strata_of(y: AnyArray, task: str) -> AnyArray:
    """Return what samples are stratified by.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels, continuous targets or tags.
    task : {"classification", "regression", "multilabel"}

    Returns
    -------
    ndarray of shape (n_samples,)
        The class of each sample as an integer; the rarest of its tags; or its continuous target.
    """
    if task == "regression":
        return y
    if are_tags(y):
        counts = collections.Counter(name for tags in y for name in tags)
        y = np.array([min(tags, key=lambda name: (counts[name], name), default="") for tags in y], dtype=object)
    codes: IntArray = np.unique(y, return_inverse=True)[1]
    return codes
