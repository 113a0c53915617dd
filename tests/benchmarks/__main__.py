"""Run benchmarks by name, and merge their results into ``results/results.json`` and ``results/results.md``.

The two sides of a comparison run alternately, each in a fresh process. The value is the median of the ratios of
neighboring runs, which does not change if the speed of the machine drifts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import (  # noqa: F401  # they register their benchmarks
    comparison_benchmarks,
    extraction_benchmarks,
    gpu_benchmarks,
    job_benchmarks,
    model_benchmarks,
    report_benchmarks,
    search_benchmarks,
    serving_benchmarks,
    source_benchmarks,
    store_benchmarks,
    torch_benchmarks,
)
from tests.benchmarks.harness import BENCHMARKS, Environment
from tests.benchmarks.results import RESULTS, as_row, save_rows


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all but the slow ones)")
    parser.add_argument("--list", action="store_true", help="list the names and what they measure")
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each measurement (default: 3)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (default: results/ here)")
    parser.add_argument("--photos", type=Path, help="folder that keeps the generated photos for later runs")
    return parser


def list_benchmarks() -> str:
    width = max(map(len, BENCHMARKS))
    return "\n".join(
        f"{benchmark.name:<{width}}  {benchmark.description}{'' if benchmark.is_default else ' (slow)'}"
        for benchmark in BENCHMARKS.values()
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser()
    args = parser.parse_args(arguments)
    if args.list:
        print(list_benchmarks())
        return
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}. Use one of {', '.join(BENCHMARKS)}")
    names = args.names or [benchmark.name for benchmark in BENCHMARKS.values() if benchmark.is_default]
    with tempfile.TemporaryDirectory(prefix="featx-benchmarks-") as folder:
        environment = Environment(Path(folder), args.runs, args.photos)
        for name in names:
            rows = [as_row(measurement) for measurement in BENCHMARKS[name].run(environment)]
            save_rows(args.results, rows)  # after each benchmark, so that an interrupt loses no result
            for row in rows:
                print(row, flush=True)


if __name__ == "__main__":
    main()
