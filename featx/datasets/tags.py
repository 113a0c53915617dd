"""Several labels of one image: tags."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np

from featx.errors import ComparisonError
from featx.system.formatting import format_count, shorten

#: 0 and 1, which may be many: a value for each image and each tag.
TagMatrix: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
#: Between tags in text.
SEPARATOR = ";"


@dataclasses.dataclass(frozen=True, order=True)
class Tags:
    """The labels of an image that may have several, or none.

    Parameters
    ----------
    names : iterable of str
        Tags in any order. They become a sorted tuple of distinct names.

    See Also
    --------
    compare_baselines : Compare estimators on tags.
    ImageTable : Table of images, whose labels may be Tags.

    Examples
    --------
    >>> tags = Tags(["sea", "beach", "sea"])
    >>> str(tags), len(tags), "sea" in tags, list(tags)
    ('beach;sea', 2, True, ['beach', 'sea'])
    """

    names: tuple[str, ...]

    # Without __getitem__, so that an array of tags is an array of objects, not a matrix.
    def __init__(self, names: Iterable[str]) -> None:
        object.__setattr__(self, "names", tuple(sorted(set(names))))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __str__(self) -> str:
        return SEPARATOR.join(self.names)


def are_tags(y: np.ndarray[Any, Any]) -> bool:
    """Return whether labels are tags."""
    return y.dtype == object and y.ndim == 1 and len(y) > 0 and isinstance(y[0], Tags)


def split_tags(text: str, separator: str) -> Tags:
    """Return the tags in a text.

    Examples
    --------
    >>> split_tags("sea, beach,", ",").names
    ('beach', 'sea')
    """
    return Tags(name.strip() for name in text.split(separator) if name.strip())


def untagged_notes(n_untagged: int) -> list[str]:
    """Return a note if images have no tags."""
    if not n_untagged:
        return []
    return [f"{format_count(n_untagged, 'image')} without tags: none of the tags is taken to apply to them."]


def tag_names(y: Iterable[Tags]) -> list[str]:
    """Return the sorted distinct tags of all images."""
    return sorted({name for tags in y for name in tags})


def tag_matrix(y: Sequence[Tags] | np.ndarray[Any, Any], names: Sequence[str]) -> TagMatrix:
    """Return 1 where an image has a tag, else 0.

    Parameters
    ----------
    y : sequence of Tags of length n_samples
    names : sequence of str
        Tag of each column. Others are ignored.

    Examples
    --------
    >>> tag_matrix([Tags(["sea"]), Tags([]), Tags(["beach", "sea"])], ["beach", "sea"]).tolist()
    [[0, 1], [0, 0], [1, 1]]
    """
    columns = {name: column for column, name in enumerate(names)}
    matrix = np.zeros((len(y), len(names)), dtype=np.uint8)
    for row, tags in enumerate(y):
        for name in tags:
            if name in columns:
                matrix[row, columns[name]] = 1
    return matrix


def tags_of_matrix(matrix: Any, names: Any) -> np.ndarray[Any, Any]:
    """Return the tags of each row of a matrix of 0 and 1; the inverse of `tag_matrix`."""
    column_names = np.asarray(names, dtype=object)
    y = np.empty(len(matrix), dtype=object)
    for row, values in enumerate(np.asarray(matrix).astype(bool)):
        y[row] = Tags(column_names[values].tolist())
    return y


def as_tags(labels: Any, *, allow_one_hot: bool = False) -> np.ndarray[Any, Any] | None:
    """Return labels as an array of Tags if they are several for each image, else None.

    Parameters
    ----------
    labels : object
        A matrix of 0 and 1 with a column for each tag (array, sparse matrix or DataFrame, whose columns are the names),
        or lists, tuples or sets of str, one for each image, also in a Series.
    allow_one_hot : bool, default=False
        Whether a matrix with one 1 in each row is taken for tags, too, not for one-hot encoded classes.
    """
    if hasattr(labels, "toarray") and np.shape(labels)[1] > 1:
        return _tags_of_sparse(labels, allow_one_hot=allow_one_hot)
    if getattr(labels, "ndim", 1) == 2 and np.shape(labels)[1] > 1:
        return _tags_of_columns(np.asarray(labels), getattr(labels, "columns", None), allow_one_hot=allow_one_hot)
    if hasattr(labels, "to_list") and getattr(labels, "ndim", 1) == 1:
        labels = _listed_tags(labels)
    if not isinstance(labels, list | tuple | np.ndarray) or not len(labels):
        return None
    if not all(isinstance(label, Tags | list | tuple | set | frozenset) or label is None for label in labels):
        return None
    known = [label for label in labels if label is not None]
    if not known or not all(isinstance(name, str) for label in known for name in label):
        return None
    y = np.empty(len(labels), dtype=object)
    for row, label in enumerate(labels):
        y[row] = None if label is None else Tags(label)
    return y


def _tags_of_sparse(labels: Any, *, allow_one_hot: bool) -> np.ndarray[Any, Any] | None:
    """Return the tags of a sparse matrix of 0 and 1, or None for another one, whose dense form may be too large."""
    from scipy.sparse import csr_array

    matrix = csr_array(labels, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    counts = np.diff(matrix.indptr)
    if not is_binary(matrix.data) or (not allow_one_hot and len(counts) and (counts == 1).all()):
        return None
    names = list(map(str, range(matrix.shape[1])))
    y = np.empty(len(counts), dtype=object)
    for row, columns in enumerate(np.split(matrix.indices, matrix.indptr[1:-1])):
        y[row] = Tags(names[column] for column in columns.tolist())
    return y


def _listed_tags(series: Any) -> list[Any] | None:
    """Return the values of a Series of pandas or polars if it may hold lists, with None for NaN."""
    if not str(series.dtype).startswith(("object", "List")):
        return None
    return [None if isinstance(value, float) else value for value in series.to_list()]


def is_one_hot(matrix: np.ndarray[Any, Any]) -> bool:
    """Return whether a matrix has values of 0 and 1 only, with one 1 in each row."""
    return matrix.size > 0 and is_binary(matrix) and bool((matrix.sum(axis=1) == 1).all())


def is_binary(matrix: np.ndarray[Any, Any]) -> bool:
    """Return whether a matrix has values of 0 and 1 only."""
    return matrix.dtype.kind in "biuf" and bool(((matrix == 0) | (matrix == 1)).all())


def _tags_of_columns(matrix: np.ndarray[Any, Any], columns: Any, *, allow_one_hot: bool) -> np.ndarray[Any, Any] | None:
    if not is_binary(matrix) or (not allow_one_hot and is_one_hot(matrix)):
        return None
    names = [str(index) for index in range(matrix.shape[1])] if columns is None else list(map(str, columns))
    return tags_of_matrix(matrix, names)


def image_f1(y: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the F1 score of the tags of each image: 1 if all are right, also if there are none.

    Examples
    --------
    >>> image_f1(np.array([Tags(["a", "b"]), Tags([])]), np.array([Tags(["a"]), Tags([])])).round(2).tolist()
    [0.67, 1.0]
    """
    scores = np.ones(len(y))
    for row, (true, guess) in enumerate(zip(y.tolist(), predicted.tolist(), strict=True)):
        if len(true) + len(guess):
            scores[row] = 2 * len(set(true) & set(guess)) / (len(true) + len(guess))
    return scores


