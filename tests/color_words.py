"""A backbone in plain Python whose rows are colors, of images and of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageColor

from featx import DirectBackbone

Array = np.ndarray[Any, Any]


class ColorWords(DirectBackbone):
    """The mean color of an image, and the mean of the colors that a text names."""

    name, version, image_size = "color_words", 1, 8
    #: Texts that were computed, in order.
    computed: list[str]

    def __init__(self) -> None:
        self.computed = []

    def n_features(self, pooling: str) -> int:
        return 3

    def extract(self, pixels: Array) -> Array:
        return pixels.mean(axis=(1, 2)).astype(np.float32) - 127.5

    def extract_texts(self, texts: Sequence[str]) -> Array:
        self.computed += texts
        words = [[word.strip(".,") for word in text.lower().split()] for text in texts]
        named = [[PIL.ImageColor.getrgb(word) for word in row if word in PIL.ImageColor.colormap] for row in words]
        return np.array([np.mean(colors or [(128, 128, 128)], axis=0) for colors in named], dtype=np.float32) - 127.5


def save_colors(folder: Path, colors: Sequence[str] = ("red", "lime", "blue"), *, n_images: int = 6) -> Path:
    """Write images of about these colors into a folder per color, and return the folder."""
    rng = np.random.default_rng(0)
    for color in colors:
        (folder / color).mkdir(parents=True, exist_ok=True)
        for number in range(n_images):
            pixels = np.array(PIL.ImageColor.getrgb(color)) + rng.integers(-40, 40, (16, 16, 3))
            PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / color / f"{number}.png")
    return folder
