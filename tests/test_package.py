from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path

import grimp
import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import featx

ROOT = Path(__file__).parents[1]
#: A name in a docstring.
NAME = re.compile(r"``([\w.]+)``")
HEAVY = {"numpy", "pandas", "sklearn", "PIL", "keras", "tensorflow", "openvino", "joblib", "simplejpeg", "tqdm"}


def loaded_after(code: str) -> set[str]:
    command = [sys.executable, "-W", "error", "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_featx_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_after("import featx")


def test_parsing_a_command_line_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_after("import featx.cli.main; featx.cli.main.make_parser()")


def test_extraction_from_the_command_line_loads_no_scikit_learn_or_pandas() -> None:
    assert not (HEAVY - {"numpy", "PIL"}) & loaded_after("import featx.extraction.to_file, featx.datasets.find")


def test_every_public_name_is_there() -> None:
    for name in featx.__all__:
        assert getattr(featx, name) is not None
    assert set(featx.__all__) <= set(dir(featx))
    # What a public function returns can be named.
    assert {"JobMerge", "JobPlan", "JobStatus"} <= set(featx.__all__)


def test_type_checkers_see_the_names_that_are_exported() -> None:
    (block,) = [node for node in ast.parse(Path(featx.__file__).read_text()).body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    seen = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    exported = {f"featx.{module}.{name}" for module, names in featx._EXPORTS.items() for name in names}
    assert seen == exported
    assert {name.rpartition(".")[2] for name in exported} == set(featx.__all__) - {"__version__"}


def test_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(featx, "FeatureExtracter")


def test_version_equals_the_installed_version() -> None:
    assert importlib.metadata.version("featx") == featx.__version__
    assert f"## {featx.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def rooms() -> list[Path]:
    return sorted(path.parent for path in (ROOT / "featx").rglob("__init__.py") if path.parent.name != "featx")


@pytest.mark.parametrize("room", rooms(), ids=lambda room: str(room.relative_to(ROOT / "featx")))
def test_room_names_each_of_its_files_and_is_small(room: Path) -> None:
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    files = sorted(path.stem for path in room.glob("*.py") if path.stem != "__init__")
    assert [name for name in files if f"``{name}``" not in docstring] == []
    assert "May import:" in docstring
    assert len(files) <= 12


#: How a docstring gives the reason for a long file, class or function.
REASON = re.compile(
    r"is long because|(?:half|third|quarter|Most) of (?:this|the) (?:file|class) is the\s+documentation"
    r"|lines\s+of `\w+`|(?:are|is) its (?:list of )?parameters"
)


def too_long(path: Path) -> dict[str, tuple[int, int]]:
    """Return the lines of a file, its classes and functions that have more than the maximum, which is second.

    Documentation of functions does not count.
    """
    text = path.read_text()
    maximum = {ast.FunctionDef: 50, ast.AsyncFunctionDef: 50, ast.ClassDef: 300}
    found = {path.name: (text.count("\n"), 400)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, tuple(maximum)):
            documentation = node.body[0] if ast.get_docstring(node) and type(node) is not ast.ClassDef else None
            n_lines = node.end_lineno - node.lineno + 1
            n_lines -= documentation.end_lineno - documentation.lineno + 1 if documentation else 0
            found[f"{path.name}: {node.name}"] = (n_lines, maximum[type(node)])
    return {name: size for name, size in found.items() if size[0] > size[1]}


def test_only_long_files_classes_and_functions_have_a_reason_for_it() -> None:
    wrong = {}
    for path in sorted((ROOT / "featx").rglob("*.py")):
        has_reason = REASON.search(ast.get_docstring(ast.parse(path.read_text())) or "") is not None
        if has_reason != bool(long := too_long(path)):
            wrong[str(path.relative_to(ROOT))] = long or "a reason that is not needed"
    assert wrong == {}


def is_within(module: str, names: list[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def test_rooms_import_what_their_docstrings_allow() -> None:
    """A room may always import itself and its sub-rooms."""
    graph = grimp.build_graph("featx", exclude_type_checking_imports=False)
    wrong = []
    for path in rooms():
        room = ".".join(path.relative_to(ROOT).parts)
        text = (ast.get_docstring(ast.parse((path / "__init__.py").read_text())) or "").partition("May import: ")[2]
        excluded = [f"featx.{name}" for part in re.findall(r"\(not (.*?)\)", text, re.S) for name in NAME.findall(part)]
        allowed = [f"featx.{name}" for name in NAME.findall(re.sub(r"\(not .*?\)", "", text, flags=re.S))]
        files = {f"{room}.{file.stem}" for file in path.glob("*.py") if file.stem != "__init__"}
        for name in [] if text.startswith("every room") else sorted(files):
            wrong += [
                f"{name} imports {other}"
                for other in sorted(graph.find_modules_directly_imported_by(name))
                if not is_within(other, [room, *allowed]) or is_within(other, excluded)
            ]
    assert wrong == []


def test_few_entries_lie_directly_in_the_package() -> None:
    entries = {path.name for path in (ROOT / "featx").iterdir() if path.name != "__pycache__"}
    assert len(entries) <= 18


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports under ``TYPE_CHECKING`` count too."""
    graph = grimp.build_graph("featx", exclude_type_checking_imports=False)
    names = sorted(graph.modules)
    index = {name: number for number, name in enumerate(names)}
    pairs = [(index[name], index[other]) for name in names for other in graph.find_modules_directly_imported_by(name)]
    links = coo_array((np.ones(len(pairs)), np.array(pairs).T), shape=(len(names), len(names)))
    circle_of = connected_components(links, connection="strong")[1]
    circles = [[name for name in names if circle_of[index[name]] == number] for number in set(circle_of)]
    assert [circle for circle in circles if len(circle) > 1] == []


def test_lowest_versions_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = dict(wanted.split(";")[0].split(">=") for wanted in project["dependencies"])
    tested = dict(line.split("==") for line in (ROOT / ".ci" / "lowest.txt").read_text().splitlines()[1:])
    exact = {name: version if version.count(".") == 2 else f"{version}.0" for name, version in floors.items()}
    assert exact == {name: tested[name] for name in floors}


def test_a_wheel_takes_at_most_32_megabytes() -> None:
    package = ROOT / "featx"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    # Binary weights hardly shrink in a wheel, the rest to a fifth or less, at the level that builders of wheels use.
    binary = sum(path.stat().st_size for path in files if path.suffix in {".bin", ".h5", ".jpg"})
    rest = sum(len(zlib.compress(path.read_bytes(), 6)) for path in files if path.suffix not in {".bin", ".h5", ".jpg"})
    assert 16e6 < binary + rest < 32e6


def test_private_helpers_of_scikit_learn_are_imported_in_one_file() -> None:
    """``errors`` may import nothing of the package, and so names one itself."""
    private = re.compile(r"from sklearn[\w.]*\._\w+ import|from sklearn[\w.]* import (?:[^\n]*\W)?_\w+")
    files = [path for path in (ROOT / "featx").rglob("*.py") if private.search(path.read_text())]
    assert sorted(path.name for path in files) == ["errors.py", "sklearn_compat.py"]
