"""Benchmarks of the report: its size, and the time until a browser has drawn it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Environment, Measurement, at_most, benchmark

_FLIPPED = 20  # every twentieth label is wrong, so that there are mistakes and likely label errors


@benchmark("report", default=False)
def report(environment: Environment) -> list[Measurement]:
    """Report on 5,000 photos, of which 500 have a copy: size, and seconds until drawn."""
    return measure_report(environment, n_images=5000, n_groups=500)


def measure_report(environment: Environment, *, n_images: int, n_groups: int) -> list[Measurement]:
    """Write the report of a comparison, and open it in chromium."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        return [Measurement("report", "seconds until drawn", None, details="not installed: chromium, chromedriver")]
    what = f"{n_images:,} photos, {n_groups:,} groups of duplicates"
    page = Path(environment.temporary_folder()) / "report.html"
    written, mapped, wall = _write_report(environment, page, n_images, n_groups)
    drawn = environment.median(lambda: _seconds_until_drawn(page))
    return [
        at_most("report", f"{what}: seconds until drawn by chromium", drawn, 2),
        at_most("report/size", f"{what}: size in MB", os.path.getsize(page) / 1e6, 8),
        at_most("report/map", f"{what}: processor seconds of the map by t-SNE", mapped, 15, f"{wall:.1f} s"),
        Measurement("report/write", f"{what}: seconds to write it", round(written, 1)),
    ]


def _write_report(environment: Environment, page: Path, n_images: int, n_groups: int) -> tuple[float, float, float]:
    """Write the report on photos and copies of the first ones.

    Return the seconds of the report, and the processor seconds and seconds of its map.
    """
    from featx import compare_images
    from featx.workflows.report.feature_map import project

    paths = environment.photos(n_images - n_groups, 256, 192)
    folder = Path(environment.temporary_folder())
    paths += [str(shutil.copy(path, folder / f"copy-{Path(path).name}")) for path in paths[:n_groups]]
    labels = [f"class {number % 2}" for number in range(n_images)]  # two photos of which all are crops
    labels[::_FLIPPED] = ["class 1"] * len(labels[::_FLIPPED])
    result = compare_images(
        paths, labels, estimators=["logreg"], duplicate_threshold=1, cv=3, cache=environment.temporary_folder()
    )
    start = time.perf_counter()
    result.to_html(page)
    middle, before = time.perf_counter(), time.process_time()
    project(result.best_backbone.rows, tsne=True)
    return middle - start, time.process_time() - before, time.perf_counter() - middle


def _seconds_until_drawn(page: Path) -> float:
    driver = _open_browser()
    try:
        start = time.perf_counter()
        driver.get(page.as_uri())
        while not driver.execute_script("return document.documentElement.dataset.drawn"):
            time.sleep(0.01)
        driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        return time.perf_counter() - start
    finally:
        driver.quit()


def _open_browser() -> Any:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
