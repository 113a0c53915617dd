from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx import KerasBackbone
from featx.errors import StoreWarning
from featx.extraction.engines.compile import compiled_recipe
from featx.extraction.engines.engine import stop_engines
from featx.extraction.engines.packaged import load_packaged
from featx.extraction.options import ExtractionOptions
from featx.store.compiled_graphs import save_graph
from featx.system.array_types import AnyArray
from tests.extraction.engines.conftest import rows_of


def test_corrupt_graph_is_compiled_again(tmp_path: Path, pixels: AnyArray, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "compiled"
    resolved = ExtractionOptions(precision="float32").resolve()
    assert isinstance(resolved.backbone, KerasBackbone)
    recipe = compiled_recipe(resolved.backbone, resolved.recipe)
    packaged = load_packaged(resolved.backbone, recipe)
    assert packaged is not None
    save_graph(packaged, folder, recipe.graph_fingerprint)
    monkeypatch.setattr("featx.extraction.engines.compile.load_packaged", lambda *args: None)
    path = folder / f"{recipe.graph_fingerprint}.graph"
    whole = path.read_bytes()
    monkeypatch.setattr("featx.extraction.engines.compile.convert_network", lambda *args: packaged)
    expected = rows_of(pixels, folder, precision="float32")
    stop_engines()
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    with pytest.warns(StoreWarning, match="corrupt.*compiled again"):
        np.testing.assert_array_equal(resolved.start(folder)(pixels), expected)
