"""Write files so that a kill, a full disk or Ctrl-C leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY = re.compile(r"^\.(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{32}\.tmp$")
_ABANDONED_AFTER = 24 * 3600.0


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place when the block ends well.

    If durable, the file's bytes are on disk before it gets its name. On any exception, Ctrl-C included, the
    temporary file is removed. The folder is not synced: see :func:`sync_folder`.
    """
    temporary = path.parent / f".{_host()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a small text file as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; does nothing where folders cannot be synced (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files whose writer is gone: killed on this machine, or silent for a day elsewhere."""
    for entry in os.scandir(folder):
        found = _TEMPORARY.match(entry.name)
        if found and _is_abandoned(entry, found["host"], int(found["pid"])):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)


def _is_abandoned(entry: os.DirEntry[str], host: str, pid: int) -> bool:
    if host != _host() or os.name == "nt":
        with contextlib.suppress(FileNotFoundError):
            return time.time() - entry.stat().st_mtime > _ABANDONED_AFTER
        return False
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())
