from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import sides


def test_a_side_runs_in_a_process_of_its_own(tmp_path: Path, compiled_cache: Path) -> None:
    bench = benchmarks.Bench(tmp_path, runs=1)
    paths = bench.photos(8, 64, 64)
    cold = bench.featx(paths, {}, str(compiled_cache))
    warm = bench.side("featx_rows", paths=paths, options={}, cache=str(compiled_cache))
    assert (cold["computed"], warm["computed"]) == (8, 0)
    assert cold["imported"] == ["openvino"]
    assert warm["imported"] == []
    assert cold["seconds"] > 0
    assert cold["peak_mb"] > 50


def test_a_side_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="featx_rows failed"):
        benchmarks.Bench(tmp_path, runs=1).side("featx_rows", paths=["absent.jpg"], options={}, cache=str(tmp_path))


def test_a_job_that_is_made_up_is_one(tmp_path: Path) -> None:
    folder, out = str(tmp_path / "job"), str(tmp_path / "f.npy")
    sides.job_done(folder=folder, shards=3, rows=2, features=4)
    assert sides.job_merged(folder=folder, out=out)["seconds"] > 0
    assert sides.job_looked_at(folder=folder)["opened"] > 0
    assert np.load(out).shape == (6, 4)
    assert Path(out).with_suffix(".csv").read_text().splitlines()[6].startswith("5,photos/002/000000005.jpg,002,")


def test_a_peer_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (row,) = benchmarks.row_3(benchmarks.Bench(tmp_path, runs=1))
    assert row["skipped"] == "not installed: torch, timm"
    assert "skipped: not installed" in benchmarks.markdown({"machine": "m", "cores": 2, "rows": [row]})


def test_the_report_says_what_was_missed_and_on_which_machine() -> None:
    row = benchmarks._row("what", 1.5, "≥ 2", False, "15 against 10")
    text = benchmarks.markdown({"machine": "a processor", "cores": 2, "rows": [row]})
    assert text.startswith("a processor, 2 cores")
    assert "| what | 1.5 (missed) | ≥ 2 | 15 against 10 |" in text
    assert json.loads(json.dumps(row)) == row
