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
        Size of the features up to which they are in memory. For an array in memory, only this limit counts.
    subset_rows : int, default=20000
        Number of training samples of estimators that have no form for rows in blocks.
    max_products : int, default=500000000000
        Samples × features × classes × folds up to which logistic regression uses all samples. One pass over more of
        them takes minutes on two cores.
    probability_bytes : int, default=536870912
        Size up to which out-of-fold probabilities, or values of tags, of an estimator are kept.
    thread_share : float, default=0.5
        Share of the available memory that folds in threads of this process may take, as estimated from the shape of the
        data. Others run in processes, after an estimate from small fits.

    See Also
    --------
    compare_baselines : Estimators are approximated beyond these sizes, unless ``exact=True``.

    Examples
    --------
    >>> from featx import ScaleLimits
    >>> ScaleLimits().is_out_of_core((60_000, 1024)), ScaleLimits().is_out_of_core((1_000_000, 1024))
    (False, True)
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
    thread_share: float = 0.5

    def is_out_of_core(self, shape: tuple[int, ...], *, in_memory: bool = False, itemsize: int = 4) -> bool:
        """Return whether rows of this shape are read in blocks.

        Parameters
        ----------
        shape : tuple of int
            Number of samples, and of features.
        in_memory : bool, default=False
            Whether the rows are an array in memory already, instead of in a file.
        itemsize : int, default=4
            Bytes of a value.

        Returns
        -------
        bool
            Whether they exceed the limits of memory.
        """
        is_long = shape[0] > self.memory_rows and not in_memory
        return is_long or itemsize * shape[0] * shape[1] > self.memory_bytes

    def keeps_probabilities(self, n_samples: int, n_classes: int) -> bool:
        """Return whether out-of-fold probabilities of an estimator are kept.

        Parameters
        ----------
        n_samples : int
            Number of predictions.
        n_classes : int
            Number of classes.

        Returns
        -------
        bool
            Whether they take at most ``probability_bytes``.
        """
        return 4 * n_samples * n_classes <= self.probability_bytes


class TimeUpError(Exception):
    """The time limit ended a computation.

    Parameters
    ----------
    needed : float, default=0
        Estimated seconds from the start to the end of the computation, which were more than were left. 0: unknown; the
        computation was stopped when the time was over.
    """

    def __init__(self, needed: float = 0.0) -> None:
        super().__init__()
        self.needed = needed
