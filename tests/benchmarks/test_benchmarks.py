"""The command that runs benchmarks, the workloads, and the files of results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import accuracy, harness, results, workloads
from tests.benchmarks.comparison_benchmarks import measure_estimates
from tests.benchmarks.gpu_benchmarks import measure_device
from tests.benchmarks.harness import BENCHMARKS, Benchmark, Environment, Measurement, at_least
from tests.benchmarks.report_benchmarks import measure_report
from tests.benchmarks.search_benchmarks import measure_search
from tests.benchmarks.source_benchmarks import measure_containers, measure_listing


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path, n_runs=1)


def test_workloads_run_in_fresh_processes(environment: Environment, compiled_cache: Path) -> None:
    paths = environment.photos(8, 64, 64)
    cold = environment.extract(paths, {}, str(compiled_cache))
    warm = environment.run("extract_rows", paths=paths, options={}, cache=str(compiled_cache))
    assert (cold["computed"], warm["computed"]) == (8, 0)
    assert cold["imported"] == ["openvino"]
    assert warm["imported"] == []
    assert cold["seconds"] > 0
    assert cold["peak_mb"] > 50


def test_every_workload_of_a_benchmark_is_known() -> None:
    files = Path(harness.__file__).parent.glob("*_benchmarks.py")
    named = {name for file in files for name in re.findall(r"environment\.run\(\s*\"(\w+)\"", file.read_text())}
    assert len(named) > 10
    assert named <= set(workloads.WORKLOADS)


def test_failing_workload_is_named(environment: Environment, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="extract_rows failed"):
        environment.run("extract_rows", paths=["absent.jpg"], options={}, cache=str(tmp_path))


def test_written_job_is_a_finished_job(tmp_path: Path) -> None:
    folder, output = str(tmp_path / "job"), str(tmp_path / "f.npy")
    workloads.write_finished_job(folder=folder, shards=3, rows=2, features=4)
    assert workloads.merge_finished_job(folder=folder, output=output)["seconds"] > 0
    assert workloads.open_job(folder=folder)["opened"] > 0
    assert np.load(output).shape == (6, 4)
    assert Path(output).with_suffix(".csv").read_text().splitlines()[6].startswith("5,photos/002/000000005.jpg,002,")


def test_sources_are_measured(environment: Environment) -> None:
    assert measure_listing(environment, 2, 3).value
    measured = measure_containers(environment, environment.photos(4, 64, 64))
    assert [measurement.name for measurement in measured] == ["parquet/parquet", "parquet/npz"]


@pytest.mark.slow
def test_device_is_measured(environment: Environment) -> None:
    measured = measure_device(environment, "cpu", n_photos=8, networks=("mobilenet",))
    assert [measurement.name for measurement in measured] == ["gpu/mobilenet-float16", "gpu/mobilenet-float32"]
    assert all((measurement.value or 0) > 0 for measurement in measured)
    assert "a trial on the CPU" in measured[0].description


@pytest.mark.slow
@pytest.mark.thorough  # two fits and more of each built-in classifier: 20 s of processor time
def test_estimates_are_measured(environment: Environment) -> None:
    (measured,) = measure_estimates(environment, (600, 3))
    assert (measured.value or 0) >= 1
    assert "logreg" in measured.details


def test_report_is_drawn(environment: Environment) -> None:
    measured = measure_report(environment, n_images=40, n_groups=4)
    if measured[0].value is None:
        pytest.skip(measured[0].details)
    assert [measurement.name for measurement in measured] == ["report", "report/size", "report/map", "report/write"]
    assert 1 < (measured[1].value or 0) < 4  # MB; most of it is the library of the plots


def test_accuracies_of_small_collections(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collections = accuracy.read_collections(photo_folder, tmp_path)
    few = {name: (paths[:400:20], y[:400:20]) for name, (paths, y) in collections.items() if name == "digits"}
    few["photos"] = collections["photos"]
    for name in ("layers", "duplicate-groups", "novelty"):
        accuracy.TABLES[name](few)
    printed = capsys.readouterr().out
    assert "| mobilenet conv_pw_13_relu |" in printed
    assert "| 24 photos |" in printed
    assert "| above 1 |" in printed


@pytest.mark.slow
@pytest.mark.thorough
def test_every_search_is_measured(environment: Environment) -> None:
    pytest.importorskip("faiss")
    measured = measure_search(environment, n_rows=12_000, n_indexed=11_000)
    assert len({measurement.name for measurement in measured}) == 5
    assert all(measurement.value is not None for measurement in measured)


def test_missing_peer_is_named(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (measurement,) = BENCHMARKS["cold-timm"].run(environment)
    assert measurement.value is None
    assert measurement.details == "not installed: torch, timm"
    assert "| skipped | – | not installed: torch, timm |" in results.as_markdown([results.as_row(measurement)])


def test_missed_target_is_marked() -> None:
    row = results.as_row(at_least("a", "what", 1.5, 2, "15 vs. 10")) | {"machine": "a processor", "cores": 2}
    text = results.as_markdown([row])
    assert text.startswith("## a processor, 2 cores")
    assert "| a | what | 1.5 (missed) | ≥ 2 | 15 vs. 10 |" in text
    assert json.loads(json.dumps(row)) == row


def test_list_names_all_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)
    assert {"cold-mobilenet", "warm", "compare"} <= set(BENCHMARKS)
    assert sum("(slow)" in line for line in lines) == sum(not each.is_default for each in BENCHMARKS.values())


def test_unknown_benchmark_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["cold-mobilnet"])
    assert "unknown benchmark 'cold-mobilnet'" in capsys.readouterr().err


def test_results_are_merged_by_name_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([1.0, 2.0])

    def run(environment: Environment) -> list[Measurement]:
        return [at_least("quick", "a value", next(values), 1)]

    monkeypatch.setitem(harness.BENCHMARKS, "quick", Benchmark("quick", "a value", run, is_default=False))
    other = results.as_row(at_least("other", "another value", 3, 1))
    elsewhere = results.as_row(at_least("quick", "a value", 9, 1)) | {"machine": "another one"}
    results.save_rows(tmp_path, [other, elsewhere])
    for _ in range(2):
        command.main(["quick", "--results", str(tmp_path)])
    rows = {(row["machine"], row["name"]): row["value"] for row in results.read_rows(tmp_path)}
    machine = other["machine"]
    assert rows == {(machine, "other"): 3, (machine, "quick"): 2, ("another one", "quick"): 9}
    assert (tmp_path / "results.md").read_text().count("| quick |") == 2
    assert {"date", "commit", "cores"} <= results.read_rows(tmp_path)[0].keys()
