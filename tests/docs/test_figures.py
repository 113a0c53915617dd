"""Figures of the pages agree with the results of the benchmarks next to them, and those of the README with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from docs.tools.generated import DOCS
from tests.benchmarks.results import RESULTS

PERFORMANCE = (DOCS / "explanation" / "performance.md").read_text(encoding="utf-8")
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")
#: Results of other hours and revisions, which a page may show, differ by less.
TOLERANCE = 0.2


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def rows() -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each row of the first table of the page, and the benchmark in its last cell."""
    for line in re.findall(r"^\| (.*) \|$", PERFORMANCE.split("\n## ")[0], flags=re.MULTILINE):
        *cells, last = (cell.strip() for cell in line.split("|"))
        if re.fullmatch(r"`[\w-]+`", last):
            yield cells, last.strip("`")


def test_performance_page_agrees_with_results() -> None:
    measured: dict[str, list[float]] = {}
    for row in json.loads((RESULTS / "results.json").read_text(encoding="utf-8")):
        measured.setdefault(row["name"].split("/")[0], []).extend([row["value"], *numbers(row["details"])])
    n_compared = 0
    for (what, ours, _, ratio), name in rows():
        if name in measured:
            shown = numbers(ratio or ours)
            assert shown, what
            for number in shown:
                expected = {value for found in measured[name] if found for value in (found, 1 / found, 100 * found)}
                assert any(abs(number - value) <= TOLERANCE * value for value in expected), (what, number, name)
            n_compared += 1
    assert n_compared >= 10


def test_readme_shows_rows_of_the_performance_page() -> None:
    page = [numbers(" ".join(cells[1:4])) for cells, _ in rows()]
    shown = re.findall(r"^\| \w+, \w+ \| (\d+ \| \d+ \| [\d.]+) \|$", README, flags=re.MULTILINE)
    assert len(shown) == 4
    assert all(numbers(row) in page for row in shown)
    (cached,) = re.findall(r"([\d,]+ rows/s)", README)
    assert cached in PERFORMANCE
