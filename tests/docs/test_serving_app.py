"""The application and the Dockerfile of the how-to page on serving, for each kind of model, without a server."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.tools.generated import DOCS
from featx import FeatureExtractor, train_images
from featx.system.version import __version__
from tests.samples import png

PAGE = (DOCS / "how_to/serve.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the code blocks of the page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.M | re.S)


def images() -> list[np.ndarray[Any, Any]]:
    """Return dark and light images that differ."""
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 100, (12, 8, 8, 3), dtype=np.uint8)
    return [*dark, *(dark + 150)]


def application(path: Path, y: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """Return the application of the page with a model of dark and light images."""
    for module in ("fastapi", "python_multipart"):
        pytest.importorskip(module)
    extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    trained = train_images(images(), y, backbone=extractor, cv=2, duplicate_groups=False, cache=None, **options)
    trained.save(path / "model.skops")
    (path / "app.py").write_text(next(block for block in blocks("py") if "FastAPI()" in block))
    monkeypatch.chdir(path)
    return runpy.run_path("app.py")["app"]


def upload(app: Any, data: bytes) -> tuple[int, Any]:
    """Send an image to an ASGI application in this process; return the status and the JSON of its answer."""
    head = b'--mark\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": head + data + b"\r\n--mark--\r\n", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    fields = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/predict"}
    headers = [(b"content-type", b"multipart/form-data; boundary=mark")]
    scope = {**fields, "raw_path": b"/predict", "query_string": b"", "root_path": "", "headers": headers}
    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in messages)
    return messages[0]["status"], json.loads(body)


def test_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(tmp_path, ["dark"] * 12 + ["light"] * 12, monkeypatch)
    status, answer = upload(app, png(images()[0]))
    assert (status, answer["label"], answer["top"][0][0]) == (200, "dark", "dark")
    assert 0.5 < answer["top"][0][1] <= 1
    assert answer["novelty_score"] >= 0
    header = b"IHDR" + (31_623).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    image = png(images()[0])
    bomb = image[:12] + header + zlib.crc32(header).to_bytes(4, "big") + image[33:]
    for data, reason in (
        (b"password: secret", "the file is not an image but text"),
        (bomb, "the image has 31623 × 31623 pixels, more than the limit of 25,000,000"),
    ):
        assert upload(app, data) == (422, {"detail": reason})


@pytest.mark.parametrize(
    ("y", "options", "label", "top"),
    [
        ([1.5] * 12 + [8.25] * 12, {"task": "regression"}, pytest.approx(1.5, abs=3), []),
        ([["dark", "any"]] * 12 + [["light", "any"]] * 12, {}, ["any", "dark"], ["any"]),
        (["dark"] * 12 + ["light"] * 12, {"estimator": "centroid"}, "dark", ["dark"]),  # it has no probabilities
        ([3] * 12 + [7] * 12, {"task": "classification"}, 3, [3]),
    ],
    ids=["regression", "tags", "scores", "integers"],
)
def test_other_models(
    y: Any, options: dict[str, Any], label: Any, top: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, answer = upload(application(tmp_path, y, monkeypatch, **options), png(images()[0]))
    assert (status, answer["label"], [name for name, _ in answer["top"]]) == (200, label, top)


def test_dockerfile_fixes_versions_and_drops_privileges() -> None:
    (text,) = blocks("dockerfile")
    (base,) = re.findall(r"^FROM (\S+)$", text, flags=re.M)
    assert re.fullmatch(r"python:3\.1[1-9]\.\d+-slim-[a-z]+", base)
    packages = dict(re.findall(r"([a-z][\w-]+)==([\w.]+)", text))
    assert sorted(packages) == ["fastapi", "python-multipart", "uvicorn"]
    words = re.sub(r"-r /srv/\S+|--\S+", "", " ".join(re.findall(r"pip install ([^\\\n]*)", text))).split()
    assert all("==" in word or word.endswith(".whl") for word in words), words
    users = re.findall(r"^USER (\d+)$", text, flags=re.M)
    assert users
    assert "0" not in users
    (command,) = re.findall(r"^CMD (.*)$", text, flags=re.M)
    assert json.loads(command)[:2] == ["uvicorn", "app:app"]
    (copied,) = re.findall(r"^COPY (.*) /srv/$", text, flags=re.M)
    assert copied.split() == ["serve.txt", "app.py", "model.skops", f"featx-{__version__}-py3-none-any.whl"]
