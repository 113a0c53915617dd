from __future__ import annotations

import json
from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.datasets.find import find_images
from featx.datasets.image_table import ImageTable
from featx.errors import OptionError
from featx.testing import CountingBackbone
from tests.workflows.helpers import compare


def test_result_as_object_and_json(with_duplicates: ImageTable, compiled_cache: Path, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    result = compare(
        with_duplicates,
        backbones=["mobilenet"],
        cv=4,
        estimators=["dummy", "knn", "svm"],
        diagnostics=True,
        cache=compiled_cache,
    )
    assert result.best in ("knn", "svm")
    assert result.fold_scores.groupby(["backbone", "estimator"]).size().tolist() == [4] * 3
    predictions = result.predictions
    assert list(predictions.columns[:6]) == ["backbone", "path", "label", "dummy", "knn", "svm"]
    assert "knn_probability" in predictions
    assert set(predictions["path"]) == set(with_duplicates.paths)
    assert result.learning_curve["n_per_class"].tolist()[:3] == [1, 2, 5]
    for axes in (result.plot_scores(), result.plot_confusion(), result.plot_learning_curve()):
        assert axes.get_figure() is not None
    result.to_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size > 1_000_000
    result.to_csv(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text().startswith("backbone,layer,pooling,features,estimator,accuracy_mean,")
    values = result.as_dict()
    assert set(values) == {
        *("task", "rows", "classes", "features", "failed", "failures", "split", "results", "best", "ties", "per_class"),
        *("duplicates", "label_issues", "learning_curve", "notes"),
    }
    assert set(values["duplicates"]) == {
        *("images", "threshold", "exact", "identical_files", "identical_pixels", "near", "groups", "ungrouped_scores"),
    }
    assert set(values["duplicates"]["ungrouped_scores"]) == {"dummy", "knn", "svm"}
    assert values["duplicates"]["exact"] == 2
    assert values["learning_curve"][0]["n_per_class"] == 1
    assert all(set(issue) == {"path", "given", "suggested", "confidence"} for issue in values["label_issues"])
    assert {row["verdict"] for row in values["results"]} <= {"best", "tie", "worse"}
    assert len(values["ties"]) == sum(row["verdict"] == "tie" for row in values["results"])
    json.dumps(values, allow_nan=False)


@pytest.mark.usefixtures("counting")
def test_text_of_a_result(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    labels = list(table.labels)
    labels[3] = "flower"
    result = compare(
        table,
        y=labels,
        cv=3,
        repeats=2,
        diagnostics=True,
        tune=True,
        duplicate_threshold=1,
        estimators=["dummy", "logreg", "knn"],
    )
    text = result.as_text()
    assert "24 images, 2 classes; 3 stratified folds, 2 repeats; mean ± sd" in text
    assert "best parameters of" in text
    assert "images per class  score" in text
    assert max(map(len, text.splitlines())) <= 125


@pytest.mark.usefixtures("counting")
def test_learning_curve_requires_diagnostics(photo_folder: Path) -> None:
    result = compare(find_images([photo_folder]), cv=3, estimators=["knn"], duplicate_threshold=1)
    with pytest.raises(OptionError, match="diagnostics=True"):
        result.plot_learning_curve()


@pytest.mark.parametrize("option", ["csv", "report", "label-issues"])
def test_files_of_others_are_not_replaced(
    option: str, photo_folder: Path, tmp_path: Path, counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine"
    output.write_text("path,label\n1.jpg,a\n")
    common = ["compare", str(photo_folder), "--backbone", "counting", "--estimator", "logreg", "--quiet", "--no-cache"]
    assert cli.main([*common, f"--{option}", str(output)]) == 1
    assert "was not written by featx" in capsys.readouterr().err
    assert output.read_text().startswith("path,label\n1.jpg")
    output.write_bytes(b"")
    for _ in range(2):  # an empty file, and the file of the first run
        assert cli.main([*common, f"--{option}", str(output)]) == 0
    assert cli.main([*common, "--csv", str(tmp_path / "x"), "--report", str(tmp_path / "x")]) == 1
    assert "two outputs have this path" in capsys.readouterr().err
