"""Images that could not be read, and the rows that remain."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from featx.errors import SourceError
from featx.system.files.remote import is_url
from featx.system.formatting import format_count, shorten
from featx.system.notebook.cards import Record, card_to_html
from featx.system.notebook.html import table_to_html

#: Number of images that notebooks show.
_MAX_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Failure(Record):
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

    See Also
    --------
    Failures : All unreadable images of a call.
    check_images : List unreadable images before anything else.

    Examples
    --------
    >>> from featx import Failure
    >>> failure = Failure(4, "photos/4.jpg", "the file is empty", "UnknownFormatError")
    >>> print(f"image {failure.position}: {failure.reason}")
    image 4: the file is empty
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

    See Also
    --------
    Failure : One of them.
    extract_images : Returns them in its summary.

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
        return f"<Failures: {format_count(len(self), 'unreadable image')}>"

    def _repr_html_(self) -> str:
        """Return the first images and reasons as HTML, for notebooks."""
        first = itertools.islice(self, _MAX_SHOWN)
        rows = [
            {"position": f"{failure.position:,}", "image": failure.image, "reason": failure.reason} for failure in first
        ]
        return card_to_html(repr(self)[1:-1], {}, table_to_html(rows) if rows else "")


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
    """Return the error for a source without a readable image, with a remedy that fits the first one."""
    first_image = f"{shorten(first.image, 200)!r}: {first.reason}. {remedy_for(first)}".rstrip()
    if n_images == 1:
        return SourceError(f"Cannot read the image {first_image}")
    return SourceError(f"Cannot read any of the {n_images:,} images. The first is {first_image}")


#: Advice at the end of a reason, which names options of featx.
_ADVICE = re.compile(r"; [^;]*\((?:--|\w+=\))[^;]*$")
_OTHER_KINDS = "The model reads other kinds of images only; in Python, pass allow= to Predictor."
_CHECK_FILES = "Open the files in an image viewer, and restore those that it cannot open."
_CHECK_ADDRESS = "Check the address and whether its server answers, or download the images first."
_CONVERT = "Convert the files to JPEG or PNG, or choose another source."
_COPY_OR_PAD = 'Copy or download the files again, or pass on_truncated="pad" (--on-truncated pad).'
#: Remedies by words in the reason. The first that occurs is used; none is added to a reason that has one.
_REMEDIES = (
    *((words, "") for words in ("convert it with Xcode", "save it as a PNG", "images * std + mean")),
    ("the icon has", "Save it as a PNG."),
    (
        " pixels, more than the limit of ",
        "If the size is correct, raise max_pixels (--max-pixels); otherwise reduce the images.",
    ),
    ("which are no colors", "Save red, green and blue as a PNG, or train the model again with bands (--bands)."),
    ("and no band", "The model was trained on these bands. Pass images that have them."),
    (" bands of ", "Save the colors as a PNG, or train the model again with bands (--bands) and window (--window)."),
    (" pixels from ", "Convert the pixels to this range, or train the model again with window (--window)."),
    ("compressed planes", "Save the TIFF without compression."),
    *((words, _OTHER_KINDS) for words in (", got a path", ", got a url")),
    ("complex numbers", "Take the absolute value of the pixels, and save them again."),
    ("a NumPy array", 'Save arrays with their labels in an npz file: numpy.savez("data.npz", images=X, labels=y).'),
    ("expected an array of shape", "Select the channels to use: image[..., 0] for gray, or image[..., [0, 1, 2]]."),
    ("expected an array of numbers", "Convert the pixels to numbers: image.astype('uint8')."),
    ("has no pixels", "Remove the empty arrays."),
    ("has NaN or infinity", "Replace these values: numpy.nan_to_num(image)."),
    ("numpy.array(image", ""),
    ("in base64", "Pass the decoded bytes, or write them to files."),
    ("is encrypted", "Unpack the archive with its password, and pass the folder."),
    ("responds 401", "Pass URLs that do not require a login, or download the images and pass their folder."),
    (
        "responds 403",
        "The server refuses access. Set FEATX_USER_AGENT to the sender of requests if the server expects one, or "
        "download the images with permission, and pass their folder.",
    ),
    ("responds 404", "The server has no such file. Check the URL in a browser."),
    ("responds 429", "The server limits requests. Run the command again later, or download the images first."),
    ("responds 5", "The server fails. Run the command again later."),
    ("Permission denied", "Change the permissions of the files, or run the command as their owner."),
    ("path is a folder", "Pass the folder itself as a source, or list its images."),
    ("Git LFS", "Run git lfs pull in the repository of the images."),
    ("require the package", "Install it, or convert the images to JPEG or PNG."),
    ("truncated", _COPY_OR_PAD),
    ("the file is not an image", _CONVERT),
)
#: Remedies by the class of the error.
_REMEDIES_BY_ERROR = {
    "UnknownFormatError": _CONVERT,
    "TruncatedImageError": _COPY_OR_PAD,
    "ImageTooLargeError": "Reduce the images.",
}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".tif", ".webp")


def without_advice(reason: str) -> str:
    """Return a reason without its advice to change options of featx, which the client of a service cannot follow.

    A model has some of these options from its training.

    Examples
    --------
    >>> without_advice("the image has 30 pixels, more than the limit of 20; raise max_pixels (--max-pixels)")
    'the image has 30 pixels, more than the limit of 20'
    """
    return _ADVICE.sub("", reason)


def remedy_for(failure: Failure) -> str:
    """Return what to do about an image that cannot be read. Empty: the reason has it.

    Examples
    --------
    >>> remedy_for(Failure(0, "https://example.org/1.jpg", "the server responds 429", "UnreachableImageError"))
    'The server limits requests. Run the command again later, or download the images first.'
    """
    if "No such file" in failure.reason or "contains no file" in failure.reason:
        return missing_file_hint(failure.image)
    if without_advice(failure.reason) != failure.reason:
        return "Values outside of it become black and white." if "pass the range of all" in failure.reason else ""
    table = os.path.splitext(failure.image)[0] + ".csv"
    if failure.image.endswith(".npy") and os.path.isfile(table):
        return f"If it has features, pass the table of their images, {table!r}."
    by_reason = next((remedy for words, remedy in _REMEDIES if words in failure.reason), None)
    default = _CHECK_ADDRESS if is_url(failure.image) else _CHECK_FILES
    by_error = _REMEDIES_BY_ERROR.get(failure.error, default)
    return by_error if by_reason is None else by_reason


def missing_file_hint(path: str) -> str:
    """Return where a missing path starts, and a similar file that exists."""
    start = "" if os.path.isabs(path) else f"Relative paths start at the working directory {os.getcwd()!r}. "
    existing = _similar_file(path)
    if existing is not None:
        return f"{start}{existing!r} exists. Correct the paths."
    folder = os.path.dirname(path)
    while folder and not os.path.isdir(folder):
        missing, folder = folder, os.path.dirname(folder)
        if not folder or os.path.isdir(folder):
            start += f"There is no folder {missing!r}. "
    return f"{start}Correct the paths; for a table, pass where they start with root (--root)."


def _similar_file(path: str) -> str | None:
    """Return an existing file that a missing path may mean: with another suffix or spelling, or in another folder."""
    clean = path.strip().strip("\"'").replace("\\", "/")
    stem = os.path.splitext(clean)[0]
    for variant in (clean, *(clean + suffix for suffix in _SUFFIXES), *(stem + suffix for suffix in _SUFFIXES)):
        if variant != path and os.path.isfile(variant):
            return variant
    folder, name = os.path.split(clean)
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return None
    same = [other for other in names if other.lower() == name.lower()] or difflib.get_close_matches(name, names, 1, 0.8)
    if same:
        return os.path.join(folder, same[0])
    below = (os.path.join(folder, other, name) for other in names)
    return next((other for other in below if os.path.isfile(other)), None)
