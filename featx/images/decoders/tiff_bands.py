"""Selected bands of TIFF files, such as those of satellites, read by tifffile, which is an extra."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import ImageTooLargeError, UnknownFormatError, UnreadableImageError
from featx.images.arrays import as_pixels
from featx.recipe import Window
from featx.system.formatting import format_bytes

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Maximum number of bytes of all bands, which are decoded together.
_MAX_BYTES = 2**31
#: Without a handler of the user, remarks of tifffile would be printed.
_NO_OUTPUT = logging.NullHandler()


def open_bands(data: bytes, window: Window, max_pixels: int | None = None) -> PILImage:
    """Return the bands of a TIFF that `window` selects as an RGB image.

    Raises
    ------
    UnknownFormatError
        tifffile is not installed.
    UnreadableImageError
        The file has fewer bands, or values outside of the range of their type and no window.
    ImageTooLargeError
        It has more than `max_pixels`, or the bands would take too much memory.
    """
    try:
        import tifffile
    except ImportError as error:
        raise UnknownFormatError(
            "bands of TIFF images require the package tifffile, which is not installed: pip install 'featx[tiff]'"
        ) from error
    import PIL.Image

    logging.getLogger("tifffile").addHandler(_NO_OUTPUT)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages[0]
        n_bands = page.samplesperpixel
        if max(window.bands) > n_bands:
            raise UnreadableImageError(
                f"the TIFF has {n_bands} bands, and no band {max(window.bands)}; pass others (--bands)"
            )
        n_pixels = page.imagewidth * page.imagelength
        if max_pixels is not None and n_pixels > max_pixels:
            raise ImageTooLargeError(
                f"the TIFF has {n_pixels:,} pixels, more than the limit of {max_pixels:,}; if this size is correct, "
                "raise max_pixels (--max-pixels)"
            )
        n_bytes = int(np.prod(page.shape)) * np.dtype(page.dtype).itemsize
        if n_bytes > _MAX_BYTES:
            raise ImageTooLargeError(
                f"the bands of the TIFF have {format_bytes(n_bytes)}, more than the limit of {format_bytes(_MAX_BYTES)}"
            )
        pixels = _bands_last(page.asarray(), page.axes)
    selected = pixels[:, :, [band - 1 for band in window.bands]]
    image = PIL.Image.fromarray(as_pixels(selected, window))
    image.format = "TIFF"
    return image


def _bands_last(pixels: np.ndarray[Any, Any], axes: str) -> np.ndarray[Any, Any]:
    """Return pixels of shape (h, w, bands)."""
    if axes == "YX":
        return pixels[:, :, np.newaxis]
    return np.moveaxis(pixels, axes.index("S"), -1) if axes != "YXS" else pixels
