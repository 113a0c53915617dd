"""New images → labels by a model, with probabilities, and how unlike the training images each is."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.datasets.failures import Failure
from featx.errors import InputError, OptionError
from featx.extraction.extract import extract_rows
from featx.extraction.options import Resolved, resolve_cache
from featx.images.image import as_image_list, describe_image
from featx.models.model import Model
from featx.models.model_file import read_model
from featx.system.array_types import Float64Array
from featx.system.files.output_paths import starts_with
from featx.system.formatting import escape_cell, escape_path_cell, format_count

if TYPE_CHECKING:
    import pandas as pd

UNLIKE = "unlike the training images"
#: Whether an existing file holds predictions, as CSV with exactly our columns or as lines of JSON.
is_predictions_file = starts_with(
    rb"\Apath,label,(probability|score)(,label_\d+,(probability|score)_\d+)*,novelty_score,note\r?\n",
    rb"\Apath,prediction,novelty_score,note\r?\n",
    rb'\A\{"path": [^\n]*, "(top|novelty_score)": ',
)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes
    ----------
    path : str
    label : str, int or float, or None
        The class, or the quantity; None if the image cannot be read, or no class is as probable as was asked for.
    guesses : list of (label, float)
        The most probable classes, with their probabilities, or scores if the estimator gives no probabilities.
    novelty_score : float or None
        Distance to the nearest training image; 1 is what 99 % of these do not exceed among themselves.
    error : str
        Why it cannot be read, or "".
    """

    path: str
    label: Any
    guesses: list[tuple[Any, float]]
    novelty_score: float | None
    error: str = ""

    @property
    def is_novel(self) -> bool:
        """Whether it is farther from the training images than is usual among these."""
        return self.novelty_score is not None and self.novelty_score > 1

    @property
    def is_unsure(self) -> bool:
        """Whether no class is as probable as was asked for."""
        return self.label is None and bool(self.guesses)

    @property
    def note(self) -> str:
        """What to beware of, in words."""
        unsure = [f"unsure, perhaps {self.guesses[0][0]}"] if self.is_unsure else []
        return self.error or "; ".join([*unsure, *([UNLIKE] if self.is_novel else [])])


