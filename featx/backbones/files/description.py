"""Contents of a custom model file: image size, layers and outputs, listed at one image size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from featx.backbones.files.display_name import display_name
from featx.backbones.keras.graph import LayerRow
from featx.backbones.layers import LayerInfo, as_layers
from featx.errors import FeatxError, OptionError, WeightsError

#: Image sizes that networks are commonly built for, tried in this order if none is requested.
_COMMON_SIZES = (224, 256, 384, 512, 518, 299, 336, 448, 640, 1024)


@dataclasses.dataclass(frozen=True)
class NetworkDescription:
    """Contents of a custom model file at one image size.

    Attributes
    ----------
    fixed_image_size : tuple of (int, int) or None
        Only height and width that the network accepts; None if it accepts several.
    layer : str
        Name of the layer whose output is the first output of the network.
    layers : tuple of LayerInfo
        All layers, the first output last. Empty if the network accepts no common image size.
    input_dtype : str
        Dtype of the input as NumPy names it.
    other_outputs : tuple of str
        Names of the layers whose outputs are further outputs of the network.
    """

    fixed_image_size: tuple[int, int] | None
    layer: str
    layers: tuple[LayerInfo, ...]
    input_dtype: str = "float32"
    other_outputs: tuple[str, ...] = ()

    @classmethod
    def from_rows(
        cls,
        fixed_image_size: tuple[int, int] | None,
        layer: str,
        rows: Sequence[LayerRow],
        input_dtype: str,
        other_outputs: Sequence[str],
    ) -> NetworkDescription:
        """Return a description from layer rows."""
        return cls(fixed_image_size, layer, as_layers(rows), input_dtype, tuple(other_outputs))

    def as_dict(self) -> dict[str, Any]:
        """Return the description as plain JSON types."""
        return {**dataclasses.asdict(self), "layers": [dataclasses.astuple(layer) for layer in self.layers]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> NetworkDescription:
        """Return the description that a dictionary holds; ValueError, KeyError or TypeError if it holds none."""
        size = fields["fixed_image_size"]
        return cls.from_rows(
            (size[0], size[1]) if size else None,
            fields["layer"],
            fields["layers"],
            fields["input_dtype"],
            fields["other_outputs"],
        )


def rows_at_size(
    path: Path, size: tuple[int, int] | None, list_rows: Callable[[tuple[int, int]], list[LayerRow]]
) -> list[LayerRow]:
    """Return the layer rows of a network at an image size, or at the first common size that it accepts.

    Parameters
    ----------
    path : Path
        Path of the file, for error messages.
    size : tuple of (int, int) or None
        Height and width. None: the first common size.
    list_rows : callable
        Returns the layer rows at a size, or an empty list if the network does not accept the size.

    Raises
    ------
    OptionError
        If the network accepts a common size but not the requested one.
    WeightsError
        If the network accepts neither the requested size nor a common one.
    """
    if size is not None and (rows := list_rows(size)):
        return rows
    common = next(((side, rows) for side in _COMMON_SIZES if (rows := list_rows((side, side)))), None)
    if size is not None:
        raise _size_error(path, size, common[0] if common else None)
    return common[1] if common else []


def _size_error(path: Path, size: tuple[int, int], accepted: int | None) -> FeatxError:
    if accepted is None:
        return batch_size_error(path, size)
    return OptionError(
        f"Network {display_name(path)} does not accept images of {size[0]} × {size[1]} pixels, but accepts {accepted} "
        f"× {accepted}. Set image_size (--image-size) to another value."
    )


def batch_size_error(path: Path, size: tuple[int, int]) -> WeightsError:
    """Return the error for a network that does not accept a batch of images of a size."""
    return WeightsError(
        f"Network {display_name(path)} does not accept a batch of images of {size[0]} × {size[1]} pixels. Export it "
        "with a dynamic batch axis, or set image_size (--image-size) to the size that it was trained with."
    )
