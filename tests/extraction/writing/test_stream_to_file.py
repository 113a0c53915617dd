"""Streamed data sets: read once, in order, a part at a time."""

from __future__ import annotations

import csv
import gc
import io
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import (
    FeatureExtractor,
    Predictor,
    check_images,
    compare_images,
    extract_images,
    find_images,
    open_features,
    plan_job,
    train_images,
)
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.streams import read_into_memory, read_stream
from featx.errors import InputError, OptionError, SourceError, UnreadableImageError

pa = pytest.importorskip("pyarrow")


def png(gray: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), (gray, 0, 255 - gray)).save(buffer, format="PNG")
    return buffer.getvalue()


IMAGES = [png(10 * number) for number in range(20)]


class Stream:
    """What featx uses of ``datasets.IterableDataset``; its own objects are tested where it is installed."""

    column_names = None

    def __init__(self, images: list[bytes | None] = IMAGES, *, has_paths: bool = True) -> None:  # type: ignore[assignment]
        self.rows = [
            {"image": {"bytes": image, "path": f"{number}.png" if has_paths else None}, "label": "ab"[number % 2]}
            for number, image in enumerate(images)
        ]
        self.schema = pa.schema(
            [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.string())]
        )

    def with_format(self, kind: str) -> Stream:
        assert kind == "arrow"
        return self

    def iter(self, batch_size: int) -> Iterator[Any]:
        for start in range(0, len(self.rows), batch_size):
            yield pa.Table.from_pylist(self.rows[start : start + batch_size], self.schema)


def extract(source: Any, output: Path, **options: Any) -> Any:
    return extract_images(source, output, backbone="color_histogram", cache=None, **options)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_stream_has_the_rows_of_its_images(suffix: str, tmp_path: Path) -> None:
    images = [*IMAGES[:3], b"text", *IMAGES[3:]]
    summary = extract(Stream(images), tmp_path / f"f{suffix}")  # type: ignore[arg-type]
    assert (summary.rows, summary.computed, summary.failed) == (20, 20, 1)
    features = open_features(tmp_path / f"f{suffix}")
    expected = FeatureExtractor("color_histogram", cache=None).fit_transform(IMAGES)
    np.testing.assert_array_equal(features[:], expected)
    assert features.metadata(slice(2, 5))["path"] == ["2.png", "4.png", "5.png"]
    assert features.metadata(slice(2, 5))["label"] == ["a", "a", "b"]
    with open(next(tmp_path.glob("*failures.csv")), newline="") as file:
        assert [(line["position"], line["path"]) for line in csv.DictReader(file)] == [("3", "3.png")]


def test_splits_and_groups_are_kept(tmp_path: Path) -> None:
    extract({"train": Stream(IMAGES[:6]), "test": Stream(IMAGES[6:8])}, tmp_path / "f.npy")
    splits = open_features(tmp_path / "f.npy").splits
    assert splits is not None
    assert splits[:].tolist() == ["train"] * 6 + ["test"] * 2
    stream = Stream()
    stream.schema = stream.schema.append(pa.field("part", pa.string())).append(pa.field("site", pa.string()))
    for number, row in enumerate(stream.rows):  # batches of 16 rows: the second one has one split only
        row.update(part="train" if number < 17 else "validation", site=f"S{number // 2} ")
    extract(stream, tmp_path / "f.parquet", split_column="part", group_column="site")
    features = open_features(tmp_path / "f.parquet")
    assert features.splits is not None
    assert features.groups is not None
    assert features.splits[:].tolist() == ["train"] * 17 + ["test"] * 3
    assert features.groups[:3].tolist() == ["S0", "S0", "S1"]
    with pytest.raises(OptionError, match="cannot be used with several tables"):
        extract({"train": stream, "test": stream}, tmp_path / "g.npy", split_column="part")


def test_splits_are_read_one_after_another(tmp_path: Path) -> None:
    streams = {"train": Stream(has_paths=False), "test": Stream(IMAGES[:2], has_paths=False)}  # type: ignore[arg-type]
    assert extract(streams, tmp_path / "f.npy").rows == 22
    paths = open_features(tmp_path / "f.npy").metadata(slice(18, 22))["path"]
    assert paths == ["images[18]", "images[19]", "images[0]", "images[1]"]


def test_only_a_part_is_in_memory() -> None:
    parts = []
    for part in read_stream(Stream(), SourceOptions(), part_rows=8):
        parts.append(weakref.ref(part))
        del part
        gc.collect()
        assert sum(reference() is not None for reference in parts) <= 1
    assert len(parts) == 3
    assert [len(part) for part in read_stream(Stream(), SourceOptions(), part_bytes=1)] == [16, 4]


def test_errors_of_streams(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="The data set has no rows"):
        extract(Stream([]), tmp_path / "f.npy")
    with pytest.raises(SourceError, match=r"Cannot read any of the 2 images\. The first is 'images\[0\]'"):
        extract(Stream([b"", b""], has_paths=False), tmp_path / "f.npy")
    with pytest.raises(UnreadableImageError, match=r"17\.png"):
        extract(Stream([*IMAGES[:17], b""]), tmp_path / "f.npy", on_error="raise")
    broken = Stream()
    broken.rows[17] = {"image": 1 / 2}  # type: ignore[dict-item]
    with pytest.raises(SourceError, match="Cannot read the data set after 16 rows: "):
        extract(broken, tmp_path / "f.npy")
    assert list(tmp_path.iterdir()) == []


