"""Sharpness, exposure and information: what is found, and few false alarms."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
from sklearn.datasets import load_sample_images

from featx import check_images
from featx.images.decode import decode_image
from featx.images.quality.measures import MEASURED_SIDE, brightness, describe_quality, fine_detail

PHOTOS = [PIL.Image.fromarray(photo) for photo in load_sample_images().images]
AERIAL = Path(__file__).parents[4] / "shared" / "data" / "ucmerced"


def kinds(image: PIL.Image.Image) -> list[str]:
    pixels = decode_image(np.asarray(image), (MEASURED_SIDE, MEASURED_SIDE))
    return [kind for kind, _ in describe_quality(pixels, is_enlarged=min(image.size) < MEASURED_SIDE)]


def test_good_photos_and_their_crops_raise_no_alarm() -> None:
    for photo in PHOTOS:
        assert kinds(photo) == []
        for side in (213, 320):
            for left in range(0, 640 - side, side):
                assert kinds(photo.crop((left, 0, left + side, side))) == []


@pytest.mark.skipif(not AERIAL.is_dir(), reason="the aerial photos are not part of the repository")
def test_aerial_photos_raise_no_alarm() -> None:
    files = sorted(AERIAL.glob("*/*.jpg"))[::6]
    assert len(files) == 140
    assert [file for file in files if kinds(PIL.Image.open(file).convert("RGB"))] == []


@pytest.mark.parametrize("photo", PHOTOS, ids=["china", "flower"])
def test_photos_that_are_changed_are_described(photo: PIL.Image.Image) -> None:
    assert kinds(photo.point(lambda value: value * 0.1)) == ["dark"]
    assert kinds(photo.filter(PIL.ImageFilter.GaussianBlur(40))) == ["blurred"]
    small = photo.resize((100, 100)).filter(PIL.ImageFilter.GaussianBlur(10))
    assert kinds(small) == []  # all small images lack fine detail


def test_a_sky_that_is_clipped_is_overexposed() -> None:
    sky = PHOTOS[0].crop((0, 0, 200, 60)).resize((200, 200))
    assert kinds(PHOTOS[0].crop((0, 0, 300, 300))) == []
    assert kinds(sky.point(lambda value: min(255, value * 2 + 60))) == ["overexposed"]


def test_drawings_have_little_information() -> None:
    drawing = np.full((128, 128, 3), 255, dtype=np.uint8)
    drawing[60:64, 10:110] = 0
    assert kinds(PIL.Image.fromarray(drawing)) == ["low information"]
    assert kinds(PIL.Image.new("RGB", (200, 200), (9, 9, 9))) == []  # "nearly one color" describes it


def test_fine_detail_falls_with_blur_and_not_with_brightness() -> None:
    photo = PHOTOS[0].resize((256, 256))
    details = [
        fine_detail(brightness(np.asarray(photo.filter(PIL.ImageFilter.GaussianBlur(blur)))))
        for blur in (0, 1, 2, 4, 8)
    ]
    assert details == sorted(details, reverse=True)
    darker = fine_detail(brightness(np.asarray(photo.point(lambda value: value // 2))))
    assert darker == pytest.approx(details[0], rel=0.03)


def test_check_lists_poor_images_but_not_if_all_are_like_that(tmp_path: Path) -> None:
    for index in range(12):
        crop = PHOTOS[index % 2].crop((20 * index, 0, 20 * index + 200, 200))
        crop.save(tmp_path / f"{index}.png")
        crop.point(lambda value: value // 12).save(tmp_path / f"dark{index}.png")
    check = check_images(tmp_path)
    assert check.unusual == []
    assert check.notes[-1].startswith("12 of 24 images are dark. They are not listed")
    for index in range(4, 12):
        os.unlink(tmp_path / f"dark{index}.png")
    found = collections.Counter(line["detail"].partition(":")[0] for line in check_images(tmp_path).findings())
    assert found == {"dark": 4}
