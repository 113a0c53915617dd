from __future__ import annotations

import http.server
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from featx import FeatureExtractor, open_features
from featx.cli import main as cli
from featx.datasets.find import find_images
from featx.errors import ImageTooLargeError, MissingDependencyError, SourceError, UnreachableImageError
from featx.images.image import read_image
from featx.system.files import remote
from featx.testing import CountingBackbone

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


def test_image_at_a_url_equals_its_file(server: str, photo_bytes: bytes) -> None:
    assert read_image(f"{server}/good.jpg") == (photo_bytes, None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("404", "no file at this URL|404"),
        ("500", "500"),
        ("silent", "did not answer in time"),
        ("drip", "did not answer in time"),
        ("breaks", "."),
        ("longer", "."),
    ],
)
def test_failing_server_affects_only_its_image(name: str, reason: str, server: str, counting: CountingBackbone) -> None:
    started = time.perf_counter()
    with pytest.raises(UnreachableImageError, match=reason):
        read_image(f"{server}/{name}.jpg")
    assert time.perf_counter() - started < 6
    paths = [f"{server}/good.jpg", f"{server}/{name}.jpg", f"{server}/good.jpg?again"]
    with pytest.warns(UserWarning, match="1 of 3 images cannot be read"):
        rows = FeatureExtractor("counting", on_error="nan").transform(paths)
    assert np.isfinite(rows[[0, 2]]).all()
    assert np.isnan(rows[1]).all()


def test_wrong_content_length(server: str, counting: CountingBackbone) -> None:
    with pytest.warns(UserWarning, match="1 of 1 images cannot be read") as caught:
        FeatureExtractor("counting", on_error="nan").transform([f"{server}/shorter.jpg"])
    assert "\n" not in str(caught[0].message)


def test_endless_response_is_cut_off(server: str) -> None:
    with pytest.raises(ImageTooLargeError, match=r"more than the limit of 3\.0 MB"):
        read_image(f"{server}/endless.jpg", max_bytes=3_000_000)


def test_silent_storage_times_out(monkeypatch: pytest.MonkeyPatch, counting: CountingBackbone) -> None:
    class Sleepy(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]  # a class made by a function
        protocol = "sleepy"

        def _open(self, *args: object, **options: object) -> object:
            time.sleep(3)
            raise AssertionError("the caller has stopped waiting")

    fsspec.register_implementation("sleepy", Sleepy, clobber=True)
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.3)
    started = time.perf_counter()
    with pytest.raises(UnreachableImageError, match=r"did not answer in time .* 0\.3 s in all"):
        read_image("sleepy://bucket/a.jpg")
    assert time.perf_counter() - started < 2


def test_endless_links_are_listed_to_a_maximum_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'<a href="deeper/">deeper</a> <a href="1.jpg">1</a>'
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        try:
            table = find_images([f"http://127.0.0.1:{http_server.server_port}/photos/"])
        finally:
            http_server.shutdown()
            thread.join()
    assert 1 <= len(table) <= 12


def test_connection_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_PAUSES", (0.01, 0.01, 0.01))
    with pytest.raises(UnreachableImageError, match="127.0.0.1"):
        read_image("http://127.0.0.1:9/a.jpg")
    with pytest.raises(SourceError, match="Cannot list .*127.0.0.1"):
        find_images(["http://127.0.0.1:9/photos/"])


def test_declared_size_is_checked_before_the_download(server: str) -> None:
    with pytest.raises(ImageTooLargeError, match=r"has .* kB, more than the limit of 4\.0 kB"):
        read_image(f"{server}/longer.jpg", max_bytes=4000)


def test_urls_are_used_unchanged(server: str, photo_bytes: bytes) -> None:
    assert read_image(f"{server}/good.jpg?sizes=a::b")[0] == photo_bytes
    assert read_image(server.replace("http", "HTTP") + "/good.jpg")[0] == photo_bytes
    with pytest.raises(UnreachableImageError, match=r"\[::1\]|::1"):
        read_image("http://[::1]:9/a.jpg")  # connection refused


def test_redirect_loop(server: str) -> None:
    with pytest.raises(UnreachableImageError, match="too many redirects"):
        read_image(f"{server}/circle.jpg")
    with pytest.raises(UnreachableImageError, match=r"a URL that is not supported: file:///etc/passwd"):
        read_image(f"{server}/elsewhere.jpg")


@pytest.fixture
def bucket(photo_folder: Path) -> Iterator[str]:
    """The photos in object storage."""
    system = fsspec.filesystem("memory")
    system.put(str(photo_folder), "/bucket/photos", recursive=True)
    system.pipe("/bucket/photos/notes.txt", b"")
    yield "memory://bucket/photos"
    system.rm("/bucket", recursive=True)


