"""Feed a network of one constant batch shape with any number of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: Images in one run of the network. Constant, and the last run is padded, so that a row depends on
#: its own image alone; 8 is as fast as any (measured 1 to 32), and small enough for a single image.
COMPILED_BATCH = 8


def in_fixed_batches(
    run: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], pixels: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return the rows of any number of images from a function of exactly `COMPILED_BATCH`."""
    rows = []
    for start in range(0, len(pixels), COMPILED_BATCH):
        batch = pixels[start : start + COMPILED_BATCH]
        n_real = len(batch)
        if n_real < COMPILED_BATCH:
            padding = np.zeros((COMPILED_BATCH - n_real, *batch.shape[1:]), dtype=np.uint8)
            batch = np.concatenate([batch, padding])
        rows.append(run(batch)[:n_real])
    return np.concatenate(rows)
