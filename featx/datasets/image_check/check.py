"""Check images without a network: unreadable files, duplicates, unusual or poor images, formats, sizes and classes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Sequence

from featx.datasets.find import find_images
from featx.datasets.image_check.result import CheckedImage, ImageCheck
from featx.datasets.image_check.unusual import unusual_properties, without_common_properties
from featx.datasets.image_table import ImagesLike
from featx.datasets.label_names import (
    conflicts_note,
    joined_tags_note,
    measured_note,
    missing_labels_note,
    similar_names_note,
)
from featx.datasets.pixel_range import pixel_range_note
from featx.errors import UnreadableImageError, shorten_quoted
from featx.images.decode import MAX_PIXELS, decode_image, load_decoders
from featx.images.formats import open_image
from featx.images.image import content_digest, describe_image, read_image
from featx.images.quality.measures import MEASURED_SIDE
from featx.system.option_checks import check_integer
from featx.system.processes import n_cores
from featx.system.terminal.progress import ProgressFunction, counted, reporting, stage

_THUMBNAIL_SIZE = (MEASURED_SIDE, MEASURED_SIDE)
#: Number of images between two checks for an interrupt.
_BATCH_SIZE = 256
_NOTES_ON_LABELS = (similar_names_note, missing_labels_note, joined_tags_note, measured_note)


def check_images(
    source: ImagesLike | str | os.PathLike[str],
    *,
    path_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    path_template: str | None = None,
    root: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    class_level: int | None = None,
    zip_encoding: str | None = None,
    max_pixels: int = MAX_PIXELS,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> ImageCheck:
    """Check images without a network: read and decode each one, in threads.

    Unusual images are tiny, huge or long, have nearly one color, are dark, overexposed, blurred or low in information,
    or have another format than their suffix, or several pages (TIFF). The bounds of quality are such that none of 888
    good photos exceeds them. Poor quality that at least a fifth of the images share is reported in one note.

    Parameters
    ----------
    source : str, Path, DataFrame, ImageTable, or sequence or iterable of images
        See :func:`featx.find_images`.
    path_column : str or None, default=None
        Column of paths of a table, see :func:`featx.find_images`.
    label_column : str, sequence of str or None, default=None
        Column of labels; several columns of 0 and 1 are tags.
    label_separator : str or None, default=None
        Separator of tags in the label column, such as ";".
    path_template : str or None, default=None
        Paths made of columns of a table.
    root : str, Path or None, default=None
        Where relative paths of a table start.
    encoding : str or None, default=None
        Encoding of a CSV, TSV, JSON Lines or text file, such as "cp1251". None: UTF-8 or UTF-16, else Latin-1.
    class_level : int or None, default=None
        Depth of the class folders.
    zip_encoding : str or None, default=None
        Encoding of undeclared names in a zip archive.
    max_pixels : int, default=178_956_970
        Maximum number of pixels of an image. Larger images are reported as unreadable.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    ImageCheck
        Unreadable, duplicate and unusual images, and counts of formats, modes and classes.

    Raises
    ------
    SourceError
        See :func:`featx.find_images`.
    OptionError
        `max_pixels` is not positive.

    See Also
    --------
    find_images : Find the images of a folder, archive, table or URL.
    find_duplicates : Find near-duplicates by their features.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "text.jpg").write_text("hello")
    ...     check = check_images(folder)
    >>> check
    <ImageCheck: 1 image; unreadable 1, unusual 0, duplicates 0>
    >>> check.unreadable[0].error
    'UnknownFormatError'
    """
    check_integer("max_pixels", max_pixels)
    table = find_images(
        source,
        path_column=path_column,
        label_column=label_column,
        label_separator=label_separator,
        path_template=path_template,
        root=root,
        encoding=encoding,
        class_level=class_level,
        zip_encoding=zip_encoding,
    )
    load_decoders()
    images: list[CheckedImage] = []
    with (
        reporting(verbose, progress),
        stage("check", len(table)) as advance,
        concurrent.futures.ThreadPoolExecutor(n_cores(), thread_name_prefix="featx-check") as threads,
    ):
        for start in range(0, len(table), _BATCH_SIZE):
            batch = table.paths[start : start + _BATCH_SIZE]
            images += counted(threads.map(lambda path: _check_image(path, max_pixels), batch), advance)
    images, quality_notes = without_common_properties(images)
    found = [f(table.labels) for f in _NOTES_ON_LABELS]
    found.append(pixel_range_note(table.paths))
    notes = [*table.all_notes(), *map(shorten_quoted, filter(None, found))]
    conflicts = conflicts_note([(image.digest, image.path) for image in images], table.labels)
    notes += [*quality_notes, *filter(None, [conflicts])]
    return ImageCheck(images, table.labels, table.ignored, notes)


def _check_image(path: str, max_pixels: int) -> CheckedImage:
    checked = CheckedImage(describe_image(path))
    try:
        content, _ = read_image(path)
        checked = dataclasses.replace(checked, digest=content_digest(content))
        thumbnail = decode_image(content, _THUMBNAIL_SIZE, max_pixels=max_pixels)
        if isinstance(content, bytes):
            with open_image(content) as image:
                kind = image.format or "", image.mode, image.width, image.height
                n_pages = getattr(image, "n_frames", 1) if kind[0] == "TIFF" else 1
        else:
            kind = "pixels", "RGB" if content.ndim == 3 else "L", content.shape[1], content.shape[0]
            n_pages = 1
        checked = dataclasses.replace(checked, format=kind[0], mode=kind[1], width=kind[2], height=kind[3])
    except UnreadableImageError as error:
        return dataclasses.replace(checked, error=type(error).__name__, reason=error.reason)
    return dataclasses.replace(checked, unusual=tuple(unusual_properties(checked, thumbnail, n_pages)))
