"""Linear models of all folds, scored in one pass over the rows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from featx.baselines.fitting import FoldResult
from featx.baselines.metrics import score
from featx.baselines.scaling.blocks import margins_of
from featx.baselines.streaming.folded_rows import FoldedRows
from featx.system.array_types import AnyArray, Float64Array, FloatArray


@dataclasses.dataclass(frozen=True)
class LinearModel:
    """A linear model of one fold.

    Attributes
    ----------
    weights : ndarray of float64 of shape (n_columns, n_targets)
    bias : ndarray of float64 of shape (n_targets,)
        −∞ for classes without training rows.
    params : dict
        Parameters that were selected.
    """

    weights: Float64Array
    bias: Float64Array
    params: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LinearFit:
    """Linear models of all folds on the same columns.

    Attributes
    ----------
    models : list of LinearModel
    shift : ndarray of float32 of shape (n_columns,)
        Row that is subtracted from the columns.
    transform : callable or None
        Function that computes the columns from a block of rows. None: the rows.
    has_probabilities : bool
        Whether the softmax of the decision values is a probability.
    seconds : float
        Duration of the fits.
    """

    models: Sequence[LinearModel]
    shift: FloatArray
    seconds: float
    transform: Callable[[FloatArray], FloatArray] | None = None
    has_probabilities: bool = False


def score_linear(data: FoldedRows, fit: LinearFit, label: str, *, keeps_probabilities: bool) -> list[FoldResult]:
    """Return the result of each fold.

    Parameters
    ----------
    data : FoldedRows
    fit : LinearFit
    label : str
        Purpose of the pass, shown as progress.
    keeps_probabilities : bool
        Whether results have probabilities, if the models have any.
    """
    started = time.perf_counter()
    weights = [model.weights.astype(np.float32) for model in fit.models]
    biases = [model.bias.astype(np.float32) for model in fit.models]
    keeps_probabilities = keeps_probabilities and fit.has_probabilities
    parts: list[list[tuple[AnyArray, ...]]] = [[] for _ in data.folds]
    for block in data.blocks(label, max(len(fit.shift), len(data.classes))):
        columns = block.rows if fit.transform is None else fit.transform(block.rows)
        columns = columns - fit.shift
        for fold, is_test in enumerate(data.is_test[:, block.span]):
            if is_test.any():
                values = columns[is_test] @ weights[fold] + biases[fold]
                parts[fold].append(_predictions(values, data.task, fit.has_probabilities, keeps_probabilities))
    seconds = (time.perf_counter() - started) / len(data.folds)
    return [
        _fold_result(
            data,
            fold,
            parts[fold],
            model.params,
            {"fit_seconds": fit.seconds / len(data.folds), "predict_seconds": seconds},
        )
        for fold, model in enumerate(fit.models)
    ]


def _predictions(
    values: FloatArray, task: str, has_probabilities: bool, keeps_probabilities: bool
) -> tuple[AnyArray, ...]:
    """Return predicted codes, margins, and probabilities if they are kept; for regression values only."""
    if task == "regression":
        return (values[:, 0].astype(np.float64),)
    codes = values.argmax(axis=1)
    if has_probabilities:
        values = softmax(values)
    return (codes, margins_of(values), *([values] if keeps_probabilities else []))


def softmax(values: FloatArray) -> FloatArray:
    """Return the softmax of the last axis, computed in place."""
    values -= values.max(axis=-1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=-1, keepdims=True)
    return values


def _fold_result(
    data: FoldedRows,
    fold: int,
    parts: Sequence[tuple[AnyArray, ...]],
    params: dict[str, Any],
    seconds: dict[str, float],
) -> FoldResult:
    test = data.folds[fold][1]
    # Rows were predicted in their order in the file; the test rows of a fold may be in another.
    position = np.searchsorted(np.sort(test), test)
    first, *others = (np.concatenate(arrays)[position] for arrays in zip(*parts, strict=True))
    predicted = first if data.task == "regression" else data.classes[first]
    return FoldResult(
        {**score(data.task, data.y[test], predicted), **seconds},
        params,
        predicted,
        probabilities=others[1] if len(others) > 1 else None,
        classes=data.classes if data.task == "classification" else None,
        margins=others[0] if others else None,
    )
