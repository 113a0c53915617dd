"""What a user may set about extraction, checked; and the recipe that follows from it."""

from __future__ import annotations

import dataclasses
import numbers
import os
from pathlib import Path
from typing import Any

from featx import backbones, engines
from featx.errors import OptionError, did_you_mean
from featx.recipe import Recipe

POOLINGS = ("avg", "max")
RESIZES = ("squash", "crop", "pad")
#: Largest side that is accepted, in pixels; a typo beyond it would ask for more memory than there is.
LARGEST_SIZE = 4096


@dataclasses.dataclass(frozen=True)
class ExtractionOptions:
    """How to extract, in the user's words; see :class:`featx.FeatureExtractor` for each.

    Raises
    ------
    OptionError
        A value that cannot be used: which, what was expected, and the nearest name.
    """

    backbone: str = "mobilenet"
    weights: str | os.PathLike[str] = "imagenet"
    image_size: int | tuple[int, int] | None = None
    layer: str | None = None
    pooling: str = "avg"
    resize: str = "squash"
    precision: str = "auto"
    engine: str = "auto"
    batch_size: int = 32

    def __post_init__(self) -> None:
        backbone = backbones.load_backbone(self.backbone)
        _check_choice("pooling", self.pooling, POOLINGS)
        _check_choice("resize", self.resize, RESIZES)
        _check_choice("precision", self.precision, engines.PRECISIONS)
        _check_choice("engine", self.engine, engines.ENGINES)
        if not _is_whole(self.batch_size) or self.batch_size < 1:
            raise OptionError(f"batch_size={self.batch_size!r}: expected a whole number of images, 1 or more.")
        if not isinstance(self.weights, str | os.PathLike):
            raise OptionError(f"weights={self.weights!r}: expected 'imagenet' or the path of a weights file.")
        if self.layer not in (None, backbone.layer):
            raise OptionError(
                f"layer={self.layer!r} of {self.backbone!r} cannot be used: expected None or {backbone.layer!r}, "
                "the last convolutional output."
            )
        self._checked_size(backbone)

    def _checked_size(self, backbone: backbones.Backbone) -> tuple[int, int]:
        given = backbone.image_size if self.image_size is None else self.image_size
        sides = tuple(given) if isinstance(given, tuple | list) else (given, given)
        least = backbone.minimum_size
        if len(sides) != 2 or not all(_is_whole(side) and least <= side <= LARGEST_SIZE for side in sides):
            raise OptionError(
                f"image_size={self.image_size!r}: expected a whole number of pixels or (height, width), each from "
                f"{least} to {LARGEST_SIZE} for {self.backbone!r}. Leave it out for the default, {backbone.image_size}."
            )
        return (int(sides[0]), int(sides[1]))

    @property
    def n_features(self) -> int:
        """Length of a row."""
        return backbones.load_backbone(self.backbone).n_features(self.pooling)

    def resolve(self) -> Resolved:
        """Return what will run, fetching weights if they are not on this machine.

        Raises
        ------
        WeightsNotFoundError, EngineError, MissingDependencyError
        """
        backbone = backbones.load_backbone(self.backbone)
        engine = engines.resolve_engine(self.engine, backbone)
        weights = backbone.find_weights(os.fspath(self.weights))
        recipe = Recipe(
            backbone=self.backbone,
            weights=weights.digest,
            image_size=self._checked_size(backbone),
            layer=backbone.layer,
            pooling=self.pooling,
            resize=self.resize,
            precision=engines.resolve_precision(self.precision, engine),
        )
        return Resolved(backbone, recipe, engine, weights.path, self.n_features, int(self.batch_size))


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
    """

    backbone: backbones.Backbone
    recipe: Recipe
    engine: str
    weights_path: Path | None
    n_features: int
    batch_size: int

    def refuse_in_fork(self) -> None:
        """Raise :class:`EngineError` if this process was forked from one that has run a network."""
        engines.refuse_in_fork(self.backbone)

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
