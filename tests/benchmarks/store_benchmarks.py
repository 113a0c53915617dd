"""Benchmarks of the row store: opening it and looking up digests."""

from __future__ import annotations

import shutil
import statistics

from tests.benchmarks.harness import Environment, Measurement, at_most, benchmark

_TARGET_ROWS = 5_000_000


def _measure_store(environment: Environment, name: str, n_rows: int, n_segments: int) -> list[Measurement]:
    cache = environment.folder / f"store-{n_rows}"
    environment.run("fill_store", cache=str(cache), rows=n_rows, segments=n_segments)
    runs = [environment.run("open_store", cache=str(cache)) for _ in range(environment.n_runs)]
    shutil.rmtree(cache)
    opened, lookup, size = (
        statistics.median(run[key] for run in runs) for key in ("seconds", "lookup", "bytes_per_row")
    )
    name, suffix = f"{name}/{n_rows // 10**6}m", f"a store of {n_rows:,} rows in {n_segments:,} segments"
    peak = f"peak memory of the process {runs[-1]['peak_mb']:.0f} MB"
    open_name, open_description = f"{name}-open", f"opening {suffix}, s"
    if n_rows == _TARGET_ROWS:
        open_measurement = at_most(open_name, open_description, opened, 2, peak)
    else:
        open_measurement = Measurement(open_name, open_description, round(opened, 3), details=peak)
    return [
        open_measurement,
        at_most(f"{name}-index", f"index of {suffix}, bytes per row", size, 60),
        at_most(f"{name}-lookup", f"looking up 100,000 digests in {suffix}, s", lookup, 0.5),
    ]


@benchmark("store")
def store(environment: Environment) -> list[Measurement]:
    """Opening stores of 1, 5 and 20 million rows, and lookups."""
    n_rows = (1_000_000, 5_000_000, 20_000_000)
    return [row for number in n_rows for row in _measure_store(environment, "store", number, 1_000)]


@benchmark("store-large", default=False)
def store_large(environment: Environment) -> list[Measurement]:
    """Opening a store of 100 million rows, and lookups; needs 2 GB of disk and 8 GB of memory."""
    return _measure_store(environment, "store-large", 100_000_000, 3_000)
