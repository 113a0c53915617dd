"""DICOM files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, check_images, find_images
from featx.datasets.pixel_range import pixel_range_note
from featx.errors import ImageTooLargeError, UnreadableImageError
from featx.images.decode import decode_full_size, decode_image
from featx.images.image import read_image
from featx.recipe import Window

pydicom = pytest.importorskip("pydicom")
#: Hounsfield units from -1000 to 1400 as CT stores them.
HOUNSFIELD = np.linspace(-1000, 1400, 32 * 32).reshape(32, 32)


def dicom(pixels: Any, **fields: Any) -> bytes:
    """Return an uncompressed DICOM file."""
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    is_color = pixels.shape[-1] == 3
    file.Rows, file.Columns = pixels.shape[-3:-1] if is_color else pixels.shape[-2:]
    file.SamplesPerPixel = 3 if is_color else 1
    file.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
    if is_color:
        file.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    file.BitsAllocated, file.BitsStored, file.HighBit = bits, bits, bits - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in fields.items():
        setattr(file, name, value)
    file.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def ct(**fields: Any) -> bytes:
    return dicom((HOUNSFIELD + 1024).astype(np.uint16), RescaleSlope=1, RescaleIntercept=-1024, **fields)


def gray(data: bytes, window: tuple[float, float] | None = None) -> Any:
    return decode_image(data, (32, 32), window=window and Window(*window))[:, :, 0].astype(float)


def expected(low: float, high: float) -> Any:
    return np.clip((HOUNSFIELD - low) / (high - low), 0, 1) * 255


def test_window_of_the_header() -> None:
    pixels = gray(ct(WindowCenter=40, WindowWidth=400))
    np.testing.assert_allclose(pixels, expected(-160, 240), atol=2)
    several = gray(ct(WindowCenter=[40, -600], WindowWidth=[400, 1500]))
    np.testing.assert_array_equal(several, pixels)


def test_given_window_is_in_units_of_the_file() -> None:
    np.testing.assert_allclose(gray(ct(WindowCenter=40, WindowWidth=400), (-1000, 400)), expected(-1000, 400), atol=1)


def test_range_of_values_without_a_window() -> None:
    np.testing.assert_allclose(gray(ct()), expected(-1000, 1400), atol=1)
    assert gray(dicom(np.full((4, 4), 7, np.uint16))).max() == 0


def test_inverted_gray() -> None:
    np.testing.assert_allclose(gray(ct(PhotometricInterpretation="MONOCHROME1")), 255 - expected(-1000, 1400), atol=1)


def test_inverted_gray_with_a_window() -> None:
    data = ct(PhotometricInterpretation="MONOCHROME1", WindowCenter=40, WindowWidth=400)
    np.testing.assert_allclose(gray(data), 255 - expected(-160, 240), atol=2)
    np.testing.assert_allclose(gray(data, (-1000, 400)), 255 - expected(-1000, 400), atol=1)


@pytest.mark.parametrize("bits", [8, 16])
def test_colors_of_a_palette(bits: int) -> None:
    numbers = np.arange(64, dtype=np.uint8).reshape(8, 8)
    dtype, factor = (np.uint8, 1) if bits == 8 else (np.uint16, 256)
    levels = np.arange(256)
    palette = {"Red": levels, "Green": 255 - levels, "Blue": levels // 2}
    fields: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, values in palette.items():
        fields[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        fields[f"{color}PaletteColorLookupTableData"] = (values * factor).astype(dtype).tobytes()
    expected_colors = np.stack([values[numbers] for values in palette.values()], axis=-1)
    np.testing.assert_array_equal(decode_full_size(dicom(numbers, **fields)), expected_colors)
    with pytest.raises(UnreadableImageError, match="the palette of the DICOM image cannot be read"):
        decode_full_size(dicom(numbers, PhotometricInterpretation="PALETTE COLOR"))


def test_colors_and_first_frame() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_full_size(dicom(rgb[0])), rgb[0])
    np.testing.assert_array_equal(decode_full_size(dicom(rgb, NumberOfFrames=2)), rgb[0])


def test_folder_of_dicom_files(tmp_path: Path) -> None:
    (tmp_path / "lung").mkdir()
    (tmp_path / "lung" / "1.dcm").write_bytes(ct(WindowCenter=40, WindowWidth=400))
    (tmp_path / "lung" / "2.dcm").write_bytes(ct()[:-100])
    images = find_images(tmp_path)
    assert images.labels == ["lung", "lung"]
    check = check_images(tmp_path)
    assert check.as_dict()["formats"] == {"DICOM": 1}
    assert [Path(image.path).name for image in check.unreadable] == ["2.dcm"]
    extractor = FeatureExtractor("color_histogram", cache=None)
    with_window = FeatureExtractor("color_histogram", cache=None, window=(-1000, 400))
    rows = extractor.fit_transform(images.paths[:1])
    assert (rows != with_window.fit_transform(images.paths[:1])).any()
    assert extractor.recipe_ != with_window.recipe_


def test_ranges_of_their_own_are_noted_and_one_window_is_the_remedy(tmp_path: Path) -> None:
    contents = [dicom((HOUNSFIELD + 1000).astype(np.uint16) // factor) for factor in (1, 10)]
    assert np.abs(gray(contents[0]) - gray(contents[1])).max() <= 2  # the same grays, whatever the values
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.dcm").write_bytes(content)
    (note,) = check_images(tmp_path).notes
    assert "scaled from their own lowest to their highest value ('0 to 240', '0 to 2400')" in note
    assert note == pixel_range_note(contents) == pixel_range_note(find_images(contents).paths)
    assert "such as window=(0, 2400) (--window 0 2400)." in note
    assert gray(contents[0], (0, 2400)).max() > 9 * gray(contents[1], (0, 2400)).max()
    assert pixel_range_note(contents, (0, 2400)) == ""
    assert pixel_range_note(contents[:1] * 2) == ""


def test_different_windows_and_curves_of_the_headers_are_noted() -> None:
    windows = [ct(WindowCenter=center, WindowWidth=400) for center in (40, 300)]
    note = pixel_range_note(windows)
    assert "different windows in their headers ('-160 to 239', '100 to 499')" in note
    assert "pass one range for all, such as window=(-160, 499) (--window -160 499)." in note
    assert "without a window are scaled from their own" in pixel_range_note([windows[0], ct()])
    assert pixel_range_note(windows[:1] * 2) == ""
    curve = ct(WindowCenter=40, WindowWidth=400, VOILUTFunction="SIGMOID")
    assert "a sigmoid curve (VOILUTFunction) in their headers, which is not applied" in pixel_range_note([curve])
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [2, 0, 16], b"\0\0\xff\xff"
    assert "a table of grays (VOILUTSequence)" in pixel_range_note([ct(VOILUTSequence=[table])])


def test_other_dicom_files() -> None:
    with pytest.raises(UnreadableImageError, match="the DICOM file has no image"):
        decode_image(ct()[:400] if b"PixelData" in ct() else dicom(np.zeros((4, 4), np.uint8))[:300], (8, 8))
    assert read_image(ct())[0][128:132] == b"DICM"


def test_deflated_file_is_refused_before_it_is_inflated() -> None:
    with pytest.raises(UnreadableImageError, match="the DICOM file is deflated"):
        decode_image(ct().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"), (32, 32))


def test_limit_of_pixels() -> None:
    with pytest.raises(ImageTooLargeError, match="the DICOM image has 1,024 pixels, more than the limit of 1,000"):
        decode_image(ct(), (32, 32), max_pixels=1000)
