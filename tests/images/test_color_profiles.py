"""ICC profiles, by the textbook conversion."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin
import pytest
from PIL import ImageCms

from tests import samples
from tests.images.kinds import ALPHA, CMYK, RAMP, cmyk_as_rgb, decoded, on_white
from tests.samples import Array, encoded


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("space", samples.SPACES)
def test_colors_with_profile_become_srgb(space: str, format: str) -> None:
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    plain = decoded(encoded(RAMP, format, **options))
    converted = decoded(encoded(RAMP, format, icc_profile=samples.icc_profile(space), **options))
    right = samples.as_srgb(plain, space)
    assert np.abs(right - plain).mean() > 5
    assert np.abs(converted - right).mean() < 1
    assert np.abs(converted - right).max() <= 6  # near black, the curve of Little CMS is a table


def test_srgb_and_invalid_profiles_change_nothing() -> None:
    plain = decoded(encoded(RAMP, "PNG"))
    whole = samples.icc_profile("Display P3")
    of_srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiles = [of_srgb, whole[:60], whole[:200], b"x" * 300, b"\0"]
    for profile in [*profiles, whole.replace(b"RGB XYZ ", b"CMYKXYZ ")]:
        np.testing.assert_array_equal(decoded(encoded(RAMP, "PNG", icc_profile=profile)), plain)


def test_name_of_profile_does_not_matter() -> None:
    named = samples.icc_profile("Display P3", "P3-elle-V4-srgbtrc.icc")
    assert np.abs(decoded(encoded(RAMP, "PNG", icc_profile=named)) - samples.as_srgb(RAMP, "Display P3")).mean() < 1


def test_transparency_is_kept() -> None:
    data = encoded(np.dstack([RAMP, ALPHA]), "PNG", icc_profile=samples.icc_profile("Adobe RGB"))
    assert np.abs(decoded(data) - on_white(samples.as_srgb(RAMP, "Adobe RGB"), ALPHA)).mean() < 1


def test_cmyk_profile() -> None:
    def lab(inks: Array) -> Array:  # linear, so that however one interpolates between the corners, it is the same
        cyan, magenta, yellow, black = np.moveaxis(inks, -1, 0)
        lightness = 95 - 20 * cyan - 25 * magenta - 8 * yellow - 30 * black
        return np.stack([lightness, 12 * (magenta - cyan), 15 * (yellow - cyan)], axis=-1)

    corners = lab(np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1))
    corners = (corners * [2.55, 1, 1] + [0, 128, 128]).round()
    image = PIL.Image.fromarray(CMYK, "CMYK")
    converted = decoded(encoded(image, "TIFF", icc_profile=samples.cmyk_profile(corners)))
    assert np.abs(converted - cmyk_as_rgb()).mean() > 20  # it is not what it would be without
    assert np.abs(converted - samples.lab_as_srgb(lab(CMYK / 255))).mean() < 2
    as_jpeg = decoded(encoded(image, "JPEG", quality=98, icc_profile=samples.cmyk_profile(corners)))
    assert np.abs(as_jpeg - converted).mean() < 2
