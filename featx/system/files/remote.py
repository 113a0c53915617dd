"""Files at URLs (https://, s3://, …), read with fsspec, which is an extra; with a time limit and a size limit."""

from __future__ import annotations

import concurrent.futures
import errno
import functools
import os
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from featx.errors import (
    ImageTooLargeError,
    MissingDependencyError,
    SourceError,
    UnreachableImageError,
    missing_dependency,
)
from featx.system.files import storage_errors
from featx.system.files.storage_errors import error_remedy, retry_after
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_bytes
from featx.system.version import __version__

#: Maximum time for one image, and maximum time in which a server sends nothing.
TIMEOUT_SECONDS, SILENT_SECONDS = 60.0, 15.0
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
#: A URL within another: ``zip://a.jpg::/tmp/x.zip``.
_CHAINED = re.compile(r"^[a-z0-9+.-]+://[^?]*::(/|[a-z0-9+.-]+://)", re.IGNORECASE)
_BLOCK = 2**20
#: Average pauses between attempts, in seconds.
RETRY_PAUSES = (0.2, 0.6, 1.8)
#: Maximum time to wait for a server that limits requests.
_MAX_WAIT_SECONDS = 300.0
_TRANSIENT = {errno.EBUSY, errno.EIO, errno.ECONNRESET, errno.EPIPE, getattr(errno, "EREMOTEIO", errno.EIO)}
#: Maximum depth of folders that are listed on the web.
_MAX_DEPTH = 12
#: Maximum number of requests of one process at a time: they wait and hardly compute.
MAX_REQUESTS = 32
_CHECK_URL_AND_CREDENTIALS = "Check the URL, and the credentials in the environment"
_Result = TypeVar("_Result")


def is_url(path: str) -> bool:
    """Return whether a path is a URL."""
    return _URL.match(path) is not None


def is_http_url(url: str) -> bool:
    """Return whether a URL has the scheme http or https."""
    return url.lower().startswith(("http://", "https://"))


def local_path(url: str) -> str | None:
    """Return the path of a ``file://`` URL; None for other URLs."""
    scheme, _, rest = url.partition("://")
    return urllib.parse.unquote(rest) if scheme.lower() in ("file", "local") else None


def read_url(url: str, max_bytes: int) -> bytes:
    """Return the bytes of the file at a URL.

    Raises
    ------
    UnreachableImageError
        The file cannot be read, or not within the time limit.
    ImageTooLargeError
        The file has more than `max_bytes`.
    MissingDependencyError
        fsspec is not installed, or aiohttp for http and https.
    """
    try:
        system, path = _system(url)
    except SourceError as error:
        raise UnreachableImageError(str(error)) from error
    try:
        # aiohttp has its own time limit; most other storage waits forever.
        data = call_with_retries(
            lambda: (
                _read(system, path, max_bytes)
                if is_http_url(url)
                else run_with_timeout(lambda: _read(system, path, max_bytes))
            )
        )
    except ImageTooLargeError:
        raise
    except Exception as error:  # every kind of storage has its own
        raise UnreachableImageError(error_reason(error)) from error
    if len(data) > max_bytes:
        raise ImageTooLargeError(f"it has more than the limit of {format_bytes(max_bytes)}")
    return bytes(data)


def _read(system: Any, path: str, max_bytes: int) -> bytes | bytearray:
    """Return the bytes of a file, or one more than `max_bytes` if it is larger; with one request where possible."""
    if "s3" in system.protocol:  # to open the file, s3fs would request its size first
        try:
            return bytes(system.cat_file(path, start=0, end=max_bytes + 1))
        except (FileNotFoundError, PermissionError, TimeoutError):
            raise
        except (OSError, ValueError) as error:
            if is_transient(error):
                raise  # otherwise the file may be empty: it has no range
    # On the web, do not request the size: servers may report a wrong one.
    options = {"block_size": 0, "size": 1} if "http" in system.protocol else {}
    data = bytearray()
    with system.open(path, "rb", **options) as file:
        declared = getattr(getattr(file, "r", None), "content_length", None)  # on the web, if the server sends it
        if declared and declared > max_bytes:
            raise ImageTooLargeError(
                f"it has {format_bytes(declared)}, more than the limit of {format_bytes(max_bytes)}"
            )
        while len(data) <= max_bytes and (block := file.read(_BLOCK)):
            data += block
    return data


