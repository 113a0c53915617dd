from __future__ import annotations

import dataclasses
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import DirectBackbone, FeatureExtractor
from featx.cli import main as cli
from featx.datasets.find import find_images
from featx.datasets.image_table import ImageTable
from featx.errors import ComparisonError, OptionError, SourceError
from featx.extraction.options import ExtractionOptions
from featx.testing import CountingBackbone
from featx.workflows.compare import compare_images, compare_tables
from featx.workflows.request import ComparisonConfig
from featx.workflows.result import write_csv
from tests.conftest import Register

COUNTING = {"backbone": "counting"}


def test_each_backbone_gets_its_rows_and_the_best_is_named(
    photo_folder: Path, tmp_path: Path, counting: CountingBackbone
) -> None:
    both = [ExtractionOptions(**COUNTING), ExtractionOptions(**COUNTING, resize="crop")]
    comparison = compare_tables(find_images([photo_folder]), both, ComparisonConfig(cv=3), cache=tmp_path / "cache")
    assert len(comparison.table) == 8
    assert list(comparison.table.columns[:5]) == ["backbone", "layer", "pooling", "features", "estimator"]
    assert comparison.best_row["accuracy_mean"] == comparison.table["accuracy_mean"].max()
    assert (comparison.n_rows, comparison.n_classes) == (24, 2)
    text = comparison.as_text().splitlines()
    assert sum(line.startswith("* counting") for line in text) == 1
    assert [network.name for network in comparison.backbones] == ["counting squash", "counting crop"]
    assert comparison.table["verdict"].tolist().count("best") == 1
    assert counting.n_images == 48


@pytest.mark.usefixtures("counting")
def test_unreadable_and_unlabelled_images_are_left_out(photo_folder: Path) -> None:
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    (photo_folder / "stray.jpg").write_bytes(b"")
    comparison = compare_tables(
        find_images([photo_folder]), [ExtractionOptions(**COUNTING)], ComparisonConfig(cv=3), cache=None
    )
    assert comparison.n_rows == 23
    assert [Path(failure.image).name for failure in comparison.failures] == ["00.jpg"]
    assert comparison.as_dict()["failed"] == 1
    assert comparison.notes[0].startswith("1 image without a label left out: ")
    assert re.match(r"1 image left out as unreadable: .*00.jpg \(the file is empty", comparison.notes[1])


def test_labels_and_names_are_checked_before_anything_is_extracted(
    photo_folder: Path, counting: CountingBackbone
) -> None:
    table = find_images([photo_folder])
    with pytest.raises(ComparisonError, match="at least two classes"):
        compare_tables(ImageTable(table.paths, [None] * 24), [ExtractionOptions(**COUNTING)], cache=None)
    with pytest.raises(OptionError, match="Did you mean 'knn'"):
        compare_tables(table, [ExtractionOptions(**COUNTING)], ComparisonConfig(estimators=["kn"]), cache=None)
    with pytest.raises(ComparisonError, match="one for all 24 samples"):
        one_group = dataclasses.replace(table, groups=["site"] * 24)
        compare_tables(one_group, [ExtractionOptions(**COUNTING)], cache=None)
    with pytest.raises(ComparisonError, match="Labels for regression must be numbers, got 'china'"):
        compare_tables(table, [ExtractionOptions(**COUNTING)], ComparisonConfig(task="regression"), cache=None)
    assert counting.n_images == 0


