"""Write files so that a kill, a full disk or Ctrl-C leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import re
import shutil
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

#: .featx-<where>-<pid>-<token>-<tag>.tmp: which process, of which machine, writes it; the tag tells what it is.
_TEMPORARY = re.compile(
    r"^\.featx-(?P<where>.+)-(?P<pid>\d{1,10})-(?P<token>[0-9a-f]{8})-(?P<tag>[0-9a-f]{8,32})\.tmp$"
)
_TOKEN = uuid.uuid4().hex[:8]
_ABANDONED_AFTER = 24 * 3600.0


def temporary_path(folder: Path, tag: str = "") -> Path:
    """Return a name of this process's own; `tag`, 8 to 32 hex digits, is random if not given."""
    return folder / f".featx-{where()}-{os.getpid()}-{_TOKEN}-{tag or uuid.uuid4().hex[:8]}.tmp"


def why_not_writable(folder: Path) -> str:
    """Return why no file can be made in a folder, or "". It is tried: permissions do not tell of /proc or mounts."""
    temporary = temporary_path(folder)
    try:
        with open(temporary, "xb"):
            pass
        os.unlink(temporary)
    except OSError as error:
        return error.strerror or str(error)
    return ""


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True, tag: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place when the block ends well.

    If durable, the file's bytes are on disk before it gets its name. On any exception, Ctrl-C included, the
    temporary file is removed. The folder is not synced: see :func:`sync_folder`.
    """
    temporary = temporary_path(path.parent, tag)
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong before matters more
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder among the system's temporary files; those that killed processes left are removed."""
    place = Path(tempfile.gettempdir())
    for path, _ in list(abandoned(place)):
        shutil.rmtree(path, ignore_errors=True)  # another user's stays
    folder = temporary_path(place)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write a small text file as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def open_regular(path: Path) -> io.FileIO:
    """Open a regular file for reading. Links, pipes and devices are neither followed nor waited for.

    Raises
    ------
    ValueError
        It is none.
    OSError
        It cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise ValueError("it is no regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file")
    return io.FileIO(descriptor, "r")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; does nothing where folders cannot be synced (Windows, some mounts)."""
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


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files whose writer is gone: killed on this machine, or silent for a day elsewhere."""
    for path, _ in abandoned(folder):
        path.unlink(missing_ok=True)


def abandoned(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the temporary files whose writer is gone, and their tags."""
    for entry in os.scandir(folder):
        found = _TEMPORARY.match(entry.name)
        if found and _is_abandoned(entry, found["where"], int(found["pid"]), found["token"]):
            yield Path(entry.path), found["tag"]


def tags_in_use(folder: Path) -> set[str]:
    """Return the tags of the temporary files of a folder."""
    return {found["tag"] for name in os.listdir(folder) if (found := _TEMPORARY.match(name))}


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably; what is there already stays."""
    missing = [folder, *folder.parents]
    while missing and missing[-1].is_dir():
        missing.pop()
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        with contextlib.suppress(PermissionError):  # a folder that one may enter and not list
            sync_folder(path.parent)


def _is_abandoned(entry: os.DirEntry[str], writer: str, pid: int, token: str) -> bool:
    if writer != where() or os.name == "nt":
        with contextlib.suppress(FileNotFoundError):
            return time.time() - entry.stat().st_mtime > _ABANDONED_AFTER
        return False
    if pid == os.getpid():
        return token != _TOKEN  # of an earlier process that had our number
    return not is_running(pid)


def is_running(pid: int, started: int | None = None) -> bool:
    """Return whether there is a process of this number here, as far as this user may know.

    Parameters
    ----------
    pid : int
    started : int or None, default=None
        As :func:`started_at` said of it; None if that is unknown. A container that is started again numbers its
        processes as before.
    """
    now = started_at(pid) if started is not None else None
    if now is not None and now != started:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's process; a number that is none
        return True
    return not _is_dead(pid)


def started_at(pid: int) -> int | None:
    """Return when a process started, in ticks since its machine did; None where that is not to be known."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return None  # what is mounted there numbers processes as another container does
    except OSError:
        return None
    fields = _stat_of(pid)
    return int(fields[19]) if len(fields) > 19 else None


def _is_dead(pid: int) -> bool:
    """Return whether a process has ended, and nobody has asked how: it keeps its number until then."""
    return _stat_of(pid)[:1] in ([b"Z"], [b"X"])


def _stat_of(pid: int) -> list[bytes]:
    """Return what Linux says of a process after its name; nothing elsewhere, or if it has just gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


@functools.cache
def where() -> str:
    """Name what process numbers are unique in: the host since it started, and in containers the namespace."""
    host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())
    try:
        # Hosts of one name may share a folder: cloned machines, or those that are all called localhost.
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        return f"{host}.{started}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return host
