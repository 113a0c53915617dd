from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx.datasets.find import find_images
from featx.testing import CountingBackbone
from featx.workflows.image_duplicates import DuplicateGroup
from featx.workflows.report.duplicate_grid import duplicate_groups as grid
from featx.workflows.report.duplicate_grid import row_to_keep
from featx.workflows.report.image_frame import FrameLimits, ImageFrame, make_image_frame
from featx.workflows.report.summary_card import summary_card
from tests.workflows.helpers import compare


@pytest.mark.parametrize(
    ("sides", "expected"), [((20, 40, 30), 1), ((20, 20, 20), 2), ((40, 20, 40), 2), ((0, 0, 10), 2)]
)
def test_largest_image_is_kept_then_the_first_path(tmp_path: Path, sides: tuple[int, ...], expected: int) -> None:
    paths = [str(tmp_path / name) for name in ("c.png", "b.png", "a.png")]
    for path, side in zip(paths, sides, strict=True):
        if side:  # 0: the image no longer exists
            PIL.Image.new("RGB", (side, side)).save(path)
    assert row_to_keep(DuplicateGroup(np.arange(3), "near-duplicates", ["x"]), paths) == expected


def frame_with_copies(folder: Path, **options: Any) -> ImageFrame:
    """Compare photos of which the fourth is a copy of the first, and the sixth one of the fifth."""
    table = find_images([folder])
    for original, copied in ((0, 3), (4, 5)):
        shutil.copy(table.paths[original], table.paths[copied])
    result = compare(table, duplicate_threshold=1, estimators=["knn"], **options)
    return make_image_frame(result, FrameLimits())


def leaks_of(frame: ImageFrame) -> str:
    (answer,) = [answer for answer in summary_card(frame, None) if answer.name == "Leaks"]
    return f"{answer.value}: {answer.detail}"


def test_folds_that_keep_duplicates_together_have_no_leaks(counting: CountingBackbone, photo_folder: Path) -> None:
    frame = frame_with_copies(photo_folder, cv=3)
    assert leaks_of(frame) == "0: no split divides duplicates"
    assert [group["is_leak"] for group in grid(frame)] == [False, False]
    assert "training" not in grid(frame)[0]["tiles"][0]["text"]


def test_folds_that_divide_duplicates_have_leaks(counting: CountingBackbone, photo_folder: Path) -> None:
    frame = frame_with_copies(photo_folder, cv=8, duplicate_groups=False)
    n_leaks = sum(group["is_leak"] for group in grid(frame))
    assert n_leaks > 0
    assert leaks_of(frame).startswith(f"{n_leaks} group")
    assert "too high" in leaks_of(frame)


@pytest.mark.parametrize(("duplicate_groups", "fate"), [(True, "excluded"), (False, "used: the score may be too high")])
def test_training_images_like_test_images_come_first(
    duplicate_groups: bool, fate: str, counting: CountingBackbone, photo_folder: Path
) -> None:
    """The fourth image is in training only, the first one is tested; the fifth and sixth are both in training."""
    n_images = len(find_images([photo_folder]).paths)
    is_test = np.arange(n_images) % 6 == 0
    frame = frame_with_copies(photo_folder, test_mask=is_test, duplicate_groups=duplicate_groups)
    assert leaks_of(frame) == f"1 group: 1 training image like test images, {fate}"
    first, second = grid(frame)
    assert (first["is_leak"], second["is_leak"]) == (True, False)
    assert [tile["text"].split(":")[0] for tile in first["tiles"]] == ["test", "training"]
    assert first["tiles"][0]["is_kept"]
