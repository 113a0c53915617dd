"""Notes on the windows of DICOM files: which values of each file become black and white."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featx.errors import FeatxError
from featx.images.decode import load_decoders
from featx.images.decoders.dicom import CURVE, IS_OWN_RANGE, WINDOW, is_dicom
from featx.images.formats import open_image
from featx.images.image import read_image
from featx.images.image_lists import NamedImage
from featx.system.files import remote
from featx.system.formatting import format_list

_SUFFIXES = (".dcm", ".dicom")


def dicom_note(images: Sequence[Any], max_bytes: int) -> str:
    """Return a note if DICOM files have different windows, none, or one that is no straight line. Empty: none has.

    Parameters
    ----------
    images : sequence
        A sample of images. Local files and encoded images are read.
    max_bytes : int
        Maximum size of a file.
    """
    headers = [header for image in images if (header := _header(image, max_bytes)) is not None]
    own = {header[WINDOW] for header in headers if header[IS_OWN_RANGE]}
    given = {header[WINDOW] for header in headers if not header[IS_OWN_RANGE]}
    curves = sorted({header[CURVE] for header in headers if header[CURVE]})
    notes = []
    if len(own) > 1 or (own and given):
        notes.append(
            f"DICOM files without a window are scaled from their own lowest to their highest value ({_text(own)}), so "
            f"that one value has different grays. {_remedy(own | given)}"
        )
    elif len(given) > 1:
        notes.append(
            f"DICOM files have different windows in their headers ({_text(given)}), so that one value has different "
            f"grays. If they are of one kind, {_remedy(given).replace('Pass', 'pass')}"
        )
    if curves:
        notes.append(
            f"DICOM files have {' and '.join(curves)} in their headers, which is not applied: grays between black and "
            "white are on a straight line."
        )
    return " ".join(notes)


def _header(image: Any, max_bytes: int) -> dict[Any, Any] | None:
    """Return the window of a DICOM file in gray and what it is, or None for other and unreadable images."""
    try:
        if isinstance(image, NamedImage):
            image = image.load()
        if isinstance(image, str) and (remote.is_url(image) or not image.lower().endswith(_SUFFIXES)):
            return None
        content = image if isinstance(image, bytes) else read_image(image, max_bytes=max_bytes)[0]
        if not isinstance(content, bytes) or not is_dicom(content):
            return None
        load_decoders()
        with open_image(content) as opened:
            return dict(opened.info) if WINDOW in opened.info else None
    except FeatxError:
        return None  # reading it again reports the reason
    except Exception:  # decoders raise many types for invalid data
        return None


def _text(windows: set[tuple[float, float]]) -> str:
    return format_list([f"{low:g} to {high:g}" for low, high in sorted(windows)], 3)


def _remedy(windows: set[tuple[float, float]]) -> str:
    low, high = min(low for low, _ in windows), max(high for _, high in windows)
    return f"Pass one range for all, such as window=({low:g}, {high:g}) (--window {low:g} {high:g})."
