from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from featx.workflows.image_duplicates import DuplicateGroup
from featx.workflows.report.duplicate_grid import row_to_keep


@pytest.mark.parametrize(
    ("sides", "expected"), [((20, 40, 30), 1), ((20, 20, 20), 2), ((40, 20, 40), 2), ((0, 0, 10), 2)]
)
def test_largest_image_is_kept_then_the_first_path(tmp_path: Path, sides: tuple[int, ...], expected: int) -> None:
    paths = [str(tmp_path / name) for name in ("c.png", "b.png", "a.png")]
    for path, side in zip(paths, sides, strict=True):
        if side:  # 0: the image no longer exists
            PIL.Image.new("RGB", (side, side)).save(path)
    assert row_to_keep(DuplicateGroup(np.arange(3), "near-duplicates", ["x"]), paths) == expected
