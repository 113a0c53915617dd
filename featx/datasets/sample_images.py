"""Photographs to measure on, for who has none at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_sample_images(
    folder: Path, number: int = 128, width: int = 500, height: int = 375, quality: int = 85
) -> list[str]:
    """Write different JPEG files and return their paths; files that are there already are kept.

    They are parts of scikit-learn's two sample photos, enlarged, with a little noise, so that a JPEG decoder
    has as much to do as with a camera's files.

    Parameters
    ----------
    folder : Path
    number : int, default=128
    width, height : int, default=500, 375
        In pixels.
    quality : int, default=85
        Of the JPEG compression, up to 95.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [Path(path).name for path in write_sample_images(Path(folder), 2)]
    ['000000.jpg', '000001.jpg']
    """
    import PIL.Image
    from sklearn.datasets import load_sample_images

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
