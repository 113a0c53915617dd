"""Folds in which each tag is spread evenly, and groups are kept whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from featx.datasets.tags import tag_names
from featx.system.array_types import AnyArray, Float64Array, IntArray


def assign_folds(y: AnyArray, n_folds: int, groups: IntArray | None, random_state: int) -> IntArray:
    """Return the fold of each sample by iterative stratification [1]_, with groups as units.

    The rarest tag is distributed first, each of its units to the fold that lacks it most; then the next one among the
    units that remain. No maintained library keeps groups whole.

    Parameters
    ----------
    y : ndarray of Tags of shape (n_samples,)
    n_folds : int
    groups : ndarray of int of shape (n_samples,) or None
        Samples of one group get one fold.
    random_state : int
        Seed of the order of units, and of ties.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011,
       145–158.
    """
    units = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_units = int(units.max()) + 1
    samples_of_unit = np.bincount(units, minlength=n_units).astype(np.float64)
    counts = _count_tags(y, units, n_units)
    units_by_tag = counts.tocsc()
    rng = np.random.default_rng(random_state)
    wanted_tags = np.tile(np.asarray(counts.sum(axis=0)) / n_folds, (n_folds, 1))
    wanted_samples = np.full(n_folds, len(y) / n_folds)
    folds = np.full(n_units, -1)
    order = rng.permutation(n_units)
    n_left = np.diff(units_by_tag.indptr).astype(np.int64)  # units of each tag without a fold
    while (folds < 0).any():
        tag = int(np.where(n_left > 0, n_left, np.iinfo(np.int64).max).argmin()) if n_left.any() else None
        is_chosen = folds < 0
        if tag is not None:
            has_tag = np.zeros(n_units, dtype=bool)
            has_tag[units_by_tag.indices[units_by_tag.indptr[tag] : units_by_tag.indptr[tag + 1]]] = True
            is_chosen &= has_tag
        chosen = order[is_chosen[order]]
        for unit in chosen[np.argsort(-samples_of_unit[chosen], kind="stable")].tolist():
            wanted = wanted_samples if tag is None else wanted_tags[:, tag]
            fold = _neediest(wanted, wanted_samples, rng)
            folds[unit] = fold
            own = slice(counts.indptr[unit], counts.indptr[unit + 1])
            wanted_tags[fold, counts.indices[own]] -= counts.data[own]
            n_left[counts.indices[own]] -= 1
            wanted_samples[fold] -= samples_of_unit[unit]
    assigned: IntArray = folds[units]
    return assigned


def _count_tags(y: AnyArray, units: IntArray, n_units: int) -> Any:
    """Return the number of samples of each unit with each tag, as a sparse matrix."""
    columns = {name: column for column, name in enumerate(tag_names(y))}
    pairs = [(unit, columns[name]) for unit, tags in zip(units.tolist(), y, strict=True) for name in tags]
    rows, tags = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return csr_array((np.ones(len(pairs)), (rows, tags)), shape=(n_units, len(columns)))  # adds up repeated pairs


def _neediest(wanted: Float64Array, wanted_samples: Float64Array, rng: np.random.Generator) -> int:
    """Return the fold that lacks most, of several the one that lacks most samples, of several a random one."""
    candidates = np.flatnonzero(wanted >= wanted.max() - 1e-9)
    candidates = candidates[wanted_samples[candidates] >= wanted_samples[candidates].max() - 1e-9]
    return int(candidates[rng.integers(len(candidates))])
