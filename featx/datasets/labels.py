"""Labels as arrays: the task that they define, missing labels, and encodings for estimators."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featx.datasets.tags import (
    Tags,
    are_tags,
    as_tags,
    is_one_hot,
    matrix_error,
    one_hot_error,
    raise_for_sparse,
    tag_matrix,
    tag_names,
)
from featx.errors import ComparisonError, OptionError
from featx.system.array_types import IntArray
from featx.system.formatting import format_count

if TYPE_CHECKING:
    import pandas as pd


#: Integers are continuous targets if they have more distinct values than this, and fewer samples per value.
_MAX_INTEGER_CLASSES = 20
_MIN_SAMPLES_PER_CLASS = 5
#: Floats below are exact integers.
_MAX_EXACT = 2**53
#: Size up to which texts are an array of NumPy's texts, each of which is as long as the longest.
MAX_TEXT_BYTES = 2**27


def is_missing(label: Any) -> bool:
    """Return whether a label or group is missing: None, NaN, or ``pandas.NA``."""
    return label is None or (not isinstance(label, str | Tags) and str(label) in ("nan", "<NA>", "NaT"))


def label_to_json(label: Any) -> Any:
    """Return a label as a JSON value: tags as a list, and None for a missing label.

    Examples
    --------
    >>> label_to_json(Tags(["sea", "beach"])), label_to_json(np.int64(3)), label_to_json(float("nan"))
    (['beach', 'sea'], 3, None)
    """
    if isinstance(label, Tags):
        return list(label)
    if is_missing(label):
        return None
    return label.item() if isinstance(label, np.generic) else label


def as_series(labels: np.ndarray[Any, Any]) -> pd.Series[Any]:
    """Return labels as a pandas Series. Text keeps dtype object: pandas's string types reject names outside UTF-8."""
    import pandas as pd

    return pd.Series(labels, dtype=object if labels.dtype.kind in "UO" else None)


def is_continuous(values: np.ndarray[Any, Any], counts: IntArray) -> bool:
    """Return whether integer labels are continuous targets.

    Parameters
    ----------
    values : ndarray of shape (n_distinct,)
        Distinct labels in increasing order.
    counts : ndarray of int of shape (n_distinct,)
        Number of samples of each.
    """
    if len(values) <= _MAX_INTEGER_CLASSES or counts.sum() >= _MIN_SAMPLES_PER_CLASS * len(values):
        return False
    # Libraries number classes without gaps, from 0 or 1.
    are_class_numbers = values[0] in (0, 1) and values[-1] - values[0] + 1 == len(values) and counts.min() >= 2
    return not are_class_numbers


def infer_task(y: np.ndarray[Any, Any]) -> Literal["classification", "regression", "multilabel"]:
    """Return the task that labels define: classification, regression, or multilabel for tags.

    Numbers with a fractional part define regression. So do integers with more than 20 distinct values and fewer than
    five samples per value on average, unless they are 0, 1, …, k - 1 or 1, 2, …, k with at least two samples of each.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)

    Returns
    -------
    {"classification", "regression", "multilabel"}

    Raises
    ------
    ComparisonError
        The labels mix numbers and text, or tags and single labels.

    Examples
    --------
    >>> infer_task(np.array([0, 1, 1])), infer_task(np.array([0.5, 1.5])), infer_task(np.array(["a", "b"]))
    ('classification', 'regression', 'classification')
    """
    if y.dtype.kind not in "iufO":
        return "classification"
    if any(isinstance(label, Tags) for label in y.tolist()):
        other = next((label for label in y.tolist() if not isinstance(label, Tags)), None)
        if other is not None:
            raise ComparisonError(
                f"Labels mix tags and single labels, such as {other!r}. Pass a list of tags for each."
            )
        return "multilabel"
    numeric = [label for label in y.tolist() if _is_real_number(label)]
    if numeric and len(numeric) < len(y):
        other = next(label for label in y.tolist() if not _is_real_number(label))
        raise ComparisonError(
            f"Labels mix numbers and text: {numeric[0]!r} and {other!r}, for example. Convert all of them to text, or "
            "all to numbers."
        )
    if not numeric:
        return "classification"
    values = np.asarray(numeric, dtype=np.float64)
    has_fractions = bool((values != np.round(values)).any())
    return "regression" if has_fractions or is_continuous(*np.unique(values, return_counts=True)) else "classification"


def describe_inferred_task(y: np.ndarray[Any, Any]) -> str:
    """Return a note if :func:`infer_task` may be wrong, else an empty text.

    That is the case if it takes integers for a continuous target, or lists of one label for tags.
    """
    if are_tags(y):
        if max(len(tags) for tags in y) > 1:
            return ""
        return "No image has more than one label. If the labels are classes, pass one label for each image, not a list."
    if infer_task(y) != "regression" or any(float(label) % 1 for label in y.tolist()):
        return ""
    return (
        f"The labels are integers with {len(np.unique(y)):,} distinct values, few samples of each, and are taken for a "
        'continuous target. If they are classes, pass task="classification" (--task classification).'
    )


