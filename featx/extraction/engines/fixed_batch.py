"""Run a network of one fixed batch size on any number of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.errors import WeightsError
from featx.system.array_types import AnyArray

#: Largest difference of equal outputs, relative to the largest output.
_RELATIVE_TOLERANCE = 1e-4


def run_in_batches(run: Callable[[AnyArray], AnyArray], pixels: AnyArray) -> AnyArray:
    """Return the rows of any number of images.

    Parameters
    ----------
    run : callable
        Returns the rows of exactly `COMPILED_BATCH_SIZE` images.
    pixels : ndarray of shape (n_samples, height, width, 3)
        Images. The last batch is padded with zeros.
    """
    rows = []
    for start in range(0, len(pixels), COMPILED_BATCH_SIZE):
        batch = pixels[start : start + COMPILED_BATCH_SIZE]
        n_images = len(batch)
        if n_images < COMPILED_BATCH_SIZE:
            padding = np.zeros((COMPILED_BATCH_SIZE - n_images, *batch.shape[1:]), dtype=np.uint8)
            batch = np.concatenate([batch, padding])
        rows.append(run(batch)[:n_images])
    return np.concatenate(rows)


def check_batch_independence(
    run: Callable[[AnyArray], list[AnyArray]], image_size: tuple[int, int], network: str
) -> None:
    """Raise if the outputs of one image depend on the other images of its batch, or on its position.

    Parameters
    ----------
    run : callable
        Returns the outputs of exactly `COMPILED_BATCH_SIZE` uint8 images; the first axis is the batch.
    image_size : tuple of (int, int)
        Height and width of the images.
    network : str
        Name of the network in the error message.

    Raises
    ------
    WeightsError
        If outputs depend on other images.
    """
    random = np.random.default_rng(0)
    batch = random.integers(0, 256, (COMPILED_BATCH_SIZE, *image_size, 3), dtype=np.uint8)
    source, target = 5, 0
    padded = np.zeros_like(batch)
    padded[target] = batch[source]
    for output, alone in zip(run(batch), run(padded), strict=True):
        tolerance = _RELATIVE_TOLERANCE * np.abs(output[source]).max(initial=0)
        if not np.allclose(alone[target], output[source], rtol=0, atol=tolerance, equal_nan=True):
            raise WeightsError(
                f"Cannot use network {network}: the features of an image depend on the other images of its batch. "
                "Export it for inference with a dynamic batch axis."
            )
