from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.errors import EngineError, FeatxError, WeightsError, WeightsNotFoundError
from featx.system.child_process import child_error, run_child


def test_featx_error_of_child_keeps_its_class(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that fails is a slow test: its process imports tensorflow."""
    (in_folder / "fails.py").write_text(
        "from featx.errors import WeightsError\nfrom featx.system.child_process import serve_task\n"
        "def work(task):\n    raise WeightsError(f'Checksum mismatch: {task}')\nraise SystemExit(serve_task(work))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(in_folder))
    with pytest.raises(WeightsError, match=r"^Checksum mismatch: \{'file': 'w.h5'\}$"):
        run_child("fails", {"file": "w.h5"}, "trying this", "Do that.")


@pytest.mark.parametrize("executable", ["", "/absent/python", os.devnull])
def test_missing_interpreter_is_named(executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(EngineError) as error:
        run_child("featx.absent", {}, "trying this", "Do that.")
    assert str(error.value) == (
        f"Cannot start a child process for trying this: there is no Python interpreter {executable!r} "
        "(sys.executable). Set sys.executable to the Python in which featx is installed, and try again."
    )


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_limit_of_processes_is_no_full_disk(python: Callable[..., Any]) -> None:
    code = """
import resource
from featx.errors import EngineError
from featx.system.child_process import run_child
from featx.system.files.temporary import temporary_place
temporary_place()
resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))
try:
    run_child("featx.absent", {}, "trying this", "Do that.")
except EngineError as error:
    print(error)
"""
    done = python(code)
    assert re.search(r"Cannot start .* trying this: Too many open files\. .*\(ulimit -n\)", done.stdout), done


def test_other_error_of_child() -> None:
    with pytest.raises(EngineError, match=r"for trying this failed: .*No module named featx.absent.*Do that."):
        run_child("featx.absent", {}, "trying this", "Do that.")


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (63, "signal 63|SIGRTMAX")])
def test_killed_child(number: int, name: str) -> None:
    error = child_error("a warning of TensorFlow", -number, "trying this", "Try again.")
    assert re.search(f"for trying this was killed by ({name}).*memory.*Try again", str(error))


@pytest.mark.skipif(not hasattr(os, "kill"), reason="signals of POSIX")
def test_child_that_is_killed_is_reported(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_folder / "ends_itself.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(in_folder))
    with pytest.raises(EngineError, match=r"killed by SIGKILL\. If memory was short"):
        run_child("ends_itself", {}, "trying this", "Try again.")


def test_environment_of_children_is_a_closed_list(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_folder / "shows.py").write_text(
        "import json, os, sys\ntask = json.load(sys.stdin)\njson.dump(dict(os.environ), open(task['file'], 'w'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(in_folder))
    unwanted = {
        **{"TF_USE_LEGACY_KERAS": "1", "PYTHONOPTIMIZE": "2", "PYTHONINSPECT": "1", "KERAS_BACKEND": "torch"},
        **{"KERAS_FLOATX": "float16", "TF_XLA_FLAGS": "--x", "SECRET": "s", "KERAS_HOME": "/nonexistent"},
        **{"PYTHONSTARTUP": "/nonexistent", "PYTHONWARNINGS": "error", "PYTHONBREAKPOINT": "absent"},
    }
    for name, value in unwanted.items():
        monkeypatch.setenv(name, value)
    passed = {"XDG_CACHE_HOME": "/xdg", "PYTHONNOUSERSITE": "1", "MKL_NUM_THREADS": "1", "SSL_CERT_FILE": "/ca.pem"}
    for name, value in passed.items():
        monkeypatch.setenv(name, value)
    run_child("shows", {"file": str(in_folder / "seen.json")}, "trying this", "Try again.")
    seen = json.loads((in_folder / "seen.json").read_text())
    assert not {name for name in unwanted if seen.get(name) == unwanted[name]}
    assert seen["KERAS_BACKEND"] == "tensorflow"
    assert {name: seen.get(name) for name in passed} == passed
    assert Path(seen["KERAS_HOME"]) == Path(seen["TMPDIR"])


@pytest.mark.slow  # converts a network
@pytest.mark.thorough
def test_settings_of_the_user_do_not_break_a_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Callable[..., Any]
) -> None:
    (tmp_path / "keras.json").write_text('{"image_data_format": "channels_first", "floatx": "float16"}')
    settings = {"TF_USE_LEGACY_KERAS": "1", "PYTHONOPTIMIZE": "2", "PYTHONINSPECT": "1", "KERAS_FLOATX": "float16"}
    code = """
import numpy as np
from featx import FeatureExtractor
extractor = FeatureExtractor("mobilenet", layer="conv_pw_13_bn", precision="float32", cache=None)
print(float(extractor.transform([np.full((8, 8, 3), 128, dtype=np.uint8)]).sum()))
"""
    plain = python(code, env={**os.environ})
    changed = python(code, env={**os.environ, **settings, "KERAS_HOME": str(tmp_path)}, stdin=subprocess.DEVNULL)
    assert changed.stdout.split()[0] == plain.stdout.split()[0], changed.stderr


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("WeightsNotFoundError", WeightsNotFoundError),
        ("RecipeMismatchError", FeatxError),
        ("TruncatedImageError", FeatxError),
        ("json", EngineError),
        ("ErrorOfAnotherVersion", EngineError),
    ],
)
def test_every_error_of_a_child_keeps_its_message(name: str, raised: type) -> None:
    line = json.dumps({"error": name, "message": "It is so. Do that."})
    error = child_error(f"noise\n{line}\nmore noise", 1, "trying this", "Try again.")
    assert type(error) is raised
    assert str(error) == "It is so. Do that."


@pytest.mark.slow  # compiles a network
def test_working_directory_is_not_imported(in_folder: Path) -> None:
    for name in ("json.py", "keras.py", "tensorflow.py", "featx.py"):
        (in_folder / name).write_text("raise SystemExit('imported from the working directory')")
    from featx import FeatureExtractor

    rows = FeatureExtractor("mobilenet", cache=None, pooling="max", precision="float32").transform([_gray_image()])
    assert rows.shape == (1, 1024)


def _gray_image() -> object:
    import numpy as np

    return np.full((8, 8, 3), 128, dtype=np.uint8)
