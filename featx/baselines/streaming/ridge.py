"""Ridge models of all folds from moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.baselines.scaling.gcv_ridge import solve_ridge
from featx.baselines.streaming.linear import LinearModel
from featx.baselines.streaming.moments import Moments, standard_scale
from featx.system.array_types import Float64Array, FloatArray


def fit_ridge(moments: Moments, shift: FloatArray, alphas: Sequence[float], *, is_classifier: bool) -> LinearModel:
    """Return the ridge model of ``featx.baselines.builtin_baselines``, on standardized rows of mean squared norm 1.

    Parameters
    ----------
    moments : Moments
        Moments of the training rows.
    shift : ndarray of float32 of shape (n_columns,)
        Row that was subtracted before.
    alphas : sequence of float
        Penalties. Of several, generalized cross-validation selects one.
    is_classifier : bool
        Whether the targets are classes: 1 for the class of a row, −1 for others.
    """
    scale = standard_scale(moments, shift) / np.sqrt(len(shift))
    scatter = moments.scatter() * scale[:, None] * scale
    targets, squares, mean = _centered_targets(moments, is_classifier=is_classifier)
    weights, alpha = solve_ridge(scatter, targets * scale[:, None], squares, alphas, moments.n)
    weights *= scale[:, None]
    return as_linear_model(moments, weights, mean, {"alpha": alpha} if len(alphas) > 1 else {}, is_classifier)


def as_linear_model(
    moments: Moments, weights: Float64Array, target_mean: Float64Array, params: dict[str, float], is_classifier: bool
) -> LinearModel:
    """Return the model with its bias, which is −∞ for classes without training rows."""
    bias = target_mean - moments.mean @ weights
    if is_classifier:
        bias[moments.target_sum == 0] = -np.inf
    return LinearModel(weights, bias, params)


def _centered_targets(moments: Moments, *, is_classifier: bool) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return products of rows and centered targets, their sums of squares, and the mean targets."""
    products = moments.cross - np.outer(moments.target_sum, moments.mean)
    squares = moments.target_squares - moments.target_sum**2 / moments.n
    mean = moments.target_sum / moments.n
    if is_classifier:  # targets of −1 and 1 instead of 0 and 1
        products, squares, mean = 2 * products, 4 * squares, 2 * mean - 1
    return products.T, squares, mean


def fit_components(
    moments: Moments, normalization: Float64Array, alphas: Sequence[float], *, is_classifier: bool
) -> LinearModel:
    """Return the ridge model on components, which are linear in the columns of the moments.

    Parameters
    ----------
    moments : Moments
        Moments of the training rows.
    normalization : ndarray of float64 of shape (n_columns, n_components)
        Weights of the components.
    alphas : sequence of float
        Penalties, of which generalized cross-validation selects one.
    is_classifier : bool
    """
    targets, squares, mean = _centered_targets(moments, is_classifier=is_classifier)
    scatter = normalization.T @ moments.scatter() @ normalization
    weights, alpha = solve_ridge(scatter, normalization.T @ targets, squares, alphas, moments.n)
    params = {"alpha": alpha} if len(alphas) > 1 else {}
    return as_linear_model(moments, normalization @ weights, mean, params, is_classifier)
