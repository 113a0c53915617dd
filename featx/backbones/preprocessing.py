"""Preprocessing of a custom model file: the scaling of pixels that its network expects."""

from __future__ import annotations

import dataclasses
import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones.files.display_name import display_name
from featx.errors import FeatxWarning, OptionError
from featx.system.array_types import Float64Array

#: Mean, scale and channel order by name, as in ``keras.applications.imagenet_utils.preprocess_input``.
_NAMED = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), False),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
    "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True),
}
PREPROCESSING_NAMES = tuple(_NAMED)
#: Largest plausible absolute value of a preprocessed pixel: "caffe" reaches 152 and "none" 255.
_MAX_PLAUSIBLE = 300
_EXPECTED = (
    "'tf' (-1 to 1), 'torch' (timm, torchvision, Hugging Face), 'caffe', 'none' (0 to 255, for a network that scales "
    "pixels itself), or (mean, scale), each a number or three numbers, for (pixel - mean) / scale of pixels from 0 to "
    "255"
)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Scaling of pixels from 0 to 255: (pixel - mean) / scale.

    Attributes
    ----------
    mean, scale : tuple of float
        One value for each channel, in the channel order of the network.
    is_bgr : bool
        Whether the channel order of the network is blue, green, red.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    is_bgr: bool = False

    @property
    def text(self) -> str:
        """The scaling as text, as a recipe records it; equal scalings have equal texts."""
        mean, scale = (",".join(map(repr, values)) for values in (self.mean, self.scale))
        return f"{mean}/{scale}{' bgr' if self.is_bgr else ''}"

    @classmethod
    def from_text(cls, text: str) -> Preprocessing:
        """Return the scaling that a text describes; ValueError if it describes none."""
        values, _, order = text.partition(" ")
        mean, scale = (tuple(map(float, part.split(","))) for part in values.split("/"))
        if order not in ("", "bgr"):
            raise ValueError(f"a channel order {order!r}")
        return cls(mean, scale, order == "bgr")

    def value_table(self) -> Float64Array:
        """Return the preprocessed values of the pixel values 0 to 255: an array of shape (256, 3)."""
        table: Float64Array = np.arange(256)[:, None] - np.array(self.mean)
        table /= np.array(self.scale)
        return table


def is_preprocessing(text: str) -> bool:
    """Return whether a text is a scaling of pixels as a recipe records it.

    Examples
    --------
    >>> is_preprocessing("127.5,127.5,127.5/127.5,127.5,127.5"), is_preprocessing("0,0,0/0,1,nan")
    (True, False)
    """
    try:
        preprocessing = Preprocessing.from_text(text)
    except ValueError:
        return False
    mean, scale = preprocessing.mean, preprocessing.scale
    return len(mean) == len(scale) == 3 and all(map(math.isfinite, (*mean, *scale))) and all(scale)


def parse_preprocessing(value: Any) -> Preprocessing:
    """Return the scaling that an option specifies.

    Parameters
    ----------
    value : str or tuple of (mean, scale)
        Name of a scaling; two numbers, or two sequences of three numbers; or these as text, ``"127.5/127.5"``.

    Raises
    ------
    OptionError
        If the value specifies no scaling.

    Examples
    --------
    >>> parse_preprocessing("tf").text
    '127.5,127.5,127.5/127.5,127.5,127.5'
    >>> parse_preprocessing((0, 255)) == parse_preprocessing("0/255")
    True
    """
    if isinstance(value, str) and value in _NAMED:
        return Preprocessing(*_NAMED[value])
    parts = value.split("/") if isinstance(value, str) else value
    if isinstance(parts, Sequence) and len(parts) == 2:
        mean, scale = map(_parse_channels, parts)
        if mean and scale and all(scale):
            return Preprocessing(mean, scale)
    raise OptionError(f"preprocessing (--preprocessing) must be {_EXPECTED}, got {value!r}.")


