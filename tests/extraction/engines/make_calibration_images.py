"""Write the calibration images of int8 networks: ``python -m tests.extraction.engines.make_calibration_images``.

Other images give other int8 networks, so that the digest in ``featx.recipe`` and the graphs in ``data/graphs`` change
as well: run ``python -m tests.extraction.engines.package_graphs`` afterwards. The README beside the images lists the
sources and their licenses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import PIL.Image

from featx.extraction.engines.calibration import CALIBRATION_FOLDER, calibration_digest

#: Every class of the aerial photographs is there twice.
_AERIAL_NUMBERS = ("00", "20")
#: Photographs of scikit-image that are in the public domain or CC0.
_SCIKIT_IMAGE = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png")
_SCIKIT_IMAGE += ("grass.png", "gravel.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")
_MAX_SIDE = 400
_QUALITY = 88


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ucmerced", type=Path, help="folder of the UC Merced Land Use dataset, one folder per class")
    parser.add_argument("scikit_image", type=Path, help="folder skimage/data of scikit-image 0.26")
    parser.add_argument("grace_hopper", type=Path, help="grace_hopper.jpg of Matplotlib's sample data")
    args = parser.parse_args()
    for path in CALIBRATION_FOLDER.glob("*.jpg"):
        path.unlink()
    for folder in sorted(path for path in args.ucmerced.iterdir() if path.is_dir()):
        for number in _AERIAL_NUMBERS:
            name = f"{folder.name}{number}.jpg"
            (CALIBRATION_FOLDER / f"aerial-{name}").write_bytes((folder / name).read_bytes())
    for path in [*(args.scikit_image / name for name in _SCIKIT_IMAGE), args.grace_hopper]:
        with PIL.Image.open(path) as image:
            smaller = image.convert("RGB")
        smaller.thumbnail((_MAX_SIDE, _MAX_SIDE), PIL.Image.Resampling.LANCZOS)
        smaller.save(CALIBRATION_FOLDER / f"photo-{path.stem}.jpg", quality=_QUALITY, subsampling=0)
    print(calibration_digest())


if __name__ == "__main__":
    main()
