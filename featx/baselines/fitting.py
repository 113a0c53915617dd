"""One estimator fitted on some rows and scored on others, tuned on the first alone if that is wanted."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.baselines.estimators import Baseline
from featx.baselines.kernel_cache import SharedKernel
from featx.baselines.metrics import METRICS, score
from featx.baselines.splits import Fold, make_split
from featx.baselines.validation_split import validation_split
from featx.errors import ComparisonError, TrainingError
from featx.system.array_types import IntArray
from featx.system.formatting import format_count, format_list

_INNER_FOLDS, _CALIBRATION_FOLDS = 3, 5
#: Share of images that is held out by what does not say which.
_HELD_OUT = 0.15
#: What scikit-learn warns of for every fold, and which is as it should be here: a feature that is constant within a
#: class, and few images of many classes.
_NO_NEWS = (
    "within_class_std_dev_",
    "_nearest_centroid",
    "unique classes is greater than 50%",
    "The least populated class",
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What all folds share.

    Attributes
    ----------
    X : ndarray of float, shape (n_samples, n_features)
    y : ndarray, shape (n_samples,)
    task : {"classification", "regression"}
    groups : ndarray of int, shape (n_samples,), or None
        Kept whole when tuning, too.
    random_state : int
    """

    X: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    task: str
    groups: np.ndarray[Any, Any] | None = None
    random_state: int = 0


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """What one estimator did on one fold.

    Attributes
    ----------
    scores : dict
        The metrics of the task, ``fit_seconds`` and ``predict_seconds``.
    params : dict
        What tuning chose.
    predicted : ndarray, shape (n_test,)
    probabilities : ndarray of float32, shape (n_test, n_classes_of_train), or None
    classes : ndarray or None
        Of the columns of `probabilities`.
    margins : ndarray of float32, shape (n_test,), or None
        Of a classifier, how far the class it predicts is ahead of the next, in probability or in decision value.
    """

    scores: dict[str, float]
    params: dict[str, Any]
    predicted: np.ndarray[Any, Any]
    probabilities: np.ndarray[Any, Any] | None = None
    classes: np.ndarray[Any, Any] | None = None
    margins: np.ndarray[Any, Any] | None = None


def score_fold(baseline: Baseline, data: Dataset, fold: Fold, shared: SharedKernel | None, *, tune: bool) -> FoldResult:
    """Fit on a fold's rows, with the best parameters for them if `tune`, and score on the others.

    Parameters
    ----------
    baseline : Baseline
    data : Dataset
    fold : (ndarray of int, ndarray of int)
    shared : SharedKernel or None
        Of all rows of `data.X`, for baselines that use one.
    tune : bool
        Choose parameters by cross-validation within the rows that are fitted on: the rows that are scored have no say.
    """
    train, test = fold
    shared = None if baseline.is_calibrated else shared  # inner folds have kernels of their own
    started = time.perf_counter()
    params = _tuned(baseline, data, train, shared) if tune and baseline.grid else {}
    estimator = _fitted(baseline, data, train, shared, params)
    fitted = time.perf_counter()
    rows = _rows(baseline, data.X, fold, shared, estimator.get_params())
    predicted = estimator.predict(rows)
    done = time.perf_counter()
    scores = score(data.task, data.y[test], predicted)
    probabilities = classes = None
    if hasattr(estimator, "predict_proba"):
        probabilities, classes = estimator.predict_proba(rows).astype(np.float32), estimator.classes_
    margins = _lead(probabilities)
    if margins is None and data.task == "classification" and hasattr(estimator, "decision_function"):
        margins = _lead(estimator.decision_function(rows))
    seconds = {"fit_seconds": fitted - started, "predict_seconds": done - fitted}
    return FoldResult({**scores, **seconds}, params, predicted, probabilities, classes, margins)


def _lead(values: Any) -> np.ndarray[Any, Any] | None:
    """Return by how much the highest value of each row exceeds the second; of two classes, twice the one value."""
    if values is None:
        return None
    values = np.asarray(values)
    if values.ndim == 1:
        twice: np.ndarray[Any, Any] = np.abs(2 * values).astype(np.float32)
        return twice
    if values.shape[1] < 2:
        return np.zeros(len(values), dtype=np.float32)
    top = np.partition(values, -2, axis=1)[:, -2:]
    lead: np.ndarray[Any, Any] = (top[:, 1] - top[:, 0]).astype(np.float32)
    return lead


def _tuned(baseline: Baseline, data: Dataset, train: IntArray, shared: SharedKernel | None) -> dict[str, Any]:
    from sklearn.model_selection import ParameterGrid

    groups = None if data.groups is None else data.groups[train]
    try:
        inner = make_split(
            data.y[train], task=data.task, cv=_INNER_FOLDS, groups=groups, random_state=data.random_state
        ).folds
    except ComparisonError:  # too few images, or groups of them, to be split again: the defaults have to do
        return {}
    baseline = dataclasses.replace(baseline, is_calibrated=False)
    metric = METRICS[data.task][0]
    best: tuple[float, dict[str, Any]] = (-np.inf, {})
    for params in ParameterGrid(dict(baseline.grid)):
        if params.get("n_neighbors", 1) > min(len(fit_on) for fit_on, _ in inner):
            continue
        found = []
        for fit_on, score_on in inner:
            estimator = _fitted(baseline, data, train[fit_on], shared, params)
            rows = _rows(baseline, data.X, (train[fit_on], train[score_on]), shared, estimator.get_params())
            found.append(score(data.task, data.y[train[score_on]], estimator.predict(rows))[metric])
        if np.mean(found) > best[0]:
            best = (float(np.mean(found)), params)
    return best[1]


