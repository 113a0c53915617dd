"""Images that could not be read, and what is left without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
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


class Failures:
    """Images that could not be read, looked up each time they are walked through: none of them is held.

    Parameters
    ----------
    count : callable
        Returns how many there are.
    walk : callable
        Returns an iterator over them, in order.

    Examples
    --------
    >>> failures = Failures(lambda: 1, lambda: iter([Failure(4, "a.jpg", "it is empty")]))
    >>> len(failures), [one.image for one in failures], [one.position for one in failures]
    (1, ['a.jpg'], [4])
    """

    def __init__(self, count: Callable[[], int], walk: Callable[[], Iterator[Failure]]) -> None:
        self._count = count
        self._walk = walk

    def __len__(self) -> int:
        return self._count()

    def __iter__(self) -> Iterator[Failure]:
        return self._walk()

    def __repr__(self) -> str:
        return f"<{len(self):,} images that could not be read>"


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
        raise all_unreadable_error(n_images, failures[0])
    return np.flatnonzero(kept)


def all_unreadable_error(n_images: int, first: Failure) -> SourceError:
    """Return the error that says that not one of the images can be read."""
    return SourceError(
        f"None of the {n_images} images can be read; the first is {first.image!r}: {first.reason}. "
        "Look at the files with an image viewer, or point at another folder."
    )
