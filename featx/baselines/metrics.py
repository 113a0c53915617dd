"""Metrics of predictions, their confidence intervals, and significance tests between estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from featx.datasets.labels import as_series
from featx.datasets.tags import image_f1
from featx.system.array_types import AnyArray, Float64Array

if TYPE_CHECKING:
    import pandas as pd

#: Metrics of each task. The first one selects the best estimator.
METRICS = {
    "classification": ("accuracy", "balanced_accuracy", "f1_macro"),
    "regression": ("r2", "mae", "rmse"),
    "multilabel": ("map", "f1_micro", "f1_macro"),
}
#: Display names of the metrics.
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "f1_macro": "macro-F1",
    "f1_micro": "micro-F1",
    "map": "mAP",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
}
#: Level of confidence intervals and of significance tests.
CONFIDENCE = 0.95
#: Accuracy that exceeds balanced accuracy by this much is misleading.
_MISLEADING_DIFFERENCE = 0.05
#: Classes are imbalanced if the largest has this many times the samples of the smallest.
_IMBALANCE = 1.5
_N_BOOTSTRAP = 1000


def score(task: str, y: AnyArray, predicted: AnyArray) -> dict[str, float]:
    """Return the metrics of predictions for one test set.

    Parameters
    ----------
    task : {"classification", "regression"}
        Type of the target.
    y : ndarray of shape (n_test,)
        True labels or values.
    predicted : ndarray of shape (n_test,)
        Predicted labels or values.

    Returns
    -------
    dict of str to float
        Value of each of :data:`METRICS`. Balanced accuracy is the mean recall of the classes in `y`. Macro-F1 is the
        mean over the classes in `y` or `predicted`; it is 0 for a class that is never predicted.
    """
    from sklearn import metrics

    if task == "regression":
        return {
            "r2": float(metrics.r2_score(y, predicted)) if len(y) > 1 else float("nan"),  # undefined for one sample
            "mae": float(metrics.mean_absolute_error(y, predicted)),
            "rmse": float(metrics.root_mean_squared_error(y, predicted)),
        }
    recall = metrics.recall_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0)
    return {
        "accuracy": float(metrics.accuracy_score(y, predicted)),
        "balanced_accuracy": float(recall),
        "f1_macro": float(metrics.f1_score(y, predicted, average="macro", zero_division=0)),
    }


def corrected_interval(scores: Float64Array, test_ratio: float) -> tuple[float, float]:
    """Return a 95 % confidence interval for the mean score over folds.

    Folds share most of their training samples, so that their scores vary less than independent ones. The corrected
    variance of the mean is s² · (1 / J + n_test / n_train) for J folds [1]_, with Student's t distribution of J − 1
    degrees of freedom. Repeated k-fold uses the same correction [2]_.

    Parameters
    ----------
    scores : ndarray of float of shape (n_folds,)
        Score of each fold.
    test_ratio : float
        n_test / n_train.

    Returns
    -------
    low, high : float
        Limits of the interval. NaN for a single fold.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003), 239–281.
    .. [2] R. Bouckaert and E. Frank, "Evaluating the replicability of significance tests for comparing learning
       algorithms", PAKDD 2004.

    Examples
    --------
    >>> low, high = corrected_interval(np.array([0.90, 0.92, 0.91, 0.93, 0.89]), test_ratio=0.25)
    >>> round(low, 3), round(high, 3)
    (0.881, 0.939)
    """
    from scipy.stats import t

    n_folds = len(scores)
    if n_folds < 2:
        return float("nan"), float("nan")
    standard_error = np.sqrt(scores.var(ddof=1) * (1 / n_folds + test_ratio))
    half_width = t.ppf((1 + CONFIDENCE) / 2, n_folds - 1) * standard_error
    return float(scores.mean() - half_width), float(scores.mean() + half_width)


def corrected_t_test(differences: Float64Array, test_ratio: float) -> float:
    """Return the two-sided p-value of the corrected resampled t-test for equal scores.

    The variance is corrected as in :func:`corrected_interval`.

    Parameters
    ----------
    differences : ndarray of float of shape (n_folds,)
        Difference of the scores of two estimators on each fold.
    test_ratio : float
        n_test / n_train.

    Returns
    -------
    float
        p-value. NaN if all differences are equal but not 0, as the test does not apply.

    Examples
    --------
    >>> round(corrected_t_test(np.array([0.02, 0.03, 0.01, 0.02, 0.02]), test_ratio=0.25), 4)
    0.0135
    """
    from scipy.stats import t

    n_folds = len(differences)
    standard_error = np.sqrt(differences.var(ddof=1) * (1 / n_folds + test_ratio))
    if standard_error < 1e-12:
        return 1.0 if abs(differences.mean()) < 1e-12 else float("nan")
    return float(2 * t.sf(abs(differences.mean()) / standard_error, n_folds - 1))


def single_test_interval(task: str, y: AnyArray, predicted: AnyArray, random_state: int) -> tuple[float, float]:
    """Return a 95 % confidence interval for the first metric on a single test set.

    It is Wilson's score interval [1]_ for accuracy, and a percentile interval of 1,000 bootstrap samples for R². Tags
    have none.

    Parameters
    ----------
    task : {"classification", "regression"}
        Type of the target.
    y : ndarray of shape (n_test,)
        True labels or values.
    predicted : ndarray of shape (n_test,)
        Predicted labels or values.
    random_state : int
        Seed of the bootstrap samples.

    Returns
    -------
    low, high : float
        Limits of the interval. NaN for regression with fewer than three samples.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927),
       209–212.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import r2_score

    if task == "multilabel":  # mean average precision needs more than predictions
        return float("nan"), float("nan")
    if task == "classification":
        interval = binomtest(int((y == predicted).sum()), len(y)).proportion_ci(CONFIDENCE, method="wilson")
        return float(interval.low), float(interval.high)
    if len(y) < 3:
        return float("nan"), float("nan")
    rng = np.random.default_rng(random_state)
    samples = rng.integers(0, len(y), (_N_BOOTSTRAP, len(y)))
    values = [r2_score(y[rows], predicted[rows]) for rows in samples if np.ptp(y[rows]) > 0]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def paired_test(task: str, y: AnyArray, predicted: AnyArray, other_predicted: AnyArray) -> float:
    """Return the two-sided p-value for equal performance of two estimators on a single test set.

    It is McNemar's exact test for classification [1]_, a paired t-test of squared errors for regression, and a paired
    t-test of the F1 score of each sample for tags.

    Parameters
    ----------
    task : {"classification", "regression"}
        Type of the target.
    y : ndarray of shape (n_test,)
        True labels or values.
    predicted : ndarray of shape (n_test,)
        Predictions of one estimator.
    other_predicted : ndarray of shape (n_test,)
        Predictions of the other estimator.

    Returns
    -------
    float
        p-value.

    References
    ----------
    .. [1] T. G. Dietterich, "Approximate statistical tests for comparing supervised classification learning
       algorithms", Neural Computation 10 (1998), 1895–1923.
    """
    from scipy.stats import binomtest, ttest_rel

    if task == "classification":
        is_right, other_is_right = predicted == y, other_predicted == y
        n_only, n_other_only = int((is_right & ~other_is_right).sum()), int((~is_right & other_is_right).sum())
        return float(binomtest(n_only, n_only + n_other_only).pvalue) if n_only + n_other_only else 1.0
    if task == "multilabel":
        scores, other_scores = image_f1(y, predicted), image_f1(y, other_predicted)
        if np.allclose(scores, other_scores):
            return 1.0
        return float(ttest_rel(scores, other_scores).pvalue) if len(y) > 2 else 1.0
    errors, other_errors = (y - predicted) ** 2, (y - other_predicted) ** 2
    if np.allclose(errors, other_errors):
        return 1.0
    return float(ttest_rel(errors, other_errors).pvalue) if len(y) > 2 else 1.0


