"""Photographs to measure on: real ones, enlarged or cut, with noise, so that JPEG has something to decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
from sklearn.datasets import load_sample_images


def write_photos(folder: Path, number: int, width: int, height: int, quality: int) -> list[str]:
    """Write different JPEG files; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    wholes = [PIL.Image.fromarray(photo) for photo in load_sample_images().images]
    paths = []
    for at in range(number):
        whole = wholes[at % len(wholes)]
        share = random.uniform(0.4, 0.9)
        cut_width, cut_height = int(whole.width * share), int(whole.height * share)
        left = int(random.integers(0, whole.width - cut_width))
        top = int(random.integers(0, whole.height - cut_height))
        noise = random.integers(-6, 7, (height, width, 1), dtype=np.int16)
        path = folder / f"{at:06}.jpg"
        paths.append(str(path))
        if not path.exists():
            cut = whole.crop((left, top, left + cut_width, top + cut_height))
            enlarged = np.asarray(cut.resize((width, height), PIL.Image.Resampling.BICUBIC), dtype=np.int16)
            PIL.Image.fromarray((enlarged + noise).clip(0, 255).astype(np.uint8)).save(path, quality=quality)
    return paths
