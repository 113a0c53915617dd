"""A network that was tuned to classes, with its output layer: what it says of images, and as what it is kept."""

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
from featx.errors import OptionError, RecipeMismatchError, StoreError
from featx.extraction.feature_extractor import FeatureExtractor
from featx.extraction.options import Resolved
from featx.models.fine_tuning import client as handover
from featx.recipe import PIXELS
from featx.system.files.atomic import atomic_write
from featx.system.files.output_paths import as_output_error


class FineTunedPredictorMixin:
    """What a fitted :class:`featx.FineTunedClassifier` can do: predict, and be saved."""

    # Parameters of the classifier, and what it has once it is fitted.
    backbone: Any
    precision: Literal["auto", "float32", "bfloat16"]
    max_pixels: int
    on_truncated: Literal["raise", "pad"]
    cache: Any
    verbose: bool
    C: float
    class_weight: Any
    classes_: np.ndarray[Any, Any]
    coef_: np.ndarray[Any, Any]
    intercept_: np.ndarray[Any, Any]
    network_: np.ndarray[Any, Any]
    history_: list[dict[str, float]]
    n_iter_: int

    def decision_function(self, X: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the output layer's values; of two classes, one for each image, above 0 for the second.

        Parameters
        ----------
        X : images, as for :meth:`fit`

        Returns
        -------
        ndarray of float32, shape (n_samples, n_classes) or (n_samples,)

        Raises
        ------
        sklearn.exceptions.NotFittedError
        RecipeMismatchError
            The pixels of this version of featx are others than when it was fitted.
        UnreadableImageError, InputError, EngineError, StoreError, ResourceError
            As for :meth:`FeatureExtractor.transform`.
        """
        check_is_fitted(self)
        path = cache_tuned_network(self.network_.tobytes(), "tuned")
        scores = self._extractor(path).transform(X) @ self.coef_.T + self.intercept_
        return np.asarray(scores[:, 0] if len(self.classes_) == 2 else scores)

    def predict_proba(self, X: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the probability of each class: the softmax of the output layer's values.

        Parameters
        ----------
        X : images, as for :meth:`fit`

        Returns
        -------
        ndarray of float32, shape (n_samples, n_classes)
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([-scores / 2, scores / 2], axis=1)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : images, as for :meth:`fit`

        Returns
        -------
        ndarray, shape (n_samples,)
        """
        scores = self.decision_function(X)
        codes = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[codes])

    def save_network(self, path: str | os.PathLike[str]) -> Path:
        """Write the tuned network as a ``.keras`` file, which is a backbone; return its path.

        ``FeatureExtractor(path, preprocessing="none")`` gives its features, at the size that it was tuned at; set
        ``resize`` and ``pooling`` as here.

        Parameters
        ----------
        path : str or Path
            Ends in ``.keras``.

        Raises
        ------
        OptionError, OutputError
            Another ending; it cannot be written.
        """
        check_is_fitted(self)
        to = Path(path)
        if to.suffix != ".keras":
            raise OptionError(f"path={str(path)!r}: expected a name that ends in .keras.")
        with as_output_error(to), atomic_write(to) as temporary:
            temporary.write_bytes(self.network_.tobytes())
        return to

    def as_pipeline(self, path: str | os.PathLike[str] | None = None) -> Pipeline:
        """Return the same classifier in two fitted steps: an extractor of the saved network, logistic regression.

        What takes a pipeline of features and a linear estimator takes this one.

        Parameters
        ----------
        path : str, Path or None, default=None
            Where the network is written to, as by :meth:`save_network`; None keeps it in the user's cache.

        Returns
        -------
        sklearn.pipeline.Pipeline
        """
        check_is_fitted(self)
        kept = cache_tuned_network(self.network_.tobytes(), "tuned") if path is None else self.save_network(path)
        extractor = self._extractor(kept).fit([])
        regression = LogisticRegression(C=self.C, class_weight=self.class_weight)
        regression.classes_, regression.coef_, regression.intercept_ = self.classes_, self.coef_, self.intercept_
        regression.n_features_in_, regression.n_iter_ = self.coef_.shape[1], np.array([self.n_iter_], dtype=np.int32)
        return make_pipeline(extractor, regression)

    def _take(self, tuned: handover.Tuned, resolved: Resolved) -> None:
        with contextlib.suppress(StoreError):  # the first prediction says so; what was learned is not to be lost for it
            cache_tuned_network(tuned.file, "tuned", tuned.description)
        self.network_ = np.frombuffer(tuned.file, dtype=np.uint8)
        self.history_, self.n_iter_ = tuned.history, tuned.n_iter
        kernel, bias = tuned.kernel, tuned.bias
        if len(self.classes_) == 2:
            kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
        self.coef_, self.intercept_ = np.ascontiguousarray(kernel.T), bias
        recipe = resolved.recipe
        # What its features are taken with, whatever the parameters are set to later.
        self._shown: dict[str, Any] = {
            "image_size": list(recipe.image_size),
            "resize": recipe.resize,
            "pooling": recipe.pooling,
            "pixels": recipe.pixels,
        }

    def _extractor(self, path: Path) -> FeatureExtractor:
        """Return what gives the tuned network's features."""
        if self._shown["pixels"] != PIXELS:
            raise RecipeMismatchError(as_backbone_name(self.backbone), {"pixels": (self._shown["pixels"], PIXELS)})
        return FeatureExtractor(
            path,
            preprocessing="none",
            pooling=self._shown["pooling"],
            resize=self._shown["resize"],
            precision=self.precision,
            max_pixels=self.max_pixels,
            on_truncated=self.on_truncated,
            cache=self.cache,
            verbose=self.verbose,
        )
