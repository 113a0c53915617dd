"""ONNX networks of the hub, downloaded by its real client from a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor, Predictor
from featx.backbones.hub.repository import known_license
from tests.backbones.hub.hub_server import COMMIT, OLD_COMMIT, TOKEN, HubServer, serve_hub
from tests.backbones.networks import SIZE, save_onnx

pytest.importorskip("huggingface_hub")

PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 56},
    "do_center_crop": True,
    "crop_size": {"height": SIZE, "width": SIZE},
    "resample": 3,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.5],
}
NAME = "hf://org/net/onnx/model.onnx"
SCRIPT = """
import json, sys
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from featx import FeatureExtractor, save_pipeline
extractor = FeatureExtractor(sys.argv[1], precision="float32", cache=sys.argv[2])
print(json.dumps([extractor.fit_transform(sys.argv[3:]).tolist(), extractor.recipe_]))
pipeline = make_pipeline(extractor, LogisticRegression()).fit([sys.argv[3]] * 2, ["a", "b"])
save_pipeline(pipeline, sys.argv[2] + "/model.skops")
"""
_ERRORS = """
import sys
from featx import FeatureExtractor
from featx.errors import FeatxError
for name in sys.argv[1].split("\\n"):
    try:
        FeatureExtractor(name, precision="float32", cache=sys.argv[2]).fit_transform(sys.argv[3:])
    except FeatxError as error:
        print(error)
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    save_onnx(tmp_path / "network.onnx")
    network = (tmp_path / "network.onnx").read_bytes()
    processor = json.dumps(PROCESSOR).encode()
    files = {
        ("org/net", COMMIT, "onnx/model.onnx"): network,
        ("org/net", COMMIT, "preprocessor_config.json"): processor,
        ("org/net", OLD_COMMIT, "onnx/model.onnx"): network,
        ("org/gated", COMMIT, "model.onnx"): network,
        ("org/gated", COMMIT, "preprocessor_config.json"): processor,
        ("org/bare", COMMIT, "model.onnx"): network,
    }
    with serve_hub(files, gated={"org/gated"}) as started:
        yield started


@pytest.fixture
def photo_path(photo: PIL.Image.Image, tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    photo.resize((90, 70)).save(path)
    return str(path)


@pytest.fixture
def run(server: HubServer, tmp_path: Path, photo_path: str) -> Run:
    """Extract a photo in a new process, whose client reads the environment."""

    def run_with(name: str, script: str = SCRIPT, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        hub = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
        return subprocess.run(
            [sys.executable, "-c", script, name, str(tmp_path / "cache"), photo_path],
            env={**clean, **hub, "NO_PROXY": "127.0.0.1,localhost", **environment},
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )

    return run_with


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


def test_network_runs_with_its_own_preprocessing(
    run: Run, server: HubServer, tmp_path: Path, photo: PIL.Image.Image
) -> None:
    done = run(NAME)
    assert done.returncode == 0, done.stderr
    rows, recipe = json.loads(done.stdout)
    assert recipe["image_size"] == [SIZE, SIZE]
    assert recipe["resize"] == "crop 0.8571 bicubic floor"
    assert recipe["preprocessing"] == "127.5,127.5,127.5/63.75,63.75,127.5"
    assert done.stderr.count("for non-commercial use only (cc-by-nc-4.0)") == 1
    small = photo.resize((90, 70))
    resized = small.resize((int(56 * 90 / 70), 56), PIL.Image.Resampling.BICUBIC)
    left, top = (resized.width - SIZE) // 2, (56 - SIZE) // 2
    cropped = np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))
    extractor = FeatureExtractor(
        tmp_path / "network.onnx",
        preprocessing=(127.5, (63.75, 63.75, 127.5)),
        precision="float32",
        image_size=SIZE,
        cache=None,
    )
    np.testing.assert_allclose(rows, extractor.fit_transform(cropped[None]), rtol=1e-3, atol=1e-3)
    assert ("GET", "/org/net/resolve/main/onnx/preprocessor_config.json") not in server.requests
    n_requests = len([request for request in server.requests if not request[1].startswith("/api/")])
    offline = run(NAME, HF_HUB_OFFLINE="1")
    assert json.loads(offline.stdout) == [rows, recipe], offline.stderr
    again = run(NAME)
    assert json.loads(again.stdout) == [rows, recipe]
    assert "non-commercial" not in again.stderr
    assert len([request for request in server.requests if not request[1].startswith("/api/")]) == n_requests
    predictor = Predictor(tmp_path / "cache" / "model.skops", cache=None)  # this process has no file of the hub
    assert predictor.predict_one(cropped).label in ("a", "b")
    assert predictor.model.card.license == known_license("org/net")


