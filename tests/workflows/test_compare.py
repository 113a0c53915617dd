from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from featx import FeatureExtractor
from featx.datasets.find import find_images
from featx.datasets.image_table import ImageTable
from featx.errors import ComparisonError, OptionError, SourceError, UnreadableImageError
from featx.extraction.options import ExtractionOptions
from featx.testing import CountingBackbone
from featx.workflows.compare import compare_images
from featx.workflows.result_output import write_csv
from tests.workflows.helpers import brightness, compare, folds_of


def test_each_backbone_is_compared(photo_folder: Path, tmp_path: Path, counting: CountingBackbone) -> None:
    backbones = ["counting", FeatureExtractor("counting", resize="crop")]
    result = compare(find_images([photo_folder]), backbones=backbones, cv=3, cache=tmp_path / "cache")
    assert len(result.table) == 8
    assert list(result.table.columns[:5]) == ["backbone", "layer", "pooling", "features", "estimator"]
    assert result.best_row["accuracy_mean"] == result.table["accuracy_mean"].max()
    assert (result.n_rows, result.n_classes) == (24, 2)
    assert sum(line.startswith("* counting") for line in result.as_text().splitlines()) == 1
    assert [backbone.name for backbone in result.backbones] == ["counting squash", "counting crop"]
    assert result.table["verdict"].tolist().count("best") == 1
    assert counting.n_images == 48


@pytest.mark.usefixtures("counting")
def test_unreadable_and_unlabeled_images_are_excluded(photo_folder: Path) -> None:
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    (photo_folder / "stray.jpg").write_bytes(b"")
    result = compare(find_images([photo_folder]), cv=3)
    assert result.n_rows == 23
    assert [Path(failure.image).name for failure in result.failures] == ["00.jpg"]
    assert result.as_dict()["failed"] == 1
    assert result.notes[1].startswith("1 image without a label excluded: ")
    assert re.match(r"1 unreadable image excluded: .*00.jpg \(", result.notes[2])
    with pytest.raises(UnreadableImageError, match=r"00\.jpg"):
        compare(find_images([photo_folder]), on_error="raise")


def test_requests_are_checked_before_the_extraction(photo_folder: Path, counting: CountingBackbone) -> None:
    table = find_images([photo_folder])
    with pytest.raises(ComparisonError, match="at least two classes"):
        compare(ImageTable(table.paths, [None] * 24))
    with pytest.raises(OptionError, match="Did you mean 'knn'"):
        compare(table, estimators=["kn"])
    with pytest.raises(ComparisonError, match="groups must contain at least two groups"):
        compare(table, groups=["site"] * 24)
    with pytest.raises(ComparisonError, match="Labels for regression must be numbers, got 'china'"):
        compare(table, task="regression")
    with pytest.raises(OptionError, match=r"on_error \(--on-error\) must be 'skip' or 'raise', got 'nan'"):
        compare(table, on_error="nan")
    assert counting.n_images == 0


