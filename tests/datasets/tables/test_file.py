from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featx.datasets.find import find_images
from featx.datasets.image_listing import ImageListing
from featx.datasets.image_table import ImageTable
from featx.datasets.tables.file import read_batches
from featx.errors import OptionError, SourceError, SourceNotFoundError
from featx.workflows.labeled_images import prepare_table


@pytest.fixture
def frame(paths: list[str], labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"file": paths, "label": labels, "part": ["train"] * 18 + ["test"] * 6, "site": list("abcd") * 6}
    )


def _write(frame: pd.DataFrame, path: Path) -> str:
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return str(path)


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table.parquet", "TABLE.CSV"])
def test_table_formats(name: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    table = find_images([_write(frame, tmp_path / name)], split_column="part", group_column="site")
    assert table.paths == frame["file"].tolist()
    assert table.labels == frame["label"].tolist()
    assert table.splits == frame["part"].tolist()
    assert table.groups == frame["site"].tolist()


def test_columns_separated_by_semicolons(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_csv(tmp_path / "table.csv", index=False, sep=";")
    assert len(find_images([tmp_path / "table.csv"])) == 24


def test_column_names(frame: pd.DataFrame, tmp_path: Path) -> None:
    source = _write(frame.rename(columns={"file": "Photo", "label": "kind"}), tmp_path / "table.csv")
    table = find_images(source, label_column="kind")
    assert table.labels == frame["label"].tolist()
    assert find_images(source).labels == [None] * 24
    with pytest.raises(SourceError, match=r"no column 'kinds' for the label\. Did you mean 'kind'\?"):
        find_images(source, label_column="kinds")
    other = _write(frame.rename(columns={"file": "x"}), tmp_path / "other.csv")
    with pytest.raises(
        SourceError, match="it has the columns 'x', 'label', 'part', 'site'.* Pass path_column='x' .--path-column x"
    ):
        find_images(other)


def test_relative_paths_start_at_the_table_or_working_directory(
    frame: pd.DataFrame, photo_folder: Path, in_folder: Path
) -> None:
    relative = frame.assign(file=[str(Path(path).relative_to(photo_folder)) for path in frame["file"]])
    source = _write(relative, photo_folder / "table.csv")
    assert find_images(source).paths == frame["file"].tolist()
    (in_folder / "photos").symlink_to(photo_folder)
    from_here = frame.assign(file=["photos/" + path for path in relative["file"]])
    source = _write(from_here, photo_folder / "table.csv")
    assert find_images(source).paths == from_here["file"].tolist()


def test_labels_are_text_unless_all_are_numbers(frame: pd.DataFrame, tmp_path: Path) -> None:
    codes = _write(frame.assign(label=["007", "NA"] * 12), tmp_path / "codes.csv")
    assert find_images(codes).labels == ["007", "NA"] * 12
    heights = _write(frame.assign(label=[f"{row / 2}" for row in range(23)] + [None]), tmp_path / "heights.csv")
    assert find_images(heights).labels == [row / 2 for row in range(23)] + [None]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["0", "12", "-3", None], [0, 12, -3, None]),
        (["true", "false", None], [True, False, None]),
        (["TRUE", "FALSE"], [True, False]),
        (["True", "no"], ["True", "no"]),
        (["0", "007"], ["0", "007"]),
        (["1", "9" * 30], ["1", "9" * 30]),
        (["1.0", "2.0"], [1, 2]),
    ],
    ids=str,
)
def test_integers_and_booleans_keep_their_type(written: list[Any], expected: list[Any], tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": [f"{index}.jpg" for index in range(len(written))], "label": written})
    for name in ("table.csv", "table.parquet"):
        labels = find_images([_write(frame, tmp_path / name)]).labels
        assert labels == expected
        assert [type(label) for label in labels] == [type(label) for label in expected]
    if all(label is not None for label in expected):
        labels = find_images([_write(frame.assign(label=expected), tmp_path / "typed.parquet")]).labels
        assert labels == expected


def test_numeric_labels_are_text_beside_folder_names() -> None:
    named, numbered = ImageTable(["a", "b"], ["0", "1"]), ImageTable(["c", "d"], [1, 0])
    assert prepare_table(named, numbered, []).labels == ["0", "1", "1", "0"]
    others = ImageTable(["e", "f"], [1, 0])
    assert prepare_table(numbered, others, []).labels == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Cannot read table.*Fix the file"),
        (b"file,label\n", "lists no images"),
        (b"file,label\n,a\nb.jpg,b\n", "missing in 1 of 2 rows, first in row 0"),
        (b'file,label\n"a.jpg,b', "Cannot read table"),
        (b"\xff\xfe\x00\x01", "Cannot read table|No path column"),
    ],
    ids=str,
)
def test_invalid_tables(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(SourceError, match=words):
        find_images([tmp_path / "table.csv"])


def test_invalid_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "table.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceError, match="Cannot read table"):
        find_images([tmp_path / "table.parquet"])


def test_table_is_the_only_source_and_columns_need_a_table(
    frame: pd.DataFrame, tmp_path: Path, photo_folder: Path
) -> None:
    source = _write(frame, tmp_path / "table.csv")
    with pytest.raises(SourceError, match="A table must be the only source"):
        find_images([source, photo_folder])
    with pytest.raises(
        OptionError, match=r"group_column \(--group-column\) names the column 'site', but .* is not a table"
    ):
        find_images(photo_folder, group_column="site")
    with pytest.raises(OptionError, match=r"names the columns 'red', 'blue', but .* is not a table"):
        find_images(photo_folder, label_column=["red", "blue"])


def test_numbers_with_decimal_commas_and_text_among_them(frame: pd.DataFrame, tmp_path: Path) -> None:
    values = [f"{row / 2:.1f}".replace(".", ",") for row in range(24)]
    frame.assign(label=values).to_csv(tmp_path / "table.csv", index=False, sep=";")
    assert find_images([tmp_path / "table.csv"]).labels == [row / 2 for row in range(24)]
    mixed = _write(frame.assign(label=[*values[:-1], "unknown"]), tmp_path / "mixed.csv")
    with pytest.raises(
        SourceError, match="mix numbers and text, for example '0,0' and 'unknown'.*Leave the cell empty"
    ):
        find_images(mixed)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="No such folder or file"):
        find_images([tmp_path / "absent.csv"], label_column="label")


