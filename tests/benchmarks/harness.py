"""What benchmarks share: a registry by name, photographs, caches, and workloads in fresh processes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from featx.datasets.sample_images import write_sample_images
from featx.extraction.options import ExtractionOptions

ROOT = Path(__file__).parents[2]

Timing = dict[str, Any]
_Run = TypeVar("_Run")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One measured value.

    Attributes
    ----------
    name : str
        Unique name: that of the benchmark, with a suffix if it measures several values.
    description : str
        What is measured, with the unit.
    value : float or None
        Measured value. None: the benchmark was skipped.
    target : str
        Condition for the value, such as "≥ 5"; "–" if there is none.
    passed : bool
        Whether the target was reached.
    details : str
        Underlying values, or the reason for skipping.
    """

    name: str
    description: str
    value: float | None
    target: str = "–"
    passed: bool = True
    details: str = ""


def at_least(
    name: str, description: str, value: float, target: float, details: str = "", *, ok: bool = True
) -> Measurement:
    """Return a measurement whose value must be at least `target`; `ok` is a further condition."""
    return Measurement(
        name, description, round(float(value), 3), f"≥ {target:g}", bool(value >= target and ok), details
    )


def at_most(
    name: str, description: str, value: float, target: float, details: str = "", *, ok: bool = True
) -> Measurement:
    """Return a measurement whose value must be at most `target`; `ok` is a further condition."""
    return Measurement(
        name, description, round(float(value), 3), f"≤ {target:g}", bool(value <= target and ok), details
    )


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A benchmark by name."""

    name: str
    description: str
    run: Callable[[Environment], list[Measurement]]
    is_default: bool


#: All benchmarks by name, in the order of their definition.
BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(name: str, *, default: bool = True) -> Callable[..., Any]:
    """Register a function as a benchmark. The first line of its docstring is its description."""

    def register(function: Callable[[Environment], list[Measurement]]) -> Callable[[Environment], list[Measurement]]:
        description = (function.__doc__ or "").strip().splitlines()[0]
        BENCHMARKS[name] = Benchmark(name, description, function, default)
        return function

    return register


class Environment:
    """Photographs, caches with compiled networks, and workloads in processes of their own.

    Parameters
    ----------
    folder : Path
        Folder for temporary files.
    n_runs : int
        Number of runs of each measurement.
    photos : Path or None, default=None
        Folder of generated photographs, to use them again. None: `folder`.
    """

    def __init__(self, folder: Path, n_runs: int, photos: Path | None = None) -> None:
        self.folder = folder
        self.n_runs = n_runs
        self._photos = photos or folder
        self._n_caches = 0

    def photos(self, number: int, width: int = 500, height: int = 375, quality: int = 85) -> list[str]:
        """Return the paths of JPEG photographs."""
        return write_sample_images(self._photos / f"photos-{width}x{height}", number, width, height, quality)

    def temporary_folder(self) -> str:
        """Return a new empty folder."""
        return tempfile.mkdtemp(dir=self.folder)

    def new_cache(self, options: dict[str, Any]) -> str:
        """Return a cache without rows that contains the compiled network."""
        self._n_caches += 1
        cache = self.folder / f"cache-{self._n_caches}"
        (cache / "compiled").mkdir(parents=True)  # stays empty if the graph is in the package
        ExtractionOptions(**options).resolve().start(cache / "compiled")
        return str(cache)

    def copy_cache(self, cache: str) -> str:
        """Return a copy of a cache."""
        return str(shutil.copytree(cache, self.temporary_folder(), dirs_exist_ok=True))

    def run(self, workload: str, **arguments: Any) -> Timing:
        """Run a workload in a fresh process and return what it measured."""
        command = [sys.executable, "-m", "tests.benchmarks.workloads", workload]
        process = subprocess.run(
            command, input=json.dumps(arguments), capture_output=True, text=True, check=False, cwd=ROOT
        )
        if process.returncode != 0:
            raise SystemExit(f"{workload} failed:\n{process.stderr[-2000:]}")
        timing: Timing = json.loads(process.stdout.splitlines()[-1])
        return timing

    def extract(
        self, paths: list[str], options: dict[str, Any], cache: str | None = None, *, start: bool = True
    ) -> Timing:
        """Extract images to a file with featx."""
        cache = cache or self.new_cache(options)
        output = str(self.folder / "f.npy")
        return self.run("extract_files", paths=paths, options=options, cache=cache, output=output, start=start)

    def median(self, measure: Callable[[], float], n_runs: int = 0) -> float:
        """Return the median of several measurements."""
        return statistics.median(measure() for _ in range(n_runs or self.n_runs))

    def speedup(self, ours: Callable[[], Timing], theirs: Callable[[], Timing]) -> tuple[float, Timing, Timing]:
        """Run two workloads alternately; return the median of theirs/ours in seconds, and the timings that it is from.

        Ratios of neighboring runs do not change if the speed of the machine drifts.
        """
        pairs = [(ours(), theirs()) for _ in range(self.n_runs)]
        our, their = median_run(pairs, lambda pair: pair[1]["seconds"] / pair[0]["seconds"])
        return their["seconds"] / our["seconds"], our, their


def median_run(runs: Sequence[_Run], value: Callable[[_Run], float]) -> _Run:
    """Return the run whose value is the median, so that a ratio follows from the figures beside it."""
    return sorted(runs, key=value)[(len(runs) - 1) // 2]


def rates(n_images: int, ours: Timing, theirs: Timing, digits: int = 0) -> str:
    """Return the rates of two workloads as text."""
    return f"{n_images / ours['seconds']:.{digits}f} vs. {n_images / theirs['seconds']:.{digits}f} images/s"
