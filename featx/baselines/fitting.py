"""Fitting, tuning, calibrating and scoring one estimator on one fold, and fitting it on all samples."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.folds.calibration import calibrate
from featx.baselines.folds.make_split import make_split
from featx.baselines.folds.split import Fold, Split
from featx.baselines.folds.validation_split import fit_on_images
from featx.baselines.kernel_cache import SharedKernel, scale_gamma
from featx.baselines.libraries.outputs import as_column, check_columns
from featx.baselines.metrics import METRICS, score
from featx.baselines.multilabel.scores import PredictedTags
from featx.baselines.scaling.blocks import block_rows, in_blocks, margins_of
from featx.baselines.scaling.limits import ScaleLimits
from featx.baselines.scaling.tolerance import smaller_tolerance
from featx.baselines.scaling.votes import has_pair_votes, pair_votes
from featx.errors import ComparisonError
from featx.system.array_types import AnyArray, FloatArray, IntArray
from featx.system.formatting import format_count

_N_INNER_FOLDS = 3
#: Parts of scikit-learn's warnings and file names to ignore, as frozen features often have constant columns within a
#: class (which NearestCentroid divides by), and image data sets many small classes.
_IGNORED_WARNINGS = (
    "within_class_std_dev_",
    "_nearest_centroid",
    "unique classes is greater than 50%",
    "The least populated class",
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Features and targets that all folds share.

    Attributes
    ----------
    X : ndarray of float of shape (n_samples, n_features), or FeatureMatrix
        Features.
    y : ndarray of shape (n_samples,)
        Labels or continuous targets.
    task : {"classification", "regression", "multilabel"}
        Type of the target.
    groups : ndarray of int of shape (n_samples,) or None
        Group of each sample. Inner folds of tuning and calibration do not divide groups either.
    random_state : int
        Seed of inner folds.
    limits : ScaleLimits
        Sizes above which predictions are computed in blocks.
    keeps_probabilities : bool
        Whether results have class probabilities, or values of tags, which may take much memory.
    """

    X: Any
    y: AnyArray
    task: str
    groups: AnyArray | None = None
    random_state: int = 0
    limits: ScaleLimits = dataclasses.field(default_factory=ScaleLimits)
    keeps_probabilities: bool = True

    @property
    def n_classes(self) -> int:
        """Number of classes that estimators distinguish at once: 1 for continuous targets, 2 for each tag."""
        return len(np.unique(self.y)) if self.task == "classification" else 2 if self.task == "multilabel" else 1

    def split(self, train: IntArray, n_folds: int) -> Split:
        """Return folds of the samples `train`, as positions in `train`."""
        groups = None if self.groups is None else self.groups[train]
        return make_split(self.y[train], task=self.task, cv=n_folds, groups=groups, random_state=self.random_state)


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """Result of one estimator on one fold.

    Attributes
    ----------
    scores : dict of str to float
        Metrics of the task, ``fit_seconds`` and ``predict_seconds``.
    params : dict
        Parameters that tuning selected.
    predicted : ndarray of shape (n_test,)
        Predictions for the test samples.
    probabilities : ndarray of float32 of shape (n_test, n_classes) or None
        Class probabilities, if the estimator has any.
    classes : ndarray of shape (n_classes,) or None
        Classes of the columns of `probabilities`.
    margins : ndarray of float32 of shape (n_test,) or None
        Difference between the largest and the second-largest probability or decision value.
    tag_values : ndarray of float32 of shape (n_test, n_classes) or None
        Probabilities or decision values of tags.
    """

    scores: dict[str, float]
    params: dict[str, Any]
    predicted: AnyArray
    probabilities: FloatArray | None = None
    classes: AnyArray | None = None
    margins: FloatArray | None = None
    tag_values: FloatArray | None = None


