"""Convert images with an ICC profile to sRGB, the color space of the images that networks are trained on."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Pillow's mode for the color space of a profile.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
#: Larger profiles are ignored. Those of printing presses have 3 MB.
_MAX_PROFILE_BYTES = 16 * 2**20
#: Maximum difference, of 255, between profiles of sRGB: black points and rounded matrices differ.
_MAX_SRGB_DIFFERENCE = 3


def to_srgb(image: PILImage, profile: Any) -> PILImage:
    """Return an image with its colors in sRGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Image in mode RGB, RGBA, L, LA or CMYK. Other modes are returned unchanged.
    profile : bytes or None
        Embedded ICC profile. Profiles of sRGB and invalid ones leave the image unchanged.

    Returns
    -------
    PIL.Image.Image
        Image in mode RGB or RGBA, or `image`.
    """
    if not isinstance(profile, bytes) or not 0 < len(profile) <= _MAX_PROFILE_BYTES:
        return image
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    opaque = image.convert(image.mode[:-1]) if alpha is not None else image
    transform = _transform(profile, opaque.mode)
    if transform is None:
        return image
    converted: PILImage = transform.apply(opaque)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any:
    """Return Little CMS's transform to sRGB. None: the profile is for another mode, invalid, or sRGB itself."""
    import io

    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _MODES.get(source.profile.xcolor_space.strip()) != mode:
            return None
        # Without its cache, a transform can be used by several threads at once.
        transform = ImageCms.buildTransform(
            source, _srgb_profile(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.NOCACHE
        )
        # The name does not decide: profiles that mention sRGB may use only its tone curve.
        return None if mode == "RGB" and _is_identity(transform) else transform
    except Exception:  # an invalid profile does not make the pixels unreadable
        return None


def _is_identity(transform: Any) -> bool:
    """Return whether a transform leaves colors unchanged up to rounding."""
    import PIL.Image

    levels = np.linspace(0, 255, 6).astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    converted = np.asarray(transform.apply(PIL.Image.fromarray(colors)))
    return bool(np.abs(converted.astype(int) - colors).max() <= _MAX_SRGB_DIFFERENCE)


@functools.cache
def _srgb_profile() -> Any:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