def matrix_error(matrix: np.ndarray[Any, Any], name: str) -> ComparisonError:
    """Return the error for labels in several columns that are not 0 and 1."""
    other = next((value for value in matrix.ravel().tolist() if value not in (0, 1)), matrix.flat[0])
    return ComparisonError(
        f"{name} must have one label per image, or a column of 0 and 1 for each tag, got a matrix of shape "
        f"{matrix.shape} with values such as {shorten(repr(other))}. Round probabilities, ({name} > 0.5).astype(int), "
        "or select one column."
    )


def one_hot_error(labels: Any, name: str) -> ComparisonError:
    """Return the error for one-hot labels, with the code that turns them into classes."""
    return ComparisonError(
        f"{name} must have one label per image, got one-hot labels of shape {np.shape(labels)}. Pass "
        f"{_decoded(labels, name)}."
    )


def raise_for_sparse(labels: Any, name: str) -> NoReturn:
    """Raise an error for a sparse matrix that has no tags; its dense form may not fit into memory."""
    if as_tags(labels, allow_one_hot=True) is not None:
        raise one_hot_error(labels, name)
    raise ComparisonError(
        f"{name} must have one label per image, or 0 and 1 for each tag, got a sparse matrix of shape "
        f"{np.shape(labels)} with other values. Pass {name} != 0 for tags."
    )


def _decoded(one_hot: Any, name: str) -> str:
    """Return the code that turns one-hot labels into classes: their names in a DataFrame, else their numbers."""
    if hasattr(one_hot, "idxmax"):
        return f"{name}.idxmax(axis=1)"
    if hasattr(one_hot, "to_pandas"):
        return f"{name}.to_pandas().idxmax(axis=1)"
    if hasattr(one_hot, "toarray"):
        return f"{name}.toarray().argmax(1)"
    return f"{name}.argmax(1)" if hasattr(one_hot, "argmax") else f"numpy.argmax({name}, axis=1)"
