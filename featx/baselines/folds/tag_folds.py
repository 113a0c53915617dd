"""Folds in which each tag is spread evenly, and groups are kept whole."""

from __future__ import annotations

import numpy as np

from featx.datasets.tags import tag_matrix, tag_names
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
    counts = np.zeros((n_units, len(tag_names(y))))
    np.add.at(counts, units, tag_matrix(y, tag_names(y)))
    rng = np.random.default_rng(random_state)
    wanted_tags = np.tile(counts.sum(axis=0) / n_folds, (n_folds, 1))
    wanted_samples = np.full(n_folds, len(y) / n_folds)
    folds = np.full(n_units, -1)
    order = rng.permutation(n_units)
    while (folds[order] < 0).any():
        remaining = order[folds[order] < 0]
        left = (counts[remaining] > 0).sum(axis=0)
        tag = int(np.where(left > 0, left, np.iinfo(np.int64).max).argmin()) if left.any() else None
        chosen = remaining if tag is None else remaining[counts[remaining, tag] > 0]
        for unit in chosen[np.argsort(-samples_of_unit[chosen], kind="stable")].tolist():
            wanted = wanted_samples if tag is None else wanted_tags[:, tag]
            fold = _neediest(wanted, wanted_samples, rng)
            folds[unit] = fold
            wanted_tags[fold] -= counts[unit]
            wanted_samples[fold] -= samples_of_unit[unit]
    assigned: IntArray = folds[units]
    return assigned


def _neediest(wanted: Float64Array, wanted_samples: Float64Array, rng: np.random.Generator) -> int:
    """Return the fold that lacks most, of several the one that lacks most samples, of several a random one."""
    candidates = np.flatnonzero(wanted >= wanted.max() - 1e-9)
    candidates = candidates[wanted_samples[candidates] >= wanted_samples[candidates].max() - 1e-9]
    return int(candidates[rng.integers(len(candidates))])
