"""Logistic regression of all folds in passes over the rows, preconditioned by the Gram matrix."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from featx.baselines.streaming.folded_rows import Block, FoldedRows
from featx.baselines.streaming.linear import LinearFit, LinearModel, softmax
from featx.baselines.streaming.moments import FoldMoments, Moments, standard_scale
from featx.system.array_types import BoolArray, Float64Array, FloatArray

#: A fold is done once a step lowers its loss by less than this fraction.
_MIN_DECREASE = 1e-4
_MAX_PASSES = 60
#: Number of passes that are expected at least, to see early that time does not suffice. Ten classes take ten or more.
_MIN_PASSES = 6
_N_UPDATES = 10
#: Matrices of the size of the weights that a fold has at the same time: two of each update, the point, the candidate,
#: the gradient, and the direction with its parts.
N_WEIGHT_COPIES = 2 * _N_UPDATES + 6
#: Sufficient decrease of a step, as a fraction of the linear prediction (Armijo).
_SUFFICIENT = 1e-4


@dataclasses.dataclass(frozen=True)
class Problem:
    """Logistic regression on standardized rows of mean squared norm 1, for one fold.

    Parameters are a matrix of n_features + 1 rows and a column for each class: weights, and in the last row biases.

    Attributes
    ----------
    n : int
        Number of training rows.
    mean, scale : ndarray of float64 of shape (n_features,)
        Row to subtract and factor of each column.
    penalty : float
        Factor of the squared norm of the weights, relative to the mean loss.
    factor : tuple
        Cholesky factor of an upper bound of the Hessian of the weights (Böhning 1992).
    bound : float
        Factor of the bound.
    has_rows : ndarray of bool of shape (n_classes,)
        Classes with training rows.
    """

    n: int
    mean: Float64Array
    scale: Float64Array
    penalty: float
    factor: tuple[Float64Array, bool]
    bound: float
    has_rows: BoolArray

    @classmethod
    def of(cls, moments: Moments, shift: FloatArray, strength: float) -> Problem:
        """Return the problem of training rows with these moments; `strength` is the C of scikit-learn."""
        n_features = len(shift)
        has_rows = moments.target_sum > 0
        n_classes = int(has_rows.sum())
        if n_classes == 2:  # scikit-learn has one column of weights then, with half their penalty in two columns
            strength /= 2
        scale = standard_scale(moments, shift) / np.sqrt(n_features)
        penalty = 1 / (strength * moments.n)
        bound = 0.5 * (1 - 1 / max(2, n_classes))
        hessian = bound * (moments.scatter() / moments.n) * scale[:, None] * scale
        hessian[np.diag_indices(n_features)] += penalty
        factor = cho_factor(hessian, overwrite_a=True)
        return cls(moments.n, moments.mean, scale, penalty, factor, bound, has_rows)

    def precondition(self, gradient: Float64Array) -> Float64Array:
        """Return a gradient times the inverse of the bound."""
        return np.vstack([cho_solve(self.factor, gradient[:-1]), gradient[-1:] / self.bound])

    def model(self, parameters: Float64Array) -> LinearModel:
        """Return parameters as a model of rows from which only the shift is subtracted."""
        weights = parameters[:-1] * self.scale[:, None]
        bias = np.where(self.has_rows, parameters[-1] - self.mean @ weights, -np.inf)
        return LinearModel(weights, bias)


class Minimizer:
    """L-BFGS with a preconditioner, for one fold. Each evaluation is a pass over the rows, shared with other folds."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.point: Float64Array = np.zeros((len(problem.scale) + 1, len(problem.has_rows)))
        self.loss = np.inf
        self.is_done = False
        self._gradient = self._direction = np.zeros_like(self.point)
        self._step = 1.0
        self._updates: list[tuple[Float64Array, Float64Array, float]] = []

    @property
    def candidate(self) -> Float64Array:
        """Parameters to evaluate next."""
        return self.point + self._step * self._direction

    def report(self, loss: float, gradient: Float64Array) -> None:
        """Take the loss and the gradient of the candidate: accept it, or halve the step."""
        slope = float((self._gradient * self._direction).sum())
        if loss > self.loss + _SUFFICIENT * self._step * slope:
            self._step /= 2
            self.is_done = self._step < 1e-3  # rounding: the loss cannot be lowered any more
            return
        candidate = self.candidate
        if np.isfinite(self.loss):
            change, difference = candidate - self.point, gradient - self._gradient
            curvature = float((change * difference).sum())
            if curvature > 0:
                self._updates = [*self._updates[1 - _N_UPDATES :], (change, difference, curvature)]
            self.is_done = self.loss - loss < _MIN_DECREASE * loss and self._step == 1
        self.point, self.loss, self._gradient, self._step = candidate, loss, gradient, 1.0
        self._direction = -self._times_inverse_hessian(gradient)

    def _times_inverse_hessian(self, gradient: Float64Array) -> Float64Array:
        """Return the two-loop recursion of L-BFGS (Nocedal 1980), which starts from the preconditioner."""
        rest, factors = gradient.copy(), []
        for change, difference, curvature in reversed(self._updates):
            factors.append(float((change * rest).sum()) / curvature)
            rest -= factors[-1] * difference
        result = self.problem.precondition(rest)
        if self._updates:
            _, difference, curvature = self._updates[-1]
            result *= curvature / float((difference * self.problem.precondition(difference)).sum())
        for (change, difference, curvature), factor in zip(self._updates, reversed(factors), strict=True):
            result += (factor - float((difference * result).sum()) / curvature) * change
        return result


