"""Workloads of comparisons on synthetic features, with the memory of all processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

N_FEATURES, _RANK = 1024, 128


def write_mixture(path: Path, n_rows: int, n_classes: int, noise: float) -> Any:
    """Write features of Gaussian classes in a subspace, cut at 0 like those of a network; return their labels.

    1,024 columns are mixtures of 128 latent directions and some noise of their own, and therefore correlated. They are
    cut at 0 like pooled ReLU activations: about half of the values are 0.
    """
    rng = np.random.default_rng(0)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n_rows, N_FEATURES))
    basis = rng.standard_normal((_RANK, N_FEATURES), dtype=np.float32) / np.sqrt(_RANK)
    # Few classes have several centers each, so that a linear model is not enough.
    n_centers = 4 if n_classes <= 100 else 1
    centers = 0.45 * rng.standard_normal((n_classes, n_centers, _RANK), dtype=np.float32)
    y = rng.permutation(np.arange(n_rows) % n_classes)
    for start in range(0, n_rows, 8192):
        labels = y[start : start + 8192]
        latent = centers[labels, rng.integers(0, n_centers, len(labels))]
        latent = latent + noise * rng.standard_normal(latent.shape, dtype=np.float32)
        block = latent @ basis + 0.3 * rng.standard_normal((len(labels), N_FEATURES), dtype=np.float32)
        rows[start : start + 8192] = np.maximum(block, 0)
    rows.flush()
    return y


def write_job(folder: Path, X: Any, y: Any, shard_size: int = 50_000) -> None:
    """Write features as a finished job: shards of rows, and their tables with paths, labels and digests."""
    from featx.features.job_files import FORMAT, CommittedShard, JobManifest, PlannedShard, matrix_name, table_name
    from featx.features.job_tables import make_shard_table, shard_table_bytes
    from featx.recipe import Recipe

    recipe = Recipe("synthetic", "1", (224, 224), "features", "avg", "squash", "float32")
    n_shards = -(-len(X) // shard_size)
    common = {"fingerprint": recipe.fingerprint, "n_features": X.shape[1], "options": {"backbone": "synthetic"}}
    manifest = JobManifest(
        format=FORMAT,
        id="benchmark",
        featx="0",
        recipe=recipe.as_dict(),
        **common,
        source=["photos"],
        folder=str(folder),
        labels="str",
        splits={},
        has_groups=False,
        shard_size=shard_size,
        n_images=len(X),
        n_shards=n_shards,
        source_options={},
        listed="",
        shards_per_file=n_shards,
    )
    (folder / "shards").mkdir(parents=True)
    for shard in range(n_shards):
        rows = slice(shard * shard_size, min((shard + 1) * shard_size, len(X)))
        paths = [f"photos/{row // 1000:04}/{row:07}.jpg" for row in range(rows.start, rows.stop)]
        digests = np.frombuffer(
            b"".join(hashlib.blake2b(path.encode(), digest_size=16).digest() for path in paths), dtype=np.uint8
        ).reshape(-1, 16)
        planned = PlannedShard(paths, [f"class {label}" for label in y[rows]], [None] * len(paths))
        matrix = folder / "shards" / "rows.npy"
        np.save(matrix, X[rows])
        checksum = hashlib.blake2b(matrix.read_bytes(), digest_size=16).hexdigest()
        matrix.rename(folder / matrix_name(shard, checksum))
        done = CommittedShard("benchmark", recipe.fingerprint, shard, len(paths), checksum, len(paths), 0, 0, 0, 0, 0.0)
        table = make_shard_table(planned, "str", digests, {})
        (folder / table_name(shard)).write_bytes(shard_table_bytes(done, table))
    (folder / "job.json").write_bytes(manifest.as_bytes())


def _memory_of(process: Any) -> tuple[float, float]:
    """Return the anonymous memory and the mapped files of a process in GB, shared pages divided among processes."""
    fields = {}
    with open(f"/proc/{process.pid}/smaps_rollup") as file:
        for line in list(file)[1:]:
            name, value = line.split(":")
            fields[name] = int(value.split()[0]) / 1e6
    return fields["Pss_Anon"] + fields["Pss_Shmem"], fields["Pss_File"]


def _peak_of(run: Callable[[], Any]) -> tuple[Any, float, float, float]:
    """Return result, seconds, and the peaks of anonymous memory and mapped files of this process and its children."""
    import psutil

    peaks, is_done = [0.0, 0.0], threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not is_done.wait(0.2):
            totals = [0.0, 0.0]
            for member in (process, *process.children(recursive=True)):
                try:
                    anonymous, mapped = _memory_of(member)
                except (psutil.Error, OSError):  # it ended meanwhile
                    continue
                totals = [totals[0] + anonymous, totals[1] + mapped]
            peaks[:] = [max(pair) for pair in zip(peaks, totals, strict=True)]

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        result = run()
    finally:
        seconds = time.perf_counter() - started
        is_done.set()
        watcher.join()
    return result, seconds, peaks[0], peaks[1]


def compare_mixture(folder: str, rows: int, classes: int, noise: float, *, as_job: bool = False) -> dict[str, Any]:
    """Compare the default estimators, and ridge, on synthetic features that are mapped from a file or lie in a job."""
    from featx import compare_baselines, compare_features

    path = Path(folder) / "features.npy"
    y = write_mixture(path, rows, classes, noise)
    np.save(Path(folder) / "labels.npy", y)
    X = np.load(path, mmap_mode="r")
    if as_job:
        write_job(Path(folder) / "job", X, y)
        names = ["dummy", "ridge", "logreg", "svm", "knn"]
        result, seconds, peak, mapped = _peak_of(
            lambda: compare_features(Path(folder) / "job", estimators=names, diagnostics=False, progress=_print)
        )
    else:
        result, seconds, peak, mapped = _peak_of(lambda: compare_baselines(X, y))
    table = result.table
    return {
        "seconds": seconds,
        "peak_gb": peak,
        "mapped_gb": mapped,
        "scores": dict(zip(table["estimator"], table["accuracy_mean"], strict=True)),
        "fold_seconds": dict(zip(table["estimator"], table["fit_seconds"] + table["predict_seconds"], strict=True)),
        "notes": result.notes,
    }


def _print(progress: Any) -> None:
    print(progress, file=sys.stderr, flush=True)


def cross_val_scores(folder: str, estimator: str, gigabytes: float, seconds: float) -> dict[str, Any]:
    """Score an estimator by plain ``cross_val_score``, in a process that may take so much memory and time.

    Memory is measured as for featx: the anonymous memory of the process.
    """
    import psutil

    code = (
        "import json, sys, numpy as np\n"
        "folder, name = sys.argv[1:]\n"
        "from sklearn.model_selection import cross_val_score\n"
        "from featx.baselines.estimators import make_baseline\n"
        "X, y = np.load(folder + '/features.npy', mmap_mode='r'), np.load(folder + '/labels.npy')\n"
        "print(json.dumps(cross_val_score(make_baseline(name), X, y, cv=5, error_score='raise').mean()))\n"
    )
    started = time.perf_counter()
    command = [sys.executable, "-c", code, folder, estimator]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        peak, reason = 0.0, ""
        while process.poll() is None and not reason:
            time.sleep(0.2)
            with contextlib.suppress(psutil.Error, OSError):  # it ended meanwhile
                peak = max(peak, _memory_of(process)[0])
            if time.perf_counter() - started > seconds:
                reason = f"did not finish in {seconds:.0f} s"
            elif peak > gigabytes:
                reason = f"took more than {gigabytes:g} GB after {time.perf_counter() - started:.0f} s"
        if reason:
            process.kill()
        output, errors = process.communicate()
    elapsed = time.perf_counter() - started
    if not reason and process.returncode:
        lines = errors.splitlines() or [f"exit status {process.returncode}"]
        reason = f"failed after {elapsed:.0f} s ({lines[-1][:80]})"
    outcome = reason or f"{json.loads(output):.3f} in {elapsed:.0f} s, {peak:.1f} GB"
    return {"outcome": outcome, "seconds": elapsed, "finished": not reason}


def estimate_folds(folder: str, rows: int, classes: int) -> dict[str, Any]:
    """Return estimated and actual seconds of a fold of each built-in classifier, by name."""
    from sklearn.model_selection import StratifiedKFold

    from featx.baselines.builtin_baselines import BASELINES
    from featx.baselines.fitting import Dataset
    from featx.baselines.scaling.approximate import approximate_baselines
    from featx.baselines.scaling.limits import ScaleLimits
    from featx.baselines.scaling.workers import FoldWorkers

    path = Path(folder) / "features.npy"
    y = write_mixture(path, rows, classes, 1.0)
    data = Dataset(np.load(path, mmap_mode="r"), y, "classification")
    fold = next(StratifiedKFold(5, shuffle=True, random_state=0).split(y, y))
    builtin = [baseline for baseline in BASELINES["classification"] if baseline.name != "dummy"]
    baselines = approximate_baselines(builtin, rows, ScaleLimits(), [], random_state=0)
    seconds = {}
    with FoldWorkers(data) as workers:
        for baseline in baselines:
            cost = workers.estimate(baseline, fold, tune=False, deadline=float("inf"))
            started = time.perf_counter()
            workers.score(
                baseline, [fold], tune=False, n_processes=1, deadline=float("inf"), progress=lambda n_done: None
            )
            seconds[baseline.name] = (cost.seconds, time.perf_counter() - started)
    return {"folds": seconds}
