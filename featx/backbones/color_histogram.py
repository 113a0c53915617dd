"""A backbone without any network: how often each colour occurs. It shows what a network adds."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.backbones.base import DirectBackbone

_BINS = 8


class ColorHistogram(DirectBackbone):
    """Square roots of the shares of 8 × 8 × 8 colours, after Swain and Ballard, Color Indexing (IJCV 1991).

    Square roots make cosine and linear estimators compare distributions by Hellinger's distance. Measured on 840
    aerial photos in 21 classes: logistic regression gets 0.54 of them right, 0.36 without the roots and 0.42 with
    4 × 4 × 4 colours; on MobileNet's features 0.96.

    Examples
    --------
    >>> red = np.zeros((1, 64, 64, 3), dtype=np.uint8) + np.array([255, 0, 0], dtype=np.uint8)
    >>> row = ColorHistogram().extract(red)[0]
    >>> row.shape, int(row.argmax()), float(row.max())
    ((512,), 448, 1.0)
    """

    name = "color_histogram"
    version = 1
    image_size = 64

    def n_features(self, pooling: str) -> int:
        """Return the number of colours that are told apart; there is nothing to pool."""
        return _BINS**3

    def resolve_pooling(self, pooling: str) -> str:
        """Return the default: rows are the same whatever was asked."""
        return "avg"

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the square roots of shares of the pixels, shape (n, 512)."""
        bins = pixels.reshape(len(pixels), -1, 3) // (256 // _BINS)
        colours = bins.astype(np.int64) @ np.array([_BINS**2, _BINS, 1])
        counts = np.stack([np.bincount(image, minlength=_BINS**3) for image in colours])
        rows: np.ndarray[Any, Any] = np.sqrt(counts / colours.shape[1]).astype(np.float32)
        return rows
