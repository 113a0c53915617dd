from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_digits

from featx.datasets.sample_images import write_digits, write_sample_images
from featx.errors import OutputError


def test_sample_images_are_distinct_and_kept(tmp_path: Path) -> None:
    paths = write_sample_images(tmp_path, 6, 160, 120, 85)
    contents = [Path(path).read_bytes() for path in paths]
    assert len(set(contents)) == 6
    with PIL.Image.open(paths[0]) as photo:
        assert photo.size == (160, 120)
    Path(paths[3]).unlink()
    assert [Path(path).read_bytes() for path in write_sample_images(tmp_path, 6, 160, 120, 85)] == contents


def test_write_digits(tmp_path: Path) -> None:
    assert write_digits(tmp_path) == 1797
    digits = load_digits()
    for number in (0, 900, 1796):
        image = PIL.Image.open(tmp_path / str(digits.target[number]) / f"{number:04}.png")
        assert (image.size, image.mode) == ((64, 64), "L")
        small = np.asarray(image.resize((8, 8), PIL.Image.Resampling.BOX)) / 255 * 16
        assert np.corrcoef(small.ravel(), digits.images[number].ravel())[0, 1] > 0.95
    # Existing files are kept.
    (tmp_path / "0" / "0000.png").write_bytes(b"mine")
    (tmp_path / "1" / "0001.png").unlink()
    assert write_digits(tmp_path) == 1
    assert (tmp_path / "0" / "0000.png").read_bytes() == b"mine"


def test_write_digits_reports_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("")
    with pytest.raises(OutputError, match="featx demo --folder FOLDER"):
        write_digits(tmp_path / "digits")
