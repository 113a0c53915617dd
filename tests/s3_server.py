"""An S3 server (moto) behind a proxy that fails on demand; fixtures that a ``conftest.py`` imports."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import io
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import PIL.Image
import pytest

Fault = Callable[[str, str, int], int]


class Proxy(http.server.ThreadingHTTPServer):
    """Forwards requests to an S3 server, unless `fault` answers with another status than 200; 0 closes the connection.

    Attributes
    ----------
    fault : callable
        Returns a status, given method, path and number of a request.
    body : bytes
        Body of the answer of `fault`.
    """

    daemon_threads = True

    def __init__(self, behind: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = behind
        self.fault: Fault = lambda method, path, number: 200
        self.body = b""
        self.numbers = itertools.count()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = self.server.fault(self.command, self.path, next(self.server.numbers))
        if status == 0:
            self.close_connection = True
            return
        if status != 200:
            answer_body = self.server.body if self.command != "HEAD" else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer_body)))
            self.end_headers()
            self.wfile.write(answer_body)
            return
        connection = http.client.HTTPConnection(*self.server.behind)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def s3() -> Iterator[Proxy]:
    """An S3 server with a bucket of 9 images, behind a proxy."""
    names = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_DEFAULT_REGION": "us-east-1"}
    names["AWS_MAX_ATTEMPTS"] = "1"  # so that featx retries
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        moto_server = pytest.importorskip("moto.server")
        server = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        with Proxy(server.get_host_and_port()) as proxy:
            threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
            fsspec.filesystem("s3").clear_instance_cache()
            system = fsspec.filesystem("s3")
            with contextlib.suppress(FileExistsError):  # moto keeps it for the next server of this process
                system.mkdir("bucket")
            for number in range(9):
                system.pipe_file(f"bucket/images/{'ab'[number % 2]}/{number}.png", png(number), ACL="public-read")
            yield proxy
            proxy.shutdown()
        server.stop()


@pytest.fixture
def fault(s3: Proxy, monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], None]:
    """A function that lets the server fail until the end of the test."""
    monkeypatch.setattr("featx.system.files.remote.RETRY_PAUSES", (0.01, 0.01, 0.01, 0.01, 0.01))
    return lambda fault: monkeypatch.setattr(s3, "fault", fault)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), (20 * number, 10, 10)).save(buffer, "PNG")
    return buffer.getvalue()
