from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.datasets.find import find_images
from featx.datasets.image_table import ImageTable
from featx.testing import CountingBackbone
from tests.workflows.helpers import brightness
from tests.workflows.report.helpers import COUNT_DRAWN_PIXELS, HOSTILE, console_messages, report, write_colored_images


def test_browser_draws_every_plot(
    opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path
) -> None:
    report(find_images([photo_folder]), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    for name in ("scores", "confusion", "map", "curve"):
        assert page.execute_async_script(COUNT_DRAWN_PIXELS, name) > 500, name
    assert console_messages(page) == []


def test_hostile_names_are_harmless(opened: Callable[[Path], Any], counting: CountingBackbone, tmp_path: Path) -> None:
    labels = [HOSTILE[number % 4] for number in range(40)]
    report(write_colored_images(tmp_path / "photos", labels), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")  # an alert would make the next command fail
    page.execute_script("document.querySelectorAll('button').forEach((button) => button.click())")
    assert console_messages(page) == []
    shown = page.execute_script("return document.querySelector('#class-gallery p').textContent")
    assert shown.startswith(("<script>", "\"'><img", "$$", "xxx"))


def test_clicks_show_images_and_highlight_classes(
    opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path
) -> None:
    table = find_images([photo_folder])
    labels = list(table.labels)
    labels[3] = labels[7] = "flower"
    report(ImageTable(table.paths, labels), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    run = page.execute_script
    run("document.querySelector('button[data-predicted]').click()")
    heading = run("return document.querySelector('#gallery p').textContent")
    n_tiles = run("return document.querySelectorAll('#gallery .tile').length")
    assert re.fullmatch(r"\w+, predicted \w+: \d+ images?", heading)
    assert f": {n_tiles} image" in heading
    # The same by a click on the plot: Bokeh's tap tool selects a cell.
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
    run("document.getElementById('label-choice').value = 0; document.getElementById('predicted-choice').value = 0")
    run("document.getElementById('show-cell').click()")
    assert run("return document.querySelector('#gallery p').textContent").startswith("china, predicted china: ")
    assert console_messages(page) == []


@pytest.mark.slow
def test_hover_shows_the_thumbnail(
    opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path
) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    report(find_images([photo_folder]), tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    place = page.find_element(By.ID, "plot-map")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
    # Position of the first point, relative to the center of the plot.
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
    assert console_messages(page) == []


def test_sorting_and_keyboard_navigation(
    opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path
) -> None:
    report(find_images([photo_folder]), tmp_path / "r.html")
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
    assert page.execute_script("return document.querySelectorAll('#class-gallery .tile').length") == 12
    page.execute_script("document.querySelector('#scores button.sort').focus()")
    page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.execute_script("return document.activeElement.textContent") == "estimator"
    without_words = "return [...document.querySelectorAll('[role=img], .plot')].filter((one) => !one.ariaLabel).length"
    assert page.execute_script(without_words) == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.thorough)])
def test_phone_in_light_and_dark_mode_with_100_classes(
    scheme: str, opened: Callable[[Path], Any], counting: CountingBackbone, tmp_path: Path
) -> None:
    table = write_colored_images(tmp_path / "photos", [f"class {number % 100}" for number in range(300)])
    report(table, tmp_path / "r.html", estimators=["knn"])
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page = opened(tmp_path / "r.html")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        time.sleep(0.3)
        wide = page.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 390  # wide parts have their own scroll bars
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
        assert page.execute_async_script(COUNT_DRAWN_PIXELS, "confusion") > 500
        assert console_messages(page) == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.usefixtures("counting")
def test_report_of_a_regression(opened: Callable[[Path], Any], photo_folder: Path, tmp_path: Path) -> None:
    table = find_images([photo_folder])
    text = report(ImageTable(table.paths, brightness(table.paths)), tmp_path / "r.html", estimators=["ridge", "knn"])
    assert "Largest errors" in text
    page = opened(tmp_path / "r.html")
    for name in ("scores", "errors", "map", "curve"):
        assert page.execute_async_script(COUNT_DRAWN_PIXELS, name) > 500, name
    assert console_messages(page) == []


@pytest.mark.usefixtures("counting")
def test_duplicates_of_test_images_are_shown(opened: Callable[[Path], Any], photo_folder: Path, tmp_path: Path) -> None:
    table = find_images([photo_folder])
    for number, copied in ((3, 13), (5, 6)):  # copies of a test image with another label, and of a training image
        shutil.copy(table.paths[number], table.paths[copied])
    splits: list[str | None] = ["test" if number % 3 == 0 else "train" for number in range(24)]
    text = report(ImageTable(table.paths, table.labels, splits=splits), tmp_path / "r.html", cv=None)
    assert "2 images, identical files: different labels" in text
    page = opened(tmp_path / "r.html")
    assert page.execute_script("return document.querySelectorAll('.group .tile').length") == 4
    assert page.execute_script("return document.querySelectorAll('.conflict').length") == 1
    points = (
        "for (const document of Bokeh.documents) for (const model of document.all_models) "
        "if (model.name === 'dots') return model.data_source.data.name"
    )
    assert len(page.execute_script(points)) == 8
    assert console_messages(page) == []
