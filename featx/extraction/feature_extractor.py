"""FeatureExtractor: the scikit-learn face of extraction."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import HasMethods, Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import _check_feature_names, _check_feature_names_in

from featx.backbones.files.network_file import as_backbone_name
from featx.backbones.layers import POOLINGS, Layer, parse_layers
from featx.backbones.preprocessing import parse_preprocessing
from featx.backbones.registry import load_backbone
from featx.datasets.failures import Failure
from featx.errors import OptionError, UnknownBackboneError, UnreadableImagesWarning
from featx.extraction.engines import engine as engines
from featx.extraction.extract import extract_into
from featx.extraction.options import LARGEST_SIZE, ON_TRUNCATED, RESIZES, ExtractionOptions, Resolved, resolve_cache
from featx.extraction.resolved import resolve_with_recipe
from featx.images.decode import MAX_PIXELS
from featx.images.image import Image, as_image_list, describe_image
from featx.recipe import JOINT
from featx.system.progress import progress_bar


class InvalidOptionError(OptionError, InvalidParameterError):  # type: ignore[misc]  # scikit-learn is untyped
    """A parameter has a value that cannot be used; in scikit-learn's words, and as its own error too."""


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Turn images into rows of features with a frozen network, keeping every row ever computed.

    ``fit`` learns nothing from the images: it pins the recipe, so that a fitted pipeline that is loaded elsewhere
    gives the same features or says why it cannot. A row depends on its image and on the options marked (*) alone,
    and is kept under both, so folds, refits, clones, processes and later sessions find it again.

    Parameters
    ----------
    backbone : str, Path or keras.Model, default="mobilenet"
        (*) Name of the network, see :func:`featx.available_backbones`; or the path of one of your own: ``.keras``,
        ``.h5``, ``.onnx``, ``.xml`` (OpenVINO), or the folder of a SavedModel. It is known by what it holds, wherever
        it lies. A ``keras.Model`` object is kept as a file in the user's cache (``~/.cache/featx``) until nobody has
        used it for 30 days; as in any file, layers of code of your own are refused: export it to a SavedModel or ONNX.
    weights : str, Path or None, default="imagenet"
        (*) ``"imagenet"``; the path of a weights file of this network without its head, or its address followed by
        ``#sha256=`` and its digest; or None for random ones, always the same: a control.
    image_size : int, (int, int) or None, default=None
        (*) Height and width in pixels that the network is shown; None is its own default.
    layer : str, int, float, a sequence of these or None, default=None
        (*) Layer that features are taken from: its name, its place in Keras's order (``-2``), or a share of the depth
        (``0.75``: the last block that ends there). Several, also written ``"a+b"``, are taken in one pass and joined.
        None is the last convolutional output. ``load_backbone(name).layers()`` lists them.
    pooling : {"avg", "max", "avgmax", "none"}, default="avg"
        (*) How a layer's positions become one row: their mean, their maximum, both one after the other, or all of
        them as they are.
    resize : {"squash", "crop", "pad"}, default="squash"
        (*) ``"squash"`` changes the aspect ratio; ``"crop"`` scales the shorter side to size · 256 / 224
        and cuts out the centre; ``"pad"`` fits the whole image in and fills the rest with black.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        (*) Arithmetic of the network. ``"auto"`` is bfloat16 where this CPU runs it natively. Rows are
        float32 either way.
    engine : {"auto", "openvino", "keras"}, default="auto"
        What runs the network: ``"auto"`` is OpenVINO where it is installed. ``"keras"`` is the reference.
    batch_size : int, default=32
        Images handed to the network at a time. Bounds memory; changes no value.
    max_pixels : int, default=178_956_970
        An encoded image of more pixels is one that cannot be read; of WebP, AVIF and GIF, of a third as many.
    on_truncated : {"raise", "pad"}, default="raise"
        What a JPEG or PNG that ends too early is: one that cannot be read; or one whose missing part is grey or black,
        with one warning for the whole call.
    preprocessing : {"tf", "torch", "caffe", "none"}, (mean, scale) or None, default=None
        (*) What a network of your own wants done to its pixels, which are from 0 to 255: ``"torch"`` for those of timm,
        torchvision and Hugging Face, ``"none"`` for one that does it itself; `mean` and `scale` are a number or three
        each, for (pixel − mean) / scale. None for those that featx knows by name.
    tta : {"flip", "five-crop", "rotations"} or None, default=None
        (*) Views of an image whose rows, each of which is kept, are averaged: ``"flip"``, the image and its mirror
        image; ``"five-crop"``, four corners and the centre of the image at 8/7 of `image_size`; ``"rotations"`` by 0,
        90, 180 and 270 degrees, of a square `image_size`. None is the image as it is.
    cache : str, Path or None, default="auto"
        Folder that keeps rows; ``"auto"`` is ``$FEATX_CACHE``, else ``cache``; None keeps nothing. A relative one is
        in the folder where the process runs. Processes that joblib keeps alive stay in the folder, and keep the
        variables, that they were started with: change those before, or name an absolute folder.
    on_error : {"raise", "nan"}, default="raise"
        What an image that cannot be read does: stop with its name, position and the reason; or get a
        row of NaN, with one warning for the whole call.
    verbose : bool, default=False
        Show a progress bar on standard error.

    Attributes
    ----------
    recipe_ : dict
        Everything that decides the value of a row, as fitted; see :class:`featx.Recipe`.
    n_features_out_ : int
        Length of a row.
    n_features_in_ : int
        1; only if fitted on a table of one column.
    feature_names_in_ : ndarray of str, shape (1,)
        Name of that column, if it has one.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import FeatureExtractor
    >>> photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("mobilenet", cache=None)
    >>> extractor.fit_transform(photos).shape
    (2, 1024)
    >>> list(extractor.get_feature_names_out()[:2])
    ['mobilenet_0', 'mobilenet_1']
    """

    # Constraints as scikit-learn's own estimators declare them. Unknown backbones and views are told with the nearest
    # name.
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "backbone": [str, os.PathLike, HasMethods(["get_weights", "to_json", "save"])],
        "weights": [str, os.PathLike, None],
        "image_size": [Interval(Integral, 1, LARGEST_SIZE, closed="both"), tuple, list, None],
        "layer": [str, Real, tuple, list, None],
        "pooling": [StrOptions(set(POOLINGS))],
        "resize": [StrOptions(set(RESIZES))],
        "precision": [StrOptions(set(engines.PRECISIONS))],
        "engine": [StrOptions(set(engines.ENGINES))],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_pixels": [Interval(Integral, 1, None, closed="left")],
        "on_truncated": [StrOptions(set(ON_TRUNCATED))],
        "preprocessing": [str, tuple, list, None],
        "tta": [str, None],
        "cache": [str, os.PathLike, None],
        "on_error": [StrOptions({"raise", "nan"})],
        "verbose": ["verbose"],
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
        precision: str = "auto",
        engine: str = "auto",
        batch_size: int = 32,
        max_pixels: int = MAX_PIXELS,
        on_truncated: str = "raise",
        preprocessing: str | Sequence[Any] | None = None,
        tta: str | None = None,
        cache: str | os.PathLike[str] | None = "auto",
        on_error: str = "raise",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.layer = layer
        self.pooling = pooling
        self.resize = resize
        self.precision = precision
        self.engine = engine
        self.batch_size = batch_size
        self.max_pixels = max_pixels
        self.on_truncated = on_truncated
        self.preprocessing = preprocessing
        self.tta = tta
        self.cache = cache
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Check the parameters and pin the recipe; no image is read and no network is loaded.

        Weights that are not on this machine are fetched.

        Parameters
        ----------
        X : list, tuple, ndarray, Series or one-column DataFrame of images
            Only looked at to see that it is a collection, and what its column is called.
        y : ignored

        Returns
        -------
        self : FeatureExtractor

        Raises
        ------
        OptionError
            A parameter has a value that cannot be used.
        InputError
            `X` is no collection of images.
        WeightsError
            The network's weights are nowhere to be had (:class:`WeightsNotFoundError`), damaged, or another's.
        EngineError, MissingDependencyError
            The network cannot be run as asked.

        Examples
        --------
        >>> FeatureExtractor("resnet50", batch_size=0).fit(["a.jpg"])
        Traceback (most recent call last):
            ...
        featx.extraction.feature_extractor.InvalidOptionError: The 'batch_size' parameter of FeatureExtractor must be ...
        >>> FeatureExtractor("mobilenet").fit(["a.jpg"]).recipe_["image_size"]
        [224, 224]
        """
        options = self._options()
        resolve_cache(self.cache)
        as_image_list(X)
        # One string, so that a saved extractor is small in every format.
        pin = json.dumps({"recipe": options.resolve().recipe.as_dict(), "set": self._decisive_parameters()})
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit
            if hasattr(self, name):
                delattr(self, name)
        if len(getattr(X, "shape", ())) == 2:
            self.n_features_in_ = 1
            _check_feature_names(self, X, reset=True)
        self._pin = pin
        return self

    @property
    def n_features_out_(self) -> int:
        """Length of a row."""
        if not hasattr(self, "_pin"):
            raise AttributeError(f"This {type(self).__name__} has no n_features_out_ before it is fitted.")
        return self._options().n_features

    @property
    def recipe_(self) -> dict[str, Any]:
        """Everything that decides the value of a row, as fitted."""
        if not hasattr(self, "_pin"):
            raise AttributeError(f"This {type(self).__name__} has no recipe_ before it is fitted.")
        recipe: dict[str, Any] = json.loads(self._pin)["recipe"]
        return recipe

    def transform(self, X: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return one row of features for each image.

        Parameters
        ----------
        X : list, tuple, ndarray, Series or one-column DataFrame of images
            Each a path, bytes, Pillow image, or uint8 array (h, w, 3) or (h, w); or one uint8 array
            (n_samples, h, w, 3). Series and tables may be of pandas, polars or pyarrow.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_features)

        Raises
        ------
        UnreadableImageError
            With ``on_error="raise"``: the first image that cannot be read.
        RecipeMismatchError
            This extractor was fitted where the same parameters meant something else: other weights, another
            arithmetic of the CPU, an older featx.
        OptionError, InputError, WeightsError
            As for :meth:`fit`.
        ValueError
            A table whose column is called another name than when fitted.
        EngineError
            The network cannot be run here.
        StoreError, ResourceError
            The cache cannot be read or written; the system has no more memory, files or threads.
        AuditError
            Rows and images do not match: nothing was kept.

        Warns
        -----
        UnreadableImagesWarning
            With ``on_error="nan"``: once, with the number of images that cannot be read, and the first.

        Examples
        --------
        >>> import numpy as np
        >>> grey = np.full((1, 16, 16, 3), 128, dtype=np.uint8)
        >>> FeatureExtractor("mobilenet", cache=None).transform(grey).dtype
        dtype('float32')
        """
        options = self._options()
        images = as_image_list(X)
        if hasattr(self, "feature_names_in_") and hasattr(X, "columns"):  # a list has no names to compare
            _check_feature_names(self, X, reset=False)
        rows = np.empty((len(images), options.n_features), dtype=np.float32)
        if not len(images):
            return rows
        resolved = self._as_pinned(options)
        with progress_bar(len(images), resolved.backbone.name, shown=bool(self.verbose)) as progress:
            ledger = extract_into(
                rows,
                images,
                resolved,
                cache=resolve_cache(self.cache),
                raise_on_error=self.on_error == "raise",
                progress=progress,
            )
        warn_unreadable(ledger.failures, len(images))
        warn_padded(images, ledger.padded)
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:
        """Return ``<backbone>_0``, ``<backbone>_1`` and so on; layer and pooling are named if they are not the default.

        Parameters
        ----------
        input_features : array of str or None, default=None
            If given, must be the names that this was fitted with.

        Returns
        -------
        ndarray of str objects, shape (n_features,)

        Raises
        ------
        ValueError
            `input_features` are other names than it was fitted with.
        OptionError
            A parameter has a value that cannot be used.

        Examples
        --------
        >>> FeatureExtractor("resnet50", pooling="max").get_feature_names_out()[-1]
        'resnet50_max_2047'
        """
        if hasattr(self, "n_features_in_"):
            _check_feature_names_in(self, input_features, generate_names=False)
        options = self._options()
        backbone = load_backbone(options.backbone)
        is_default = options.layer_name == backbone.layer
        layer = "" if is_default else f"_{options.layer_name}"
        pooling = "" if self.pooling == "avg" else f"_{self.pooling}"
        prefix = f"{backbone.name}{layer}{pooling}"
        return np.array([f"{prefix}_{i}" for i in range(options.n_features)], dtype=object)

    def _options(self) -> ExtractionOptions:
        try:
            if not get_config()["skip_parameter_validation"]:
                self._validate_params()
            fields = ExtractionOptions.__dataclass_fields__
            return ExtractionOptions(**{name: getattr(self, name) for name in fields})
        except UnknownBackboneError:
            raise
        except (InvalidParameterError, OptionError) as error:
            raise InvalidOptionError(str(error)) from error

    def _decisive_parameters(self) -> dict[str, Any]:
        """Return the parameters that decide a row, as JSON has them."""
        size = self.image_size
        return {
            # An object is known by what it is, which the recipe says.
            "backbone": as_backbone_name(self.backbone)
            if isinstance(self.backbone, str | os.PathLike)
            else "keras.Model",
            "weights": None if self.weights is None else os.fspath(self.weights),
            "image_size": size if size is None else [int(side) for side in np.broadcast_to(size, 2)],
            "layer": None if self.layer is None else JOINT.join(map(str, parse_layers(self.layer))),
            "pooling": str(self.pooling),
            "resize": str(self.resize),
            "precision": str(self.precision),
            "preprocessing": None if self.preprocessing is None else parse_preprocessing(self.preprocessing).text,
            "tta": None if self.tta is None else str(self.tta),
        }

    def _as_pinned(self, options: ExtractionOptions) -> Resolved:
        """Return what will run, held to the recipe of the fit but for parameters that were set since.

        Other weights than those of the fit are never taken for them, whatever their path.
        """
        pin = json.loads(getattr(self, "_pin", "{}"))
        now = self._decisive_parameters()
        if not pin or pin["set"].get("backbone") != now["backbone"]:
            return options.resolve()
        recipe = pin["recipe"]
        # A parameter that the featx of the fit did not have had what is its default now.
        defaults = type(self)._defaults()
        free = {name for name, value in now.items() if value != pin["set"].get(name, defaults.get(name))} - {"weights"}
        return resolve_with_recipe(options, recipe, ignore=free)

    def rename_backbone(self, backbone: str) -> None:
        """Say where the network of a fitted extractor is now; the recipe of the fit holds, and tells if it is another.

        Parameters
        ----------
        backbone : str
            The path of the same file elsewhere.
        """
        pin = json.loads(self._pin)
        pin["set"]["backbone"] = backbone
        self.backbone, self._pin = backbone, json.dumps(pin)

    @staticmethod
    def _defaults() -> dict[str, Any]:
        signature = inspect.signature(FeatureExtractor.__init__)
        return {name: parameter.default for name, parameter in signature.parameters.items() if name != "self"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a pickled state; parameters that an older featx did not have get their defaults."""
        super().__setstate__({**self._defaults(), **state})

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def resolve_extractor(extractor: FeatureExtractor) -> Resolved:
    """Return what an extractor runs, held to the recipe of its fit."""
    return extractor._as_pinned(extractor._options())


def warn_unreadable(failures: Sequence[Failure], n_images: int) -> None:
    """Give one warning for all images of a call that could not be read."""
    if failures:
        first = failures[0]
        warnings.warn(
            f"{len(failures)} of {n_images} images cannot be read; their rows are NaN. The first is "
            f"{first.image!r} (index {first.position}): {first.reason}.",
            UnreadableImagesWarning,
            stacklevel=4,  # past scikit-learn's wrapper of transform
        )


def warn_padded(images: Sequence[Image], padded: Sequence[int]) -> None:
    """Give one warning for all images of a call that ended too early and were made complete."""
    if padded:
        warnings.warn(
            f"{len(padded)} of {len(images)} images end too early; what is missing of them is grey or black. The first "
            f"is {describe_image(images[padded[0]])!r} (index {padded[0]}).",
            UnreadableImagesWarning,
            stacklevel=4,  # past scikit-learn's wrapper of transform
        )