def test_other_functions_keep_the_images_in_memory() -> None:
    table = find_images(Stream())  # type: ignore[arg-type]
    assert (table.paths[:2], table.labels[:2], table.splits) == (["0.png", "1.png"], ["a", "b"], None)
    splits = find_images({"train": Stream(), "test": Stream(IMAGES[:2])})  # type: ignore[arg-type]
    assert splits.splits == ["train"] * 20 + ["test"] * 2
    expected = FeatureExtractor("color_histogram", cache=None).fit_transform(IMAGES)
    np.testing.assert_array_equal(FeatureExtractor("color_histogram", cache=None).fit_transform(Stream()), expected)
    assert check_images(Stream()).as_dict()["readable"] == 20  # type: ignore[arg-type]
    options: dict[str, Any] = {"backbones": ["color_histogram"], "estimators": ["knn"], "diagnostics": False, "cv": 2}
    scores = [
        compare_images(images, y, cache=None, duplicate_groups=False, **options).table["accuracy_mean"].item()
        for images, y in ((Stream(), None), (Stream(), ["a", "b"] * 10), (IMAGES, ["a", "b"] * 10))
    ]
    assert scores == [scores[0]] * 3


def test_jobs_need_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"source must have a length, got a streamed data set"):
        plan_job(Stream(), tmp_path / "job", backbone="color_histogram")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"source must be str or Path, got an image in memory at index 0"):
        plan_job(find_images(IMAGES), tmp_path / "job", backbone="color_histogram")


def test_large_streams_are_not_kept_in_memory() -> None:
    with pytest.raises(InputError, match=r"at most 100 bytes, .*dataset\.to_parquet\('images\.parquet'\)"):
        read_into_memory(Stream(), SourceOptions(), max_bytes=100)
    with pytest.raises(SourceError, match="The data set has no rows"):
        find_images(Stream([]))  # type: ignore[arg-type]


def test_predictions_of_streams(tmp_path: Path) -> None:
    train_images(IMAGES, ["a"] * 10 + ["b"] * 10, backbone="color_histogram", estimator="knn", cache=None).save(
        tmp_path / "model.skops"
    )
    predictor = Predictor(tmp_path / "model.skops", cache=None)
    predicted = predictor.predict_each(Stream())  # type: ignore[arg-type]
    assert [row.label for row in predicted] == [row.label for row in predictor.predict_each(IMAGES)]
    assert [row.path for row in predicted[:2]] == ["0.png", "1.png"]


PIXELS = np.zeros((2, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([(IMAGES[0], 1)], r"got a tuple of 2 at index 0\. Pass images and labels separately: \[pair\[0\] for pair"),
        (((PIXELS[0], label) for label in (0, 1)), r"a tuple of 2 at index 0\. .*y=\[pair\[1\] for pair in pairs\]"),
        ([[PIXELS, np.zeros(2)]], r"a list of 2 at index 0\. .*numpy\.concatenate\(\[batch\[0\] for batch in batches"),
        (
            [{"img": PIXELS[0], "label": 1}],
            r"a dict with the keys 'img', 'label' at index 0\. .*\[row\['img'\] for row",
        ),
        ([{"__key__": "0", "jpg": b""}], r"\[row\['jpg'\] .* featx\.find_images\('train-\{000\.\.099\}\.tar'\)"),
    ],
    ids=["pairs", "generator", "batches", "rows", "webdataset"],
)
def test_rows_of_other_libraries_name_their_images(items: Any, words: str) -> None:
    for function in (find_images, FeatureExtractor("color_histogram", cache=None).fit_transform):
        with pytest.raises(InputError, match=words):
            function(items)
        items = list(items)


def test_own_streams_of_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = {"image": [PIL.Image.open(io.BytesIO(image)) for image in IMAGES], "label": ["cat", "dog"] * 10}
    dataset = datasets.Dataset.from_dict(data).cast_column("image", datasets.Image()).class_encode_column("label")
    stream = dataset.to_iterable_dataset()
    assert extract(stream, tmp_path / "f.npy").rows == 20
    features = open_features(tmp_path / "f.npy")
    expected = FeatureExtractor("color_histogram", cache=None).fit_transform(IMAGES)
    np.testing.assert_array_equal(features[:], expected)
    assert features.metadata(slice(0, 2))["label"] == ["cat", "dog"]
    assert extract(stream.map(lambda row: {"kind": "x"}), tmp_path / "f.npy", label_column="kind").rows == 20
    stream.take(5).to_parquet(tmp_path / "images.parquet")  # the remedy of other functions
    np.testing.assert_array_equal(
        FeatureExtractor("color_histogram", cache=None).fit_transform(find_images(tmp_path / "images.parquet")),
        expected[:5],
    )