def add_verdicts(
    table: pd.DataFrame,
    fold_scores: Sequence[Float64Array],
    predictions: Sequence[AnyArray],
    y: AnyArray,
    *,
    task: str,
    test_ratio: float,
) -> None:
    """Add the columns ``p_value`` and ``verdict``, which compare each row of a table with the best one.

    The verdict is ``worse`` for a p-value below 0.05, otherwise ``tie``. p-values are not corrected for multiple
    comparisons: of 20 equally good estimators, one is expected to be called worse.

    Parameters
    ----------
    table : pandas.DataFrame
        One row for each estimator, with the mean of the first metric. It is changed in place.
    fold_scores : sequence of ndarray of float of shape (n_folds,)
        First metric of each estimator, on the same folds.
    predictions : sequence of ndarray of shape (n_test,)
        Predictions of each estimator, concatenated over the folds. They are used if there is a single fold, or if the
        difference is the same on all folds.
    y : ndarray of shape (n_test,)
        True labels or values of the predicted samples.
    task : {"classification", "regression"}
        Type of the target.
    test_ratio : float
        n_test / n_train.
    """
    best = best_row(table, task)
    p_values = []
    for row, scores in enumerate(fold_scores):
        p_value = float("nan")
        if row != best:
            if len(scores) > 1:
                p_value = corrected_t_test(scores - fold_scores[best], test_ratio)
            if np.isnan(p_value):
                p_value = paired_test(task, y, predictions[row], predictions[best])
        p_values.append(p_value)
    table["p_value"] = p_values
    table["verdict"] = ["best" if row == best else verdict(p_value) for row, p_value in enumerate(p_values)]