def fit_logistic(data: FoldedRows, moments: FoldMoments, strength: float, label: str) -> LinearFit:
    """Return the models of all folds.

    Parameters
    ----------
    data : FoldedRows
    moments : FoldMoments
    strength : float
        Inverse strength of regularization, C of scikit-learn.
    label : str
        Purpose of the passes, shown as progress.

    Warns
    -----
    ConvergenceWarning
        A fold did not converge.
    """
    from sklearn.exceptions import ConvergenceWarning

    started = time.perf_counter()
    minimizers = [
        Minimizer(Problem.of(moments.train(fold), moments.shift, strength)) for fold in range(len(data.folds))
    ]
    for number in range(1, _MAX_PASSES + 1):
        active = [fold for fold, minimizer in enumerate(minimizers) if not minimizer.is_done]
        if not active:
            break
        models = [minimizers[fold].problem.model(minimizers[fold].candidate) for fold in active]
        n_left = max(1, _MIN_PASSES - number + 1)
        blocks = data.blocks(f"{label}, pass {number}", len(active) * len(data.classes), n_passes=n_left)
        evaluations = _evaluate(data, blocks, moments.shift, models, active)
        for fold, (loss, products, sums) in zip(active, evaluations, strict=True):
            minimizer = minimizers[fold]
            minimizer.report(*_penalized(minimizer.problem, minimizer.candidate, loss, products, sums))
    if not all(minimizer.is_done for minimizer in minimizers):
        warnings.warn(f"{label}: the loss still decreased after {_MAX_PASSES} passes", ConvergenceWarning, stacklevel=2)
    models = [minimizer.problem.model(minimizer.point) for minimizer in minimizers]
    return LinearFit(models, moments.shift, time.perf_counter() - started, has_probabilities=True)


def _penalized(
    problem: Problem, parameters: Float64Array, loss: float, products: Float64Array, sums: Float64Array
) -> tuple[float, Float64Array]:
    """Return mean loss and gradient with the penalty, from sums over the rows."""
    weights = parameters[:-1]
    gradient = (products - np.outer(problem.mean, sums)) * problem.scale[
        :, None
    ] / problem.n + problem.penalty * weights
    penalty = problem.penalty / 2 * float(np.square(weights).sum())
    return loss / problem.n + penalty, np.vstack([gradient, sums / problem.n])


def _evaluate(
    data: FoldedRows, blocks: Iterable[Block], shift: FloatArray, models: list[LinearModel], folds: list[int]
) -> list[tuple[float, Float64Array, Float64Array]]:
    """Return, for each fold, the loss, the products of rows and residuals, and the sums of residuals."""
    n_folds, n_classes = len(folds), len(data.classes)
    weights = np.concatenate([model.weights for model in models], axis=1).astype(np.float32)
    bias = np.concatenate([model.bias for model in models]).astype(np.float32)
    losses, sums = np.zeros(n_folds), np.zeros((n_folds, n_classes))
    products = np.zeros((weights.shape[0], n_folds * n_classes))
    is_train = data.is_train[folds]
    for block in blocks:
        rows = block.rows - shift
        codes = data.codes[block.span]
        in_fold = is_train[:, block.span].T.astype(np.float32)
        values: Any = rows @ weights + bias
        residuals: FloatArray = softmax(values.reshape(len(rows), n_folds, n_classes))
        index = np.arange(len(rows))
        true = np.maximum(residuals[index, :, codes], np.finfo(np.float32).tiny)
        losses -= (np.log(true) * in_fold).sum(axis=0, dtype=np.float64)
        residuals[index, :, codes] -= 1
        residuals *= in_fold[:, :, None]
        sums += residuals.sum(axis=0, dtype=np.float64)
        products += rows.T @ residuals.reshape(len(rows), -1)
    return [(float(losses[i]), products[:, i * n_classes : (i + 1) * n_classes], sums[i]) for i in range(n_folds)]
