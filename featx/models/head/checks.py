"""Check that a head and the estimator that it was made from agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import ExportError, ModelFileError
from featx.models.head.from_sklearn import as_head
from featx.models.head.head import Head
from featx.system.array_types import AnyArray

#: A head with more numbers would double the size of a model file, and is not saved.
_MAX_SAVED_NUMBERS = 10_000_000
#: Number of rows that predictions are compared on.
_N_COMPARED = 200


def savable_head(estimator: Any) -> Head | None:
    """Return the head of a fitted estimator, or None if scikit-learn has to run it."""
    try:
        head = as_head(estimator)
    except ExportError:
        return None
    return head if sum(array.size for array in head.as_arrays()[1].values()) <= _MAX_SAVED_NUMBERS else None


def check_predictions(head: Head, estimator: Any, rows: AnyArray) -> None:
    """Raise an error if a head predicts something else than its estimator.

    Raises
    ------
    ModelFileError
    """
    rows = rows[:: max(1, len(rows) // _N_COMPARED)]
    scores, _ = head(rows)
    expected = np.asarray(estimator.predict(rows))
    largest = max(1e-9, float(np.abs(scores).max()))
    if head.classes is None:
        is_equal = np.allclose(scores[:, 0], expected, rtol=1e-3, atol=1e-3 * largest)
    else:
        predicted = np.array([head.classes[index] for index in head.class_indices(scores)], dtype=object)
        top = np.sort(np.abs(scores) if scores.shape[1] == 1 else scores, axis=1)
        margin = top[:, -1] - (top[:, -2] if top.shape[1] > 1 else 0)
        # Rounding may decide between classes of equal scores.
        is_equal = bool((predicted == expected.astype(object))[margin > 1e-4 * largest].all())
    if not is_equal:
        raise ModelFileError(
            "Cannot save the model: its predictions would differ from those of the pipeline. Report this as a bug of "
            f"featx, with the estimator: {estimator!r}"
        )


def is_head_of(head: Head, estimator: Any) -> bool:
    """Return whether a head from a file has the steps and, up to float32, the numbers of an estimator."""
    try:
        expected = as_head(estimator)
    except (ExportError, AttributeError, IndexError, TypeError, ValueError):  # the file may hold anything
        return False
    (description, arrays), (expected_description, expected_arrays) = head.as_arrays(), expected.as_arrays()
    return (
        description == expected_description
        and arrays.keys() == expected_arrays.keys()
        and all(_is_close(arrays[name], array) for name, array in expected_arrays.items())
    )


def _is_close(array: AnyArray, expected: AnyArray) -> bool:
    if array.shape != expected.shape:
        return False
    largest = float(np.abs(expected).max(initial=0))
    return bool(np.allclose(array, expected, rtol=1e-5, atol=1e-6 * largest))


def check_head_shapes(head: Head, n_features: int, classes: list[Any]) -> None:
    """Raise an error if a head from a file does not accept the features, or does not score the classes, of its model.

    Raises
    ------
    ValueError
    """
    scores, probabilities = head(np.zeros((1, n_features)))
    n_classes = len(classes) or 1
    if not np.isfinite(scores).all():
        raise ValueError("its arrays contain NaN or infinity")
    has_scores = scores.shape[1] in ({n_classes} if n_classes != 2 else {1, 2})
    has_probabilities = probabilities is None or probabilities.shape[1] == n_classes
    if not has_scores or not has_probabilities or (head.classes or []) != classes:
        raise ValueError("its arrays do not fit its classes")
