"""Options of an extraction: checked, and resolved to a recipe and an engine.

This file is long because each of 17 options has its check and an error with a remedy.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from featx.backbones import preprocessing
from featx.backbones.base import Weights
from featx.backbones.described import using_description
from featx.backbones.files.display_name import display_name
from featx.backbones.files.network_file import NetworkFile, as_backbone_name
from featx.backbones.hub.refused import refusing_downloads
from featx.backbones.layers import POOLINGS, Layer, LayerInfo, Pooling, find_layers, parse_layers
from featx.backbones.registry import Backbone, DirectBackbone, KerasBackbone, load_backbone
from featx.backbones.weights import check_local_weights
from featx.datasets.pixel_range import format_bands, format_window
from featx.errors import FeatxError, FeatxWarning, ModelFileError, OptionError, RecipeMismatchError, StoreWarning
from featx.extraction.engines.archived_graph import ArchivedGraph, UnusableGraphError
from featx.extraction.engines.calibration import CALIBRATION
from featx.extraction.engines.engine import (
    ENGINES,
    PRECISIONS,
    Engine,
    EngineName,
    PrecisionName,
    check_not_forked,
    resolve_engine,
    resolve_precision,
    start_engine,
)
from featx.extraction.engines.onnx_runtime.device import check_device, resolve_device
from featx.extraction.engines.onnx_runtime.engine import device_batch_size
from featx.images.decode import MAX_PIXELS
from featx.images.resize import parse_resize
from featx.images.tta import check_tta
from featx.recipe import LAYER_SEPARATOR, Recipe, recipe_differences
from featx.system.formatting import format_list
from featx.system.option_checks import check_choice, check_integer, is_integer

ON_TRUNCATED = ("raise", "pad")
#: Maximum image size in pixels. A typo beyond it would need more memory than there is.
MAX_IMAGE_SIZE = 4096
#: Number of features above which a warning is issued: scikit-learn gets slow, and a million images take 400 GB.
_MANY_FEATURES = 100_000


@dataclasses.dataclass(frozen=True)
class ExtractionOptions:
    """Options of an extraction as the user gives them. See :class:`featx.FeatureExtractor` for each of them.

    They are checked, and what follows from them is determined once, when an object is created. Only the weights are
    looked up later, by :meth:`resolve`.

    Raises
    ------
    OptionError
        An option has an invalid value.
    """

    backbone: str = "mobilenet"
    weights: str | os.PathLike[str] | None = "imagenet"
    image_size: int | tuple[int, int] | None = None
    layer: Layer | Sequence[Layer] | None = None
    pooling: Pooling = "native"
    resize: str = "native"
    precision: PrecisionName = "auto"
    engine: EngineName = "auto"
    device: str = "auto"
    batch_size: int | None = None
    max_pixels: int = MAX_PIXELS
    on_truncated: Literal["raise", "pad"] = "raise"
    preprocessing: str | Sequence[Any] | None = None
    tta: Literal["flip", "five-crop", "rotations"] | None = None
    bit_depth: int | None = None
    window: tuple[float, float] | None = None
    bands: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, str):
            object.__setattr__(self, "backbone", as_backbone_name(self.backbone))
        load_backbone(self.backbone)  # raises UnknownBackboneError, before other problems
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("engine", self.engine, ENGINES)
        check_device(self.device)
        check_choice("on_truncated", self.on_truncated, ON_TRUNCATED)
        if self.batch_size is not None:
            check_integer("batch_size", self.batch_size)
        check_integer("max_pixels", self.max_pixels)
        if self.weights is not None and not isinstance(self.weights, str | os.PathLike):
            raise OptionError(
                "weights (--weights) must be 'imagenet', the path of a weights file, a URL that ends in "
                f"#sha256=DIGEST, or None for random weights, got {self.weights!r}."
            )
        if isinstance(self.window, list):
            object.__setattr__(self, "window", tuple(self.window))
        if isinstance(self.bands, list):
            object.__setattr__(self, "bands", tuple(self.bands))
        for derived in ("_preprocessing", "_image_size", "_layers", "_pooling", "_resize", "_window", "_bands"):
            getattr(self, derived)  # raises OptionError
        if self.tta is not None:
            check_tta(self.tta, self._image_size)

    def __getstate__(self) -> dict[str, Any]:
        """Return the options alone: another process determines what follows from them itself."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _backbone(self) -> Backbone:
        return load_backbone(self.backbone)

    @functools.cached_property
    def _preprocessing(self) -> str:
        """Preprocessing as the recipe records it; "" if it is part of the network."""
        own = self._backbone.preprocessing_text
        if self.preprocessing is None:
            if own is None:
                raise preprocessing.missing_preprocessing_error(self.backbone)
            return own
        if own == "":
            raise OptionError(
                f"preprocessing (--preprocessing) cannot be set for backbone {self.backbone!r}, which has its own, got "
                f"{self.preprocessing!r}. Remove the option."
            )
        steps = preprocessing.parse_preprocessing(self.preprocessing)
        if isinstance(self._backbone, NetworkFile):
            preprocessing.check_integer_input(steps, self.backbone, self._backbone.description.input_dtype)
        return steps.text

    @functools.cached_property
    def _image_size(self) -> tuple[int, int]:
        """Height and width."""
        backbone, name = self._backbone, display_name(self.backbone)
        value = (backbone.fixed_image_size or backbone.image_size) if self.image_size is None else self.image_size
        if value is None:
            raise OptionError(
                f"image_size (--image-size) is required for {name}, which accepts images of any size. Pass for example "
                "image_size=224."
            )
        sides = tuple(value) if isinstance(value, tuple | list) else (value, value)
        smallest = backbone.min_image_size
        if len(sides) != 2 or not all(is_integer(side) and smallest <= side <= MAX_IMAGE_SIZE for side in sides):
            default = f" Omit it to use the default, {backbone.image_size}." if backbone.image_size else ""
            raise OptionError(
                f"image_size (--image-size) must be an int or (height, width) from {smallest} to {MAX_IMAGE_SIZE} for "
                f"{name}, got {self.image_size!r}.{default}"
            )
        size = (int(sides[0]), int(sides[1]))
        if backbone.fixed_image_size not in (None, size):
            raise OptionError(
                f"image_size (--image-size) must be {backbone.fixed_image_size} for {name}, got {self.image_size!r}. "
                "Omit it."
            )
        return size

    @functools.cached_property
    def _window(self) -> str:
        """Lowest and highest value of pixels with more than 8 bits, as the recipe records them."""
        return format_window(self.bit_depth, self.window)

    @functools.cached_property
    def _bands(self) -> str:
        """Bands of TIFF files that are red, green and blue, as the recipe records them."""
        return format_bands(self.bands)

    @functools.cached_property
    def _layers(self) -> tuple[LayerInfo, ...]:
        """Selected layers; none for the default of the backbone."""
        if self.layer is None:
            return ()
        names = parse_layers(self.layer)
        if names == (self._backbone.layer,):
            return ()
        # The layers of a model file may depend on the image size.
        layers = self._backbone.layers(self._image_size if self._backbone.is_model_file else None)
        if not layers:
            raise OptionError(
                f"layer (--layer) must be None for backbone {self.backbone!r}, which is plain Python and has a single "
                f"output, got {self.layer!r}."
            )
        selected = find_layers(self.backbone, layers, names)
        return () if [layer.name for layer in selected] == [self._backbone.layer] else selected

    @functools.cached_property
    def _pooling(self) -> str:
        """Pooling as the recipe records it."""
        return self._backbone.resolve_pooling(self.pooling, self._layers)

    @functools.cached_property
    def _resize(self) -> str:
        """Resize as the recipe records it."""
        if self.resize != "native":
            return parse_resize(self.resize).text
        if not self._backbone.resize:
            raise OptionError(
                f"resize (--resize) must be set for {self.backbone!r}, whose own is not available. Pass 'pad bicubic', "
                "'crop 1 bicubic' or 'squash 1 bicubic'."
            )
        return self._backbone.resize

    @property
    def layer_name(self) -> str:
        """Name of the layer that features are extracted from; names of several layers are joined by ``+``."""
        return LAYER_SEPARATOR.join(layer.name for layer in self._layers) or self._backbone.layer

    @functools.cached_property
    def n_features(self) -> int:
        """Number of features of an image."""
        backbone, layers, size = self._backbone, self._layers, self._image_size
        default = backbone.fixed_image_size or (backbone.image_size, backbone.image_size)
        if backbone.is_model_file or (self._pooling == "none" and size != default):
            # Without pooling, the number of features depends on the image size.
            sized = backbone.layers(None if size == default else size)
            names = [layer.name for layer in layers] or [backbone.layer]
            layers = find_layers(self.backbone, sized, names) if sized else ()
        if not layers:
            return backbone.n_features(self._pooling)
        return sum(layer.n_features(self._pooling) for layer in layers)

    @property
    def weights_license(self) -> str:
        """License of the weights of the backbone, as far as it is known."""
        return str(getattr(self._backbone, "license", "")) if self.weights == "imagenet" else ""

    def resolve(self, *, weights_digest: str | None = None) -> Resolved:
        """Return what to run. Weights that are not on this machine are downloaded.

        Parameters
        ----------
        weights_digest : str or None, default=None
            Digest of weights that are not needed here. None: they are looked up.

        Raises
        ------
        WeightsError, EngineError, MissingDependencyError
        """
        backbone = self._backbone
        device = self._resolve_device()
        engine = resolve_engine(self.engine, backbone, device)
        weights = self.find_weights() if weights_digest is None else Weights(weights_digest, None)
        has_random_weights = weights_digest is None and weights.path is None
        self._warn(has_random_weights=has_random_weights and isinstance(backbone, KerasBackbone))
        recipe = Recipe(
            backbone=backbone.recipe_name,
            weights=weights.digest,
            image_size=self._image_size,
            layer=self.layer_name,
            pooling=self._pooling,
            resize=self._resize,
            precision=resolve_precision(self.precision, engine, device),
            preprocessing=self._preprocessing,
            tta=self.tta or "",
            calibration=CALIBRATION if self.precision == "int8" else "",
            window=self._window,
            bands=self._bands,
        )
        return Resolved(
            backbone,
            recipe,
            engine,
            weights.path,
            self.n_features,
            batch_size=device_batch_size(self.batch_size, self._image_size, device),
            device=device,
            max_pixels=int(self.max_pixels),
            pad_truncated=self.on_truncated == "pad",
            license=self.weights_license,
        )

    def _resolve_device(self) -> str:
        if not isinstance(self._backbone, DirectBackbone):
            return resolve_device(self.device, self.engine, self.precision)
        if self.device not in ("auto", "cpu"):
            raise OptionError(
                f"device (--device) must be 'auto' or 'cpu' for backbone {self.backbone!r}, which is plain Python, got "
                f"{self.device!r}. Remove the option."
            )
        return "cpu"

    def find_weights(self) -> Weights:
        """Return the weights on this machine. Missing ones are downloaded.

        Raises
        ------
        WeightsError
        """
        return self._backbone.find_weights("none" if self.weights is None else os.fspath(self.weights))

    def _warn(self, *, has_random_weights: bool) -> None:
        backbone = self._backbone
        if isinstance(backbone, NetworkFile):
            preprocessing.warn_extreme_pixels(preprocessing.Preprocessing.from_text(self._preprocessing), self.backbone)
            others = backbone.description.other_outputs
            if self.layer is None and others:
                warn_once(
                    f"{display_name(self.backbone)} has {1 + len(others)} outputs; features are extracted from the "
                    f"first, {backbone.layer!r}. For another output, pass layer (--layer): {format_list(others)}."
                )
        if self.n_features > _MANY_FEATURES:
            warn_once(
                f"Each image has {self.n_features:,} features ({4 * self.n_features / 1e6:.1f} MB), because "
                f"pooling={self.pooling!r} keeps every position of layer {self.layer_name!r}. Use pooling='avg' or "
                "'max', a deeper layer, or a smaller image_size."
            )
        if has_random_weights:
            warn_once(
                f"The weights of {self.backbone!r} are random; use them only as a control. For useful features pass "
                "weights='imagenet'."
            )


