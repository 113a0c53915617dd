"""Sample photos for benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_sample_images(
    folder: Path, number: int = 128, width: int = 500, height: int = 375, quality: int = 85
) -> list[str]:
    """Write distinct JPEG files and return their paths. Existing files are kept.

    The files are enlarged crops of the two sample photos of scikit-learn with a little noise, so that decoding them
    takes as long as decoding files of a camera.

    Parameters
    ----------
    folder : Path
        Output folder.
    number : int, default=128
        Number of files.
    width, height : int, default=500, 375
        Size in pixels.
    quality : int, default=85
        Quality of the JPEG compression, at most 95.

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
    photos = [PIL.Image.fromarray(photo) for photo in load_sample_images().images]
    paths = []
    for index in range(number):
        photo = photos[index % len(photos)]
        fraction = random.uniform(0.4, 0.9)
        crop_width, crop_height = int(photo.width * fraction), int(photo.height * fraction)
        left = int(random.integers(0, photo.width - crop_width))
        top = int(random.integers(0, photo.height - crop_height))
        noise = random.integers(-6, 7, (height, width, 1), dtype=np.int16)
        path = folder / f"{index:06}.jpg"
        paths.append(str(path))
        if not path.exists():
            crop = photo.crop((left, top, left + crop_width, top + crop_height))
            enlarged = np.asarray(crop.resize((width, height), PIL.Image.Resampling.BICUBIC), dtype=np.int16)
            PIL.Image.fromarray((enlarged + noise).clip(0, 255).astype(np.uint8)).save(path, quality=quality)
    return paths
