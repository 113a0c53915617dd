from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx.datasets.find import find_images
from featx.datasets.image_table import ImageTable
from featx.errors import ComparisonError
from featx.extraction.options import ExtractionOptions
from featx.system.formatting import format_count
from featx.workflows.compare import compare_tables
from featx.workflows.config import ComparisonConfig
from featx.workflows.experiment import ExperimentLimits
from featx.workflows.feature_sets import as_extraction_options
from featx.workflows.labeled_images import as_image_table
from tests.workflows.helpers import compare, folds_of, names_of


def compare_mobilenet(images: Any, cache: Path, **options: Any) -> Any:
    return compare(images, **{"backbones": ["mobilenet"], "cv": 4, "cache": cache, **options})


def assert_groups_are_whole(result: Any) -> None:
    for train, _ in folds_of(result):
        for cluster in result.duplicates.clusters:
            assert np.isin(cluster.rows, train).sum() in (0, len(cluster.rows))


def test_duplicates_are_found_by_kind_and_kept_together(with_duplicates: ImageTable, compiled_cache: Path) -> None:
    result = compare_mobilenet(with_duplicates, compiled_cache, estimators=["logreg"])
    kinds = {cluster.kind: names_of(with_duplicates, cluster.rows) for cluster in result.duplicates.clusters[:3]}
    assert {"00.jpg", "copy.jpg"} == kinds["identical files"]
    assert {"01.jpg", "lossless.png"} == kinds["identical pixels"]
    near = [cluster.rows for cluster in result.duplicates.clusters if cluster.kind == "near-duplicates"]
    assert {"02.jpg", "again.jpg"} in [names_of(with_duplicates, rows) for rows in near]
    assert (result.duplicates.n_identical_files, result.duplicates.n_identical_pixels) == (1, 1)
    assert_groups_are_whole(result)
    notes = "\n".join(result.notes)
    assert "1 identical file, 1 pixel-identical file" in notes
    assert "Duplicates are kept on the same side of every split." in notes
    assert "If duplicates were ignored, logreg would have accuracy" in notes
    assert re.search(
        r"1 group of duplicates with different labels, such as .*02.jpg \(china\), .*again.jpg \(flower\)", notes
    )
    duplicates = result.as_dict()["duplicates"]
    assert duplicates["identical_files"] == 1
    assert duplicates["ungrouped_scores"] == {"logreg": pytest.approx(result.ungrouped_scores["mean"].item())}


def test_duplicates_can_be_split(with_duplicates: ImageTable, compiled_cache: Path) -> None:
    result = compare_mobilenet(with_duplicates, compiled_cache, estimators=["logreg"], duplicate_groups=False)
    assert result.ungrouped_scores is None
    assert any("split at random (duplicate_groups=False): scores may be too high" in note for note in result.notes)
    grouped = compare_mobilenet(with_duplicates, compiled_cache, estimators=["logreg"])
    assert result.table["accuracy_mean"].item() == pytest.approx(grouped.ungrouped_scores["mean"].item())


def test_given_groups_stay_whole_without_duplicate_groups(with_duplicates: ImageTable, compiled_cache: Path) -> None:
    sites = [f"site {row % 5}" for row in range(len(with_duplicates))]
    options: dict[str, Any] = {"estimators": ["knn"], "groups": sites, "duplicate_groups": False}
    result = compare_mobilenet(with_duplicates, compiled_cache, **options)
    for train, test in folds_of(result):
        assert not {sites[row] for row in train} & {sites[row] for row in test}
    assert result.ungrouped_scores is None


def test_duplicates_would_inflate_the_score(ucmerced: list[str], compiled_cache: Path, tmp_path: Path) -> None:
    """Random labels, every image twice: nothing can be learned, but a copy reveals the label."""
    paths = []
    for number, path in enumerate(ucmerced[::10]):
        for copy, quality in enumerate((95, 80)):
            paths.append(str(tmp_path / f"{number}-{copy}.jpg"))
            buffer = io.BytesIO()
            PIL.Image.open(path).save(buffer, "JPEG", quality=quality)
            Path(paths[-1]).write_bytes(buffer.getvalue())
    labels = np.repeat(np.random.default_rng(0).permutation(["a", "b"] * 42), 2).tolist()
    result = compare_mobilenet(paths, compiled_cache, y=labels, estimators=["knn"])
    assert result.table["accuracy_mean"].item() < 0.65
    assert result.ungrouped_scores["mean"].item() > 0.85


def test_given_groups_are_merged_with_duplicates(with_duplicates: ImageTable, compiled_cache: Path) -> None:
    sites = [f"site {row % 5}" for row in range(len(with_duplicates))]
    result = compare_mobilenet(with_duplicates, compiled_cache, groups=sites, estimators=["knn"])
    for train, test in folds_of(result):
        assert not {sites[row] for row in train} & {sites[row] for row in test}
    assert_groups_are_whole(result)
    assert result.ungrouped_scores is not None


