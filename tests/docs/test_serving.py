"""The application of the how-to page on serving, run by real servers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import venv
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from docs.tools.generated import DOCS
from featx import FeatureExtractor, requirements, save_pipeline

pytestmark = pytest.mark.slow  # servers start


@pytest.fixture
def service(tmp_path: Path, photos: list[Any]) -> Path:
    """A folder with a model, the application of the page, and a photograph."""
    pipeline = make_pipeline(FeatureExtractor(cache=None), LogisticRegression())
    save_pipeline(pipeline.fit(photos[8:16], list("aaaabbbb")), tmp_path / "model.skops")
    blocks = re.findall(r"^```py\n(.*?)^```", (DOCS / "how_to/serve.md").read_text(), flags=re.M | re.S)
    for name, block in zip(("app.py", "service.py", "gunicorn_conf.py", "log.py"), blocks, strict=True):
        (tmp_path / name).write_text(block)
    photos[8].save(tmp_path / "photo.jpg")
    return tmp_path


@contextlib.contextmanager
def serving(folder: Path, *command: str, python: str | Path = sys.executable, **env: str) -> Iterator[tuple[str, int]]:
    """Start a server, whose output goes to ``log.txt``; yield its address and process once it accepts connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [str(python), "-m", *(part.replace("PORT", str(port)) for part in command)]
    with (
        open(folder / "log.txt", "wb") as log,
        subprocess.Popen(arguments, cwd=folder, env={**os.environ, **env}, stdout=log, stderr=log) as server,
    ):
        try:
            wait_until(lambda: accepts_connections(port) or server.poll() is not None)
            assert accepts_connections(port), (folder / "log.txt").read_text()
            yield f"http://127.0.0.1:{port}", server.pid
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()


def accepts_connections(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], object], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return bool(condition())


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
    with serving(service, "uvicorn", "app:app", "--port", "PORT") as (url, _):
        status, text = upload(url, (service / "photo.jpg").read_bytes())
        assert (status, json.loads(text)["label"]) == (200, "a")
        status, text = upload(url, b"not an image")
        assert (status, "not an image" in json.loads(text)["detail"]) == (422, True)
        bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (31_623).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0\0\0\0\0"
        status, text = upload(url, bomb)
        assert status == 422, text
        assert upload(url, (service / "photo.jpg").read_bytes())[0] == 200


@pytest.mark.parametrize("options", [[], ["--preload"], ["--preload", "-c", "gunicorn_conf.py"]])
def test_gunicorn(options: list[str], service: Path) -> None:
    """With --preload, the error names the remedy, and the remedy works."""
    pytest.importorskip("gunicorn")
    if "-c" in options:
        text = (service / "service.py").read_text()
        (service / "service.py").write_text(re.sub("^predictor = .*$", "predictor = None", text, flags=re.M))
    with serving(service, "gunicorn", "-b", "127.0.0.1:PORT", *options, "service:app") as (url, _):
        status, text = post(url, (service / "photo.jpg").read_bytes())
        if options == ["--preload"]:
            assert (status, "post_fork" in (service / "log.txt").read_text()) == (500, True)
            return
        assert (status, text) == (200, "a")
        status, text = post(url, b"not an image")
        assert (status, "not an image" in text) == (422, True)


def test_gunicorn_with_uploads(service: Path) -> None:
    for module in ("fastapi", "gunicorn.workers.gasgi", "python_multipart"):
        pytest.importorskip(module)
    with serving(service, "gunicorn", "-b", "127.0.0.1:PORT", "-k", "asgi", "app:app") as (url, _):
        assert upload(url, (service / "photo.jpg").read_bytes())[0] == 200