def validate_labels(y: np.ndarray[Any, Any], task: str) -> np.ndarray[Any, Any]:
    """Return labels in the form that a task needs: floats for regression, sortable classes for classification.

    Raises
    ------
    OptionError
        The task does not fit the labels.
    ComparisonError
        A label for regression is not a finite number, or class labels mix numbers and text.
    """
    if are_tags(y) != (task == "multilabel"):
        needed, given = ("one label", "several") if are_tags(y) else ("several labels", "one")
        raise OptionError(
            f"task (--task) {task!r} requires {needed} per image, got {given}. Omit task (--task) to infer it."
        )
    if task == "multilabel":
        return y
    if task == "regression":
        return _continuous_targets(y)
    if y.dtype.kind == "U" and y.nbytes > MAX_TEXT_BYTES:
        return text_array(y.tolist())
    if y.dtype.kind != "O":
        return y
    infer_task(y)  # raises for a mixture
    values = [label.item() if isinstance(label, np.generic) else label for label in y.tolist()]
    if all(isinstance(label, str) for label in values):
        return text_array(values)
    labels = np.array(values)
    if labels.dtype.kind not in "iufbUS" or labels.ndim != 1:
        raise ComparisonError(f"Labels must be text or numbers, got {y[0]!r}. Convert them to text.")
    return labels


def _continuous_targets(y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    try:
        targets = y.astype(np.float64)
    except (TypeError, ValueError):
        wrong = [(row, label) for row, label in enumerate(y.tolist()) if not _is_number(label)]
        row, label = wrong[0]
        where = f"row {row}" if len(wrong) == 1 else f"row {row} and {format_count(len(wrong) - 1, 'other row')}"
        remedy = "Pass" if len(wrong) == len(y) else f"Drop {'that row' if len(wrong) == 1 else 'those rows'}, or pass"
        raise ComparisonError(
            f"Labels for regression must be numbers, got {label!r} in {where}. "
            f'{remedy} task="classification" (--task classification).'
        ) from None
    if not (is_finite := np.isfinite(targets)).all():
        row = int(np.flatnonzero(~is_finite)[0])
        raise ComparisonError(f"Labels for regression must be finite, got {targets[row]} in row {row}. Drop that row.")
    return targets


def as_label_array(labels: Any, name: str = "y") -> np.ndarray[Any, Any]:
    """Return labels as an array. One column becomes an array of shape (n_samples,).

    Parameters
    ----------
    labels : array-like of shape (n_samples,), Series or iterable
        A list of different types becomes an array of dtype object. NumPy would convert numbers and NaN to text. A
        matrix of 0 and 1, or a list of lists of text, becomes an array of :class:`Tags`.
    name : str, default="y"
        Name of the parameter, for messages.

    Raises
    ------
    ComparisonError
        The labels are one-hot encoded or another matrix, lists of other types than str, or have no order.

    Examples
    --------
    >>> as_label_array(np.array([[3], [5]]))
    array([3, 5])
    """
    if isinstance(labels, Mapping | Set):
        raise ComparisonError(
            f"{name} must have an order, got {type(labels).__name__}. Pass one label for each image, such as "
            f"[{name}[path] for path in images]."
        )
    has_rows = hasattr(labels, "__array__") or hasattr(labels, "toarray")
    if isinstance(labels, Iterable) and not has_rows and not isinstance(labels, str | bytes):
        labels = list(labels)
    tags = as_tags(labels)
    if tags is not None:
        return tags
    if isinstance(labels, list) and len({type(label) for label in labels}) > 1:
        array = np.empty(len(labels), dtype=object)
        array[:] = labels
        return array
    if hasattr(labels, "toarray") and np.shape(labels)[1] > 1:
        raise_for_sparse(labels, name)
    if isinstance(labels, list) and labels and isinstance(labels[0], str):
        return text_array(labels)
    try:
        column: Any = np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels)
    except ValueError:
        raise ComparisonError(
            f"{name} must have one label for each image, or a list of str for tags, got lists of other types or "
            f"lengths. Convert tags to text: [list(map(str, tags)) for tags in {name}]."
        ) from None
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    elif column.ndim == 2 and is_one_hot(column):
        raise one_hot_error(labels, name)
    elif column.ndim == 2 and column.shape[0] > 1:
        raise matrix_error(column, name)
    if column.dtype.kind == "S":  # as h5py has text
        return np.char.decode(column, "utf-8", "replace")
    return column  # type: ignore[no-any-return]


