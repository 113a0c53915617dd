"""Short calls of the workflows on the counting backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from featx.datasets.image_table import ImageTable
from featx.workflows.compare import compare_images


def compare(images: Any, **options: Any) -> Any:
    """Compare baselines on the counting backbone, without diagnostics and cache."""
    return compare_images(images, **{"backbones": ["counting"], "diagnostics": False, "cache": None, **options})


def brightness(paths: list[str]) -> list[float]:
    """Return a continuous target for each image: its mean brightness."""
    return [float(np.asarray(PIL.Image.open(path).convert("L")).mean()) for path in paths]


def folds_of(result: Any) -> list[Any]:
    """Return the folds of a comparison."""
    folds: list[Any] = result.backbones[0].comparison.split.folds
    return folds


def names_of(table: ImageTable, rows: Any) -> set[str]:
    """Return the file names of some images."""
    return {Path(table.paths[row]).name for row in rows}
