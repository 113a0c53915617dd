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
    memory_rows : int, default=100000
        Number of samples up to which features are in memory. Beyond it, they are read in blocks.
    memory_bytes : int, default=1073741824
        Size of the features up to which they are in memory.
    subset_rows : int, default=20000
        Number of training samples of estimators that have no form for rows in blocks.
    max_products : int, default=500000000000
        Samples × features × classes × folds up to which logistic regression uses all samples. One pass over more of
        them takes minutes on two cores.
    probability_bytes : int, default=536870912
        Size up to which out-of-fold probabilities of an estimator are kept, if rows are read in blocks.
    """

    exact_rows: int = 10_000
    n_components: int = 1_000
    block_bytes: int = 128 * 2**20
    sample_rows: int = 2_000
    memory_rows: int = 100_000
    memory_bytes: int = 2**30
    subset_rows: int = 20_000
    max_products: int = 5 * 10**11
    probability_bytes: int = 2**29

    def is_out_of_core(self, shape: tuple[int, ...]) -> bool:
        """Return whether rows of this shape are read in blocks.

        Parameters
        ----------
        shape : tuple of int
            Number of samples, and of features.

        Returns
        -------
        bool
            Whether they exceed the limits of memory.
        """
        return shape[0] > self.memory_rows or 4 * shape[0] * shape[1] > self.memory_bytes


class TimeUpError(Exception):
    """The time limit ended a computation."""
