"""Images with several labels: from tables and from Python, compared, trained and predicted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from featx import (
    FeatureExtractor,
    ImageTable,
    TagClassifier,
    Tags,
    compare_features,
    compare_images,
    extract_images,
    find_images,
    load_pipeline,
    predict_images,
    rank_images,
    read_model,
    save_pipeline,
    train_images,
)
from featx.cli import main as cli
from featx.errors import ComparisonError, ModelFileError, OptionError, SourceError

pytestmark = pytest.mark.usefixtures("counting")
OPTIONS: dict[str, Any] = {"cache": None, "duplicate_groups": False}


@pytest.fixture
def photos(photo_folder: Path, in_folder: Path) -> list[tuple[str, list[str]]]:
    """Paths with tags, and the tables ``tags.csv`` (one column of text) and ``columns.csv`` (a column for each tag)."""
    paths = sorted(map(str, photo_folder.glob("*/*.jpg")))
    rows = [
        (path, [Path(path).parent.name, *(["first"] if index % 3 == 0 else [])] if index else [])
        for index, path in enumerate(paths)
    ]
    with open("tags.csv", "w") as text, open("columns.csv", "w") as columns:
        csv.writer(text).writerows([("path", "tags"), *((path, " | ".join(tags)) for path, tags in rows)])
        csv.writer(columns).writerow(("path", "china", "first", "flower"))
        csv.writer(columns).writerows(
            (path, *(int(name in tags) for name in ("china", "first", "flower"))) for path, tags in rows
        )
    return rows


def test_tables_and_python_give_the_same_scores(
    photos: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    paths, y = [path for path, _ in photos], [tags for _, tags in photos]
    expected = compare_images(paths, y, backbones=["counting"], estimators=["logreg"], cv=3, **OPTIONS)
    assert (expected.task, expected.n_classes, expected.metric) == ("multilabel", 3, "map")
    command = ["--backbone", "counting", "--estimator", "logreg", "--cv", "3", "--no-cache", "--no-duplicate-groups"]
    for columns in (
        ["tags.csv", "--label-column", "tags", "--label-separator", "|"],
        ["columns.csv", *(word for name in ("china", "first", "flower") for word in ("--label-column", name))],
    ):
        assert cli.main(["compare", *columns, *command, "--json", "--quiet"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["results"][0]["map_mean"] == pytest.approx(expected.table["map_mean"].item())
        assert (result["task"], result["classes"]) == ("multilabel", 3)
        assert [row["label"] for row in result["per_class"]] == ["china", "first", "flower"]
        assert any("1 image without tags" in note for note in result["notes"])
    matrix = pd.DataFrame([[name in tags for name in ("china", "first", "flower")] for tags in y])
    matrix.columns = pd.Index(["china", "first", "flower"])
    same = compare_images(paths, matrix, backbones=["counting"], estimators=["logreg"], cv=3, **OPTIONS)
    assert same.table["map_mean"].item() == expected.table["map_mean"].item()
    assert "3 tags; 3 folds stratified by tags" in expected.as_text()
    expected.to_html("report.html")
    page = Path("report.html").read_text()
    assert "mean average precision" in page
    assert '<section id="tags">' in page
    assert "<h2>Combinations of tags</h2>" in page


def test_stored_features_have_tags_in_their_labels(
    photos: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    extract_images("tags.csv", "f.npy", label_column="tags", backbone="counting", cache=None)
    options = {"estimators": ["logreg"], "cv": 3, "duplicate_groups": False}
    scores = compare_features("f.npy", label_separator="|", **options).table["map_mean"].item()  # type: ignore[arg-type]
    y = [tags for _, tags in photos]
    assert scores == compare_features("f.npy", y, **options).table["map_mean"].item()  # type: ignore[arg-type]
    assert cli.main(["compare", "f.npy", "--label-separator", "|", "--estimator", "dummy", "--quiet"]) == 0
    assert "3 tags" in capsys.readouterr().out


def test_a_test_table_with_other_tags(photos: list[tuple[str, list[str]]]) -> None:
    paths, y = [path for path, _ in photos], [Tags(tags) for _, tags in photos]
    train = ImageTable(paths[::2], y[::2])
    test = ImageTable(paths[1::2], [Tags([*tags, "First"]) for tags in y[1::2]])
    result = compare_images(train, test=test, backbones=["counting"], estimators=["logreg"], **OPTIONS)
    assert result.n_classes == 4
    assert "No training image has the test class 'First'. Did you mean 'first'?" in result.notes
    assert any(note.startswith("Classes with similar names") and "'first' and 'First'" in note for note in result.notes)
    assert result.best_backbone.comparison.per_class()["label"].tolist() == ["First", "china", "first", "flower"]


def test_train_and_predict(photos: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]) -> None:
    paths = [path for path, _ in photos]
    command = ["tags.csv", "--label-column", "tags", "--label-separator", "|", "--backbone", "counting", "--cv", "3"]
    assert cli.main(["train", *command, "-o", "model.skops", "--no-cache", "--quiet"]) == 0
    assert "fitted on 24 images, 3 tags" in capsys.readouterr().out
    card = read_model("model.skops").card
    assert (card.task, card.classes, card.counts["first"]) == ("multilabel", ["china", "first", "flower"], 7)
    pipeline = load_pipeline("model.skops", cache=None)
    probabilities = pipeline.predict_proba(paths)
    table = predict_images("model.skops", paths, top=2, cache=None)
    assert list(table) == ["path", "tags", "tag_1", "probability_1", "tag_2", "probability_2", "novelty_score", "note"]
    for threshold, limits in ((None, 0.5), (0.2, 0.2), ({"first": 0.1}, [0.5, 0.1, 0.5])):
        tags = predict_images("model.skops", paths, threshold=threshold, cache=None)["tags"]
        expected = [";".join(np.array(card.classes)[row]) for row in probabilities >= limits]
        assert tags.tolist() == expected
    assert cli.main(["predict", "model.skops", *paths[:2], "--no-cache", "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "path,tags,tag_1,probability_1,novelty_score,note"
    thresholds = ["--threshold", "first=0", "--threshold", "china=0"]
    assert cli.main(["predict", "model.skops", paths[0], *thresholds, "--json", "--no-cache", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["tags"][:2] == ["china", "first"]
    with pytest.raises(OptionError, match="names 'frist', which is no tag of the model. Did you mean 'first'"):
        predict_images("model.skops", paths, threshold={"frist": 0.1})
    assert cli.main(["predict", "model.skops", paths[0], "--threshold", "0.5", "--threshold", "first=1"]) == 2
    assert "--threshold must be one number, or TAG=P for each tag, got both" in capsys.readouterr().err


def test_models_without_probabilities(photos: list[tuple[str, list[str]]]) -> None:
    paths, y = [path for path, _ in photos], [tags for _, tags in photos]
    trained = train_images(paths, y, backbone="counting", estimator="ridge", cv=2, **OPTIONS)
    trained.save("ridge.skops")
    table = predict_images("ridge.skops", paths, cache=None)
    expected = trained.pipeline.set_params(features__cache=None).predict(paths)
    names = trained.pipeline[-1].classes_
    assert table["tags"].tolist() == [";".join(names[row.astype(bool)]) for row in expected]
    assert "score_1" in table
    with pytest.raises(OptionError, match="has no probabilities"):
        predict_images("ridge.skops", paths, threshold=0.3)
    calibrated = train_images(paths, y, backbone="counting", estimator="ridge", calibrate=True, cv=2, **OPTIONS)
    calibrated.save("ridge.skops")
    table = predict_images("ridge.skops", paths, threshold=0.3, cache=None)
    expected = calibrated.pipeline.set_params(features__cache=None).predict_proba(paths) >= 0.3
    assert table["tags"].tolist() == [";".join(names[row]) for row in expected]
    with pytest.raises(ComparisonError, match="at least two images with and without each tag .*'rare'"):
        train_images(paths, [["rare"], *y[1:]], backbone="counting", calibrate=True, cv=2, **OPTIONS)


def test_only_what_can_be_predicted_is_saved(photos: list[tuple[str, list[str]]]) -> None:
    paths, y = [path for path, _ in photos], [tags for _, tags in photos]
    extractor = FeatureExtractor("counting", cache=None)
    matrix = np.array([[name in tags for name in ("china", "first")] for tags in y], dtype=int)
    for estimator in (OneVsRestClassifier(LogisticRegression(max_iter=1000)), LogisticRegression(max_iter=1000)):
        pipeline = make_pipeline(extractor, estimator)
        pipeline.fit(paths, matrix if isinstance(estimator, OneVsRestClassifier) else matrix[:, 0])
        if isinstance(estimator, OneVsRestClassifier):
            with pytest.raises(ModelFileError, match="OneVsRestClassifier predicts several values for each image"):
                save_pipeline(pipeline, "model.skops")
        else:
            save_pipeline(pipeline, "model.skops")
    tagged = make_pipeline(extractor, TagClassifier(LogisticRegression(max_iter=1000))).fit(paths, matrix)
    save_pipeline(tagged, "tags.skops", y=matrix)
    assert read_model("tags.skops").card.counts == {"0": 11, "1": 7}
    assert predict_images("tags.skops", paths[1:2], cache=None)["tags"].tolist() == ["0"]


def test_rank(photos: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]) -> None:
    paths, y = [path for path, _ in photos], [tags for _, tags in photos]
    ranking = rank_images(paths, y, backbones=["counting", "color_histogram"], cache=None)
    arguments = ["--backbone", "counting", "--backbone", "color_histogram", "--json", "--quiet"]
    assert cli.main(["rank", "tags.csv", "--label-column", "tags", "--label-separator", "|", *arguments]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["task"], printed["classes"]) == ("multilabel", 3)
    assert printed["ranking"] == json.loads(json.dumps(ranking.as_dict()["ranking"]))


def test_labels_of_a_table(photos: list[tuple[str, list[str]]]) -> None:
    table = find_images("tags.csv", label_column="tags", label_separator="|")
    assert table.labels[:2] == [Tags([]), Tags(["china"])]
    assert find_images("columns.csv", label_column=["china", "first", "flower"]).labels == table.labels
    one = find_images("columns.csv", label_column="china", label_separator=";")
    result = compare_images(one, backbones=["counting"], estimators=["dummy"], cv=2, **OPTIONS)
    assert any(note.startswith("No image has more than one label.") for note in result.notes)
    with pytest.raises(SourceError, match="'path' of 'columns.csv' must hold 0 or 1 for each image, got"):
        find_images("columns.csv", label_column=["china", "path"])
    with pytest.raises(SourceError, match="has no column 'chna'"):
        find_images("columns.csv", label_column=["chna", "first"])
    for options in ({"label_column": ["china", "first"], "label_separator": ";"}, {"label_separator": " "}):
        with pytest.raises(OptionError, match="label_separator"):
            find_images("columns.csv", **options)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="passed as y"):
        find_images(pd.read_csv("tags.csv"), label_column="tags", label_separator="|")
