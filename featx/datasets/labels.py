"""Labels: classes, or quantities; and the rows that have one."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import ComparisonError
from featx.system.array_types import IntArray

if TYPE_CHECKING:
    import pandas as pd


#: Whole numbers of more different values than this, each of them rare, are taken for quantities.
_MOST_CLASSES_OF_NUMBERS = 20
_FEW_OF_EACH = 5


def is_missing(label: Any) -> bool:
    """Return whether a label, or a group, is none: None, NaN, or pandas's own."""
    return label is None or (not isinstance(label, str) and str(label) in ("nan", "<NA>", "NaT"))


def as_series(labels: np.ndarray[Any, Any]) -> pd.Series[Any]:
    """Return labels as a column; text as objects, for pandas's own kinds of text take no names that are not UTF-8."""
    import pandas as pd

    return pd.Series(labels, dtype=object if labels.dtype.kind in "UO" else None)


def infer_task(y: np.ndarray[Any, Any]) -> str:
    """Return whether labels are classes or quantities.

    Numbers with fractions are quantities. Whole numbers are if there are more than 20 different ones and, on average,
    fewer than five rows have the same.

    Parameters
    ----------
    y : ndarray, shape (n_samples,)

    Returns
    -------
    {"classification", "regression"}

    Raises
    ------
    ComparisonError
        Labels that mix numbers and text.

    Examples
    --------
    >>> infer_task(np.array([0, 1, 1])), infer_task(np.array([0.5, 1.5])), infer_task(np.array(["a", "b"]))
    ('classification', 'regression', 'classification')
    """
    if y.dtype.kind not in "iufO":
        return "classification"
    numeric = [label for label in y.tolist() if _is_quantity(label)]
    if numeric and len(numeric) < len(y):
        other = next(label for label in y.tolist() if not _is_quantity(label))
        raise ComparisonError(
            f"Labels mix numbers and text: {numeric[0]!r} and {other!r}, for example. Make all of them text, or all "
            "numbers."
        )
    if not numeric:
        return "classification"
    values = np.asarray(numeric, dtype=np.float64)
    if (values != np.round(values)).any():
        return "regression"
    n_different = len(np.unique(values))
    return (
        "regression"
        if n_different > _MOST_CLASSES_OF_NUMBERS and len(values) < _FEW_OF_EACH * n_different
        else "classification"
    )


def validate_labels(y: np.ndarray[Any, Any], task: str) -> np.ndarray[Any, Any]:
    """Return labels in a form that suits the task: numbers for regression, sortable classes otherwise.

    Raises
    ------
    ComparisonError
        For regression, a label that is no number; otherwise, labels that mix numbers and text.
    """
    if task == "regression":
        try:
            numbers = y.astype(np.float64)
        except (TypeError, ValueError):
            wrong = next(label for label in y.tolist() if not _is_number(label))
            raise ComparisonError(
                f"Expected numbers for regression, got {wrong!r}. Leave that row out, or compare as classification."
            ) from None
        if not np.isfinite(numbers).all():
            raise ComparisonError("Expected finite numbers for regression, got an infinite one. Leave that row out.")
        return numbers
    if y.dtype.kind != "O":
        return y
    infer_task(y)  # raises if mixed
    # Objects, but all of them text or all of them numbers.
    plain = np.array([label.item() if isinstance(label, np.generic) else label for label in y.tolist()])
    if plain.dtype.kind not in "iufbUS" or plain.ndim != 1:
        raise ComparisonError(f"Expected labels that are text or numbers, got {y[0]!r}. Turn them into text.")
    return plain


def as_label_array(labels: Any) -> np.ndarray[Any, Any]:
    """Return labels as an array in which each stays what it is: of a list, numpy would make text of numbers and NaN."""
    if isinstance(labels, list | tuple) and len({type(label) for label in labels}) > 1:
        array = np.empty(len(labels), dtype=object)
        array[:] = labels
        return array
    return np.asarray(labels)


def validate_data(X: Any, y: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], IntArray, list[str]]:
    """Return rows and labels of those that have a label, their numbers, and a note of the others.

    Parameters
    ----------
    X : array-like of float, shape (n_samples, n_features)
    y : array-like, shape (n_samples,)

    Raises
    ------
    ComparisonError
        No matrix of finite numbers, or not one label for each row.
    """
    X, y = np.asarray(X), as_label_array(y)
    if X.dtype.kind not in "fiu":
        raise ComparisonError(
            f"Expected X of numbers, got {X.dtype}. Turn images into features first: FeatureExtractor."
        )
    if X.ndim != 2 or y.ndim != 1 or len(X) != len(y):
        raise ComparisonError(
            f"Expected X of shape (n_samples, n_features) and one label a row, got X of shape {X.shape} and y of "
            f"shape {y.shape}."
        )
    missing = np.array([is_missing(label) for label in y.tolist()], dtype=bool)
    rows = np.flatnonzero(~missing)
    notes = []
    if missing.any():
        first = ", ".join(map(str, np.flatnonzero(missing)[:5]))
        more = missing.sum() - 5
        notes.append(
            f"{missing.sum():,} of {len(y):,} rows have no label and are left out: {first}"
            f"{f' and {more:,} more' if more > 0 else ''}."
        )
        X, y = X[rows], y[rows]
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        raise ComparisonError(
            f"{len(bad)} of {len(X)} rows have NaN or infinite features, the first is row {rows[bad[0]]}. Leave these "
            "rows out of X and y: keep = np.isfinite(X).all(axis=1)."
        )
    return X, y, rows, notes


def encode_targets(y: np.ndarray[Any, Any], task: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return labels as columns of numbers: 1 where a row is of a class and 0 elsewhere; or the standardised quantity.

    Parameters
    ----------
    y : ndarray, shape (n_samples,)
    task : {"auto", "classification", "regression"}

    Returns
    -------
    ndarray of float64, shape (n_samples, n_classes) or (n_samples, 1)
        Classes sorted.

    Examples
    --------
    >>> encode_targets(np.array(["cat", "dog", "cat"]), "classification").tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    if task == "auto":
        task = infer_task(y)
    y = validate_labels(y, task)
    if task == "regression":
        centred = y.astype(np.float64) - y.mean()
        spread = centred.std()
        targets: np.ndarray[Any, np.dtype[np.float64]] = (centred / (spread if spread > 0 else 1))[:, None]
        return targets
    classes, codes = np.unique(y, return_inverse=True)
    of_class: np.ndarray[Any, np.dtype[np.float64]] = (codes[:, None] == np.arange(len(classes))).astype(np.float64)
    return of_class


def _is_quantity(label: Any) -> bool:
    return isinstance(label, numbers.Real | np.number) and not isinstance(label, bool | np.bool_)


def _is_number(label: Any) -> bool:
    try:
        float(label)
    except (TypeError, ValueError):
        return False
    return True
