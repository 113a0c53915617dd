from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import featx

ROOT = Path(__file__).parents[1]
HEAVY = {"numpy", "pandas", "sklearn", "PIL", "keras", "tensorflow", "openvino", "joblib", "simplejpeg", "tqdm"}


def loaded_after(code: str) -> set[str]:
    command = [sys.executable, "-W", "error", "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_featx_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_after("import featx")


def test_parsing_a_command_line_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_after("import featx.cli.main; featx.cli.main.make_parser()")


def test_extraction_from_the_command_line_loads_no_scikit_learn_or_pandas() -> None:
    assert not (HEAVY - {"numpy", "PIL"}) & loaded_after("import featx.extraction.to_file, featx.datasets.image_folder")


def test_every_public_name_is_there() -> None:
    for name in featx.__all__:
        assert getattr(featx, name) is not None
    assert set(featx.__all__) <= set(dir(featx))
    # What a public function returns can be named.
    assert {"Merge", "Plan", "Run", "Status"} <= set(featx.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(featx, "FeatureExtracter")


def test_the_version_is_the_installed_one() -> None:
    assert importlib.metadata.version("featx") == featx.__version__
    assert f"## {featx.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_module_stands_on_the_readme_s_map() -> None:
    readme = (ROOT / "README.md").read_text()
    modules = {path.name for path in (ROOT / "featx").rglob("*.py") if path.name != "__init__.py"}
    assert [name for name in sorted(modules) if name not in readme] == []


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = dict(wanted.split(">=") for wanted in project["dependencies"])
    tested = dict(line.split("==") for line in (ROOT / ".ci" / "lowest.txt").read_text().splitlines()[1:])
    exact = {name: version if version.count(".") == 2 else f"{version}.0" for name, version in floors.items()}
    assert exact == {name: tested[name] for name in floors}
