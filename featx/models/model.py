"""A model: what is known of a fitted pipeline of images, and its decisions; scikit-learn only where it is needed."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import importlib.metadata
import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from featx.backbones import weights as weight_files
from featx.baselines.metrics import METRIC_NAMES
from featx.errors import WeightsNotFoundError
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.resolved import resolve_with_recipe
from featx.models.head.head import Head
from featx.models.novelty import NoveltyDetector
from featx.system.array_types import Float64Array
from featx.system.formatting import format_count, shorten, wrap_text
from featx.system.version import __version__

#: What `featx train` says of scores.
_SCORED = {"metric", "mean", "std", "low", "high", "split"}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a model is, for people and programs.

    Attributes
    ----------
    estimator : str
    task : {"classification", "regression"}
    classes : list
        Empty for regression.
    counts : dict of str to int
        Images of each class that it was fitted on.
    n_images, n_features : int
    scores : dict
        By cross-validation, of models fitted on parts of the images: the metric's name, ``mean``, ``std``, ``low`` and
        ``high``; how it was split. Empty if it was not scored.
    recipe : dict
        As :meth:`featx.Recipe.as_dict`.
    options : dict
        Parameters of the :class:`featx.FeatureExtractor`.
    versions : dict of str to str
    date : str
        In UTC, ISO 8601.
    notes : list of str
    """

    estimator: str
    task: str
    classes: list[Any]
    counts: dict[str, int]
    n_images: int
    n_features: int
    scores: dict[str, Any]
    recipe: dict[str, Any]
    options: dict[str, Any]
    versions: dict[str, str]
    date: str
    notes: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self) -> str:
        """Return what the model is, for people: one thing a line."""
        said: dict[str, str] = {"estimator": f"{self.estimator} ({self.task})"}
        if self.classes:
            names = [shorten(str(label)) for label in self.classes]
            images = [f" ({self.counts[str(label)]:,})" if self.counts else "" for label in self.classes]
            of_each = ", ".join(name + number for name, number in zip(names, images, strict=True))
            said[format_count(len(names), "class")] = of_each
        if self.n_images:
            said["fitted on"] = f"{format_count(self.n_images, 'image')}, {self.n_features:,} features of each"
        if self.scores:
            said["scored"] = format_scores(self.scores)
        height, width = self.recipe["image_size"]
        parts = [f"layer {self.recipe['layer']}, {self.recipe['pooling']}", self.recipe["precision"]]
        parts += [f"views {self.recipe['tta']}"] if self.recipe.get("tta") else []
        said["features"] = f"{self.recipe['backbone']}, {height}×{width}, {', '.join(parts)}"
        said["made"] = f"{self.date}, by {', '.join(f'{name} {number}' for name, number in self.versions.items())}"
        width = max(map(len, said)) + 2
        lines = [f"{name:<{width}}{text}" for name, text in said.items()]
        return "\n".join(map(wrap_text, [*lines, *self.notes]))


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that was read from a file.

    Attributes
    ----------
    path : str
    card : ModelCard
    head : Head or None
        None where the estimator is one that scikit-learn has to run.
    novelty_detector : NoveltyDetector or None
    """

    path: str
    card: ModelCard
    head: Head | None
    novelty_detector: NoveltyDetector | None
    _load: Callable[[], Any] = dataclasses.field(repr=False, compare=False)

    def resolve(self, *, free: Collection[str] = (), **instead: Any) -> Resolved:
        """Return the network as it was when the model was fitted.

        Parameters
        ----------
        free : collection of str, default=()
            Parts of the recipe that may be others.
        **instead
            Options that change no value: ``engine``, ``batch_size``, ``max_pixels``, ``on_truncated``.

        Raises
        ------
        RecipeMismatchError, WeightsError, UnknownBackboneError
            This machine cannot give the features that it was fitted with.
        """
        weights = str(self.card.options.get("weights", ""))
        if weight_files.is_url(weights) and not weight_files.path_of_url(weights).is_file():
            raise WeightsNotFoundError(
                f"The model {self.path!r} needs weights from {weights!r}, which are not on this machine. Reading a "
                "model fetches nothing: if you trust the address, FeatureExtractor(…, weights=it).fit([]) does."
            )
        return resolve_with_recipe(ExtractionOptions(**{**self.card.options, **instead}), self.card.recipe, ignore=free)

    @functools.cached_property
    def pipeline(self) -> Any:
        """The fitted ``sklearn.pipeline.Pipeline``."""
        return self._load()

    def check(self) -> None:
        """Raise if the numbers that it decides by are not those of its scikit-learn pipeline; loads scikit-learn.

        Raises
        ------
        ModelFileError
        """
        _ = self.pipeline

    def predict_scores(self, rows: np.ndarray[Any, Any]) -> tuple[Float64Array, Float64Array | None]:
        """Return scores and probabilities of rows of features.

        Returns
        -------
        scores : ndarray of float64, shape (n, n_classes), or (n, 1)
            One column for two classes (positive for the second), and for a quantity.
        probabilities : ndarray of float64, shape (n, n_classes), or None
            None where the estimator gives none.
        """
        if self.head is not None:
            return self.head(rows)
        estimator = self.pipeline[1:]
        shares = estimator.predict_proba(rows) if hasattr(estimator, "predict_proba") else None
        n_classes = len(self.card.classes)
        if hasattr(estimator, "decision_function"):
            scores = np.asarray(estimator.decision_function(rows), dtype=np.float64).reshape(len(rows), -1)
            if scores.shape[1] in (1, n_classes):
                return scores, shares
        if n_classes and shares is None:  # it votes, and the winner is all that is said of a class
            return np.eye(n_classes)[self.class_indices(rows, np.empty((0, 0)))], None
        if shares is not None:
            return np.asarray(shares, dtype=np.float64), shares
        return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(len(rows), -1), None

    def class_indices(self, rows: np.ndarray[Any, Any], scores: Float64Array) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return the position among the classes that is predicted of rows with these scores."""
        if self.head is not None:
            return self.head.class_indices(scores)
        at = {label: place for place, label in enumerate(self.card.classes)}
        return np.array([at[label] for label in np.asarray(self.pipeline[1:].predict(rows)).tolist()], dtype=np.intp)


