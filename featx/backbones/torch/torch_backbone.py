"""TorchBackbone: one network of timm, torchvision or open_clip as a backbone."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.backbones.base import NetworkBackbone, Weights
from featx.backbones.digests import sha256_of
from featx.backbones.hub.repository import find_file, known_license
from featx.backbones.layers import LayerInfo, find_layers
from featx.backbones.torch.describe import describe
from featx.backbones.torch.description import FEATURES, TorchDescription
from featx.backbones.torch.names import LIBRARIES, TorchName, parse_name
from featx.backbones.torch.weights import find_weights, has_local_weights
from featx.errors import OptionError
from featx.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class TorchBackbone(NetworkBackbone):
    """Network of timm, torchvision or open_clip without its head.

    Attributes
    ----------
    source : TorchName
        Library, architecture and weights.
    description : TorchDescription
        Description of the network at its default image size.
    config : Path or None
        Configuration of a model of the hub.
    """

    source: TorchName
    description: TorchDescription
    config: Path | None = None

    layer = FEATURES

    @classmethod
    def open(cls, name: str) -> TorchBackbone:
        """Return the network of a name; a child process builds it if it is new.

        Raises
        ------
        UnknownBackboneError
            If the library has no such network or weights.
        MissingDependencyError
            If the library is not installed.
        WeightsError
            If the configuration of a model of the hub cannot be read.
        """
        source = parse_name(name)
        config = _find_config(source, name) if source.repository else None
        return cls(source, describe(source, None, config), config)

    @property
    def name(self) -> str:  # type: ignore[override]  # read only
        """Name with the weights, also if the user left them to the library."""
        return self.description.configuration.name

    @property
    def image_size(self) -> int:  # type: ignore[override]  # read only
        """Default height and width of the input."""
        return self.description.configuration.image_size[0]

    @property
    def fixed_image_size(self) -> tuple[int, int] | None:
        """The only (height, width) that the backbone accepts; None if it accepts several."""
        configuration = self.description.configuration
        return configuration.image_size if configuration.is_size_fixed else None

    @property
    def resize(self) -> str:  # type: ignore[override]  # read only
        """How images are fitted to the input by default; "" if featx has no such resize."""
        return self.description.configuration.resize

    @property
    def preprocessing_text(self) -> str:  # type: ignore[override]  # read only
        """Scaling of pixels as a recipe records it."""
        return self.description.configuration.preprocessing

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return self.description.n_parameters

    @property
    def has_local_weights(self) -> bool:
        """Whether the weights that the name states are on this machine."""
        return has_local_weights(self.description.configuration, self.source.revision)

    @property
    def has_text(self) -> bool:
        """Whether the network has a text tower: those of open_clip have one."""
        return self.source.library == "open_clip"

    @property
    def license(self) -> str:
        """License of the weights as the hub writes it; "" if it is unknown."""
        configuration = self.description.configuration
        return configuration.license or known_license(configuration.repository)

    @property
    def origin_url(self) -> str:
        """Address of the weights or of their project."""
        return self.description.configuration.origin

    def n_features(self, pooling: str) -> int:
        """Return the number of features in a row of the default layer at the default image size."""
        return find_layers(self.name, self.layers(), [self.layer])[0].n_features(pooling)

    def resolve_pooling(self, pooling: str, layers: Sequence[LayerInfo] = ()) -> str:
        """Return the pooling that a recipe records.

        "native" becomes the pooling that the head of the network uses, if it has a name. Of other layers, it is the
        class token if the head uses that, and the mean otherwise.
        """
        is_default = not layers or [layer.name for layer in layers] == [self.layer]
        if pooling == "native":
            native = self.description.native_pooling
            return native if is_default or native == "cls" else "avg"
        selected = layers or find_layers(self.name, self.layers(), [self.layer])
        if pooling == "cls" and not all(layer.has_class_token for layer in selected):
            return super().resolve_pooling(pooling)  # raises OptionError
        return pooling

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the outputs of the blocks of the network in their order, and its output without the head.

        Parameters
        ----------
        image_size : tuple of (int, int) or None, default=None
            Height and width for which output shapes are returned. None: the default size.
        """
        if image_size in (None, self.description.configuration.image_size):
            return self.description.layers
        return describe(self.source, image_size, self.config).layers

    def find_weights(self, weights: str) -> Weights:
        """Return the requested weights, and download them if necessary.

        Parameters
        ----------
        weights : str
            ``"imagenet"`` for those that the name states; ``"none"`` for random weights; or the path of a checkpoint.

        Raises
        ------
        WeightsNotFoundError
            If the file does not exist or cannot be downloaded.
        WeightsError
            If the file is corrupt.
        """
        if weights == "none":
            packages = ("torch", self.source.library.replace("open_clip", "open_clip_torch"))
            versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
            return Weights(f"random, seed 0, {versions}", None)
        found = find_weights(weights, self.description.configuration, self.source)
        if self.config is None or weights != "imagenet":
            return found
        return Weights(f"{found.digest} {sha256_of(self.config)[:16]}", found.path)  # it decides the architecture

    def layers_to_compile(self, layers: Sequence[str]) -> list[str]:
        """Return the layers to compile together: all, so that one conversion serves all layers and poolings."""
        del layers
        return [layer.name for layer in self.description.layers]

    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to build the network, as plain JSON types."""
        return {"torch": {"name": dataclasses.asdict(self.source), "config": str(self.config) if self.config else None}}

    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Raise OptionError: Keras cannot run networks of torch."""
        raise OptionError(
            f"engine='keras' cannot run {self.name!r}: it is a network of {LIBRARIES[self.source.library][0]}. Pass "
            "engine='auto' (--engine auto)."
        )


def _find_config(source: TorchName, name: str) -> Path:
    return find_file(source.repository, ("config.json",), name, source.revision or None)
