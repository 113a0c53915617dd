from __future__ import annotations

import json
from pathlib import Path

import pytest

from featx.errors import EngineError, FeatxError, WeightsError, WeightsNotFoundError
from featx.system.child_process import child_error, run_child


def test_featx_error_of_child_keeps_its_class(tmp_path: Path) -> None:
    from featx import load_backbone
    from featx.extraction.engines.compile import convert_network
    from featx.extraction.options import ExtractionOptions

    backbone = load_backbone("mobilenet")
    (tmp_path / "w.h5").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="Checksum mismatch"):
        convert_network(backbone, ExtractionOptions().resolve().recipe, tmp_path / "w.h5")  # type: ignore[arg-type]


def test_other_error_of_child() -> None:
    with pytest.raises(EngineError, match=r"for trying this failed: .*No module named featx.absent.*Do that."):
        run_child("featx.absent", {}, "trying this", "Do that.")


def test_killed_child() -> None:
    assert "exit code -9" in str(child_error("", -9, "trying this", "Do that."))


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("WeightsNotFoundError", WeightsNotFoundError),
        ("RecipeMismatchError", FeatxError),
        ("TruncatedImageError", FeatxError),
        ("json", EngineError),
        ("ErrorOfAnotherVersion", EngineError),
    ],
)
def test_every_error_of_a_child_keeps_its_message(name: str, raised: type) -> None:
    line = json.dumps({"error": name, "message": "It is so. Do that."})
    error = child_error(f"noise\n{line}\nmore noise", 1, "trying this", "Try again.")
    assert type(error) is raised
    assert str(error) == "It is so. Do that."


@pytest.mark.slow  # compiles a network
def test_working_directory_is_not_imported(in_folder: Path) -> None:
    for name in ("json.py", "keras.py", "tensorflow.py", "featx.py"):
        (in_folder / name).write_text("raise SystemExit('imported from the working directory')")
    from featx import FeatureExtractor

    rows = FeatureExtractor("mobilenet", cache=None, pooling="max", precision="float32").transform([_gray_image()])
    assert rows.shape == (1, 1024)


def _gray_image() -> object:
    import numpy as np

    return np.full((8, 8, 3), 128, dtype=np.uint8)
