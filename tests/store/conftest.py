"""Fixtures for tests of the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest


@pytest.fixture
def many(tmp_path: Path) -> list[str]:
    """Paths of 600 small images."""
    random = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    paths = []
    for number in range(600):
        paths.append(str(tmp_path / "many" / f"{number}.png"))
        PIL.Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(paths[-1])
    return paths
