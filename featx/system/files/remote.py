"""Images at addresses (https://, s3://, …), read by fsspec, which is an extra: within a time, and up to a size."""

from __future__ import annotations

import concurrent.futures
import errno
import functools
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from featx.errors import ImageTooLargeError, MissingDependencyError, SourceError, UnreachableImageError
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_bytes

#: Seconds that one image may take, and that a server may be silent.
TIMEOUT_SECONDS, SILENT_SECONDS = 60.0, 15.0
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
#: An address within another: ``zip://a.jpg::/tmp/x.zip``.
_CHAINED = re.compile(r"^[a-z0-9+.-]+://[^?]*::(/|[a-z0-9+.-]+://)", re.IGNORECASE)
_BLOCK = 2**20
#: Seconds between attempts, on average, where the server may well answer the next time.
RETRY_PAUSES = (0.2, 0.6, 1.8)
_TRANSIENT = {errno.EBUSY, errno.EIO, errno.ECONNRESET, errno.EPIPE, getattr(errno, "EREMOTEIO", errno.EIO)}
#: Folders below each other that are listed on the web.
_DEEPEST = 12
#: Requests of one process at a time: they wait, and hardly compute.
MAX_REQUESTS = 32
_Result = TypeVar("_Result")


def is_url(path: str) -> bool:
    """Return whether a path is an address rather than that of a file."""
    return _ADDRESS.match(path) is not None


def is_http_url(address: str) -> bool:
    """Return whether an address is one of the web."""
    return address.lower().startswith(("http://", "https://"))


def local_path(address: str) -> str | None:
    """Return the path of a file that is given as an address (``file://``); None for other addresses."""
    scheme, _, rest = address.partition("://")
    return urllib.parse.unquote(rest) if scheme.lower() in ("file", "local") else None


