"""The rows most similar to others, by cosine."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np

from featx.errors import FeaturesError, OptionError, did_you_mean
from featx.features.exact_index import ExactIndex
from featx.system.array_types import FloatArray, IntArray

INDEXES = ("exact", "faiss", "faiss-approximate")


@dataclasses.dataclass(frozen=True)
class Similar:
    """The rows most similar to each of some queries, the most similar first.

    Attributes
    ----------
    rows : ndarray of int, shape (n_queries, top)
        Numbers of rows; -1 where an approximate index found fewer.
    cosine : ndarray of float32, shape (n_queries, top)
        NaN where there is no row.
    index : str
        What was searched, in words.
    """

    rows: IntArray
    cosine: FloatArray
    index: str


class Index(Protocol):
    """Features that can be searched."""

    words: str

    def search(self, queries: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
        """Return rows and cosines, the most similar first."""


def make_index(features: Any, index: str = "exact") -> Index:
    """Return features that can be searched.

    Raises
    ------
    OptionError
        No such kind of index.
    MissingDependencyError
        faiss is not installed.
    """
    if index == "exact":
        return ExactIndex(features)
    if index not in INDEXES:
        raise OptionError(
            f"index={index!r}: expected one of {', '.join(map(repr, INDEXES))}.{did_you_mean(str(index), INDEXES)}"
        )
    from featx.features.faiss_index import FaissIndex

    return FaissIndex(features, approximate=index == "faiss-approximate")


def find_similar(features: Any, queries: Any, top: int = 10, *, index: str | Index = "exact") -> Similar:
    """Return the rows of a matrix that are most similar to others, by the cosine of their features.

    Parameters
    ----------
    features : FeatureMatrix or array-like of float, shape (n_samples, n_features)
        Those of :func:`open_features` are read a block at a time. Rows with NaN are never found.
    queries : array-like of float, shape (n_queries, n_features) or (n_features,)
        Of the same recipe.
    top : int, default=10
        Rows for each.
    index : {"exact", "faiss", "faiss-approximate"}, default="exact"
        Compare with every row, in blocks; or build an index of faiss (the extra ``faiss``), which holds all rows, and
        is worth its while for many queries: an exact one, or one that looks at a part of the rows, and takes a quarter
        of the memory.

    Returns
    -------
    Similar

    Raises
    ------
    FeaturesError
        Queries of another length, or with NaN.
    OptionError
        `top` or `index` cannot be.
    MissingDependencyError
        faiss is not installed.

    Notes
    -----
    Exact search is bounded by reading: a million rows of 1,024 are 4 GB, whether for one query or a hundred.

    Examples
    --------
    >>> features = np.eye(5)
    >>> found = find_similar(features, [[0, 3, 1, 0, 0]], top=2)
    >>> found.rows.tolist(), found.cosine.round(2).tolist()
    ([[1, 2]], [[0.949999988079071, 0.3199999928474426]])
    """
    check_top(top)
    if not hasattr(features, "shape"):
        features = np.asarray(features)
    rows = np.atleast_2d(np.asarray(queries, dtype=np.float32))
    if len(features.shape) != 2 or rows.ndim != 2 or rows.shape[1] != features.shape[1]:
        raise FeaturesError(
            f"Expected queries of shape (n_queries, n_features) like features, got {rows.shape} and {features.shape}. "
            "Extract both in the same way."
        )
    if not np.isfinite(rows).all():
        raise FeaturesError("Queries have NaN or infinite values: images that could not be read? Leave them out.")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    searched = make_index(features, index) if isinstance(index, str) else index
    found, cosine = searched.search(unit, min(int(top), features.shape[0]))
    missing = cosine < -1.5
    return Similar(np.where(missing, -1, found), np.where(missing, np.float32("nan"), cosine), searched.words)


def check_top(top: Any) -> None:
    """Raise :class:`OptionError` if a value is no number of rows."""
    if not isinstance(top, int | np.integer) or isinstance(top, bool) or top < 1:
        raise OptionError(f"top={top!r}: expected a number of rows, 1 or more.")