def call_with_retries(work: Callable[[], _Result]) -> _Result:
    """Return the result of a function; retry it after pauses if a server fails (5xx) or closes the connection.

    A server that limits requests (429) may name the time to wait: the pause is as long, up to five minutes in all.
    """
    started = time.monotonic()
    for pause in RETRY_PAUSES:
        try:
            return work()
        except Exception as error:
            wait = retry_after(error)
            until = started + (TIMEOUT_SECONDS if wait is None else _MAX_WAIT_SECONDS)
            if not is_transient(error) or time.monotonic() + (wait or pause) > until:
                raise
        # Of random length, so that clients do not retry at the same time.
        time.sleep((wait or 0) + pause * random.uniform(0.5, 1.5))  # noqa: S311
    return work()


def is_transient(error: BaseException) -> bool:
    """Return whether an error of storage may not occur again: 5xx, 429, a broken connection."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status >= 500 or status == 429
    if isinstance(error, FileNotFoundError | PermissionError | FileExistsError | TimeoutError):
        return False
    kind = type(error).__name__
    if (
        isinstance(error, ConnectionError)
        or "connect" in kind.lower()
        or kind in ("ClientPayloadError", "HTTPClientError")
    ):
        return True
    return isinstance(error, OSError) and error.errno in _TRANSIENT


def download(url: str, copy: str) -> None:
    """Copy the file at a URL to a local file. There is no time limit as long as the server sends data.

    Raises
    ------
    SourceError
        The file cannot be read.
    MissingDependencyError
        fsspec is not installed, or aiohttp for http and https.
    """
    try:
        system, path = _system(url, total=None)
        call_with_retries(lambda: system.get_file(path, copy))
    except Exception as error:  # every kind of storage has its own
        if isinstance(error, MissingDependencyError):
            raise
        reason = str(error) if isinstance(error, SourceError) else error_reason(error)
        raise SourceError(
            f"Cannot read {redact_secrets(url)!r}: {reason}. {error_remedy(reason, _CHECK_URL_AND_CREDENTIALS)}."
        ) from error


def run_with_timeout(work: Callable[[], _Result], seconds: float | None = None) -> _Result:
    """Return the result of a function; raise TimeoutError after `seconds`. Its thread continues.

    The default is the time limit of an image.
    """
    done: concurrent.futures.Future[_Result] = concurrent.futures.Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # the caller handles it
            done.set_exception(error)

    # Not in a pool: its threads would keep the process alive until a silent server answers.
    threading.Thread(target=run, daemon=True, name="featx-remote").start()
    return done.result(timeout=TIMEOUT_SECONDS if seconds is None else seconds)


def list_names(url: str) -> Iterator[str]:
    """Yield the names of the files below a URL, relative to it and sorted.

    Memory holds one page of S3, one folder of other storage, and all names of a web server.

    Raises
    ------
    SourceError
        The URL cannot be listed.
    MissingDependencyError
        fsspec is not installed, or aiohttp for http and https.
    """
    system, path = open_filesystem(url)
    root = path.rstrip("/")
    try:
        for name in _keys(system, root) if "s3" in system.protocol else _files_below(system, root):
            yield name.split(root, 1)[-1].lstrip("/")
    except Exception as error:
        reason = error_reason(error)
        remedy = error_remedy(reason, "Check the URL, or list the URLs of the images in a table")
        raise SourceError(f"Cannot list {redact_secrets(url)!r}: {reason}. {remedy}.") from error


def _files_below(system: Any, root: str) -> Iterator[str]:
    """Return the files below an existing folder."""
    # Some storage lists nothing instead of raising an error, so first list the folder itself.
    run_with_timeout(
        lambda: call_with_retries(lambda: system.ls(f"{root}/" if is_http_url(root) else root, detail=False))
    )
    if is_http_url(root):  # pages may link to each other without end
        return iter(sorted(map(str, system.find(root, maxdepth=_MAX_DEPTH))))
    return _walk(system, root)


def _keys(system: Any, root: str) -> Iterator[str]:
    """Yield the objects below a prefix of S3, page by page: a prefix may have millions."""
    bucket, prefix, _ = system.split_path(root)
    more: dict[str, str] = {}
    while True:
        request = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else "", **more}
        list_page = functools.partial(system.call_s3, "list_objects_v2", **request)
        page = run_with_timeout(functools.partial(call_with_retries, list_page))
        if not more and not page.get("Contents"):
            raise FileNotFoundError
        yield from (f"{bucket}/{entry['Key']}" for entry in page.get("Contents", ()) if not entry["Key"].endswith("/"))
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _walk(system: Any, root: str) -> Iterator[str]:
    """Yield the files below a folder, with one folder in memory at a time."""
    within = [iter([(root, True)])]
    while within:
        name, is_folder = next(within[-1], ("", False))
        if not name:
            within.pop()
        elif not is_folder:
            yield name
        else:
            listed = call_with_retries(lambda name=name: system.ls(name, detail=True))  # type: ignore[misc]
            entries = [(str(entry["name"]).rstrip("/"), entry["type"] == "directory") for entry in listed]
            # Files of a folder are sorted as their full names are.
            within.append(iter(sorted((entry for entry in entries if entry[0] != name), key=_sort_key)))


def _sort_key(entry: tuple[str, bool]) -> str:
    name, is_folder = entry
    return f"{name}/" if is_folder else name


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Raises
    ------
    SourceError
        No storage has this scheme, or it does not answer.
    MissingDependencyError
        fsspec is not installed, or its package for the scheme, such as s3fs.
    """
    try:
        return _system(url)
    except SourceError as error:
        remedy = error_remedy(str(error), "Check the URL")
        raise SourceError(f"Cannot open {redact_secrets(url)!r}: {error}. {remedy}.") from error


