"""What a user may set about extraction, checked; and the recipe that follows from it."""

from __future__ import annotations

import dataclasses
import numbers
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones import preprocessing
from featx.backbones import registry as backbones
from featx.backbones.files import network_file as own
from featx.backbones.files.model_cache import display_name
from featx.backbones.layers import POOLINGS, Layer, LayerInfo, find_layers, parse_layers
from featx.errors import FeatxWarning, OptionError, did_you_mean
from featx.extraction.engines import engine as engines
from featx.images.decode import MAX_PIXELS
from featx.images.tta import check_tta
from featx.recipe import JOINT, Recipe
from featx.system.formatting import format_list

RESIZES = ("squash", "crop", "pad")
ON_TRUNCATED = ("raise", "pad")
#: Options that concern one machine only.
_MACHINE_OPTIONS = ("engine", "batch_size")
#: Largest side that is accepted, in pixels; a typo beyond it would ask for more memory than there is.
LARGEST_SIZE = 4096
#: Features in a row from which a user is warned: scikit-learn becomes slow, and a million images take 400 GB.
_MANY_FEATURES = 100_000


@dataclasses.dataclass(frozen=True)
class ExtractionOptions:
    """How to extract, in the user's words; see :class:`featx.FeatureExtractor` for each.

    Raises
    ------
    OptionError
        A value that cannot be used: which, what was expected, and the nearest name.
    """

    backbone: str = "mobilenet"
    weights: str | os.PathLike[str] | None = "imagenet"
    image_size: int | tuple[int, int] | None = None
    layer: Layer | Sequence[Layer] | None = None
    pooling: str = "avg"
    resize: str = "squash"
    precision: str = "auto"
    engine: str = "auto"
    batch_size: int = 32
    max_pixels: int = MAX_PIXELS
    on_truncated: str = "raise"
    preprocessing: str | Sequence[Any] | None = None
    tta: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, str):
            object.__setattr__(self, "backbone", own.as_backbone_name(self.backbone))
        backbone = backbones.load_backbone(self.backbone)
        _check_choice("pooling", self.pooling, POOLINGS)
        _check_choice("resize", self.resize, RESIZES)
        _check_choice("precision", self.precision, engines.PRECISIONS)
        _check_choice("engine", self.engine, engines.ENGINES)
        if not _is_whole(self.batch_size) or self.batch_size < 1:
            raise OptionError(f"batch_size={self.batch_size!r}: expected a whole number of images, 1 or more.")
        if not _is_whole(self.max_pixels) or self.max_pixels < 1:
            raise OptionError(f"max_pixels={self.max_pixels!r}: expected a whole number of pixels, 1 or more.")
        _check_choice("on_truncated", self.on_truncated, ON_TRUNCATED)
        if self.weights is not None and not isinstance(self.weights, str | os.PathLike):
            raise OptionError(
                f"weights={self.weights!r}: expected 'imagenet', None for random ones, the path of a weights file, or "
                "its address with its SHA-256."
            )
        self._checked_preprocessing(backbone)
        size = self._checked_size(backbone)
        if self.tta is not None:
            check_tta(self.tta, size)
        self._taken()

    def _checked_preprocessing(self, backbone: backbones.Backbone) -> str:
        if backbone.is_model_file and self.preprocessing is None:
            raise preprocessing.missing_preprocessing_error(self.backbone)
        if self.preprocessing is None:
            return ""
        if not backbone.is_model_file:
            raise OptionError(
                f"preprocessing={self.preprocessing!r}: {self.backbone!r} knows how it wants its pixels. Leave it out."
            )
        steps = preprocessing.parse_preprocessing(self.preprocessing)
        if isinstance(backbone, own.NetworkFile):
            preprocessing.check_integer_input(steps, self.backbone, backbone.input_dtype)
        return steps.text

    def _checked_size(self, backbone: backbones.Backbone) -> tuple[int, int]:
        given = (backbone.fixed_image_size or backbone.image_size) if self.image_size is None else self.image_size
        if given is None:
            raise OptionError(
                f"{display_name(self.backbone)} takes images of any size. Say which: image_size=224 (--image-size 224)."
            )
        sides = tuple(given) if isinstance(given, tuple | list) else (given, given)
        least = backbone.min_image_size
        if len(sides) != 2 or not all(_is_whole(side) and least <= side <= LARGEST_SIZE for side in sides):
            default = f" Leave it out for the default, {backbone.image_size}." if backbone.image_size else ""
            raise OptionError(
                f"image_size={self.image_size!r}: expected a whole number of pixels or (height, width), each from "
                f"{least} to {LARGEST_SIZE} for {display_name(self.backbone)}.{default}"
            )
        size = (int(sides[0]), int(sides[1]))
        if backbone.fixed_image_size not in (None, size):
            height, width = backbone.fixed_image_size or size
            raise OptionError(
                f"image_size={self.image_size!r}: {display_name(self.backbone)} takes images of {height} × {width} "
                "pixels only. Leave it out."
            )
        return size

    def _taken(self) -> tuple[LayerInfo, ...]:
        """Return the layers that were asked for; none for the default of the backbone."""
        backbone = backbones.load_backbone(self.backbone)
        if self.layer is None:
            return ()
        wanted = parse_layers(self.layer)
        if wanted == (backbone.layer,):
            return ()
        # What those of one's own consist of may depend on the size, and so may whether they take it.
        layers = backbone.layers(self._checked_size(backbone) if backbone.is_model_file else None)
        if not layers:
            raise OptionError(
                f"layer={self.layer!r} of {self.backbone!r} cannot be used: it is plain Python and has the one output "
                f"{backbone.layer!r}. Leave layer out."
            )
        found = find_layers(self.backbone, layers, wanted)
        return () if [one.name for one in found] == [backbone.layer] else found

    def _warn_of_own(self, backbone: own.NetworkFile) -> None:
        """Warn of what a network in a file may be taken for, and is not."""
        preprocessing.warn_extreme_pixels(preprocessing.parse_preprocessing(self.preprocessing), self.backbone)
        if self.layer is None and backbone.other_outputs:
            warnings.warn(
                f"{display_name(self.backbone)} has {1 + len(backbone.other_outputs)} outputs, and features are of the "
                f"first, {backbone.layer!r}. For another, pass it as layer (--layer): "
                f"{format_list(backbone.other_outputs)}.",
                FeatxWarning,
                stacklevel=1,  # from one place, so that Python shows it once for fit and transform
            )

    @property
    def layer_name(self) -> str:
        """Name of the layer that features are taken from; names joined by ``+`` if there are several."""
        taken = self._taken()
        return JOINT.join(layer.name for layer in taken) or backbones.load_backbone(self.backbone).layer

    @property
    def n_features(self) -> int:
        """Length of a row."""
        backbone = backbones.load_backbone(self.backbone)
        taken, size = self._taken(), self._checked_size(backbone)
        default = backbone.fixed_image_size or (backbone.image_size, backbone.image_size)
        if backbone.is_model_file or (self.pooling == "none" and size != default):
            # Positions become features, and how many there are depends on the size.
            layers = backbone.layers(None if size == default else size)
            taken = (
                find_layers(self.backbone, layers, [layer.name for layer in taken] or [backbone.layer])
                if layers
                else ()
            )
        if not taken:
            return backbone.n_features(self.pooling)
        return sum(layer.n_features(self.pooling) for layer in taken)

    def resolve(self) -> Resolved:
        """Return what will run, fetching weights if they are not on this machine.

        Raises
        ------
        WeightsNotFoundError, EngineError, MissingDependencyError
        """
        backbone = backbones.load_backbone(self.backbone)
        engine = engines.resolve_engine(self.engine, backbone)
        n_features = self.n_features
        if isinstance(backbone, own.NetworkFile):
            self._warn_of_own(backbone)
        if n_features > _MANY_FEATURES:
            warnings.warn(
                f"A row has {n_features:,} features ({4 * n_features / 1e6:.1f} MB an image), as "
                f"pooling={self.pooling!r} keeps every position of {self.layer_name!r}. Pool them (avg, max), take a "
                "deeper layer, or a smaller image_size.",
                FeatxWarning,
                stacklevel=1,  # from one place, so that Python shows it once for fit and transform
            )
        weights = backbone.find_weights("none" if self.weights is None else os.fspath(self.weights))
        if weights.path is None and isinstance(backbone, backbones.KerasBackbone):
            warnings.warn(
                f"The weights of {self.backbone!r} are random: a control that shows what training adds, and no more. "
                "For real features pass weights='imagenet'.",
                FeatxWarning,
                stacklevel=1,  # from one place, as above
            )
        recipe = Recipe(
            backbone=backbone.recipe_name,
            weights=weights.digest,
            image_size=self._checked_size(backbone),
            layer=self.layer_name,
            pooling=backbone.resolve_pooling(self.pooling),
            resize=self.resize,
            precision=engines.resolve_precision(self.precision, engine),
            preprocessing=self._checked_preprocessing(backbone),
            tta=self.tta or "",
        )
        return Resolved(
            backbone,
            recipe,
            engine,
            weights.path,
            n_features,
            batch_size=int(self.batch_size),
            max_pixels=int(self.max_pixels),
            pad_truncated=self.on_truncated == "pad",
        )


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Options with every choice made: nothing is ``"auto"`` any more.

    Attributes
    ----------
    backbone : Backbone
    recipe : Recipe
    engine : {"openvino", "keras", "direct"}
    weights_path : Path or None
    n_features : int
    batch_size : int
    max_pixels : int
    pad_truncated : bool
    """

    backbone: backbones.Backbone
    recipe: Recipe
    engine: str
    weights_path: Path | None
    n_features: int
    batch_size: int
    max_pixels: int = MAX_PIXELS
    pad_truncated: bool = False

    def check_not_forked(self) -> None:
        """Raise :class:`EngineError` if this process was forked from one that has run a network."""
        engines.check_not_forked(self.backbone)

    def start(self, compiled: Path | None) -> engines.Engine:
        """Return the running engine; `compiled` is the folder for compiled graphs."""
        return engines.start_engine(self.backbone, self.recipe, self.weights_path, self.engine, compiled)


def _check_choice(option: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        hint = did_you_mean(str(value), choices)
        listed = ", ".join(map(repr, choices))
        raise OptionError(f"{option}={value!r}: expected one of {listed}.{hint}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def resolve_cache(cache: str | os.PathLike[str] | None) -> Path | None:
    """Return the cache folder: ``"auto"`` is the variable ``FEATX_CACHE``, else ``cache``; None is none."""
    if cache is None:
        return None
    if not isinstance(cache, str | os.PathLike) or not os.fspath(cache):
        raise OptionError(f"cache={cache!r}: expected a folder, 'auto' or None.")
    folder = os.environ.get("FEATX_CACHE") or "cache" if cache == "auto" else cache
    return Path(folder).expanduser()


def portable_options(options: Any) -> dict[str, Any]:
    """Return options that are not at their default, in JSON types, without those that concern one machine only.

    Parameters
    ----------
    options : ExtractionOptions or FeatureExtractor
    """
    portable: dict[str, Any] = {}
    for field in dataclasses.fields(ExtractionOptions):
        value = getattr(options, field.name)
        if field.name in _MACHINE_OPTIONS or value is field.default:
            continue
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if value != field.default:
            portable[field.name] = list(value) if isinstance(value, tuple) else value
    return portable