def text_array(labels: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return texts as an array: of objects, equal ones once, if a long text would make all others as long."""
    if 4 * len(labels) * max(map(len, labels), default=0) <= MAX_TEXT_BYTES:
        return np.array(labels)
    known: dict[str, str] = {}
    array = np.empty(len(labels), dtype=object)
    array[:] = [known.setdefault(label, label) for label in labels]
    return array


def validate_data(X: Any, y: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], IntArray, list[str]]:
    """Return features and labels of the samples that have a label.

    Parameters
    ----------
    X : array-like of float of shape (n_samples, n_features)
    y : array-like of shape (n_samples,), Series or iterable

    Returns
    -------
    X : ndarray of shape (n_labeled, n_features)
    y : ndarray of shape (n_labeled,)
    rows : ndarray of int of shape (n_labeled,)
        Indices of the labeled samples.
    notes : list of str
        Number and first indices of samples without a label, if there are any.

    Raises
    ------
    ComparisonError
        `X` is not a matrix of finite numbers, or the lengths of `X` and `y` differ.
    """
    X, y = np.asarray(X), as_label_array(y)
    check_shapes(X, y)
    rows, notes = labeled_rows(y)
    if len(rows) < len(y):
        X, y = X[rows], as_integers(y[rows])
    not_finite = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(not_finite):
        raise ComparisonError(
            f"X must be finite, got NaN or infinity in {len(not_finite):,} of {len(X):,} rows, first in row "
            f"{rows[not_finite[0]]}. Drop these rows of X and y: keep = np.isfinite(X).all(axis=1)."
        )
    return X, y, rows, notes


def check_shapes(X: Any, y: np.ndarray[Any, Any]) -> None:
    """Raise an error if `X` is not a numeric matrix with one row for each label.

    Raises
    ------
    ComparisonError
    """
    if X.dtype.kind not in "fiu":
        raise ComparisonError(f"X must be numeric, got dtype {X.dtype}. Extract features first with FeatureExtractor.")
    if X.ndim != 2 or y.ndim != 1 or len(X) != len(y):
        raise ComparisonError(
            "X must have shape (n_samples, n_features) and y shape (n_samples,), got X of shape "
            f"{X.shape} and y of shape {y.shape}. Pass one label per row of X."
        )


def labeled_rows(y: np.ndarray[Any, Any]) -> tuple[IntArray, list[str]]:
    """Return the indices of the samples that have a label, and a note on the others."""
    is_unlabeled = np.array([is_missing(label) for label in y.tolist()], dtype=bool)
    notes = [_note_of_unlabeled(np.flatnonzero(is_unlabeled), len(y))] if is_unlabeled.any() else []
    return np.flatnonzero(~is_unlabeled), notes


def as_integers(y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return floats that are all integers as integers: NumPy and pandas read integers with missing values as floats.

    Examples
    --------
    >>> as_integers(np.array([0.0, 2.0])), as_integers(np.array([0.5, 2.0]))
    (array([0, 2]), array([0.5, 2. ]))
    """
    if y.dtype.kind != "f" or not np.isfinite(y).all() or (np.abs(y) >= _MAX_EXACT).any() or (y != np.round(y)).any():
        return y
    return y.astype(np.int64)


def _note_of_unlabeled(indices: IntArray, n_samples: int) -> str:
    first = ", ".join(map(str, indices[:5]))
    more = f" and {len(indices) - 5:,} more" if len(indices) > 5 else ""
    return f"Dropped {len(indices):,} of {n_samples:,} rows without a label: {first}{more}."


def encode_targets(y: np.ndarray[Any, Any], task: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return labels as numeric columns: one-hot encoded classes, 0 and 1 of tags, or standardized continuous targets.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
    task : {"auto", "classification", "regression", "multilabel"}

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_classes) or (n_samples, 1)
        Columns of classes and tags are in sorted order.

    Examples
    --------
    >>> encode_targets(np.array(["cat", "dog", "cat"]), "classification").tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    if task == "auto":
        task = infer_task(y)
    y = validate_labels(y, task)
    if task == "multilabel":
        return tag_matrix(y, tag_names(y)).astype(np.float64)
    if task == "regression":
        centered = y.astype(np.float64) - y.mean()
        std = centered.std()
        targets: np.ndarray[Any, np.dtype[np.float64]] = (centered / (std if std > 0 else 1))[:, None]
        return targets
    classes, codes = np.unique(y, return_inverse=True)
    one_hot: np.ndarray[Any, np.dtype[np.float64]] = (codes[:, None] == np.arange(len(classes))).astype(np.float64)
    return one_hot


def _is_real_number(label: Any) -> bool:
    return isinstance(label, numbers.Real | np.number) and not isinstance(label, bool | np.bool_)


def _is_number(label: Any) -> bool:
    try:
        float(label)
    except (TypeError, ValueError):
        return False
    return True
