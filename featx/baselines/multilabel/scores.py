"""Scores of predicted tags: mean average precision, micro and macro F1, and a table of the tags."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.libraries.outputs import check_columns
from featx.datasets.tags import TagMatrix, tag_matrix, tag_names, tags_of_matrix
from featx.system.array_types import AnyArray, BoolArray, FloatArray

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class PredictedTags:
    """Predictions of a classifier of tags.

    Attributes
    ----------
    classes : ndarray of str of shape (n_tags,)
    predicted : ndarray of bool of shape (n_samples, n_tags)
    values : ndarray of float32 of shape (n_samples, n_tags)
        Probabilities, or decision values.
    has_probabilities : bool
    """

    classes: AnyArray
    predicted: BoolArray
    values: FloatArray
    has_probabilities: bool

    @classmethod
    def of(cls, estimator: Any, apply: Callable[[Callable[[Any], Any]], AnyArray], n_samples: int) -> PredictedTags:
        """Return the predictions of a fitted classifier.

        Parameters
        ----------
        estimator : TagClassifier
        apply : callable
            Function that calls a method on all samples.
        n_samples : int
        """
        shape = n_samples, len(estimator.classes_)
        predicted = check_columns(apply(lambda X: np.asarray(estimator.predict(X)) == 1), shape, "predict")
        has_probabilities = hasattr(estimator, "predict_proba")
        method = estimator.predict_proba if has_probabilities else getattr(estimator, "decision_function", None)
        if method is None:
            values = predicted.astype(np.float32)
        else:
            values = apply(lambda X: np.asarray(method(X)).astype(np.float32))
            values = check_columns(values, shape, "predict_proba")
        return cls(estimator.classes_, predicted, values, has_probabilities)

    @property
    def kept(self) -> dict[str, Any]:
        """Return the values as parts of a result: as probabilities, too, if they are."""
        return {"tag_values": self.values, **({"probabilities": self.values} if self.has_probabilities else {})}

    def as_tags(self) -> AnyArray:
        """Return the predicted tags of each sample."""
        return tags_of_matrix(self.predicted, self.classes)

    def score(self, y: AnyArray) -> dict[str, float]:
        """Return the metrics of these predictions for the true tags `y`."""
        names = sorted({*tag_names(y), *self.classes.tolist()})
        truth = tag_matrix(y, names)
        precisions = _average_precisions(truth, align_columns(self.values, self.classes, names))
        mean = float(np.nanmean(precisions)) if np.isfinite(precisions).any() else float("nan")
        return {"map": mean, **_f1(truth, align_columns(self.predicted, self.classes, names))}


def align_columns(values: AnyArray, classes: AnyArray, names: Sequence[str]) -> AnyArray:
    """Return columns in the order of `names`. Those of unknown tags have the lowest value of a row."""
    columns = {name: column for column, name in enumerate(classes.tolist())}
    lowest = values.min(axis=1) if values.shape[1] else np.zeros(len(values))
    aligned = np.empty((len(values), len(names)), dtype=values.dtype)
    for column, name in enumerate(names):
        aligned[:, column] = values[:, columns[name]] if name in columns else np.minimum(lowest, 0)
    return aligned


def average_precisions(y: AnyArray, values: FloatArray, names: Sequence[str]) -> AnyArray:
    """Return the average precision of each tag; NaN for tags that no sample has."""
    return _average_precisions(tag_matrix(y, names), values)


def _average_precisions(truth: TagMatrix, values: FloatArray) -> AnyArray:
    from sklearn.metrics import average_precision_score

    return np.array(
        [
            average_precision_score(has_tag, tag_values) if has_tag.any() else np.nan
            for has_tag, tag_values in zip(truth.T, values.T, strict=True)
        ]
    )


def _f1(truth: TagMatrix, predicted: AnyArray) -> dict[str, float]:
    from sklearn.metrics import f1_score

    return {
        f"f1_{average}": float(f1_score(truth, predicted, average=average, zero_division=0))
        for average in ("micro", "macro")
    }


def per_tag(y: AnyArray, predicted: AnyArray, values: FloatArray | None, classes: AnyArray) -> pd.DataFrame:
    """Return the scores of each tag.

    Parameters
    ----------
    y, predicted : ndarray of Tags of shape (n_samples,)
    values : ndarray of float of shape (n_samples, n_tags) or None
        Probabilities or decision values. None: they are not kept.
    classes : ndarray of str of shape (n_tags,)

    Returns
    -------
    pandas.DataFrame
        Columns ``label``, ``images``, ``recall``, ``precision``, ``f1`` and ``average_precision``, which is NaN without
        `values`.
    """
    import pandas as pd
    from sklearn.metrics import precision_recall_fscore_support

    names = classes.tolist()
    truth, guessed = tag_matrix(y, names), tag_matrix(predicted, names)
    precision, recall, f1, images = precision_recall_fscore_support(truth, guessed, average=None, zero_division=0)
    scores = {"recall": recall, "precision": precision, "f1": f1}
    return pd.DataFrame(
        {
            "label": pd.Series(names, dtype=object),
            "images": images,
            **scores,
            "average_precision": np.nan if values is None else _average_precisions(truth, values),
        }
    )
