"""Sources of images: listing many files, and images in tables and arrays against files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featx import FeatureExtractor, find_images
from tests.benchmarks.harness import Environment, Measurement, at_least, at_most, benchmark


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    started = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - started}


@benchmark("listing")
def listing(environment: Environment) -> list[Measurement]:
    """Listing of 100,000 files in 200 class folders, against os.walk."""
    return [measure_listing(environment, 200, 500)]


def measure_listing(environment: Environment, n_folders: int, n_files: int) -> Measurement:
    """Measure the listing of empty files against a walk that collects sorted paths."""
    root = Path(environment.temporary_folder())
    for folder in (root / f"class{number:03}" for number in range(n_folders)):
        folder.mkdir()
        for number in range(n_files):
            (folder / f"{number:05}.jpg").touch()

    def walk() -> None:
        paths = [os.path.join(folder, name) for folder, _, names in sorted(os.walk(root)) for name in sorted(names)]
        assert len(paths) == n_folders * n_files

    ratio, ours, theirs = environment.speedup(lambda: timed(lambda: find_images(root)), lambda: timed(walk))
    details = f"{ours['seconds']:.2f} s vs. {theirs['seconds']:.2f} s"
    return at_most("listing", "listing of many files, relative to os.walk", 1 / ratio, 6, details)


@benchmark("parquet")
def parquet(environment: Environment) -> list[Measurement]:
    """Extraction of images in a Parquet file and in an npz file against files, with a backbone that is fast."""
    return measure_containers(environment, environment.photos(2000, 256, 256))


def measure_containers(environment: Environment, paths: list[str]) -> list[Measurement]:
    """Measure the rates of images in tables and arrays relative to those of files and of arrays in memory."""
    import pyarrow as pa
    import pyarrow.parquet

    folder = Path(environment.temporary_folder())
    encoded = [Path(path).read_bytes() for path in paths]
    pyarrow.parquet.write_table(pa.table({"image": encoded}), folder / "a.parquet", row_group_size=100)
    pixels = np.random.default_rng(0).integers(0, 256, (len(paths), 64, 64, 3), dtype=np.uint8)
    np.savez_compressed(folder / "a.npz", x=pixels)
    extractor = FeatureExtractor("color_histogram", cache=None)

    def measure(inside: list[Any], outside: list[Any]) -> tuple[float, float, float]:
        ratio, ours, theirs = environment.speedup(
            lambda: timed(lambda: extractor.transform(inside)), lambda: timed(lambda: extractor.transform(outside))
        )
        return ratio, len(paths) / ours["seconds"], len(paths) / theirs["seconds"]

    ratio, ours, theirs = measure(find_images(folder / "a.parquet").paths, paths)
    details = f"{ours:.0f} vs. {theirs:.0f} images/s"
    parquet = at_least("parquet/parquet", "rate of images in parquet, relative to files", ratio, 0.5, details)
    ratio, ours, theirs = measure(find_images(folder / "a.npz").paths, list(pixels))
    # Arrays in memory need no reading at all. A reader must only be faster than networks, the fastest of which computes
    # 1,200 rows/s on this machine.
    description = "images/s of 64 × 64 arrays in an npz file"
    npz = at_least("parquet/npz", description, ours, 2400, f"{theirs:.0f} images/s in memory")
    return [parquet, npz]
