from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from featx import KerasBackbone
from featx.errors import StoreWarning
from featx.extraction.engines.compile import compiled_recipe
from featx.extraction.engines.engine import stop_engines
from featx.extraction.options import ExtractionOptions
from featx.store.compiled_graphs import Graph
from featx.system.array_types import AnyArray
from tests.extraction.engines.conftest import rows_of


@pytest.mark.parametrize("suffix", [".xml", ".bin", ".json"])
def test_corrupt_graph_is_compiled_again(
    suffix: str, tmp_path: Path, compiled_cache: Path, pixels: AnyArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "compiled"
    shutil.copytree(compiled_cache / "compiled", folder)
    resolved = ExtractionOptions(precision="float32").resolve()
    assert isinstance(resolved.backbone, KerasBackbone)
    path = folder / f"{compiled_recipe(resolved.backbone, resolved.recipe).graph_fingerprint}{suffix}"
    whole = path.read_bytes()
    converted = Graph(*(path.with_suffix(part).read_bytes() for part in (".xml", ".bin")))
    monkeypatch.setattr("featx.extraction.engines.compile.convert_network", lambda *args: converted)
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    expected = rows_of(pixels, compiled_cache / "compiled", precision="float32")
    stop_engines()
    with pytest.warns(StoreWarning, match="corrupt.*compiled again"):
        np.testing.assert_array_equal(resolved.start(folder)(pixels), expected)