def _fitted(
    baseline: Baseline, data: Dataset, train: IntArray, shared: SharedKernel | None, params: dict[str, Any]
) -> Any:
    estimator = baseline.make(len(train))
    if baseline.kernel is not None:
        gamma = f"{baseline.prefix}gamma"
        factor = params.get(gamma, 1.0)
        params = {**params, gamma: factor * scale_gamma(data.X, train)}
        if shared is not None:
            params[f"{baseline.prefix}kernel"] = "precomputed"
    estimator.set_params(**params)
    if baseline.is_calibrated:
        return _calibrated(estimator, data, train)
    rows = _rows(baseline, data.X, (train, train), shared, params)
    if baseline.images is not None:
        return fit_on_images(estimator, rows, data.y[train], None if data.groups is None else data.groups[train])
    return estimator.fit(rows, data.y[train])


def fit_on_images(estimator: Any, images: Sequence[Any], y: np.ndarray[Any, Any], groups: Any) -> Any:
    """Return an estimator fitted on images, which divides no group where it holds some out to tell when to stop.

    Parameters
    ----------
    estimator : estimator
        Given the groups, if its ``fit`` takes some.
    images : sequence of images
    y : ndarray, shape (n_samples,)
    groups : ndarray, shape (n_samples,), or None
        Where none of them can be held out, the estimator is left to find near-duplicates by itself: what is kept
        together in a comparison need not be large enough for that.
    """
    from sklearn.utils.validation import has_fit_parameter

    if groups is None or not has_fit_parameter(estimator, "groups"):
        return estimator.fit(images, y)
    share = estimator.get_params().get("validation_fraction", _HELD_OUT)
    try:
        validation_split(np.unique(y, return_inverse=True)[1], groups, share, 0)
    except TrainingError:
        groups = None
    return estimator.fit(images, y, groups=groups)


def check_calibration(y: np.ndarray[Any, Any], groups: IntArray | None) -> None:
    """Raise if rows cannot be calibrated on: sigmoids of a class need rows of it that were not fitted on.

    Parameters
    ----------
    y : ndarray, shape (n_samples,)
        Labels of what is fitted on.
    groups : ndarray of int, shape (n_samples,), or None

    Raises
    ------
    ComparisonError
        A class of a single row, or of a single group.
    """
    units = np.arange(len(y)) if groups is None else groups
    classes = np.unique(y).tolist()
    if alone := [label for label in classes if len(np.unique(units[y == label])) < 2]:
        units_in_words = "images" if groups is None else "groups of images"
        raise ComparisonError(
            f"calibrate: expected two {units_in_words} or more of each class in all that an estimator is fitted on, "
            f"got one of {format_list(alone)} (in a fold, or in all). Add images of it, three or more in "
            f"different groups; "
            "leave the class out; or leave calibrate (--calibrate) out."
        )


def _calibrated(estimator: Any, data: Dataset, train: IntArray) -> Any:
    from sklearn.calibration import CalibratedClassifierCV

    groups = None if data.groups is None else data.groups[train]
    check_calibration(data.y[train], groups)
    split = make_split(
        data.y[train], task=data.task, cv=_CALIBRATION_FOLDS, groups=groups, random_state=data.random_state
    )
    calibrated = CalibratedClassifierCV(estimator, method="sigmoid", ensemble=False, cv=split.folds)
    calibrated.fit(data.X[train], data.y[train])
    return calibrated.set_params(cv=_CALIBRATION_FOLDS)  # the folds themselves need not be kept


def fit_on_all(baseline: Baseline, data: Dataset, *, tune: bool, notes: list[str]) -> tuple[Any, dict[str, Any]]:
    """Return an estimator that is fitted on all rows, and the parameters that were chosen for it, if `tune`.

    These are the estimator's own, as ``get_params`` has them: ``gamma`` is no multiple.
    """
    from threadpoolctl import threadpool_limits

    train = np.arange(len(data.X))
    # One thread, as when it was scored: several mostly wait for each other.
    with threadpool_limits(limits=1), collecting_warnings(notes):
        params = _tuned(baseline, data, train, None) if tune and baseline.grid else {}
        estimator = _fitted(baseline, data, train, None, params)
    own = (estimator.estimator if baseline.is_calibrated else estimator).get_params()
    return estimator, {name: own[name] for name in params}


def _rows(
    baseline: Baseline, X: np.ndarray[Any, Any], fold: Fold, shared: SharedKernel | None, params: dict[str, Any]
) -> Any:
    """Return what an estimator that is fitted on the first of two lists of rows is shown of the second."""
    train, rows = fold
    if baseline.images is not None:
        return [baseline.images[row] for row in rows]
    if shared is None or baseline.kernel is None:
        return X[rows]
    return shared.of(baseline.kernel, rows, train, params[f"{baseline.prefix}gamma"])


def scale_gamma(X: np.ndarray[Any, Any], train: IntArray) -> float:
    """Return what ``gamma="scale"`` is when fitted on the rows `train`: 1 / (n_features · variance)."""
    variance = float(X[train].astype(np.float64).var())
    return 1 / (X.shape[1] * variance) if variance else 1.0


@contextlib.contextmanager
def collecting_warnings(notes: list[str]) -> Iterator[None]:
    """Note once what scikit-learn would say for every fold: that an estimator has not converged."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    unconverged = [one for one in caught if issubclass(one.category, ConvergenceWarning)]
    if unconverged:
        notes.append(
            f"{format_count(len(unconverged), 'fit')} did not converge: {str(unconverged[0].message).splitlines()[0]}"
        )
    for one in caught:
        # NearestCentroid divides by deviations that are 0, of features that are constant within a class.
        is_news = not any(words in f"{one.message} {one.filename}" for words in _NO_NEWS)
        if one not in unconverged and is_news:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
