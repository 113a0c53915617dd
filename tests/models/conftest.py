"""Fixtures of the models room: images of digits, and a model of them that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import train_images
from featx.models.model import Model
from featx.models.model_file import read_model
from tests.models.model_samples import extractor

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="session")
def digits(digits_folder: Path) -> list[Path]:
    return sorted(digits_folder.glob("[0-3]/*.png"))[::6]


@pytest.fixture(scope="session")
def digit_labels(digits: list[Path]) -> list[str]:
    return [path.parent.name for path in digits]


@pytest.fixture(scope="session")
def model(digits: list[Path], digit_labels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.skops"
    train_images(digits, digit_labels, backbone=extractor(), cache=None).save(path)
    return path


@pytest.fixture
def model_here(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.skops").write_bytes(model.read_bytes())
    return read_model(model)
