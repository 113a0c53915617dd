"""Messages of libtiff."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from featx import check_images
from featx.images.decoders.libtiff import _loaded_library

needs_library = pytest.mark.skipif(_loaded_library() is None, reason="libtiff is part of Pillow here")


def damaged_tiff() -> bytes:
    """Return a TIFF whose compressed data is overwritten."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    data = bytearray(buffer.getvalue())
    data[100:110] = b"\xff" * 10
    return bytes(data)


@needs_library
def test_messages_are_reasons_and_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tif").write_bytes(damaged_tiff())
    (unreadable,) = check_images(tmp_path).unreadable
    assert "ZIPDecode: Decoding error at scanline" in unreadable.reason
    assert capfd.readouterr().err == ""


@needs_library
def test_other_code_sees_the_messages_of_its_images(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(damaged_tiff())
    code = f"""
import contextlib, PIL.Image, featx
featx.check_images({str(tmp_path)!r})
with contextlib.suppress(OSError):
    PIL.Image.open({str(tmp_path / "a.tif")!r}).load()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("ZIPDecode: Decoding error") == 1
