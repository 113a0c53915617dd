"""A model in memory: its card, and its predictions from features. scikit-learn is imported only where needed."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.described import using_description
from featx.backbones.files.archived_network import ArchivedNetwork
from featx.backbones.files.network_file import register_network
from featx.backbones.hub.refused import refusing_downloads
from featx.backbones.weights import check_local_weights
from featx.errors import RecipeMismatchError, UnknownBackboneError, WeightsError, missing_dependency
from featx.extraction.engines.archived_graph import ArchivedGraph
from featx.extraction.options import ExtractionOptions, Resolved, warn_once
from featx.extraction.recorded import resolve_with_recipe
from featx.models.archive import corrupt
from featx.models.card import ModelCard
from featx.models.head.head import Head
from featx.models.novelty import NoveltyDetector
from featx.system.array_types import AnyArray, Float64Array
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import text_to_html
from featx.system.version import __version__

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that was read from a file.

    Attributes
    ----------
    path : str
        Path of the file.
    card : ModelCard
        Description of the model.
    head : Head or None
        The estimator as numpy steps. None if scikit-learn has to run it.
    novelty_detector : NoveltyDetector or None
        Features of training images that new images are compared with. None if the model has none.
    archived : ArchivedGraph or None
        Compiled network in the file. None if the file has none.
    network : ArchivedNetwork or None
        Custom model file in the file, which is written to the user's cache folder when it is needed. None if the file
        has none.

    See Also
    --------
    read_model : Read a model from a file.
    Predictor : Predict images with a model.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, read_model, save_pipeline
    >>> images = np.zeros((4, 8, 8, 3), dtype="uint8")
    >>> images[2:] = 255
    >>> extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    >>> pipeline = make_pipeline(extractor, LogisticRegression()).fit(images, ["dark", "dark", "light", "light"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pipeline(pipeline, f"{folder}/model.skops")
    ...     model = read_model(f"{folder}/model.skops")
    >>> model.card.classes, model.has_probabilities
    (['dark', 'light'], True)
    >>> scores, probabilities = model.predict_scores(extractor.transform(images[:1]))
    >>> probabilities.round(2)
    array([[0.66, 0.34]])
    """

    path: str
    card: ModelCard
    head: Head | None
    novelty_detector: NoveltyDetector | None
    _load: Callable[[], Pipeline] = dataclasses.field(repr=False, compare=False)
    archived: ArchivedGraph | None = None
    network: ArchivedNetwork | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled state; this process can then find the network in the file."""
        vars(self).update(state)
        if self.network is not None:
            register_network(self.network)

    def _repr_html_(self) -> str:
        """Return the card of the model as HTML, for notebooks."""
        return card_to_html(self.path, {}, text_to_html(self.card.as_text()))

    def resolve(self, *, ignore: Collection[str] = (), use_graph: bool = True, **options: Any) -> Resolved:
        """Return the network and options that reproduce the features of the training.

        Parameters
        ----------
        ignore : collection of str, default=()
            Fields of the recipe that may differ.
        use_graph : bool, default=True
            Whether to use the graph in the file. False: find the weights.
        **options
            Options that replace those of the training: ``engine``, ``device``, ``batch_size``, ``max_pixels``,
            ``on_truncated``, ``precision``. Those that are None do not.

        Returns
        -------
        Resolved
            Backbone, weights, recipe and engine.

        Raises
        ------
        RecipeMismatchError, WeightsError, UnknownBackboneError
            This machine cannot reproduce the features.
        """
        given = {name: value for name, value in options.items() if value is not None}
        ignore = {*ignore, "precision"} if "precision" in given else ignore
        archived = self.archived if use_graph else None
        try:
            with refusing_downloads(self.path), using_description("" if archived is None else archived.network):
                extraction = ExtractionOptions(**{**self.card.options, **given})
                if archived is None:
                    check_local_weights(extraction.weights, self.path)
                resolved = resolve_with_recipe(extraction, self.card.recipe, ignore=ignore, archived=archived)
        except RecipeMismatchError as error:
            versions = (self.card.versions.get("featx", "?"), __version__)
            raise RecipeMismatchError(error.backbone, error.differences, self.path, versions) from error
        except (WeightsError, UnknownBackboneError) as error:
            trained, precision = self.card.recipe.get("precision"), given.get("precision", "auto")
            if archived is None or precision == "auto" or (trained == "int8") == (precision == "int8"):
                raise
            raise WeightsError(
                f"The network in model {self.path!r} is one of {trained}, and {precision} needs its weights. {error}"
            ) from error
        self._warn_of_int8(resolved)
        return resolved

    def _warn_of_int8(self, resolved: Resolved) -> None:
        trained = self.card.recipe.get("precision")
        if resolved.recipe.precision == "int8" and trained != "int8":
            warn_once(
                f"Features are computed in int8, and model {self.path!r} was trained in {trained}: some predictions "
                'change. Train it with precision="int8" (--precision int8), or remove the option.'
            )

    @functools.cached_property
    def pipeline(self) -> Pipeline:
        """The fitted pipeline; the first access imports scikit-learn.

        Raises
        ------
        ModelFileError
            The pipeline is corrupt, or has untrusted types.
        MissingDependencyError
            scikit-learn or skops is not installed.
        """
        for module, package in (("sklearn", "scikit-learn"), ("skops", "skops")):
            if importlib.util.find_spec(module) is None:
                raise missing_dependency(f"The estimator of model {self.path!r} ({self.card.estimator})", package)
        return self._load()

    def check(self) -> None:
        """Raise an error if the head and the pipeline of the file differ; imports scikit-learn.

        Raises
        ------
        ModelFileError
        """
        _ = self.pipeline

    def check_graph(self) -> None:
        """Raise an error if the graph in the file is not the one that was saved: its bytes are read for this.

        Raises
        ------
        ModelFileError
            The graph is corrupt, was modified, or cannot be read.
        """
        if self.archived is not None and (problem := self.archived.find_problem()):
            raise corrupt(self.path, f"its graph {problem}")

    @property
    def has_probabilities(self) -> bool:
        """Whether the model predicts probabilities of classes."""
        if self.card.task == "regression":
            return False
        if self.head is not None:
            return self.head.probabilities is not None
        return hasattr(self.pipeline, "predict_proba")

    def predict_scores(self, rows: AnyArray) -> tuple[Float64Array, Float64Array | None]:
        """Return scores and probabilities of features.

        Parameters
        ----------
        rows : ndarray of float32 of shape (n_samples, n_features)
            Features of images.

        Returns
        -------
        scores : ndarray of float64 of shape (n_samples, n_classes) or (n_samples, 1)
            One column for two classes (positive for the second), and for regression.
        probabilities : ndarray of float64 of shape (n_samples, n_classes) or None
            None if the estimator has no probabilities.
        """
        if self.head is not None:
            return self.head(rows)
        estimator = self.pipeline[1:]
        probabilities = estimator.predict_proba(rows) if hasattr(estimator, "predict_proba") else None
        n_classes = len(self.card.classes)
        if hasattr(estimator, "decision_function"):
            scores = np.asarray(estimator.decision_function(rows), dtype=np.float64).reshape(len(rows), -1)
            if scores.shape[1] == n_classes or (scores.shape[1] == 1 and self.card.task != "multilabel"):
                return scores, probabilities
        if self.card.task == "multilabel" and probabilities is None:
            return np.asarray(self.predict_tags(rows), dtype=np.float64), None
        if n_classes and probabilities is None:  # the predicted class is all that is known
            return np.eye(n_classes)[self.class_indices(rows, np.empty((0, 0)))], None
        if probabilities is not None:
            return np.asarray(probabilities, dtype=np.float64), probabilities
        return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(len(rows), -1), None

    def predict_tags(self, rows: AnyArray) -> AnyArray:
        """Predict tags as a binary indicator matrix.

        Parameters
        ----------
        rows : ndarray of float32 of shape (n_samples, n_features)
            Features of images.

        Returns
        -------
        ndarray of int of shape (n_samples, n_tags)
            Columns are ``card.classes``.
        """
        return np.asarray(self.pipeline[1:].predict(rows))

    def class_indices(self, rows: AnyArray, scores: Float64Array) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return the index of the predicted class of each row.

        Parameters
        ----------
        rows : ndarray of float32 of shape (n_samples, n_features)
            Features of images.
        scores : ndarray of float64 of shape (n_samples, n_classes) or (n_samples, 1)
            Scores of the rows, as :meth:`predict_scores` returns them.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Indices of ``card.classes``.
        """
        if self.head is not None:
            return self.head.class_indices(scores)
        if self.card.task == "multilabel":  # the most probable tag
            most_probable: np.ndarray[Any, np.dtype[np.intp]] = scores.argmax(axis=1)
            return most_probable
        index_of = {label: index for index, label in enumerate(self.card.classes)}
        labels = np.asarray(self.pipeline[1:].predict(rows)).tolist()
        return np.array([index_of[label] for label in labels], dtype=np.intp)
