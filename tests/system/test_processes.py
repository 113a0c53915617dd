from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from featx.system.processes import (
    available_memory,
    cpu_quota,
    memory_left,
    n_cores,
    n_visible_cores,
    processor_fields,
    processor_name,
)


def groups(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Write control groups as the system shows them."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return folder / "cgroup", folder / "own"


def test_container_quota(tmp_path: Path) -> None:
    assert cpu_quota(*groups(tmp_path, "0::/\n", {"cpu.max": "250000 100000\n"})) == 2.5


def test_no_quota_is_no_limit(tmp_path: Path) -> None:
    assert cpu_quota(*groups(tmp_path, "0::/\n", {"cpu.max": "max 100000\n"})) == math.inf


def test_smallest_quota_of_all_parent_groups_applies(tmp_path: Path) -> None:
    files = {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n", "c/cpu.max": "1000 100000\n"}
    assert cpu_quota(*groups(tmp_path, "0::/a/b\n", files)) == 3


def test_quotas_of_version_1(tmp_path: Path) -> None:
    files = {"cpu/pod/cpu.cfs_quota_us": "150000\n", "cpu/pod/cpu.cfs_period_us": "100000\n"}
    files |= {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cpu_quota(*groups(tmp_path, "5:memory:/other\n4:cpu,cpuacct:/pod\n0::/\n", files)) == 1.5


def test_group_named_by_the_host(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cpu_quota(*groups(tmp_path, "4:cpu,cpuacct:/docker/0123\n", files)) == 4


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 2 3\n", "0 0\n"])
def test_invalid_quota_is_ignored(tmp_path: Path, text: str) -> None:
    assert cpu_quota(*groups(tmp_path, "0::/\n", {"cpu.max": text})) == math.inf


def test_systems_without_control_groups_have_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "no", tmp_path / "none") == math.inf


def test_at_least_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.system.processes.cpu_quota", lambda *_: 0.1)
    assert n_cores() == 1


def test_no_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.system.processes.cpu_quota", lambda *_: math.inf)
    assert n_cores() == n_visible_cores() <= (os.cpu_count() or 1)


STAT = "anon 500\nactive_file 30\ninactive_file 70\n"


def test_memory_left_in_a_container(tmp_path: Path) -> None:
    files = {"memory.max": "1000\n", "memory.current": "600\n", "memory.stat": STAT}
    cgroups, _ = groups(tmp_path, "0::/\n", files)
    assert memory_left(cgroups) == 1000 - 500


def test_memory_left_by_version_1(tmp_path: Path) -> None:
    stat = "total_active_file 30\ntotal_inactive_file 70\n"
    files = {"memory.limit_in_bytes": "1000\n", "memory.usage_in_bytes": "950\n", "memory.stat": stat}
    cgroups, _ = groups(tmp_path, "0::/\n", files)
    assert memory_left(cgroups) == 150


@pytest.mark.parametrize("files", [{}, {"memory.max": "max\n", "memory.current": "6\n", "memory.stat": STAT}])
def test_groups_without_a_memory_limit(files: dict[str, str], tmp_path: Path) -> None:
    cgroups, _ = groups(tmp_path, "0::/\n", files)
    assert memory_left(cgroups) == math.inf


def test_the_smallest_limit_of_all_parent_groups_counts(tmp_path: Path) -> None:
    group = {"max": "1000\n", "current": "600\n", "stat": STAT}
    files = {f"a/memory.{name}": text for name, text in group.items()}
    files |= {f"a/b/memory.{name}": text for name, text in (group | {"max": "max\n"}).items()}
    assert available_memory(*groups(tmp_path, "0::/a/b\n", files)) == 500


def test_available_memory_is_less_than_all_memory(tmp_path: Path) -> None:
    free = available_memory(own_cgroups=tmp_path / "none")
    assert free > 0
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        assert free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_first_processor_is_described(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Fast: 2 GHz\nflags\t: amx\n\nprocessor\t: 1\nmodel name\t: Other\n")
    assert processor_name(path) == "Fast: 2 GHz"
    assert processor_fields(path) == ["processor\t: 0", "model name\t: Fast: 2 GHz", "flags\t: amx"]


def test_processor_without_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    (tmp_path / "cpuinfo").write_text("hart: 0\n")  # no name, as on RISC-V
    assert (processor_name(tmp_path / "cpuinfo"), processor_name(tmp_path / "none")) == ("riscv64", "riscv64")
    assert processor_fields(tmp_path / "none") == []


def test_nothing_is_printed_after_a_kill() -> None:
    """Loky's process lists semaphores of a killed process, unless its warnings are off."""
    code = (
        "import os, signal, sys; from featx.system.processes import make_process_pool; options = list(sys.warnoptions);"
        "worker = make_process_pool(1, timeout=None).submit(os.getpid).result(); assert options == sys.warnoptions;"
        "[os.kill(process, signal.SIGKILL) for process in (worker, os.getpid())]"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (killed.returncode, killed.stdout, killed.stderr) == (-signal.SIGKILL, "", "")
