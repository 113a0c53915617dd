"""Near-duplicates of few rows: all pairs are compared, in blocks of the matrix of cosine similarities."""

from __future__ import annotations

import numpy as np

from featx.features.duplicates.components import PairGroups
from featx.features.duplicates.cosine_bounds import rounding
from featx.features.duplicates.limits import DuplicateLimits
from featx.system.array_types import FloatArray, IntArray

#: Pairs with a cosine similarity from here up to the threshold are linked if they stand out: if their distance (1 −
#: cosine) is at most 1 / `DISTANCE_RATIO` of the distance of either row to its neighbor number `N_NEIGHBORS`.
MIN_COSINE = 0.90
N_NEIGHBORS = 10
DISTANCE_RATIO = 2.0


def link_all_pairs(unit: FloatArray, threshold: float, limits: DuplicateLimits) -> tuple[IntArray, FloatArray]:
    """Return the group and the highest linked cosine similarity of each row.

    Parameters
    ----------
    unit : ndarray of float32 of shape (n_samples, n_features)
        Distinct rows of unit length.
    threshold : float
    limits : DuplicateLimits

    Returns
    -------
    labels : ndarray of int64 of shape (n_samples,)
    cosine : ndarray of float32 of shape (n_samples,)
        NaN for rows without a near-duplicate.
    """
    n_samples = len(unit)
    max_cosine = 1 - rounding(unit.shape[1])
    threshold = min(threshold, max_cosine)
    min_cosine = min(MIN_COSINE, threshold) if threshold < max_cosine else threshold
    has_neighbors = n_samples > 2 * N_NEIGHBORS
    neighbor_cosine = np.full(n_samples, -1.0, dtype=np.float32)
    cosine = np.full(n_samples, np.nan, dtype=np.float32)
    groups = PairGroups(n_samples, limits.max_pairs)
    candidates: list[tuple[IntArray, IntArray, FloatArray]] = []
    step = max(1, limits.dense_block_bytes // (4 * max(1, n_samples)))
    for start in range(0, n_samples, step):
        block = unit[start : start + step] @ unit.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = -1
        left, right = np.nonzero(block >= threshold)
        np.fmax.at(cosine, left + start, block[left, right])
        groups.add(left + start, right)
        if has_neighbors:
            rows = slice(start, start + len(block))
            neighbor_cosine[rows] = np.partition(block, n_samples - N_NEIGHBORS, axis=1)[:, n_samples - N_NEIGHBORS]
            is_close = DISTANCE_RATIO * (1 - block) <= 1 - neighbor_cosine[rows, None]
            left, right = np.nonzero((block >= min_cosine) & (block < threshold) & is_close)  # at most 10 per row
            candidates.append((left + start, right, block[left, right]))
    for left, right, value in candidates:
        stands_out = DISTANCE_RATIO * (1 - value) <= 1 - neighbor_cosine[right]
        np.fmax.at(cosine, left[stands_out], value[stands_out])
        groups.add(left[stands_out], right[stands_out])
    return groups.labels(), cosine