def clients_of(url: str, data: bytes, seconds: float) -> Counter[int]:
    """Send requests from eight clients, every tenth image broken; return the number of answers, 0 for lost ones."""
    until = time.monotonic() + seconds

    def send(client: int) -> Counter[int]:
        answers: Counter[int] = Counter()
        while time.monotonic() < until:
            is_broken = (answers.total() + client) % 10 == 0
            try:
                status, _ = upload(url, data[:100] if is_broken else data)
            except (OSError, http.client.HTTPException):
                status = 0
            answers[status] += 1
            assert status in ((0, 422) if is_broken else (0, 200))
        return answers

    with ThreadPoolExecutor(8) as threads:
        return sum(threads.map(send, range(8)), Counter())


def workers_of(pid: int) -> set[int]:
    """Return the processes of the workers of uvicorn."""
    workers = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # it has ended
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                workers.add(int(child))
    return workers


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="finds workers in /proc")
def test_killed_worker_loses_its_requests_only(service: Path) -> None:
    for module in ("fastapi", "uvicorn", "python_multipart"):
        pytest.importorskip(module)
    data = (service / "photo.jpg").read_bytes()
    with serving(service, "uvicorn", "app:app", "--port", "PORT", "--workers", "2") as (url, pid):
        assert upload(url, data)[0] == 200
        workers = workers_of(pid)
        with ThreadPoolExecutor(1) as thread:
            answers = thread.submit(clients_of, url, data, 2.0)
            time.sleep(0.5)
            killed = workers.pop()
            os.kill(killed, signal.SIGKILL)
            counts = answers.result()
        assert counts[0] <= 8  # one for each client at most
        assert counts[200] > 8
        assert counts[422] >= 1
        assert upload(url, data)[0] == 200
        assert wait_until(lambda: len(workers_of(pid) - {killed}) == 2)  # it is replaced


@pytest.mark.thorough
def test_mlflow(service: Path) -> None:
    """Run where mlflow is installed; it needs other versions of packages, so in an environment of its own.

    ``pip install mlflow '.[test]' && pytest -m thorough tests/docs/test_serving.py -k mlflow``
    """
    pytest.importorskip("mlflow")
    environment = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{service}/mlflow.db",
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
    }
    subprocess.run([sys.executable, "log.py"], cwd=service, env={**os.environ, **environment}, check=True)
    command = ("mlflow", "models", "serve", "-m", "models:/photos/1", "--env-manager", "local", "-p", "PORT")
    with serving(service, *command, **environment) as (url, _):
        for image, expected in (((service / "photo.jpg").read_bytes(), 200), (b"no image", 400), (b"/etc/passwd", 400)):
            body = json.dumps({"dataframe_records": [{"image": b64encode(image).decode()}]})
            status, text = post(f"{url}/invocations", body.encode(), Content_Type="application/json")
            assert status == expected, text
            assert "root:" not in text
            assert status == 400 or json.loads(text) == {"predictions": ["a"]}


@pytest.mark.thorough
def test_list_of_requirements_in_a_fresh_environment(service: Path) -> None:
    """The environment of the Dockerfile: it is small, and serves."""
    (service / "serve.txt").write_text("\n".join(requirements(serve=True)))
    venv.create(service / "fresh", with_pip=True)
    python = service / "fresh/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    servers = re.findall(r"[a-z-]+==[\d.]+(?= )", (DOCS / "how_to/serve.md").read_text())
    assert len(servers) == 3
    for packages in (["-r", service / "serve.txt", *servers], ["--no-deps", DOCS.parent]):
        subprocess.run([*install, *packages], check=True, env={**os.environ, "PYTHONPATH": ""})
    (packages_folder,) = (service / "fresh").glob("lib/python*/site-packages")
    assert not {"tensorflow", "sklearn", "pandas", "torch"} & set(os.listdir(packages_folder))
    size = sum(path.stat().st_size for path in packages_folder.rglob("*") if path.is_file())
    print(f"site-packages: {size / 1e6:.0f} MB")
    assert size <= 450e6
    data = (service / "photo.jpg").read_bytes()
    with serving(service, "uvicorn", "app:app", "--port", "PORT", python=python, PYTHONPATH="") as (url, _):
        status, text = upload(url, data)
        assert (status, json.loads(text)["label"]) == (200, "a")


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