@pytest.mark.usefixtures("counting")
def test_groups_that_duplicates_join_are_told_with_an_example_and_a_remedy(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    chosen = [0, 1, 12, 13, 0, 2, 12, 14, 0, 3, 12, 15]  # one photo of each class is in all three groups
    table = dataclasses.replace(table.select(chosen), groups=[*"aaaabbbbcccc"])
    message = (
        r"such as \S*/china/00.jpg and \S*/china/00.jpg: that joins 3 groups to 1.*--duplicate-threshold 1\) keeps"
    )
    with pytest.raises(ComparisonError, match=message):
        compare_tables(table, [ExtractionOptions(**COUNTING)], ComparisonConfig(duplicate_threshold=1), cache=None)


@pytest.mark.usefixtures("counting")
def test_not_one_readable_image_is_an_error(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        paths.append(str(tmp_path / f"{number}.jpg"))
        Path(paths[-1]).write_bytes(b"")
    with pytest.raises(SourceError, match="any of the 4 images"):
        compare_tables(
            ImageTable(paths, ["a", "a", "b", "b"]), [ExtractionOptions(**COUNTING)], ComparisonConfig(cv=2), cache=None
        )


@pytest.mark.slow  # plain Keras extracts 840 photos
def test_aerial_photos_score_as_plain_keras_and_scikit_learn_do(ucmerced: list[str], compiled_cache: Path) -> None:
    # Plain: 0.960, 0.954 and 0.937. bfloat16 must stay within half a point of float32.
    table = ImageTable(ucmerced, [Path(path).parent.name for path in ucmerced])
    scores = {}
    for precision in ("auto", "float32"):
        options = ExtractionOptions(precision=precision)
        # The same folds for both: near-duplicates are told by features, which differ a little.
        comparison = compare_tables(table, [options], ComparisonConfig(groups="none"), cache=compiled_cache)
        scores[precision] = comparison.table.set_index("estimator")["accuracy_mean"]
        for name, plain in {"logreg": 0.960, "svm": 0.954, "knn": 0.937}.items():
            assert scores[precision][name] > plain - 0.01, (precision, name)
    assert np.abs(scores["auto"] - scores["float32"]).max() < 0.005


# ImageDuplicates -----------------------------------------------------------------------------------------------


@pytest.fixture
def leaky(photo_folder: Path) -> ImageTable:
    """24 photos: one copied byte for byte, one saved without loss, one saved once more with the other label."""
    one, two, three = sorted((photo_folder / "china").glob("*.jpg"))[:3]
    (photo_folder / "china" / "copy.jpg").write_bytes(one.read_bytes())
    PIL.Image.open(two).save(photo_folder / "china" / "lossless.png")
    PIL.Image.open(three).save(photo_folder / "flower" / "again.jpg", quality=70)
    return find_images([photo_folder])


def _compare(table: ImageTable, cache: Path, **config: Any) -> Any:
    return compare_tables(table, [ExtractionOptions()], ComparisonConfig(**{"cv": 4, **config}), cache=cache)


def test_duplicates_are_told_by_kind_and_kept_together(leaky: ImageTable, compiled_cache: Path) -> None:
    comparison = _compare(leaky, compiled_cache, estimators=["logreg"])
    leaks = comparison.duplicates
    kinds = {Path(comparison.paths[cluster.rows[0]]).name: cluster.kind for cluster in leaks.clusters}
    names = [{Path(comparison.paths[row]).name for row in cluster.rows} for cluster in leaks.clusters]
    for pair, kind in (
        ({"00.jpg", "copy.jpg"}, "same bytes"),
        ({"01.jpg", "lossless.png"}, "same pixels"),
        ({"02.jpg", "again.jpg"}, "nearly the same"),
    ):
        assert pair in names
        assert kinds[min(pair)] == kind
    assert (leaks.n_same_bytes, leaks.n_same_pixels) == (1, 1)
    split = comparison.backbones[0].comparison.split
    for cluster in leaks.clusters:
        for train, _ in split.folds:
            assert np.isin(cluster.rows, train).sum() in (0, len(cluster.rows))
    notes = "\n".join(comparison.notes)
    assert "1 with the same bytes, 1 with the same pixels" in notes
    assert "They are kept on one side of every split." in notes
    assert "Had duplicates been ignored, logreg would have had accuracy" in notes
    assert re.search(
        r"1 group of duplicates with different labels, such as .*02.jpg \(china\), .*again.jpg \(flower\)", notes
    )
    found = comparison.as_dict()["duplicates"]
    assert found["same_bytes"] == 1
    assert found["ungrouped_scores"] == {"logreg": pytest.approx(comparison.ungrouped_scores["mean"].item())}


def test_groups_none_switches_it_off(leaky: ImageTable, compiled_cache: Path) -> None:
    comparison = _compare(leaky, compiled_cache, estimators=["logreg"], groups="none")
    assert comparison.ungrouped_scores is None
    assert any("split at random, as asked: scores may be too high" in note for note in comparison.notes)
    kept = _compare(leaky, compiled_cache, estimators=["logreg"])
    assert comparison.table["accuracy_mean"].item() == pytest.approx(kept.ungrouped_scores["mean"].item())


def test_a_leak_would_have_raised_the_score(ucmerced: list[str], compiled_cache: Path, tmp_path: Path) -> None:
    """Labels at random, every image twice: nothing can be learned, but a copy gives the label away."""
    paths = []
    for number, path in enumerate(ucmerced[::10]):
        for copy, quality in enumerate((95, 80)):
            paths.append(str(tmp_path / f"{number}-{copy}.jpg"))
            buffer = io.BytesIO()
            PIL.Image.open(path).save(buffer, "JPEG", quality=quality)
            Path(paths[-1]).write_bytes(buffer.getvalue())
    labels = np.repeat(np.random.default_rng(0).permutation(["a", "b"] * 42), 2).tolist()
    comparison = _compare(ImageTable(paths, labels), compiled_cache, estimators=["knn"])
    assert comparison.table["accuracy_mean"].item() < 0.65
    assert comparison.ungrouped_scores["mean"].item() > 0.85


def test_given_groups_are_kept_whole_and_checked_for_duplicates(leaky: ImageTable, compiled_cache: Path) -> None:
    sites = [f"site {at % 5}" for at in range(len(leaky))]
    comparison = _compare(dataclasses.replace(leaky, groups=sites), compiled_cache, estimators=["knn"])
    for train, test in comparison.backbones[0].comparison.split.folds:
        assert not {sites[at] for at in train} & {sites[at] for at in test}
        for cluster in comparison.duplicates.clusters:
            assert np.isin(cluster.rows, train).sum() in (0, len(cluster.rows))
    assert comparison.ungrouped_scores is not None


def test_a_given_test_set_loses_no_image_but_training_loses_what_it_shows(
    leaky: ImageTable, compiled_cache: Path
) -> None:
    is_copy = [Path(path).name in ("copy.jpg", "lossless.png") or at % 4 == 0 for at, path in enumerate(leaky.paths)]
    test = leaky.select([at for at, copied in enumerate(is_copy) if copied])
    train = leaky.select([at for at, copied in enumerate(is_copy) if not copied])
    options = [ExtractionOptions()]
    comparison = compare_tables(
        train, options, ComparisonConfig(estimators=["knn", "logreg"]), test=test, cache=compiled_cache
    )
    split = comparison.backbones[0].comparison.split
    assert len(split.folds) == 1
    assert len(split.folds[0][1]) == len(test)
    assert any("in the same group as a test sample" in note for note in comparison.notes)
    assert comparison.table["accuracy_std"].isna().all()
    assert (comparison.table["high"] > comparison.table["low"]).all()
    parts = dataclasses.replace(leaky, splits=["test" if copied else "train" for copied in is_copy])
    same = compare_tables(parts, options, ComparisonConfig(estimators=["knn", "logreg"]), cache=compiled_cache)
    assert same.table["accuracy_mean"].tolist() == comparison.table["accuracy_mean"].tolist()


# Results ---------------------------------------------------------------------------------------------


def test_poolings_side_by_side_share_the_store_and_one_best(photo_folder: Path, compiled_cache: Path) -> None:
    options = [ExtractionOptions(pooling=pooling) for pooling in ("avg", "max")]
    comparison = compare_tables(
        find_images([photo_folder]), options, ComparisonConfig(cv=3, estimators=["logreg", "knn"]), cache=compiled_cache
    )
    assert [network.name for network in comparison.backbones] == ["mobilenet avg", "mobilenet max"]
    assert comparison.table["pooling"].tolist() == ["avg", "avg", "max", "max"]
    assert comparison.table["verdict"].tolist().count("best") == 1
    best = comparison.best_row
    assert comparison.best_backbone.name == f"mobilenet {best['pooling']}"


@pytest.mark.usefixtures("counting")
def test_quantities_are_compared_by_regression(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    heights = [float(np.asarray(PIL.Image.open(path).convert("L")).mean()) for path in table.paths]
    comparison = compare_tables(
        ImageTable(table.paths, heights),
        [ExtractionOptions(**COUNTING)],
        ComparisonConfig(diagnostics=True, duplicate_threshold=1),
        cache=None,
    )
    assert comparison.task == "regression"
    assert comparison.best_row["r2_mean"] > 0.5
    assert comparison.label_issues is None
    text = comparison.as_text()
    assert "R²" in text
    assert "24 images; 5 folds" in text
    assert comparison.as_dict()["classes"] == 0


@pytest.mark.usefixtures("counting")
def test_the_text_says_what_matters(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    labels = list(table.labels)
    labels[3] = "flower"
    config = ComparisonConfig(
        cv=3, diagnostics=True, tune=True, duplicate_threshold=1, repeats=2, estimators=["dummy", "logreg", "knn"]
    )
    comparison = compare_tables(ImageTable(table.paths, labels), [ExtractionOptions(**COUNTING)], config, cache=None)
    text = comparison.as_text()
    assert "24 images, 2 classes; 3 stratified folds, 2 repeats; mean ± sd" in text
    assert "was tuned to" in text
    assert "images per class  score" in text
    assert max(map(len, text.splitlines())) <= 125


@pytest.mark.usefixtures("counting")
def test_features_too_alike_to_tell_near_duplicates_are_said_to_be(photo_folder: Path) -> None:
    """Mean colours of quarters: most cuts of one photo have nearly the same."""
    paths = find_images([photo_folder / "china"]).paths
    table = ImageTable(paths, ["a", "b"] * 6)
    comparison = compare_tables(table, [ExtractionOptions(**COUNTING)], ComparisonConfig(cv=3), cache=None)
    assert "near-duplicates of each other, too many to split" in comparison.notes[0]
    assert len(comparison.duplicates) == 0
    assert comparison.n_rows == 12


def test_the_result_as_an_object_and_as_json(leaky: ImageTable, compiled_cache: Path, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    comparison = _compare(leaky, compiled_cache, estimators=["dummy", "knn", "svm"], diagnostics=True)
    assert comparison.best in ("knn", "svm")
    assert comparison.fold_scores.groupby(["network", "estimator"]).size().tolist() == [4] * 3
    predictions = comparison.predictions
    assert list(predictions.columns[:6]) == ["network", "path", "label", "dummy", "knn", "svm"]
    assert "knn_probability" in predictions
    assert set(predictions["path"]) == set(leaky.paths)
    assert comparison.learning_curve["n_per_class"].tolist()[:3] == [1, 2, 5]
    for axes in (comparison.plot_scores(), comparison.plot_confusion(), comparison.plot_learning_curve()):
        assert axes.get_figure() is not None
    comparison.to_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size > 1_000_000
    found = comparison.as_dict()
    assert set(found) == {
        *("task", "rows", "classes", "features", "failed", "failures", "split", "results", "best", "ties", "per_class"),
        *("duplicates", "label_issues", "learning_curve", "warnings"),
    }
    duplicates = {"images", "threshold", "exact", "same_bytes", "same_pixels", "near", "groups", "ungrouped_scores"}
    assert set(found["duplicates"]) == duplicates
    assert set(found["duplicates"]["ungrouped_scores"]) == {"dummy", "knn", "svm"}
    assert found["duplicates"]["exact"] == 2
    assert found["learning_curve"][0]["n_per_class"] == 1
    assert all(set(issue) == {"path", "given", "suggested", "confidence"} for issue in found["label_issues"])
    assert {row["verdict"] for row in found["results"]} <= {"best", "tie", "worse"}
    assert len(found["ties"]) == sum(row["verdict"] == "tie" for row in found["results"])
    json.dumps(found, allow_nan=False)


@pytest.mark.usefixtures("counting")
def test_scores_are_the_same_whatever_the_number_of_jobs(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    found = []
    for n_jobs in (1, 2):
        config = ComparisonConfig(cv=3, n_jobs=n_jobs, diagnostics=True, duplicate_threshold=1)
        one = compare_tables(table, [ExtractionOptions(**COUNTING)], config, cache=None).as_dict()
        for row in one["results"]:
            del row["fit_seconds"], row["predict_seconds"]
        found.append(one)
    assert found[0] == found[1]


@pytest.mark.usefixtures("counting")
def test_a_test_set_of_its_own_is_scored_and_no_other(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    parts = dataclasses.replace(table, splits=(["train"] * 5 + ["test", None]) * 3 + ["train"] * 3)
    options = [ExtractionOptions(**COUNTING)]
    comparison = compare_tables(parts, options, ComparisonConfig(duplicate_threshold=1), cache=None)
    assert comparison.backbones[0].comparison.split.description == "18 training, 3 test samples"
    assert comparison.notes[0].startswith("3 images that are neither to train nor to test on left out: ")
    test = table.select([5, 12])
    comparison = compare_tables(parts, options, ComparisonConfig(duplicate_threshold=1), test=test, cache=None)
    assert comparison.backbones[0].comparison.split.description == "18 training, 2 test samples"
    assert any("only the 18 training images are fitted on" in note for note in comparison.notes)
    for wrong in ({"cv": 5}, {"repeats": 2}):
        with pytest.raises(OptionError, match="a given test set is scored once"):
            compare_tables(parts, options, ComparisonConfig(duplicate_threshold=1, **wrong), cache=None)


@pytest.mark.usefixtures("counting")
def test_given_groups_may_be_missing(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    sites: list[str | None] = [None, "a", "b", "c", "d", None] * 4
    config = ComparisonConfig(cv=3, duplicate_threshold=1, estimators=["knn"])
    comparison = compare_tables(
        dataclasses.replace(table, groups=sites), [ExtractionOptions(**COUNTING)], config, cache=None
    )
    for train, test in comparison.backbones[0].comparison.split.folds:
        assert not {sites[at] for at in train} & {sites[at] for at in test} - {None}
    assert comparison.n_rows == 24


@pytest.mark.usefixtures("counting")
def test_names_that_are_not_utf_8(photo_folder: Path, tmp_path: Path) -> None:
    for path in sorted(photo_folder.glob("*/*.jpg")):
        name = os.fsencode(path.with_suffix("")) + b"-\xfe.jpg"
        os.rename(path, name)
    os.rename(photo_folder / "china", os.fsencode(photo_folder) + b"/\xff")
    table = find_images([photo_folder])
    labels = list(table.labels)
    labels[2] = labels[-1]
    table = dataclasses.replace(table, labels=labels)
    comparison = compare_tables(
        table,
        [ExtractionOptions(**COUNTING)],
        ComparisonConfig(cv=3, duplicate_threshold=1, diagnostics=True),
        cache=None,
    )
    comparison.to_html(tmp_path / "r.html")
    write_csv(tmp_path / "labels.csv", comparison.label_issues_table())
    json.dumps(comparison.as_dict())
    assert comparison.as_text()


@pytest.mark.usefixtures("counting")
def test_nothing_learned_is_said_to_be(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    labels = np.random.default_rng(0).permutation(table.labels).tolist()
    comparison = compare_tables(
        ImageTable(table.paths, labels),
        [ExtractionOptions(**COUNTING)],
        ComparisonConfig(cv=3, duplicate_threshold=1),
        cache=None,
    )
    assert any(note.startswith("The dummy, which guesses, is not told from the best") for note in comparison.notes)
    assert "path" not in comparison.best_backbone.comparison.label_issues  # what the whole adds stays its own


@pytest.mark.usefixtures("counting")
def test_from_python(photo_folder: Path, tmp_path: Path) -> None:
    paths = [Path(path) for path in find_images([photo_folder]).paths]
    y: list[Any] = [path.parent.name for path in paths]
    y[0], y[13] = None, float("nan")
    networks = ["counting", FeatureExtractor("counting", resize="crop")]
    result = compare_images(
        paths, y, backbones=networks, cv=3, duplicate_threshold=1, estimators=["dummy", "knn"], cache=tmp_path
    )
    assert [network.name for network in result.backbones] == ["counting squash", "counting crop"]
    assert result.n_rows == 22
    assert result.learning_curve is not None
    test_mask = [number % 3 == 0 for number in range(24)]
    result = compare_images(
        paths, y, backbones=networks[:1], test_mask=test_mask, duplicate_threshold=1, diagnostics=False, cache=None
    )
    assert result.backbones[0].comparison.split.description == "15 training, 7 test samples"
    sites = [number // 2 for number in range(24)]
    result = compare_images(
        paths, y, backbones=networks[:1], groups=sites, cv=3, duplicate_threshold=1, diagnostics=False, cache=None
    )
    for train, test in result.backbones[0].comparison.split.folds:
        of_row = [Path(path) for path in result.paths]
        assert not {sites[paths.index(of_row[at])] for at in train} & {sites[paths.index(of_row[at])] for at in test}
    with pytest.raises(ComparisonError, match=r"groups must have one value per path \(24\), got 3"):
        compare_images(paths, y, groups=[1, 2, 3])
    with pytest.raises(OptionError, match="3 is no network"):
        compare_images(paths, y, backbones=[3])


def test_layers_and_poolings_stand_side_by_side(photo_folder: Path, compiled_cache: Path) -> None:
    table = find_images([photo_folder])
    options = [ExtractionOptions(layer=layer, pooling=pooling) for layer in (0.5, 1.0) for pooling in ("avg", "max")]
    comparison = compare_tables(table, options, ComparisonConfig(cv=3, estimators=["knn"]), cache=compiled_cache)
    assert comparison.table["layer"].tolist() == ["conv_pw_6_relu"] * 2 + ["conv_pw_13_relu"] * 2
    assert comparison.table["pooling"].tolist() == ["avg", "max"] * 2
    assert comparison.table["features"].tolist() == [512, 512, 1024, 1024]
    assert [network.name for network in comparison.backbones][-1] == "mobilenet conv_pw_13_relu max"
    assert not comparison.duplicates.duplicates.centered  # told by the last layer, though it does not come first


class _Matrix(DirectBackbone):
    """Rows of a matrix, by the number that an image is painted with."""

    name, version, image_size = "matrix", 1, 2
    rows: np.ndarray[Any, Any]

    def n_features(self, pooling: str) -> int:
        return self.rows.shape[1]

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(self.rows[pixels[:, 0, 0, :2].astype(int) @ [1, 256]])


@pytest.fixture
def compare_matrix(tmp_path: Path, register: Register) -> Callable[..., Any]:
    """Compare images whose features are the rows of a matrix."""
    backbone = register(_Matrix())

    def compare(rows: np.ndarray[Any, Any], y: list[Any], **options: Any) -> Any:
        backbone.rows = rows.astype(np.float32)
        paths = [tmp_path / f"{number}.png" for number in range(len(rows))]
        for number, path in enumerate(paths):
            PIL.Image.new("RGB", (2, 2), (number % 256, number // 256, 0)).save(path)
        return compare_images(paths, y, **{"backbones": ["matrix"], "cache": None, "estimators": ["knn"], **options})

    return compare


def _divided(result: Any, one: int, other: int) -> bool:
    folds = result.backbones[0].comparison.split.folds
    return any((one in train) != (other in train) for train, _ in folds)


def test_a_large_group_of_the_user_s_does_not_switch_duplicates_off(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 32))
    rows[90] = rows[10] + 0.01
    groups = ["site"] * 60 + [str(number) for number in range(60, 100)]
    result = compare_matrix(rows, ["a", "b"] * 50, groups=groups)
    assert [cluster.rows.tolist() for cluster in result.duplicates.clusters] == [[10, 90]]
    assert not _divided(result, 10, 90)
    assert not any("too many to split" in note for note in result.notes)


def test_a_class_of_near_duplicates_only_is_an_error_that_says_so(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 32))
    rows[:3] = rows[0] + 0.01 * np.arange(3)[:, None]
    with pytest.raises(ComparisonError, match="single group: 'rare'.*--no-duplicate-groups"):
        compare_matrix(rows, ["rare"] * 3 + ["usual"] * 97)
    assert compare_matrix(rows, ["rare"] * 3 + ["usual"] * 97, groups="none").n_classes == 2


def test_images_that_are_all_alike_are_said_to_be(compare_matrix: Callable[..., Any]) -> None:
    rows = 20 + np.random.default_rng(0).normal(size=(100, 32))
    result = compare_matrix(rows, ["a", "b"] * 50)
    assert result.notes[0].startswith("By these features most images are alike")
    assert len(result.duplicates) == 0


def test_scores_with_duplicates_ignored_say_how_they_were_computed(
    compare_matrix: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 32))
    rows[50] = rows[10] + 0.01
    y = ["a", "b"] * 30
    (note,) = (one for one in compare_matrix(rows, y).notes if "Had duplicates" in one)
    assert re.search(r"accuracy 0\.\d{3}\.$", note)
    monkeypatch.setattr("featx.workflows.duplicate_groups.MANY", 50)
    monkeypatch.setattr("featx.workflows.compare.MANY", 50)
    (note,) = (one for one in compare_matrix(rows, y, tune=True, repeats=2).notes if "Had duplicates" in one)
    assert note.endswith("(untuned, in one repetition, on 2 folds).")


def test_labels_stay_what_they_are_in_a_list(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 32))
    result = compare_matrix(rows, ["a", "b", "a", float("nan")] + ["a", "b"] * 18)
    assert (result.n_rows, result.n_classes) == (39, 2)
    with pytest.raises(ComparisonError, match="mix numbers and text"):
        compare_matrix(rows, ["a", 1] * 20)


def test_the_same_network_twice_is_compared_once(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 32))
    result = compare_matrix(rows, ["a", "b"] * 15, backbones=["matrix", FeatureExtractor("matrix", image_size=2)])
    assert len(result.backbones) == 1
    assert result.notes[0] == "1 of 2 networks are the same as another one."


def test_a_note_on_all_networks_is_given_once(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 32))
    networks = ["matrix", FeatureExtractor("matrix", resize="crop")]
    result = compare_matrix(rows, ["a"] * 27 + ["b"] * 3, backbones=networks)
    assert [note for note in result.notes if "3 folds instead of 5" in note] == [
        "3 folds instead of 5: the smallest class, 'b', has 3 samples."
    ]


def test_classes_that_are_left_out_are_not_counted(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(41, 32))
    result = compare_matrix(rows, ["a", "b"] * 20 + ["alone"])
    assert (result.n_rows, result.n_classes) == (40, 2)
    assert str(result).startswith("40 images, 2 classes")
    assert "<table" in result._repr_html_()


def test_doubtful_labels_are_looked_for_among_training_images_too(compare_matrix: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    y = ["a", "b"] * 60
    rows = rng.normal(size=(120, 32)) + np.array([[3.0 if label == "a" else -3.0] for label in y])
    y[0] = "b"
    result = compare_matrix(rows, y, test_mask=[number >= 90 for number in range(120)])
    assert [Path(path).name for path in result.label_issues["path"]] == ["0.png"]


@pytest.mark.parametrize(
    "wrong", [{"duplicate_threshold": "0.9"}, {"duplicate_threshold": 0}, {"cv": [(1, 2)]}, {"cv": "5"}]
)
def test_options_of_the_wrong_kind_are_named(wrong: dict[str, Any], compare_matrix: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        compare_matrix(np.zeros((4, 3)), ["a", "b"] * 2, **wrong)


def test_which_layers_are_compared_makes_no_difference_to_duplicates(
    photo_folder: Path, compiled_cache: Path, tmp_path: Path
) -> None:
    table = find_images([photo_folder])
    PIL.Image.open(table.paths[0]).save(table.paths[5], quality=60)
    found = []
    for layers in ((0.5,), (0.5, 1.0), (1.0, 0.5)):
        options = [ExtractionOptions(layer=layer, pooling="max") for layer in layers]
        comparison = compare_tables(table, options, ComparisonConfig(cv=3, estimators=["knn"]), cache=compiled_cache)
        found.append([cluster.rows.tolist() for cluster in comparison.duplicates.clusters])
    assert [0, 5] in found[0]
    assert found[0] == found[1] == found[2]
    assert comparison.backbones[0].name == "mobilenet conv_pw_13_relu max"


def test_a_network_that_is_not_the_default_is_named(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 8))
    result = compare_matrix(rows, ["a", "b"] * 15, backbones=[FeatureExtractor("matrix", resize="crop")])
    assert result.backbones[0].name == "matrix crop"


def test_where_accuracy_misleads_the_dummy_says_nothing(compare_matrix: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    y = ["usual"] * 95 + ["rare"] * 5
    rows = rng.normal(size=(100, 8)) + np.array([[0.0 if label == "usual" else 1.5] for label in y])
    result = compare_matrix(rows, y, estimators=["dummy", "knn"], groups="none")
    assert any("Accuracy is misleading" in note for note in result.notes)
    assert not any("The dummy" in note for note in result.notes)
    assert {line["label"] for line in result.as_dict()["per_class"]} == {"usual", "rare"}


@pytest.mark.parametrize("of", ["csv", "report", "label-issues"])
def test_a_file_that_is_not_featx_s_is_not_replaced(
    of: str, photo_folder: Path, tmp_path: Path, counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("path,label\n1.jpg,a\n")
    common = ["compare", str(photo_folder), "--backbone", "counting", "--estimator", "logreg", "--quiet", "--no-cache"]
    assert cli.main([*common, f"--{of}", str(mine)]) == 1
    assert "was not written by featx" in capsys.readouterr().err
    assert mine.read_text().startswith("path,label\n1.jpg")
    mine.write_bytes(b"")
    for _ in range(2):  # an empty one, and its own
        assert cli.main([*common, f"--{of}", str(mine)]) == 0
    assert cli.main([*common, "--csv", str(tmp_path / "x"), "--report", str(tmp_path / "x")]) == 1
    assert "two outputs have this path" in capsys.readouterr().err


def test_labels_that_cannot_be_looked_at_cost_no_comparison(
    compare_matrix: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise ComparisonError("The groups divide the classes badly.")

    monkeypatch.setattr(
        "featx.workflows.compare.make_split", refuse
    )  # which folds over all images need, a test set does not
    rows = np.random.default_rng(0).normal(size=(40, 32))
    result = compare_matrix(rows, ["a", "b"] * 20, test_mask=[number >= 30 for number in range(40)])
    assert result.label_issues is None
    assert result.notes[-1] == "Labels in doubt were not looked for: The groups divide the classes badly."
    assert result.best == "knn"
