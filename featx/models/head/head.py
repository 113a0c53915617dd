"""The head of a model: from features to scores and probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.models.head.steps import STEP_TYPES, Affine, Step
from featx.system.array_types import AnyArray, Float64Array

#: Number of values that a block of rows may have in the widest step: it bounds memory.
_BLOCK_VALUES = 4_000_000


@dataclasses.dataclass(frozen=True)
class Head:
    """The estimator of a fitted pipeline, as steps of numpy.

    Attributes
    ----------
    classes : list of str, int, float or bool, or None
        Class labels in the order of the columns. None for regression.
    scores : tuple of Step
        From features to one column for each class, to a single column for two classes (positive for the second), or
        to the target of a regression.
    probabilities : tuple of Step or None
        From scores to one column for each class. None if the estimator has no probabilities.
    """

    classes: list[Any] | None
    scores: tuple[Step, ...]
    probabilities: tuple[Step, ...] | None

    def __call__(
        self, rows: AnyArray, *, block_values: int = _BLOCK_VALUES
    ) -> tuple[Float64Array, Float64Array | None]:
        """Return scores and probabilities of features.

        Parameters
        ----------
        rows : ndarray of float of shape (n_samples, n_features)
        block_values : int, default=4_000_000
            Maximum number of values that a step computes at a time.

        Returns
        -------
        scores : ndarray of float64 of shape (n_samples, n_classes) or (n_samples, 1)
        probabilities : ndarray of float64 of shape (n_samples, n_classes) or None
        """
        n_block = max(1, block_values // max(rows.shape[1], *(step.n_hidden for step in self.scores)))
        starts = range(0, max(len(rows), 1), n_block)
        scores = np.concatenate([_apply(self.scores, rows[start : start + n_block]) for start in starts])
        return scores, None if self.probabilities is None else _apply(self.probabilities, scores)

    def class_indices(self, scores: Float64Array) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return the index of the predicted class for each row of scores."""
        return (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)

    @property
    def affine(self) -> Affine | None:
        """The function that computes the scores if it is a single affine one, else None."""
        return self.scores[0] if len(self.scores) == 1 and isinstance(self.scores[0], Affine) else None

    def as_arrays(self) -> tuple[dict[str, Any], dict[str, AnyArray]]:
        """Return a description in JSON types, and the arrays that it refers to."""
        arrays: dict[str, AnyArray] = {}
        description = {
            "classes": self.classes,
            "scores": _describe(self.scores, "scores", arrays),
            "probabilities": None
            if self.probabilities is None
            else _describe(self.probabilities, "probabilities", arrays),
        }
        return description, arrays

    @classmethod
    def from_arrays(cls, description: Mapping[str, Any], arrays: Mapping[str, AnyArray]) -> Head:
        """Return the head that :meth:`as_arrays` described.

        Raises
        ------
        KeyError, TypeError, ValueError
            The description is invalid.
        """
        probabilities = description["probabilities"]
        return cls(
            description["classes"],
            _restore(description["scores"], "scores", arrays),
            None if probabilities is None else _restore(probabilities, "probabilities", arrays),
        )


def _apply(steps: Sequence[Step], rows: AnyArray) -> Float64Array:
    values = rows.astype(np.float64)
    for step in steps:
        values = step(values)
    return values


def _describe(steps: Sequence[Step], part: str, arrays: dict[str, AnyArray]) -> list[dict[str, Any]]:
    """Return the type and the numbers of each step; put its arrays into `arrays`."""
    descriptions = []
    for index, step in enumerate(steps):
        fields: dict[str, Any] = {"step": type(step).__name__}
        for field in dataclasses.fields(step):
            value = getattr(step, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{part}-{index}-{field.name}"] = value
            else:
                fields[field.name] = value
        descriptions.append(fields)
    return descriptions


def _restore(descriptions: Sequence[Mapping[str, Any]], part: str, arrays: Mapping[str, AnyArray]) -> tuple[Step, ...]:
    steps = []
    for index, fields in enumerate(descriptions):
        step_type = STEP_TYPES[fields["step"]]
        names = [field.name for field in dataclasses.fields(step_type)]
        values = {name: fields[name] if name in fields else arrays[f"{part}-{index}-{name}"] for name in names}
        steps.append(step_type(**values))
    return tuple(steps)
