"""The report: what it says, how large it is, and what a real browser makes of it."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx.cli import main as cli
from featx.datasets.find import find_images
from featx.datasets.image_table import ImageTable
from featx.errors import OutputError
from featx.extraction.options import ExtractionOptions
from featx.images.thumbnails import make_atlas
from featx.system.formatting import shorten
from featx.testing import CountingBackbone
from featx.workflows.compare import compare_tables
from featx.workflows.report.charts import look_of
from featx.workflows.report.report import write_report
from featx.workflows.request import ComparisonConfig

HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "$$\\alpha$$ 🦜 </script>", "x" * 300)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


def _report(
    table: ImageTable, path: Path, *, cache: Path | None = None, backbone: str = "counting", **config: Any
) -> str:
    wanted = ComparisonConfig(
        **{"cv": 3, "duplicate_threshold": 1, "diagnostics": True, "estimators": ["dummy", "logreg", "knn"], **config}
    )
    result = compare_tables(table, [ExtractionOptions("counting")], wanted, cache=None)
    write_report(path, result, command="featx compare photos --report 'r.html'", seconds=1.5)
    return path.read_text(encoding="utf-8")


def _photos(folder: Path, labels: list[str], *, side: int = 24) -> ImageTable:
    """Small images of which some colours tell the class, named as badly as a file system lets one."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    classes = {label: rng.integers(0, 200, 3) for label in dict.fromkeys(labels)}
    paths = []
    for number, label in enumerate(labels):
        name = HOSTILE[number % 3].replace("/", "∕") + f" {number}.png"
        pixels = np.clip(classes[label] + rng.integers(0, 60, (side, side, 3)), 0, 255).astype(np.uint8)
        paths.append(str(folder / name))
        PIL.Image.fromarray(pixels).save(paths[-1])
    return ImageTable(paths, labels)


@pytest.mark.usefixtures("counting")
def test_the_page_needs_nothing_else_and_says_what_was_found(photo_folder: Path, tmp_path: Path) -> None:
    text = _report(find_images([photo_folder]), tmp_path / "r.html")
    without_libraries = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", without_libraries)
    assert "default-src 'none'" in text
    for words in ("24 images right, of 2 classes", "95 % interval", "featx compare photos", "Learning curve", "logreg"):
        assert words in without_libraries, words
    assert json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])["classes"] == ["china", "flower"]  # type: ignore[index]


