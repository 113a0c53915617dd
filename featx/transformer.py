"""FeatureExtractor: the scikit-learn face of extraction."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import _check_feature_names, _check_feature_names_in

from featx import engines
from featx.errors import OptionError, RecipeMismatchError, UnreadableImagesWarning
from featx.extraction import Extraction
from featx.failures import Failure
from featx.images import as_image_list
from featx.options import LARGEST_SIZE, POOLINGS, RESIZES, ExtractionOptions, Resolved, resolve_cache
from featx.progress import progress_bar


class InvalidOptionError(OptionError, InvalidParameterError):  # type: ignore[misc]  # scikit-learn is untyped
    """A parameter has a value that cannot be used; in scikit-learn's words, and as its own error too."""


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Turn images into rows of features with a frozen network, keeping every row ever computed.

    ``fit`` learns nothing from the images: it pins the recipe, so that a fitted pipeline that is loaded elsewhere
    gives the same features or says why it cannot. A row depends on its image and on the options marked (*) alone,
    and is kept under both, so folds, refits, clones, processes and later sessions find it again.

    Parameters
    ----------
    backbone : str, default="mobilenet"
        (*) Name of the network; see :func:`featx.available_backbones`.
    weights : str or Path, default="imagenet"
        (*) ``"imagenet"``, or the path of a weights file of this network without its head.
    image_size : int, (int, int) or None, default=None
        (*) Height and width in pixels that the network is shown; None is its own default.
    layer : str or None, default=None
        (*) Layer that is pooled; None is the last convolutional output.
    pooling : {"avg", "max"}, default="avg"
        (*) How the layer's positions become one row.
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
    cache : str, Path or None, default="auto"
        Folder that keeps rows; ``"auto"`` is ``$FEATX_CACHE``, else ``cache``; None keeps nothing.
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

    # Constraints as scikit-learn's own estimators declare them. Unknown backbones are told with the nearest name.
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "backbone": [str],
        "weights": [str, os.PathLike],
        "image_size": [Interval(Integral, 1, LARGEST_SIZE, closed="both"), tuple, list, None],
        "layer": [str, None],
        "pooling": [StrOptions(set(POOLINGS))],
        "resize": [StrOptions(set(RESIZES))],
        "precision": [StrOptions(set(engines.PRECISIONS))],
        "engine": [StrOptions(set(engines.ENGINES))],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "cache": [str, os.PathLike, None],
        "on_error": [StrOptions({"raise", "nan"})],
        "verbose": ["verbose"],
    }
    #: Parameters whose values decide a row's.
    _DECISIVE: ClassVar[tuple[str, ...]] = (
        "backbone",
        "weights",
        "image_size",
        "layer",
        "pooling",
        "resize",
        "precision",
    )

    def __init__(
        self,
        backbone: str = "mobilenet",
        *,
        weights: str | os.PathLike[str] = "imagenet",
        image_size: int | tuple[int, int] | None = None,
        layer: str | None = None,
        pooling: str = "avg",
        resize: str = "squash",
        precision: str = "auto",
        engine: str = "auto",
        batch_size: int = 32,
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
        self.cache = cache
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Check the parameters and pin the recipe; no image is read and no network is loaded.

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
        WeightsNotFoundError
            The network's weights are nowhere to be had.
        """
        options = self._options()
        as_image_list(X)
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit
            if hasattr(self, name):
                delattr(self, name)
        if getattr(X, "ndim", 1) == 2:
            self.n_features_in_ = 1
            _check_feature_names(self, X, reset=True)
        # One string, so that a saved extractor is small in every format.
        self._pin = json.dumps({"recipe": options.resolve().recipe.as_dict(), "set": self._decisive_parameters()})
        self.n_features_out_ = options.n_features
        return self

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
            (n_samples, h, w, 3).

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
        OptionError, InputError, WeightsError, EngineError, StoreError
        """
        options = self._options()
        images = as_image_list(X)
        if hasattr(self, "feature_names_in_") and hasattr(X, "columns"):  # a list has no names to compare
            _check_feature_names(self, X, reset=False)
        rows = np.empty((len(images), options.n_features), dtype=np.float32)
        if not len(images):
            return rows
        resolved = self._as_pinned(options.resolve())
        with progress_bar(len(images), self.backbone, shown=bool(self.verbose)) as progress:
            extraction = Extraction(
                images,
                resolved,
                rows,
                cache=resolve_cache(self.cache),
                raise_on_error=self.on_error == "raise",
                progress=progress,
            )
            extraction.run()
        warn_of_failures(extraction.failures, len(images))
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
        """
        if hasattr(self, "n_features_in_"):
            _check_feature_names_in(self, input_features, generate_names=False)
        options = self._options()
        layer = "" if self.layer is None else f"_{self.layer}"
        pooling = "" if self.pooling == "avg" else f"_{self.pooling}"
        prefix = f"{self.backbone}{layer}{pooling}"
        return np.array([f"{prefix}_{i}" for i in range(options.n_features)], dtype=object)

    def _options(self) -> ExtractionOptions:
        try:
            self._validate_params()
        except InvalidParameterError as error:
            raise InvalidOptionError(str(error)) from error
        fields = ExtractionOptions.__dataclass_fields__
        return ExtractionOptions(**{name: getattr(self, name) for name in fields})

    def _decisive_parameters(self) -> str:
        return repr([os.fspath(self.weights), *(getattr(self, name) for name in self._DECISIVE if name != "weights")])

    def _as_pinned(self, resolved: Resolved) -> Resolved:
        """Hold extraction to the recipe of the fit, as long as nobody has set another parameter since."""
        pin = json.loads(getattr(self, "_pin", "{}"))
        if pin.get("set") != self._decisive_parameters():
            return resolved
        pinned, found = pin["recipe"], resolved.recipe.as_dict()
        differing = [name for name in found if found[name] != pinned.get(name)]
        if differing:
            raise RecipeMismatchError(self.backbone, {name: (pinned.get(name), found[name]) for name in differing})
        return resolved

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a pickled state; parameters that an older featx did not have get their defaults."""
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(type(self).__init__).parameters.items()
            if name != "self"
        }
        super().__setstate__({**defaults, **state})

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


def warn_of_failures(failures: Sequence[Failure], n_images: int) -> None:
    """Give one warning for all images of a call that could not be read."""
    if failures:
        first = failures[0]
        warnings.warn(
            f"{len(failures)} of {n_images} images cannot be read; their rows are NaN. The first is "
            f"{first.image!r} at position {first.position}: {first.reason}.",
            UnreadableImagesWarning,
            stacklevel=4,  # past scikit-learn's wrapper of transform
        )
