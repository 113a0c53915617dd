"""Workloads of comparisons on synthetic features, with the memory of all processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

N_FEATURES, _RANK = 1024, 128


def write_mixture(path: Path, n_rows: int, n_classes: int, noise: float) -> Any:
    """Write features of Gaussian classes in a subspace, cut at 0 like those of a network; return their labels."""
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


def _peak_of(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return result, seconds, and the peak of the proportional memory of this process and its children in GB."""
    import psutil

    peak, is_done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        process = psutil.Process()
        while not is_done.wait(0.1):
            total = 0
            for member in (process, *process.children(recursive=True)):
                try:
                    total += member.memory_full_info().pss
                except psutil.Error:  # it ended meanwhile
                    continue
            peak = max(peak, total / 1e9)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        result = run()
    finally:
        seconds = time.perf_counter() - started
        is_done.set()
        watcher.join()
    return result, seconds, peak


def compare_mixture(folder: str, rows: int, classes: int, noise: float) -> dict[str, Any]:
    """Compare the default estimators on synthetic features that are mapped from a file."""
    from featx import compare_baselines

    path = Path(folder) / "features.npy"
    y = write_mixture(path, rows, classes, noise)
    X = np.load(path, mmap_mode="r")
    comparison, seconds, peak = _peak_of(lambda: compare_baselines(X, y))
    scores = dict(zip(comparison.table["estimator"], comparison.table["accuracy_mean"], strict=True))
    return {"seconds": seconds, "peak_gb": peak, "scores": scores, "notes": comparison.notes}
