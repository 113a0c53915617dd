"""FeatureExtractor: the scikit-learn transformer that extracts features from images.

More than half of this file is the documentation of its public class.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from featx.backbones.described import using_description
from featx.backbones.files.network_file import as_backbone_name
from featx.backbones.layers import POOLINGS, Layer, parse_layers
from featx.backbones.preprocessing import parse_preprocessing
from featx.backbones.registry import load_backbone
from featx.datasets.pixel_range import format_bands, format_window, pixel_range_note
from featx.datasets.tables.streams import as_images
from featx.errors import InvalidOptionError, ModelFileError, OptionError, UnknownBackboneError, UnreadableImagesWarning
from featx.extraction.engines.archived_graph import ArchivedGraph
from featx.extraction.engines.engine import ENGINES, PRECISIONS
from featx.extraction.extract import SMALL_CALL, extract_into
from featx.extraction.ledger import Ledger
from featx.extraction.options import MAX_IMAGE_SIZE, ON_TRUNCATED, ExtractionOptions, Resolved, resolve_cache, warn_once
from featx.extraction.recorded import resolve_with_recipe
from featx.images.decode import MAX_PIXELS
from featx.images.image import Image, Kind, check_allow, restrict
from featx.images.image_lists import as_image_list, is_lazy_table, is_stream
from featx.recipe import LAYER_SEPARATOR
from featx.system.sklearn_compat import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
    check_feature_names,
    check_feature_names_in,
    reset_feature_names,
)
from featx.system.terminal.progress import ProgressFunction, reporting, stage

if TYPE_CHECKING:
    from typing import Self

    from featx.datasets.image_table import ImagesLike


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Extract features from images with a frozen network, and cache them.

    Each image becomes one row of float32 features. A row depends only on the content of its image and on the recipe:
    backbone, weights, image size, layer, pooling, resize mode, precision, preprocessing, test-time augmentation and
    the range of pixels with more than 8 bits.
    Clones, folds, other processes and later sessions reuse cached rows, even after files are renamed or reordered.

    Parameters
    ----------
    backbone : str, Path or keras.Model, default="mobilenet"
        Name of a backbone, see :func:`featx.available_backbones`; or a custom model file (``.keras``, ``.h5``,
        ``.onnx``, OpenVINO ``.xml``, or the folder of a SavedModel). A ``keras.Model`` is saved to the user's cache
        folder, and deleted there if it has not been used for 30 days. Model files with custom Python code are rejected;
        export them to SavedModel or ONNX.
    weights : str, Path or None, default="imagenet"
        Weights of the network without its classification head. "imagenet": the weights of the backbone. Path of a
        weights file, or URL followed by ``#sha256=DIGEST``. None: random weights, always the same, for use as a
        control.
    image_size : int, (int, int) or None, default=None
        Height and width in pixels of the network input. None: the default of the backbone.
    layer : str, int, float, sequence of these or None, default=None
        Layer(s) to extract features from. str: layer name; ``"a+b"`` selects two layers. int: layer index. float in
        (0, 1]: relative depth; the last block that ends there is used. Sequence: features of all layers, concatenated.
        None: the last convolutional layer. ``load_backbone(name).layers()`` lists the layers.
    pooling : {"native", "avg", "max", "avgmax", "cls", "none"}, default="native"
        How to pool the positions of a layer. "native": the input of the network's own head (timm, torchvision,
        open_clip), or the mean (other backbones). "avg", "max": their mean or maximum, without class and register
        tokens. "avgmax": both concatenated. "cls": the class token of a transformer. "none": no pooling.
    tta : {"flip", "five-crop", "rotations"} or None, default=None
        Test-time augmentation: the rows of several views of an image are averaged. "flip": the image and its mirror
        image. "five-crop": the four corners and the center of the image at 8/7 of `image_size`. "rotations": rotations
        by 0, 90, 180 and 270 degrees; requires a square `image_size`. None: the image itself.
    precision : {"auto", "float32", "float16", "bfloat16", "int8"}, default="auto"
        Precision of the network. "auto": bfloat16 if this CPU supports it natively, otherwise float32; float16 on
        devices other than the CPU. "int8": a quantized network, which is the fastest on a CPU; networks other than the
        bundled MobileNet are quantized once, which requires nncf (``pip install 'featx[int8]'``). Rows are always
        float32.
    preprocessing : {"tf", "torch", "caffe", "none"}, (mean, scale) or None, default=None
        Pixel scaling of a custom model file, whose input has pixels from 0 to 255. "torch": for models of timm,
        torchvision and Hugging Face. "none": for models that scale pixels themselves. (mean, scale): ``(pixel - mean)
        / scale``, each a number or one number per channel. None: use the backbone's own preprocessing;
        required for model files.
    resize : str, default="native"
        How to fit an image to `image_size`. "squash": change the aspect ratio. "crop": scale the shorter side to
        256 / 224 of the size, and crop the center. "pad": fit the whole image, and fill the rest with black. With the
        crop fraction and an interpolation, ``"crop 0.95 bicubic"``: exactly as timm and torchvision. "native":
        that of the model's own configuration (timm, torchvision, open_clip), or "squash" (other backbones).
    bit_depth : int or None, default=None
        Number of bits of pixels that are stored in 16 bits, such as 10 or 12. None: 16.
    window : (float, float) or None, default=None
        Lowest and highest value of pixels with more than 8 bits and of arrays other than uint8, which become black
        and white, such as ``(-1000, 400)`` for CT. None: the range of their type, or by `bit_depth`.
    bands : (int, int, int) or None, default=None
        Numbers of the bands of TIFF files that are red, green and blue, from 1, such as ``(4, 3, 2)`` for Sentinel-2;
        `window` is then the range of all three. Requires tifffile (``pip install 'featx[tiff]'``). None: the colors of
        the file.
    max_pixels : int, default=178_956_970
        Maximum number of pixels of an encoded image; a third of it for WebP, AVIF and GIF. Larger images are
        unreadable.
    on_truncated : {"raise", "pad"}, default="raise"
        How to handle JPEG and PNG files that end too early. "raise": treat them as unreadable. "pad": fill the missing
        part with gray or black, and issue a single warning.
    on_error : {"raise", "nan"}, default="raise"
        How to handle unreadable images. "raise": raise an error for the first one. "nan": return a row of NaN for
        each, and issue a single warning.
    allow : sequence of {"path", "url", "bytes", "array"} or None, default=None
        Kinds of images to read; others are unreadable, and no file is opened for them. A service that passes on what
        its clients send allows ``("bytes", "array")``. Pillow images count as arrays. None: all.
    engine : {"auto", "openvino", "keras", "onnxruntime"}, default="auto"
        Library that runs the network. "auto": OpenVINO if it is installed, otherwise Keras; ONNX Runtime on devices
        other than the CPU. "keras" is the reference.
    device : str, default="auto"
        Device that runs the network. "cpu"; "cuda", "tensorrt" or "directml", optionally followed by a device index,
        such as ``"cuda:1"``; "mps": Apple's GPU. "auto": an NVIDIA GPU if there is one and ``pip install 'featx[gpu]'``
        was run, otherwise the CPU. Devices other than the CPU compute in float32 and float16.
    batch_size : int or None, default=None
        Number of images per batch. It limits memory use and does not change the features, except for their last digits
        on devices other than the CPU. None: 32 on the CPU, more on other devices: 128 images of 224 × 224 pixels.
    cache : str, Path or None, default="auto"
        Path of the feature cache. "auto": ``FEATX_CACHE`` if set, else ``./cache``. None: no caching. Relative paths
        are resolved against the working directory of each process.
    verbose : bool or None, default=None
        Whether to show a progress bar on standard error. None: in a terminal or notebook only.

    Attributes
    ----------
    recipe_ : dict
        Recipe of the fitted features, see :class:`featx.Recipe`.
    fitted_params_ : dict
        Parameters of the fit that determine the recipe.
    n_features_out_ : int
        Number of features.
    n_features_in_ : int
        Number of columns, which is 1. Only defined if fitted on a table.
    feature_names_in_ : ndarray of str of shape (1,)
        Name of the image column. Only defined if fitted on a table with column names.

    See Also
    --------
    augment_features : Extract features of randomly augmented copies, for training.
    extract_images : Extract features of image files into a file.
    compare_images : Compare backbones and estimators on labeled images.
    FineTunedClassifier : Train the last layers of a network.

    Notes
    -----
    ``fit`` trains nothing and reads no image: it checks the parameters and records the recipe. ``transform`` works
    without ``fit``. A fitted extractor raises :class:`featx.errors.RecipeMismatchError` instead of returning other
    features, and on a CPU without the fitted precision :class:`featx.errors.EngineError` for images that are not in
    the cache. Parameters that are changed after ``fit`` take effect, such as ``set_params(precision="float32")``.

    A network uses all cores, and processes on the same cores compute one after another: a larger `n_jobs` in
    scikit-learn does not make extraction faster. Worker processes of joblib keep the working directory and the
    environment variables that they were started with; pass an absolute path as `cache` if these change.

    Pickles hold the parameters and the recipe, but neither the network nor rows.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import FeatureExtractor
    >>> images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("mobilenet", cache=None)
    >>> extractor.fit_transform(images).shape
    (2, 1024)
    >>> list(extractor.get_feature_names_out()[:2])
    ['mobilenet_0', 'mobilenet_1']
    """

    __module__ = "featx"  # model files and pickles name this stable path

    # As in scikit-learn's own estimators. Unknown backbones and values of tta are reported with the nearest name.
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "backbone": [str, os.PathLike, HasMethods(["get_weights", "to_json", "save"])],
        "weights": [str, os.PathLike, None],
        "image_size": [Interval(Integral, 1, MAX_IMAGE_SIZE, closed="both"), tuple, list, None],
        "layer": [str, Real, tuple, list, None],
        "pooling": [StrOptions(POOLINGS)],
        "tta": [str, None],
        "precision": [StrOptions(PRECISIONS)],
        "preprocessing": [str, tuple, list, None],
        "resize": [str],
        "bit_depth": [Integral, None],
        "window": [tuple, list, None],
        "bands": [tuple, list, None],
        "max_pixels": [Interval(Integral, 1, None, closed="left")],
        "on_truncated": [StrOptions(ON_TRUNCATED)],
        "on_error": [StrOptions(("raise", "nan"))],
        "allow": [tuple, list, set, frozenset, None],
        "engine": [StrOptions(ENGINES)],
        "device": [str],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "cache": [str, os.PathLike, None],
        "verbose": ["verbose", None],
    }

    def __init__(
        self,
        backbone: Any = "mobilenet",
        *,
        weights: str | os.PathLike[str] | None = "imagenet",
        image_size: int | tuple[int, int] | None = None,
        layer: Layer | Sequence[Layer] | None = None,
        pooling: Literal["native", "avg", "max", "avgmax", "cls", "none"] = "native",
        tta: Literal["flip", "five-crop", "rotations"] | None = None,
        precision: Literal["auto", "float32", "float16", "bfloat16", "int8"] = "auto",
        preprocessing: str | Sequence[Any] | None = None,
        resize: str = "native",
        bit_depth: int | None = None,
        window: tuple[float, float] | None = None,
        bands: Sequence[int] | None = None,
        max_pixels: int = MAX_PIXELS,
        on_truncated: Literal["raise", "pad"] = "raise",
        on_error: Literal["raise", "nan"] = "raise",
        allow: Sequence[Kind] | None = None,
        engine: Literal["auto", "openvino", "keras", "onnxruntime"] = "auto",
        device: str = "auto",
        batch_size: int | None = None,
        cache: str | os.PathLike[str] | None = "auto",
        verbose: bool | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.layer = layer
        self.pooling = pooling
        self.tta = tta
        self.precision = precision
        self.preprocessing = preprocessing
        self.resize = resize
        self.bit_depth = bit_depth
        self.window = window
        self.bands = bands
        self.max_pixels = max_pixels
        self.on_truncated = on_truncated
        self.on_error = on_error
        self.allow = allow
        self.engine = engine
        self.device = device
        self.batch_size = batch_size
        self.cache = cache
        self.verbose = verbose

    def fit(self, X: ImagesLike, y: Any = None) -> Self:
        """Check the parameters and record the recipe. No image is read.

        Weights that are not on this machine are downloaded.

        Parameters
        ----------
        X : array-like of images of shape (n_samples,)
            Images, see :meth:`transform`. Only the type and the column name are checked.
        y : None, default=None
            Ignored.

        Returns
        -------
        self : FeatureExtractor
            The fitted extractor.

        Raises
        ------
        OptionError
            A parameter has an invalid value.
        InputError
            `X` is not a collection of images.
        WeightsError
            The weights are corrupt, belong to another network, or cannot be downloaded.
        EngineError, MissingDependencyError
            The network cannot be run with these parameters.

        See Also
        --------
        transform : Extract the features.

        Examples
        --------
        >>> from featx import FeatureExtractor
        >>> FeatureExtractor("mobilenet").fit(["a.jpg"]).recipe_["image_size"]
        [224, 224]
        """
        options = self._options()
        resolve_cache(self.cache)
        if not is_stream(X):
            as_image_list(X)
        check_allow(self.allow)
        with reporting(_as_verbose(self.verbose)):
            recipe = options.resolve().recipe.as_dict()
        reset_feature_names(self, X)
        self.recipe_ = recipe
        self.fitted_params_ = self._recipe_params()
        self.__dict__.pop("_reads_cache_only", None)  # it is trained again
        return self

    def fit_transform(self, X: ImagesLike, y: Any = None, **fit_params: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Fit and return one row of features for each image.

        Parameters
        ----------
        X : array-like of images of shape (n_samples,)
            Images, see :meth:`transform`.
        y : None, default=None
            Ignored.
        **fit_params : dict
            Not used.

        Returns
        -------
        ndarray of float32 of shape (n_samples, n_features)
            Features.

        See Also
        --------
        fit : Check the parameters and record the recipe.
        transform : Extract the features.

        Examples
        --------
        >>> import numpy as np
        >>> from featx import FeatureExtractor
        >>> gray = np.full((1, 16, 16, 3), 128, dtype=np.uint8)
        >>> FeatureExtractor("color_histogram", cache=None).fit_transform(gray).shape
        (1, 512)
        """
        if isinstance(X, Iterator) and not is_lazy_table(X):
            X = list(X)  # fit and transform both need the images
        rows: np.ndarray[Any, np.dtype[np.float32]] = super().fit_transform(X, y, **fit_params)
        return rows

    @property
    def n_features_out_(self) -> int:
        """Number of features."""
        check_is_fitted(self, "recipe_")
        return self._options().n_features

    def transform(
        self, X: ImagesLike, *, progress: ProgressFunction | None = None
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return one row of features for each image.

        Parameters
        ----------
        X : array-like of images of shape (n_samples,)
            List, tuple, array, Series or one-column table (pandas, polars, pyarrow or datasets). An image is a path, a
            URL, bytes of an image file, an open file, a Pillow image, or an array of shape (height, width), (height,
            width, channels) or (channels, height, width) with 1, 3 or 4 channels; one array of all images is accepted
            too. Floats are from 0 to 1, uint16 from 0 to 65535, other integers from 0 to 255; or in `window`.
        progress : callable or None, default=None
            Function that is called with a :class:`Progress` now and then, for example ``print``.

        Returns
        -------
        ndarray of float32 of shape (n_samples, n_features)
            Features.

        Raises
        ------
        UnreadableImageError
            An image cannot be read, with ``on_error="raise"``.
        RecipeMismatchError
            The fitted features cannot be reproduced with these weights or with this version of featx.
        OptionError, InputError, WeightsError
            See :meth:`fit`.
        ValueError
            The column of a table has another name than in ``fit``.
        EngineError
            The network cannot be run on this machine, for example because its CPU lacks the precision.
        StoreError, ResourceError
            The cache cannot be read or written; the process is out of memory, file handles or threads.
        AuditError
            Rows and images do not match.

        Warns
        -----
        UnreadableImagesWarning
            Images cannot be read, with ``on_error="nan"``; truncated images were padded. Issued once.

        See Also
        --------
        fit : Check the parameters and record the recipe.
        get_feature_names_out : Return the names of the features.

        Examples
        --------
        >>> import numpy as np
        >>> from featx import FeatureExtractor
        >>> gray = np.full((1, 16, 16, 3), 128, dtype=np.uint8)
        >>> FeatureExtractor("mobilenet", cache=None).transform(gray).dtype
        dtype('float32')
        """
        options = self._options()
        listed = as_images(X) if is_stream(X) else as_image_list(X)
        images = restrict(listed, check_allow(self.allow))
        check_feature_names(self, X)
        rows = np.empty((len(images), options.n_features), dtype=np.float32)
        if not len(images):
            return rows
        with reporting(_as_verbose(self.verbose), progress):
            ledger = self._extract(images, rows, self._resolve(options))
        # A sample of the images is decoded for the note, which would make cached rows slow.
        if ledger.n_computed and (note := pixel_range_note(images, options.bit_depth or options.window)):
            warn_once(note)
        _warn_unreadable(ledger)
        return rows

    def _extract(self, images: Sequence[Image], rows: np.ndarray[Any, Any], resolved: Resolved) -> Ledger:
        """Fill the rows of images."""
        cache = resolve_cache(self.cache)
        is_served = "_reads_cache_only" in vars(self)
        with stage("extract", len(rows), message=resolved.backbone.name) as advance:
            ledger = extract_into(
                rows,
                images,
                resolved,
                cache=cache,
                read_only=is_served and self._reads_cache_only,
                is_buffered=is_served and len(images) < SMALL_CALL,
                raise_on_error=self.on_error == "raise",
                progress=advance,
            )
        if ledger.n_computed and "_graph" in vars(self):  # a service may use several models
            self._engine = resolved.start(cache / "compiled" if cache else None)
        return ledger

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:
        """Return the names of the features, such as ``mobilenet_0``.

        Layer and pooling are part of the names if they are not the default.

        Parameters
        ----------
        input_features : array-like of str of shape (1,), default=None
            Name of the image column. If given, it must be the one in ``fit``.

        Returns
        -------
        ndarray of str of shape (n_features,)
            Names of the features.

        Raises
        ------
        ValueError
            `input_features` are not the names in ``fit``.
        OptionError
            A parameter has an invalid value.

        See Also
        --------
        transform : Extract the features.

        Examples
        --------
        >>> from featx import FeatureExtractor
        >>> FeatureExtractor("resnet50", pooling="max").get_feature_names_out()[-1]
        'resnet50_max_2047'
        """
        check_feature_names_in(self, input_features)
        options = self._options()
        with using_description(self._network_description()):
            backbone = load_backbone(options.backbone)
        layer = "" if options.layer_name == backbone.layer else f"_{options.layer_name}"
        pooling = "" if self.pooling in ("native", "avg") else f"_{self.pooling}"
        prefix = f"{backbone.name}{layer}{pooling}"
        return np.array([f"{prefix}_{index}" for index in range(options.n_features)], dtype=object)

    def _options(self) -> ExtractionOptions:
        try:
            if not get_config()["skip_parameter_validation"]:
                self._validate_params()
            fields = dataclasses.fields(ExtractionOptions)
            with using_description(self._network_description()):
                return ExtractionOptions(**{field.name: getattr(self, field.name) for field in fields})
        except UnknownBackboneError:
            raise
        except (InvalidParameterError, OptionError) as error:
            raise InvalidOptionError(str(error)) from error

    def _recipe_params(self) -> dict[str, Any]:
        """Return the parameters that determine the recipe, as JSON types: equal values of other types are equal."""
        size = self.image_size
        return {
            # A keras.Model is identified by its content, which the recipe records.
            "backbone": as_backbone_name(self.backbone)
            if isinstance(self.backbone, str | os.PathLike)
            else "keras.Model",
            "weights": None if self.weights is None else os.fspath(self.weights),
            "image_size": size if size is None else [int(side) for side in np.broadcast_to(size, 2)],
            "layer": None if self.layer is None else LAYER_SEPARATOR.join(map(str, parse_layers(self.layer))),
            "pooling": str(self.pooling),
            "resize": str(self.resize),
            "precision": str(self.precision),
            "preprocessing": None if self.preprocessing is None else parse_preprocessing(self.preprocessing).text,
            "tta": None if self.tta is None else str(self.tta),
            "window": format_window(self.bit_depth, self.window) or None,
            "bands": format_bands(self.bands) or None,
        }

    def _resolve(self, options: ExtractionOptions) -> Resolved:
        """Return what to run. After ``fit``, it must have the fitted recipe, except for parameters changed since.

        Changed weights are accepted only if they are the fitted ones under another path.
        """
        fitted = getattr(self, "fitted_params_", None)
        current = self._recipe_params()
        if fitted is None or fitted["backbone"] != current["backbone"]:
            return options.resolve()
        # An older version that lacked a parameter had what is the default now.
        defaults = self._defaults()
        changed = {name for name, value in current.items() if value != fitted.get(name, defaults.get(name))}
        graph = None if "weights" in changed else getattr(self, "_graph", None)
        archived = None if graph is None else ArchivedGraph(**graph)
        return resolve_with_recipe(options, self.recipe_, ignore=changed - {"weights"}, archived=archived)

    def _serve_model(self, archived: ArchivedGraph | None, *, write_cache: bool) -> None:
        """Use the graph in a model file, and add rows to the cache only if the user wants that."""
        # A dict: skops, also that of mlflow, trusts no type of featx but the extractor.
        self._graph = None if archived is None else dataclasses.asdict(archived)
        self._reads_cache_only = not write_cache

    def _network_description(self) -> str:
        """Return what a model file knows of the network, at the image size of the fit; "" if it does not apply."""
        graph, size = getattr(self, "_graph", None), self.image_size
        sides = size if size is None else list(size) if isinstance(size, tuple | list) else [size, size]
        return "" if graph is None or sides != self.fitted_params_["image_size"] else graph["network"]

    def _relocate_backbone(self, path: str) -> None:
        """Set the path of a model file that was moved. The fitted recipe is kept, and detects another file."""
        self.fitted_params_ = {**self.fitted_params_, "backbone": path}
        self.backbone = path

    @staticmethod
    def _defaults() -> dict[str, Any]:
        signature = inspect.signature(FeatureExtractor.__init__)
        return {name: parameter.default for name, parameter in signature.parameters.items() if name != "self"}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the started network, which another process starts itself."""
        return {name: value for name, value in super().__getstate__().items() if name != "_engine"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled state. Parameters that an older version lacked get their defaults.

        Raises
        ------
        ModelFileError
            The extractor was fitted by a version that recorded its recipe in another format.
        """
        if "_pin" in state or "views" in state:
            raise ModelFileError(
                "Cannot restore FeatureExtractor: it was saved by an older version of featx. Fit the pipeline again."
            )
        super().__setstate__({**self._defaults(), **state})

    def __getattr__(self, name: str) -> Any:
        """Raise NotFittedError for fitted attributes, and AttributeError for others."""
        if name in ("recipe_", "fitted_params_", "n_features_out_"):
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call fit before using {name}."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

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
    """Return what an extractor runs. It must have the fitted recipe if the extractor is fitted."""
    return extractor._resolve(extractor._options())


def _as_verbose(verbose: Any) -> bool | None:
    """Return a parameter as a bool or None; scikit-learn accepts numbers, and unchecked parameters."""
    return None if verbose is None else bool(verbose)


def _warn_unreadable(ledger: Ledger) -> None:
    """Issue one warning for all unreadable images of a call, and one for all padded images."""
    failures, padded = ledger.failures, ledger.padded
    if failures:
        first = failures[0]
        _warn_user(
            f"{len(failures):,} of {ledger.n_images:,} images cannot be read; their rows are NaN. The first is "
            f"{first.image!r} (index {first.position}): {first.reason}."
        )
    if padded:
        _warn_user(
            f"{len(padded):,} of {ledger.n_images:,} images are truncated; the missing part is gray or black. The "
            f"first is {ledger.padded_name(padded[0])!r} (index {padded[0]})."
        )


def _warn_user(message: str) -> None:
    warnings.warn(message, UnreadableImagesWarning, stacklevel=5)  # past scikit-learn's wrapper of transform