@pytest.mark.parametrize("parts", [["train", "tset"], ["train", "train"]])
def test_invalid_splits(parts: list[str], frame: pd.DataFrame, tmp_path: Path) -> None:
    source = _write(frame.assign(part=parts * 12), tmp_path / "table.csv")
    with pytest.raises(SourceError, match="got 'tset'|got no test images"):
        find_images(source, split_column="part")


def test_notes_on_labels_and_groups(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("path,label,site\na.jpg,1,x\nb.jpg, agricultural ,\nc.jpg,agricultural,\n")
    table = find_images(file, group_column="site")
    assert table.labels == ["1", "agricultural", "agricultural"]
    assert table.notes == (
        "Labels mix numbers and text ('1', 'agricultural'): all of them are class names.",
        "2 images without a group: each is a group of its own.",
    )


def test_utf_16_table(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("path\tlabel\né.jpg\tä\n", encoding="utf-16")
    assert find_images(file).labels == ["ä"]


def test_infinite_target_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("path,label\na.jpg,0.5\nb.jpg,inf\nc.jpg,0.25\n")
    with pytest.raises(SourceError, match="must be finite numbers, got 'inf'"):
        find_images(file)


def test_batches_of_a_table_need_little_memory(tmp_path: Path) -> None:
    n_rows = 300_000
    digits = os.urandom(16 * n_rows).hex()
    paths = [digits[32 * index : 32 * index + 32] for index in range(n_rows)]
    table = pa.table({"path": paths, "image": [b"jpeg"] * n_rows, "boxes": [[1]] * n_rows, "label": ["a"] * n_rows})
    pq.write_table(table, tmp_path / "list.parquet", row_group_size=n_rows, use_dictionary=False)
    del table
    before, n_seen = pa.total_allocated_bytes(), 0
    for frame in read_batches(str(tmp_path / "list.parquet"), 10_000):
        assert list(frame.columns) == ["path", "label", "image"]
        assert frame["image"].iloc[0].endswith(f"list.parquet#{n_seen}")  # images themselves would fill the memory
        assert pa.total_allocated_bytes() - before < 8e6  # and the paths take 10 MB
        n_seen += len(frame)
    assert n_seen == n_rows


def test_groups_with_blanks_around_them_are_one_group(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("path,site\na.jpg,P1\nb.jpg,P1 \nc.jpg,p1\nd.jpg,nan\n")
    table = find_images(file, group_column="site")
    assert table.groups == ["P1", "P1", "p1", None]
    assert [note.partition(":")[0] for note in table.notes] == [
        "Groups with similar names are different groups",
        "1 image without a group",
    ]


@pytest.mark.parametrize("n_rows", [None, 1])
def test_surplus_cells_are_an_error(tmp_path: Path, n_rows: int | None) -> None:
    file = tmp_path / "t.csv"
    file.write_text("path,value\na.jpg,1,234\nb.jpg,2,345\n")
    with pytest.raises(SourceError, match="more cells than there are names of columns. Put text"):
        list(read_batches(str(file), n_rows))
    file.write_text('path,value\na.jpg,"1,234"\nb.jpg,"2,345"\n')  # the remedy
    assert find_images(file).paths == [f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"]
    file.write_text("path,label\na.jpg,cat,\nb.jpg,dog,\n")  # a comma at the end is no cell
    assert find_images(file).labels == ["cat", "dog"]


def test_a_folder_is_no_image_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "other" / "a").mkdir(parents=True)
    (tmp_path / "t.csv").write_text("path,label\na,cat\n")
    assert find_images(tmp_path / "t.csv").notes == ()


def test_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,label\na.jpg,cat,1\n")
    for n_rows in (None, 1):
        with pytest.raises(SourceError, match="has several columns 'label'. Rename all but one"):
            list(ImageListing([str(tmp_path / "t.csv")]).images(n_rows))


def test_nested_cells(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": {"path": "a.jpg"}, "label": 1, "kind": {"x": 1}}\n')
    assert find_images(tmp_path / "t.jsonl").paths == [str(tmp_path / "a.jpg")]
    with pytest.raises(SourceError, match=r"The column 'kind' must hold text, numbers or lists, got \{'x': 1\}"):
        find_images(tmp_path / "t.jsonl", label_column="kind")


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_first_line_for_spreadsheets_is_skipped(first: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{first}\npath;label\na.jpg;x,y\nb.jpg;z\n")
    assert find_images(tmp_path / "t.csv").labels == ["x,y", "z"]
    (tmp_path / "t.csv").write_text(f"{first}\na.jpg;x\n")
    assert find_images(tmp_path / "t.csv").labels == ["x"]


def test_several_columns_of_paths_or_labels_are_noted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,image,label,Label\na.jpg,b.jpg,x,y\n")
    notes = find_images(tmp_path / "t.csv").notes
    assert any("are in the column 'path', not in 'image'" in note for note in notes)
    assert any("are in the column 'label', not in 'Label'" in note for note in notes)
    assert find_images(tmp_path / "t.csv", path_column="image", label_column="Label").notes == ()
