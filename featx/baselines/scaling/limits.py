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
    """

    exact_rows: int = 10_000
    n_components: int = 1_000
    block_bytes: int = 128 * 2**20
    sample_rows: int = 2_000
