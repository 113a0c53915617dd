"""Requirements of a service: what a Predictor imports, and nothing that trains."""

from __future__ import annotations

import importlib.metadata
import json

import pytest

from featx import requirements
from featx.errors import MissingDependencyError
from tests.cli.helpers import featx


def test_serving_needs_no_training_libraries() -> None:
    names = [line.split("==")[0] for line in requirements(serve=True)]
    assert {"numpy", "openvino", "pillow"} <= set(names)
    assert not {"tensorflow", "keras", "scikit-learn", "pandas", "scipy"} & set(names)
    assert all("==" in line for line in requirements(serve=True))


def test_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("openvino", "cykooz-resizer"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("importlib.metadata.version", version)
    with pytest.raises(MissingDependencyError, match="requires the package openvino"):
        requirements(serve=True)


def test_command_prints_a_requirements_file() -> None:
    assert featx("requirements", "--serve").stdout.splitlines() == requirements(serve=True)
    assert json.loads(featx("requirements", "--json").stdout) == requirements()
    assert any(line.startswith("tensorflow") for line in requirements())