def format_preprocessing(text: str) -> str:
    """Return the scaling that a recipe records as users write it.

    Examples
    --------
    >>> [format_preprocessing(parse_preprocessing(value).text) for value in ("torch", (0, 255))]
    ['torch', '0/255']
    """
    for name, fields in _NAMED.items():
        if Preprocessing(*fields).text == text:
            return name
    try:
        preprocessing = Preprocessing.from_text(text)
    except ValueError:  # in a corrupt file
        return text
    parts = [part[:1] if len(set(part)) == 1 else part for part in (preprocessing.mean, preprocessing.scale)]
    return "/".join(",".join(f"{value:g}" for value in part) for part in parts)


def crop_share(crop: int, resized: int) -> float:
    """Return the share of a resized image that a crop keeps, rounded so that its side follows.

    Examples
    --------
    >>> crop_share(224, 256), crop_share(224, 232), crop_share(48, 56)
    (0.875, 0.9655, 0.8571)
    """
    for digits in range(4, 7):
        share: float = math.floor(10**digits * crop / resized) / 10**digits
        if math.floor(crop / share) == resized:
            return share
    return crop / resized


def check_integer_input(preprocessing: Preprocessing, path: str, dtype: str) -> None:
    """Raise an error if a network with integer input cannot represent the preprocessed pixels.

    Parameters
    ----------
    preprocessing : Preprocessing
        Scaling of pixels.
    path : str
        Path of the network, for error messages.
    dtype : str
        Dtype of the input of the network as NumPy names it.

    Raises
    ------
    OptionError
        If preprocessed pixels are not integers or lie outside of the range of `dtype`.
    """
    if not dtype.startswith(("int", "uint")):
        return
    table, limits = preprocessing.value_table(), np.iinfo(dtype)
    if (table == table.round()).all() and table.min() >= limits.min and table.max() <= limits.max:
        return
    remedy = "'none' if the network scales pixels itself" if limits.max >= 255 else "(128, 1) for -128 to 127"
    raise OptionError(
        f"The input of network {display_name(path)} must be integers from {limits.min} to {limits.max} ({dtype}), got "
        f"preprocessed pixels from {table.min():g} to {table.max():g}. Set preprocessing (--preprocessing) to {remedy}."
    )


def warn_extreme_pixels(preprocessing: Preprocessing, path: str) -> None:
    """Warn about preprocessed pixels that are larger than networks usually expect."""
    table = preprocessing.value_table()
    if np.abs(table).max() > _MAX_PLAUSIBLE:
        warnings.warn(
            f"Network {display_name(path)} gets pixels from {table.min():,.6g} to {table.max():,.6g}, which is more "
            "than networks usually expect. Check preprocessing (--preprocessing): it is (pixel - mean) / scale for "
            "pixels from 0 to 255; multiply a mean and scale for pixels from 0 to 1 by 255.",
            FeatxWarning,
            stacklevel=1,  # one location, so that Python shows the warning once for fit and transform
        )


def missing_preprocessing_error(path: str) -> OptionError:
    """Return the error for a custom model file without preprocessing."""
    return OptionError(
        f"preprocessing (--preprocessing) must be set for the custom model file {display_name(path)}: {_EXPECTED}."
    )


def _parse_channels(part: Any) -> tuple[float, ...]:
    """Return one number for each channel; an empty tuple if the value is invalid."""
    try:
        values = [float(value) for value in part.split(",")] if isinstance(part, str) else part
    except ValueError:
        return ()
    values = values.tolist() if hasattr(values, "tolist") else values  # NumPy arrays and scalars
    if isinstance(values, numbers.Real):
        values = [values]
    if not isinstance(values, Sequence) or len(values) not in (1, 3):
        return ()
    if not all(isinstance(value, numbers.Real) and math.isfinite(value) for value in values):
        return ()
    return tuple(float(value) for value in values) * (3 // len(values))
