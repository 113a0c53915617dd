from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, rank_images
from featx.datasets.find import find_images
from featx.errors import ComparisonError, OptionError
from featx.testing import CountingBackbone


def rank(images: Any, **options: Any) -> Any:
    """Rank two variants of the counting backbone, with near-duplicates split."""
    backbones = ["counting", FeatureExtractor("counting", resize="crop")]
    return rank_images(images, **{"backbones": backbones, "duplicate_threshold": 1.0, "cache": None, **options})


def test_second_run_computes_nothing(photo_folder: Path, tmp_path: Path, counting: CountingBackbone) -> None:
    table = find_images([photo_folder])
    first, second = (rank(table, cache=tmp_path / "cache") for _ in range(2))
    columns = ["name", "backbone", "layer", "pooling", "features", "loo_ridge", "p_value", "verdict", "logme"]
    assert list(first.table.columns[:9]) == columns
    assert sorted(first.table["name"]) == ["counting crop", "counting squash"]
    assert (first.n_rows, first.n_classes) == (24, 2)
    assert (first.n_computed, second.n_computed, counting.n_images) == (48, 0, 48)
    assert first.as_text() == second.as_text()


@pytest.mark.usefixtures("counting")
def test_unreadable_and_unlabeled_images_are_excluded(photo_folder: Path) -> None:
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    (photo_folder / "stray.jpg").write_bytes(b"")
    ranking = rank(find_images([photo_folder]))
    assert ranking.n_rows == 23
    assert [Path(failure.image).name for failure in ranking.failures] == ["00.jpg"]
    values = json.loads(json.dumps(ranking.as_dict()))
    assert (values["failed"], values["rows"]) == (1, 23)
    assert ranking.notes[1].startswith("1 image without a label excluded: ")
    assert ranking.notes[2].startswith("1 unreadable image excluded: ")


def test_requests_are_checked_before_the_extraction(photo_folder: Path, counting: CountingBackbone) -> None:
    table = find_images([photo_folder])
    with pytest.raises(ComparisonError, match="at least two classes"):
        rank(table, y=[None] * 24)
    with pytest.raises(ComparisonError, match="groups must contain at least two groups"):
        rank(table, groups=["site"] * 24)
    with pytest.raises(ComparisonError, match="Cannot rank backbones: there are no training images"):
        rank(as_test_split(table, [True] * 24))
    assert counting.n_images == 0


def as_test_split(table: Any, test_mask: list[bool]) -> Any:
    from featx.workflows.labeled_images import as_image_table

    return as_image_table(table, test_mask=test_mask)


@pytest.mark.usefixtures("counting")
def test_test_images_do_not_take_part(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    ranking = rank(as_test_split(table, [number % 4 == 0 for number in range(24)]))
    training_images = table.select([number for number in range(24) if number % 4])
    assert ranking.n_rows == 18
    assert ranking.notes[0].endswith("only the training split is used (18 images).")
    assert ranking.table.equals(rank(training_images).table)


def test_duplicates_form_groups_by_default(photo_folder: Path, compiled_cache: Path) -> None:
    first, second = sorted((photo_folder / "china").glob("*.jpg"))[:2]
    (photo_folder / "flower" / "copy.jpg").write_bytes(first.read_bytes())
    (photo_folder / "china" / "again.jpg").write_bytes(second.read_bytes())
    table = find_images([photo_folder])
    ranking = rank_images(table, cache=compiled_cache)
    assert ranking.duplicates.n_identical_files == 2
    assert "Ridge and kNN predict no image from its duplicates" in ranking.notes[-1]
    leaky = rank_images(table, duplicate_groups=False, cache=compiled_cache)
    assert "(duplicate_groups=False): scores may be too high." in leaky.notes[-1]


def test_paths_and_labels_from_python(paths: list[str], labels: list[str], counting: CountingBackbone) -> None:
    ranking = rank(paths, y=labels)
    assert set(ranking.table["backbone"]) == {"counting"}
    assert ranking.n_computed == 48
    assert rank(paths, y=labels, groups=np.arange(24) // 4).n_rows == 24
    with pytest.raises(OptionError, match="A backbone must be a name, a path or a FeatureExtractor, got 3"):
        rank_images(paths, labels, backbones=[3])
    with pytest.raises(ComparisonError, match=r"y must have one value per image \(24\)"):
        rank_images(paths, labels[:-1])
