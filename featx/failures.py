"""Images that could not be read, and what is left without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import SourceError


@dataclasses.dataclass(frozen=True)
class Failure:
    """An image that could not be read.

    Attributes
    ----------
    position : int
        Where it stood among the images, from 0.
    image : str
        Its path, or the kind of object it was.
    reason : str
    error : str
        Name of the error's class.
    """

    position: int
    image: str
    reason: str
    error: str = "UnreadableImageError"


def readable_positions(n_images: int, failures: Sequence[Failure]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the positions that have a row, in order.

    Raises
    ------
    SourceError
        There is none.
    """
    kept = np.ones(n_images, dtype=bool)
    kept[[failure.position for failure in failures]] = False
    if not kept.any():
        raise none_readable(n_images, failures[0])
    return np.flatnonzero(kept)


def none_readable(n_images: int, first: Failure) -> SourceError:
    """Return the error that says that not one of the images can be read."""
    return SourceError(
        f"None of the {n_images} images can be read; the first is {first.image!r}: {first.reason}. "
        "Look at the files with an image viewer, or point at another folder."
    )
