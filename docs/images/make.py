"""Make the pictures of the documentation by real runs: ``python docs/images/make.py PHOTOS``.

It needs chromium, chromedriver and selenium. PHOTOS is a folder with one subfolder per class; the pictures show the 840
aerial photos of UC Merced (public domain). Without PHOTOS, only the small pictures of the tutorials are made, from the
outputs of their notebooks. ``python -m docs.tools write`` draws the diagrams.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import PIL.Image

from featx import compare_images, explain_images, train_images

matplotlib.use("Agg")
HERE = Path(__file__).parent
NOTEBOOKS = HERE.parents[1] / "notebooks"
WIDTH = 1100
#: Which picture of a notebook stands for it.
CARDS = {
    "quick_start": 0,
    "which_backbone": 0,
    "which_to_try": 0,
    "tuning": 0,
    "image_column": 0,
    "from_table_to_use": -1,
    "many_images": 0,
}
CARD_SIZE = (480, 240)


def main(photos: Path) -> None:
    """Compare and explain photos, and save pictures of the results next to this file."""
    paths = sorted(map(str, photos.glob("*/*.jpg")))
    labels = [Path(path).parent.name for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        result = compare_images(paths, labels, cache=folder)  # a new cache: the report shows the time of a first run
        figure = result.plot_learning_curve().figure
        figure.savefig(HERE / "learning_curve.png", dpi=90, bbox_inches="tight", facecolor="white")
        report = Path(folder) / "report.html"
        result.to_html(report)
        screenshot(report, HERE / "report.png", "summary", "scores")
        screenshot(report, HERE / "map.png", "map", "map")
        model = Path(folder) / "model.skops"
        train_images(paths[:160], labels[:160]).save(model)
        explained = Path(folder) / "explained"
        explanations = explain_images(str(model), paths[0:160:40], output=str(explained))
        join([explanation.file for explanation in explanations], HERE / "attribution.png")


def screenshot(page: Path, target: Path, first: str, last: str) -> None:
    """Save what a browser shows of a page from one section to another, with few colors so that the file is small."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", f"window-size={WIDTH},860", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(page.as_uri())
        while not driver.execute_script("return document.documentElement.dataset.drawn"):
            time.sleep(0.05)
        time.sleep(1)  # the plots are drawn in the next frames
        place = "return document.getElementById(arguments[0]).getBoundingClientRect().{}"
        top = driver.execute_script(place.format("top"), first) if first != "summary" else 0
        height = driver.execute_script(place.format("bottom"), last) - top
        clip = {"x": 0, "y": top, "width": WIDTH, "height": height, "scale": 1}
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    finally:
        driver.quit()
    image = PIL.Image.open(io.BytesIO(base64.b64decode(shot["data"])))
    image.convert("RGB").quantize(128).save(target, optimize=True)


def join(files: list[str], target: Path) -> None:
    """Save images of equal size in two columns, so that they are legible on a phone."""
    images = [PIL.Image.open(file).convert("RGB") for file in files]
    width, height = images[0].size
    joined = PIL.Image.new("RGB", (2 * width, -(-len(images) // 2) * height), "white")
    for index, image in enumerate(images):
        joined.paste(image, (index % 2 * width, index // 2 * height))
    joined.thumbnail((WIDTH, WIDTH))
    joined.quantize(128).save(target, optimize=True)


def make_cards(notebooks: Path, folder: Path) -> None:
    """Save one picture of each notebook, small, on white."""
    folder.mkdir(exist_ok=True)
    for name, number in CARDS.items():
        cells = json.loads((notebooks / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        images = [found.get("image/png") or found.get("image/jpeg") for found in data]
        shown = [image for image in images if image][number]
        image = PIL.Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")
        image.thumbnail(CARD_SIZE)
        card = PIL.Image.new("RGB", CARD_SIZE, "white")
        card.paste(image, ((CARD_SIZE[0] - image.width) // 2, (CARD_SIZE[1] - image.height) // 2))
        card.quantize(64).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    make_cards(NOTEBOOKS, HERE / "tutorials")
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
