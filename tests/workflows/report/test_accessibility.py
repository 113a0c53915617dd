from __future__ import annotations

import importlib.resources
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.datasets.find import find_images
from featx.testing import CountingBackbone
from tests.workflows.report.helpers import report

#: Returns the serious and critical findings of axe-core: rule, and the first elements that break it.
FIND = """
const done = arguments[0];
axe.run(document).then((result) => done(result.violations
  .filter((finding) => ["serious", "critical"].includes(finding.impact))
  .map((finding) => [finding.id, finding.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))])));
"""


@pytest.fixture
def page(opened: Callable[[Path], Any], counting: CountingBackbone, photo_folder: Path, tmp_path: Path) -> Any:
    """A report with duplicates, mistakes and galleries that a click has filled."""
    table = find_images([photo_folder])
    for number, copied in ((3, 13), (5, 6)):  # the first copy has another label
        shutil.copy(table.paths[number], table.paths[copied])
    report(table, tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    page.execute_script("document.querySelector('button[data-class]').click()")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, page: Any) -> None:
    package = pytest.importorskip("axe_playwright_python")
    script = importlib.resources.files(package).joinpath("axe.min.js").read_text(encoding="utf-8")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        page.execute_script(script)
        assert page.execute_async_script(FIND) == []
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_arrow_keys_move_through_the_duplicates(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    run = page.execute_script
    reachable = "return document.querySelectorAll('.groups .picture[tabindex=\"0\"]').length"
    assert run(reachable) == 1
    run("document.querySelector('.groups .picture').focus()")
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    index = "return [...document.querySelectorAll('.groups .picture')].indexOf(document.activeElement)"
    assert run(index) == 1
    assert run(reachable) == 1
    enlarged = "return getComputedStyle(document.activeElement, '::after')"
    assert run(f"{enlarged}.width") == "224px"
    assert run(f"{enlarged}.backgroundImage").startswith('url("blob:')


def test_arrow_keys_move_on_the_map(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    run = page.execute_script
    selected = (
        "for (const document of Bokeh.documents) for (const model of document.all_models) "
        "if (model.name === 'dots') return [...model.data_source.selected.indices]"
    )
    x = (
        "for (const document of Bokeh.documents) for (const model of document.all_models) "
        "if (model.name === 'dots') return [...model.data_source.data.x]"
    )
    run("document.getElementById('plot-map').focus()")
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert run(selected) == [0]
    visited = [0]
    for _ in range(3):
        page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
        visited += run(selected)
    positions = [run(x)[index] for index in visited]
    assert positions == sorted(positions, reverse=True)
    assert len(set(visited)) > 1
    assert run("return document.querySelectorAll('#map-gallery .tile').length") == 1
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert run(selected) == []
    assert run("return document.querySelectorAll('#map-gallery .tile').length") == 0


def test_navigation_stays_and_the_first_screen_has_the_answers(page: Any) -> None:
    run = page.execute_script
    names = run("return [...document.querySelectorAll('.card dt')].map((name) => name.textContent)")
    expected = ["Best", "95 % interval", "Ties with the best", "Leaks", "Duplicates", "Likely label errors", "Time"]
    assert names == expected
    assert run("return document.querySelector('.card').getBoundingClientRect().bottom") < 900
    targets = (
        "return [...document.querySelectorAll('a[href^=\"#\"]')].filter((a) => !document.querySelector(a.hash)).length"
    )
    assert run(targets) == 0
    run("document.getElementById('run').scrollIntoView()")
    assert run("return document.querySelector('.sections').getBoundingClientRect().top") == 0
