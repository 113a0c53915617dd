"""How many cores this process may use: by its affinity, and by the quota of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def n_cores() -> int:
    """Return the number of cores this process may use.

    Of a container with a quota (``docker --cpus 2.5``, ``limits`` of Kubernetes), no more than that, rounded up:
    threads beyond it only wait for each other while the system holds them back.
    """
    return max(1, math.ceil(min(n_visible(), _quota(_GROUPS, _OWN))))


def n_visible() -> int:
    """Return the number of cores that threads are put on, whatever share of them this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(groups: Path, own: Path) -> float:
    """Return the cores of the smallest quota of our control groups, of both versions; infinite without one."""
    return min(_limits(groups, own), default=math.inf)


def _limits(groups: Path, own: Path) -> Iterator[float]:
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = groups / "cpu" if controllers else groups
        # In a container, a group may be named as the host sees it, and only the root of what is mounted is its own.
        for group in [PurePosixPath(name), *PurePosixPath(name).parents]:
            yield from _limit(folder / group.relative_to("/"))


def _limit(group: Path) -> Iterator[float]:
    """Yield the cores of a group's quota, if it has one."""
    try:
        if (whole := group / "cpu.max").exists():
            said = whole.read_text().split()
        else:
            said = [(group / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period")]
        quota, period = (float(text) for text in said)  # "max" is no number
    except (OSError, ValueError):
        return
    if quota > 0 and period > 0:
        yield quota / period
