"""Feed a network of one constant batch shape with any number of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.errors import WeightsError

#: By how much of the largest number outputs may differ that are the same.
_ROUNDING = 1e-4


def run_in_batches(
    run: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], pixels: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return the rows of any number of images from a function of exactly `COMPILED_BATCH_SIZE`."""
    rows = []
    for start in range(0, len(pixels), COMPILED_BATCH_SIZE):
        batch = pixels[start : start + COMPILED_BATCH_SIZE]
        n_real = len(batch)
        if n_real < COMPILED_BATCH_SIZE:
            padding = np.zeros((COMPILED_BATCH_SIZE - n_real, *batch.shape[1:]), dtype=np.uint8)
            batch = np.concatenate([batch, padding])
        rows.append(run(batch)[:n_real])
    return np.concatenate(rows)


def check_batch_independence(
    run: Callable[[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]], image_size: tuple[int, int], network: str
) -> None:
    """Raise if what a function of `COMPILED_BATCH_SIZE` images gives for one depends on the others.

    Parameters
    ----------
    run : callable
        Gives outputs of pixels of uint8, shape (`COMPILED_BATCH_SIZE`, height, width, 3); the first axis is the images.
    image_size : (int, int)
    network : str
        What to call it in the message.

    Raises
    ------
    WeightsError
    """
    random = np.random.default_rng(0)
    light = random.integers(0, 256, (COMPILED_BATCH_SIZE, *image_size, 3), dtype=np.uint8)
    dark = np.zeros_like(light)  # as what a batch is filled up with
    place, other = 0, 5
    dark[place] = light[other]
    for one, same in zip(run(dark), run(light), strict=True):
        largest = np.abs(same[other]).max(initial=0)
        if not np.allclose(one[place], same[other], rtol=0, atol=_ROUNDING * largest, equal_nan=True):
            raise WeightsError(
                f"The network {network} gives an image other features among other images: a row must depend on its own "
                "image alone. Export it with a dynamic batch axis (one image is not enough where it reshapes), and for "
                "inference."
            )
