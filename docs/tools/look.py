"""Looking at every page of the built site: screenshots at two widths in both themes, and problems of the layout."""

from __future__ import annotations

import contextlib
import importlib.resources
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.tools.site import ROOT, SITE

WIDTHS = (1400, 390)
THEMES = ("light", "dark")
SCREENS = ROOT / "build" / "screens"

#: Returns what the visitor of a page would trip over: text outside of the window, and pictures that are not there.
_FIND_LAYOUT = """
const found = [], width = document.documentElement.clientWidth;
const scrolls = (node) => node && !node.matches(".bd-article, body") &&
  (getComputedStyle(node).overflowX !== "visible" || scrolls(node.parentElement));
if (document.documentElement.scrollWidth > width + 1) found.push("the page is wider than the window");
for (const node of document.querySelectorAll(".bd-article *, .bd-header *")) {
  const box = node.getBoundingClientRect();
  if (box.width && box.right > width + 1 && !scrolls(node)) found.push(`out of sight: ${node.outerHTML.slice(0, 80)}`);
}
for (const cell of document.querySelectorAll(".bd-article td, .bd-article th"))
  if (cell.scrollWidth > cell.clientWidth + 2) found.push(`wider than its cell: ${cell.textContent.slice(0, 60)}`);
for (const image of document.images) {
  if (image.complete && !image.naturalWidth) found.push(`no picture: ${image.src}`);
  if (!image.alt) found.push(`no description: ${image.src}`);
}
return found.slice(0, 5);
"""
_FIND_ACCESSIBILITY = """
const done = arguments[0];
axe.run(document).then((result) => done(result.violations
  .filter((finding) => ["serious", "critical"].includes(finding.impact))
  .filter((finding) => !finding.nodes[0].html.includes("toctree-toggle"))  // of the theme
  .map((finding) => `${finding.id}: ${finding.nodes[0].html.slice(0, 120)}`)));
"""


def look(names: list[str]) -> int:
    """Open the pages whose path contains one of `names` (all without names), and return the exit code."""
    pages = [path for path in sorted(SITE.rglob("*.html")) if "_static" not in path.parts]
    chosen = [path for path in pages if not names or any(name in str(path.relative_to(SITE)) for name in names)]
    n_problems = 0
    for problem in problems_of(chosen):
        print(problem, flush=True)
        n_problems += 1
    n_screens = len(chosen) * len(WIDTHS) * len(THEMES)
    print(f"{n_problems} problems on {len(chosen)} pages; {n_screens} screenshots in {SCREENS.relative_to(ROOT)}")
    return 1 if n_problems else 0


def problems_of(pages: list[Path]) -> Iterator[str]:
    """Take the screenshots of pages, and yield their problems."""
    package = importlib.resources.files("axe_playwright_python")
    axe = package.joinpath("axe.min.js").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile, _browser(profile) as driver:
        for theme, width, page in itertools.product(THEMES, WIDTHS, pages):
            _set_window(driver, width, 900, theme)
            driver.get(page.as_uri())
            where = page.relative_to(SITE).with_suffix("")
            found = driver.execute_script(_FIND_LAYOUT)
            if width == WIDTHS[0]:  # the text and its colors are the same at the other width
                driver.execute_script(axe)
                found += driver.execute_async_script(_FIND_ACCESSIBILITY)
            for problem in found:
                yield f"{where} ({width} pixels, {theme}): {problem}"
            height = driver.execute_script("return document.documentElement.scrollHeight")
            _set_window(driver, width, min(height, 12_000), theme)
            SCREENS.mkdir(parents=True, exist_ok=True)
            driver.save_screenshot(str(SCREENS / f"{'-'.join(where.parts)}-{width}-{theme}.png"))


def _set_window(driver: Any, width: int, height: int, theme: str) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@contextlib.contextmanager
def _browser(profile: str) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
