"""The prediction of one image, and predictions as rows of a table, CSV and lines of JSON."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.datasets.tags import SEPARATOR
from featx.errors import OptionError, did_you_mean
from featx.system.array_types import Float64Array
from featx.system.files.output_paths import starts_with
from featx.system.formatting import escape_cell, escape_path_cell, format_count
from featx.system.notebook.cards import card_to_html, picture_to_html, share_to_html

NOVEL = "differs from the training images"
#: Whether an existing file contains predictions: CSV with exactly our columns, or lines of JSON.
is_predictions_file = starts_with(
    rb"\Apath,label,(probability|score)(,label_\d+,(probability|score)_\d+)*,novelty_score,note\r?\n",
    rb"\Apath,prediction,novelty_score,note\r?\n",
    rb"\Apath,tags(,tag_\d+,(probability|score)_\d+)+,novelty_score,note\r?\n",
    rb'\A\{"path": [^\n]*, "(top|novelty_score)": ',
)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction of one image.

    Attributes
    ----------
    path : str
        Path of the image, or a description of the object.
    label : str, int, float, bool, list of str or None
        Predicted class, target or tags. None if the image is unreadable or no class reaches the probability threshold.
    top : list of (label, float)
        The most probable classes with their probabilities, or with their scores if there are no probabilities.
    novelty_score : float or None
        Distance to the nearest training image. Above 1, the image is farther from the training images than 99 % of
        these are from each other. None if unknown.
    error : str
        Reason why the image is unreadable, or "".

    See Also
    --------
    Predictor : Predict images with a model.

    Examples
    --------
    >>> Prediction("photo.jpg", "cat", [("cat", 0.97)], 1.4).note
    'differs from the training images'
    """

    path: str
    label: Any
    top: list[tuple[Any, float]]
    novelty_score: float | None
    error: str = ""

    @property
    def probabilities(self) -> dict[Any, float] | None:
        """Probability of each class in the order of ``model.card.classes``, or of each tag.

        None if the model has no probabilities, and for regression and unreadable images.
        """
        if "_probabilities" not in vars(self):
            return None
        classes, values = vars(self)["_probabilities"]
        return dict(zip(classes, values.tolist(), strict=True))

    def _set_probabilities(self, classes: Sequence[Any], values: Float64Array) -> None:
        # No field, of which asdict would make a part of JSON; and no dictionary until it is needed: a table of many
        # images with a thousand classes each does not need it.
        vars(self)["_probabilities"] = classes, values

    def _repr_html_(self) -> str:
        """Return the image, its classes with bars, and the note as HTML, for notebooks."""
        from featx.images.thumbnails import thumbnail_url

        picture = picture_to_html(thumbnail_url(self.path, 96), self.path)
        is_probability = all(0 <= value <= 1 for _, value in self.top)
        bars = [
            share_to_html(str(label), value) if is_probability else f"<div>{value:.4f} {html.escape(str(label))}</div>"
            for label, value in self.top
        ]
        facts = {
            "image": self.path,
            "novelty score": "" if self.novelty_score is None else f"{self.novelty_score:.2f}",
        }
        title = "no label" if self.label is None else str(self.label)
        return card_to_html(title, facts, picture, *bars, notes=[self.note] if self.note else [])

    @property
    def is_novel(self) -> bool:
        """Whether the image differs from the training images."""
        return self.novelty_score is not None and self.novelty_score > 1

    @property
    def is_uncertain(self) -> bool:
        """Whether no class reaches the probability threshold."""
        return self.label is None and bool(self.top)

    @property
    def note(self) -> str:
        """Reason why the prediction is missing or unreliable, or ""."""
        uncertain = [f"below the threshold, most probable: {self.top[0][0]}"] if self.is_uncertain else []
        return self.error or "; ".join([*uncertain, *([NOVEL] if self.is_novel else [])])


