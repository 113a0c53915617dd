"""Backbones that a small installed package declares: a module and its dist-info folder on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx
from featx import FeatureExtractor, available_backbones, load_backbone
from featx.backbones.entry_points import declared_names
from featx.errors import FeatxWarning, UnknownBackboneError

CODE = """
from featx import DirectBackbone

class MeanColor(DirectBackbone):
    version, image_size = 1, 32
    def __init__(self, name="NAME_color"):
        self.name = name
    def n_features(self, pooling):
        return 3
    def extract(self, pixels):
        return pixels.mean(axis=(1, 2), dtype="float32")

instance = MeanColor("NAME_instance")

def make():
    return MeanColor("NAME_function")
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a package with entry points, and returns the folder to put on the path."""

    def install(name: str, entry_points: dict[str, str], code: str = CODE) -> Path:
        (tmp_path / f"{name}.py").write_text(code.replace("NAME", name))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "\n".join(f"{key} = {value}" for key, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[featx.backbones]\n{lines}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        return tmp_path

    return install


def test_declared_backbones_are_loaded_by_name(install: Install) -> None:
    install(
        "plug_a", {f"plug_a_{kind}": f"plug_a:{kind}" for kind in ("instance",)} | {"plug_a_color": "plug_a:MeanColor"}
    )
    assert load_backbone("plug_a_instance") is load_backbone("plug_a_instance")
    rows = FeatureExtractor("plug_a_color", cache=None).fit_transform([np.full((8, 8, 3), 7, np.uint8)])
    np.testing.assert_array_equal(rows, [[7, 7, 7]])


def test_declared_backbones_are_listed(install: Install) -> None:
    install("plug_b", {"plug_b_function": "plug_b:make", "plug_b_instance": "plug_b:instance"})
    assert declared_names() == ["plug_b_function", "plug_b_instance"]
    assert {"mobilenet", "plug_b_function", "plug_b_instance"} <= set(available_backbones())


def test_packages_are_imported_only_when_needed(install: Install) -> None:
    install("plug_c", {"plug_c_color": "plug_c:MeanColor"})
    load_backbone("mobilenet")
    assert "plug_c" not in sys.modules
    load_backbone("plug_c_color")
    assert "plug_c" in sys.modules


@pytest.mark.parametrize(
    ("number", "value", "code", "reason"),
    [
        (0, "absent_module:MeanColor", CODE, "ModuleNotFoundError: No module named 'absent_module'"),
        (1, "NAME:absent", CODE, "AttributeError"),
        (2, "NAME:instance", "raise RuntimeError('the GPU is missing')", "RuntimeError: the GPU is missing"),
        (3, "NAME:instance", "instance = 7", "TypeError: 'int' object is not callable"),
        (4, "NAME:make", "def make(): return 7", "it is of type int, not a featx.Backbone"),
        (5, "NAME:make", CODE, "its name is 'plug_d5_function'"),
        (6, "NAME:make", CODE.replace("version, image_size = 1, 32", "image_size = 32"), "has no version"),
        (
            7,
            "NAME:make",
            CODE.replace("def n_features(self, pooling):\n        return 3", "n_features = 3"),
            "be a method",
        ),
    ],
)
def test_broken_entry_point_warns_and_the_others_work(
    number: int, value: str, code: str, reason: str, install: Install
) -> None:
    name = f"plug_d{number}"
    entry_point = f"{name}_function" if number >= 6 else f"{name}_broken"
    install(name, {entry_point: value.replace("NAME", name)}, code)
    message = f"Cannot load backbone '{entry_point}' of package '{name}' .entry point .*{reason}"
    with pytest.warns(FeatxWarning, match=message):
        names = available_backbones()
    assert entry_point not in names
    assert "mobilenet" in names
    with pytest.raises(UnknownBackboneError):  # without a second warning
        load_backbone(entry_point)


def test_package_without_metadata(install: Install) -> None:
    folder = install("plug_i", {"plug_i_color": "plug_i:MeanColor", "plug_i_broken": "plug_i:absent"})
    (folder / "plug_i-1.0.dist-info" / "METADATA").unlink()
    assert load_backbone("plug_i_color").n_features("avg") == 3
    with pytest.warns(FeatxWarning, match="Cannot load backbone 'plug_i_broken' of package 'unknown'"):
        assert "plug_i_broken" not in available_backbones()


def test_built_in_and_registered_backbones_take_precedence(install: Install, counting: featx.Backbone) -> None:
    install("plug_e", {"mobilenet": "plug_e:instance", "counting": "plug_e:instance"})
    assert load_backbone("mobilenet").n_features("avg") == 1024
    assert load_backbone("counting") is counting
    with pytest.warns(FeatxWarning, match="Ignored backbone 'mobilenet' of package 'plug_e' .*built-in.*Rename"):
        assert available_backbones().count("mobilenet") == 1
    assert "plug_e" not in sys.modules


def test_unknown_backbone_does_not_load_the_declared_ones(install: Install) -> None:
    install("plug_j", {"plug_j_broken": "plug_j:absent"})
    with pytest.raises(UnknownBackboneError, match="Did you mean 'plug_j_broken'"):
        load_backbone("plug_j_broke")
    assert "plug_j" not in sys.modules


def test_first_package_on_the_path_wins(install: Install) -> None:
    install("plug_f", {"plug_f_color": "plug_f:MeanColor"})
    install("plug_g", {"plug_f_color": "plug_g:MeanColor"})
    assert declared_names() == ["plug_f_color"]


@pytest.mark.slow  # starts processes
def test_declared_backbones_are_known_to_child_processes(install: Install, python: Any, paths: list[str]) -> None:
    folder = install("plug_h", {"plug_h_color": "plug_h:MeanColor"})
    code = (
        "import sys, featx\n"
        "assert not {'numpy', 'importlib.metadata', 'plug_h'} & set(sys.modules)\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "import multiprocessing\n"
        "def extract(paths): return featx.FeatureExtractor('plug_h_color', cache=None).fit_transform(paths).shape\n"
        "if __name__ == '__main__':\n"
        "    import joblib\n"
        "    print(*joblib.Parallel(2)(joblib.delayed(extract)(sys.argv[1:]) for _ in range(2)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    done = python(code, *paths[:3], env=environment)
    assert done.stdout == "(3, 3) (3, 3)\n", done.stderr
