"""The application of the how-to page on serving, run by real servers."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from docs.tools.generated import DOCS
from featx import FeatureExtractor, requirements, save_pipeline

pytestmark = pytest.mark.slow  # servers start

WSGI = """
from featx import Predictor
predictor = Predictor("model.skops", cache=None).warm_up()
def app(environ, start_response):
    try:
        status, text = "200 OK", predictor.predict_one(environ["wsgi.input"].read()).label
    except Exception as error:
        status, text = "500 Error", str(error)
    start_response(status, [("Content-Type", "text/plain")])
    return [text.encode()]
"""


@pytest.fixture
def service(tmp_path: Path, photos: list[Any]) -> Path:
    """A folder with a model, the application of the page, and a photograph."""
    pipeline = make_pipeline(FeatureExtractor(cache=None), LogisticRegression())
    save_pipeline(pipeline.fit(photos[8:16], list("aaaabbbb")), tmp_path / "model.skops")
    (application,) = re.findall(r"^```py\n(.*?)^```", (DOCS / "how_to/serve.md").read_text(), flags=re.M | re.S)
    (tmp_path / "app.py").write_text(application)
    (tmp_path / "wsgi.py").write_text(WSGI)
    photos[8].save(tmp_path / "photo.jpg")
    return tmp_path


def serving(folder: Path, *command: str) -> Iterator[str]:
    """Start a server, and yield its address once it accepts connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in command)]
    with subprocess.Popen(arguments, cwd=folder, env=dict(os.environ), stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def post(url: str, body: bytes, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def upload(url: str, data: bytes) -> tuple[int, str]:
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'.encode()
    return post(
        f"{url}/predict",
        head + data + f"\r\n--{mark}--\r\n".encode(),
        Content_Type=f"multipart/form-data; boundary={mark}",
    )


def test_application_with_uploads(service: Path) -> None:
    for module in ("fastapi", "uvicorn", "python_multipart"):
        pytest.importorskip(module)
    for url in serving(service, "uvicorn", "app:app", "--port", "PORT"):
        status, text = upload(url, (service / "photo.jpg").read_bytes())
        assert (status, json.loads(text)["label"]) == (200, "a")
        status, text = upload(url, b"not an image")
        assert (status, "not an image" in json.loads(text)["detail"]) == (422, True)
        bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (31_623).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0\0\0\0\0"
        status, text = upload(url, bomb)
        assert status == 422, text
        assert upload(url, (service / "photo.jpg").read_bytes())[0] == 200


@pytest.mark.parametrize("options", [[], ["--preload"]])
def test_gunicorn(options: list[str], service: Path) -> None:
    pytest.importorskip("gunicorn")
    for url in serving(service, "gunicorn", "wsgi:app", "-b", "127.0.0.1:PORT", *options):
        status, text = post(url, (service / "photo.jpg").read_bytes())
        if options:
            assert (status, "--preload" in text) == (500, True)
        else:
            assert (status, text) == (200, "a")


def test_serving_imports_only_its_requirements(service: Path) -> None:
    code = """
import sys
from featx import Predictor
Predictor("model.skops", cache=None).warm_up().predict_one("photo.jpg")
files = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items() if module}
print(*{name.split(".")[0] for name, file in files.items() if "site-packages" in file})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=service, capture_output=True, text=True, check=True)
    names = {"PIL": "pillow", "cykooz_resizer": "cykooz-resizer"}
    listed = {line.split("==")[0] for line in requirements(serve=True)} | {
        "featx",
        "packaging",
        "absl",
        "_distutils_hack",
    }
    assert {names.get(name, name) for name in done.stdout.split()} <= listed
