"""What a process that serves a model imports, and how much memory it takes: small, and the same after many requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, save_pipeline

pytestmark = [
    pytest.mark.slow,  # the thorough test predicts for minutes
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc"),
]

SERVE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from featx import Predictor

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024

predictor = Predictor("model.skops", cache=None, allow=("bytes", "array")).warm_up()
images = [path.read_bytes() for path in sorted(Path().glob("*.jpg"))]
labels = {predictor.predict_one(image).label for image in images}
peak = memory("VmHWM")
heavy = {"sklearn", "pandas", "tensorflow", "torch", "keras", "scipy"} & set(sys.modules)
"""


@pytest.fixture
def folder(photos: list[PIL.Image.Image], tmp_path: Path, compiled_cache: Path) -> Path:
    """A folder with a model in float32, which takes more memory than one in bfloat16, and photographs."""
    extractor = FeatureExtractor(precision="float32", cache=compiled_cache)
    save_pipeline(
        make_pipeline(extractor, LogisticRegression()).fit(photos[8:16], list("aaaabbbb")), tmp_path / "model.skops"
    )
    for index, photo in enumerate(photos[8:16]):
        photo.resize((500, 375)).save(tmp_path / f"{index}.jpg")
    return tmp_path


def test_process_that_serves_is_small(folder: Path, python: Callable[..., Any]) -> None:
    done = python(SERVE + "print(*sorted(labels), peak, *heavy)", cwd=folder)
    *labels, peak = done.stdout.split()
    assert labels == ["a", "b"], done.stderr
    assert int(peak) <= 200


@pytest.mark.thorough
def test_memory_is_flat_over_10_000_requests(folder: Path, python: Callable[..., Any]) -> None:
    code = """
def request(number):
    broken = number % 10 == 0
    prediction = predictor.predict_one(images[number % 8][: 200 if broken else None])
    assert bool(prediction.error) == broken

sizes = []
with ThreadPoolExecutor(8) as threads:
    for part in range(10):
        list(threads.map(request, range(1000)))
        sizes.append(memory("VmRSS"))
print(*sizes)
"""
    done = python(SERVE + code, cwd=folder, timeout=900)
    sizes = list(map(int, done.stdout.split()))
    assert len(sizes) == 10, done.stderr
    assert sizes[-1] <= sizes[1] + 3, sizes
