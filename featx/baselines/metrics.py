"""How good predictions are, how sure that is, and whether one estimator is better than another beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.datasets.labels import as_series
from featx.system.array_types import Float64Array

if TYPE_CHECKING:
    import pandas as pd


#: What is computed for every fold; the first decides which estimator is best.
METRICS = {
    "classification": ("accuracy", "balanced_accuracy", "f1_macro"),
    "regression": ("r2", "mae", "rmse"),
}
#: What they are called for people.
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "f1_macro": "macro-F1",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
}
#: Level of the intervals, and of calling a difference real.
CONFIDENCE = 0.95
#: Accuracy this far above balanced accuracy hides how badly rare classes do.
_MISLEADING = 0.05


def score(task: str, y: Any, predicted: Any) -> dict[str, float]:
    """Return the metrics of one fold.

    Parameters
    ----------
    task : {"classification", "regression"}
    y, predicted : ndarray, shape (n_test,)

    Returns
    -------
    dict
        Of :data:`METRICS`. Balanced accuracy is the mean recall of the classes in `y`, macro-F1 that of the classes
        in either; a class that is never predicted has an F1 of 0.
    """
    from sklearn import metrics

    if task == "regression":
        return {
            # Of a single row R² is not defined.
            "r2": float(metrics.r2_score(y, predicted)) if len(y) > 1 else float("nan"),
            "mae": float(metrics.mean_absolute_error(y, predicted)),
            "rmse": float(metrics.root_mean_squared_error(y, predicted)),
        }
    there = np.unique(y)
    return {
        "accuracy": float(metrics.accuracy_score(y, predicted)),
        "balanced_accuracy": float(metrics.recall_score(y, predicted, labels=there, average="macro", zero_division=0)),
        "f1_macro": float(metrics.f1_score(y, predicted, average="macro", zero_division=0)),
    }


def corrected_interval(scores: Float64Array, test_ratio: float) -> tuple[float, float]:
    """Return a 95 % interval for the mean of scores over folds.

    Folds share most of what they are fitted on, so their scores vary less than independent ones would: the variance
    of the mean is taken as s² · (1 / J + n_test / n_train), for J folds, with Student's t of J − 1 degrees of freedom.

    Parameters
    ----------
    scores : ndarray of float, shape (n_folds,)
    test_ratio : float
        n_test / n_train.

    References
    ----------
    C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003), 239–281. For
    repeated k-fold: R. Bouckaert and E. Frank, "Evaluating the replicability of significance tests for comparing
    learning algorithms", PAKDD 2004.

    Examples
    --------
    >>> low, high = corrected_interval(np.array([0.90, 0.92, 0.91, 0.93, 0.89]), test_ratio=0.25)
    >>> round(low, 3), round(high, 3)
    (0.881, 0.939)
    """
    from scipy.stats import t

    n = len(scores)
    if n < 2:
        return float("nan"), float("nan")
    half = t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.sqrt(scores.var(ddof=1) * (1 / n + test_ratio))
    return float(scores.mean() - half), float(scores.mean() + half)


def corrected_t_test(differences: Float64Array, test_ratio: float) -> float:
    """Return the two-sided p-value of no difference, by the corrected resampled t-test.

    Parameters
    ----------
    differences : ndarray of float, shape (n_folds,)
        Score of one estimator minus score of the other, fold by fold on the same folds. If they are all the same but
        not 0, the test says nothing, and NaN is returned.
    test_ratio : float
        n_test / n_train.

    References
    ----------
    As for :func:`corrected_interval`.

    Examples
    --------
    >>> round(corrected_t_test(np.array([0.02, 0.03, 0.01, 0.02, 0.02]), test_ratio=0.25), 4)
    0.0135
    """
    from scipy.stats import t

    n = len(differences)
    spread = np.sqrt(differences.var(ddof=1) * (1 / n + test_ratio))
    if spread < 1e-12:  # says nothing: the folds may have been few, or small
        return 1.0 if abs(differences.mean()) < 1e-12 else float("nan")
    return float(2 * t.sf(abs(differences.mean()) / spread, n - 1))


def single_test_interval(task: str, y: Any, predicted: Any, random_state: int) -> tuple[float, float]:
    """Return a 95 % interval for the first metric on a single test set.

    Accuracy: Wilson's score interval. R²: percentiles of 1,000 bootstrap samples of the test rows.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209–212.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import r2_score

    if task == "classification":
        found = binomtest(int((y == predicted).sum()), len(y)).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)
    if len(y) < 3:
        return float("nan"), float("nan")
    rng = np.random.default_rng(random_state)
    drawn = rng.integers(0, len(y), (1000, len(y)))
    values = [r2_score(y[rows], predicted[rows]) for rows in drawn if np.ptp(y[rows]) > 0]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def paired_test(task: str, y: Any, one: Any, other: Any) -> float:
    """Return the two-sided p-value of no difference on a single test set.

    Classification: McNemar's exact test on the rows that only one of them gets right. Regression: paired t-test of
    the squared errors.

    References
    ----------
    T. G. Dietterich, "Approximate statistical tests for comparing supervised classification learning algorithms",
    Neural Computation 10 (1998), 1895–1923.
    """
    from scipy.stats import binomtest, ttest_rel

    if task == "classification":
        only_one, only_other = int(((one == y) & (other != y)).sum()), int(((one != y) & (other == y)).sum())
        return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0
    errors, other_errors = (y - one) ** 2, (y - other) ** 2
    if np.allclose(errors, other_errors):
        return 1.0
    return float(ttest_rel(errors, other_errors).pvalue) if len(y) > 2 else 1.0


