from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, rank_images
from featx.datasets.find import find_images
from featx.errors import ComparisonError, OptionError
from featx.extraction.options import ExtractionOptions
from featx.testing import CountingBackbone
from featx.workflows.rank import rank_tables
from featx.workflows.request import ComparisonConfig


def _both() -> list[ExtractionOptions]:
    return [ExtractionOptions("counting"), ExtractionOptions("counting", resize="crop")]


def test_each_network_gets_a_row_and_a_second_run_computes_nothing(
    photo_folder: Path, tmp_path: Path, counting: CountingBackbone
) -> None:
    table = find_images([photo_folder])
    first, second = (
        rank_tables(table, _both(), ComparisonConfig(duplicate_threshold=1.0), cache=tmp_path / "cache")
        for _ in range(2)
    )
    columns = ["name", "backbone", "layer", "pooling", "features", "loo_ridge", "p_value", "verdict", "logme"]
    assert list(first.table.columns[:9]) == columns
    assert sorted(first.table["name"]) == ["counting crop", "counting squash"]
    assert (first.n_rows, first.n_classes) == (24, 2)
    assert (first.n_computed, second.n_computed, counting.n_images) == (48, 0, 48)
    assert first.as_text() == second.as_text()


@pytest.mark.usefixtures("counting")
def test_unreadable_and_unlabelled_images_are_left_out(photo_folder: Path) -> None:
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    (photo_folder / "stray.jpg").write_bytes(b"")
    ranking = rank_tables(find_images([photo_folder]), _both(), ComparisonConfig(duplicate_threshold=1.0), cache=None)
    assert ranking.n_rows == 23
    assert [Path(failure.image).name for failure in ranking.failures] == ["00.jpg"]
    found = json.loads(json.dumps(ranking.as_dict()))
    assert (found["failed"], found["rows"]) == (1, 23)
    assert ranking.notes[0].startswith("1 image without a label left out: ")
    assert ranking.notes[1].startswith("1 image left out as unreadable: ")


def test_labels_and_groups_are_checked_before_anything_is_extracted(
    photo_folder: Path, counting: CountingBackbone
) -> None:
    table = find_images([photo_folder])
    with pytest.raises(ComparisonError, match="at least two classes"):
        rank_tables(dataclasses.replace(table, labels=[None] * 24), _both(), cache=None)
    with pytest.raises(ComparisonError, match="one for all 24 samples"):
        rank_tables(dataclasses.replace(table, groups=["site"] * 24), _both(), cache=None)
    with pytest.raises(ComparisonError, match="only images to test on"):
        rank_tables(dataclasses.replace(table, splits=["test"] * 24), _both(), cache=None)
    assert counting.n_images == 0


@pytest.mark.usefixtures("counting")
def test_images_to_test_on_take_no_part(photo_folder: Path) -> None:
    table = find_images([photo_folder])
    splits: list[str | None] = ["test" if number % 4 == 0 else "train" for number in range(24)]
    ranking = rank_tables(
        dataclasses.replace(table, splits=splits), _both(), ComparisonConfig(duplicate_threshold=1.0), cache=None
    )
    trained = table.select([number for number in range(24) if number % 4])
    alone = rank_tables(trained, _both(), ComparisonConfig(duplicate_threshold=1.0), cache=None)
    assert ranking.n_rows == 18
    assert ranking.notes[0].startswith("Only the 18 training images take part")
    assert ranking.table.equals(alone.table)


def test_copies_are_left_out_together_unless_that_is_switched_off(photo_folder: Path, compiled_cache: Path) -> None:
    one, two = sorted((photo_folder / "china").glob("*.jpg"))[:2]
    (photo_folder / "flower" / "copy.jpg").write_bytes(one.read_bytes())
    (photo_folder / "china" / "again.jpg").write_bytes(two.read_bytes())
    table = find_images([photo_folder])
    ranking = rank_tables(table, [ExtractionOptions()], cache=compiled_cache)
    assert ranking.duplicates.n_same_bytes == 2
    assert "Ridge and kNN leave them out together, and LogME and H-score see one of each." in ranking.notes[-1]
    leaky = rank_tables(table, [ExtractionOptions()], ComparisonConfig(groups="none"), cache=compiled_cache)
    assert "None was left out with another, as asked: scores may be too high." in leaky.notes[-1]


def test_images_are_ranked_from_python(paths: list[str], labels: list[str], counting: CountingBackbone) -> None:
    networks: list[Any] = ["counting", FeatureExtractor("counting", resize="crop")]
    ranking = rank_images(paths, labels, backbones=networks, duplicate_threshold=1.0, cache=None)
    assert set(ranking.table["backbone"]) == {"counting"}
    assert ranking.n_computed == 48
    sites = np.arange(24) // 4
    assert (
        rank_images(paths, labels, backbones=networks, duplicate_threshold=1.0, groups=sites, cache=None).n_rows == 24
    )
    with pytest.raises(OptionError, match="is no network"):
        rank_images(paths, labels, backbones=[3])
    with pytest.raises(ComparisonError, match=r"y must have one value per path \(24\)"):
        rank_images(paths, labels[:-1])
