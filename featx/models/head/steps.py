"""Functions that turn features into scores and probabilities, in numpy; :mod:`featx.models.export` writes the same."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np

from featx.system.array_types import Float64Array
from featx.system.arrays import row_product


@dataclasses.dataclass(frozen=True)
class Step(abc.ABC):
    """A function of a matrix, row by row. Its fields are arrays and numbers."""

    @abc.abstractmethod
    def __call__(self, rows: Float64Array) -> Float64Array:
        """Return the output of each row.

        Parameters
        ----------
        rows : ndarray of float64 of shape (n_samples, n_in)

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_out)
        """

    @property
    def n_hidden(self) -> int:
        """Number of values that the step computes for each row, as a bound of its memory."""
        return 1


@dataclasses.dataclass(frozen=True)
class Affine(Step):
    """``rows @ weights + bias``, or ``rows * weights + bias`` for weights with one axis.

    Attributes
    ----------
    weights : ndarray of float64 of shape (n_in, n_out) or (n_in,)
    bias : ndarray of float64 of shape (n_out,)
    """

    weights: Float64Array
    bias: Float64Array

    def __call__(self, rows: Float64Array) -> Float64Array:
        product: Float64Array = row_product(rows, self.weights) if self.weights.ndim == 2 else rows * self.weights
        return product + self.bias

    @property
    def n_hidden(self) -> int:
        return len(self.bias)

    def then(self, other: Affine) -> Affine:
        """Return the composition of this function and another."""
        if other.weights.ndim == 1:
            return Affine(self.weights * other.weights, self.bias * other.weights + other.bias)
        first = self.weights[:, None] if self.weights.ndim == 1 else self.weights
        product = first * other.weights if self.weights.ndim == 1 else first @ other.weights
        return Affine(product, self.bias @ other.weights + other.bias)


@dataclasses.dataclass(frozen=True)
class Normalize(Step):
    """Rows scaled to unit L2 norm, as by ``sklearn.preprocessing.Normalizer``. Rows of zeros stay zeros.

    In float64, as all steps of a head, and without scikit-learn, which servers need not import.
    """

    def __call__(self, rows: Float64Array) -> Float64Array:
        norms = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
        return rows / np.where(norms == 0, 1, norms)


@dataclasses.dataclass(frozen=True)
class RbfKernel(Step):
    """``exp(-gamma * ||row - vector||**2)`` for each of several vectors.

    Attributes
    ----------
    vectors : ndarray of float64 of shape (n_vectors, n_in)
    gamma : float
    """

    vectors: Float64Array
    gamma: float

    def __call__(self, rows: Float64Array) -> Float64Array:
        squares = (rows * rows).sum(axis=1)[:, None] + (self.vectors * self.vectors).sum(axis=1)
        distances: Float64Array = np.maximum(squares - 2 * row_product(rows, self.vectors.T), 0)
        kernel: Float64Array = np.exp(-self.gamma * distances)
        return kernel

    @property
    def n_hidden(self) -> int:
        return len(self.vectors)


@dataclasses.dataclass(frozen=True)
class OneVsOneVotes(Step):
    """Class scores from the one-vs-one decisions (0, 1), (0, 2), …, (1, 2), … of a support vector machine.

    The score is the number of decisions that a class wins. The sum of its decision values, squashed to less than half
    a vote, breaks ties: the rule of ``SVC.decision_function`` with ``decision_function_shape="ovr"``.

    Attributes
    ----------
    n_classes : int
    """

    n_classes: int

    def pairs(self) -> tuple[Float64Array, Float64Array]:
        """Return the class of a positive and of a negative value of each decision, one-hot, (n_pairs, n_classes)."""
        first, second = np.triu_indices(self.n_classes, k=1)
        identity = np.eye(self.n_classes)
        return identity[first], identity[second]

    def __call__(self, rows: Float64Array) -> Float64Array:
        first, second = self.pairs()
        is_first = (rows >= 0).astype(np.float64)
        votes = is_first @ first + (1 - is_first) @ second
        sums: Float64Array = rows @ (first - second)
        scores: Float64Array = votes + sums / (3 * (np.abs(sums) + 1))
        return scores


@dataclasses.dataclass(frozen=True)
class Neighbors(Step):
    """Mean of the values of the nearest rows by cosine distance, weighted equally or by the inverse distance.

    Attributes
    ----------
    rows : ndarray of float64 of shape (n_fitted, n_in)
        Training rows of unit norm.
    values : ndarray of float64 of shape (n_fitted, n_out)
        One-hot classes, or targets of a regression.
    n_neighbors : int
    by_distance : bool
        Whether neighbors are weighted by the inverse of their distance.
    """

    rows: Float64Array
    values: Float64Array
    n_neighbors: int
    by_distance: bool

    def __call__(self, rows: Float64Array) -> Float64Array:
        distances = np.clip(1 - row_product(Normalize()(rows), self.rows.T), 0, 2)
        nearest = np.argpartition(distances, self.n_neighbors - 1, axis=1)[:, : self.n_neighbors]
        weights = np.ones(nearest.shape)
        if self.by_distance:
            with np.errstate(divide="ignore"):
                weights = 1 / np.take_along_axis(distances, nearest, axis=1)
            has_equal = np.isinf(weights).any(axis=1)  # as in scikit-learn, only equal rows count then
            weights[has_equal] = np.isinf(weights[has_equal])
        weights /= weights.sum(axis=1, keepdims=True)
        mean: Float64Array = np.einsum("nk,nko->no", weights, self.values[nearest])
        return mean

    @property
    def n_hidden(self) -> int:
        return len(self.rows)


@dataclasses.dataclass(frozen=True)
class Softmax(Step):
    """Softmax of the scores of a row."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        exponentials = np.exp(rows - rows.max(axis=1, keepdims=True))
        probabilities: Float64Array = exponentials / exponentials.sum(axis=1, keepdims=True)
        return probabilities


@dataclasses.dataclass(frozen=True)
class Sigmoid(Step):
    """``1 / (1 + exp(-score))``, without overflow."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        exponentials = np.exp(-np.abs(rows))
        probabilities: Float64Array = np.where(rows >= 0, 1 / (1 + exponentials), exponentials / (1 + exponentials))
        return probabilities


@dataclasses.dataclass(frozen=True)
class TwoClasses(Step):
    """The probabilities of both classes, from the probability of the second."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        return np.concatenate([1 - rows, rows], axis=1)


@dataclasses.dataclass(frozen=True)
class NormalizeSum(Step):
    """Rows divided by their sum. A row of zeros becomes a uniform distribution."""

    def __call__(self, rows: Float64Array) -> Float64Array:
        sums = rows.sum(axis=1, keepdims=True)
        return np.where(sums == 0, 1 / rows.shape[1], rows / np.where(sums == 0, 1, sums))


#: Step classes by the names that model files use.
STEP_TYPES: dict[str, type[Step]] = {
    step_type.__name__: step_type
    for step_type in (
        *(Affine, Normalize, RbfKernel, OneVsOneVotes, Neighbors),
        *(Softmax, Sigmoid, TwoClasses, NormalizeSum),
    )
}


def merge_affine(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return equivalent steps in which no two affine functions follow each other."""
    merged: list[Step] = []
    for step in steps:
        if isinstance(step, Affine) and merged and isinstance(merged[-1], Affine):
            merged[-1] = merged[-1].then(step)
        else:
            merged.append(step)
    return tuple(merged)