@pytest.mark.parametrize(
    "options", [{"duplicate_threshold": "0.9"}, {"duplicate_threshold": 0}, {"cv": [(1, 2)]}, {"cv": "5"}]
)
def test_invalid_options_are_named(options: dict[str, Any], compare_matrix: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        compare_matrix(np.zeros((4, 3)), ["a", "b"] * 2, **options)


def test_duplicate_groups_must_be_bool(compare_matrix: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match="duplicate_groups must be True or False, got 'none'"):
        compare_matrix(np.zeros((4, 3)), ["a", "b"] * 2, duplicate_groups="none")


@pytest.mark.usefixtures("counting")
def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.jpg") for number in range(4)]
    for path in paths:
        Path(path).write_bytes(b"")
    with pytest.raises(SourceError, match="any of the 4 images"):
        compare(ImageTable(paths, ["a", "a", "b", "b"]), cv=2)


@pytest.mark.slow  # plain Keras extracts 840 photos
def test_scores_equal_those_of_keras_and_scikit_learn(ucmerced: list[str], compiled_cache: Path) -> None:
    """Plain Keras scores 0.960, 0.954 and 0.937; bfloat16 is within half a point of float32."""
    table = ImageTable(ucmerced, [Path(path).parent.name for path in ucmerced])
    scores = {}
    for precision in ("auto", "float32"):
        # Groups of near-duplicates depend on the features, which differ a little: without them, folds are the same.
        result = compare(
            table,
            backbones=[FeatureExtractor(precision=precision)],
            duplicate_groups=False,
            cache=compiled_cache,
        )
        scores[precision] = result.table.set_index("estimator")["accuracy_mean"]
        for name, plain in {"logreg": 0.960, "svm": 0.954, "knn": 0.937}.items():
            assert scores[precision][name] > plain - 0.01, (precision, name)
    assert np.abs(scores["auto"] - scores["float32"]).max() < 0.005


def test_poolings_are_compared_in_one_table(photo_folder: Path, compiled_cache: Path) -> None:
    backbones = [ExtractionOptions(pooling=pooling) for pooling in ("avg", "max")]
    result = compare(
        find_images([photo_folder]), backbones=backbones, cv=3, estimators=["logreg", "knn"], cache=compiled_cache
    )
    assert [backbone.name for backbone in result.backbones] == ["mobilenet avg", "mobilenet max"]
    assert result.table["pooling"].tolist() == ["avg", "avg", "max", "max"]
    assert result.table["verdict"].tolist().count("best") == 1
    assert result.best_backbone.name == f"mobilenet {result.best_row['pooling']}"


def test_layers_are_compared_in_one_table(photo_folder: Path, compiled_cache: Path) -> None:
    backbones = [ExtractionOptions(layer=layer, pooling=pooling) for layer in (0.5, 1.0) for pooling in ("avg", "max")]
    result = compare(find_images([photo_folder]), backbones=backbones, cv=3, estimators=["knn"], cache=compiled_cache)
    assert result.table["layer"].tolist() == ["conv_pw_6_relu"] * 2 + ["conv_pw_13_relu"] * 2
    assert result.table["pooling"].tolist() == ["avg", "max"] * 2
    assert result.table["features"].tolist() == [512, 512, 1024, 1024]
    assert result.backbones[-1].name == "mobilenet conv_pw_13_relu max"
    assert not result.duplicates.duplicates.centered  # detected with the last layer, though it does not come first


@pytest.mark.usefixtures("counting")
def test_class_numbers_are_classes_and_other_integers_are_noted(photo_folder: Path) -> None:
    paths = find_images([photo_folder]).paths * 2
    classes = compare(paths, y=[number % 24 for number in range(48)], duplicate_groups=False, cv=2)
    assert classes.task == "classification"
    assert not any("--task classification" in note for note in classes.notes)
    integers = compare(paths, y=[7 * (number % 24) for number in range(48)], duplicate_groups=False, cv=2)
    assert integers.task == "regression"
    assert any("24 distinct values" in note and "--task classification" in note for note in integers.notes)


@pytest.mark.usefixtures("counting")
def test_continuous_targets_are_a_regression(photo_folder: Path) -> None:
    paths = find_images([photo_folder]).paths
    result = compare(paths, y=brightness(paths), diagnostics=True, duplicate_threshold=1)
    assert result.task == "regression"
    assert result.best_row["r2_mean"] > 0.5
    assert result.label_issues is None
    assert "R²" in result.as_text()
    assert "24 images; 5 folds" in result.as_text()
    assert result.as_dict()["classes"] == 0
    with pytest.raises(ComparisonError, match="Cannot detect label errors: no logistic regression was fitted"):
        result.label_issues_table()


@pytest.mark.usefixtures("counting")
def test_scores_do_not_depend_on_n_jobs(photo_folder: Path) -> None:
    results = []
    for n_jobs in (1, 2):
        result = compare(
            find_images([photo_folder]), cv=3, n_jobs=n_jobs, diagnostics=True, duplicate_threshold=1
        ).as_dict()
        for row in result["results"]:
            del row["fit_seconds"], row["predict_seconds"]
        results.append(result)
    assert results[0] == results[1]


@pytest.mark.usefixtures("counting")
def test_test_split_is_scored(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    parts = dataclasses.replace(table, splits=(["train"] * 5 + ["test", None]) * 3 + ["train"] * 3)
    result = compare(parts, duplicate_threshold=1)
    assert result.backbones[0].comparison.split.description == "18 training, 3 test samples"
    assert result.notes[0].startswith("3 images in neither the training nor the test split excluded: ")
    result = compare(parts, duplicate_threshold=1, test=table.select([5, 12]))
    assert result.backbones[0].comparison.split.description == "18 training, 2 test samples"
    assert any("Test images of the first source are not used: 18 training images." in note for note in result.notes)
    for name, value in (("cv", 5), ("repeats", 2)):
        with pytest.raises(OptionError, match=f"{name} .--{name}. does not apply to a given test split"):
            compare(parts, duplicate_threshold=1, **{name: value})


@pytest.mark.usefixtures("counting")
def test_names_that_are_not_utf_8(photo_folder: Path, tmp_path: Path) -> None:
    for path in sorted(photo_folder.glob("*/*.jpg")):
        os.rename(path, os.fsencode(path.with_suffix("")) + b"-\xfe.jpg")
    os.rename(photo_folder / "china", os.fsencode(photo_folder) + b"/\xff")
    table = find_images([photo_folder])
    labels = list(table.labels)
    labels[2] = labels[-1]
    result = compare(table, y=labels, cv=3, duplicate_threshold=1, diagnostics=True)
    result.to_html(tmp_path / "r.html")
    write_csv(tmp_path / "labels.csv", result.label_issues_table())
    json.dumps(result.as_dict())
    assert result.as_text()


@pytest.mark.usefixtures("counting")
def test_scores_at_chance_level_are_noted(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    labels = np.random.default_rng(0).permutation(table.labels).tolist()
    result = compare(table, y=labels, cv=3, duplicate_threshold=1)
    assert [note for note in result.notes if "dummy" in note] == [
        "No estimator is significantly better than the dummy estimator, which ignores the features.",
        "Likely label errors are not reliable, as no estimator is better than the dummy estimator.",
    ]
    assert "path" not in result.best_backbone.comparison.label_issues  # the result adds it to a copy


def test_dummy_is_not_noted_if_accuracy_is_misleading(compare_matrix: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    y = ["usual"] * 95 + ["rare"] * 5
    rows = rng.normal(size=(100, 8)) + np.array([[0.0 if label == "usual" else 1.5] for label in y])
    result = compare_matrix(rows, y, estimators=["dummy", "knn"], duplicate_groups=False)
    assert any("Accuracy" in note and "rare" in note for note in result.notes)
    assert not any("label errors" in note for note in result.notes)
    assert {line["label"] for line in result.as_dict()["per_class"]} == {"usual", "rare"}


@pytest.mark.usefixtures("counting")
def test_paths_and_labels_from_python(photo_folder: Path, tmp_path: Path) -> None:
    paths = [Path(path) for path in find_images([photo_folder]).paths]
    y: list[Any] = [path.parent.name for path in paths]
    y[0], y[13] = None, float("nan")
    backbones = ["counting", FeatureExtractor("counting", resize="crop")]
    options: dict[str, Any] = {"cv": 3, "duplicate_threshold": 1}
    result = compare_images(paths, y, backbones=backbones, estimators=["dummy", "knn"], cache=tmp_path, **options)
    assert [backbone.name for backbone in result.backbones] == ["counting squash", "counting crop"]
    assert result.n_rows == 22
    assert result.learning_curve is not None
    test_mask = [number % 3 == 0 for number in range(24)]
    result = compare(paths, y=y, test_mask=test_mask, duplicate_threshold=1)
    assert result.backbones[0].comparison.split.description == "15 training, 7 test samples"
    sites = [number // 2 for number in range(24)]
    result = compare(paths, y=y, groups=sites, **options)
    for train, test in folds_of(result):
        used = [Path(path) for path in result.paths]
        assert not {sites[paths.index(used[row])] for row in train} & {sites[paths.index(used[row])] for row in test}


@pytest.mark.usefixtures("counting")
def test_series_arrays_and_iterators_are_accepted(photo_folder: Path) -> None:
    paths = find_images([photo_folder]).paths
    y = [Path(path).parent.name for path in paths]
    options: dict[str, Any] = {"cv": 3, "duplicate_threshold": 1, "estimators": ["knn"]}
    expected = compare(paths, y=y, **options).table["accuracy_mean"].tolist()
    for images, labels in ((pd.Series(paths), pd.Series(y)), (np.array(paths), np.array(y)), (iter(paths), iter(y))):
        assert compare(images, y=labels, **options).table["accuracy_mean"].tolist() == expected


def test_invalid_backbone_is_an_error() -> None:
    with pytest.raises(OptionError, match="A backbone must be a name, a path or a FeatureExtractor, got 3"):
        compare_images(["a.jpg"], ["a"], backbones=[3])


def test_labels_keep_their_types(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 32))
    result = compare_matrix(rows, ["a", "b", "a", float("nan")] + ["a", "b"] * 18)
    assert (result.n_rows, result.n_classes) == (39, 2)
    with pytest.raises(ComparisonError, match="mix numbers and text"):
        compare_matrix(rows, ["a", 1] * 20)


def test_repeated_recipe_is_compared_once(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 32))
    backbones = ["matrix", FeatureExtractor("matrix", image_size=2)]
    result = compare_matrix(rows, ["a", "b"] * 15, backbones=backbones)
    assert len(result.backbones) == 1
    assert result.notes[0] == "1 backbone excluded: the features are those of another one in the list."


def test_note_on_all_backbones_is_given_once(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 32))
    backbones = ["matrix", FeatureExtractor("matrix", resize="crop")]
    result = compare_matrix(rows, ["a"] * 27 + ["b"] * 3, backbones=backbones)
    notes = [note for note in result.notes if "3 folds instead of 5" in note]
    assert len(notes) == 1
    assert "matrix" not in notes[0]


def test_excluded_classes_are_not_counted(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(41, 32))
    result = compare_matrix(rows, ["a", "b"] * 20 + ["alone"])
    assert (result.n_rows, result.n_classes) == (40, 2)
    assert str(result).startswith("40 images, 2 classes")
    assert "<table" in result._repr_html_()


def test_non_default_settings_are_named(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 8))
    result = compare_matrix(rows, ["a", "b"] * 15, backbones=[FeatureExtractor("matrix", resize="crop")])
    assert result.backbones[0].name == "matrix crop"


def test_label_errors_are_searched_in_training_images(compare_matrix: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    y = ["a", "b"] * 60
    rows = rng.normal(size=(120, 32)) + np.array([[3.0 if label == "a" else -3.0] for label in y])
    y[0] = "b"
    result = compare_matrix(rows, y, test_mask=[number >= 90 for number in range(120)])
    assert [Path(path).name for path in result.label_issues["path"]] == ["0.png"]


def test_failed_search_for_label_errors_is_a_note(compare_matrix: Callable[..., Any]) -> None:
    """Folds over all images are impossible with these groups, but the test split is not."""
    rows = np.random.default_rng(0).normal(size=(40, 32))
    groups = ["left" if number < 30 else "right" for number in range(40)]
    y = ["a", "b"] * 15 + ["b"] * 10
    result = compare_matrix(rows, y, groups=groups, test_mask=[number >= 30 for number in range(40)])
    assert result.label_issues is None
    assert any(note.startswith("Label errors were not searched for: ") for note in result.notes)
    assert result.best == "knn"


@pytest.mark.usefixtures("counting")
def test_verbose_reports_progress(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare(find_images([photo_folder]), estimators=["knn"], cv=3, duplicate_threshold=1, verbose=True)
    assert "compare counting, knn: 100%" in capsys.readouterr().err


def test_label_errors_at_chance_are_called_unreliable(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(60):
        pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        PIL.Image.fromarray(pixels).save(tmp_path / "ab"[index % 2] / f"{index}.png")
    images = find_images(tmp_path)
    result = compare_images(images, backbones=["color_histogram"], estimators=["dummy", "logreg"], cache=None)
    assert any(note.startswith("Likely label errors are not reliable") for note in result.notes)


def test_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    table = ImageTable([str(tmp_path / "a.png"), str(tmp_path)], ["a", None])
    with pytest.raises(SourceError, match="Cannot list the folder .*Fix its permissions"):
        compare_images(table, backbones=["color_histogram"], cache=None)
