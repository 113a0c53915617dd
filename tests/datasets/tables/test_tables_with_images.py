"""Tables that contain the images: Parquet and Arrow files, and tables in memory."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from featx import FeatureExtractor, check_images, find_images
from featx.datasets.labels import validate_data
from featx.errors import InputError, OptionError, SourceError, UnreadableImageError
from featx.images.containers.members import read_member
from featx.images.image import read_image
from featx.workflows.labeled_images import as_image_table

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")
EXTRACTOR = FeatureExtractor("color_histogram", cache=None)


def png(gray: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), (gray, 0, 255 - gray)).save(buffer, format="PNG")
    return buffer.getvalue()


IMAGES = [png(10 * number) for number in range(20)]
CODES = [number % 2 for number in range(20)]


def hugging_face(images: list[Any] = IMAGES, codes: list[int] = CODES) -> Any:
    """Return a table as datasets of Hugging Face are stored."""
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": image, "path": f"{number}.png"} for number, image in enumerate(images)],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array(codes, pa.int64()),
        }
    )
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write(kind: str, table: Any, path: Path) -> Path:
    if kind == "parquet":
        parquet.write_table(table, path.with_suffix(".parquet"), row_group_size=7)
    elif kind == "feather":
        feather.write_feather(table, path.with_suffix(".feather"))
    else:
        with pa.ipc.new_stream(path.with_suffix(".arrow"), table.schema) as stream:
            stream.write_table(table)
    return path.with_suffix(f".{kind}")


@pytest.mark.parametrize("kind", ["parquet", "feather", "arrow"])
def test_images_and_class_names_of_hugging_face(kind: str, tmp_path: Path) -> None:
    path = write(kind, hugging_face(), tmp_path / "train")
    images = find_images(path)
    assert images.paths[3] == f"{path}#3"
    assert images.labels == ["cat", "dog"] * 10
    assert [read_image(path)[0] for path in images.paths] == IMAGES
    # In any order, and with the digests of the same files.
    for row in (19, 0, 7, 6, 13):
        content, state = read_image(images.paths[row])
        assert content == IMAGES[row]
        assert state is not None
        assert state.st_size == path.stat().st_size


def test_columns_of_bytes(tmp_path: Path) -> None:
    table = pa.table({"photo": pa.array(IMAGES, pa.large_binary()), "kind": ["a", "b"] * 10})
    images = find_images(write("parquet", table, tmp_path / "t"), label_column="kind")
    np.testing.assert_array_equal(EXTRACTOR.transform(images), EXTRACTOR.transform(IMAGES))
    assert images.labels == ["a", "b"] * 10


def test_several_columns_of_images(tmp_path: Path) -> None:
    table = pa.table({"mask": IMAGES[::-1], "image": IMAGES, "label": CODES})
    path = write("parquet", table, tmp_path / "t")
    images = find_images(path)
    assert images.paths[1] == f"{path}#image/1"
    assert "column 'image'" in images.notes[0]
    assert read_image(find_images(path, path_column="mask").paths[0])[0] == IMAGES[-1]
    with pytest.raises(SourceError, match=r"no column 'imag' for the images\. Did you mean 'image'\?"):
        find_images(path, path_column="imag")


def test_one_bad_row_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(IMAGES[3])
    table = hugging_face([*IMAGES[:2], None, None, b"text"], [0, 1, -1, 0, 1])
    cells = table["image"].to_pylist()
    cells[2]["path"], cells[3]["path"] = None, "there.png"
    table = table.set_column(0, "image", pa.array(cells, table.schema.field("image").type))
    path = write("parquet", table, tmp_path / "t")
    images = find_images(path)
    assert images.labels == ["cat", "dog", None, "cat", "dog"]  # -1: the labels of a test set are hidden
    check = check_images(path)
    assert [image.path for image in check.unreadable] == [f"{path}#2", f"{path}#4"]
    assert check.unreadable[0].reason == "the row has no image"
    with pytest.raises(UnreadableImageError, match="contains no image '5'"):
        read_image(f"{path}#5")


def test_numbers_that_are_no_class_are_noted(tmp_path: Path) -> None:
    table = hugging_face(IMAGES[:4], [0, 1, 2, -1])
    for source in (write("parquet", table, tmp_path / "t"), write("arrow", table, tmp_path / "t"), table):
        images = find_images(source)
        assert images.labels == ["cat", "dog", None, None]
        (note,) = images.notes
        assert note.startswith("The labels '2' in 'label' of ")
        assert "are none of its 2 classes, which have the numbers 0 to 1: these images have no label." in note
        assert find_images(hugging_face(IMAGES[:3], [0, 1, -1])).notes == ()


def test_rows_are_read_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("parquet", hugging_face(), tmp_path / "t")
    n_batches = []
    iter_batches = parquet.ParquetFile.iter_batches

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        for batch in iter_batches(self, *args, **options):
            n_batches.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    for row in range(20):
        read_member(str(path), f"#{row}", 2**20)
    assert sum(n_batches) == 20


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_tables_in_memory(library: str) -> None:
    table = hugging_face()
    if library == "pandas":
        table = table.to_pandas()
    elif library == "polars":
        table = pytest.importorskip("polars").from_arrow(table)
    images = find_images(table)
    assert images.paths[3] == "images[3]"
    assert images.labels == (CODES if library != "pyarrow" else ["cat", "dog"] * 10)
    np.testing.assert_array_equal(EXTRACTOR.transform(images), EXTRACTOR.transform(IMAGES))


def test_pandas_columns_of_pillow_images_and_arrays() -> None:
    pillow = [PIL.Image.open(io.BytesIO(image)) for image in IMAGES]
    for column in (pillow, [np.asarray(image) for image in pillow]):
        images = find_images(pd.DataFrame({"image": column, "label": CODES}, index=range(50, 70)))
        assert images.labels == CODES
        np.testing.assert_array_equal(EXTRACTOR.transform(images), EXTRACTOR.transform(IMAGES))


def test_dict_of_tables_has_splits() -> None:
    images = find_images({"train": hugging_face(), "test": hugging_face(IMAGES[:3], [1, 1, 0])})  # type: ignore[arg-type]
    assert images.splits == ["train"] * 20 + ["test"] * 3
    assert images.labels[20:] == ["dog", "dog", "cat"]
    assert [read_image(path)[0] for path in images.paths[20:]] == IMAGES[:3]


class Dataset:
    """What featx uses of ``datasets.Dataset``; its own objects are tested where it is installed."""

    def __init__(self, table: Any) -> None:
        self._table, self.column_names = table, table.column_names
        self.features = type("Features", (), {"arrow_schema": table.schema})()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, rows: Any) -> Any:
        return self._table[rows] if isinstance(rows, slice) else self._table[rows : rows + 1]

    def with_format(self, kind: str) -> Dataset:
        assert kind == "arrow"
        return self

    def select_columns(self, names: list[str]) -> Dataset:
        return Dataset(self._table.select(names))

    def remove_columns(self, names: list[str]) -> Dataset:
        return Dataset(self._table.drop_columns(names))


def test_data_sets_of_hugging_face() -> None:
    images = find_images(Dataset(hugging_face()))  # type: ignore[arg-type]
    assert images.labels == ["cat", "dog"] * 10
    np.testing.assert_array_equal(EXTRACTOR.transform(images), EXTRACTOR.transform(IMAGES))


def test_own_data_sets_of_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = {"image": [PIL.Image.open(io.BytesIO(image)) for image in IMAGES], "label": ["cat", "dog"] * 10}
    dataset = datasets.Dataset.from_dict(data).cast_column("image", datasets.Image()).class_encode_column("label")
    expected = EXTRACTOR.transform(IMAGES)
    for table in (dataset, dataset.cast_column("image", datasets.Image(decode=False)), dataset.with_format("numpy")):
        images = find_images(table)
        assert images.labels == ["cat", "dog"] * 10
        np.testing.assert_array_equal(EXTRACTOR.transform(images), expected)
    np.testing.assert_array_equal(EXTRACTOR.transform(dataset["image"]), expected)
    np.testing.assert_array_equal(EXTRACTOR.transform(dataset.select_columns(["image"])), expected)
    shuffled = find_images(dataset.shuffle(seed=0).train_test_split(0.25, seed=0))
    assert (shuffled.splits or []).count("test") == 5
    dataset.to_parquet(tmp_path / "data.parquet")
    stored = find_images(tmp_path / "data.parquet")
    assert stored.labels == ["cat", "dog"] * 10
    np.testing.assert_array_equal(EXTRACTOR.transform(stored), expected)


def test_groups_of_tables_that_are_splits() -> None:
    pd = pytest.importorskip("pandas")
    tables = {
        "train": pd.DataFrame({"path": ["a.jpg", "b.jpg"], "patient": ["x", "y"]}),
        "test": pd.DataFrame({"path": ["c.jpg"], "patient": ["z"]}),
    }
    images = find_images(tables, group_column="patient")  # type: ignore[arg-type]
    assert (images.groups, images.splits) == (["x", "y", "z"], ["train", "train", "test"])
    assert find_images(tables).groups is None  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"split_column \(--split-column\) cannot be used with several tables"):
        find_images(tables, split_column="patient")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["parquet", "feather"])
@pytest.mark.parametrize("list_type", ["Sequence", "List"])
def test_lists_of_class_labels_are_tags_with_their_names(kind: str, list_type: str, tmp_path: Path) -> None:
    label = {"names": ["cat", "dog", "bird"], "_type": "ClassLabel"}
    features = {"objects": {"feature": label, "_type": list_type}, "boxes": {"feature": {}, "_type": list_type}}
    table = pa.table({"path": ["1.jpg", "2.jpg"], "objects": [[2, 0, 2], []], "boxes": [[1, 2], [3, 4]]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for source in (write(kind, table, tmp_path / "t"), table):
        assert list(map(list, find_images(source, label_column="objects").labels)) == [["bird", "cat"], []]


def test_y_replaces_the_labels_of_a_table() -> None:
    frame = pd.DataFrame({"path": ["1.jpg", "2.jpg"], "label": [[0, 1, 1], [1, 0, 0]]})
    with pytest.raises(SourceError, match=r"y=numpy\.stack\(table\[column\]\)"):
        find_images(frame)
    labels = as_image_table(frame, np.stack(frame["label"])).labels  # the remedy
    assert list(map(list, labels)) == [["1", "2"], ["0"]]
    pl = pytest.importorskip("polars")
    assert list(map(list, find_images(pl.DataFrame({"path": ["1.jpg", "2.jpg"], "label": [[3], [4, 5]]})).labels)) == [
        ["3"],
        ["4", "5"],
    ]


def test_tables_that_are_not_in_memory() -> None:
    pl, dataset = pytest.importorskip("polars"), pytest.importorskip("pyarrow.dataset")
    table = hugging_face()
    lazy = (pl.from_arrow(table.select(["label"])).lazy().with_columns(path=pl.lit("a.jpg")), table.to_reader())
    for source in (*lazy, dataset.dataset(table)):
        assert len(find_images(source)) == 20
        with pytest.raises(InputError, match=r"must be in memory, got \w+. Find its images: featx\.find_images"):
            EXTRACTOR.fit_transform(source)
    assert as_image_table(lazy[0], ["x"] * 20).labels == ["x"] * 20
    frame = pd.DataFrame({("a", "path"): ["1.jpg"]})
    with pytest.raises(SourceError, match=r"several levels of names of columns. Join them"):
        find_images(frame)


def test_lists_of_integers_are_tags(tmp_path: Path) -> None:
    table = pa.table({"path": ["1.jpg", "2.jpg"], "label": [[3, 11], [2]], "genre": [[0, 1, 1], [0, 0, 1]]})
    parquet.write_table(table, tmp_path / "t.parquet")
    table.to_pandas().to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    for source in (tmp_path / "t.parquet", tmp_path / "t.jsonl", table, table.to_pandas()):
        assert list(map(list, find_images(source).labels)) == [["11", "3"], ["2"]]
        with pytest.raises(SourceError, match=r"must name each tag, got \[0, 1, 1\], a row of a matrix of 0 and 1"):
            find_images(source, label_column="genre")


def test_integers_with_gaps_stay_integers() -> None:
    frame = pd.DataFrame({"path": list("abcd"), "label": [0, 1, None, 1], "patient": [7, 8, 8, None]})
    for table in (frame, pa.Table.from_pandas(frame), frame.convert_dtypes()):
        images = find_images(table, group_column="patient")
        assert list(map(repr, images.labels)) == ["0", "1", "None", "1"]
        assert images.groups == ["7", "8", "8", None]
    assert find_images(frame.assign(label=[0.5, 1, None, 1])).labels == [0.5, 1.0, None, 1.0]
    for y in (frame["label"], [0.0, 1.0, float("nan"), 1.0]):
        assert list(map(repr, as_image_table(list("abcd"), y).labels)) == ["0", "1", "None", "1"]
    assert validate_data(np.eye(4), frame["label"])[1].tolist() == [0, 1, 1]


def test_only_class_labels_have_names_of_classes() -> None:
    features = {"label": {"names": ["cat", "dog"], "_type": "Other"}, "kind": {"names": ["a"], "_type": "ClassLabel"}}
    table = pa.table({"path": ["1.jpg", "2.jpg"], "label": ["x", "y"], "kind": ["b", "c"]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    assert find_images(table).labels == ["x", "y"]
    assert find_images(table, label_column="kind").labels == ["b", "c"]
