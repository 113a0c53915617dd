"""Make the pictures of the documentation by real runs: ``python docs/images/make.py PHOTOS``.

It needs chromium, chromedriver and selenium. PHOTOS is a folder with one subfolder per class; the pictures show the 840
aerial photos of UC Merced (public domain).
"""

from __future__ import annotations

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
WIDTH = 1100


def main(photos: Path) -> None:
    """Compare and explain photos, and save pictures of the results beside this file."""
    paths = sorted(map(str, photos.glob("*/*.jpg")))
    labels = [Path(path).parent.name for path in paths]
    result = compare_images(paths, labels)
    figure = result.plot_learning_curve().figure
    figure.savefig(HERE / "learning_curve.png", dpi=90, bbox_inches="tight", facecolor="white")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        result.to_html(report)
        screenshot(report, HERE / "report.png", "")
        screenshot(report, HERE / "map.png", "map")
        model = Path(folder) / "model.skops"
        train_images(paths[:160], labels[:160]).save(model)
        explained = Path(folder) / "explained"
        explanations = explain_images(str(model), paths[0:160:40], output=str(explained))
        join([explanation.file for explanation in explanations], HERE / "attribution.png")


def screenshot(page: Path, target: Path, anchor: str) -> None:
    """Save what a browser shows of a page from an anchor on, with few colors so that the file is small."""
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
        if anchor:
            driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", anchor)
            time.sleep(1)
        driver.save_screenshot(str(target))
    finally:
        driver.quit()
    PIL.Image.open(target).convert("RGB").quantize(128).save(target, optimize=True)


def join(files: list[str], target: Path) -> None:
    """Save images side by side."""
    images = [PIL.Image.open(file).convert("RGB") for file in files]
    joined = PIL.Image.new(
        "RGB", (sum(image.width for image in images), max(image.height for image in images)), "white"
    )
    for index, image in enumerate(images):
        joined.paste(image, (sum(previous.width for previous in images[:index]), 0))
    joined.thumbnail((WIDTH, WIDTH))
    joined.quantize(256).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
