"""Sizes above which a comparison works differently. They are parameters, so that tests reach them with few samples."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ScaleLimits:
    """Sizes above which a comparison works differently.

    Attributes
    ----------
    exact_rows : int, default=10000
        Number of samples up to which kernel machines are exact, and folds run in threads of this process. An RBF
        support vector machine took 17 s per fold on 10,000 samples, and more than ten minutes on 50,000.
    n_components : int, default=1000
        Number of components that approximate a kernel.
    block_bytes : int, default=134217728
        Size of the largest intermediate array of a prediction: votes of pairs of classes, or distances.
    sample_rows : int, default=2000
        Number of training samples of the smaller fit from which cost is estimated. The larger one has twice as many.
    in_memory_bytes : int, default=1500000000
        Size of the features up to which they are read into memory.
    reference_rows : int, default=12500
        Number of samples, over all folds, that nearest neighbors are searched among if features are out of core.
    read_rows : int, default=8192
        Number of rows that are read at once.
    start_rows : int, default=50000
        Number of samples on which out-of-core logistic regression is fitted before it sees all of them.
    passes : int, default=10
        Number of times that out-of-core logistic regression reads all samples.
    """

    exact_rows: int = 10_000
    n_components: int = 1_000
    block_bytes: int = 128 * 2**20
    sample_rows: int = 2_000
    in_memory_bytes: int = 1_500_000_000
    reference_rows: int = 12_500
    read_rows: int = 8_192
    start_rows: int = 50_000
    passes: int = 10