def score_fold(
    baseline: Baseline,
    data: Dataset,
    fold: Fold,
    shared: SharedKernel | None,
    *,
    tune: bool,
    scores_only: bool = False,
) -> FoldResult:
    """Fit on the training samples of a fold and score on its test samples.

    Parameters
    ----------
    baseline : Baseline
        Estimator to fit.
    data : Dataset
        All samples.
    fold : (ndarray of int, ndarray of int)
        Indices of training and test samples.
    shared : SharedKernel or None
        Kernel between all samples of `data`, for baselines that can use it.
    tune : bool
        Whether to select parameters by cross-validation on the training samples.
    scores_only : bool, default=False
        Whether to skip probabilities and margins. NearestCentroid has none for one training sample per class, since
        its standard deviations are 0.

    Returns
    -------
    FoldResult
        Scores and predictions of the test samples.
    """
    train, test = fold
    shared = None if baseline.is_calibrated else shared  # CalibratedClassifierCV needs features
    start = time.perf_counter()
    params = _tune(baseline, data, train, shared) if tune and baseline.grid else {}
    estimator = _fit(baseline, data, train, shared, params)
    fit_end = time.perf_counter()
    params_of_fit = estimator.get_params()
    n_rows = block_rows(estimator, len(train), data.X.shape[1], data.limits)

    def apply(method: Callable[[Any], Any]) -> AnyArray:
        return in_blocks(
            lambda rows: method(_inputs(baseline, data.X, (train, rows), shared, params_of_fit)), test, n_rows
        )

    values_of = _values_for_all(estimator, len(train), data.limits)
    if values_of is not None:
        result = _score_values(values_of, estimator, data, test, apply)
        result.scores["fit_seconds"] = fit_end - start
        return dataclasses.replace(result, params=params)
    if data.task == "multilabel":
        tags = PredictedTags.of(estimator, apply, len(test))
        seconds = {"fit_seconds": fit_end - start, "predict_seconds": time.perf_counter() - fit_end}
        result = FoldResult({**tags.score(data.y[test]), **seconds}, params, tags.as_tags(), classes=tags.classes)
        return dataclasses.replace(result, **tags.kept) if data.keeps_probabilities else result
    predicted = as_column(apply(estimator.predict), len(test), "predict")
    predict_end = time.perf_counter()
    seconds = {"fit_seconds": fit_end - start, "predict_seconds": predict_end - fit_end}
    result = FoldResult({**score(data.task, data.y[test], predicted), **seconds}, params, predicted)
    if scores_only:
        return result
    return _with_probabilities(result, estimator, data, apply)


def _with_probabilities(
    result: FoldResult, estimator: Any, data: Dataset, apply: Callable[[Callable[[Any], Any]], AnyArray]
) -> FoldResult:
    """Return a result with probabilities, if the estimator has any and they are kept, and with margins."""
    if hasattr(estimator, "predict_proba"):
        if not data.keeps_probabilities:
            margins = apply(lambda X: margins_of(np.asarray(estimator.predict_proba(X))))
            return dataclasses.replace(result, margins=margins)
        probabilities = apply(lambda X: np.asarray(estimator.predict_proba(X)).astype(np.float32))
        shape = (len(result.predicted), len(estimator.classes_))
        probabilities = check_columns(probabilities, shape, "predict_proba")
        return dataclasses.replace(
            result, probabilities=probabilities, classes=estimator.classes_, margins=margins_of(probabilities)
        )
    if data.task == "classification" and hasattr(estimator, "decision_function"):
        return dataclasses.replace(
            result, margins=apply(lambda X: margins_of(np.asarray(estimator.decision_function(X))))
        )
    return result


def _values_for_all(estimator: Any, n_train: int, limits: ScaleLimits) -> Callable[[Any], AnyArray] | None:
    """Return a function whose values give predictions and the rest at once, where each alone takes long."""
    if n_train > limits.exact_rows and hasattr(estimator, "kneighbors") and hasattr(estimator, "predict_proba"):
        return lambda X: np.asarray(estimator.predict_proba(X).astype(np.float32))
    return (lambda X: pair_votes(estimator, X)) if has_pair_votes(estimator) else None


def _score_values(
    values_of: Callable[[Any], AnyArray],
    estimator: Any,
    data: Dataset,
    test: IntArray,
    apply: Callable[[Callable[[Any], Any]], AnyArray],
) -> FoldResult:
    """Return the result of an estimator whose values are computed once, for predictions, margins and probabilities."""
    start = time.perf_counter()
    classes = estimator.classes_

    def codes_and_margins(X: Any) -> AnyArray:
        values = values_of(X)
        return np.column_stack([values.argmax(axis=1), margins_of(values)])

    probabilities: Any = None
    if data.keeps_probabilities and hasattr(estimator, "predict_proba"):
        probabilities = apply(values_of)
        codes, margins = probabilities.argmax(axis=1), margins_of(probabilities)
    else:
        pairs = apply(codes_and_margins)
        codes, margins = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.float32)
    predicted = classes[codes]
    seconds = {"fit_seconds": 0.0, "predict_seconds": time.perf_counter() - start}
    scores = {**score(data.task, data.y[test], predicted), **seconds}
    return FoldResult(scores, {}, predicted, probabilities, classes, margins)


def _tune(baseline: Baseline, data: Dataset, train: IntArray, shared: SharedKernel | None) -> dict[str, Any]:
    """Return the parameters with the best mean score over inner folds of the training samples."""
    from sklearn.model_selection import ParameterGrid

    try:
        inner_folds = data.split(train, _N_INNER_FOLDS).folds
    except ComparisonError:  # too few samples or groups for inner folds: keep the default parameters
        return {}
    baseline = dataclasses.replace(baseline, is_calibrated=False)
    metric = METRICS[data.task][0]
    max_neighbors = min(len(inner_train) for inner_train, _ in inner_folds)
    best_score, best_params = -np.inf, {}
    for params in ParameterGrid(dict(baseline.grid)):
        if any(name.endswith("n_neighbors") and value > max_neighbors for name, value in params.items()):
            continue
        scores = []
        for inner_train, inner_test in inner_folds:
            fold = train[inner_train], train[inner_test]
            estimator = _fit(baseline, data, fold[0], shared, params)
            X_test = _inputs(baseline, data.X, fold, shared, estimator.get_params())
            scores.append(_score_inner(estimator, X_test, data, fold[1])[metric])
        if np.mean(scores) > best_score:
            best_score, best_params = float(np.mean(scores)), params
    return best_params


