"""The results of all folds combined: out-of-fold predictions and the table of scores."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.fitting import Dataset, FoldResult
from featx.baselines.folds.split import Split
from featx.baselines.metrics import METRICS, add_verdicts, corrected_interval, single_test_interval
from featx.baselines.multilabel.scores import align_columns
from featx.datasets.labels import as_series
from featx.datasets.tags import tag_names
from featx.system.array_types import AnyArray, Float64Array, FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class OutOfFoldPredictions:
    """Predictions for the test samples of the first repeat, in order of their index.

    Attributes
    ----------
    rows : ndarray of int of shape (n_tested,)
        Sorted indices of the samples.
    y : ndarray of shape (n_tested,)
        True labels or values.
    classes : ndarray of shape (n_classes,)
        Sorted classes of training and test samples.
    predicted : dict of str to ndarray of shape (n_tested,)
        Predictions of each estimator.
    probabilities : dict of str to ndarray of float32 of shape (n_tested, n_classes)
        Class probabilities of each estimator that has any.
    margins : dict of str to ndarray of float32 of shape (n_tested,)
        Margins of each estimator that has any.
    tag_values : dict of str to ndarray of float32 of shape (n_tested, n_classes)
        Probabilities or decision values of tags.
    """

    rows: IntArray
    y: AnyArray
    classes: AnyArray
    predicted: dict[str, AnyArray]
    probabilities: dict[str, FloatArray]
    margins: dict[str, FloatArray]
    tag_values: dict[str, FloatArray]

    @classmethod
    def combine(cls, results: Mapping[str, Sequence[FoldResult]], data: Dataset, split: Split) -> OutOfFoldPredictions:
        """Return the predictions of all estimators.

        Parameters
        ----------
        results : mapping of str to sequence of FoldResult
            Results of each estimator on each fold.
        data : Dataset
            All samples.
        split : Split
            The folds.
        """
        tested = np.concatenate([split.folds[index][1] for index in split.first_repeat])
        used = data.y[np.concatenate([*split.folds[0], tested])]
        classes = np.array(tag_names(used)) if data.task == "multilabel" else np.unique(used)
        order = np.argsort(tested, kind="stable")
        predicted: dict[str, AnyArray] = {}
        probabilities: dict[str, FloatArray] = {}
        margins: dict[str, FloatArray] = {}
        tag_values: dict[str, FloatArray] = {}
        for name, fold_results in results.items():
            first_repeat = [fold_results[index] for index in split.first_repeat]
            predicted[name] = np.concatenate([result.predicted for result in first_repeat])[order]
            if all(result.probabilities is not None for result in first_repeat):
                probabilities[name] = _join_probabilities(first_repeat, classes, np.argsort(order))
            if complete := _all_or_none([result.margins for result in first_repeat]):
                margins[name] = np.concatenate(complete)[order]
            if all(result.tag_values is not None for result in first_repeat):
                tag_values[name] = np.concatenate([_align_tags(result, classes) for result in first_repeat])[order]
        return cls(tested[order], data.y[tested[order]], classes, predicted, probabilities, margins, tag_values)


def _align_tags(result: FoldResult, classes: AnyArray) -> FloatArray:
    assert result.tag_values is not None
    assert result.classes is not None
    return align_columns(result.tag_values, result.classes, classes.tolist())


def _all_or_none(arrays: list[FloatArray | None]) -> list[FloatArray]:
    present = [array for array in arrays if array is not None]
    return present if len(present) == len(arrays) else []


def _join_probabilities(results: Sequence[FoldResult], classes: AnyArray, positions: IntArray) -> FloatArray:
    """Return the probabilities of all folds at their positions, with a column for each class.

    It is 0 for classes without training samples in the fold.
    """
    joined = np.zeros((len(positions), len(classes)), dtype=np.float32)
    column_of = {label: column for column, label in enumerate(classes.tolist())}
    start = 0
    for result in results:
        assert result.probabilities is not None
        assert result.classes is not None
        rows = positions[start : start + len(result.predicted)]
        start += len(rows)
        for column, label in enumerate(result.classes.tolist()):
            if label in column_of:
                joined[rows, column_of[label]] = result.probabilities[:, column]
    return joined


@dataclasses.dataclass(frozen=True)
class CombinedResults:
    """The results of all estimators on all folds.

    Attributes
    ----------
    table : pandas.DataFrame
        See ``Comparison.table``.
    fold_scores : pandas.DataFrame
        See ``Comparison.fold_scores``.
    predictions : OutOfFoldPredictions
        Predictions of the first repeat.
    """

    table: pd.DataFrame
    fold_scores: pd.DataFrame
    predictions: OutOfFoldPredictions

    @classmethod
    def combine(
        cls, results: Mapping[str, Sequence[FoldResult]], data: Dataset, split: Split, *, tune: bool
    ) -> CombinedResults:
        """Return the results; with a column of parameters if they were tuned."""
        fold_scores = fold_score_table(results)
        predictions = OutOfFoldPredictions.combine(results, data, split)
        table = score_table(fold_scores, predictions, data, split)
        if tune:
            table["best_params"] = [describe_params([result.params for result in folds]) for folds in results.values()]
        return cls(table, fold_scores, predictions)


def fold_score_table(results: Mapping[str, Sequence[FoldResult]]) -> pd.DataFrame:
    """Return one row for each estimator and fold, with its scores and times."""
    import pandas as pd

    return pd.DataFrame(
        [
            {"estimator": name, "fold": fold, **result.scores}
            for name, fold_results in results.items()
            for fold, result in enumerate(fold_results)
        ]
    )


def prediction_table(predictions: OutOfFoldPredictions, index: IntArray) -> pd.DataFrame:
    """Return one column of predictions for each estimator."""
    import pandas as pd

    columns = {name: as_series(predicted) for name, predicted in predictions.predicted.items()}
    return pd.DataFrame(columns).set_axis(index, axis=0)


def score_table(
    fold_scores: pd.DataFrame, predictions: OutOfFoldPredictions, data: Dataset, split: Split
) -> pd.DataFrame:
    """Return one row for each estimator: means over folds, confidence intervals and verdicts.

    Parameters
    ----------
    fold_scores : pandas.DataFrame
        Result of :func:`fold_score_table`.
    predictions : OutOfFoldPredictions
        Predictions of the same estimators.
    data : Dataset
        All samples.
    split : Split
        The folds.

    Returns
    -------
    pandas.DataFrame
        See ``Comparison.table``.
    """
    metrics = METRICS[data.task]
    by_estimator = fold_scores.groupby("estimator", sort=False)
    columns = {f"{metric}_{stat}": (metric, stat) for metric in metrics for stat in ("mean", "std")}
    table = by_estimator.agg(**columns).reset_index()
    first_scores = [scores.to_numpy() for _, scores in by_estimator[metrics[0]]]
    predicted = [predictions.predicted[name] for name in table["estimator"]]
    intervals = [
        _interval(scores, estimator_predicted, predictions.y, data, split.test_ratio)
        for scores, estimator_predicted in zip(first_scores, predicted, strict=True)
    ]
    position = list(table.columns).index(f"{metrics[0]}_std") + 1
    table.insert(position, "low", [low for low, _ in intervals])
    table.insert(position + 1, "high", [high for _, high in intervals])
    add_verdicts(table, first_scores, predicted, predictions.y, task=data.task, test_ratio=split.test_ratio)
    for seconds in ("fit_seconds", "predict_seconds"):
        table[seconds] = by_estimator[seconds].mean().to_numpy()
    return table


def _interval(
    scores: Float64Array, predicted: AnyArray, y: AnyArray, data: Dataset, test_ratio: float
) -> tuple[float, float]:
    if len(scores) > 1 and np.ptp(scores) > 0:
        low, high = corrected_interval(scores, test_ratio)
    else:  # without variation between folds, use the variation between samples
        low, high = single_test_interval(data.task, y, predicted, data.random_state)
    lowest = -np.inf if data.task == "regression" else 0.0
    return float(np.maximum(low, lowest)), float(np.minimum(high, 1.0))  # NaN stays NaN


def describe_params(params: Sequence[dict[str, Any]]) -> str:
    """Return the parameters that tuning selected, those of most folds first.

    Examples
    --------
    >>> describe_params([{"svc__C": 10}, {"svc__C": 1}, {"svc__C": 10}])
    'C=10 (2 of 3); C=1 (1 of 3)'
    """
    counts = collections.Counter(
        ", ".join(f"{name.split('__')[-1]}={value:g}" for name, value in sorted(fold_params.items()))
        for fold_params in params
    )
    return "; ".join(f"{text} ({count} of {len(params)})" for text, count in counts.most_common() if text)
