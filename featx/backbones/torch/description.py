"""Description of a network of timm, torchvision or open_clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from featx.backbones.layers import LayerInfo, as_layers

#: Name of the layer before the pooling: the output of the network without its head.
FEATURES = "features"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """Configuration of a network and its weights in its library, read without building it.

    Attributes
    ----------
    name : str
        Name with the weights, as users write it.
    image_size : tuple of (int, int)
        Height and width of the input.
    resize : str
        How images are fitted to the input, as a recipe records it; "" if featx has no such resize.
    mean, std : tuple of float
        Normalization of pixels from 0 to 1.
    is_size_fixed : bool
        Whether the network accepts no other image size.
    license : str
        License of the weights as the hub writes it; "" if it is unknown.
    origin : str
        Address of the weights or of their project; "" if it is unknown.
    repository : str
        Repository of the Hugging Face Hub that holds the weights, or "".
    files : tuple of str
        Names of the file of weights in the repository; the first that exists is used.
    url : str
        Address of the weights outside of the hub, or "".
    """

    name: str
    image_size: tuple[int, int]
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_size_fixed: bool = False
    license: str = ""
    origin: str = ""
    repository: str = ""
    files: tuple[str, ...] = ()
    url: str = ""

    @property
    def preprocessing(self) -> str:
        """Scaling of pixels from 0 to 255 as a recipe records it."""
        mean, scale = (",".join(repr(round(255 * value, 6)) for value in values) for values in (self.mean, self.std))
        return f"{mean}/{scale}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchDescription:
    """A network at one image size.

    Attributes
    ----------
    configuration : Configuration
        Configuration in the library.
    layers : tuple of LayerInfo
        Outputs of blocks in their order, and the output of the network without its head.
    native_pooling : {"native", "avg", "cls"}
        Input of the network's own head: the mean of all positions, the class token, or something else ("native").
    n_parameters : int
        Number of parameters of the image network.
    """

    configuration: Configuration
    layers: tuple[LayerInfo, ...]
    native_pooling: str
    n_parameters: int

    def as_dict(self) -> dict[str, Any]:
        """Return the description as plain JSON types."""
        return {**dataclasses.asdict(self), "layers": [dataclasses.astuple(layer) for layer in self.layers]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> TorchDescription:
        """Return the description that a dictionary holds; ValueError, KeyError or TypeError if it holds none."""
        return cls(
            configuration=as_configuration(fields["configuration"]),
            layers=as_layers(fields["layers"]),
            native_pooling=fields["native_pooling"],
            n_parameters=fields["n_parameters"],
        )


def color(values: Sequence[float]) -> str:
    """Return a color of values from 0 to 1 in hexadecimal, rounded as by Python.

    Examples
    --------
    >>> color((0.5, 0.5, 0.5))
    '#808080'
    """
    return "#" + bytes(round(255 * value) for value in values).hex()


def as_configuration(fields: dict[str, Any]) -> Configuration:
    """Return a configuration from JSON types."""
    values: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in fields.items()}
    return Configuration(**values)