def test_url_is_listed_like_a_folder(
    bucket: str, photo_folder: Path, tmp_path: Path, counting: CountingBackbone
) -> None:
    local, remote_table = find_images([photo_folder]), find_images([bucket])
    assert remote_table.labels == local.labels
    assert remote_table.paths[0] == f"{bucket}/china/00.jpg"
    assert remote_table.ignored == {".txt": 1}
    extractor = FeatureExtractor("counting", cache=tmp_path / "cache")
    rows = extractor.fit_transform(remote_table.paths)
    np.testing.assert_array_equal(extractor.transform(local.paths), rows)
    assert counting.n_images == 24
    with pytest.raises(SourceError, match="No images|Cannot list"):
        find_images(["memory://absent"])


def test_url_with_a_query_is_an_image() -> None:
    assert find_images(["https://example.org/a.jpg?width=20"]).paths == ["https://example.org/a.jpg?width=20"]


def test_urls_in_a_table(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = find_images([bucket])
    lines = [f"{path},{label}" for path, label in zip(table.paths, table.labels, strict=True)]
    (tmp_path / "t.csv").write_text("path,label\n" + "\n".join(lines))
    assert find_images([tmp_path / "t.csv"]).paths == table.paths
    assert cli.main(["check", str(tmp_path / "t.csv"), "--quiet"]) == 0
    assert "24 images, 24 readable" in capsys.readouterr().out


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, counting: CountingBackbone) -> None:
    with pytest.raises(UnreachableImageError, match="strange"):
        read_image("strange://bucket/a.jpg")

    def url_to_fs(url: str) -> object:
        raise ImportError("Please install gcsfs")

    with monkeypatch.context() as patches:
        patches.setattr(fsspec.core, "url_to_fs", url_to_fs)
        with pytest.raises(
            MissingDependencyError, match=r"Reading 'gs://.*requires the package gcsfs.*pip install gcsfs\.$"
        ):
            find_images(["gs://bucket/photos"])
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[remote\]'"):
        FeatureExtractor("counting", on_error="nan").transform(["https://example.org/a.jpg"])


def test_paths_are_not_urls() -> None:
    assert not any(map(remote.is_url, ("a/b.jpg", "C:\\a.jpg", "c:/a.jpg", "a:b.jpg")))
    assert remote.is_url("S3://bucket/a.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_file_url_is_read_as_a_file(tmp_path: Path, photo_bytes: bytes) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "a b.jpg").write_bytes(photo_bytes)
    with pytest.raises(UnreachableImageError, match="not a regular file"):
        read_image(f"file://{tmp_path}/pipe.jpg")
    assert read_image(f"file://{tmp_path}/a%20b.jpg")[0] == photo_bytes


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:9/a.jpg", "zip://a.jpg::/tmp/x.zip", "strange://b/a.jpg"])
def test_invalid_url_affects_only_its_image(url: str, server: str, counting: CountingBackbone) -> None:
    with pytest.warns(UserWarning, match="1 of 2 images cannot be read"):
        rows = FeatureExtractor("counting", on_error="nan").transform([url, f"{server}/good.jpg"])
    assert np.isfinite(rows[1]).all()
    with pytest.raises(SourceError):
        find_images([url.rsplit("/", 1)[0]])


def test_errors_contain_no_secrets(server: str, tmp_path: Path) -> None:
    url = f"{server}/404.jpg?size=2&X-Amz-Signature=very-secret"
    with pytest.raises(UnreachableImageError, match=r"404.jpg\?size=2&X-Amz-Signature=…") as raised:
        FeatureExtractor("color_histogram", cache=None).fit_transform([url])
    assert "very-secret" not in str(raised.value)
    with pytest.raises(SourceError, match="contains a signature or token") as refused:
        open_features(f"{server}/job?sig=very-secret")
    assert "very-secret" not in str(refused.value)


def test_table_of_rows_contains_no_secrets(server: str, in_folder: Path) -> None:
    Path("list.csv").write_text(f"path,label\n{server}/a.jpg?X-Amz-Signature=very-secret&size=2,cat\n")
    args = ["extract", "list.csv", "-o", "f.npy", "--backbone", "color_histogram", "--no-cache", "--quiet"]
    assert cli.main(args) == 0
    table = Path("f.csv").read_text()
    assert f"{server}/a.jpg?X-Amz-Signature=…&size=2,cat" in table
    assert "very-secret" not in table
