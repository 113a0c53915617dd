"""Predictions of a fine-tuned network, and the forms in which it is saved."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from featx.backbones.files.network_file import as_backbone_name, cache_tuned_network
from featx.backbones.workers.training_files import TrainingResult
from featx.errors import OptionError, RecipeMismatchError, StoreError
from featx.extraction.feature_extractor import FeatureExtractor
from featx.extraction.options import Resolved
from featx.recipe import PIXELS
from featx.system.array_types import AnyArray, FloatArray
from featx.system.files.atomic import atomic_write
from featx.system.files.output_paths import as_output_error


class FineTunedPredictorMixin:
    """Predictions and saving of a fitted :class:`featx.FineTunedClassifier`."""

    # Parameters and fitted attributes of the classifier.
    backbone: Any
    precision: Literal["auto", "float32", "float16", "bfloat16", "int8"]
    max_pixels: int
    on_truncated: Literal["raise", "pad"]
    cache: Any
    verbose: bool | None
    C: float
    class_weight: Any
    classes_: AnyArray
    coef_: FloatArray
    intercept_: FloatArray
    network_: AnyArray
    history_: list[dict[str, float]]
    n_iter_: int

    def decision_function(self, X: Any) -> FloatArray:
        """Compute the scores of the output layer.

        Parameters
        ----------
        X : sequence of images
            Images; see :meth:`FeatureExtractor.transform`.

        Returns
        -------
        ndarray of float32 of shape (n_samples, n_classes) or (n_samples,)
            For two classes, one score for each image, positive for the second class.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            The classifier is not fitted.
        RecipeMismatchError
            This version of featx decodes images to other pixels than the version of the fit.
        UnreadableImageError, InputError, EngineError, StoreError, ResourceError
            See :meth:`FeatureExtractor.transform`.
        """
        check_is_fitted(self)
        path = cache_tuned_network(self.network_.tobytes(), "tuned")
        scores = self._make_extractor(path).transform(X) @ self.coef_.T + self.intercept_
        return np.asarray(scores[:, 0] if len(self.classes_) == 2 else scores)

    def predict_proba(self, X: Any) -> FloatArray:
        """Predict the probability of each class: the softmax of the scores.

        Parameters
        ----------
        X : sequence of images
            Images; see :meth:`FeatureExtractor.transform`.

        Returns
        -------
        ndarray of float32 of shape (n_samples, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([-scores / 2, scores / 2], axis=1)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> AnyArray:
        """Predict the class of each image.

        Parameters
        ----------
        X : sequence of images
            Images; see :meth:`FeatureExtractor.transform`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted classes.
        """
        scores = self.decision_function(X)
        indices = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[indices])

    def save_network(self, path: str | os.PathLike[str]) -> Path:
        """Write the fine-tuned network as a ``.keras`` file, which can be used as a backbone.

        ``FeatureExtractor(path, preprocessing="none")`` gives its features. Pass the same ``resize`` and ``pooling``.

        Parameters
        ----------
        path : str or Path
            Path of a file that ends in ``.keras``.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        OptionError
            The path does not end in ``.keras``.
        OutputError
            The file cannot be written.
        """
        check_is_fitted(self)
        target = Path(path)
        if target.suffix != ".keras":
            raise OptionError(f"path must end in .keras, got {str(path)!r}.")
        with as_output_error(target), atomic_write(target) as temporary:
            temporary.write_bytes(self.network_.tobytes())
        return target

    def as_pipeline(self, path: str | os.PathLike[str] | None = None) -> Pipeline:
        """Return a fitted pipeline with equal predictions: an extractor with the network, and logistic regression.

        Parameters
        ----------
        path : str, Path or None, default=None
            Path that the network is written to, see :meth:`save_network`. None: the cache folder of the user.

        Returns
        -------
        sklearn.pipeline.Pipeline
            Fitted pipeline of a :class:`FeatureExtractor` and a ``LogisticRegression``.
        """
        check_is_fitted(self)
        file = cache_tuned_network(self.network_.tobytes(), "tuned") if path is None else self.save_network(path)
        extractor = self._make_extractor(file).fit([])
        regression = LogisticRegression(C=self.C, class_weight=self.class_weight)
        regression.classes_, regression.coef_, regression.intercept_ = self.classes_, self.coef_, self.intercept_
        regression.n_features_in_, regression.n_iter_ = self.coef_.shape[1], np.array([self.n_iter_], dtype=np.int32)
        return make_pipeline(extractor, regression)

    def _set_result(self, result: TrainingResult, resolved: Resolved) -> None:
        """Set the fitted attributes."""
        with contextlib.suppress(StoreError):  # the first prediction reports it; the training must not be lost
            cache_tuned_network(result.network, "tuned", result.description)
        self.network_ = np.frombuffer(result.network, dtype=np.uint8)
        self.history_, self.n_iter_ = result.history, result.n_iter
        kernel, bias = result.kernel, result.bias
        if len(self.classes_) == 2:
            kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
        self.coef_, self.intercept_ = np.ascontiguousarray(kernel.T), bias
        # The options of its features, whatever the parameters are set to later.
        recipe = resolved.recipe
        self._fitted_options: dict[str, Any] = {
            "resize": recipe.resize,
            "pooling": recipe.pooling,
            "pixels": recipe.pixels,
        }

    def _make_extractor(self, path: Path) -> FeatureExtractor:
        """Return the extractor of the features of the fine-tuned network."""
        options = self._fitted_options
        if options["pixels"] != PIXELS:
            raise RecipeMismatchError(as_backbone_name(self.backbone), {"pixels": (options["pixels"], PIXELS)})
        return FeatureExtractor(
            path,
            preprocessing="none",
            pooling=options["pooling"],
            resize=options["resize"],
            precision=self.precision,
            max_pixels=self.max_pixels,
            on_truncated=self.on_truncated,
            cache=self.cache,
            verbose=self.verbose,
        )
