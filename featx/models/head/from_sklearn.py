"""Convert a fitted estimator of scikit-learn to the head of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from featx.baselines.builtin_baselines import is_unit_length_scaler
from featx.errors import ExportError
from featx.models.head.head import Head
from featx.models.head.steps import (
    Affine,
    Neighbors,
    Normalize,
    NormalizeSum,
    OneVsOneVotes,
    RbfKernel,
    Sigmoid,
    Softmax,
    Step,
    TwoClasses,
    merge_affine,
)
from featx.system.array_types import Float64Array

#: Number of coefficients of support vectors, in all decisions between two classes.
_MAX_COEFFICIENTS = 50_000_000


def as_head(estimator: Any, *, max_coefficients: int = _MAX_COEFFICIENTS) -> Head:
    """Convert a fitted estimator, or a pipeline of transformers and an estimator.

    Parameters
    ----------
    estimator : estimator of scikit-learn
        A baseline of featx, or a combination of the same parts: ``StandardScaler``, ``PCA``, ``Normalizer``; logistic
        regression, support vector machines (linear or RBF), ridge, LDA, nearest centroid, nearest neighbors by cosine
        distance, dummies; with or without sigmoid calibration.
    max_coefficients : int, default=50_000_000
        Maximum number of coefficients of a support vector machine.

    Returns
    -------
    Head

    Raises
    ------
    ExportError
        The estimator has no conversion.
    """
    steps: list[Step] = []
    while hasattr(estimator, "steps"):
        for _, transformer in estimator.steps[:-1]:
            steps += _transformer(transformer)
        estimator = estimator.steps[-1][1]
    classes = None
    if hasattr(estimator, "classes_"):
        classes = np.asarray(estimator.classes_).tolist()
    _check_size(estimator, max_coefficients)
    scores, probabilities = _convert(estimator)
    return Head(
        classes, merge_affine([*steps, *scores]), None if probabilities is None else merge_affine(probabilities)
    )


def _transformer(transformer: Any) -> list[Step]:
    name = type(transformer).__name__
    if transformer is None or transformer == "passthrough":
        return []
    if name == "StandardScaler":
        n = transformer.n_features_in_
        scale = transformer.scale_.astype(np.float64) if transformer.with_std else np.ones(n)
        mean = transformer.mean_.astype(np.float64) if transformer.with_mean else np.zeros(n)
        return [Affine(1 / scale, -mean / scale)]
    if is_unit_length_scaler(transformer):
        n = transformer.n_features_in_
        return [Affine(np.full(n, 1 / np.sqrt(n)), np.zeros(n))]
    if name == "Normalizer" and transformer.norm == "l2":
        return [Normalize()]
    if name == "PCA":
        weights = transformer.components_.T.astype(np.float64)
        if transformer.whiten:
            weights = weights / np.sqrt(np.maximum(transformer.explained_variance_, np.finfo(np.float64).eps))
        return [Affine(weights, -transformer.mean_ @ weights)]
    raise _unknown(transformer)


def _convert(estimator: Any) -> tuple[list[Step], list[Step] | None]:
    """Return the steps from features to scores, and from scores to probabilities."""
    name = type(estimator).__name__
    if name not in _CONVERTERS:
        raise _unknown(estimator)
    return _CONVERTERS[name](estimator)


def _check_size(estimator: Any, max_coefficients: int) -> None:
    if not hasattr(estimator, "support_vectors_"):
        return
    n_classes = len(getattr(estimator, "classes_", ()))
    n_vectors = len(estimator.support_vectors_)
    if n_vectors * max(1, n_classes * (n_classes - 1) // 2) > max_coefficients:
        raise ExportError(
            f"Cannot convert this {type(estimator).__name__}: {n_vectors:,} support vectors and {n_classes} classes "
            "are too many. Train a model with logreg, ridge or lda."
        )


def _unknown(estimator: Any) -> ExportError:
    return ExportError(
        f"Cannot convert {type(estimator).__name__} for other programs. Use logreg, svm, linear-svm, knn, ridge, lda "
        "or centroid, preceded by StandardScaler, PCA or Normalizer."
    )


def _linear(estimator: Any) -> tuple[list[Step], None]:
    return [_affine(estimator)], None


def _affine(estimator: Any) -> Affine:
    weights = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64)).T
    bias = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64), weights.shape[1:])
    return Affine(weights, bias)


def _logistic(estimator: Any) -> tuple[list[Step], list[Step]]:
    scores: list[Step] = [_affine(estimator)]
    if len(estimator.classes_) == 2:
        return scores, [Sigmoid(), TwoClasses()]
    if getattr(estimator, "solver", "") == "liblinear" or getattr(estimator, "multi_class", "") == "ovr":
        return scores, [Sigmoid(), NormalizeSum()]
    return scores, [Softmax()]


def _support_vectors(estimator: Any) -> tuple[list[Step], None]:
    n_classes = len(getattr(estimator, "classes_", ()))
    if hasattr(estimator, "predict_proba"):
        raise ExportError(
            "Cannot convert SVC(probability=True): its probabilities come from another model than its predictions. "
            "Use CalibratedClassifierCV(SVC(), ensemble=False)."
        )
    vectors = np.asarray(estimator.support_vectors_, dtype=np.float64)
    weights, bias = _pairwise_decisions(estimator)
    votes: list[Step] = [OneVsOneVotes(n_classes)] if n_classes > 2 else []
    if n_classes > 2 and not (estimator.break_ties and estimator.decision_function_shape == "ovr"):
        raise ExportError(
            "Cannot convert this SVC: it does not break ties between classes by its scores. Fit SVC(break_ties=True) "
            "with decision_function_shape='ovr'."
        )
    is_polynomial = estimator.kernel == "poly" and estimator.degree == 1 and estimator.coef0 == 0
    if estimator.kernel == "linear" or is_polynomial:
        factor = estimator._gamma if is_polynomial else 1.0
        return [Affine(factor * vectors.T @ weights, bias), *votes], None
    if estimator.kernel == "rbf":
        return [RbfKernel(vectors, float(estimator._gamma)), Affine(weights, bias), *votes], None
    raise ExportError(
        f"Cannot convert {type(estimator).__name__}(kernel={estimator.kernel!r}). Use kernel 'rbf', 'linear', or "
        "'poly' of degree 1."
    )


def _pairwise_decisions(estimator: Any) -> tuple[Float64Array, Float64Array]:
    """Return the weights of support vectors in each decision between two classes, and the biases.

    The layout of ``dual_coef_`` is that of libsvm: https://scikit-learn.org/stable/modules/svm.html#multi-class.
    """
    coefficients = np.asarray(estimator.dual_coef_, dtype=np.float64)
    bias = np.asarray(estimator.intercept_, dtype=np.float64)
    n_classes = len(getattr(estimator, "classes_", ()))
    if n_classes <= 2:
        return coefficients.T, bias
    # The vectors of a class have one coefficient for each other class, in the order of the classes.
    ends = np.cumsum(estimator.n_support_)
    class_vectors = [slice(end - n, end) for end, n in zip(ends, estimator.n_support_, strict=True)]
    weights = np.zeros((coefficients.shape[1], len(bias)))
    for pair, (first, second) in enumerate(zip(*np.triu_indices(n_classes, k=1), strict=True)):
        weights[class_vectors[first], pair] = coefficients[second - 1, class_vectors[first]]
        weights[class_vectors[second], pair] = coefficients[first, class_vectors[second]]
    return weights, bias


def _nearest_neighbors(estimator: Any) -> tuple[list[Step], list[Step] | None]:
    if estimator.effective_metric_ != "cosine" or estimator.weights not in ("distance", "uniform"):
        raise ExportError(
            f"Cannot convert {type(estimator).__name__}(metric={estimator.metric!r}, weights={estimator.weights!r}). "
            "Use metric='cosine' and weights 'distance' or 'uniform'."
        )
    rows = Normalize()(np.asarray(estimator._fit_X, dtype=np.float64))
    is_classifier = hasattr(estimator, "classes_")
    values = np.eye(len(estimator.classes_))[estimator._y] if is_classifier else estimator._y.reshape(len(rows), -1)
    by_distance = estimator.weights == "distance"
    step = Neighbors(rows, values.astype(np.float64), int(estimator.n_neighbors), by_distance)
    return [step], [] if is_classifier else None


def _centroids(estimator: Any) -> tuple[list[Step], None]:
    centroids = np.asarray(estimator.centroids_, dtype=np.float64)
    if estimator.metric != "euclidean" or not np.allclose(estimator.class_prior_, 1 / len(centroids)):
        raise _unknown(estimator)
    # The negative squared distance, without the squared norm of the row, which is the same for all classes.
    affine = Affine(2 * centroids.T, -(centroids * centroids).sum(axis=1))
    if len(centroids) == 2:
        affine = Affine(affine.weights[:, 1:] - affine.weights[:, :1], affine.bias[1:] - affine.bias[:1])
    return [affine], None


def _dummy(estimator: Any) -> tuple[list[Step], list[Step] | None]:
    n_features = estimator.n_features_in_
    if not hasattr(estimator, "classes_"):
        constant = np.asarray(estimator.constant_, dtype=np.float64).ravel()
        return [Affine(np.zeros((n_features, len(constant))), constant)], None
    if estimator.strategy not in ("most_frequent", "prior"):
        raise _unknown(estimator)
    prior = estimator.predict_proba(np.zeros((1, n_features)))[0]
    if len(prior) != 2:
        return [Affine(np.zeros((n_features, len(prior))), prior)], []
    margin = Affine(np.zeros((n_features, 1)), prior[1:] - 0.5)
    return [margin], [Affine(np.ones(1), np.full(1, 0.5)), TwoClasses()]


def _calibrated(estimator: Any) -> tuple[list[Step], list[Step] | None]:
    parts = estimator.calibrated_classifiers_
    if len(parts) != 1 or parts[0].method != "sigmoid":
        raise ExportError(
            f"Cannot convert CalibratedClassifierCV with method={parts[0].method!r} and {len(parts)} classifiers. Use "
            "method='sigmoid' and ensemble=False."
        )
    base = getattr(parts[0].estimator, "steps", [("", parts[0].estimator)])[-1][1]
    if type(base).__name__ == "NearestCentroid":  # the sigmoids are fitted on its decision_function, not on our scores
        raise _unknown(base)
    head = as_head(parts[0].estimator)
    if len(head.classes or []) == 2 and head.probabilities == ():  # the sigmoid is fitted on the second column alone
        raise _unknown(parts[0].estimator)
    a = np.array([calibrator.a_ for calibrator in parts[0].calibrators])
    b = np.array([calibrator.b_ for calibrator in parts[0].calibrators])
    # The predicted class is that of the highest sigmoid, before normalization.
    scores: list[Step] = [*head.scores, Affine(-a, -b)]
    if len(estimator.classes_) == 2:
        return scores, [Sigmoid(), TwoClasses()]
    return [*scores, Sigmoid()], [NormalizeSum()]


def _transformed_target(estimator: Any) -> tuple[list[Step], None]:
    head = as_head(estimator.regressor_)
    scaler = estimator.transformer_
    if type(scaler).__name__ != "StandardScaler":
        raise _unknown(scaler)
    (forward,) = _transformer(scaler)
    assert isinstance(forward, Affine)
    return [*head.scores, Affine(1 / forward.weights, -forward.bias / forward.weights)], None


_CONVERTERS: dict[str, Callable[[Any], tuple[list[Step], list[Step] | None]]] = {
    "LogisticRegression": _logistic,
    "LinearDiscriminantAnalysis": _logistic,
    **dict.fromkeys(("RidgeClassifier", "LinearSVC", "Ridge", "LinearRegression", "LinearSVR"), _linear),
    **dict.fromkeys(("SVC", "SVR"), _support_vectors),
    **dict.fromkeys(("KNeighborsClassifier", "KNeighborsRegressor"), _nearest_neighbors),
    "NearestCentroid": _centroids,
    **dict.fromkeys(("DummyClassifier", "DummyRegressor"), _dummy),
    "CalibratedClassifierCV": _calibrated,
    "TransformedTargetRegressor": _transformed_target,
}
