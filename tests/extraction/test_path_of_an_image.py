"""The path of an image through the code, as the architecture page describes it."""

from __future__ import annotations

import itertools
import re
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import PIL.Image
import pytest

import featx
from featx import FeatureExtractor

ROOT = Path(featx.__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
#: Other files with functions that get the image: they look at it, or do a part of what a stop does. Think twice before
#: you add one: a longer path is harder to follow.
OTHER_FILES = {
    "featx/datasets/dicom_windows.py",
    "featx/datasets/pixel_range.py",
    "featx/errors.py",
    "featx/extraction/engines/openvino.py",
    "featx/images/arrays.py",
    "featx/images/decoders/dicom.py",
    "featx/images/formats.py",
    "featx/images/resize.py",
    "featx/images/to_rgb.py",
    "featx/images/tta.py",
    "featx/store/digest_table.py",
    "featx/store/file_index.py",
    "featx/store/segments.py",
    "featx/store/snapshot.py",
    "featx/store/store.py",
}
#: Number of times that the file of a stop gets the image after that of a later stop has had it, as `prefetch` does
#: again and again. Threads may change it a little.
MAX_CLIMBS = 15


def documented_stops() -> list[tuple[str, str]]:
    """Return file and function of each stop of the numbered list."""
    section = PAGE.read_text(encoding="utf-8").partition("## The path of an image")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `(featx/[\w/]+\.py)`: `([\w.]+)`", section, re.MULTILINE)


def has_image(value: Any) -> bool:
    """Return whether a value is the path, the content, the digest, the pixels or the row of the image, or has it."""
    if isinstance(value, np.ndarray):
        return value.dtype in (np.uint8, np.float32) and value.size >= 16
    if isinstance(value, list | tuple):
        return any(map(has_image, value))
    if isinstance(value, str | bytes):
        return value.endswith("photo.jpg") if isinstance(value, str) else len(value) >= 16
    return hasattr(value, "source") or hasattr(value, "digest")


@pytest.fixture
def calls_with_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """File and name of each function that gets the image, in the order of the calls."""
    # Only threads that start here are recorded: decoding threads stay, and no other test starts this number.
    monkeypatch.setattr("featx.extraction.prefetch.n_cores", lambda: 13)
    first, path = tmp_path / "first.jpg", tmp_path / "photo.jpg"
    for level, photo in enumerate((first, path)):
        PIL.Image.fromarray(np.full((40, 60, 3), level, dtype=np.uint8)).save(photo)
    extractor = FeatureExtractor("mobilenet", cache=tmp_path / "cache", engine="openvino")
    extractor.transform([str(first)])  # starts the network
    monkeypatch.setattr("featx.extraction.prefetch.n_cores", lambda: 14)
    calls: list[tuple[str, str]] = []

    def record(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT / "featx")):
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if any(has_image(frame.f_locals[name]) for name in names if name not in ("self", "cls")):
                calls.append((Path(code.co_filename).relative_to(ROOT).as_posix(), code.co_qualname))

    threading.setprofile(record)
    sys.setprofile(record)
    try:
        rows = extractor.transform([str(path)])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert np.isfinite(rows).all()
    return calls


def test_image_takes_the_documented_path(calls_with_the_image: list[tuple[str, str]]) -> None:
    stops = documented_stops()
    assert 10 <= len(stops) <= 12
    assert list(dict.fromkeys(call for call in calls_with_the_image if call in stops)) == stops
    files = list(dict.fromkeys(file for file, _ in stops))
    others = {file for file, _ in calls_with_the_image if not file.startswith("featx/system/")} - set(files)
    assert others - OTHER_FILES == set(), "the image visits another file"
    order = [files.index(file) for file, _ in calls_with_the_image if file in files]
    assert 5 < sum(after < before for before, after in itertools.pairwise(order)) <= MAX_CLIMBS
