"""A fitted estimator of scikit-learn as the head of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from featx.baselines.estimators import is_unit_length_scaler
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
    joined,
)
from featx.system.array_types import Float64Array

#: Coefficients of support vectors in decisions between two classes, no more than which are written down.
_MOST_NUMBERS = 50_000_000


def as_head(estimator: Any) -> Head:
    """Return a fitted estimator on features, or a pipeline of such, as a head.

    Parameters
    ----------
    estimator : estimator of scikit-learn
        One of featx's baselines, or built of the same: standardisation, ``PCA``, ``Normalizer``; logistic regression,
        support vector machines (linear or RBF), ridge, LDA, nearest centroid, nearest neighbours by cosine, dummies;
        calibrated or not.

    Raises
    ------
    ExportError
        It is of another kind.
    """
    steps: list[Step] = []
    while hasattr(estimator, "steps"):
        for _, transformer in estimator.steps[:-1]:
            steps += _transformer(transformer)
        estimator = estimator.steps[-1][1]
    classes = None
    if hasattr(estimator, "classes_"):
        classes = np.asarray(estimator.classes_).tolist()
    scores, shares = _final(estimator)
    return Head(classes, joined([*steps, *scores]), None if shares is None else joined(shares))


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


def _final(estimator: Any) -> tuple[list[Step], list[Step] | None]:
    """Return the steps to scores, and from there to probabilities."""
    name = type(estimator).__name__
    if name not in _FINAL:
        raise _unknown(estimator)
    return _FINAL[name](estimator)


def _unknown(estimator: Any) -> ExportError:
    return ExportError(
        f"{type(estimator).__name__} cannot be written as steps that other programs run. Those that can: logreg, svm, "
        "linear-svm, knn, ridge, lda, centroid; standardisation, PCA and Normalizer before them."
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
            "The probabilities of an SVC with probability=True cannot be written as steps that other programs run. "
            "Calibrate it instead: CalibratedClassifierCV(ensemble=False)."
        )
    n_numbers = len(estimator.support_vectors_) * max(1, n_classes * (n_classes - 1) // 2)
    if n_numbers > _MOST_NUMBERS:
        raise ExportError(
            f"This {type(estimator).__name__} has {len(estimator.support_vectors_):,} support vectors and {n_classes} "
            "classes, too many to be written as steps that other programs run. Train a model with logreg, ridge or lda."
        )
    vectors = np.asarray(estimator.support_vectors_, dtype=np.float64)
    weights, bias = _decisions(estimator)
    votes: list[Step] = [OneVsOneVotes(n_classes)] if n_classes > 2 else []
    if n_classes > 2 and not (estimator.break_ties and estimator.decision_function_shape == "ovr"):
        raise ExportError(
            "Of this SVC, equal votes for classes are decided otherwise than by its scores. Make it with "
            "break_ties=True, fit it again, and save that."
        )
    is_polynomial = estimator.kernel == "poly" and estimator.degree == 1 and estimator.coef0 == 0
    if estimator.kernel == "linear" or is_polynomial:
        factor = estimator._gamma if is_polynomial else 1.0
        return [Affine(factor * vectors.T @ weights, bias), *votes], None
    if estimator.kernel == "rbf":
        return [RbfKernel(vectors, float(estimator._gamma)), Affine(weights, bias), *votes], None
    raise ExportError(
        f"A support vector machine with kernel={estimator.kernel!r} cannot be written as steps that other programs "
        "run. Those that can: 'rbf', 'linear', and 'poly' of degree 1."
    )


def _decisions(estimator: Any) -> tuple[Float64Array, Float64Array]:
    """Return the weights of support vectors in each decision between two classes, and the biases."""
    coefficients = np.asarray(estimator.dual_coef_, dtype=np.float64)
    bias = np.asarray(estimator.intercept_, dtype=np.float64)
    n_classes = len(getattr(estimator, "classes_", ()))
    if n_classes <= 2:
        return coefficients.T, bias
    # A class's vectors have one coefficient for each other class, in the order of those.
    ends = np.cumsum(estimator.n_support_)
    of_class = [slice(end - n, end) for end, n in zip(ends, estimator.n_support_, strict=True)]
    weights = np.zeros((coefficients.shape[1], len(bias)))
    for pair, (first, second) in enumerate(zip(*np.triu_indices(n_classes, k=1), strict=True)):
        weights[of_class[first], pair] = coefficients[second - 1, of_class[first]]
        weights[of_class[second], pair] = coefficients[first, of_class[second]]
    return weights, bias


def _neighbours(estimator: Any) -> tuple[list[Step], list[Step] | None]:
    if estimator.effective_metric_ != "cosine" or estimator.weights not in ("distance", "uniform"):
        raise ExportError(
            f"Nearest neighbours with metric={estimator.metric!r} and weights={estimator.weights!r} cannot be written "
            "as steps that other programs run. Those that can: metric='cosine', weights 'distance' or 'uniform'."
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
    # The squared distance but for the row's own length, which is the same for all classes.
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
    shares = estimator.predict_proba(np.zeros((1, n_features)))[0]
    if len(shares) != 2:
        return [Affine(np.zeros((n_features, len(shares))), shares)], []
    lead = Affine(np.zeros((n_features, 1)), shares[1:] - 0.5)
    return [lead], [Affine(np.ones(1), np.full(1, 0.5)), TwoClasses()]


def _calibrated(estimator: Any) -> tuple[list[Step], list[Step] | None]:
    parts = estimator.calibrated_classifiers_
    if len(parts) != 1 or parts[0].method != "sigmoid":
        raise ExportError(
            f"Only a CalibratedClassifierCV with method='sigmoid' and ensemble=False can be written as steps that "
            f"other programs run; this has method={parts[0].method!r} and {len(parts)} classifiers."
        )
    inner = getattr(parts[0].estimator, "steps", [("", parts[0].estimator)])[-1][1]
    if type(inner).__name__ == "NearestCentroid":  # calibrated by other scores than what it decides by
        raise _unknown(inner)
    head = as_head(parts[0].estimator)
    if len(head.classes or []) == 2 and head.probabilities == ():  # it was calibrated by the second column
        raise _unknown(parts[0].estimator)
    a = np.array([calibrator.a_ for calibrator in parts[0].calibrators])
    b = np.array([calibrator.b_ for calibrator in parts[0].calibrators])
    # What decides is the calibrated probability, before it is made to sum to one.
    scores: list[Step] = [*head.scores, Affine(-a, -b)]
    if len(estimator.classes_) == 2:
        return scores, [Sigmoid(), TwoClasses()]
    return [*scores, Sigmoid()], [NormalizeSum()]


def _of_target(estimator: Any) -> tuple[list[Step], None]:
    head = as_head(estimator.regressor_)
    scaler = estimator.transformer_
    if type(scaler).__name__ != "StandardScaler":
        raise _unknown(scaler)
    (forward,) = _transformer(scaler)
    assert isinstance(forward, Affine)
    return [*head.scores, Affine(1 / forward.weights, -forward.bias / forward.weights)], None


_FINAL: dict[str, Callable[[Any], tuple[list[Step], list[Step] | None]]] = {
    "LogisticRegression": _logistic,
    "LinearDiscriminantAnalysis": _logistic,
    **dict.fromkeys(("RidgeClassifier", "LinearSVC", "Ridge", "LinearRegression", "LinearSVR"), _linear),
    **dict.fromkeys(("SVC", "SVR"), _support_vectors),
    **dict.fromkeys(("KNeighborsClassifier", "KNeighborsRegressor"), _neighbours),
    "NearestCentroid": _centroids,
    **dict.fromkeys(("DummyClassifier", "DummyRegressor"), _dummy),
    "CalibratedClassifierCV": _calibrated,
    "TransformedTargetRegressor": _of_target,
}
