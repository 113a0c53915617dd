"""featx demo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from featx.cli import main as cli
from tests.test_docs import shown_demo, shown_scores, without_measurements


@pytest.mark.usefixtures("in_folder")
def test_demo_prints_what_readme_shows(compiled_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(compiled_cache / "compiled", "cache/compiled")
    assert cli.main(["demo", "--cache", "cache"]) == 0  # .ci/run runs it again, with all rows cached
    out, _ = capsys.readouterr()
    assert "1,797 computed, 0 cached or equal to another image, 0 failed" in out
    assert without_measurements(out) == without_measurements(shown_demo())
    shown = shown_scores(shown_demo())
    assert list(shown) == ["dummy", "logreg", "svm", "knn"]
    for name, shown_of_estimator in shown_scores(out).items():
        assert shown_of_estimator == pytest.approx(shown[name], abs=0.015), name  # of another precision
    assert "featx-demo/digits" in out
    assert out.count("   featx ") == 2
    scores = {name: float(score) for name, score in _scores(out)}
    # A prototype of plain Keras and scikit-learn had 0.967, 0.953 and 0.945.
    assert scores["logreg"] > 0.957
    assert scores["svm"] > 0.943
    assert scores["knn"] > 0.935


def _scores(table: str) -> list[tuple[str, str]]:
    rows = [line.lstrip("* ").split() for line in table.splitlines() if "±" in line and "mobilenet" in line]
    return [(row[1], row[2]) for row in rows]
