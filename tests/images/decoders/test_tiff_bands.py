"""Selected bands of TIFF files."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, extract_images
from featx.cli import main as cli
from featx.errors import ImageTooLargeError, OptionError, UnreadableImageError, UnreadableImagesWarning
from featx.images.decode import decode_image
from featx.recipe import Window
from tests.samples import png

tifffile = pytest.importorskip("tifffile")
#: 13 bands of 12 bits, as of Sentinel-2.
BANDS = np.random.default_rng(0).integers(0, 3001, (16, 20, 13), dtype=np.uint16)
EXPECTED = (BANDS[:, :, [3, 2, 1]] / 3000 * 255).round().astype(np.uint8)
OPTIONS: dict[str, Any] = {"backbone": "color_histogram", "cache": None, "window": (0, 3000), "bands": (4, 3, 2)}


def tiff(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="minisblack", **options)
    return buffer.getvalue()


FILES = {
    "interleaved": tiff(BANDS, planarconfig="contig"),
    "planar": tiff(np.moveaxis(BANDS, 2, 0), planarconfig="separate"),
    "compressed": tiff(BANDS, planarconfig="contig", compression="zlib", predictor=True),
    "big": tiff(BANDS, planarconfig="contig", bigtiff=True, byteorder=">"),
    "int16": tiff(BANDS.astype(np.int16), planarconfig="contig"),
    "float": tiff(BANDS.astype(np.float32), planarconfig="contig"),
}


def assert_close(pixels: Any, expected: Any) -> None:
    """Check that pixels differ by rounding only."""
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", FILES)
def test_bands_in_the_range_of_the_window(kind: str) -> None:
    assert_close(decode_image(FILES[kind], (16, 20), window=Window(0, 3000, (4, 3, 2))), EXPECTED)


def test_range_of_the_type_without_a_window() -> None:
    pixels = decode_image(FILES["planar"], (16, 20), window=Window(None, None, (4, 3, 2)))
    assert_close(pixels, (BANDS[:, :, [3, 2, 1]] / 257).round())
    floats = tiff((BANDS / 3000).astype(np.float32), planarconfig="contig")
    assert_close(decode_image(floats, (16, 20), window=Window(None, None, (4, 3, 2))), EXPECTED)


def test_colors_of_16_bits_in_the_range_of_the_window() -> None:
    rgb = tiff(BANDS[:, :, :3], planarconfig="contig")
    pixels = decode_image(rgb, (16, 20), window=Window(0, 3000, (1, 2, 3)))
    assert_close(pixels, (BANDS[:, :, :3] / 3000 * 255).round())


def test_one_file_with_fewer_bands_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(FILES["planar"])
    (tmp_path / "b.tif").write_bytes(tiff(BANDS[:, :, 0]))
    colors = decode_image(FILES["planar"], (16, 20), window=Window(0, 3000, (4, 3, 2)))
    (tmp_path / "c.png").write_bytes(png(colors))  # other formats have colors
    (tmp_path / "d.tif").write_bytes(FILES["planar"][:2000])
    extractor = FeatureExtractor(**OPTIONS, on_error="nan")
    with pytest.warns(UnreadableImagesWarning, match="2 of 4 images.*the TIFF has 1 bands, and no band 4"):
        rows = extractor.fit_transform([str(tmp_path / name) for name in ("a.tif", "b.tif", "c.png", "d.tif")])
    np.testing.assert_array_equal(rows[0], rows[2])
    assert np.isnan(rows[[1, 3]]).all()
    assert extractor.recipe_["bands"] == "4,3,2"


def test_damaged_files_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for start in range(8, 200, 14):
        damaged = FILES["planar"][:start] + b"\xff\xee" + FILES["planar"][start + 2 :]
        with contextlib.suppress(UnreadableImageError):
            decode_image(damaged, (16, 20), window=Window(0, 3000, (4, 3, 2)))
    assert capfd.readouterr().err == ""


def test_command_and_function(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(FILES["planar"])
    extract_images(tmp_path, tmp_path / "f.npy", **OPTIONS)
    command = "extract {0} -o {0}/g.npy --backbone color_histogram --no-cache --bands 4,3,2 --window 0 3000"
    assert cli.main(command.format(tmp_path).split()) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy"), np.load(tmp_path / "g.npy"))


@pytest.mark.parametrize("bands", ["4,3", (4, 3), (0, 1, 2), (1.5, 2, 3), "red"])
def test_other_bands_are_errors(bands: Any) -> None:
    with pytest.raises(OptionError, match=r"bands \(--bands\) must be the numbers|'bands' parameter"):
        FeatureExtractor("color_histogram", bands=bands, cache=None).fit(["a.tif"])


def test_message_has_a_remedy_that_works() -> None:
    with pytest.raises(UnreadableImageError, match=r"13 bands.*bands=\(4, 3, 2\) \(--bands 4,3,2\)"):
        decode_image(FILES["interleaved"], (16, 20))


def test_limit_of_pixels() -> None:
    with pytest.raises(ImageTooLargeError, match="the TIFF has 320 pixels, more than the limit of 300"):
        decode_image(FILES["planar"], (16, 20), max_pixels=300, window=Window(0, 3000, (4, 3, 2)))