def verdict(p_value: float) -> str:
    """Return whether a row of this p-value is a ``"tie"`` with the best one, or ``"worse"``."""
    return "worse" if p_value < 1 - CONFIDENCE else "tie"


def best_row(table: pd.DataFrame, task: str) -> int:
    """Return the position of the row with the largest mean of the first metric."""
    scores = table[f"{METRICS[task][0]}_mean"].to_numpy(dtype=float)
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


def is_at_chance(table: pd.DataFrame) -> bool:
    """Return whether the dummy estimator was compared and is not significantly worse than the best estimator."""
    return bool(((table["estimator"] == "dummy") & (table["verdict"] != "worse")).any())


def no_better_than_dummy(table: pd.DataFrame, task: str) -> str:
    """Return a warning if an estimator is not better than the dummy estimator, else an empty string."""
    metric = f"{METRICS[task][0]}_mean"
    scores = table.set_index("estimator")[metric]
    if "dummy" not in scores or len(scores) == 1:
        return ""
    if is_at_chance(table):
        return "No estimator is significantly better than the dummy estimator, which ignores the features."
    names = [name for name in scores.index[scores <= scores["dummy"]] if name != "dummy"]
    return f"No better than the dummy estimator, which ignores the features: {', '.join(names)}." if names else ""


def misleading_accuracy(table: pd.DataFrame, y: AnyArray) -> str:
    """Return a warning if accuracy hides poor results of rare classes, else an empty string.

    That is the case if the best accuracy exceeds the balanced accuracy of the same estimator by five points or more.
    """
    best = table.iloc[best_row(table, "classification")]
    if not best["accuracy_mean"] - best["balanced_accuracy_mean"] >= _MISLEADING_DIFFERENCE:
        return ""
    labels, counts = np.unique(y, return_counts=True)
    if counts.max() < _IMBALANCE * counts.min():  # folds without some class have the same effect
        return ""
    best_balanced = table.iloc[int(table["balanced_accuracy_mean"].argmax())]
    return (
        f"Accuracy is misleading for these imbalanced classes ({counts.max():,} images of {labels[counts.argmax()]!s}, "
        f"{counts.min():,} of {labels[counts.argmin()]!s}): {best['estimator']} has accuracy "
        f"{best['accuracy_mean']:.3f}, but balanced accuracy {best['balanced_accuracy_mean']:.3f}. The best balanced "
        f"accuracy is {best_balanced['balanced_accuracy_mean']:.3f}, of {best_balanced['estimator']}. Verdicts compare "
        "accuracy."
    )


def per_class(y: AnyArray, predicted: AnyArray) -> pd.DataFrame:
    """Return precision, recall and F1 of each class.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        True labels.
    predicted : ndarray of shape (n_samples,)
        Predicted labels.

    Returns
    -------
    pandas.DataFrame
        Columns ``label``, ``images`` (number of samples), ``recall``, ``precision`` and ``f1``, sorted by label.
    """
    import pandas as pd
    from sklearn.metrics import precision_recall_fscore_support

    labels = np.unique(y)
    precision, recall, f1, images = precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    return pd.DataFrame(
        {"label": as_series(labels), "images": images, "recall": recall, "precision": precision, "f1": f1}
    )