@pytest.mark.usefixtures("counting")
def test_no_address_on_the_page_holds_a_secret(
    photo_folder: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "c2VjcmV0LXZhbHVl0123456789"
    handler = functools.partial(_Quiet, directory=str(photo_folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            paths = sorted(path.relative_to(photo_folder) for path in photo_folder.glob("*/*.jpg"))
            addresses = [f"http://127.0.0.1:{server.server_port}/{path}?sig={secret}" for path in paths]
            lines = [f"{address},{path.parent}" for address, path in zip(addresses, paths, strict=True)]
            (photo_folder / "list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
            listed = addresses[0].replace(str(paths[0]), "list.csv")
            options = ["--backbone", "counting", "--estimator", "knn", "--cv", "3", "--no-cache", "--quiet"]
            assert cli.main(["compare", listed, "--report", "r.html", "--json", *options]) == 0
        finally:
            server.shutdown()
    text = Path("r.html").read_text()
    out = capsys.readouterr().out
    assert secret not in text + out
    assert json.loads(out)["rows"] == 24
    assert "list.csv?sig=…" in text  # what was run
    assert "00.jpg?sig=…" in text


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.usefixtures("counting")
def test_hostile_names_are_text(tmp_path: Path) -> None:
    labels = [HOSTILE[number % 4] for number in range(40)]
    text = _report(_photos(tmp_path / "photos", labels), tmp_path / "r.html")
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "x" * 61 not in text
    assert text.count("</script>") == len(re.findall(r"<script[ >]", text))


def test_112_classes_look_different() -> None:
    looks = [look_of(number) for number in range(112)]
    assert len({(look.colour, look.fill, look.marker) for look in looks}) == 112
    assert len({(look.colour, look.character) for look in looks}) == 112


def test_long_names_keep_their_end() -> None:
    assert shorten("a/" * 100 + "photo.jpg", 20) == "…a/a/a/a/a/photo.jpg"
    assert shorten("a\nb\u202ec") == "a\ufffdb\ufffdc"


@pytest.mark.usefixtures("counting")
def test_a_report_that_cannot_be_written(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Choose another file"):
        _report(find_images([photo_folder]), tmp_path)


def test_an_atlas_has_every_image_at_its_place_and_grey_for_those_gone(tmp_path: Path, photos: Any) -> None:
    paths = [str(tmp_path / f"{number}.png") for number in range(5)]
    for number, path in enumerate(paths[:4]):
        PIL.Image.new("RGB", (30, 20), (60 * number, 0, 0)).save(path)
    atlas = make_atlas(paths)
    sheet = np.asarray(PIL.Image.open(io.BytesIO(atlas.data)))
    for number in range(5):
        row, column = divmod(number, atlas.n_columns)
        middle = sheet[row * atlas.side + atlas.side // 2, column * atlas.side + atlas.side // 2]
        expected = [60 * number, 0, 0] if number < 4 else [128] * 3
        assert np.abs(middle.astype(int) - expected).max() < 12, number


@pytest.mark.thorough
def test_5001_real_photos_with_names_of_emoji_take_less_than_8_mb(
    ucmerced: list[str], counting: CountingBackbone, tmp_path: Path
) -> None:
    paths, labels = [], []
    for turn in range(6):
        for number, path in enumerate(ucmerced):
            paths.append(str(tmp_path / f"{'🦜' * 50} {turn} {number}.jpg"))
            PIL.Image.open(path).rotate(15 * turn).save(paths[-1])
            labels.append(Path(path).parent.name)
    text = _report(ImageTable(paths[:5001], labels[:5001]), tmp_path / "r.html", estimators=["knn"])
    assert "5,000 of 5,001 images are shown" in text
    assert os.path.getsize(tmp_path / "r.html") <= 8_000_000


# In a browser ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium, driven by its own driver; CI must have one, others may."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM and DRIVER):
        if os.environ.get("CI"):
            pytest.fail("CI must have chromium and chromedriver")
        pytest.skip("chromium and chromedriver are not installed")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1280,900",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Callable[[Path], Any]:
    """Open a page and wait until its plots are drawn; what the console says is an error."""

    def open_page(path: Path) -> Any:
        browser.get(path.as_uri())
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if browser.execute_script("return document.documentElement.dataset.drawn"):
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"not drawn: {browser.get_log('browser')}")
        return browser

    return open_page


def _complaints(browser: Any) -> list[str]:
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    return [one for one in said if "willReadFrequently" not in one]  # of the tests' own looking at pixels


# How many pixels of a plot its glyphs change: as it is, against the same without them.
_DRAWN = """
const [name, done] = arguments;
const all = (root) => [...root.querySelectorAll('*')].flatMap((one) =>
  [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])]);
const pixels = () => all(document.getElementById(`plot-${name}`))
  .filter((one) => one.tagName === 'CANVAS' && one.width)
  .map((one) => one.getContext('2d').getImageData(0, 0, one.width, one.height).data);
const settled = () => new Promise((resolve) => setTimeout(resolve, 150));
(async () => {
  await settled();
  const before = pixels();
  const glyphs = [];
  for (const document of Bokeh.documents) for (const model of document.all_models)
    if (model.name === name) glyphs.push(...model.renderers);
  for (const one of glyphs) one.visible = false;
  await settled();
  const after = pixels();
  for (const one of glyphs) one.visible = true;
  let changed = 0;
  before.forEach((data, number) => {
    for (let at = 0; at < data.length; at += 4) changed +=
      data[at] !== after[number][at] || data[at + 3] !== after[number][at + 3];
  });
  done(changed);
})();
"""


def test_a_browser_draws_every_plot_without_complaint(
    opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path
) -> None:
    _report(find_images([photo_folder]), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    for name in ("scores", "confusion", "map", "curve"):
        assert page.execute_async_script(_DRAWN, name) > 500, name
    assert _complaints(page) == []


def test_hostile_names_do_nothing_in_a_browser(
    opened: Callable[[Path], Any], counting: CountingBackbone, tmp_path: Path
) -> None:
    labels = [HOSTILE[number % 4] for number in range(40)]
    _report(_photos(tmp_path / "photos", labels), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")  # an alert would make the next command fail
    page.execute_script("document.querySelectorAll('button').forEach((button) => button.click())")
    assert _complaints(page) == []
    shown = page.execute_script("return document.querySelector('#of-class p').textContent")
    assert shown.startswith(("<script>", "\"'><img", "$$", "xxx"))


def test_a_click_on_a_mistake_shows_its_images_and_a_class_is_highlighted(
    opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path
) -> None:
    table = find_images([photo_folder])
    labels = list(table.labels)
    labels[3] = labels[7] = "flower"
    _report(ImageTable(table.paths, labels), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    run = page.execute_script
    run("document.querySelector('button[data-predicted]').click()")
    heading = run("return document.querySelector('#gallery p').textContent")
    n_tiles = run("return document.querySelectorAll('#gallery .tile').length")
    assert re.fullmatch(r"\w+, predicted \w+: \d+ images?", heading)
    assert f": {n_tiles} image" in heading
    # The same by a click on the plot: selecting a cell is what Bokeh's tap tool does.
    run("document.getElementById('gallery').replaceChildren()")
    run(
        "for (const document of Bokeh.documents) for (const model of document.all_models) "
        "if (model.name === 'confusion') model.renderers[0].data_source.selected.indices = [0]"
    )
    assert run("return document.querySelectorAll('#gallery .tile').length") > 0
    run("document.querySelector('button[data-highlight]').click()")
    assert run("return document.querySelector('button[data-highlight]').getAttribute('aria-pressed')") == "true"
    alphas = run(
        "for (const document of Bokeh.documents) for (const model of document.all_models) "
        "if (model.name === 'dots') return [...model.data_source.data.alpha]"
    )
    assert set(alphas) == {1, 0.08}
    run("document.querySelector('input[value=pca]').click()")
    are_rings_shown = (
        "for (const document of Bokeh.documents) for (const model of document.all_models) "
        "if (model.name === 'rings') return model.visible"
    )
    shown = run(are_rings_shown)
    assert run("return document.getElementById('rings').checked") is shown
    run("document.getElementById('rings').click()")
    assert run(are_rings_shown) is not shown
    run("document.getElementById('of-label').value = 0; document.getElementById('as-predicted').value = 0")
    run("document.getElementById('show-cell').click()")
    assert run("return document.querySelector('#gallery p').textContent").startswith("china, predicted china: ")
    assert _complaints(page) == []


@pytest.mark.slow
def test_hovering_over_a_point_shows_its_picture(
    opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path
) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    _report(find_images([photo_folder]), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    place = page.find_element(By.ID, "plot-map")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
    # Where the first point is, from the middle of the plot's element.
    x, y = page.execute_script(
        """
        const find = (views) => { for (const view of views) {
          if (view.model.name === 'map') return view; } };
        const view = find(Object.values(Bokeh.index.roots ?? Bokeh.index));
        const renderer = view.model.renderers.find((one) => one.name === 'dots');
        const data = renderer.data_source.data;
        const box = document.getElementById('plot-map').getBoundingClientRect();
        const frame = view.frame.bbox, own = view.el.getBoundingClientRect();
        const sx = view.frame.x_scale.compute(data.x[0]), sy = view.frame.y_scale.compute(data.y[0]);
        return [own.left + sx - box.left - box.width / 2, own.top + sy - box.top - box.height / 2];
        """
    )
    ActionChains(page).move_to_element_with_offset(place, int(x), int(y)).perform()
    tooltip = """
    const all = (root) => [...root.querySelectorAll('*')].flatMap((one) =>
      [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])]);
    const picture = all(document).find((one) =>
      one.style?.background?.includes('--atlas') && one.getBoundingClientRect().width);
    return picture ? getComputedStyle(picture).backgroundImage : '';
    """
    deadline = time.monotonic() + 5
    while not (found := page.execute_script(tooltip)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found.startswith('url("blob:')
    assert _complaints(page) == []


def test_tables_sort_and_everything_is_reached_by_keyboard(
    opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path
) -> None:
    _report(find_images([photo_folder]), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    names = "return [...document.querySelectorAll('#scores tbody th')].map((one) => one.textContent)"
    scores = (
        "return [...document.querySelectorAll('#scores tbody tr')].map((row) => Number(row.cells[2].dataset.value))"
    )
    page.execute_script("document.querySelectorAll('#scores button.sort')[2].click()")
    assert page.execute_script(scores) == sorted(page.execute_script(scores), reverse=True)
    page.execute_script("document.querySelectorAll('#scores button.sort')[2].click()")
    assert page.execute_script(scores) == sorted(page.execute_script(scores))
    page.execute_script("document.querySelectorAll('#scores button.sort')[1].click()")
    assert page.execute_script(names) == sorted(page.execute_script(names))
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.querySelector('button[data-class]').focus()")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.execute_script("return document.querySelectorAll('#of-class .tile').length") == 12
    page.execute_script("document.querySelector('#scores button.sort').focus()")
    page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.execute_script("return document.activeElement.textContent") == "estimator"
    without_words = "return [...document.querySelectorAll('[role=img], .plot')].filter((one) => !one.ariaLabel).length"
    assert page.execute_script(without_words) == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.thorough)])
def test_light_and_dark_a_phone_and_100_classes(
    scheme: str, opened: Callable[[Path], Any], counting: CountingBackbone, tmp_path: Path
) -> None:
    table = _photos(tmp_path / "photos", [f"class {number % 100}" for number in range(300)])
    _report(table, tmp_path / "r.html", estimators=["knn"])
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page = opened(tmp_path / "r.html")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        time.sleep(0.3)
        wide = page.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 390  # wide things scroll by themselves
        ink, paper = page.execute_script(
            "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
        )
        bright = {name: sum(map(int, re.findall(r"\d+", value)[:3])) for name, value in (("i", ink), ("p", paper))}
        assert (bright["i"] < bright["p"]) == (scheme == "light")
        labels = page.execute_script(
            "for (const document of Bokeh.documents) for (const model of document.all_models) "
            "if (model.name === 'confusion') return model.left[0].major_label_text_color"
        )
        assert (labels == "#1d2125") == (scheme == "light")
        assert page.execute_async_script(_DRAWN, "confusion") > 500
        assert _complaints(page) == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.usefixtures("counting")
def test_quantities_have_a_report_too(opened: Callable[[Path], Any], photo_folder: Path, tmp_path: Path) -> None:
    table = find_images([photo_folder])
    values = [float(np.asarray(PIL.Image.open(path).convert("L")).mean()) for path in table.paths]
    text = _report(ImageTable(table.paths, values), tmp_path / "r.html", estimators=["ridge", "knn"])
    assert "Largest errors" in text
    page = opened(tmp_path / "r.html")
    for name in ("scores", "errors", "map", "curve"):
        assert page.execute_async_script(_DRAWN, name) > 500, name
    assert _complaints(page) == []


@pytest.mark.usefixtures("counting")
def test_duplicates_of_test_and_training_images_are_shown_side_by_side(
    opened: Callable[[Path], Any], photo_folder: Path, tmp_path: Path
) -> None:
    table = find_images([photo_folder])
    for number, copied in ((3, 13), (5, 6)):  # of a test image with another label; of a training image
        shutil.copy(table.paths[number], table.paths[copied])
    splits: list[str | None] = ["test" if number % 3 == 0 else "train" for number in range(24)]
    text = _report(ImageTable(table.paths, table.labels, splits=splits), tmp_path / "r.html", cv=None)
    assert "2 images, same bytes: different labels" in text
    page = opened(tmp_path / "r.html")
    assert page.execute_script("return document.querySelectorAll('.cluster .tile').length") == 4
    assert page.execute_script("return document.querySelectorAll('.conflict').length") == 1
    points = (
        "for (const document of Bokeh.documents) for (const model of document.all_models) "
        "if (model.name === 'dots') return model.data_source.data.name"
    )
    assert len(page.execute_script(points)) == 8
    assert _complaints(page) == []
