"""NetworkFile: a network in a custom model file as a backbone."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.backbones.base import NetworkBackbone, Weights
from featx.backbones.files.archived_network import ArchivedNetwork, add_archived
from featx.backbones.files.describe import cache_description, describe_source, remember_description
from featx.backbones.files.description import NetworkDescription
from featx.backbones.files.display_name import display_name
from featx.backbones.files.model_cache import cache_model, cache_model_file
from featx.backbones.files.model_source import ModelSource, is_model_path
from featx.backbones.layers import LayerInfo, find_layers
from featx.errors import OptionError
from featx.recipe import Recipe

#: Name of every custom model file in a recipe. The digest of its weights identifies the network, wherever it lies.
MODEL_FILE = "model file"


@dataclasses.dataclass(frozen=True)
class NetworkFile(NetworkBackbone):
    """Network in a custom model file: Keras's formats, a SavedModel, ONNX or OpenVINO.

    Attributes
    ----------
    source : ModelSource
        File on disk.
    description : NetworkDescription
        Contents of the file at its default image size.
    """

    source: ModelSource
    description: NetworkDescription

    is_model_file = True

    @classmethod
    def open(cls, path: str) -> NetworkFile:
        """Return the network at a path; a child process reads the file if it is new.

        Raises
        ------
        UnknownBackboneError
            If the file cannot be read.
        WeightsError
            If the file is not a network that featx can use.
        MissingDependencyError
            If the package that reads the file is not installed.
        """
        source = ModelSource.open(path)
        return cls(source, describe_source(source, None))

    @property
    def name(self) -> str:  # type: ignore[override]  # read only
        """Name of the file without its suffix."""
        return Path(self.source.path).stem

    @property
    def recipe_name(self) -> str:
        """Name of the backbone in a recipe."""
        return MODEL_FILE

    @property
    def fixed_image_size(self) -> tuple[int, int] | None:
        """The only (height, width) that the backbone accepts; None if it accepts several."""
        return self.description.fixed_image_size

    @property
    def image_size(self) -> int | None:  # type: ignore[override]  # a file need not state a size
        """Height and width of the input if the file states one square size; otherwise None."""
        size = self.fixed_image_size
        return size[0] if size and size[0] == size[1] else None

    @property
    def layer(self) -> str:  # type: ignore[override]  # read only
        """Name of the layer whose output is the first output of the network."""
        return self.description.layer

    @property
    def preprocessing_text(self) -> str | None:  # type: ignore[override]  # read only
        """Scaling of pixels as a recipe records it; None: the user states it."""
        return None

    @property
    def n_bytes(self) -> int:
        """Size of all files of the network."""
        return sum(part.stat().st_size for part in self.source.parts())

    def n_features(self, pooling: str) -> int:
        """Return the number of features in a row of the default layer, at the size for which layers are listed."""
        return find_layers(self.name, self.layers(), [self.layer])[0].n_features(pooling)

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the layers at an image size.

        Parameters
        ----------
        image_size : tuple of (int, int) or None, default=None
            Height and width. None: the fixed size of the network, or the first common size that it accepts.

        Raises
        ------
        OptionError
            If the network does not accept the size, or no common size.
        """
        is_default = image_size in (None, self.fixed_image_size)
        description = self.description if is_default else describe_source(self.source, image_size)
        if not description.layers:
            raise OptionError(
                f"Network {display_name(self.source.path)} does not state its image size, and fails for the "
                "common ones. Set image_size (--image-size) to the size that it was trained with."
            )
        return description.layers

    def find_weights(self, weights: str) -> Weights:
        """Return the file itself, which holds the weights.

        Raises
        ------
        OptionError
            If other weights are requested.
        """
        if weights != "imagenet":
            raise OptionError(
                f"weights (--weights) cannot be set for {display_name(self.source.path)}, got {weights!r}: the file "
                "holds its weights. Remove the option."
            )
        return Weights(self.source.digest, Path(self.source.path))

    def layers_to_compile(self, layers: Sequence[str]) -> list[str]:
        """Return the layers to compile together: those of the recipe."""
        return list(layers)

    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to build the network, as plain JSON types."""
        return self.source.as_task()

    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Return the frozen network as a ``keras.Model`` from uint8 pixels to the features of a recipe.

        Raises
        ------
        OptionError
            If the file is not in a format of Keras.
        WeightsError
            If the file changed since it was opened.
        """
        from featx.backbones.files import keras_file

        if self.source.kind != "keras":
            has_openvino = importlib.util.find_spec("openvino") is not None
            install = "" if has_openvino else ", and install openvino: pip install openvino"
            raise OptionError(
                f"engine='keras' cannot run {self.source.path!r}: only OpenVINO runs files of this format "
                f"({self.source.kind}). Pass engine='auto' (--engine auto){install}."
            )
        self.source.check_unchanged()
        return keras_file.build_features(self.source.on_disk(), recipe)


def as_backbone_name(backbone: Any) -> str:
    """Return a backbone as a string: its name, its path, or the path of the cached file of a ``keras.Model`` object.

    Raises
    ------
    StoreError
        If the object cannot be cached.
    OptionError
        If `backbone` is something else.
    """
    if isinstance(backbone, str | os.PathLike):
        return os.fspath(backbone)
    if not (hasattr(backbone, "get_weights") and hasattr(backbone, "to_json")):
        raise OptionError(
            f"backbone must be a name, a path or a keras.Model, got {type(backbone).__name__}. Pass for example "
            "backbone='mobilenet', and other settings as options of their own."
        )
    return str(cache_model(backbone))


def cache_tuned_network(data: bytes, name: str, description: dict[str, Any] | None = None) -> Path:
    """Return the path of a cached ``.keras`` file with this content.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Name of the file without its suffix.
    description : dict or None, default=None
        Description of the network as plain JSON types, if it is known.

    Raises
    ------
    StoreError
        If the file cannot be cached.
    """
    path = cache_model_file(data, f"{name}.keras")
    if description is not None:
        cache_description(ModelSource.open(str(path)), NetworkDescription.from_dict(description))
    return path


def is_single_file(backbone: str) -> bool:
    """Return whether a backbone is a custom model file that is one portable file."""
    return is_model_path(backbone) and ModelSource.open(backbone).is_single_file


def read_model_file(backbone: str) -> tuple[str, bytes] | None:
    """Return the name and content of a custom model file that is one portable file; None for any other backbone."""
    return ModelSource.open(backbone).single_file() if is_model_path(backbone) else None


def describe_for_models(backbone: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return descriptions of a custom model file as plain JSON types, at its default size and at an image size."""
    source = ModelSource.open(backbone)
    sizes = {"": None, "x".join(map(str, image_size)): image_size}
    return {text: describe_source(source, size).as_dict() for text, size in sizes.items()}


def register_network(network: ArchivedNetwork) -> str:
    """Let this process use a network in a model file; return its path. It is only written when it must be read.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        A description is invalid.
    """
    add_archived(network)
    source = ModelSource.open(network.path)
    for text, fields in network.descriptions.items():
        height, _, width = text.partition("x")
        size = (int(height), int(width)) if text else None
        remember_description(source, size, NetworkDescription.from_dict(fields))
    return network.path
