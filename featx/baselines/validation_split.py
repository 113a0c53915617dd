"""The part of the training images that tells when to stop: some of each class, no group divided."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.baselines.splits import Fold
from featx.errors import TrainingError


def validation_split(
    codes: np.ndarray[Any, Any], groups: np.ndarray[Any, Any] | None, share: float, random_state: int
) -> Fold:
    """Return the rows to learn from and the rows that are held out, at least one image of each class if possible.

    Parameters
    ----------
    codes : ndarray of int, shape (n_samples,)
        Classes, as numbers from 0.
    groups : ndarray of int, shape (n_samples,), or None
        Rows of one group are all learned from or all held out; every class keeps a group to learn from.
    share : float
        Of the images of each class, to be held out.
    random_state : int

    Raises
    ------
    TrainingError
        All classes are in one group each.

    Examples
    --------
    >>> train, held_out = validation_split(np.arange(20) % 2, None, 0.2, 0)
    >>> len(train), np.bincount(held_out % 2).tolist()
    (16, [2, 2])
    """
    groups = np.arange(len(codes)) if groups is None else np.unique(groups, return_inverse=True)[1]
    # What there is of each class in each group; of each class, something must be left to learn from.
    table = np.zeros((groups.max() + 1, codes.max() + 1), dtype=np.int64)
    np.add.at(table, (groups, codes), 1)
    wanted = np.maximum(1, np.round(share * table.sum(axis=0)))
    held, left = np.zeros_like(table[0]), table.sum(axis=0)
    chosen = []
    for group in np.random.default_rng(random_state).permutation(len(table)):
        within = table[group] > 0
        held_then, left_then = held + table[group], left - table[group]
        is_small = (held_then <= np.maximum(wanted, left_then))[within].all()
        if (held < wanted)[within].any() and left_then[within].min() > 0 and is_small:
            held, left = held_then, left_then
            chosen.append(group)
    if not chosen:
        raise TrainingError(
            "No images can be held out to tell when to stop: every class lies in one group, or one group in all. Give "
            "smaller groups, or images of more groups."
        )
    is_held_out = np.isin(groups, chosen)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
