"""Likely label errors, from the predicted probabilities of samples outside the training set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.datasets.labels import as_label_array, as_series
from featx.datasets.tags import are_tags
from featx.errors import ComparisonError
from featx.system.array_types import AnyArray, BoolArray, Float64Array, IntArray

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

#: Fraction of the mean self-confidence of a class that its probability must reach to be suggested.
_THRESHOLD_FACTOR = 0.8


def find_label_issues(
    y: ArrayLike | Iterable[Any], probabilities: ArrayLike, *, classes: ArrayLike | None = None
) -> pd.DataFrame:
    """Return the samples whose label is probably wrong, most likely errors first.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Given labels.
    probabilities : array-like of float of shape (n_samples, n_classes)
        Class probabilities from classifiers that were not fitted on the sample itself, for example
        ``cross_val_predict(..., method="predict_proba")`` or ``Comparison.probabilities``.
    classes : array-like of shape (n_classes,) or None, default=None
        Class of each column. None: the distinct values of `y` in sorted order, as in scikit-learn.

    Returns
    -------
    pandas.DataFrame
        One row per likely error, with the columns ``row`` (index of the sample), ``given`` and ``suggested`` (labels),
        ``confidence`` (probability of the suggested label) and ``probability_of_given``, sorted by the difference of
        the two probabilities.

    Raises
    ------
    ComparisonError
        If shapes or classes do not match, or `probabilities` are not probabilities.

    See Also
    --------
    compare_baselines : Compute probabilities by cross-validation, and label issues from them.

    Notes
    -----
    The rule follows confident learning [1]_. A sample is listed if another class is more probable than its label and
    reaches 80 % of the mean probability that this class has among the samples with that label. The mean accounts for
    classes for which the classifier is over- or underconfident. Samples of a class whose probability is 0 for all
    samples are not listed: the classifier was not fitted on it.

    With 5 % of the labels of 840 aerial photos flipped, at least 81 % of the flipped labels were listed in 12 trials
    (mean 87 %), and at least 68 % of the listed samples were flipped (mean 77 %).

    References
    ----------
    .. [1] C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset labels", Journal
       of Artificial Intelligence Research 70 (2021), 1373–1411.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import find_label_issues
    >>> y = ["cat", "cat", "cat", "dog", "dog", "dog"]
    >>> dog = np.array([0.1, 0.2, 0.9, 0.9, 0.8, 0.7])
    >>> issues = find_label_issues(y, np.column_stack([1 - dog, dog]))
    >>> issues[["row", "given", "suggested"]].values.tolist()
    [[2, 'cat', 'dog']]
    """
    import pandas as pd

    y = as_label_array(y)
    if are_tags(y):
        raise ComparisonError(
            "y must be one label for each sample, got several. For tags, use the label_issues of compare_baselines(X, "
            "y)."
        )
    probabilities = np.asarray(probabilities, dtype=np.float64)
    class_names = np.unique(y) if classes is None else np.asarray(classes)
    _check_probabilities(y, probabilities, class_names)
    codes = _codes(y, class_names)
    suggested, is_issue = _suggest(probabilities, codes)
    rows = np.flatnonzero(is_issue)
    margins = probabilities[rows, suggested[rows]] - probabilities[rows, codes[rows]]
    rows = rows[np.argsort(-margins, kind="stable")]
    return pd.DataFrame(
        {
            "row": rows,
            "given": as_series(y[rows]),
            "suggested": as_series(class_names[suggested[rows]]),
            "confidence": probabilities[rows, suggested[rows]],
            "probability_of_given": probabilities[rows, codes[rows]],
        }
    )


def _check_probabilities(y: AnyArray, probabilities: Float64Array, class_names: AnyArray) -> None:
    if y.ndim != 1 or probabilities.shape != (len(y), len(class_names)):
        raise ComparisonError(
            f"probabilities must have shape {(len(y), len(class_names))}, for {len(y):,} samples and "
            f"{len(class_names):,} classes, got shape {probabilities.shape}. Pass classes= if the columns are not the "
            "sorted labels."
        )
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise ComparisonError(
            "probabilities must be finite and not negative, got other values. Remove the rows with these values."
        )
    if len(probabilities) and not np.allclose(probabilities.sum(axis=1), 1, atol=0.01):
        raise ComparisonError(
            "Each row of probabilities must sum to 1, got other sums. Use predict_proba instead of decision_function."
        )


def _codes(y: AnyArray, class_names: AnyArray) -> IntArray:
    columns = {label: column for column, label in enumerate(class_names.tolist())}
    unknown = [label for label in y.tolist() if label not in columns]
    if unknown:
        raise ComparisonError(f"y must contain labels from classes only, got {unknown[0]!r}. Pass all classes.")
    return np.array([columns[label] for label in y.tolist()], dtype=np.int64)


def _suggest(probabilities: Float64Array, codes: IntArray) -> tuple[IntArray, BoolArray]:
    """Return the class to suggest for each sample, and whether the sample is a likely label error."""
    n_samples, n_classes = probabilities.shape
    rows = np.arange(n_samples)
    self_confidence = np.full(n_classes, np.inf)  # a class without samples is never suggested
    for code in np.unique(codes):
        self_confidence[code] = probabilities[codes == code, code].mean()
    is_candidate = probabilities >= _THRESHOLD_FACTOR * self_confidence
    is_candidate[rows, codes] = False
    is_candidate &= probabilities > probabilities[rows, codes, None]
    suggested: IntArray = np.where(is_candidate, probabilities, -1).argmax(axis=1)
    was_trained = probabilities.max(axis=0, initial=0) > 0
    is_issue: BoolArray = is_candidate.any(axis=1) & was_trained[codes]
    return suggested, is_issue
