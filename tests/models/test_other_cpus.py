"""A model in bfloat16 on a CPU without it: cached rows are used, and float32 is offered and works.

oneDNN's variable ONEDNN_MAX_CPU_ISA makes OpenVINO run as on an older CPU, in a process of its own. Where this CPU is
an older one, rows in the cache stand for those that another machine computed in bfloat16.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, extract_images, job_status, plan_job, train_images
from featx.extraction.engines.capabilities import cpu_capabilities
from featx.extraction.engines.engine import has_native_bfloat16
from featx.extraction.options import ExtractionOptions
from featx.images.image import content_digest
from featx.store.store import Store
from tests.cli.helpers import featx

HAS_BFLOAT16 = has_native_bfloat16()
OLDER_CPU = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
REFUSAL = 'Cannot compute features in bfloat16: .*pass precision="float32" \\(--precision float32\\)'


@pytest.fixture(scope="module")
def trained(photos: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, a model in bfloat16, a cache with its rows, and a feature matrix."""
    folder = tmp_path_factory.mktemp("trained")
    for index, image in enumerate(photos):
        path = folder / "photos" / ("china" if index < 12 else "flower") / f"{index:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    paths = sorted(map(str, folder.glob("photos/*/*.jpg")))
    if not HAS_BFLOAT16:
        copy_rows_of_another_cpu(paths, folder / "cache")
    backbone = FeatureExtractor(precision="auto" if HAS_BFLOAT16 else "bfloat16")
    labels = [Path(path).parent.name for path in paths]
    model = train_images(paths, labels, backbone=backbone, cv=2, cache=folder / "cache")
    assert any('precision="float32"' in note for note in model.notes) or not HAS_BFLOAT16
    model.save(folder / "model.skops")
    extract_images(paths, folder / "features.npy", precision="bfloat16", cache=folder / "cache")
    photos[0].rotate(180).save(folder / "new.jpg")
    return folder


def copy_rows_of_another_cpu(paths: list[str], cache: Path) -> None:
    """Write rows to a cache under the recipe in bfloat16, as if the cache were copied from a CPU that has it."""
    rows = FeatureExtractor(precision="float32", cache=None).fit([]).transform(paths)
    recipe = ExtractionOptions(precision="bfloat16").resolve().recipe
    store = Store(cache, recipe.fingerprint, recipe.as_dict(), rows.shape[1])
    store.prepare()
    digests = b"".join(content_digest(Path(path).read_bytes()) for path in paths)
    store.append(np.frombuffer(digests, dtype=np.uint8).reshape(len(paths), -1), rows)
    store.commit()


def test_auto_is_float32_there(python: Callable[..., Any]) -> None:
    code = "from featx import FeatureExtractor; print(FeatureExtractor().fit([]).recipe_['precision'])"
    assert python(code, env=OLDER_CPU).stdout == "float32\n"
    assert FeatureExtractor().fit([]).recipe_["precision"] == ("bfloat16" if HAS_BFLOAT16 else "float32")


def test_cached_rows_are_used(trained: Path) -> None:
    image = trained / "photos/china/00.jpg"
    expected = featx("predict", trained / "model.skops", image, "--cache", trained / "cache", "--quiet")
    there = featx("predict", trained / "model.skops", image, "--cache", trained / "cache", "--quiet", env=OLDER_CPU)
    assert (there.returncode, there.stdout) == (0, expected.stdout)


@pytest.mark.parametrize("command", ["predict", "explain", "similar"])
def test_commands_offer_float32_and_it_works(command: str, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "cache", tmp_path / "cache")
    source = trained / ("features.npy" if command == "similar" else "model.skops")
    arguments = [command, source, trained / "new.jpg", "--cache", tmp_path / "cache", "--quiet"]
    refused = featx(*arguments, env=OLDER_CPU, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.search("Cannot compute features in bfloat16: .*pass --precision float32,", refused.stderr)
    assert refused.stderr.count("\n") == 1
    done = featx(*arguments, "--precision", "float32", env=OLDER_CPU, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "china" in done.stdout


def test_loaded_pipeline_offers_float32_and_it_works(trained: Path, python: Callable[..., Any]) -> None:
    code = """
import sys
from featx import load_pipeline, predict_images, similar_images
from featx.errors import EngineError

model, features, image = sys.argv[1:]
try:
    load_pipeline(model, cache=None).predict([image])
except EngineError as error:
    print(error)
print(load_pipeline(model, cache=None).set_params(features__precision="float32").predict([image])[0])
print(load_pipeline(model, cache=None, precision="float32").predict([image])[0])
print(predict_images(model, [image], cache=None, precision="float32").label[0])
print(len(similar_images(features, [image], precision="float32", cache=None)))
"""
    done = python(
        code, *map(str, (trained / "model.skops", trained / "features.npy", trained / "new.jpg")), env=OLDER_CPU
    )
    refusal, *labels = done.stdout.splitlines()
    assert "Cannot compute features in bfloat16" in refusal
    assert labels == ["china", "china", "china", "1"], done.stderr


@pytest.mark.skipif(not HAS_BFLOAT16, reason="a job in bfloat16 is planned where it can run")
@pytest.mark.slow  # starts workers
def test_job_is_left_for_a_cpu_that_can_run_it(trained: Path, tmp_path: Path) -> None:
    plan_job(trained / "photos", tmp_path / "job", sample=0, cache=None)
    arguments = ("job", "run", tmp_path / "job", "--cache", tmp_path / "cache", "--quiet")
    refused = featx(*arguments, env=OLDER_CPU)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert "was planned in bfloat16, which this CPU does not support" in refused.stderr
    assert "--precision float32" in refused.stderr
    assert job_status(tmp_path / "job").quarantined == {}
    shutil.copytree(trained / "cache", tmp_path / "cache", dirs_exist_ok=True)
    done = featx(*arguments, env=OLDER_CPU)  # cached rows need no computation
    assert done.returncode == 0, done.stderr
    assert "1 of 1 shard done" in done.stdout


@pytest.mark.parametrize(("limit", "expected"), [("avx2", False), ("AVX512_CORE", False), ("AVX512_CORE_AMX", True)])
def test_limits_of_instructions(limit: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert has_native_bfloat16() is (expected and "BF16" in cpu_capabilities())
