"""How a network that is not featx's own wants its pixels."""

from __future__ import annotations

import dataclasses
import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones.files.model_cache import display_name
from featx.errors import FeatxWarning, OptionError

#: As ``keras.applications.imagenet_utils.preprocess_input`` calls them.
_KINDS = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), False),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
    "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True),
}
KINDS = tuple(_KINDS)
#: Prepared pixels beyond it are a mistake, as far as networks are known: those of "caffe" reach 152, of "none" 255.
_FARTHEST = 300
_ACCEPTED = (
    "'tf' (-1 to 1), 'torch' (timm, torchvision, Hugging Face), 'caffe', 'none' (0 to 255, for a network that prepares "
    "them itself), or (mean, scale), each a number or three: (pixel − mean) / scale, of pixels from 0 to 255"
)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to pixels from 0 to 255: (pixel − mean) / scale.

    Attributes
    ----------
    mean, scale : tuple of float, one for each channel
        In the order that the network takes them in.
    is_bgr : bool
        Whether it takes blue first.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    is_bgr: bool = False

    @property
    def text(self) -> str:
        """One string, the same for the same numbers: what the recipe records."""
        mean, scale = (",".join(map(repr, values)) for values in (self.mean, self.scale))
        return f"{mean}/{scale}{' bgr' if self.is_bgr else ''}"

    def prepared(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return what becomes of the values from 0 to 255, shape (256, 3)."""
        prepared: np.ndarray[Any, np.dtype[np.float64]] = np.arange(256)[:, None] - np.array(self.mean)
        prepared /= np.array(self.scale)
        return prepared

    @classmethod
    def from_text(cls, text: str) -> Preprocessing:
        """Return what `text` describes."""
        numbers_, _, order = text.partition(" ")
        mean, scale = (tuple(map(float, part.split(","))) for part in numbers_.split("/"))
        return cls(mean, scale, order == "bgr")


def parse_preprocessing(given: Any) -> Preprocessing:
    """Return what a user asked for.

    Parameters
    ----------
    given : str or (mean, scale)
        A name; two numbers or two sequences of three; or these as text, ``"127.5/127.5"``.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> parse_preprocessing("tf").text
    '127.5,127.5,127.5/127.5,127.5,127.5'
    >>> parse_preprocessing((0, 255)) == parse_preprocessing("0/255")
    True
    """
    if isinstance(given, str) and given in _KINDS:
        return Preprocessing(*_KINDS[given])
    parts = given.split("/") if isinstance(given, str) else given
    if isinstance(parts, Sequence) and len(parts) == 2:
        mean, scale = map(_three, parts)
        if mean and scale and all(scale):
            return Preprocessing(mean, scale)
    raise OptionError(f"preprocessing={given!r}: expected {_ACCEPTED}.")


def format_preprocessing(text: str) -> str:
    """Return what a recipe records of preprocessing as people write it.

    Examples
    --------
    >>> format_preprocessing(parse_preprocessing("torch").text), format_preprocessing(parse_preprocessing((0, 255)).text)
    ('torch', '0/255')
    """
    for name, kind in _KINDS.items():
        if Preprocessing(*kind).text == text:
            return name
    try:
        steps = Preprocessing.from_text(text)
    except ValueError:  # of a damaged file
        return text
    parts = [part[:1] if len(set(part)) == 1 else part for part in (steps.mean, steps.scale)]
    return "/".join(",".join(f"{value:g}" for value in part) for part in parts)


def check_integer_input(steps: Preprocessing, path: str, takes: str) -> None:
    """Raise if a network takes whole numbers, and prepared pixels are none or do not fit.

    Parameters
    ----------
    steps : Preprocessing
    path : str
        Of the network, for the message.
    takes : str
        Type of the numbers that it takes, as numpy calls it.

    Raises
    ------
    OptionError
    """
    if not takes.startswith(("int", "uint")):
        return
    prepared, limits = steps.prepared(), np.iinfo(takes)
    if (prepared == prepared.round()).all() and prepared.min() >= limits.min and prepared.max() <= limits.max:
        return
    remedy = "'none': it prepares them itself" if limits.max >= 255 else "(128, 1), for pixels from -128 to 127"
    raise OptionError(
        f"{display_name(path)} takes whole numbers from {limits.min} to {limits.max} ({takes}), and pixels "
        f"prepared so are "
        f"numbers from {prepared.min():g} to {prepared.max():g} that would be cut. Pass preprocessing "
        f"(--preprocessing) {remedy}."
    )


def warn_extreme_pixels(steps: Preprocessing, path: str) -> None:
    """Warn of prepared pixels that are as large as no network is known to want them."""
    prepared = steps.prepared()
    if np.abs(prepared).max() > _FARTHEST:
        warnings.warn(
            f"{display_name(path)} is shown pixels from {prepared.min():,.6g} to {prepared.max():,.6g}, larger "
            f"than networks "
            "want them. Is preprocessing right? It is (pixel − mean) / scale, of pixels from 0 to 255: scale divides, "
            "and mean and scale of pixels from 0 to 1 are to be multiplied by 255.",
            FeatxWarning,
            stacklevel=1,  # from one place, so that Python shows it once for fit and transform
        )


def missing_preprocessing_error(path: str) -> OptionError:
    """Return the error for a network of one's own without it."""
    return OptionError(
        f"How does {display_name(path)} want its pixels? Pass preprocessing (--preprocessing): {_ACCEPTED}."
    )


def _three(part: Any) -> tuple[float, ...]:
    """Return one number for each channel; nothing if that is not what is given."""
    try:
        values = [float(value) for value in part.split(",")] if isinstance(part, str) else part
    except ValueError:
        return ()
    values = values.tolist() if hasattr(values, "tolist") else values  # of numpy
    if isinstance(values, numbers.Real):
        values = [values]
    if not isinstance(values, Sequence) or len(values) not in (1, 3):
        return ()
    if not all(isinstance(value, numbers.Real) and math.isfinite(value) for value in values):
        return ()
    return tuple(float(value) for value in values) * (3 // len(values))
