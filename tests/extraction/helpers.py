"""Extraction with the counting backbone, for tests of several rooms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.extraction.extract import extract_into
from featx.extraction.ledger import Ledger
from featx.extraction.options import ExtractionOptions


def extract(
    images: Sequence[Any], cache: Path | None, *, on_error: str = "raise", **options: Any
) -> tuple[np.ndarray[Any, Any], Ledger]:
    """Return the rows of images and the ledger of the extraction."""
    resolved = ExtractionOptions(backbone="counting", **options).resolve()
    rows = np.empty((len(images), resolved.n_features), dtype=np.float32)
    return rows, extract_into(rows, images, resolved, cache=cache, raise_on_error=on_error == "raise")
