from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from featx.system.processes import cpu_quota, n_cores, n_visible_cores


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