def add_verdicts(
    table: pd.DataFrame,
    fold_scores: Sequence[Float64Array],
    predictions: Sequence[Any],
    y: Any,
    *,
    task: str,
    test_ratio: float,
) -> None:
    """Add the columns ``p_value`` and ``verdict``: how each row of the table compares with the best one.

    A p-value below 0.05 is ``worse``, any other a ``tie``. Each stands for itself: of twenty equals, one is called
    worse by chance.

    Parameters
    ----------
    table : DataFrame
        One row for each estimator, with the mean of the first metric.
    fold_scores : sequence of ndarray of float, shape (n_folds,)
        First metric of each of them, on the same folds.
    predictions : sequence of ndarray, shape (n_test,)
        Of each, pooled over the folds; used if there is one fold only, or if all folds differ by the same.
    y : ndarray, shape (n_test,)
    task : {"classification", "regression"}
    test_ratio : float
        n_test / n_train.
    """
    best = best_row(table, task)
    p_values = []
    for at, scores in enumerate(fold_scores):
        differences = scores - fold_scores[best]
        p = corrected_t_test(differences, test_ratio) if len(scores) > 1 else float("nan")
        if at != best and np.isnan(p):  # a single fold, or all of them equally different
            p = paired_test(task, y, predictions[at], predictions[best])
        p_values.append(p)
    table["p_value"] = [float("nan") if at == best else p for at, p in enumerate(p_values)]
    table["verdict"] = [
        "best" if at == best else "worse" if p < 1 - CONFIDENCE else "tie" for at, p in enumerate(p_values)
    ]


def best_row(table: pd.DataFrame, task: str) -> int:
    """Return the number of the row with the highest mean of the first metric."""
    scores = table[f"{METRICS[task][0]}_mean"].to_numpy(dtype=float)
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


def misleading_accuracy(table: pd.DataFrame, y: Any) -> str:
    """Return a warning if the best accuracy hides how badly rare classes do, else "".

    That is where it is 5 points or more above the mean recall of the classes (balanced accuracy).
    """
    best = table.iloc[best_row(table, "classification")]
    if not best["accuracy_mean"] - best["balanced_accuracy_mean"] >= _MISLEADING:
        return ""
    labels, counts = np.unique(y, return_counts=True)
    fairest = table.iloc[int(table["balanced_accuracy_mean"].argmax())]
    return (
        f"Accuracy misleads here: class {labels[counts.argmax()]!s} has {counts.max():,} images, "
        f"{labels[counts.argmin()]!s} has {counts.min():,}, and {best['estimator']} gets "
        f"{best['accuracy_mean']:.3f} of the images right but only {best['balanced_accuracy_mean']:.3f} of the average "
        f"class. By balanced accuracy the best is {fairest['estimator']}, {fairest['balanced_accuracy_mean']:.3f}; "
        "verdicts are by accuracy."
    )


def per_class(y: Any, predicted: Any) -> pd.DataFrame:
    """Return precision, recall and F1 of each class.

    Parameters
    ----------
    y, predicted : ndarray, shape (n_samples,)

    Returns
    -------
    DataFrame
        ``label, images, recall, precision, f1``; sorted by label.
    """
    import pandas as pd
    from sklearn.metrics import precision_recall_fscore_support

    labels = np.unique(y)
    precision, recall, f1, images = precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    return pd.DataFrame(
        {"label": as_series(labels), "images": images, "recall": recall, "precision": precision, "f1": f1}
    )
