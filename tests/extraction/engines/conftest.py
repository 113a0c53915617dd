from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.extraction.options import ExtractionOptions
from featx.system.array_types import AnyArray


@pytest.fixture(scope="module")
def pixels(photos: list[PIL.Image.Image]) -> AnyArray:
    """Photographs for MobileNet: more than one batch, and not a multiple of the batch size."""
    assert len(photos) % COMPILED_BATCH_SIZE == 0
    return np.stack([np.asarray(photo.resize((224, 224))) for photo in photos[:-3]])


def rows_of(pixels: AnyArray, compiled: Path | None, **options: Any) -> AnyArray:
    """Return the rows of a new engine."""
    return np.asarray(ExtractionOptions(**options).resolve().start(compiled)(pixels))