def _system(url: str, total: float | None = -1.0) -> tuple[Any, str]:
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    url = f"{scheme}://{rest}"
    try:
        import fsspec

        if is_http_url(url):
            import aiohttp
    except ImportError as error:
        raise missing_dependency(f"Reading {redact_secrets(url)!r}", str(error.name), "'featx[remote]'") from error
    if _CHAINED.search(url):
        raise SourceError("chained URLs (::) are not supported; pass the URL of the file itself")
    try:
        if is_http_url(url):  # unchanged: fsspec would look for URLs within it
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS if total == -1 else total, sock_read=SILENT_SECONDS)
            # trust_env: the proxies of HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
            client = {"timeout": timeout, "trust_env": True, "headers": {"User-Agent": user_agent()}}
            return fsspec.filesystem(scheme, client_kwargs=client), url
        system, path = fsspec.core.url_to_fs(url, **(_s3_options() if scheme in ("s3", "s3a") else {}))
    except ImportError as error:
        from fsspec.registry import known_implementations

        implementation = str(known_implementations.get(scheme, {}).get("class", scheme))
        raise missing_dependency(f"Reading {redact_secrets(url)!r}", implementation.partition(".")[0]) from error
    except Exception as error:  # some storage connects at once
        if isinstance(error, ValueError) and str(error).startswith("Protocol not known"):
            known = "s3://, gs://, az://, https:// and others that fsspec knows"
            raise SourceError(f"no storage has the scheme {scheme}:// (expected {known})") from error
        raise SourceError(error_reason(error)) from error
    return system, str(path)


def error_reason(error: Exception) -> str:
    """Return a storage error as the reason of a message."""
    return storage_errors.error_reason(error, timeouts=(SILENT_SECONDS, TIMEOUT_SECONDS))


def user_agent() -> str:
    """Return how requests name their sender: ``FEATX_USER_AGENT``, else featx and its version."""
    return os.environ.get("FEATX_USER_AGENT") or f"featx/{__version__}"


def _s3_options() -> dict[str, Any]:
    """Return the options of S3: one connection for each request, and no cached listings."""
    import fsspec

    configured = {**fsspec.config.conf.get("s3a", {}), **fsspec.config.conf.get("s3", {})}.get("config_kwargs", {})
    return {"use_listings_cache": False, "config_kwargs": {"max_pool_connections": MAX_REQUESTS, **configured}}
