"""The card of a model: classes, scores, recipe and versions."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from featx.baselines.metrics import METRIC_NAMES
from featx.datasets.labels import as_label_array
from featx.extraction.recorded import portable_options
from featx.images.image import check_allow
from featx.system.formatting import format_bytes, format_count, shorten
from featx.system.notebook.html import TextResult
from featx.system.terminal.tables import wrap_text
from featx.system.version import __version__

#: Keys of the scores that `featx train` writes.
_CROSS_VALIDATION_KEYS = {"metric", "mean", "std", "low", "high", "split"}
_PACKAGES = (
    "keras",
    "numpy",
    "openvino",
    "pillow",
    "scikit-learn",
    "simplejpeg",
    "skops",
    "tensorflow",
    "timm",
    "torch",
)


@dataclasses.dataclass(frozen=True)
class ModelCard(TextResult):
    """Description of a model.

    Attributes
    ----------
    estimator : str
        Name of the estimator.
    task : {"classification", "regression", "multilabel"}
    classes : list
        Class labels, or tags. Empty for regression.
    counts : dict of str to int
        Number of training images of each class or tag. Empty if unknown.
    n_images : int
        Number of training images. 0 if unknown.
    n_features : int
        Number of features of an image.
    scores : dict
        Cross-validated scores: ``metric``, ``mean``, ``std``, ``low`` and ``high`` (95 % confidence interval), and
        ``split``. Or what was passed to :func:`featx.save_pipeline`.
    recipe : dict
        Everything that decides the value of a feature; see :class:`featx.Recipe`.
    options : dict
        Parameters of the :class:`featx.FeatureExtractor` that are not at their default.
    versions : dict of str to str
        Versions of Python and of packages at training.
    date : str
        Date of training in UTC, as ISO 8601.
    notes : list of str
    allow : list of str or None
        Kinds of images that are read; see :class:`featx.FeatureExtractor`. None: all.
    graph : dict
        Compiled network in the file: ``fingerprint``, ``format``, ``bytes`` and ``sha256``. Empty if it has none.
    license : str, default=""
        License of the weights of the backbone, as far as it is known.

    See Also
    --------
    read_model : Read a model and its card.

    Examples
    --------
    >>> from featx import ModelCard, Recipe
    >>> card = ModelCard(
    ...     estimator="logreg",
    ...     task="classification",
    ...     classes=["cat", "dog"],
    ...     counts={"cat": 120, "dog": 130},
    ...     n_images=250,
    ...     n_features=1024,
    ...     scores={"accuracy": 0.98},
    ...     recipe=Recipe("mobilenet", "9c4f", (224, 224), "conv_pw_13_relu", "avg", "squash", "float32").as_dict(),
    ...     options={},
    ...     versions={"featx": "0.1.0", "python": "3.12.3"},
    ...     date="2026-11-30T12:00:00+00:00",
    ... )
    >>> print(card)
    estimator  logreg (classification)
    2 classes  cat (120), dog (130)
    fitted on  250 images with 1,024 features
    score      accuracy 0.98
    features   mobilenet, 224×224, layer conv_pw_13_relu, avg, float32
    created    2026-11-30T12:00:00+00:00 with featx 0.1.0, python 3.12.3
    """

    estimator: str
    task: Literal["classification", "regression", "multilabel"]
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
    graph: dict[str, Any] = dataclasses.field(default_factory=dict)
    allow: list[str] | None = None
    license: str = ""

    def as_text(self) -> str:
        """Return the card as human-readable text, one field a line."""
        fields = {"estimator": f"{self.estimator} ({self.task})"}
        if self.classes:
            kind = "tag" if self.task == "multilabel" else "class"
            fields[format_count(len(self.classes), kind)] = self._format_classes()
        if self.n_images:
            fields["fitted on"] = f"{format_count(self.n_images, 'image')} with {self.n_features:,} features"
        if self.scores:
            fields["score"] = format_scores(self.scores)
        fields["features"] = self._format_recipe()
        if self.graph:
            fields["graph"] = f"{format_bytes(self.graph['bytes'])}, SHA-256 {self.graph['sha256']}"
        if self.allow is not None:
            fields["reads"] = ", ".join(self.allow)
        if self.license:
            fields["weights"] = f"license {self.license}"
        fields["created"] = f"{self.date} with {', '.join(f'{name} {text}' for name, text in self.versions.items())}"
        width = max(map(len, fields)) + 2
        lines = [f"{name:<{width}}{text}" for name, text in fields.items()]
        return "\n".join(map(wrap_text, [*lines, *self.notes]))

    def _format_classes(self) -> str:
        names = [shorten(str(label)) for label in self.classes]
        if not self.counts:
            return ", ".join(names)
        counts = [self.counts[str(label)] for label in self.classes]
        return ", ".join(f"{name} ({count:,})" for name, count in zip(names, counts, strict=True))

    def _format_recipe(self) -> str:
        recipe = self.recipe
        height, width = recipe["image_size"]
        parts = [recipe["backbone"], f"{height}×{width}", f"layer {recipe['layer']}", recipe["pooling"]]
        parts += [recipe["precision"], *([f"tta {recipe['tta']}"] if recipe.get("tta") else [])]
        return ", ".join(parts)


def format_scores(scores: Mapping[str, Any]) -> str:
    """Return the scores of a card as human-readable text."""
    if not scores.keys() >= _CROSS_VALIDATION_KEYS:
        return ", ".join(f"{name} {value}" for name, value in scores.items())
    metric = METRIC_NAMES.get(scores["metric"], scores["metric"])
    spread = "" if scores["std"] is None else f" ± {scores['std']:.3f}"
    interval = "" if scores["low"] is None else f" (95 % interval {scores['low']:.3f} – {scores['high']:.3f})"
    return f"{metric} {scores['mean']:.3f}{spread}{interval}; {scores['split']}"


def predicts_tags(estimator: Any) -> bool:
    """Return whether the last step of a Pipeline is a TagClassifier."""
    from featx.baselines.multilabel.classifier import TagClassifier

    return isinstance(estimator.steps[-1][1], TagClassifier)


def make_card(
    extractor: Any,
    estimator: Any,
    *,
    n_images: int,
    y: Any,
    scores: Mapping[str, Any],
    notes: Sequence[str],
    graph: Mapping[str, Any],
) -> ModelCard:
    """Return the card of a fitted pipeline.

    Parameters
    ----------
    extractor : FeatureExtractor
        First step of the pipeline, fitted.
    estimator : sklearn.pipeline.Pipeline
        The other steps, fitted.
    n_images : int
    y : array-like of shape (n_images,) or None
        Labels of the training images.
    scores : mapping
    notes : sequence of str
    graph : mapping
        Description of the graph in the file, or empty.
    """
    classes = np.asarray(getattr(estimator, "classes_", [])).tolist()
    is_multilabel = predicts_tags(estimator)
    counts: collections.Counter[str] = collections.Counter()
    if y is not None and is_multilabel:
        counts.update(name for tags in as_label_array(y) for name in tags)
    elif y is not None:
        counts.update(map(str, np.asarray(y, dtype=object)))
    return ModelCard(
        estimator=str(scores.get("estimator") or type(estimator.steps[-1][1]).__name__),
        task="multilabel" if is_multilabel else "classification" if hasattr(estimator, "classes_") else "regression",
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
        graph=dict(graph),
        allow=None if (allow := check_allow(extractor.allow)) is None else list(allow),
        license=extractor._options().weights_license,
    )


def _versions() -> dict[str, str]:
    versions = {"featx": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
