"""What follows the features of a model: steps to scores and probabilities; exported, explained, and quick to load."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.models.head.steps import KINDS, Affine, Neighbors, RbfKernel, Step
from featx.system.array_types import Float64Array

#: Values of one block of rows by a step's largest output, so that memory stays bounded.
_BLOCK = 4_000_000


@dataclasses.dataclass(frozen=True)
class Head:
    """What follows the features of a fitted pipeline.

    Attributes
    ----------
    classes : list of str or of numbers, or None
        In the order of columns; None for regression.
    scores : tuple of Step
        From features to one column for each class (of two classes, one column that is positive for the second), or
        to one quantity.
    probabilities : tuple of Step or None
        From scores to one column for each class; None where the estimator gives none.
    """

    classes: list[Any] | None
    scores: tuple[Step, ...]
    probabilities: tuple[Step, ...] | None

    def __call__(self, rows: np.ndarray[Any, Any]) -> tuple[Float64Array, Float64Array | None]:
        """Return scores and probabilities of rows of features, shape (n, n_features)."""
        n_block = max(1, _BLOCK // max(rows.shape[1], *(len(_widest(step)) for step in self.scores)))
        blocks = [self._of_block(rows[at : at + n_block]) for at in range(0, max(len(rows), 1), n_block)]
        scores = np.concatenate([one for one, _ in blocks])
        if self.probabilities is None:
            return scores, None
        return scores, np.concatenate([one for _, one in blocks if one is not None])

    def _of_block(self, rows: np.ndarray[Any, Any]) -> tuple[Float64Array, Float64Array | None]:
        scores = rows.astype(np.float64)
        for step in self.scores:
            scores = step(scores)
        if self.probabilities is None:
            return scores, None
        shares = scores
        for step in self.probabilities:
            shares = step(shares)
        return scores, shares

    def class_indices(self, scores: Float64Array) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return the position among `classes` that each row of scores decides for."""
        return (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)

    @property
    def affine(self) -> Affine | None:
        """The one affine function that gives the scores, if it is all that there is."""
        return self.scores[0] if len(self.scores) == 1 and isinstance(self.scores[0], Affine) else None

    def as_arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return it as plain JSON types, and the arrays that these name."""
        arrays: dict[str, np.ndarray[Any, Any]] = {}

        def described(steps: tuple[Step, ...], part: str) -> list[dict[str, Any]]:
            found = []
            for number, step in enumerate(steps):
                fields: dict[str, Any] = {"step": type(step).__name__}
                for field in dataclasses.fields(step):
                    value = getattr(step, field.name)
                    if isinstance(value, np.ndarray):
                        arrays[f"{part}-{number}-{field.name}"] = value
                    else:
                        fields[field.name] = value
                found.append(fields)
            return found

        return {
            "classes": self.classes,
            "scores": described(self.scores, "scores"),
            "probabilities": None if self.probabilities is None else described(self.probabilities, "probabilities"),
        }, arrays

    @classmethod
    def from_arrays(cls, described: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> Head:
        """Return what :meth:`as_arrays` described.

        Raises
        ------
        KeyError, TypeError, ValueError
            It describes no head.
        """

        def steps(part: str) -> tuple[Step, ...]:
            found = []
            for number, fields in enumerate(described[part]):
                kind = KINDS[fields["step"]]
                values = {
                    field.name: fields[field.name] if field.name in fields else arrays[f"{part}-{number}-{field.name}"]
                    for field in dataclasses.fields(kind)
                }
                found.append(kind(**values))
            return tuple(found)

        shares = None if described["probabilities"] is None else steps("probabilities")
        return cls(described["classes"], steps("scores"), shares)


def _widest(step: Step) -> np.ndarray[Any, Any]:
    """Return the array that has a row for each number that a step computes of a row."""
    if isinstance(step, RbfKernel):
        return step.vectors
    if isinstance(step, Neighbors):
        return step.rows
    return step.bias if isinstance(step, Affine) else np.empty(1)
