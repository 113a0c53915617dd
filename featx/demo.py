"""scikit-learn's digits as a folder of real PNG files, for the demonstration."""

from __future__ import annotations

from pathlib import Path

from featx import files
from featx.errors import OutputError

#: The 8 × 8 scans are enlarged to this side, in pixels, so that a person can look at them.
_SIDE = 64


def write_digits(folder: Path) -> int:
    """Write the 1,797 digits as PNG files in class folders; return how many were not there yet.

    Parameters
    ----------
    folder : Path
        Gets the folders ``0`` to ``9``. A file that is there is left alone.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    n_written = 0
    try:
        for number, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            path = folder / str(label) / f"{number:04}.png"
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.round(scan * (255 / 16)).astype(np.uint8)  # values run from 0 to 16
            enlarged = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            with files.replacing(path, durable=False) as temporary:
                enlarged.save(temporary, format="PNG")
            n_written += 1
    except OSError as error:
        raise OutputError(
            f"The demonstration cannot write its images to {str(folder)!r}: {error.strerror or error}. "
            "Choose another folder: featx demo --folder FOLDER."
        ) from error
    return n_written
