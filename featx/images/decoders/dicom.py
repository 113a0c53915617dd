"""Medical images in DICOM files, read by pydicom, which is an extra."""

from __future__ import annotations

import io
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import ImageTooLargeError, UnknownFormatError, UnreadableImageError
from featx.system.formatting import first_line

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Keys in the ``info`` of an image: the values that are shown as black and white, and whether they are swapped.
WINDOW, INVERTED = "featx_window", "featx_inverted"
#: Whether the window is the range of the values, and the curve of grays in the header, which is not applied, or "".
IS_OWN_RANGE, CURVE = "featx_is_own_range", "featx_curve"
#: Maximum number of pixels, which are decoded at once. The header allows 65,535 × 65,535.
_MAX_PIXELS = 2**26
#: Transfer syntax of deflated files, as they name it.
_DEFLATED = b"1.2.840.10008.1.2.1.99"


#: Filters of warnings belong to the process, so that only one thread at a time may change them.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # The child waits until no thread of the parent holds the lock, so that it does not inherit a held one.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def is_dicom(data: bytes) -> bool:
    """Return whether data is a DICOM file."""
    return data[128:132] == b"DICM"


def open_dicom(data: bytes, max_pixels: int | None = None) -> PILImage:
    """Return the first frame: colors in RGB, or gray as floats in units of the file, such as Hounsfield units.

    The ``info`` of a gray image has the window of the header, else the range of its values, and whether its lowest
    value is white. Gray values with a palette become colors.

    Raises
    ------
    UnknownFormatError
        pydicom is not installed.
    UnreadableImageError
        The file has no image, is deflated, or its compression needs another package.
    ImageTooLargeError
        It has more than `max_pixels`, or more than 67 million pixels.
    """
    try:
        import pydicom
        import pydicom.pixels as pixel_functions
    except ImportError as error:
        raise UnknownFormatError(
            "DICOM images require the package pydicom, which is not installed: pip install 'featx[dicom]'"
        ) from error
    import PIL.Image

    if _DEFLATED in data:  # pydicom would inflate all of it, to a thousand times its size
        raise UnreadableImageError(
            "the DICOM file is deflated, which is not supported; save it without compression (dcmconv +te)"
        )
    limit = min(max_pixels or _MAX_PIXELS, _MAX_PIXELS)
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that differ from the standard
        file = pydicom.dcmread(io.BytesIO(data), force=False)
        if "PixelData" not in file:
            raise UnreadableImageError("the DICOM file has no image")
        n_pixels = int(file.get("Rows") or 0) * int(file.get("Columns") or 0)
        if n_pixels > limit:
            raise ImageTooLargeError(f"the DICOM image has {n_pixels:,} pixels, more than the limit of {limit:,}")
        try:
            pixels = pixel_functions.pixel_array(file, index=0)  # type: ignore[attr-defined]  # not in __all__
        # pydicom: no decoder is installed, the compression is unknown, or an element is missing.
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            reason = first_line(error)
            raise UnreadableImageError(f"pydicom cannot decode the DICOM image ({reason})") from error
        if file.get("PhotometricInterpretation") == "PALETTE COLOR":
            return _named(PIL.Image.fromarray(_palette_colors(pixels, file)))
        if pixels.ndim == 3:
            n_dropped = max(0, int(file.get("BitsStored", 8)) - 8)
            return _named(PIL.Image.fromarray((pixels >> n_dropped).astype(np.uint8)))
        values = np.asarray(pixel_functions.apply_modality_lut(pixels, file), dtype=np.float32)  # type: ignore[attr-defined]
    image = _named(PIL.Image.fromarray(values))
    window = _window(file)
    image.info[WINDOW] = _range(values) if window is None else window
    image.info[IS_OWN_RANGE], image.info[CURVE] = window is None, _curve(file)
    image.info[INVERTED] = file.get("PhotometricInterpretation") == "MONOCHROME1"
    return image


def _palette_colors(pixels: np.ndarray[Any, Any], file: Any) -> np.ndarray[Any, Any]:
    import pydicom.pixels as pixel_functions

    try:
        colors: np.ndarray[Any, Any] = pixel_functions.apply_color_lut(pixels, file)  # type: ignore[attr-defined]
    except (AttributeError, ValueError, KeyError, IndexError) as error:
        raise UnreadableImageError(f"the palette of the DICOM image cannot be read ({first_line(error)})") from error
    return (colors >> 8).astype(np.uint8) if colors.dtype == np.uint16 else colors


def _named(image: PILImage) -> PILImage:
    image.format = "DICOM"
    return image


def _window(file: Any) -> tuple[float, float] | None:
    """Return what the header shows as black and white: the first window, if any."""
    center, width = (_first(file.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width < 1:
        return None
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2 + (width == 1)


def _range(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1


def _curve(file: Any) -> str:
    """Return the curve of grays that the header has instead of a straight line, or an empty text."""
    if file.get("VOILUTSequence"):
        return "a table of grays (VOILUTSequence)"
    return "a sigmoid curve (VOILUTFunction)" if file.get("VOILUTFunction") == "SIGMOID" else ""


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__iter__") else value)
