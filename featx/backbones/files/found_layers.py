"""At which size a network of the user's own that takes several is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from featx.backbones.files.model_cache import display_name
from featx.errors import FeatxError, OptionError, WeightsError

#: A layer: its name, its operation, the shape of its output, whether it ends a block.
Row = tuple[str, str, list[int], bool]


class Found(NamedTuple):
    """What is in a network's file, at one size.

    Attributes
    ----------
    fixed_image_size : (int, int) or None
        The only height and width that it takes, None if it takes several.
    layer : str
        Name of the layer whose output is the network's: the first, if it has several.
    layers : list of Row
        The last is the output.
    takes : str
        The type of number of its input, as numpy calls it.
    others : sequence of str
        Names of the layers whose outputs are the network's, too.
    """

    fixed_image_size: tuple[int, int] | None
    layer: str
    layers: list[Row]
    takes: str = "float32"
    others: Sequence[str] = ()


#: Sides, in pixels, that networks are usually made for: the first that one takes will do where none is asked for.
_USUAL = (224, 256, 384, 512, 518, 299, 336, 448, 640, 1024)


def rows_of_size(
    path: Path, size: tuple[int, int] | None, rows_at: Callable[[tuple[int, int]], list[Row]]
) -> list[Row]:
    """Return the layers of a network at a size; at any that it takes if none is asked for, or [] if none is found.

    Parameters
    ----------
    path : Path
        For the message.
    size : (int, int) or None
    rows_at : callable
        Gives the layers at a size, [] if the network does not take it.

    Raises
    ------
    OptionError
        It does not take images of this size, but does of another.
    WeightsError
        Nor of any that was tried.
    """
    if size is not None and (rows := rows_at(size)):
        return rows
    found = next(((side, rows) for side in _USUAL if (rows := rows_at((side, side)))), None)
    if size is not None:
        raise _not_taken(path, size, found[0] if found else None)
    return found[1] if found else []


def _not_taken(path: Path, size: tuple[int, int], other: int | None) -> FeatxError:
    if other:
        return OptionError(
            f"The network {display_name(path)} cannot take images of {size[0]} × {size[1]} pixels; it can of {other} × "
            f"{other}. Choose another image_size."
        )
    return cannot_take(path, size)


def cannot_take(path: Path, size: tuple[int, int]) -> WeightsError:
    """Return the error for a network that takes another number of images, or other sizes."""
    return WeightsError(
        f"The network {display_name(path)} cannot take several images of {size[0]} × {size[1]} pixels at once. "
        f"Export it with "
        "a dynamic batch axis (and sizes), or pass the image_size that it was made for."
    )
