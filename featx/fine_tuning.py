"""FineTunedClassifier: a network whose last part is trained further, from the baseline on frozen features."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

from featx import files, handover
from featx.backbones.layers import Layer
from featx.backbones.own import as_name, keep_tuned
from featx.duplicates import find_duplicates
from featx.errors import OptionError, OutputError, RecipeMismatchError, StoreError, TrainingError, UnknownBackboneError
from featx.extraction import Extraction
from featx.holding_out import hold_out
from featx.images import Image, as_image_list
from featx.labels import as_label_array, checked_labels, is_missing
from featx.options import ExtractionOptions, Resolved, resolve_cache
from featx.output_layers import output_layer
from featx.pixels import MAX_PIXELS
from featx.progress import progress_bar, write_line
from featx.recipe import PIXELS
from featx.splits import Fold, group_codes
from featx.transformer import FeatureExtractor, InvalidOptionError
from featx.wording import listed

AUGMENTATIONS = ("flip", "rotate", "crop", "colour")
_OF_EXTRACTOR = FeatureExtractor._parameter_constraints
#: Parameters that the extraction of features has, too.
_SHARED = (
    *("backbone", "weights", "image_size", "layer", "pooling", "resize", "max_pixels", "on_truncated"),
    "preprocessing",
)


class FineTunedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Classify images by a network whose last part is trained further on them.

    It begins where the baseline ends: with logistic regression on the features of the frozen network as its output
    layer, so that nothing has to be unlearned. Then that layer and the last part of the network are trained together,
    batch normalisation kept as it is (in inference mode), at a low learning rate that falls to 0 along a cosine. Some
    images are held out to tell after how many epochs to stop, of which none may be best; then all of it is done once
    more with all images. What learns is a child process: no tensorflow comes into this one.

    Images, pixels and errors are as of :class:`FeatureExtractor`. Predictions run at the rate of extraction, and the
    tuned network's features are kept in the store.

    Parameters
    ----------
    backbone : str or Path, default="mobilenet"
        Name of a network of Keras, see :func:`featx.available_backbones`, or the path of a ``.keras`` or ``.h5`` file.
    weights, image_size, layer, pooling, resize, preprocessing, max_pixels, on_truncated
        As of :class:`FeatureExtractor`.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of predictions; what is learned is learned in float32.
    unfreeze : float, int or str, default=0.3
        What is trained besides the output layer: a share of the layers, from the last; a number of them; or the name
        of the first. 0 is none.
    epochs : int, default=8
        At most.
    learning_rate : float, default=3e-5
        Of Adam, at the end of the first epoch, over which it rises.
    batch_size : int, default=32
        Images in one step of training. It bounds memory, and changes what is learned.
    validation_fraction : float, default=0.15
        Share of the images of each class that is held out.
    patience : int, default=5
        Epochs without a lower held-out loss after which it stops.
    refit : bool, default=True
        Train once more on all images, for the number of epochs that was best; takes as long again. Otherwise the
        network that was best is taken, which has not seen the images that were held out.
    augment : bool or sequence of {"flip", "rotate", "crop", "colour"}, default=True
        What is done at random to each image in each epoch: mirrored; turned by up to 10 degrees; cut to 85 % of its
        sides at least; brightness, contrast and saturation changed by up to 15 %. True is all of it; leave ``"flip"``
        out where left and right matter, as in writing.
    class_weight : {"balanced"}, dict or None, default=None
        As of scikit-learn's classifiers: in the baseline, in the loss and in telling when to stop.
    C : float, default=30
        Of the logistic regression to begin with; see :func:`featx.baselines.make_baseline`.
    random_state : int, RandomState or None, default=0
        Decides what is held out, the order of images and how they are altered.
    cache : str, Path or None, default="auto"
        As of :class:`FeatureExtractor`.
    verbose : bool, default=False
        Show a progress bar, and a line for each epoch, on standard error.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    coef_, intercept_ : ndarray of float32, shape (n_classes, n_features) and (n_classes,)
        The output layer on the tuned network's features; of two classes one row, as scikit-learn has it.
    network_ : ndarray of uint8, shape (n_bytes,)
        The tuned network, as the bytes of a ``.keras`` file: the estimator travels whole, also by skops.
    history_ : list of dict
        For each epoch, the first being the start: ``epoch, held_out_loss, held_out_accuracy, seconds``, and ``loss``.
    n_iter_ : int
        Epochs that the network was trained for; 0 if none was better than the start.

    Notes
    -----
    On 840 aerial photos in 21 classes (UC Merced Land Use), a fifth of them to test on, it took 4 minutes on two busy
    cores and 1.7 GB at most in the child: accuracy 0.976, as of the baseline (1 gained, 1 lost of 168), and a held-out
    loss of 0.090 against 0.200. ``learning_rate=1e-4, epochs=12`` came to 0.970 (2 gained, 3 lost), and to 0.064.

    Examples
    --------
    >>> FineTunedClassifier("color_histogram").fit([b"", b"", b"", b""], ["cat", "cat", "dog", "dog"])
    Traceback (most recent call last):
        ...
    featx.transformer.InvalidOptionError: backbone='color_histogram' cannot be fine-tuned: it is no network of Keras...
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{name: _OF_EXTRACTOR[name] for name in (*_SHARED, "precision", "batch_size", "cache", "verbose")},
        "unfreeze": [Interval(Integral, 0, None, closed="left"), Interval(Real, 0, 1, closed="both"), str],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "refit": ["boolean"],
        "augment": ["boolean", list, tuple],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "C": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        backbone: Any = "mobilenet",
        *,
        weights: str | os.PathLike[str] | None = "imagenet",
        image_size: int | tuple[int, int] | None = None,
        layer: Layer | Sequence[Layer] | None = None,
        pooling: str = "avg",
        resize: str = "squash",
        preprocessing: str | Sequence[Any] | None = None,
        max_pixels: int = MAX_PIXELS,
        on_truncated: str = "raise",
        precision: str = "auto",
        unfreeze: float | str = 0.3,
        epochs: int = 8,
        learning_rate: float = 3e-5,
        batch_size: int = 32,
        validation_fraction: float = 0.15,
        patience: int = 5,
        refit: bool = True,
        augment: bool | Sequence[str] = True,
        class_weight: Any = None,
        C: float = 30,
        random_state: Any = 0,
        cache: str | os.PathLike[str] | None = "auto",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.layer = layer
        self.pooling = pooling
        self.resize = resize
        self.preprocessing = preprocessing
        self.max_pixels = max_pixels
        self.on_truncated = on_truncated
        self.precision = precision
        self.unfreeze = unfreeze
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.refit = refit
        self.augment = augment
        self.class_weight = class_weight
        self.C = C
        self.random_state = random_state
        self.cache = cache
        self.verbose = verbose

    def fit(self, X: Any, y: Any, groups: Any = None) -> FineTunedClassifier:
        """Train on images.

        Parameters
        ----------
        X : list, tuple, ndarray, Series or one-column DataFrame of images
            As for :meth:`FeatureExtractor.transform`.
        y : array-like, shape (n_samples,)
            A class for each, two images or more of each class.
        groups : array-like, shape (n_samples,), or None, default=None
            Images of one group are never divided between those that are learned from and those that are held out.
            None keeps near-duplicates together, as :func:`featx.find_duplicates` tells them.

        Returns
        -------
        self : FineTunedClassifier

        Raises
        ------
        OptionError
            A parameter has a value that cannot be used; a backbone that is no network of Keras.
        TrainingError
            Labels that nothing can be learned from: one class only, a class of one image, not one for each image;
            groups that cannot be held out.
        ComparisonError
            Not one group for each image, or one group only.
        UnreadableImageError
            The first image that cannot be read.
        InputError, WeightsError, EngineError, StoreError, ResourceError
            As for :meth:`FeatureExtractor.transform`.
        """
        resolved, first = self._resolved()
        images = as_image_list(X)
        classes, codes = _checked_classes(images, y)
        seed = _as_seed(self.random_state)
        rows = self._frozen_features(images, resolved)
        train, held_out = self._split(rows, codes, groups, seed)
        given = self._given(rows, codes, classes, train, held_out)
        progress = write_line if self.verbose else None
        tuned = handover.tune(images, resolved, first, given, self._settings(seed), progress=progress)
        self.classes_ = classes
        self._take(tuned, resolved)
        return self

    def _take(self, tuned: handover.Tuned, resolved: Resolved) -> None:
        with contextlib.suppress(StoreError):  # the first prediction says so; what was learned is not to be lost for it
            keep_tuned(tuned.file, "tuned", tuned.description)
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
        path = keep_tuned(self.network_.tobytes(), "tuned")
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
        try:
            with files.replacing(to) as temporary:
                temporary.write_bytes(self.network_.tobytes())
        except OSError as error:
            raise OutputError(
                f"The network cannot be written to {str(path)!r}: {error.strerror or error}. Make room there, or "
                "choose another folder."
            ) from error
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
        kept = keep_tuned(self.network_.tobytes(), "tuned") if path is None else self.save_network(path)
        extractor = self._extractor(kept).fit([])
        regression = LogisticRegression(C=self.C, class_weight=self.class_weight)
        regression.classes_, regression.coef_, regression.intercept_ = self.classes_, self.coef_, self.intercept_
        regression.n_features_in_, regression.n_iter_ = self.coef_.shape[1], np.array([self.n_iter_], dtype=np.int32)
        return make_pipeline(extractor, regression)

    # Parts of fitting -----------------------------------------------------------------------------------

    def _resolved(self) -> tuple[Resolved, int]:
        """Return what is trained, and the place of the first layer that is."""
        try:
            self._validate_params()
            if not isinstance(self.augment, bool | np.bool_) and set(self.augment) - set(AUGMENTATIONS):
                raise OptionError(f"augment={self.augment!r}: expected True, False or some of {list(AUGMENTATIONS)}.")
            resolve_cache(self.cache)
            shared = {name: getattr(self, name) for name in _SHARED}
            resolved = ExtractionOptions(
                **{**shared, "backbone": as_name(self.backbone)}, precision="float32"
            ).resolve()
            return resolved, handover.first_trained(resolved, self.unfreeze)
        except UnknownBackboneError:
            raise
        except (InvalidParameterError, OptionError) as error:
            raise InvalidOptionError(str(error)) from error

    def _frozen_features(self, images: Sequence[Image], resolved: Resolved) -> np.ndarray[Any, np.dtype[np.float32]]:
        rows = np.empty((len(images), resolved.n_features), dtype=np.float32)
        with progress_bar(len(images), resolved.backbone.name, shown=bool(self.verbose)) as progress:
            Extraction(images, resolved, rows, cache=resolve_cache(self.cache), progress=progress).run()
        return rows

    def _split(self, rows: Any, codes: Any, groups: Any, seed: int) -> Fold:
        """Return the rows to learn from, and those that are held out."""
        if groups is not None:
            return hold_out(codes, group_codes(list(groups), len(codes)), self.validation_fraction, seed)
        try:
            return hold_out(codes, find_duplicates(rows).groups, self.validation_fraction, seed)
        except TrainingError:  # what nobody called groups is no reason not to begin
            return hold_out(codes, None, self.validation_fraction, seed)

    def _given(
        self, rows: Any, codes: Any, classes: np.ndarray[Any, Any], train: Any, held_out: Any
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return what the child is told of the images, besides their pixels."""
        weight = self.class_weight
        if isinstance(weight, dict):
            weight = {code: weight[label] for code, label in enumerate(classes.tolist()) if label in weight}
        kernel, bias = output_layer(rows[train], codes[train], C=self.C, class_weight=weight)
        kernel_of_all, bias_of_all = output_layer(rows, codes, C=self.C, class_weight=weight)
        return {
            "labels": codes,
            "weights": compute_sample_weight(weight, codes).astype(np.float32),
            "train": train,
            "held_out": held_out,
            "kernel": kernel,
            "bias": bias,
            "kernel_of_all": kernel_of_all,
            "bias_of_all": bias_of_all,
        }

    def _settings(self, seed: int) -> dict[str, Any]:
        kinds = AUGMENTATIONS if self.augment is True else self.augment or ()
        return {
            "epochs": int(self.epochs),
            "learning_rate": float(self.learning_rate),
            "batch_size": int(self.batch_size),
            "patience": int(self.patience),
            "augment": [kind for kind in AUGMENTATIONS if kind in kinds],
            "random_state": seed,
            "refit": bool(self.refit),
        }

    def _extractor(self, path: Path) -> FeatureExtractor:
        """Return what gives the tuned network's features."""
        if self._shown["pixels"] != PIXELS:
            raise RecipeMismatchError(as_name(self.backbone), {"pixels": (self._shown["pixels"], PIXELS)})
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        images = FeatureExtractor().__sklearn_tags__().input_tags
        tags.input_tags = dataclasses.replace(images)
        return tags


def _checked_classes(images: Sequence[Image], y: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the classes, and the number of each image's.

    Raises
    ------
    TrainingError
    """
    y = as_label_array(y)
    if y.ndim != 1 or len(y) != len(images):
        raise TrainingError(f"Expected one label for each of {len(images)} images, got y of shape {y.shape}.")
    missing = [at for at, label in enumerate(y.tolist()) if is_missing(label)]
    if missing:
        raise TrainingError(f"{len(missing)} images have no label, the first at position {missing[0]}. Leave them out.")
    classes, codes, counts = np.unique(checked_labels(y, "classification"), return_inverse=True, return_counts=True)
    if len(classes) < 2:
        found = f"only {classes.tolist()[0]!r}" if len(classes) else "no image"
        raise TrainingError(f"Expected images of two classes or more, got {found}. Add images of another class.")
    single = classes[counts < 2].tolist()
    if single:
        raise TrainingError(
            f"Expected two images or more of each class, got one of {listed(single)}. Add images, or "
            "leave these classes out."
        )
    return classes, codes.astype(np.int64)


def _as_seed(random_state: Any) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
