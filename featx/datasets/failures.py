"""Images that could not be read, and the rows that remain."""

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
        Index of the image in the input.
    image : str
        Path of the image, or a description of the object.
    reason : str
        Reason why it is unreadable.
    error : str
        Name of the error class.
    """

    position: int
    image: str
    reason: str
    error: str = "UnreadableImageError"


class Failures:
    """Images that could not be read. They are read from their files in each iteration, and not kept in memory.

    Parameters
    ----------
    count : callable
        Function that returns the number of failures.
    iterate : callable
        Function that returns an iterator over the failures, in order.

    Examples
    --------
    >>> failures = Failures(lambda: 1, lambda: iter([Failure(4, "a.jpg", "the file is empty")]))
    >>> len(failures), [failure.image for failure in failures]
    (1, ['a.jpg'])
    """

    def __init__(self, count: Callable[[], int], iterate: Callable[[], Iterator[Failure]]) -> None:
        self._count = count
        self._iterate = iterate

    def __len__(self) -> int:
        return self._count()

    def __iter__(self) -> Iterator[Failure]:
        return self._iterate()

    def __repr__(self) -> str:
        return f"<Failures: {len(self):,} unreadable images>"


def readable_positions(n_images: int, failures: Sequence[Failure]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the indices of the readable images, in order.

    Raises
    ------
    SourceError
        No image is readable.
    """
    is_readable = np.ones(n_images, dtype=bool)
    is_readable[[failure.position for failure in failures]] = False
    if not is_readable.any():
        raise all_unreadable_error(n_images, failures[0])
    return np.flatnonzero(is_readable)


def all_unreadable_error(n_images: int, first: Failure) -> SourceError:
    """Return the error for a source without a readable image."""
    return SourceError(
        f"Cannot read any of the {n_images} images. The first is {first.image!r}: {first.reason}. Open the files in an "
        "image viewer, or choose another folder."
    )
