"""Extraction with the counting backbone, for tests of several rooms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from featx.extraction.extract import extract_into
from featx.extraction.ledger import Ledger
from featx.extraction.options import ExtractionOptions
from featx.extraction.prefetch import LOOKUP_SIZE


def extract(
    images: Sequence[Any],
    cache: Path | None,
    *,
    on_error: str = "raise",
    lookup_size: int = LOOKUP_SIZE,
    **options: Any,
) -> tuple[np.ndarray[Any, Any], Ledger]:
    """Return the rows of images and the ledger of the extraction."""
    resolved = ExtractionOptions(backbone="counting", **options).resolve()
    rows = np.empty((len(images), resolved.n_features), dtype=np.float32)
    ledger = extract_into(
        rows, images, resolved, cache=cache, raise_on_error=on_error == "raise", lookup_size=lookup_size
    )
    return rows, ledger


#: At 32 pixels JPEG files are decoded at half their size, which differs a little from a full decode.
REDUCED_DECODE_TOLERANCE = 2


def mean_colors(image: PIL.Image.Image) -> np.ndarray[Any, Any]:
    """Return the row of the counting backbone, computed independently."""
    pixels = np.asarray(image.resize((32, 32), PIL.Image.Resampling.BILINEAR), dtype=np.float64)
    return np.concatenate([pixels[y : y + 16, x : x + 16].mean(axis=(0, 1)) for y in (0, 16) for x in (0, 16)])
