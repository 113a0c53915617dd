"""A local server that speaks the part of the Hugging Face Hub's API that its client uses to download files."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLD_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
TOKEN = "hf_secret"


class HubServer(http.server.ThreadingHTTPServer):
    """Serve repositories; large files are redirected to another address, as the hub does.

    Parameters
    ----------
    files : mapping
        Content of files by repository, revision and path.
    gated : set of str
        Repositories whose files need a token.
    """

    def __init__(self, files: Mapping[tuple[str, str, str], bytes], gated: set[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.gated = files, gated
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def cdn_url(self) -> str:
        """Address of another host, as the client sees it."""
        return f"http://localhost:{self.server_address[1]}/cdn"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self._respond(with_body=False)

    def do_GET(self) -> None:
        self._respond(with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _respond(self, *, with_body: bool) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        if path.startswith("/cdn/"):
            data = next(data for data in self.server.files.values() if hashlib.sha256(data).hexdigest() == path[5:])
            return self._send(200, {}, data if with_body else b"", len(data))
        if path.startswith("/api/models/"):
            return self._send_info("/".join(path.split("/")[3:5]))
        if path.count("/") < 5:
            return self._send(404, {})
        organization, model, _, revision, file = path.lstrip("/").split("/", 4)
        return self._send_file(f"{organization}/{model}", revision, file, with_body=with_body)

    def _send_info(self, repository: str) -> None:
        info = {"id": repository, "sha": COMMIT, "siblings": [], "tags": [], "cardData": {"license": "cc-by-nc-4.0"}}
        self._send(200, {"Content-Type": "application/json"}, json.dumps(info).encode())

    def _send_file(self, repository: str, revision: str, file: str, *, with_body: bool) -> None:
        revisions = {found: path for name, found, path in self.server.files if name == repository}
        commit = COMMIT if revision == "main" else revision
        if not revisions:
            return self._send(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username"})
        if repository in self.server.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if commit not in revisions and (commit := {"v1": OLD_COMMIT}.get(revision, "")) not in revisions:
            return self._send(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        data = self.server.files.get((repository, commit, file))
        headers = {"X-Repo-Commit": commit}
        if data is None:
            return self._send(404, {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Not found"})
        digest = hashlib.sha256(data).hexdigest()
        if file.endswith(".json"):
            return self._send(200, {**headers, "ETag": f'"{digest}"'}, data if with_body else b"", len(data))
        headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        return self._send(302, {**headers, "Location": f"{self.server.cdn_url}/{digest}"})

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body) if length is None else length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serve_hub(files: Mapping[tuple[str, str, str], bytes], gated: set[str] | None = None) -> Iterator[HubServer]:
    """Run a server until the block ends."""
    with HubServer(files, gated or set()) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
