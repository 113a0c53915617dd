from __future__ import annotations

from pathlib import Path

import pytest

from featx.errors import EngineError
from featx.extraction.engines.engine import stop_engines
from featx.extraction.engines.openvino import OpenVinoEngine
from featx.extraction.options import ExtractionOptions
from featx.store.compiled_graphs import Graph


def test_cpu_quota_limits_threads(compiled_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.extraction.engines.openvino.n_visible_cores", lambda: 2)
    monkeypatch.setattr("featx.extraction.engines.openvino.n_cores", lambda: 1)
    stop_engines()  # engines of other tests have other threads
    engine = ExtractionOptions().resolve().start(compiled_cache / "compiled")
    assert engine.compiled.get_property("INFERENCE_NUM_THREADS") == 1
    stop_engines()


def test_error_is_one_line() -> None:
    with pytest.raises(EngineError, match=r"OpenVINO \S+ cannot run the network: \S.*\. Pass engine") as caught:
        OpenVinoEngine(Graph(b"<net>", b""), ["a"], "avg", "float32")
    assert "\n" not in str(caught.value)