@dataclasses.dataclass(frozen=True)
class Resolved:
    """An extraction with every choice made: nothing is ``"auto"`` any more.

    Attributes
    ----------
    backbone : Backbone
    recipe : Recipe
    engine : {"openvino", "keras", "onnxruntime", "direct"}
    weights_path : Path or None
        None for random weights, and for backbones without weights.
    n_features : int
    batch_size : int
    device : str
        Device that runs the network, such as "cpu" or "cuda:1".
    max_pixels : int
    pad_truncated : bool
    archived : ArchivedGraph or None
        Graph of the network in a model file.
    options : ExtractionOptions or None
        Options that were resolved, to find the weights if the graph proves corrupt.
    license : str
        License of the weights, as far as it is known.
    """

    backbone: Backbone
    recipe: Recipe
    engine: str
    weights_path: Path | None
    n_features: int
    batch_size: int
    device: str = "cpu"
    max_pixels: int = MAX_PIXELS
    pad_truncated: bool = False
    archived: ArchivedGraph | None = None
    options: ExtractionOptions | None = None
    license: str = ""

    def check_not_forked(self) -> None:
        """Raise EngineError if this process was forked from one that has run a network."""
        check_not_forked(self.backbone)

    def start(self, compiled: Path | None, **options: Any) -> Engine:
        """Return the running engine. `compiled` is the folder of compiled graphs; None: compile without caching.

        `options` are those of :func:`featx.extraction.engines.engine.start_engine`.
        """
        start = functools.partial(start_engine, self.backbone, self.recipe, engine=self.engine, compiled=compiled)
        start = functools.partial(start, device=self.device, batch_size=self.batch_size, **options)
        if self.archived is not None and self.options is not None:
            try:
                return start(weights_path=None, archived=self.archived)
            except UnusableGraphError as error:
                return self.without_graph(error).start(compiled, **options)
        return start(weights_path=self.weights_path)

    def with_weights(self) -> Resolved:
        """Return the same with the network and its weights instead of the graph in a model file.

        Raises
        ------
        RecipeMismatchError
            The network or the weights on this machine are others.
        WeightsError, UnknownBackboneError, MissingDependencyError
            The network or its weights cannot be found. They are not downloaded from an address in a model file.
        """
        if self.archived is None or self.options is None:
            return self
        check_local_weights(self.options.weights, self.archived.path)
        with refusing_downloads(self.archived.path), using_description(""):
            resolved = dataclasses.replace(self.options).resolve()
        if differences := recipe_differences(self.recipe.as_dict(), resolved.recipe.as_dict()):
            raise RecipeMismatchError(self.options.backbone, differences)
        return resolved

    def without_graph(self, problem: UnusableGraphError) -> Resolved:
        """Return the same with the weights, after a problem of the graph in a model file.

        Raises
        ------
        ModelFileError
            The network or its weights are not on this machine, either.

        Warns
        -----
        StoreWarning
            The network is converted again.
        """
        try:
            resolved = self.with_weights()
            if isinstance(resolved.backbone, NetworkFile):
                resolved.backbone.source.on_disk()  # one in the model file itself may be gone with it
        except FeatxError as error:
            raise ModelFileError(
                f"{problem}. Restore the file from a copy; the network cannot be converted again: {error}"
            ) from error
        warnings.warn(f"{problem}. The network is converted again from its weights.", StoreWarning, stacklevel=3)
        return resolved

    @property
    def engine_and_device(self) -> str:
        """Name of the engine, with the device if it is not the CPU."""
        return self.engine if self.device == "cpu" else f"{self.engine} on {self.device}"


