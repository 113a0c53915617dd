from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_digits

from featx.datasets.sample_images import write_digits
from featx.errors import OutputError


def test_the_digits_are_a_folder_of_images_to_look_at(tmp_path: Path) -> None:
    assert write_digits(tmp_path / "digits") == 1797
    digits = load_digits()
    for number in (0, 900, 1796):
        image = PIL.Image.open(tmp_path / "digits" / str(digits.target[number]) / f"{number:04}.png")
        assert (image.size, image.mode) == ((64, 64), "L")
        small = np.asarray(image.resize((8, 8), PIL.Image.Resampling.BOX)) / 255 * 16
        assert np.corrcoef(small.ravel(), digits.images[number].ravel())[0, 1] > 0.95


def test_files_that_are_there_are_left_alone(tmp_path: Path) -> None:
    write_digits(tmp_path)
    (tmp_path / "0" / "0000.png").write_bytes(b"mine")
    (tmp_path / "1" / "0001.png").unlink()
    assert write_digits(tmp_path) == 1
    assert (tmp_path / "0" / "0000.png").read_bytes() == b"mine"


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("")
    with pytest.raises(OutputError, match="featx demo --folder FOLDER"):
        write_digits(tmp_path / "digits")
