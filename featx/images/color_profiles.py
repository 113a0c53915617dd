"""Colours of images with an ICC profile → sRGB, which networks were trained on."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: What a profile calls the colours that it is for, and the modes of Pillow that hold such.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
#: A larger profile is passed over: those of printing presses have 3 MB.
_MOST_BYTES = 16 * 2**20
#: Profiles of sRGB differ by so much of 255, by their black and the digits of their matrices.
_ROUNDING = 3


def to_srgb(image: PILImage, profile: Any) -> PILImage:
    """Return an image with its colours in sRGB; it is returned as it is if they are, or its profile is of no use.

    Parameters
    ----------
    image : PIL.Image.Image
        In mode RGB, RGBA, L, LA or CMYK; others are returned as they are.
    profile : bytes or None
        The ICC profile that it carries.

    Returns
    -------
    PIL.Image.Image
        In mode RGB or RGBA.
    """
    if not isinstance(profile, bytes) or not 0 < len(profile) <= _MOST_BYTES:
        return image
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    plain = image.convert(image.mode[:-1]) if alpha is not None else image
    transform = _transform(profile, plain.mode)
    if transform is None:
        return image
    found: PILImage = transform.apply(plain)
    if alpha is not None:
        found.putalpha(alpha)
    return found


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any:
    """Return Little CMS's transform to sRGB; None if there is nothing to do, or the profile is not for this mode."""
    import io

    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _MODES.get(source.profile.xcolor_space.strip()) != mode:
            return None
        # Without its cache, a transform may be used by several threads at once.
        transform = ImageCms.buildTransform(
            source, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.NOCACHE
        )
        # By what it does, not by what it is called: names that mention sRGB may mean its curve only.
        return None if mode == "RGB" and _changes_nothing(transform) else transform
    except Exception:  # a broken profile says nothing of the pixels, which are taken as they are
        return None


def _changes_nothing(transform: Any) -> bool:
    """Return whether colours come out as they went in, but for rounding: the usual case, a profile of sRGB itself."""
    import PIL.Image

    steps = np.linspace(0, 255, 6).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    converted = np.asarray(transform.apply(PIL.Image.fromarray(colours)))
    return bool(np.abs(converted.astype(int) - colours).max() <= _ROUNDING)


@functools.cache
def _srgb() -> Any:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
