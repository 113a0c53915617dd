"""Benchmarks of searches for similar rows and near-duplicates."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.comparison_workloads import N_FEATURES, write_mixture
from tests.benchmarks.harness import Environment, Measurement, benchmark


@benchmark("search", default=False)
def search(environment: Environment) -> list[Measurement]:
    """Similar rows among a million, by an index of 100,000, and near-duplicates among 100,000; needs 5 GB of disk."""
    return measure_search(environment, n_rows=1_000_000, n_indexed=100_000)


def measure_search(environment: Environment, *, n_rows: int, n_indexed: int) -> list[Measurement]:
    """Measure searches of synthetic features."""
    from featx import find_duplicates, find_similar, open_features

    folder = Path(environment.temporary_folder())
    for name, number in (("all.npy", n_rows), ("part.npy", n_indexed)):
        write_mixture(folder / name, number, 100, 1.0)
    rows, part = open_features(folder / "all.npy"), open_features(folder / "part.npy")
    part[:]  # read once, so that the disk is not measured
    few, many = rows[:10], part[:1000]
    measured = [
        ("similar", f"10 queries among {n_rows:,} rows of {N_FEATURES:,} features", lambda: find_similar(rows, few)),
        ("exact", f"1,000 queries among {n_indexed:,} rows", lambda: find_similar(part, many)),
        ("faiss", "the same by --index faiss, with building it", lambda: find_similar(part, many, index="faiss")),
        (
            "faiss-approximate",
            "the same by --index faiss-approximate, with building it",
            lambda: find_similar(part, many, index="faiss-approximate"),
        ),
        ("duplicates", f"near-duplicates among {n_indexed:,} rows", lambda: find_duplicates(part)),
    ]
    return [Measurement(f"search/{name}", f"{what}, s", round(_seconds(run), 2)) for name, what, run in measured]


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
