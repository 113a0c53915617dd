from __future__ import annotations

from pathlib import Path

import pytest

from featx.extraction.engines import capabilities
from featx.extraction.engines.capabilities import cpu_capabilities


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user cache folder."""
    monkeypatch.setattr("featx.extraction.engines.capabilities.network_cache_folder", lambda: tmp_path / "networks")
    cpu_capabilities.cache_clear()
    return tmp_path / "processors"


def test_openvino_is_queried_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = cpu_capabilities()
    assert "FP32" in reported
    cpu_capabilities.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(capabilities, "import_openvino", lambda: pytest.fail("imported"))
        assert cpu_capabilities() == reported
    cpu_capabilities.cache_clear()
    (path,) = folder.iterdir()
    path.write_text(path.read_text().replace("FP32", "FP64"))  # corrupt: OpenVINO is queried again
    assert cpu_capabilities() == reported


def test_no_folder_is_needed(folder: Path) -> None:
    folder.write_text("not a folder")
    assert "FP32" in cpu_capabilities()


def test_another_processor_is_queried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_capabilities()
    cpu_capabilities.cache_clear()
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    cpu_capabilities()
    assert len(list(folder.iterdir())) == 2
