"""Proxies, limits of requests, and the sender of requests."""

from __future__ import annotations

import email.utils
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from featx.datasets.failures import Failure, remedy_for
from featx.errors import UnreachableImageError
from featx.images.image import read_image
from featx.system.files.remote import retry_after
from featx.system.version import __version__

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


class Server:
    """A web server whose first answers are failures. It records requests."""

    def __init__(self) -> None:
        self.failures: list[tuple[int, dict[str, str]]] = []
        self.requests: list[tuple[str, Any]] = []
        self.times: list[float] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append((self.path, self.headers))
                server.times.append(time.monotonic())
                status, headers = server.failures.pop(0) if server.failures else (200, {})
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "4"}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"jpeg")

            def do_CONNECT(self) -> None:  # a proxy that refuses the tunnel of https
                server.requests.append((self.path, self.headers))
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.running.server_port}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.running.shutdown()
    server.running.server_close()
    thread.join()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_requests_go_through_the_proxy(name: str, web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, web.url)
    assert read_image("http://photos.invalid/a.jpg")[0] == b"jpeg"
    assert web.requests[0][0] == "http://photos.invalid/a.jpg"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert read_image(f"{web.url}/b.jpg")[0] == b"jpeg"
    assert web.requests[1][0] == "/b.jpg"


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
def test_tunnels_go_through_the_proxy(name: str, web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, web.url)
    with pytest.raises(UnreachableImageError, match="403"):
        read_image("https://photos.invalid/a.jpg")
    assert {path for path, _ in web.requests} == {"photos.invalid:443"}


def test_sender_of_requests(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    read_image(f"{web.url}/a.jpg")
    monkeypatch.setenv("FEATX_USER_AGENT", "survey of birds (ann@example.org)")
    read_image(f"{web.url}/a.jpg")
    senders = [headers["User-Agent"] for _, headers in web.requests]
    assert senders == [f"featx/{__version__}", "survey of birds (ann@example.org)"]


def test_server_that_limits_requests_gets_the_next_one_after_its_wait(web: Server) -> None:
    web.failures = [(429, {"Retry-After": "1"})]
    assert read_image(f"{web.url}/a.jpg")[0] == b"jpeg"
    assert web.times[1] - web.times[0] >= 1


def test_long_waits_are_reported_at_once(web: Server) -> None:
    web.failures = [(429, {"Retry-After": "4000"})]
    with pytest.raises(UnreachableImageError, match="429 Too Many Requests, and asks to wait 4,000 s") as error:
        read_image(f"{web.url}/a.jpg")
    assert len(web.requests) == 1
    failure = Failure(0, web.url, error.value.reason, "UnreachableImageError")
    assert remedy_for(failure) == (
        "The server limits requests. Run the command again later, or download the images first."
    )


def test_refused_access_is_reported_with_a_remedy(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    web.failures = [(403, {})]
    with pytest.raises(UnreachableImageError, match="the server responds 403 Forbidden") as error:
        read_image(f"{web.url}/a.jpg")
    assert "FEATX_USER_AGENT" in remedy_for(Failure(0, web.url, error.value.reason, "UnreachableImageError"))
    monkeypatch.setenv("FEATX_USER_AGENT", "survey of birds")  # the remedy
    assert read_image(f"{web.url}/a.jpg")[0] == b"jpeg"


def test_dates_of_waits() -> None:
    def after(value: str) -> float | None:
        error: Any = OSError()
        error.headers = {"Retry-After": value}
        return retry_after(error)

    seconds = after(email.utils.formatdate(time.time() + 100, usegmt=True))
    assert seconds is not None
    assert 97 < seconds <= 100
    assert (after("soon"), after("-5"), retry_after(OSError())) == (None, 0.0, None)
