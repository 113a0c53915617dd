"""What becomes of features in a fitted estimator, step by step: in numpy as in what is exported."""

from __future__ import annotations

import abc
import dataclasses

import numpy as np

from featx.system.array_types import Float64Array


@dataclasses.dataclass(frozen=True)
class Step(abc.ABC):
    """A function of rows of numbers; its fields are arrays and numbers."""

    @abc.abstractmethod
    def __call__(self, rows: Float64Array) -> Float64Array:
        """Return rows of float64, shape (n, n_out), of rows of shape (n, n_in)."""


@dataclasses.dataclass(frozen=True)
class Affine(Step):
    """``rows @ weights + bias``; of weights with one axis, ``rows * weights + bias``.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_in, n_out) or (n_in,)
    bias : ndarray of float64, shape (n_out,)
    """

    weights: Float64Array
    bias: Float64Array

    def __call__(self, rows: Float64Array) -> Float64Array:
        product: Float64Array = rows @ self.weights if self.weights.ndim == 2 else rows * self.weights
        return product + self.bias

    def then(self, other: Affine) -> Affine:
        """Return both as one."""
        if other.weights.ndim == 1:
            return Affine(self.weights * other.weights, self.bias * other.weights + other.bias)
        own = self.weights[:, None] if self.weights.ndim == 1 else self.weights
        product = own * other.weights if self.weights.ndim == 1 else own @ other.weights
        return Affine(product, self.bias @ other.weights + other.bias)


@dataclasses.dataclass(frozen=True)
class Normalize(Step):
    """Rows of length one; a row of zeros stays one."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
        return rows / np.where(lengths == 0, 1, lengths)


@dataclasses.dataclass(frozen=True)
class RbfKernel(Step):
    """``exp(-gamma ‖row − vector‖²)`` for each of some vectors.

    Attributes
    ----------
    vectors : ndarray of float64, shape (n_vectors, n_in)
    gamma : float
    """

    vectors: Float64Array
    gamma: float

    def __call__(self, rows: Float64Array) -> Float64Array:
        squares = (rows * rows).sum(axis=1)[:, None] + (self.vectors * self.vectors).sum(axis=1)
        distances: Float64Array = np.maximum(squares - 2 * rows @ self.vectors.T, 0)
        kernel: Float64Array = np.exp(-self.gamma * distances)
        return kernel


@dataclasses.dataclass(frozen=True)
class OneVsOneVotes(Step):
    """Scores of classes, of the decisions between each two of them: (0, 1), (0, 2), …, (1, 2), ….

    The number of decisions a class wins, and of those that win equally many, by how much: as scikit-learn's
    ``SVC.decision_function``.

    Attributes
    ----------
    n_classes : int
    """

    n_classes: int

    def pairs(self) -> tuple[Float64Array, Float64Array]:
        """Return which class each decision is for where it is positive, and where not, (n_pairs, n_classes) each."""
        first, second = np.triu_indices(self.n_classes, k=1)
        ones = np.eye(self.n_classes)
        return ones[first], ones[second]

    def __call__(self, rows: Float64Array) -> Float64Array:
        first, second = self.pairs()
        won = (rows >= 0).astype(np.float64)
        votes = won @ first + (1 - won) @ second
        sums: Float64Array = rows @ (first - second)
        scores: Float64Array = votes + sums / (3 * (np.abs(sums) + 1))
        return scores


@dataclasses.dataclass(frozen=True)
class Neighbors(Step):
    """Shares of the values of the nearest rows by cosine, weighted by one over their distance, or equally.

    Attributes
    ----------
    rows : ndarray of float64, shape (n_fitted, n_in)
        Of length one.
    values : ndarray of float64, shape (n_fitted, n_out)
        1 for the class of a row and 0 for the others; or quantities.
    n_neighbors : int
    by_distance : bool
    """

    rows: Float64Array
    values: Float64Array
    n_neighbors: int
    by_distance: bool

    def __call__(self, rows: Float64Array) -> Float64Array:
        distances = np.clip(1 - Normalize()(rows) @ self.rows.T, 0, 2)
        nearest = np.argpartition(distances, self.n_neighbors - 1, axis=1)[:, : self.n_neighbors]
        weights = np.ones(nearest.shape)
        if self.by_distance:
            found = np.take_along_axis(distances, nearest, axis=1)
            with np.errstate(divide="ignore"):
                weights = 1 / found
            same = np.isinf(weights).any(axis=1)  # equal rows alone have a say
            weights[same] = np.isinf(weights[same])
        weights /= weights.sum(axis=1, keepdims=True)
        mean: Float64Array = np.einsum("nk,nko->no", weights, self.values[nearest])
        return mean


@dataclasses.dataclass(frozen=True)
class Softmax(Step):
    """Probabilities that sum to one, of scores."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        shares: Float64Array = powers / powers.sum(axis=1, keepdims=True)
        return shares


@dataclasses.dataclass(frozen=True)
class Sigmoid(Step):
    """``1 / (1 + exp(−score))``."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        # Of the negative magnitude alone: the other exponential overflows.
        small = np.exp(-np.abs(rows))
        share: Float64Array = np.where(rows >= 0, 1 / (1 + small), small / (1 + small))
        return share


@dataclasses.dataclass(frozen=True)
class TwoClasses(Step):
    """Of the probability of the second class, those of both."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        return np.concatenate([1 - rows, rows], axis=1)


@dataclasses.dataclass(frozen=True)
class NormalizeSum(Step):
    """Rows divided by their sum; a row of zeros becomes equal shares."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        sums = rows.sum(axis=1, keepdims=True)
        return np.where(sums == 0, 1 / rows.shape[1], rows / np.where(sums == 0, 1, sums))


KINDS: dict[str, type[Step]] = {
    kind.__name__: kind
    for kind in (Affine, Normalize, RbfKernel, OneVsOneVotes, Neighbors, Softmax, Sigmoid, TwoClasses, NormalizeSum)
}


def joined(steps: list[Step]) -> tuple[Step, ...]:
    """Return steps that do the same, affine ones next to each other as one."""
    found: list[Step] = []
    for step in steps:
        if isinstance(step, Affine) and found and isinstance(found[-1], Affine):
            found[-1] = found[-1].then(step)
        else:
            found.append(step)
    return tuple(found)