def format_scores(scores: Mapping[str, Any]) -> str:
    """Return how well a model can be expected to do, as :class:`ModelCard` has it, for people."""
    if not scores.keys() >= _SCORED:  # of somebody's own
        return ", ".join(f"{name} {value}" for name, value in scores.items())
    metric = METRIC_NAMES.get(scores["metric"], scores["metric"])
    spread = "" if scores["std"] is None else f" ± {scores['std']:.3f}"
    interval = "" if scores["low"] is None else f" (95 % interval {scores['low']:.3f} – {scores['high']:.3f})"
    return f"{metric} {scores['mean']:.3f}{spread}{interval}; {scores['split']}"


def make_card(
    extractor: Any, estimator: Any, *, n_images: int, y: Any, scores: Mapping[str, Any], notes: Sequence[str]
) -> ModelCard:
    """Return the card of an extractor and of an estimator that was fitted on its rows."""
    classes = np.asarray(getattr(estimator, "classes_", [])).tolist()
    counts = collections.Counter() if y is None else collections.Counter(map(str, np.asarray(y, dtype=object)))
    return ModelCard(
        estimator=str(scores.get("estimator") or type(estimator.steps[-1][1]).__name__),
        task="classification" if hasattr(estimator, "classes_") else "regression",
        classes=classes,
        counts={str(label): counts[str(label)] for label in classes} if counts else {},
        n_images=n_images,
        n_features=extractor.n_features_out_,
        scores=dict(scores),
        recipe=extractor.recipe_,
        options=portable_options(extractor),
        versions=_versions(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        notes=list(notes),
    )


def portable_options(extractor: Any) -> dict[str, Any]:
    """Return the parameters of an extractor as JSON has them, those that concern one machine alone left out."""
    here = ("engine", "batch_size")
    found = {}
    for field in dataclasses.fields(ExtractionOptions):
        value = getattr(extractor, field.name)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if field.name not in here and value != field.default:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def _versions() -> dict[str, str]:
    packages = ("keras", "numpy", "openvino", "pillow", "scikit-learn", "simplejpeg", "skops", "tensorflow")
    found = {"featx": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
