"""Checks of the built site find what they should. ``.ci/run`` builds the site itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.tools import site


@pytest.fixture
def small_site(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "page.html").write_text(
        '<h1 id="top">A</h1><a href="../index.html#end">end</a><a href="#top"></a>'
    )
    (tmp_path / "index.html").write_text(
        '<p id="end"><a href="a/page.html?x=1#top">A</a><img src="data:image/png;,"></p>'
    )
    return tmp_path


def test_working_links_are_accepted(small_site: Path) -> None:
    assert list(site.broken_links(small_site)) == []


@pytest.mark.parametrize(
    ("element", "problem"),
    [
        ('<a href="missing.html">', "missing.html does not exist"),
        ('<img src="missing.png">', "missing.png does not exist"),
        ('<a href="../index.html#start">', "../index.html#start has no such anchor"),
        ('<a href="#nowhere">', "#nowhere has no such anchor"),
        ('<a href="#top">to <a href="page.html">A</a></a>', "page.html is a link within a link"),
    ],
)
def test_broken_link_is_reported(small_site: Path, element: str, problem: str) -> None:
    with (small_site / "a" / "page.html").open("a") as file:
        file.write(element)
    assert list(site.broken_links(small_site)) == [f"{Path('a', 'page.html')}: {problem}"]


@pytest.mark.parametrize(
    "text",
    ["/home/ada/photos", "/tmp/tmpabc/cache", "/root/.cache", "https://pypi.example.org/simple", "--index-url x"],
)
def test_text_of_the_machine_is_reported(small_site: Path, text: str) -> None:
    assert list(site.machine_texts(small_site)) == []
    (small_site / "index.html").write_text(f"<pre>{text}</pre>")
    assert len(list(site.machine_texts(small_site))) == 1