def _score_inner(estimator: Any, X: Any, data: Dataset, rows: IntArray) -> dict[str, float]:
    if data.task == "multilabel":
        return PredictedTags.of(estimator, lambda method: np.asarray(method(X)), len(rows)).score(data.y[rows])
    if not has_pair_votes(estimator):
        return score(data.task, data.y[rows], estimator.predict(X))
    n_rows = block_rows(estimator, len(X), X.shape[1], data.limits)
    codes = in_blocks(lambda part: pair_votes(estimator, X[part]).argmax(axis=1), np.arange(len(X)), n_rows)
    return score(data.task, data.y[rows], estimator.classes_[codes])


def _fit(
    baseline: Baseline, data: Dataset, train: IntArray, shared: SharedKernel | None, params: dict[str, Any]
) -> Any:
    estimator = baseline.make(len(train))
    if baseline.kernel is not None:
        gamma = f"{baseline.prefix}gamma"
        params = {**params, gamma: params.get(gamma, 1.0) * scale_gamma(data.X, train)}
        if shared is not None and baseline.is_precomputable:
            params[f"{baseline.prefix}kernel"] = "precomputed"
    estimator.set_params(**params)
    X_train = _inputs(baseline, data.X, (train, train), shared, params)
    if baseline.images is not None:
        return fit_on_images(estimator, X_train, data.y[train], None if data.groups is None else data.groups[train])
    if baseline.is_builtin and (tolerance := smaller_tolerance(estimator, X_train, data.y[train])):
        estimator[-1].set_params(tol=tolerance)
    if baseline.is_calibrated:
        groups = None if data.groups is None else data.groups[train]
        return calibrate(estimator, X_train, data.y[train], groups, data.random_state)
    return estimator.fit(X_train, data.y[train])


def _inputs(baseline: Baseline, X: AnyArray, fold: Fold, shared: SharedKernel | None, params: dict[str, Any]) -> Any:
    """Return what an estimator fitted on the first samples of a fold takes for the second: rows, kernel or images."""
    train, rows = fold
    if baseline.images is not None:
        return [baseline.images[row] for row in rows]
    if shared is None or not baseline.is_precomputable:
        return np.asarray(X[rows])  # not a memmap
    return shared.compute(str(baseline.kernel), rows, train, params[f"{baseline.prefix}gamma"])


def fit_on_all(baseline: Baseline, data: Dataset, *, tune: bool, notes: list[str]) -> tuple[Any, dict[str, Any]]:
    """Fit an estimator on all samples.

    Parameters
    ----------
    baseline : Baseline
        Estimator to fit.
    data : Dataset
        All samples.
    tune : bool
        Whether to select parameters by cross-validation.
    notes : list of str
        Notes of convergence problems are appended here.

    Returns
    -------
    estimator : estimator
        Fitted estimator.
    params : dict
        Tuned parameters, as in ``estimator.get_params()``: ``gamma`` is not a multiple.
    """
    from sklearn.base import clone
    from threadpoolctl import threadpool_limits

    train = np.arange(len(data.X))
    # One thread, as in cross-validation: on matrices of this size, several BLAS threads mostly wait for each other.
    with threadpool_limits(limits=1), collecting_warnings(notes):
        params = _tune(baseline, data, train, None) if tune and baseline.grid else {}
        estimator = _fit(baseline, data, train, None, params)
    uncalibrated = estimator
    if baseline.is_calibrated and data.task == "multilabel":
        uncalibrated = clone(estimator).set_params(estimator=estimator.estimator.estimator)
    elif baseline.is_calibrated:
        uncalibrated = estimator.estimator
    all_params = uncalibrated.get_params()
    return estimator, {name: all_params[name] for name in params}


@contextlib.contextmanager
def collecting_warnings(notes: list[str], name: str = "") -> Iterator[None]:
    """Replace the convergence warnings of all fits by one note, with the name of the estimator; drop expected ones."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    convergence = [warning for warning in caught if issubclass(warning.category, ConvergenceWarning)]
    if convergence:
        first = str(convergence[0].message).splitlines()[0]
        start = f"{name}: " if name else ""
        notes.append(f"{start}{format_count(len(convergence), 'fit')} did not converge: {first}")
    for warning in caught:
        is_ignored = any(part in f"{warning.message} {warning.filename}" for part in _IGNORED_WARNINGS)
        if warning not in convergence and not is_ignored:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
