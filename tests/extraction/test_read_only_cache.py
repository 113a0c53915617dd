"""A cache that may not be written: rows in it are used, others are computed with one warning and not kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import featx
from featx import FeatureExtractor, save_pipeline
from featx.errors import StoreWarning
from featx.extraction.extract import extract_into
from featx.extraction.feature_extractor import resolve_extractor
from featx.store import view_store
from featx.store.view_store import write_buffers
from tests.backbones.networks import save_onnx

pytestmark = pytest.mark.skipif(not hasattr(os, "setuid"), reason="users of POSIX")

AS_NOBODY = """
import os, sys
from pathlib import Path
import numpy as np
from featx import FeatureExtractor
from featx.extraction.extract import extract_rows
from featx.extraction.feature_extractor import resolve_extractor
# Another user may not read the Python of root: all modules are imported before.
FeatureExtractor("color_histogram", cache=os.path.dirname(sys.argv[1]) + "/own").transform(
    [np.zeros((8, 8, 3), np.uint8), sys.argv[-1]]
)
if os.geteuid() == 0:
    os.setuid(65534)  # permissions do not apply to root
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may enter and not write, unlike those of pytest."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def run(code: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment |= {"TMPDIR": "/nowhere", **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


@pytest.mark.parametrize("is_buffered", [False, True])
def test_cache_that_cannot_be_created(is_buffered: bool, tmp_path: Path, paths: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    resolved = resolve_extractor(FeatureExtractor("color_histogram"))
    rows = np.empty((2, resolved.n_features), dtype=np.float32)
    reason = "Rows and networks are computed and not kept. Set another folder"
    with pytest.warns(StoreWarning, match=reason) as caught:  # noqa: PT031  # buffered rows are written later
        extract_into(rows, paths[:2], resolved, cache=tmp_path / "file" / "cache", is_buffered=is_buffered)
        write_buffers()
    view_store._buffers.clear()  # of this test
    assert len(caught) == 1
    assert np.isfinite(rows).all()


def test_cache_of_another_user(folder: Path, paths: list[str]) -> None:
    images = [shutil.copy(path, folder / f"{index}.jpg") for index, path in enumerate(paths[:6])]
    FeatureExtractor("color_histogram", cache=folder / "cache").transform(images[:3])
    before = sorted(str(path) for path in (folder / "cache").rglob("*"))
    code = """
cache, *images = sys.argv[1:]
extractor = FeatureExtractor("color_histogram", cache=cache)
extractor.transform(images[:3])
print("cached")
print("cached", file=sys.stderr, flush=True)
for _ in range(3):
    print(extractor.transform(images).shape)
private = os.path.dirname(cache) + "/private"
rows, _, errors = extract_rows(images, resolve_extractor(extractor), cache=Path(private), read_only=True)
print(rows.shape, errors)
"""
    shutil.copytree(folder / "cache", folder / "private")
    (folder / "private").chmod(0o700)
    done = run(AS_NOBODY + code, folder / "cache", *images)
    assert done.stdout == "cached\n" + 3 * "(6, 512)\n" + "(6, 512) {}\n", done.stderr
    quiet, noisy = done.stderr.split("cached\n")
    assert quiet == ""
    assert noisy.count("Cannot write to the feature cache") == 1
    assert "Permission denied. Rows and networks are computed and not kept" in noisy
    assert noisy.count("Cannot read the feature cache") == 1  # by a call that need not read it
    assert sorted(str(path) for path in (folder / "cache").rglob("*")) == before


def test_recipe_folder_of_another_user(folder: Path, paths: list[str]) -> None:
    """Everybody may write the cache, but not the rows that somebody else has begun."""
    image = shutil.copy(paths[0], folder)
    FeatureExtractor("color_histogram", cache=folder / "cache").transform(paths[1:2])
    (folder / "cache").chmod(0o777)
    code = "print(FeatureExtractor('color_histogram', cache=sys.argv[1]).transform(sys.argv[2:]).shape)"
    done = run(AS_NOBODY + code, folder / "cache", image)
    assert done.stdout == "(1, 512)\n", done.stderr
    assert done.stderr.count("Cannot write to the feature cache") == 1


def test_model_of_a_custom_network_without_home_and_cache(folder: Path, paths: list[str]) -> None:
    image = shutil.copy(paths[0], folder)
    save_onnx(folder / "own.onnx")
    own = FeatureExtractor(folder / "own.onnx", preprocessing="tf", precision="float32", cache=None)
    pipeline = make_pipeline(own, LogisticRegression()).fit(paths[:4], list("aabb"))
    save_pipeline(pipeline, folder / "model.skops")
    code = """
import sys
from featx import Predictor
print(Predictor(sys.argv[1], cache=None).predict_one(sys.argv[2]).label)
"""
    done = run(code, folder / "model.skops", image, XDG_CACHE_HOME="/dev/null")
    assert done.stdout == "a\n", done.stderr
    assert done.stderr == ""


READ_ONLY_ROOT = """
for folder in / "$PWD" /dev/shm; do
    mount --bind "$folder" "$folder" && mount -o remount,bind,ro "$folder" || exit 99
done
cd "$PWD"
touch file 2>/dev/null && exit 98
exec "$@"
"""


@pytest.mark.thorough
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="root mounts on Linux")
def test_file_system_that_is_read_only(folder: Path, photos: list[Any]) -> None:
    """As in a container with a read-only root: no home, no temporary folder, no cache that can be written."""
    for index, photo in enumerate(photos[8:16]):
        photo.save(folder / f"{index}.jpg")
    pipeline = make_pipeline(FeatureExtractor(cache=None), LogisticRegression())
    save_pipeline(pipeline.fit(sorted(folder.glob("*.jpg")), list("aaaabbbb")), folder / "model.skops")
    code = """
from featx import Predictor, load_pipeline
images = [f"{index}.jpg" for index in range(8)]
print(*(prediction.label for prediction in Predictor("model.skops").warm_up().predict_each(images)))
print(*load_pipeline("model.skops").predict(images))
print(Predictor("model.skops").predict_each(images * 8)[0].label)
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(featx.__file__).parents[1])}
    command = ["unshare", "--mount", "sh", "-c", READ_ONLY_ROOT, "sh", sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment, cwd=folder
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("a read-only root needs the permission to mount")
    assert done.stdout == "a a a a b b b b\na a a a b b b b\na\n", done.stderr
    assert done.stderr.count("Cannot write to the feature cache") == 1