@dataclasses.dataclass(frozen=True)
class PredictionFormat:
    """Format of predictions as rows of a table, CSV or JSON.

    Attributes
    ----------
    is_classification, has_probabilities, has_threshold : bool
    top : int
        Number of classes in a row.
    is_multilabel : bool, default=False
        Whether an image has several labels.
    """

    is_classification: bool
    has_probabilities: bool
    has_threshold: bool
    top: int
    is_multilabel: bool = False

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        if not self.is_classification:
            return ["path", "prediction", "novelty_score", "note"]
        value = self._value_name
        if self.is_multilabel:
            ranked = [f"{name}_{rank}" for rank in range(1, self.top + 1) for name in ("tag", value)]
            return ["path", "tags", *ranked, "novelty_score", "note"]
        others = [f"{name}_{rank}" for rank in range(2, self.top + 1) for name in ("label", value)]
        return ["path", "label", value, *others, "novelty_score", "note"]

    @property
    def number_columns(self) -> list[str]:
        """Names of the columns of probabilities, scores and continuous targets."""
        if not self.is_classification:
            return ["prediction", "novelty_score"]
        value = self._value_name
        return [name for name in self.columns if name in (value, "novelty_score") or name.startswith(f"{value}_")]

    @property
    def _value_name(self) -> str:
        return "probability" if self.has_probabilities else "score"

    def as_row(self, prediction: Prediction) -> list[Any]:
        """Return a prediction as one value for each column."""
        if not self.is_classification:
            return [prediction.path, prediction.label, prediction.novelty_score, prediction.note]
        top = [*prediction.top, *[(None, float("nan"))] * (self.top - len(prediction.top))]
        if self.is_multilabel:
            ranked = [value for pair in top for value in pair]
            tags = None if prediction.label is None else SEPARATOR.join(prediction.label)
            return [prediction.path, tags, *ranked, prediction.novelty_score, prediction.note]
        others = [value for pair in top[1:] for value in pair]
        return [prediction.path, prediction.label, top[0][1], *others, prediction.novelty_score, prediction.note]

    def as_csv(self, predictions: Sequence[Prediction], *, header: bool = False) -> str:
        """Return predictions as lines of CSV in which no cell is a formula of a spreadsheet."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if header:
            writer.writerow(self.columns)
        writer.writerows(map(self._cells, predictions))
        return text.getvalue()

    def _cells(self, prediction: Prediction) -> list[str]:
        cells = [escape_path_cell(prediction.path), _as_text(prediction.label)]
        if self.is_classification:
            top = [(_as_text(label), f"{value:.6g}") for label, value in prediction.top]
            top += [("", "")] * (self.top - len(top))
            first = top[0] if self.is_multilabel else top[0][1:]
            cells += [*first, *(cell for pair in top[1:] for cell in pair)]
        score = "" if prediction.novelty_score is None else f"{prediction.novelty_score:.4g}"
        return [*cells, score, escape_cell(prediction.note)]

    def as_json(self, prediction: Prediction) -> str:
        """Return a prediction as one line of JSON."""
        fields: dict[str, Any] = {
            "path": prediction.path,
            "tags" if self.is_multilabel else "label" if self.is_classification else "prediction": prediction.label,
        }
        if self.is_classification:
            fields["top"] = [{"label": label, self._value_name: value} for label, value in prediction.top]
            fields["is_uncertain"] = prediction.is_uncertain if self.has_threshold and prediction.top else None
        fields |= {
            "novelty_score": prediction.novelty_score,
            "is_novel": None if prediction.novelty_score is None else prediction.is_novel,
            "error": prediction.error or None,
        }
        return json.dumps(fields)


def _as_text(label: Any) -> str:
    if isinstance(label, list):
        label = SEPARATOR.join(label)
    return "" if label is None else escape_cell(str(label))


def tag_thresholds(threshold: float | Mapping[str, float] | None, names: Sequence[str]) -> Float64Array | None:
    """Return the threshold of each tag, or None if the estimator decides.

    Raises
    ------
    OptionError
        There is no such tag.

    Examples
    --------
    >>> tag_thresholds({"sea": 0.3}, ["beach", "sea"]).tolist(), tag_thresholds(0.4, ["beach", "sea"]).tolist()
    ([0.5, 0.3], [0.4, 0.4])
    """
    if threshold is None:
        return None
    if not isinstance(threshold, Mapping):
        return np.full(len(names), float(threshold))
    for name in threshold:
        if name not in names:
            raise OptionError(
                f"threshold (--threshold) names {name!r}, which is no tag of the model.{did_you_mean(name, names)} Use "
                f"one of {', '.join(map(str, names[:20]))}."
            )
    return np.array([float(threshold.get(name, 0.5)) for name in names])


@dataclasses.dataclass
class PredictionSummary:
    """Numbers of predicted, novel and unreadable images, over several batches."""

    n_predicted: int = 0
    n_novel: int = 0
    n_unreadable: int = 0
    first_unreadable: Failure | None = None

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Count the images of another batch."""
        unreadable = [prediction for prediction in predictions if prediction.error]
        if unreadable and self.first_unreadable is None:
            self.first_unreadable = Failure(self.n_predicted, unreadable[0].path, unreadable[0].error)
        self.n_unreadable += len(unreadable)
        self.n_predicted += len(predictions) - len(unreadable)
        self.n_novel += sum(prediction.is_novel for prediction in predictions)

    def as_text(self) -> str:
        """Return the summary as human-readable text."""
        parts = [f"{format_count(self.n_predicted, 'image')} predicted"]
        if self.n_novel:
            verb = "differs" if self.n_novel == 1 else "differ"
            parts.append(
                f"{self.n_novel:,} {verb} from the training images (novelty score above 1): predictions of such images "
                "are unreliable"
            )
        parts += [f"{self.n_unreadable:,} unreadable"] if self.n_unreadable else []
        return "; ".join(parts) + "."
