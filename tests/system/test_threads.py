"""Modules that are hidden while another one is imported."""

from __future__ import annotations

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from featx.system.threads import hidden_modules


def test_threads_import_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "featx_slow_module.py").write_text(
        "import time\ntime.sleep(0.05)\ntry:\n    import featx_unused\nexcept ImportError:\n    featx_unused = None\n"
    )
    (tmp_path / "featx_unused.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def load(_: int) -> bool:
        with hidden_modules("featx_slow_module", ["featx_unused"]):
            return importlib.import_module("featx_slow_module").featx_unused is None

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(load, range(8)))
    assert "featx_unused" not in sys.modules
    assert importlib.import_module("featx_unused").__name__ == "featx_unused"  # it is hidden in the block only
    for name in ("featx_slow_module", "featx_unused"):
        del sys.modules[name]
