"""Folds of a data set as row indices."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import numpy as np

from featx.system.array_types import IntArray
from featx.system.notebook.cards import Record

Fold: TypeAlias = "tuple[IntArray, IntArray]"


@dataclasses.dataclass(frozen=True)
class Split(Record):
    """Folds of a data set.

    Attributes
    ----------
    folds : list of (ndarray of int of shape (n_train,), ndarray of int of shape (n_test,))
        Indices of training and test samples of each fold, one repeat after the other.
    n_first_repeat : int
        Number of folds in the first repeat. In these, each sample is tested at most once.
    description : str
        Human-readable description.
    notes : list of str
        Deviations from the request, such as dropped samples or fewer folds.

    See Also
    --------
    compare_baselines : Its result has the split that was used.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import compare_baselines
    >>> rows = np.random.default_rng(0).normal(size=(20, 3))
    >>> split = compare_baselines(rows, np.arange(20) % 2, estimators=["dummy"], cv=4, n_jobs=1).split
    >>> split.description, [len(test) for _, test in split.folds]
    ('4 stratified folds', [5, 5, 5, 5])
    """

    folds: list[Fold]
    n_first_repeat: int
    description: str
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def first_repeat(self) -> range:
        """Indices of the folds of the first repeat."""
        return range(self.n_first_repeat)

    @property
    def test_ratio(self) -> float:
        """Mean of n_test / n_train over the folds."""
        return float(np.mean([len(test) / len(train) for train, test in self.folds]))

    def map_rows(self, rows: IntArray) -> Split:
        """Return the folds of a data set in which sample ``i`` of this one has the index ``rows[i]``.

        Parameters
        ----------
        rows : ndarray of int of shape (n_samples,)
            Index of each sample in the other data set.

        Returns
        -------
        Split
            The same folds with these indices.
        """
        return dataclasses.replace(self, folds=[(rows[train], rows[test]) for train, test in self.folds])