class Predictor:
    """Predict batch after batch with one model.

    Parameters
    ----------
    model : Model
    top : int, default=1
        Classes to give for each image, the most probable first.
    threshold : float or None, default=None
        Give no label where the most probable class has a smaller probability.
    cache : Path or None, default=None
    **options
        ``engine``, ``batch_size``, ``max_pixels`` and ``on_truncated``, where they are to be others.

    Raises
    ------
    OptionError
        `top` or `threshold` cannot be.
    RecipeMismatchError, WeightsError, UnknownBackboneError
        This machine cannot give the features that the model was fitted with.
    """

    def __init__(
        self,
        model: Model,
        *,
        top: int = 1,
        threshold: float | None = None,
        cache: Path | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(top, int | np.integer) or top < 1:
            raise OptionError(f"top={top!r}: expected a number of classes, 1 or more.")
        is_number = isinstance(threshold, int | float | np.integer | np.floating)
        if threshold is not None and not (is_number and 0 <= threshold <= 1):
            raise OptionError(f"threshold={threshold!r}: expected a probability, from 0 to 1.")
        self.model = model
        self.top = 1 if model.card.task == "regression" else min(int(top), len(model.card.classes))
        self.threshold = threshold
        self._cache = cache
        self._resolved: Resolved = model.resolve(**options)
        self.has_probabilities = model.card.task == "classification" and self._gives_probabilities()
        if threshold is not None and model.card.task == "regression":
            raise OptionError(f"threshold={threshold!r}: quantities have no probabilities. Leave it (--threshold) out.")
        if threshold is not None and not self.has_probabilities:
            raise OptionError(
                f"threshold={threshold!r}: {model.card.estimator} gives no probabilities. Train the model with "
                "calibrate=True (--calibrate), or leave threshold (--threshold) out."
            )

    def _gives_probabilities(self) -> bool:
        if self.model.head is not None:
            return self.model.head.probabilities is not None
        return hasattr(self.model.pipeline, "predict_proba")

    def predict(self, images: Sequence[Any], progress: Callable[[int], object] | None = None) -> list[Prediction]:
        """Return what the model says of each image, in their order; of one that cannot be read, why.

        Parameters
        ----------
        images : sequence of images
            As for :class:`featx.FeatureExtractor`.
        progress : callable, default=None
            Called with numbers of images that are done.
        """
        names = [describe_image(image) for image in images]
        rows, _, errors = extract_rows(images, self._resolved, cache=self._cache, progress=progress)
        readable = np.array([at for at in range(len(images)) if at not in errors], dtype=np.intp)
        found = [Prediction(name, None, [], None, errors.get(at, "")) for at, name in enumerate(names)]
        if len(readable):
            for at, prediction in zip(readable.tolist(), self._of_rows(rows[readable]), strict=True):
                found[at] = dataclasses.replace(prediction, path=names[at])
        return found

    def _of_rows(self, rows: np.ndarray[Any, Any]) -> Iterator[Prediction]:
        scores, shares = self.model.predict_scores(rows)
        novelty_detector = self.model.novelty_detector
        distances: list[float | None] = (
            [None] * len(rows) if novelty_detector is None else novelty_detector.novelty_score(rows).tolist()
        )
        if self.model.card.task == "regression":
            for value, distance in zip(scores[:, 0].tolist(), distances, strict=True):
                yield Prediction("", value, [], distance)
            return
        values = shares if shares is not None else _both(scores)
        first = self.model.class_indices(rows, scores)
        for row, position, distance in zip(values, first.tolist(), distances, strict=True):
            guesses = self._guesses(row, position)
            is_sure = self.threshold is None or guesses[0][1] >= self.threshold
            yield Prediction("", guesses[0][0] if is_sure else None, guesses, distance)

    def _guesses(self, row: Float64Array, first: int) -> list[tuple[Any, float]]:
        """Return the class that is predicted, and after it the others, the most probable first."""
        order = [first, *(at for at in np.argsort(-row, kind="stable").tolist() if at != first)]
        return [(self.model.card.classes[at], float(row[at])) for at in order[: self.top]]

    def header(self) -> list[str]:
        """Return the columns of the table that :meth:`cells` fills."""
        if self.model.card.task == "regression":
            return ["path", "prediction", "novelty_score", "note"]
        value = "probability" if self.has_probabilities else "score"
        more = [f"{name}_{at}" for at in range(2, self.top + 1) for name in ("label", value)]
        return ["path", "label", value, *more, "novelty_score", "note"]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return a prediction as text, no cell of which a spreadsheet takes for a formula."""
        label = "" if prediction.label is None else escape_cell(str(prediction.label))
        cells = [escape_path_cell(prediction.path), label]
        if self.model.card.task == "classification":
            guesses = [(escape_cell(str(name)), f"{value:.6g}") for name, value in prediction.guesses]
            guesses += [("", "")] * (self.top - len(guesses))
            cells += [guesses[0][1], *(cell for guess in guesses[1:] for cell in guess)]
        distance = "" if prediction.novelty_score is None else f"{prediction.novelty_score:.4g}"
        return [*cells, distance, escape_cell(prediction.note)]

    def as_csv(self, predictions: Sequence[Prediction], *, header: bool = False) -> str:
        """Return predictions as lines of CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if header:
            writer.writerow(self.header())
        writer.writerows(map(self.cells, predictions))
        return text.getvalue()

    def as_json(self, prediction: Prediction) -> str:
        """Return a prediction as one line of JSON."""
        value = "probability" if self.has_probabilities else "score"
        is_class = self.model.card.task == "classification"
        found: dict[str, Any] = {"path": prediction.path, "label" if is_class else "prediction": prediction.label}
        if is_class:
            found["top"] = [{"label": name, value: share} for name, share in prediction.guesses]
            found["unsure"] = None if self.threshold is None or not prediction.guesses else prediction.is_unsure
        return json.dumps(
            {
                **found,
                "novelty_score": prediction.novelty_score,
                "is_novel": None if prediction.novelty_score is None else prediction.is_novel,
                "error": prediction.error or None,
            }
        )


@dataclasses.dataclass
class PredictionSummary:
    """How many images were predicted, batch after batch."""

    n_predicted: int = 0
    n_novel: int = 0
    n_unreadable: int = 0
    first_unreadable: Failure | None = None

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Count some more."""
        unreadable = [one for one in predictions if one.error]
        n_unreadable = len(unreadable)
        if unreadable and self.first_unreadable is None:
            self.first_unreadable = Failure(self.n_predicted, unreadable[0].path, unreadable[0].error)
        self.n_unreadable += n_unreadable
        self.n_predicted += len(predictions) - n_unreadable
        self.n_novel += sum(one.is_novel for one in predictions)

    def as_text(self) -> str:
        """Return it for people."""
        parts = [f"{format_count(self.n_predicted, 'image')} predicted"]
        parts += [f"{self.n_novel} of them {UNLIKE}: do not rely on these"] if self.n_novel else []
        parts += [f"{self.n_unreadable} unreadable"] if self.n_unreadable else []
        return "; ".join(parts) + "."


def _both(scores: Float64Array) -> Float64Array:
    """Return a score for each class, also where one number stands for two."""
    return np.concatenate([-scores, scores], axis=1) if scores.shape[1] == 1 else scores


def predict_images(
    model: Model | str | os.PathLike[str],
    images: Any,
    *,
    top: int = 1,
    threshold: float | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    **options: Any,
) -> pd.DataFrame:
    """Return what a model says of images, one row for each, those that cannot be read among them.

    Parameters
    ----------
    model : str, Path or Model
        A file that ``featx train`` or :func:`featx.save_pipeline` wrote.
    images : list, tuple, ndarray, Series or one-column DataFrame of images
        As for :class:`featx.FeatureExtractor`.
    top : int, default=1
        Classes to give for each image; all, if it is more than there are.
    threshold : float or None, default=None
        Give no label where the most probable class has a smaller probability.
    cache : str, Path or None, default="auto"
    **options
        ``max_pixels`` and ``on_truncated``, where they are to be others than in training.

    Returns
    -------
    pandas.DataFrame
        ``path``, ``label`` (or ``prediction``), ``probability`` (or ``score``), ``label_2``, …, ``novelty_score`` (above
        1: farther from the training images than 99 % of these are from each other), ``note``.

    Raises
    ------
    ModelFileError, OptionError, RecipeMismatchError, WeightsError
        The model or an option cannot be used.
    """
    import pandas as pd

    if isinstance(images, str | os.PathLike):
        raise InputError(f"images={os.fspath(images)!r}: expected a list of images. For one, pass [image].")
    predictor = Predictor(
        model if isinstance(model, Model) else read_model(model),
        top=top,
        threshold=threshold,
        cache=resolve_cache(cache),
        **options,
    )
    rows = []
    for one in predictor.predict(as_image_list(images)):
        guesses = [*one.guesses, *[(None, float("nan"))] * (predictor.top - len(one.guesses))]
        more = [value for guess in guesses[1:] for value in guess]
        middle = [] if predictor.model.card.task == "regression" else [guesses[0][1], *more]
        rows.append([one.path, one.label, *middle, one.novelty_score, one.note])
    return pd.DataFrame(rows, columns=predictor.header())
