"""scikit-learn baselines compared by cross-validation on a feature matrix: arrays only, no images."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx import kernels
from featx.errors import ComparisonError, OptionError, did_you_mean
from featx.kernels import IntArray, SharedDistances

if TYPE_CHECKING:
    import pandas as pd

#: Names of the baselines, in the order they are shown. The dummy says what guessing would score.
BASELINES = ("dummy", "logreg", "svm", "knn")
_SCORES = ("accuracy", "f1_macro")
_NEIGHBOURS = 5


def make_baseline(name: str, n_train: int | None = None) -> Any:
    """Return an unfitted baseline, with settings that do well unattended on frozen features.

    Parameters
    ----------
    name : {"dummy", "logreg", "svm", "knn"}
        Most frequent class; logistic regression (C = 0.03) on standardised features; RBF SVM (C = 10) on
        features as they are; the 5 nearest neighbours by cosine, weighted by distance.
    n_train : int or None, default=None
        Rows it will be fitted on, where that may be fewer than 5.

    Raises
    ------
    OptionError
        No baseline has this name; the nearest one is suggested.

    Examples
    --------
    >>> make_baseline("logreg")
    Pipeline(steps=[('standardscaler', StandardScaler()),
                    ('logisticregression',
                     LogisticRegression(C=0.03, max_iter=1000))])
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if name == "dummy":
        return DummyClassifier(strategy="most_frequent")
    if name == "logreg":
        # A thousand features and few rows want far more shrinkage than scikit-learn's C = 1.
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=1000))
    if name == "svm":
        # Not standardised: that blows up features which hardly ever fire. Measured on aerial photos and
        # digits, accuracy 0.970 and 0.980 against 0.963 and 0.957; gamma="scale" sees to the units.
        return SVC(C=10)
    if name == "knn":
        n_neighbors = min(_NEIGHBOURS, n_train or _NEIGHBOURS)
        return KNeighborsClassifier(n_neighbors, metric="cosine", weights="distance")
    hint = did_you_mean(str(name), BASELINES)
    raise OptionError(f"Unknown estimator {name!r}.{hint} Expected one of: {', '.join(BASELINES)}.")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Baselines and their scores.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each estimator: ``estimator, accuracy_mean, accuracy_std, f1_macro_mean,
        f1_macro_std, fit_seconds, predict_seconds``. ``std`` is the standard deviation over folds (with
        n − 1), seconds are the mean of a fold.
    fold_scores : pandas.DataFrame
        One row for each estimator and fold: ``estimator, fold, accuracy, f1_macro, fit_seconds,
        predict_seconds``.
    """

    table: pd.DataFrame
    fold_scores: pd.DataFrame

    @property
    def best(self) -> str:
        """Name of the estimator with the highest mean accuracy."""
        return str(self.table["estimator"].iloc[self.table["accuracy_mean"].argmax()])

    def __str__(self) -> str:
        return f"{self.table.round(4).to_string(index=False)}\nbest: {self.best}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table."""
        return str(self.table.round(4).to_html(index=False))


def check_labels(y: Sequence[Any] | np.ndarray[Any, Any], cv: int) -> None:
    """Raise if these labels cannot be split into stratified folds.

    Raises
    ------
    ComparisonError
        One class only, or a class with fewer images than folds.
    OptionError
        `cv` is no whole number of at least 2.

    Examples
    --------
    >>> check_labels(["cat", "cat", "dog", "dog"], cv=2)
    >>> check_labels(["cat", "cat"], cv=2)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    featx.errors.ComparisonError: Expected at least two classes to compare baselines on, got one class, 'cat'. ...
    """
    if not isinstance(cv, int | np.integer) or cv < 2:
        raise OptionError(f"cv={cv!r}: expected a whole number of folds, 2 or more.")
    counts = collections.Counter(np.asarray(y).tolist())
    if len(counts) < 2:
        only = f"one class, {next(iter(counts))!r}" if counts else "none"
        raise ComparisonError(
            f"Expected at least two classes to compare baselines on, got {only}. Give images of each class a "
            "folder of their own."
        )
    small = sorted((count, str(label)) for label, count in counts.items() if count < cv)
    if small:
        count, label = small[0]
        remedy = f"or use fewer folds (--cv {count}, cv={count})" if count >= 2 else "or leave the class out"
        raise ComparisonError(
            f"{len(small)} of {len(counts)} classes have fewer images than the {cv} folds; {label!r} has {count}. "
            f"Add images, {remedy}."
        )


def check_comparison_options(estimators: Sequence[str], random_state: int, n_jobs: int | None) -> None:
    """Raise if baselines cannot be compared with these options.

    Raises
    ------
    OptionError
        No estimator or an unknown one, `random_state` below 0 or above 2³² − 1, `n_jobs` of 0.
    """
    if isinstance(estimators, str) or not len(estimators):
        raise OptionError(f"estimators={estimators!r}: expected a list of names from {', '.join(BASELINES)}.")
    for name in estimators:
        make_baseline(name)
    if not isinstance(random_state, int | np.integer) or not 0 <= random_state < 2**32:
        raise OptionError(f"random_state={random_state!r}: expected a whole number from 0 to 2**32 - 1.")
    if n_jobs is not None and (not isinstance(n_jobs, int | np.integer) or n_jobs == 0):
        raise OptionError(f"n_jobs={n_jobs!r}: expected a number of jobs, or -1 for one on each core.")


