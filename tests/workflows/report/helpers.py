"""Reports of small comparisons, and what a browser shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from featx.datasets.image_table import ImageTable
from featx.workflows.report.comparison_page import write_report
from tests.workflows.helpers import compare

#: Class and file names that a page must show as text.
HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "$$\\alpha$$ 🦜 </script>", "x" * 300)


def report(table: ImageTable, path: Path, **options: Any) -> str:
    """Write the report of a comparison, and return its text."""
    defaults = {"cv": 3, "duplicate_threshold": 1, "diagnostics": True, "estimators": ["dummy", "logreg", "knn"]}
    result = compare(table, **{**defaults, **options})
    write_report(path, result, command="featx compare photos --report 'r.html'", seconds=1.5)
    return path.read_text(encoding="utf-8")


def write_colored_images(folder: Path, labels: list[str], *, side: int = 24) -> ImageTable:
    """Write small images whose color depends on the class, with hostile file names."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    colors = {label: rng.integers(0, 200, 3) for label in dict.fromkeys(labels)}
    paths = []
    for number, label in enumerate(labels):
        name = HOSTILE[number % 3].replace("/", "∕") + f" {number}.png"
        pixels = np.clip(colors[label] + rng.integers(0, 60, (side, side, 3)), 0, 255).astype(np.uint8)
        paths.append(str(folder / name))
        PIL.Image.fromarray(pixels).save(paths[-1])
    return ImageTable(paths, labels)


def console_messages(browser: Any) -> list[str]:
    """Return errors and warnings of the browser's console."""
    messages = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    return [message for message in messages if "willReadFrequently" not in message]  # caused by COUNT_DRAWN_PIXELS


#: Script that returns the number of pixels that the glyphs of a plot change.
COUNT_DRAWN_PIXELS = """
const [name, done] = arguments;
const all = (root) => [...root.querySelectorAll('*')].flatMap((node) =>
  [node, ...(node.shadowRoot ? all(node.shadowRoot) : [])]);
const pixels = () => all(document.getElementById(`plot-${name}`))
  .filter((node) => node.tagName === 'CANVAS' && node.width)
  .map((node) => node.getContext('2d').getImageData(0, 0, node.width, node.height).data);
const settled = () => new Promise((resolve) => setTimeout(resolve, 150));
(async () => {
  await settled();
  const before = pixels();
  const glyphs = [];
  for (const document of Bokeh.documents) for (const model of document.all_models)
    if (model.name === name) glyphs.push(...model.renderers);
  for (const node of glyphs) node.visible = false;
  await settled();
  const after = pixels();
  for (const node of glyphs) node.visible = true;
  let changed = 0;
  before.forEach((data, number) => {
    for (let i = 0; i < data.length; i += 4) changed +=
      data[i] !== after[number][i] || data[i + 3] !== after[number][i + 3];
  });
  done(changed);
})();
"""
