"""Find the rows of a feature matrix that are most similar to queries."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from featx.errors import FeaturesError
from featx.features.search.cosine import normalize_rows
from featx.features.search.exact_index import ExactIndex
from featx.system.array_types import FloatArray, IntArray
from featx.system.formatting import format_count
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import table_to_html
from featx.system.option_checks import check_choice, check_integer
from featx.system.terminal.progress import ProgressFunction, reporting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from featx.features.matrix import FeatureMatrix

IndexName: TypeAlias = Literal["exact", "faiss", "faiss-approximate"]
#: Maximum number of queries that notebooks show.
_MAX_SHOWN_QUERIES = 10
INDEXES: tuple[IndexName, ...] = ("exact", "faiss", "faiss-approximate")


@dataclasses.dataclass(frozen=True)
class Similar:
    """Result of :func:`find_similar`: for each query, the most similar rows in descending order.

    Attributes
    ----------
    rows : ndarray of int of shape (n_queries, top)
        Row indices; -1 where fewer rows were found, because others have NaN or the index is approximate.
    cosine : ndarray of float32 of shape (n_queries, top)
        Cosine similarities; NaN where there is no row.
    index : str
        Description of the index.

    See Also
    --------
    find_similar : Return a result of this class.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import find_similar
    >>> similar = find_similar(np.eye(5), [0, 3, 4, 0, 0], top=2)
    >>> similar.rows.tolist(), similar.index
    ([[2, 1]], 'exact, every row compared')
    """

    rows: IntArray
    cosine: FloatArray
    index: str

    def __repr__(self) -> str:
        n_queries, top = self.rows.shape
        return f"<Similar: {format_count(n_queries, 'query')}, {format_count(top, 'row')} each; {self.index}>"

    def _repr_html_(self) -> str:
        """Return the rows of the first queries as an HTML table, for notebooks."""
        shown = [
            {"query": str(query), "row": str(row), "cosine": f"{cosine:.4f}"}
            for query in range(min(len(self.rows), _MAX_SHOWN_QUERIES))
            for row, cosine in zip(self.rows[query, :10], self.cosine[query, :10], strict=True)
            if row >= 0
        ]
        n_queries, top = self.rows.shape
        facts = {"queries": f"{n_queries:,}", "rows for each": f"{top:,}", "index": self.index}
        return card_to_html("Similar rows", facts, table_to_html(shown) if shown else "")


class Index(Protocol):
    """An index that finds the rows most similar to queries."""

    description: str

    def search(self, queries: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
        """Return row indices and cosine similarities in descending order; see :meth:`ExactIndex.search`."""


def make_index(features: Any, index: str = "exact") -> Index:
    """Return an index of the rows of a matrix.

    Parameters
    ----------
    features : FeatureMatrix or ndarray of shape (n_samples, n_features)
    index : {"exact", "faiss", "faiss-approximate"}, default="exact"
        See :func:`find_similar`.

    Raises
    ------
    OptionError
        There is no index of this name.
    MissingDependencyError
        faiss is not installed.
    """
    if index == "exact":
        return ExactIndex(features)
    check_choice("index", index, INDEXES)
    from featx.features.search.faiss_index import FaissIndex

    return FaissIndex(features, approximate=index == "faiss-approximate")


def find_similar(
    features: FeatureMatrix | ArrayLike,
    queries: ArrayLike,
    top: int = 10,
    *,
    index: IndexName | Index = "exact",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> Similar:
    """Return the rows of a feature matrix that are most similar to each query, by cosine similarity.

    Parameters
    ----------
    features : FeatureMatrix or array-like of float of shape (n_samples, n_features)
        Rows to search. A matrix of :func:`open_features` is read block by block. Rows with NaN are never returned.
    queries : array-like of float of shape (n_queries, n_features) or (n_features,)
        Feature rows extracted with the same recipe.
    top : int, default=10
        Number of rows per query.
    index : {"exact", "faiss", "faiss-approximate"}, default="exact"
        How to search.

        - "exact": compare each query with every row, block by block.
        - "faiss": build an exact faiss index in memory; faster for many queries.
        - "faiss-approximate": build an approximate faiss index, which searches a part of the rows and needs a quarter
          of the memory.

        The faiss indexes require the extra ``faiss``.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    Similar
        Row indices and cosine similarities for each query.

    Raises
    ------
    FeaturesError
        Queries and features differ in their number of columns, or a query has NaN or infinite values.
    OptionError
        `top` or `index` is invalid.
    MissingDependencyError
        faiss is not installed.

    See Also
    --------
    find_duplicates : Find groups of near-duplicate rows.
    open_features : Open a feature file or a job.

    Notes
    -----
    The time of an exact search is mostly that of reading the rows: a million rows of 1,024 features are 4 GB, for one
    query or a hundred.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import find_similar
    >>> features = np.eye(5)
    >>> similar = find_similar(features, [[0, 3, 1, 0, 0]], top=2)
    >>> similar.rows.tolist(), similar.cosine.round(2).tolist()
    ([[1, 2]], [[0.949999988079071, 0.3199999928474426]])
    """
    check_top(top)
    matrix: Any = features if hasattr(features, "shape") else np.asarray(features)
    rows = np.atleast_2d(np.asarray(queries, dtype=np.float32))
    if len(matrix.shape) != 2 or rows.ndim != 2 or rows.shape[1] != matrix.shape[1]:
        raise FeaturesError(
            "queries must have the shape (n_queries, n_features), with the n_features of features, got "
            f"{rows.shape} for features of shape {matrix.shape}. Extract both with the same recipe."
        )
    if not np.isfinite(rows).all():
        raise FeaturesError("queries must be finite, got NaN or infinite values. Remove the rows of unreadable images.")
    with reporting(verbose, progress):
        searcher = make_index(matrix, index) if isinstance(index, str) else index
        found_rows, cosine = searcher.search(normalize_rows(rows), min(int(top), matrix.shape[0]))
    is_missing = cosine < -1.5
    return Similar(
        rows=np.where(is_missing, -1, found_rows),
        cosine=np.where(is_missing, np.float32("nan"), cosine),
        index=searcher.description,
    )


def check_top(top: Any) -> None:
    """Raise :class:`OptionError` if `top` is not a positive integer."""
    check_integer("top", top)