def read_url(address: str, max_bytes: int) -> bytes:
    """Return the bytes at an address.

    Raises
    ------
    UnreachableImageError
        They cannot be had, or not in time.
    ImageTooLargeError
        There are more than `max_bytes`.
    MissingDependencyError
        fsspec is not installed, or of the web, what it needs for that.
    """
    try:
        system, path = _system(address)
    except SourceError as error:
        raise UnreachableImageError(str(error)) from error
    try:
        # aiohttp keeps time itself; most other kinds of storage wait for ever.
        data = call_with_retries(
            lambda: (
                _read(system, path, max_bytes)
                if is_http_url(address)
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
    """Return the bytes of an object, of one too large one more than are allowed; by one request, where that can be."""
    if "s3" in system.protocol:  # opened, it would be asked for the size first
        try:
            return bytes(system.cat_file(path, start=0, end=max_bytes + 1))
        except (FileNotFoundError, PermissionError, TimeoutError):
            raise
        except (OSError, ValueError) as error:
            if is_transient(error):
                raise  # else perhaps it has no bytes: of nothing there is no part
    # Of the web, no questions about its size, which a server may lie about.
    options = {"block_size": 0, "size": 1} if "http" in system.protocol else {}
    data = bytearray()
    with system.open(path, "rb", **options) as file:
        declared = getattr(getattr(file, "r", None), "content_length", None)  # of the web, where the server says it
        if declared and declared > max_bytes:
            raise ImageTooLargeError(
                f"it has {format_bytes(declared)}, more than the limit of {format_bytes(max_bytes)}"
            )
        while len(data) <= max_bytes and (block := file.read(_BLOCK)):
            data += block
    return data


def call_with_retries(work: Callable[[], _Result]) -> _Result:
    """Return what a function returns, tried again after pauses where a server fails (5xx) or hangs up."""
    until = time.monotonic() + TIMEOUT_SECONDS
    for pause in RETRY_PAUSES:
        try:
            return work()
        except Exception as error:
            if not is_transient(error) or time.monotonic() + pause > until:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # so that not all come back at once
    return work()


def is_transient(error: BaseException) -> bool:
    """Return whether an error of storage may well be gone at the next attempt: 5xx, 429, a connection that broke."""
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


def download(address: str, copy: str) -> None:
    """Copy a file from an address to this machine, however long that takes as long as the server is not silent.

    Raises
    ------
    SourceError, MissingDependencyError
        It cannot be had.
    """
    try:
        system, path = _system(address, total=None)
        call_with_retries(lambda: system.get_file(path, copy))
    except Exception as error:  # every kind of storage has its own
        if isinstance(error, MissingDependencyError):
            raise
        why = str(error) if isinstance(error, SourceError) else error_reason(error)
        raise SourceError(
            f"{redact_secrets(address)!r} cannot be read: {why}. Check the address, and that the environment has the "
            "credentials."
        ) from error


def run_with_timeout(work: Callable[[], _Result], seconds: float | None = None) -> _Result:
    """Return what a function returns; TimeoutError if that takes longer, or than an image may: it is left behind."""
    done: concurrent.futures.Future[_Result] = concurrent.futures.Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # the caller's, who alone can say what to do
            done.set_exception(error)

    # Not of a pool: its threads would keep the process alive until the silent server speaks.
    threading.Thread(target=run, daemon=True, name="featx-remote").start()
    return done.result(timeout=TIMEOUT_SECONDS if seconds is None else seconds)


def list_names(address: str) -> Iterator[str]:
    """Yield what lies below an address, relative to it, in sorted order; of S3 a page is in memory, of the web all.

    Of other storage it is a folder.

    Raises
    ------
    SourceError
        It cannot be listed.
    MissingDependencyError
    """
    system, path = open_filesystem(address)
    root = path.rstrip("/")
    try:
        for name in _keys(system, root) if "s3" in system.protocol else _found(system, root):
            yield name.split(root, 1)[-1].lstrip("/")
    except Exception as error:
        raise SourceError(
            f"What lies at {redact_secrets(address)!r} cannot be listed: {error_reason(error)}. Check the address, or "
            "list the addresses of the images in a table."
        ) from error


def _found(system: Any, root: str) -> Iterator[str]:
    """Return the files below a folder, which is there."""
    # Within a time, and by itself: not every kind says what it cannot list.
    run_with_timeout(
        lambda: call_with_retries(lambda: system.ls(f"{root}/" if is_http_url(root) else root, detail=False))
    )
    if is_http_url(root):  # whose pages may link without end
        return iter(sorted(map(str, system.find(root, maxdepth=_DEEPEST))))
    return _walk(system, root)


def _keys(system: Any, root: str) -> Iterator[str]:
    """Yield the objects below a prefix of S3, page after page: a folder there may hold all of millions."""
    bucket, prefix, _ = system.split_path(root)
    more: dict[str, str] = {}
    while True:
        asked = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else "", **more}
        list_page = functools.partial(system.call_s3, "list_objects_v2", **asked)
        page = run_with_timeout(functools.partial(call_with_retries, list_page))
        if not more and not page.get("Contents"):
            raise FileNotFoundError
        yield from (f"{bucket}/{one['Key']}" for one in page.get("Contents", ()) if not one["Key"].endswith("/"))
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _walk(system: Any, root: str) -> Iterator[str]:
    """Yield the files below a folder, one folder in memory at a time."""
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
            # A folder's files come where its name with a slash would, as in a sorted list of all.
            within.append(iter(sorted((entry for entry in entries if entry[0] != name), key=_place_in_list)))


def _place_in_list(entry: tuple[str, bool]) -> str:
    name, is_folder = entry
    return f"{name}/" if is_folder else name


def open_filesystem(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it.

    Raises
    ------
    SourceError
        No such kind of storage, or it does not answer.
    MissingDependencyError
    """
    try:
        return _system(address)
    except SourceError as error:
        raise SourceError(f"{redact_secrets(address)!r} cannot be opened: {error}. Check the address.") from error


def _system(address: str, total: float | None = -1.0) -> tuple[Any, str]:
    scheme, _, rest = address.partition("://")
    scheme = scheme.lower()
    address = f"{scheme}://{rest}"
    try:
        import fsspec

        if is_http_url(address):
            import aiohttp
    except ImportError as error:
        raise MissingDependencyError(
            f"{redact_secrets(address)!r} is read by fsspec and aiohttp, which are not installed ({error}). Install "
            "them: pip install 'featx[remote]'."
        ) from error
    if _CHAINED.search(address):
        raise SourceError("an address within an address (::) is not followed")
    try:
        if is_http_url(address):  # as it is: fsspec would look for addresses within it
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS if total == -1 else total, sock_read=SILENT_SECONDS)
            return fsspec.filesystem(scheme, client_kwargs={"timeout": timeout}), address
        system, path = fsspec.core.url_to_fs(address, **(_of_s3() if scheme in ("s3", "s3a") else {}))
    except ImportError as error:
        raise SourceError(f"{scheme}:// needs another package: {error}. Install it with pip") from error
    except Exception as error:  # a server that is asked at once and does not answer
        if isinstance(error, ValueError) and str(error).startswith("Protocol not known"):
            known = "s3://, gs://, az://, https:// and what else fsspec knows"
            raise SourceError(f"no storage is called {scheme}:// (expected {known})") from error
        raise SourceError(error_reason(error)) from error
    return system, str(path)


def _of_s3() -> dict[str, Any]:
    """Return how S3 is opened: as many connections as there are requests, and no listing that outlives its answer."""
    import fsspec

    said = {**fsspec.config.conf.get("s3a", {}), **fsspec.config.conf.get("s3", {})}.get("config_kwargs", {})
    return {"use_listings_cache": False, "config_kwargs": {"max_pool_connections": MAX_REQUESTS, **said}}


def error_reason(error: Exception) -> str:
    """Return why storage refused something, in words."""
    kind = type(error).__name__
    if kind == "TooManyRedirects":
        return "the server sends from one address to the next without end"
    if "Redirect" in kind or kind == "InvalidUrlClientError":
        return f"the server sends to an address that is not followed: {redact_secrets(str(error))}"
    status = getattr(error, "status", None)
    if status:
        said = " ".join(str(getattr(error, "message", "")).split()).rstrip(" :")
        return f"the server says {status} {said}".rstrip()
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        return f"the server did not answer in time ({SILENT_SECONDS:g} s of silence, {TIMEOUT_SECONDS:g} s in all)"
    if isinstance(error, FileNotFoundError):
        return "there is nothing at this address"
    return redact_secrets(str(error).splitlines()[0]) if str(error) else kind
