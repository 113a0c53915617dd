from __future__ import annotations

import sys

import pytest

from featx.datasets.image_check.result import CheckedImage, ImageCheck

PATH = "photos/of/a/very/long/name/with/many/folders/and/more/folders/in/it/0001.jpg"
REASON = "the file is truncated: it has 2,000 of 48,123 bytes, and its last lines of pixels are missing"


def check_of(images: list[CheckedImage]) -> ImageCheck:
    return ImageCheck(images, labels=[None] * len(images), ignored={})


@pytest.fixture
def check() -> ImageCheck:
    return check_of([CheckedImage(PATH, error="TruncatedImageError", reason=REASON)])


def test_nothing_is_cut_in_a_pipe(check: ImageCheck) -> None:
    assert f"\n  {PATH}  {REASON}" in check.as_text()


@pytest.mark.parametrize("columns", [40, 80])
def test_reasons_are_whole_in_a_narrow_terminal(
    check: ImageCheck, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    path, *reason = check.as_text().partition("unreadable: 1\n")[2].splitlines()
    assert path == f"  {PATH}"
    assert " ".join(map(str.strip, reason)) == REASON
    assert max(map(len, reason)) <= columns


def test_groups_of_identical_images_have_a_count() -> None:
    images = [CheckedImage(f"{index}.png", digest=b"same", format="PNG") for index in range(500)]
    images += [CheckedImage(f"pair{index}.png", digest=b"other", format="PNG") for index in range(2)]
    lines = check_of(images).as_text().partition("groups of identical images: 2\n")[2].splitlines()
    assert lines == ["  500 images: 0.png, 1.png, 2.png and 497 more", "  2 images: pair0.png, pair1.png"]
