"""Predictions of feature rows: scores and probabilities of the model as labels, tags or values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from featx.datasets.failures import without_advice
from featx.errors import OptionError
from featx.models.model import Model
from featx.models.prediction import Prediction, PredictionFormat, tag_thresholds
from featx.system.array_types import Float64Array, FloatArray
from featx.system.option_checks import check_integer


class RowPredictor:
    """Predict feature rows with a model.

    Parameters
    ----------
    model : Model
    top : int
        Number of classes of a prediction.
    threshold : float, mapping of str to float or None
        Minimum probability of the predicted class, or of each tag.

    Attributes
    ----------
    format : PredictionFormat

    Raises
    ------
    OptionError
        The threshold does not fit the model.
    """

    def __init__(self, model: Model, top: int, threshold: float | Mapping[str, float] | None) -> None:
        card = model.card
        is_classification = card.task != "regression"
        self._model = model
        self._threshold = threshold
        self._tag_thresholds = tag_thresholds(threshold, card.classes) if card.task == "multilabel" else None
        self.format = PredictionFormat(
            is_classification,
            model.has_probabilities,
            threshold is not None,
            min(int(top), len(card.classes)) if is_classification else 1,
            is_multilabel=card.task == "multilabel",
        )
        if threshold is not None and not is_classification:
            raise OptionError(
                f"threshold (--threshold) must be None for a regression model, got {threshold!r}. Remove it."
            )
        if isinstance(threshold, Mapping) and not self.format.is_multilabel:
            raise OptionError(
                f"threshold (--threshold) must be one probability for a model of one label per image, got "
                f"{dict(threshold)!r}. Pass a number, such as threshold=0.9 (--threshold 0.9)."
            )
        if threshold is not None and not self.format.has_probabilities:
            raise OptionError(
                f"threshold (--threshold) must be None for {card.estimator}, which has no probabilities, got "
                f"{threshold!r}. Remove it, or train the model with calibrate=True (--calibrate)."
            )

    def predict(self, names: Sequence[str], rows: FloatArray, errors: Mapping[int, str]) -> list[Prediction]:
        """Return the predictions of images.

        Parameters
        ----------
        names : sequence of str
            Paths of the images, or descriptions of objects.
        rows : ndarray of float32 of shape (n_images, n_features)
        errors : mapping of int to str
            Reasons why images are unreadable, by index.
        """
        is_readable = np.array([index not in errors for index in range(len(names))], dtype=bool)
        readable = [name for name, is_it in zip(names, is_readable, strict=True) if is_it]
        predictions = iter(self._predict_rows(readable, rows[is_readable]) if readable else ())
        return [
            Prediction(name, None, [], None, without_advice(errors[index])) if index in errors else next(predictions)
            for index, name in enumerate(names)
        ]

    def _predict_rows(self, names: Sequence[str], rows: FloatArray) -> Iterator[Prediction]:
        model = self._model
        scores, probabilities = model.predict_scores(rows)
        detector = model.novelty_detector
        novelty: list[float | None] = [None] * len(rows) if detector is None else detector.novelty_score(rows).tolist()
        if not self.format.is_classification:
            for name, value, novelty_score in zip(names, scores[:, 0].tolist(), novelty, strict=True):
                yield Prediction(name, value, [], novelty_score)
            return
        if self.format.is_multilabel:
            values = scores if probabilities is None else probabilities
            labels = [(tags, int(row.argmax())) for tags, row in zip(self._tags(rows, values), values, strict=True)]
        else:
            values = _score_each_class(scores) if probabilities is None else probabilities
            indices = model.class_indices(rows, scores).tolist()
            labels = [(self._label(row, index), index) for row, index in zip(values, indices, strict=True)]
        for name, (label, index), row, novelty_score in zip(names, labels, values, novelty, strict=True):
            prediction = Prediction(name, label, self._top_classes(row, index), novelty_score)
            if probabilities is not None:
                prediction._set_probabilities(model.card.classes, row)
            yield prediction

    def _label(self, values: Float64Array, predicted: int) -> Any:
        """Return the predicted class; None below the threshold."""
        assert not isinstance(self._threshold, Mapping)  # for tags only
        is_certain = self._threshold is None or values[predicted] >= self._threshold
        return self._model.card.classes[predicted] if is_certain else None

    def _tags(self, rows: FloatArray, values: Float64Array) -> list[list[str]]:
        """Return the tags of each row: those that reach their threshold, or that the estimator predicts."""
        names, thresholds = self._model.card.classes, self._tag_thresholds
        has_tag = self._model.predict_tags(rows) if thresholds is None else values >= thresholds
        return [
            [name for name, is_set in zip(names, has, strict=True) if is_set] for has in has_tag.astype(bool).tolist()
        ]

    def _top_classes(self, values: Float64Array, predicted: int) -> list[tuple[Any, float]]:
        """Return the predicted class and after it the others in the order of their values."""
        order = [predicted, *(index for index in np.argsort(-values, kind="stable").tolist() if index != predicted)]
        return [(self._model.card.classes[index], float(values[index])) for index in order[: self.format.top]]


def check_thresholds(top: int, threshold: float | Mapping[str, float] | None) -> None:
    """Raise an OptionError if a number of classes or a threshold is invalid for every model."""
    check_integer("top", top)
    for value in threshold.values() if isinstance(threshold, Mapping) else [threshold]:
        is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= 1):
            raise OptionError(f"threshold (--threshold) must be a probability between 0 and 1, got {value!r}.")


def _score_each_class(scores: Float64Array) -> Float64Array:
    """Return one score for each class, also for two classes that share one column."""
    return np.concatenate([-scores, scores], axis=1) if scores.shape[1] == 1 else scores
