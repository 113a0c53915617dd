"""Sample images: photos for benchmarks, and handwritten digits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from featx.errors import OutputError
from featx.system.files.atomic import atomic_write


def write_sample_images(
    folder: Path, number: int = 128, width: int = 500, height: int = 375, quality: int = 85
) -> list[str]:
    """Write distinct JPEG files and return their paths. Existing files are kept.

    The files are enlarged crops of the two sample photos of scikit-learn with a little noise, so that decoding them
    takes as long as decoding photos of a camera.

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


#: Side in pixels that the 8 × 8 digits are enlarged to, so that they are easy to look at.
_DIGIT_SIDE = 64


def write_digits(folder: str | os.PathLike[str]) -> int:
    """Write the handwritten digits of scikit-learn as PNG files in class folders.

    Parameters
    ----------
    folder : str or Path
        Folder to create the class folders ``0`` to ``9`` in. Existing files are kept.

    Returns
    -------
    int
        Number of files written; 0 if all 1,797 exist.

    Raises
    ------
    OutputError
        The folder cannot be written.

    See Also
    --------
    find_images : List the images of a folder.

    Examples
    --------
    >>> import tempfile
    >>> from featx import write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_digits(folder)
    1797
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    n_written = 0
    try:
        for number, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            path = Path(folder) / str(label) / f"{number:04}.png"
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.round(scan * (255 / 16)).astype(np.uint8)  # values run from 0 to 16
            enlarged = Image.fromarray(pixels).resize((_DIGIT_SIDE, _DIGIT_SIDE), Image.Resampling.BICUBIC)
            with atomic_write(path, durable=False) as temporary:
                enlarged.save(temporary, format="PNG")
            n_written += 1
    except OSError as error:
        raise OutputError(
            f"Cannot write images to {os.fspath(folder)!r}: {error.strerror or error}. "
            "Choose another folder (featx demo --folder FOLDER)."
        ) from error
    return n_written