@pytest.mark.usefixtures("counting")
def test_given_groups_may_be_missing(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    sites: list[str | None] = [None, "a", "b", "c", "d", None] * 4
    result = compare(table, groups=sites, cv=3, duplicate_threshold=1, estimators=["knn"])
    for train, test in folds_of(result):
        assert not {sites[row] for row in train} & {sites[row] for row in test} - {None}
    assert result.n_rows == 24


@pytest.mark.usefixtures("counting")
def test_groups_merged_by_duplicates_are_named(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    rows = [0, 1, 12, 13, 0, 2, 12, 14, 0, 3, 12, 15]  # one photo of each class is in all three groups
    message = (
        r"such as \S*/china/00.jpg and \S*/china/00.jpg, merge 3 groups into 1, which are too few.*"
        r"--duplicate-threshold 1\)"
    )
    with pytest.raises(ComparisonError, match=message):
        compare(table.select(rows), groups=[*"aaaabbbbcccc"], duplicate_threshold=1)


def test_training_images_that_duplicate_a_test_image_are_excluded(
    with_duplicates: ImageTable, compiled_cache: Path
) -> None:
    table = with_duplicates
    test_mask = [
        Path(path).name in ("copy.jpg", "lossless.png") or row % 4 == 0 for row, path in enumerate(table.paths)
    ]
    test = table.select([row for row, is_test in enumerate(test_mask) if is_test])
    train = table.select([row for row, is_test in enumerate(test_mask) if not is_test])
    options: dict[str, Any] = {"estimators": ["knn", "logreg"], "cv": None}
    result = compare_mobilenet(train, compiled_cache, test=test, **options)
    (fold,) = folds_of(result)
    assert len(fold[1]) == len(test)
    n_dropped = len(train) - len(fold[0])
    assert [note for note in result.notes if "test sample" in note or "were excluded" in note] == [
        f"Dropped {format_count(n_dropped, 'training sample')} in the same group as a test sample."
    ]
    assert len(fold[0]) < len(train)
    assert result.table["accuracy_std"].isna().all()
    assert (result.table["high"] > result.table["low"]).all()
    masked = compare_mobilenet(table, compiled_cache, test_mask=test_mask, **options)
    assert masked.table["accuracy_mean"].tolist() == result.table["accuracy_mean"].tolist()


@pytest.mark.usefixtures("counting")
def test_too_many_near_duplicates_are_split(photo_folder: Path) -> None:
    """Mean colors of quarters: most parts of one photo have nearly the same."""
    paths = find_images([photo_folder / "china"]).paths
    result = compare(paths, y=["a", "b"] * 6, cv=3)
    assert "near-duplicates of each other, which leaves too few groups to split" in result.notes[0]
    assert len(result.duplicates) == 0
    assert result.n_rows == 12


def test_equal_black_images_name_their_bit_depth(tmp_path: Path) -> None:
    for number, label in enumerate("aabb"):
        (tmp_path / label).mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 900, (16, 16)).astype(np.uint16)
        PIL.Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    with pytest.raises(ComparisonError) as caught:
        compare(find_images(tmp_path), backbones=["color_histogram"])
    assert "All 4 images are near-duplicates of each other, which leaves nothing to split." in str(caught.value)
    assert str(caught.value).endswith("If they have 10 bits, pass bit_depth=10 (--bit-depth 10).")


def test_training_images_that_are_all_in_the_test_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = {label: rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for label in "ab"}
    for part, label in [("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")]:
        (tmp_path / part / label).mkdir(parents=True)
        PIL.Image.fromarray(pixels[label]).save(tmp_path / part / label / "1.png")
    with pytest.raises(ComparisonError, match="All training images are near-duplicates of test images, which leaves"):
        compare(find_images(tmp_path), backbones=["color_histogram"])


def test_large_user_group_does_not_disable_duplicate_groups(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 32))
    rows[90] = rows[10] + 0.01
    groups = ["site"] * 60 + [str(number) for number in range(60, 100)]
    result = compare_matrix(rows, ["a", "b"] * 50, groups=groups)
    assert [cluster.rows.tolist() for cluster in result.duplicates.clusters] == [[10, 90]]
    assert_groups_are_whole(result)
    assert not any("too few groups to split" in note for note in result.notes)


def test_class_of_one_duplicate_group_is_an_error(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 32))
    rows[:3] = rows[0] + 0.01 * np.arange(3)[:, None]
    y = ["rare"] * 3 + ["usual"] * 97
    with pytest.raises(ComparisonError, match="single group: 'rare'.*--no-duplicate-groups"):
        compare_matrix(rows, y)
    assert compare_matrix(rows, y, duplicate_groups=False).n_classes == 2


def test_similar_features_are_noted(compare_matrix: Callable[..., Any]) -> None:
    rows = 20 + np.random.default_rng(0).normal(size=(100, 32))
    result = compare_matrix(rows, ["a", "b"] * 50)
    assert result.notes[0].startswith("Most images have similar features.")
    assert len(result.duplicates) == 0


def test_settings_of_ungrouped_scores_are_noted(compare_matrix: Callable[..., Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 32))
    rows[50] = rows[10] + 0.01
    y = ["a", "b"] * 30
    result = compare_matrix(rows, y)
    (note,) = (note for note in result.notes if "If duplicates were ignored" in note)
    assert re.search(r"accuracy 0\.\d{3}\.$", note)
    config = ComparisonConfig(estimators=["knn"], tune=True, repeats=2)
    options = [as_extraction_options("matrix")]
    limits = ExperimentLimits(max_images=50)
    result = compare_tables(as_image_table(result.paths, y), options, config, cache=None, limits=limits)
    (note,) = (note for note in result.notes if "If duplicates were ignored" in note)
    assert note.endswith("(not tuned, one repetition, 2 folds).")


def test_duplicates_do_not_depend_on_compared_layers(photo_folder: Path, compiled_cache: Path) -> None:
    table = find_images([photo_folder])
    PIL.Image.open(table.paths[0]).save(table.paths[5], quality=60)
    groups = []
    for layers in ((0.5,), (0.5, 1.0), (1.0, 0.5)):
        backbones = [ExtractionOptions(layer=layer, pooling="max") for layer in layers]
        result = compare(table, backbones=backbones, cv=3, estimators=["knn"], cache=compiled_cache)
        groups.append([cluster.rows.tolist() for cluster in result.duplicates.clusters])
    assert [0, 5] in groups[0]
    assert groups[0] == groups[1] == groups[2]
    assert result.backbones[0].name == "mobilenet conv_pw_13_relu max"