@pytest.mark.slow
def test_revision_is_part_of_the_name(run: Run) -> None:
    message = last_line(run(f"{NAME}@v1"))  # at that time, the repository had no preprocessing
    assert "preprocessing (--preprocessing) must be set" in message
    message = last_line(run(f"{NAME}@v9"))
    assert "UnknownBackboneError" in message
    assert "repository 'org/net' has no revision 'v9'" in message


@pytest.mark.slow
def test_gated_repository_needs_a_token(run: Run, server: HubServer) -> None:
    for name in ("hf://org/gated/model.onnx", "hf-hub:org/gated"):
        message = last_line(run(name))
        assert f"Cannot download {name!r}" in message
        assert f"Accept them on {server.url}/org/gated, and set the environment variable HF_TOKEN" in message
    done = run("hf://org/gated/model.onnx", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr


def test_name_that_does_not_exist(run: Run) -> None:
    messages = {
        "hf://org/none/model.onnx": "the hub has no repository 'org/none', or it is private",
        "hf://org/net/other.onnx": "repository 'org/net' has no file 'other.onnx'",
        "hf://org/net": "must be 'hf://ORGANIZATION/MODEL/PATH.onnx'",
        "hf://org/bare/model.onnx": "preprocessing (--preprocessing) must be set",
    }
    lines = run("\n".join(messages), script=_ERRORS).stdout.splitlines()  # one process: importing takes longest
    assert len(lines) == len(messages)
    for line, expected in zip(lines, messages.values(), strict=True):
        assert expected in line


@pytest.mark.slow  # the client tries again and again
@pytest.mark.thorough
def test_hub_out_of_reach(run: Run, tmp_path: Path) -> None:
    message = last_line(run(NAME, HF_HUB_OFFLINE="1"))
    assert "HF_HUB_OFFLINE is set, and the file is not in the cache of the hub. Unset it" in message
    done = run(NAME, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_ETAG_TIMEOUT="1")
    assert "Check the connection and the proxy" in last_line(done)
    assert "Retrying" not in done.stderr
    assert run(NAME).returncode == 0
    for path in (tmp_path / "hub").rglob("preprocessor_config.json"):
        path.unlink()
    message = last_line(run(NAME, HF_HUB_OFFLINE="1"))  # not the same as a repository without this file
    assert "HF_HUB_OFFLINE is set, and the file is not in the cache of the hub. Unset it" in message


@pytest.mark.slow
def test_proxy_of_the_environment_is_used(run: Run, server: HubServer) -> None:
    """A proxy receives requests for whole addresses, also those of a host that does not exist."""
    run(NAME, HF_ENDPOINT="http://hub.invalid", HTTP_PROXY=server.url, http_proxy=server.url, NO_PROXY="")
    assert any(path.startswith("/org/net/resolve/main/onnx/model.onnx") for _, path in server.requests)


def test_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch, recwarn: Any) -> None:
    del recwarn
    from featx import errors
    from featx.backbones.hub import repository

    monkeypatch.setattr(repository.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.MissingDependencyError, match=r"pip install 'featx\[hub\]'"):
        FeatureExtractor(NAME).fit([])
