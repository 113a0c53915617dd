"""Atomic writes: after a kill, a full disk or Ctrl-C, a file has its old or its new content, never a part of it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from featx.system.processes import is_process_running, pid_namespace

#: Start of the names of temporary files.
TEMPORARY_PREFIX = ".featx-"
#: .featx-<PID namespace>-<PID>-<token of the process>-<tag of the file>.tmp
_TEMPORARY = re.compile(
    r"^\.featx-(?P<namespace>.+)-(?P<pid>\d{1,10})-(?P<token>[0-9a-f]{8})-(?P<tag>[0-9a-f]{8,32})\.tmp$"
)
_TOKEN = uuid.uuid4().hex[:8]
_ABANDONED_AFTER = 24 * 3600.0


def temporary_path(folder: Path, tag: str = "") -> Path:
    """Return a path for a temporary file of this process. `tag` is 8 to 32 hex digits, by default random."""
    return folder / f".featx-{pid_namespace()}-{os.getpid()}-{_TOKEN}-{tag or uuid.uuid4().hex[:8]}.tmp"


def write_problem(folder: Path) -> str:
    """Return why no file can be created in a folder, or "". It tries, as permissions do not show read-only mounts."""
    temporary = temporary_path(folder)
    try:
        with open(temporary, "xb"):
            pass
        os.unlink(temporary)
    except OSError as error:
        return error.strerror or str(error)
    return ""


@contextlib.contextmanager
def atomic_write(path: Path, *, durable: bool = True, tag: str = "") -> Iterator[Path]:
    """Yield a temporary path next to `path`, which replaces `path` when the block ends without an error.

    On any exception, Ctrl-C included, the temporary file is removed. The folder is not synced: see
    :func:`sync_folder`.

    Parameters
    ----------
    path : Path
    durable : bool, default=True
        Whether to sync the file to disk before it replaces `path`.
    tag : str, default=""
        See :func:`temporary_path`.
    """
    temporary = temporary_path(path.parent, tag)
    try:
        yield temporary
        if durable:
            sync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error matters more
            os.unlink(temporary)
        raise


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write a small text file atomically, as UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def open_regular_file(path: Path) -> io.FileIO:
    """Open a regular file for reading. Links are not followed, and pipes and devices do not block.

    Raises
    ------
    ValueError
        The path is not a regular file.
    OSError
        The file cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise ValueError("not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a regular file")
    return io.FileIO(descriptor, "r")


def sync_file(path: Path) -> None:
    """Make the contents of a file durable."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Does nothing where folders cannot be synced (Windows, some mounts)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents durably."""
    missing = [folder, *folder.parents]
    while missing and missing[-1].is_dir():
        missing.pop()
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        with contextlib.suppress(PermissionError):  # a parent that may be entered but not listed
            sync_folder(path.parent)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of a folder whose process has ended; see :func:`abandoned_files`."""
    for path, _ in abandoned_files(folder):
        path.unlink(missing_ok=True)


def abandoned_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield path and tag of each temporary file whose process has ended.

    A file of another machine is abandoned when it has not changed for a day.
    """
    for entry in os.scandir(folder):
        match = _TEMPORARY.match(entry.name)
        if match and _is_abandoned(entry, match["namespace"], int(match["pid"]), match["token"]):
            yield Path(entry.path), match["tag"]


def temporary_tags(folder: Path) -> set[str]:
    """Return the tags of the temporary files of a folder."""
    return {match["tag"] for name in os.listdir(folder) if (match := _TEMPORARY.match(name))}


def _is_abandoned(entry: os.DirEntry[str], namespace: str, pid: int, token: str) -> bool:
    if namespace != pid_namespace() or os.name == "nt":
        with contextlib.suppress(FileNotFoundError):
            return time.time() - entry.stat().st_mtime > _ABANDONED_AFTER
        return False
    if pid == os.getpid():
        return token != _TOKEN  # written by an earlier process with the same PID
    return not is_process_running(pid)
