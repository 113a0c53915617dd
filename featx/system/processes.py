"""Processor, cores, memory and processes of this machine: how much may be used, and whether a process still runs."""

from __future__ import annotations

import functools
import math
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joblib.externals.loky import ProcessPoolExecutor

_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_CPU_INFO = Path("/proc/cpuinfo")


def processor_name(cpu_info: Path = _CPU_INFO) -> str:
    """Return the name of the processor.

    Parameters
    ----------
    cpu_info : Path, default=Path("/proc/cpuinfo")
        File that describes the processors.
    """
    models = [line for line in processor_fields(cpu_info) if line.startswith("model name")]
    return models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()


def processor_fields(cpu_info: Path = _CPU_INFO) -> list[str]:
    """Return the lines that describe the first processor, such as its name and instructions; none outside Linux.

    Parameters
    ----------
    cpu_info : Path, default=Path("/proc/cpuinfo")
        File that describes the processors.
    """
    try:
        return cpu_info.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return []


def n_cores() -> int:
    """Return the number of cores that this process may use.

    The CPU quota of a container (``docker --cpus 2.5``, Kubernetes ``limits``), rounded up, is an upper limit: more
    threads would only be throttled.
    """
    return max(1, math.ceil(min(n_visible_cores(), cpu_quota(_CGROUPS, _OWN_CGROUPS))))


def n_visible_cores() -> int:
    """Return the number of cores in the affinity of this process, regardless of CPU quotas."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache  # reading the files takes a tenth of the time of an image
def cpu_quota(cgroups: Path, own_cgroups: Path) -> float:
    """Return the smallest CPU quota, in cores, of the control groups (v1 and v2) of this process; infinity if none.

    Parameters
    ----------
    cgroups : Path
        Mount point of the control groups, ``/sys/fs/cgroup``.
    own_cgroups : Path
        File that lists the groups of this process, ``/proc/self/cgroup``.
    """
    return min(_cpu_quotas(cgroups, own_cgroups), default=math.inf)


def _cpu_quotas(cgroups: Path, own_cgroups: Path) -> Iterator[float]:
    for group in _own_groups(cgroups, own_cgroups, "cpu"):
        yield from _cpu_quota_of(group)


def _own_groups(cgroups: Path, own_cgroups: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups (v1 and v2) of this process that may limit a resource."""
    try:
        lines = own_cgroups.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        folder = cgroups / controller if controllers else cgroups
        # In a container, the group may have its name on the host. Then only the root of the mount belongs to it.
        for group in [PurePosixPath(name), *PurePosixPath(name).parents]:
            yield folder / group.relative_to("/")


def _cpu_quota_of(group: Path) -> Iterator[float]:
    """Yield the quota of one control group in cores, if it has one."""
    try:
        if (v2_file := group / "cpu.max").exists():
            texts = v2_file.read_text().split()
        else:
            texts = [(group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
        quota, period = (float(text) for text in texts)  # "max" raises ValueError
    except (OSError, ValueError):
        return
    if quota > 0 and period > 0:
        yield quota / period


def available_memory(cgroups: Path = _CGROUPS, own_cgroups: Path = _OWN_CGROUPS) -> float:
    """Return the bytes that processes can still take, or infinity if the system does not report them.

    The memory limit of a container (``docker --memory``, Kubernetes ``limits``) counts, less what the container uses.

    Parameters
    ----------
    cgroups, own_cgroups : Path
        Folder of all control groups, and file that names those of this process.
    """
    groups = _own_groups(cgroups, own_cgroups, "memory")
    return min([_free_memory(), *(memory_left(group) for group in groups)])


def memory_left(group: Path) -> float:
    """Return the bytes that are left of the memory limit of a control group (v1 or v2); infinity if it has none.

    Contents of files, which the system may drop from memory, do not count as used.

    Parameters
    ----------
    group : Path
        Folder of the group.
    """
    is_v2 = (group / "memory.max").exists()
    names = ("memory.max", "memory.current") if is_v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    try:
        limit, used = (int((group / name).read_text()) for name in names)  # "max" raises ValueError
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        prefix = "" if is_v2 else "total_"
        files = int(fields[f"{prefix}active_file"]) + int(fields[f"{prefix}inactive_file"])
        return max(0, limit - used + files)
    except (OSError, KeyError, ValueError):
        return math.inf


def _free_memory() -> float:
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return float(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # Windows, macOS
        return math.inf


def process_identity() -> dict[str, Any]:
    """Return what identifies this process for others: ``host``, ``pid`` and ``started``, for :func:`is_alive`."""
    pid = os.getpid()
    return {"host": pid_namespace(), "pid": pid, "started": process_start_time(pid)}


def is_alive(host: str, pid: int, started: int | None, last_seen: float, silent_seconds: float) -> bool:
    """Return whether a process is alive; one on another machine, if it was seen within the last `silent_seconds`."""
    if host == pid_namespace():
        return is_process_running(pid, started)
    return time.time() - last_seen < silent_seconds


def is_process_running(pid: int, started: int | None = None) -> bool:
    """Return whether a process runs in this PID namespace; True if this is unknown.

    Parameters
    ----------
    pid : int
    started : int or None, default=None
        Result of :func:`process_start_time` for the process. None: not checked. A container that is restarted uses
        the same PIDs again.
    """
    now = process_start_time(pid) if started is not None else None
    if now is not None and now != started:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # a process of another user; not a valid PID
        return True
    return _stat_fields(pid)[:1] not in ([b"Z"], [b"X"])  # a zombie keeps its PID


def process_start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if unknown."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return None  # /proc belongs to another PID namespace
    except OSError:
        return None
    fields = _stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else None


def _stat_fields(pid: int) -> list[bytes]:
    """Return the fields of ``/proc/PID/stat`` that follow the process name; none if the file cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


@functools.cache
def pid_namespace() -> str:
    """Return a name of the namespace in which PIDs are unique: host name, boot ID and PID namespace."""
    host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())
    try:
        # Hosts that share a folder may have the same name: cloned machines, or "localhost".
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        return f"{host}.{boot_id}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return host


def make_process_pool(n_processes: int, **options: Any) -> ProcessPoolExecutor:
    """Return an executor of processes that do not share the state of this one.

    If this process is killed, another process of loky deletes its semaphores. It does so without a warning, which would
    list them in the middle of what the next command prints.

    Parameters
    ----------
    n_processes : int
        Maximum number of processes. They start with their first tasks.
    **options
        Further parameters of the executor of loky.
    """
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.backend import resource_tracker

    ignored = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(ignored)  # becomes an option of the process that starts here, and of no other
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(ignored)
    return ProcessPoolExecutor(n_processes, **options)
