"""The path of an image through the code, as the architecture page describes it."""

from __future__ import annotations

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


def documented_stops() -> list[tuple[str, str]]:
    """Return file and function of each stop of the numbered list."""
    section = PAGE.read_text(encoding="utf-8").partition("## The path of an image")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `(featx/[\w/]+\.py)`: `([\w.]+)`", section, re.MULTILINE)


def test_image_takes_the_documented_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only threads that start here are recorded: decoding threads stay, and no other test starts this number.
    monkeypatch.setattr("featx.extraction.prefetch.n_cores", lambda: 13)
    stops = documented_stops()
    assert 10 <= len(stops) <= 12
    path = tmp_path / "photo.jpg"
    PIL.Image.fromarray(np.full((40, 60, 3), 99, dtype=np.uint8)).save(path)
    extractor = FeatureExtractor("mobilenet", cache=tmp_path / "cache", engine="openvino")
    called: list[tuple[str, str]] = []

    def record(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)):
            stop = (Path(code.co_filename).relative_to(ROOT).as_posix(), code.co_qualname)
            if stop in stops and stop not in called:
                called.append(stop)

    threading.setprofile(record)
    sys.setprofile(record)
    try:
        rows = extractor.transform([str(path)])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert np.isfinite(rows).all()
    assert called == stops
