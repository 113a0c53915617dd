from __future__ import annotations

from pathlib import Path

import pytest

from featx.errors import EngineError, WeightsError
from featx.system.child_process import _error_of, run_child


def test_an_error_of_the_child_comes_back_as_its_own_kind(tmp_path: Path) -> None:
    from featx import load_backbone
    from featx.extraction.engines.compile import convert_network
    from featx.extraction.options import ExtractionOptions

    backbone = load_backbone("mobilenet")
    (tmp_path / "w.h5").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="Checksum mismatch"):
        convert_network(backbone, ExtractionOptions().resolve().recipe, tmp_path / "w.h5")  # type: ignore[arg-type]


def test_a_child_that_breaks_gives_its_last_words_and_a_remedy() -> None:
    with pytest.raises(EngineError, match=r"failed at trying this \(.*No module named featx.absent.*Do that."):
        run_child("featx.absent", {}, "trying this", "Do that.")


def test_a_child_that_is_killed_says_nothing() -> None:
    assert "exit code -9" in str(_error_of("", -9, "trying this", "Do that."))


@pytest.mark.slow  # compiles a network
def test_files_of_the_user_are_not_taken_for_libraries(in_folder: Path) -> None:
    for name in ("json.py", "keras.py", "tensorflow.py", "featx.py"):
        (in_folder / name).write_text("raise SystemExit('taken for the library')")
    from featx import FeatureExtractor

    rows = FeatureExtractor("mobilenet", cache=None, pooling="max", precision="float32").transform([_grey()])
    assert rows.shape == (1, 1024)


def _grey() -> object:
    import numpy as np

    return np.full((8, 8, 3), 128, dtype=np.uint8)