def compare_baselines(
    X: Any,
    y: Any,
    *,
    estimators: Sequence[str] = BASELINES,
    cv: int = 5,
    random_state: int = 0,
    n_jobs: int | None = -1,
    progress: Callable[[str], object] | None = None,
) -> Comparison:
    """Return the scores of baselines by stratified k-fold cross-validation.

    Every estimator sees the same shuffled folds.

    Parameters
    ----------
    X : array-like of float, shape (n_samples, n_features)
    y : array-like, shape (n_samples,)
        A label for each row.
    estimators : sequence of {"dummy", "logreg", "svm", "knn"}
        See :func:`make_baseline`.
    cv : int, default=5
        Number of folds.
    random_state : int, default=0
        Decides the folds: the same number gives the same scores.
    n_jobs : int or None, default=-1
        Folds computed at once, in threads; -1 is one for each core. Changes no score.
    progress : callable, default=None
        Called with the name of each estimator before its turn.

    Returns
    -------
    Comparison

    Raises
    ------
    ComparisonError
        One class only, a class with fewer rows than folds, NaN, or lengths that differ.
    OptionError
        An unknown estimator, or `cv` below 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> comparison = compare_baselines(*load_iris(return_X_y=True), estimators=["dummy", "knn"])
    >>> comparison.best
    'knn'
    >>> comparison.table["accuracy_mean"].round(2).tolist()
    [0.33, 0.95]
    """
    import pandas as pd
    from joblib import Parallel, delayed
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    X, y = _checked(X, y)
    check_labels(y, cv)
    check_comparison_options(estimators, random_state, n_jobs)
    estimators = list(dict.fromkeys(estimators))
    folds = list(StratifiedKFold(cv, shuffle=True, random_state=random_state).split(X, y))
    scored: list[dict[str, Any]] = []
    # A fold to each core and one BLAS thread to a fold: on matrices of this size several BLAS threads
    # mostly wait for each other (measured: logistic regression ten times slower with two).
    with threadpool_limits(limits=1):
        for name in estimators:
            if progress is not None:
                progress(name)
            started = time.perf_counter()
            # Measured on 8,000 × 1,024, 100 classes, 5 folds: 54 s for the SVM by itself, 5 s with this.
            distances = SharedDistances(X) if name == "svm" and len(X) <= kernels.MOST_ROWS else None
            shared_seconds = (time.perf_counter() - started) / cv
            for score in Parallel(n_jobs=n_jobs, prefer="threads")(
                delayed(_score_fold)(name, X, y, fold, distances) for fold in folds
            ):
                score["fit_seconds"] += shared_seconds
                scored.append(score)
    fold_scores = pd.DataFrame(scored)
    fold_scores.insert(1, "fold", list(range(cv)) * len(estimators))
    return Comparison(_summary(fold_scores), fold_scores)


def _checked(X: Any, y: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    X = np.asarray(X)
    y = np.asarray(y)
    if X.dtype.kind not in "fiu":
        raise ComparisonError(
            f"Expected X of numbers, got {X.dtype}. Turn images into features first: FeatureExtractor."
        )
    unlabelled = [row for row, label in enumerate(y.tolist()) if _is_missing(label)]
    if unlabelled:
        raise ComparisonError(
            f"{len(unlabelled)} of {len(y)} rows have no label, the first is row {unlabelled[0]}. Leave these rows out "
            "of X and y."
        )
    if X.ndim != 2 or y.ndim != 1 or len(X) != len(y):
        raise ComparisonError(
            f"Expected X of shape (n_samples, n_features) and one label a row, got X of shape {X.shape} and y of "
            f"shape {y.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        raise ComparisonError(
            f"{len(bad)} of {len(X)} rows have NaN or infinite features, the first is row {bad[0]}. Leave these rows "
            "out of X and y: keep = np.isfinite(X).all(axis=1)."
        )
    return X, y


def _is_missing(label: Any) -> bool:
    return label is None or (not isinstance(label, str) and str(label) in ("nan", "<NA>", "NaT"))


def _score_fold(
    name: str,
    X: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
    fold: tuple[IntArray, IntArray],
    distances: SharedDistances | None,
) -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, f1_score

    train, test = fold
    estimator = make_baseline(name, n_train=len(train))
    if distances is not None:
        estimator.set_params(kernel="precomputed")

    def rows(of: IntArray) -> np.ndarray[Any, Any]:
        return X[of] if distances is None else distances.rbf(of, train)

    started = time.perf_counter()
    estimator.fit(rows(train), y[train])
    fitted = time.perf_counter()
    predicted = estimator.predict(rows(test))
    done = time.perf_counter()
    return {
        "estimator": name,
        "accuracy": float(accuracy_score(y[test], predicted)),
        "f1_macro": float(f1_score(y[test], predicted, average="macro", zero_division=0)),
        "fit_seconds": fitted - started,
        "predict_seconds": done - fitted,
    }


def _summary(fold_scores: pd.DataFrame) -> pd.DataFrame:
    groups = fold_scores.groupby("estimator", sort=False)
    columns = {f"{score}_{stat}": (score, stat) for score in _SCORES for stat in ("mean", "std")}
    seconds = {name: (name, "mean") for name in ("fit_seconds", "predict_seconds")}
    return groups.agg(**columns, **seconds).reset_index()
