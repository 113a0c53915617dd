"""FineTunedClassifier: a network whose last part is trained further, from the baseline on frozen features."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from featx.backbones.files.network_file import as_backbone_name
from featx.backbones.layers import Layer
from featx.errors import OptionError, UnknownBackboneError
from featx.extraction.extract import extract_into
from featx.extraction.feature_extractor import FeatureExtractor, InvalidOptionError
from featx.extraction.options import ExtractionOptions, Resolved, resolve_cache
from featx.extraction.sklearn_compat import Interval, InvalidParameterError, StrOptions
from featx.images.decode import MAX_PIXELS
from featx.images.image import Image, as_image_list
from featx.models.fine_tuning import client as handover
from featx.models.fine_tuning.predictor import FineTunedPredictorMixin
from featx.models.fine_tuning.training_data import (
    as_seed,
    check_weights,
    checked_classes,
    given_to_child,
    hold_some_out,
)
from featx.system.progress import progress_bar, write_line

AUGMENTATIONS = ("flip", "rotate", "crop", "colour")
_OF_EXTRACTOR = FeatureExtractor._parameter_constraints
#: Parameters that the extraction of features has, too.
_SHARED = (
    *("backbone", "weights", "image_size", "layer", "pooling", "resize", "max_pixels", "on_truncated"),
    "preprocessing",
)


class FineTunedClassifier(ClassifierMixin, FineTunedPredictorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
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
        Of the logistic regression to begin with; see :func:`featx.baselines.cross_validate.make_baseline`.
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
    featx.extraction.feature_extractor.InvalidOptionError: backbone='color_histogram' cannot be fine-tuned: it is no network of Keras...
    """

    __module__ = "featx"  # pickles and files of skops name it so, wherever it lies

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
        on_truncated: Literal["raise", "pad"] = "raise",
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
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
            groups that cannot be held out; weights of what is no class.
        ComparisonError
            Not one group for each image, or one group only.
        UnreadableImageError
            The first image that cannot be read.
        InputError, WeightsError, EngineError, StoreError, ResourceError
            As for :meth:`FeatureExtractor.transform`.
        """
        resolved, first = self._resolved()
        images = as_image_list(X)
        classes, codes = checked_classes(images, y)
        check_weights(self.class_weight, classes)
        seed = as_seed(self.random_state)
        rows = self._frozen_features(images, resolved)
        fold = hold_some_out(rows, codes, groups, self.validation_fraction, seed)
        given = given_to_child(rows, codes, classes, fold, C=self.C, class_weight=self.class_weight)
        progress = write_line if self.verbose else None
        tuned = handover.tune(images, resolved, first, given, self._settings(seed), progress=progress)
        self.classes_ = classes
        self._take(tuned, resolved)
        return self

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
                **{**shared, "backbone": as_backbone_name(self.backbone)}, precision="float32"
            ).resolve()
            return resolved, handover.first_trained(resolved, self.unfreeze)
        except UnknownBackboneError:
            raise
        except (InvalidParameterError, OptionError) as error:
            raise InvalidOptionError(str(error)) from error

    def _frozen_features(self, images: Sequence[Image], resolved: Resolved) -> np.ndarray[Any, np.dtype[np.float32]]:
        rows = np.empty((len(images), resolved.n_features), dtype=np.float32)
        with progress_bar(len(images), resolved.backbone.name, shown=bool(self.verbose)) as progress:
            extract_into(rows, images, resolved, cache=resolve_cache(self.cache), progress=progress)
        return rows

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        images = FeatureExtractor().__sklearn_tags__().input_tags
        tags.input_tags = dataclasses.replace(images)
        return tags
