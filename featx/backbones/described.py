"""Networks that a model file describes: their options are known without their library, and without their file."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from featx.backbones.base import NetworkBackbone, Weights
from featx.backbones.layers import NETWORK_POOLINGS, LayerInfo, as_layers, find_layers
from featx.backbones.preprocessing import is_preprocessing
from featx.errors import EngineError, OptionError
from featx.images.resize import parse_resize
from featx.recipe import Recipe

#: Largest height or width of an image, and number of outputs of a layer, that are plausible.
_MAX_SIDE, _MAX_VALUES = 2**16, 2**31


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescribedNetwork(NetworkBackbone):
    """Network that runs from the graph in a model file.

    Attributes
    ----------
    given_name : str
        Name or path by which the user selected the network.
    recorded_name : str
        Name in a recipe.
    only_size : tuple of (int, int) or None
        The only (height, width) that the backbone accepts; None if it accepts several.
    sized_layers : tuple of LayerInfo
        Layers at the image size of the model.
    default_layers : tuple of LayerInfo
        Layers at the default image size.
    compiled_layers : tuple of str
        Names of the layers that are outputs of the graph.
    native_pooling : {"native", "avg", "cls"}
        Input of the network's own head.
    size : tuple of (int, int)
        Height and width of the images of the model.
    license : str
        License of the weights, as far as it is known.
    """

    given_name: str
    name: str
    recorded_name: str
    size: tuple[int, int]
    image_size: int
    min_image_size: int
    only_size: tuple[int, int] | None
    layer: str
    resize: str
    preprocessing_text: str | None
    is_model_file: bool
    native_pooling: str
    default_layers: tuple[LayerInfo, ...]
    sized_layers: tuple[LayerInfo, ...]
    compiled_layers: tuple[str, ...]
    license: str = ""

    @classmethod
    def of(cls, backbone: NetworkBackbone, given_name: str, recipe: Recipe) -> DescribedNetwork:
        """Return what a model with a recipe needs to know of its network."""
        if isinstance(backbone, DescribedNetwork):
            return backbone
        sized = backbone.layers(recipe.image_size)
        return cls(
            given_name=given_name,
            name=backbone.name,
            recorded_name=backbone.recipe_name,
            size=recipe.image_size,
            image_size=backbone.image_size,
            min_image_size=backbone.min_image_size,
            only_size=backbone.fixed_image_size,
            layer=backbone.layer,
            resize=backbone.resize,
            preprocessing_text=backbone.preprocessing_text,
            is_model_file=backbone.is_model_file,
            native_pooling=backbone.resolve_pooling("native"),
            default_layers=sized if backbone.is_model_file else backbone.layers(),
            sized_layers=sized,
            compiled_layers=tuple(backbone.layers_to_compile(recipe.layers)),
            license=str(getattr(backbone, "license", "")),
        )

    @property
    def recipe_name(self) -> str:
        """Name of the network in a recipe."""
        return self.recorded_name

    @property
    def fixed_image_size(self) -> tuple[int, int] | None:
        """The only (height, width) that the backbone accepts; None if it accepts several."""
        return self.only_size

    def as_text(self) -> str:
        """Return the description as JSON."""
        rows = {name: [dataclasses.astuple(layer) for layer in getattr(self, name)] for name in _LAYERS}
        return json.dumps({**dataclasses.asdict(self), **rows})

    @classmethod
    def from_text(cls, text: str) -> DescribedNetwork:
        """Return the description in JSON; ValueError, KeyError, TypeError or AttributeError if it is invalid."""
        items = json.loads(text).items()
        fields: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in items}
        network = cls(**{**fields, **{name: as_layers(fields[name]) for name in _LAYERS}})
        network._check_types()
        network._check_values()
        return network

    def _check_types(self) -> None:
        layers = [*self.default_layers, *self.sized_layers]
        texts = [self.given_name, self.name, self.recorded_name, self.layer, self.resize, self.native_pooling]
        texts += [self.license, *self.compiled_layers, *(text for layer in layers for text in (layer.name, layer.kind))]
        texts += [] if self.preprocessing_text is None else [self.preprocessing_text]
        numbers = [self.min_image_size, *self.size, *(self.only_size or ())]
        numbers += [number for layer in layers for number in (*layer.shape, layer.n_native)]
        numbers += [] if self.image_size is None else [self.image_size]
        flags = [self.is_model_file, *(flag for layer in layers for flag in (layer.ends_block, layer.has_class_token))]
        if {*map(type, texts)} != {str} or {*map(type, numbers)} != {int} or {*map(type, flags)} != {bool}:
            raise TypeError("an attribute has another type")

    def _check_values(self) -> None:
        """Raise ValueError if no network has these values: the file is corrupt, or was crafted."""
        layers = [*self.default_layers, *self.sized_layers]
        sides = [self.min_image_size, *self.size, *([] if self.image_size is None else [self.image_size])]
        is_possible = {
            "size": (
                len(self.size) == 2
                and all(1 <= side <= _MAX_SIDE for side in sides)
                and min(self.size) >= self.min_image_size
                and self.only_size in (None, self.size)
            ),
            "shape of a layer": all(
                min(layer.shape, default=1) >= 1
                and math.prod(layer.shape) <= _MAX_VALUES
                and 0 <= layer.n_native <= _MAX_VALUES
                for layer in layers
            ),
            "layer": (
                self.layer in [layer.name for layer in self.default_layers]
                and all(len(layer.shape) in (1, 3) for layer in layers if layer.name == self.layer)
                and bool(self.compiled_layers)
                and {*self.compiled_layers} <= {layer.name for layer in self.sized_layers}
            ),
            "pooling": self.native_pooling in (*NETWORK_POOLINGS, "avg"),
            "resize": _is_resize(self.resize),
            "scaling of pixels": not self.preprocessing_text or is_preprocessing(self.preprocessing_text),
        }
        for name, is_so in is_possible.items():
            if not is_so:
                raise ValueError(f"the network has an impossible {name}")

    def n_features(self, pooling: str) -> int:
        """Return the number of features in a row of the default layer at the default image size."""
        return find_layers(self.name, self.layers(), [self.layer])[0].n_features(pooling)

    def resolve_pooling(self, pooling: str, layers: Sequence[LayerInfo] = ()) -> str:
        """Return the pooling that a recipe records, see :class:`featx.backbones.torch.torch_backbone.TorchBackbone`."""
        is_default = not layers or [layer.name for layer in layers] == [self.layer]
        if pooling == "native":
            return self.native_pooling if is_default or self.native_pooling == "cls" else "avg"
        selected = layers or find_layers(self.name, self.layers(), [self.layer])
        if pooling == "cls" and not all(layer.has_class_token for layer in selected):
            return super().resolve_pooling(pooling)  # raises OptionError
        return pooling

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the layers at the image size of the model, or at the default one."""
        return self.sized_layers if image_size == self.size else self.default_layers

    def layers_to_compile(self, layers: Sequence[str]) -> list[str]:
        """Return the layers that are outputs of the graph."""
        return list(self.compiled_layers if {*layers} <= {*self.compiled_layers} else layers)

    def find_weights(self, weights: str) -> Weights:
        """Raise EngineError: there are none."""
        raise self._not_here()

    def as_task(self) -> dict[str, Any]:
        """Raise EngineError: the network cannot be built."""
        raise self._not_here()

    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Raise EngineError: the network cannot be built."""
        raise self._not_here()

    def _not_here(self) -> EngineError:
        return EngineError(
            f"The compiled network of {self.name!r} was removed from the cache while it was read. Run it again."
        )


def _is_resize(text: str) -> bool:
    """Return whether a text is a resize as a recipe records it, or "": featx has no such resize."""
    try:
        return not text or parse_resize(text).text == text
    except OptionError:
        return False


_LAYERS = ("default_layers", "sized_layers")
_described: contextvars.ContextVar[str] = contextvars.ContextVar("featx_described_network", default="")
_read = functools.lru_cache(maxsize=16)(DescribedNetwork.from_text)


@contextlib.contextmanager
def using_description(text: str) -> Iterator[None]:
    """Let this thread find the network that a text describes by its name, in a block. "": none."""
    token = _described.set(text)
    try:
        yield
    finally:
        _described.reset(token)


def find_described(name: str) -> DescribedNetwork | None:
    """Return the network of a name or path if the description that is used is that of it."""
    text = _described.get()
    network = _read(text) if text else None
    return network if network is not None and network.given_name == name else None