def check_on_error(on_error: str) -> None:
    """Raise an :class:`OptionError` if `on_error` is neither "skip" nor "raise"."""
    check_choice("on_error", on_error, ("skip", "raise"))


def warn_once(message: str) -> None:
    """Issue a FeatxWarning that Python shows once for each message."""
    # From one place, so that Python shows the warning once for fit and transform.
    warnings.warn(message, FeatxWarning, stacklevel=1)


#: Words for a mode of caching, which are no names of folders.
_CACHE_MODES = ("read", "read-only", "readonly", "write", "read-write", "readwrite", "none", "no", "off", "false")


def resolve_cache(cache: str | os.PathLike[str] | None) -> Path | None:
    """Return the path of the cache folder. "auto": ``FEATX_CACHE`` if set, else ``cache``. None: no caching."""
    if cache is None:
        return None
    if not isinstance(cache, str | os.PathLike) or not os.fspath(cache):
        raise OptionError(f"cache (--cache) must be a path, 'auto' or None, got {cache!r}.")
    given = os.environ.get("FEATX_CACHE") if cache == "auto" else None
    folder = given or ("cache" if cache == "auto" else cache)
    if isinstance(folder, str) and folder.lower() in _CACHE_MODES:
        name = "FEATX_CACHE must be a path" if given else "cache (--cache) must be a path, 'auto' or None"
        raise OptionError(
            f"{name}, got {folder!r}. Predicting only reads the cache, unless write_cache=True (--write-cache) is "
            f"passed. For no caching, pass cache=None (--no-cache); for a folder of this name, {f'./{folder}'!r}."
        )
    return Path(folder).expanduser()
