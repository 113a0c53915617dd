from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import DirectBackbone
from featx.datasets.find import find_images
from featx.datasets.image_table import ImageTable
from tests.conftest import Register
from tests.workflows.helpers import compare


@pytest.fixture
def with_duplicates(photo_folder: Path) -> ImageTable:
    """24 photos and three duplicates: an identical file, identical pixels, and a near-duplicate of another label."""
    first, second, third = sorted((photo_folder / "china").glob("*.jpg"))[:3]
    (photo_folder / "china" / "copy.jpg").write_bytes(first.read_bytes())
    PIL.Image.open(second).save(photo_folder / "china" / "lossless.png")
    PIL.Image.open(third).save(photo_folder / "flower" / "again.jpg", quality=70)
    return find_images([photo_folder])


class MatrixBackbone(DirectBackbone):
    """Backbone whose features are the rows of a matrix, by the number that an image is painted with."""

    name, version, image_size = "matrix", 1, 2
    rows: np.ndarray[Any, Any] = np.zeros((0, 1), dtype=np.float32)

    def n_features(self, pooling: str) -> int:
        return self.rows.shape[1]

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(self.rows[pixels[:, 0, 0, :2].astype(int) @ [1, 256]])


@pytest.fixture
def compare_matrix(tmp_path: Path, register: Register) -> Callable[..., Any]:
    """Compare images whose features are the rows of a matrix."""
    backbone = register(MatrixBackbone())

    def compare_rows(rows: np.ndarray[Any, Any], y: list[Any], **options: Any) -> Any:
        backbone.rows = rows.astype(np.float32)
        paths = [tmp_path / f"{number}.png" for number in range(len(rows))]
        for number, path in enumerate(paths):
            PIL.Image.new("RGB", (2, 2), (number % 256, number // 256, 0)).save(path)
        return compare(paths, y=y, **{"backbones": ["matrix"], "estimators": ["knn"], "diagnostics": True, **options})

    return compare_rows
