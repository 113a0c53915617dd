"""Tables as competitions and other programs write them: where paths start, and how they are written."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import PIL.Image
import pytest

from featx.datasets.find import find_images
from featx.datasets.image_check.check import check_images
from featx.datasets.image_listing import ImageListing
from featx.datasets.source_options import SourceOptions
from featx.errors import FeatxError, OptionError, SourceError

IMAGES = ["beach0.jpg", "beach1.jpg", "forest0.jpg", "forest1.jpg"]
LABELS = ["beach", "beach", "forest", "forest"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images in the subfolder img."""
    (tmp_path / "img").mkdir()
    for name in IMAGES:
        (tmp_path / "img" / name).write_bytes(b"")
    return tmp_path


def write(path: Path, rows: list[str], header: str = "path,label", encoding: str = "utf-8") -> str:
    path.write_bytes("".join(f"{row}\n" for row in [header, *rows] if row).encode(encoding))
    return str(path)


def assert_same(source: str, folder: Path, labels: list[str] | None = None, **options: str) -> tuple[str, ...]:
    """Check paths and labels of a table, whole and in parts, and return its notes."""
    table = find_images(source, **options)
    assert table.paths == [str(folder / "img" / name) for name in IMAGES]
    assert table.labels == (LABELS if labels is None else labels)
    listing = ImageListing([source], SourceOptions(**options))
    images = list(listing.images(3))
    assert [image.path for image in images] == table.paths
    assert [image.label for image in images] == [str(label) for label in table.labels]
    return table.notes


def rows(form: str) -> list[str]:
    return [form.format(name=name, stem=name[:-4], label=label) for name, label in zip(IMAGES, LABELS, strict=True)]


@pytest.mark.parametrize(
    ("form", "note"),
    [
        ("img/{name},{label}", ""),
        ("img\\{name},{label}", ""),
        (" img/{name} , {label} ", ""),
        ("\"'img/{name}'\",{label}", ""),
        ("./img/../img/{name},{label}", "unchanged"),
        ("img/{stem},{label}", "'img/beach0' is read as"),
        ("{name},{label}", "'beach0.jpg' is read as"),
        ("{stem},{label}", "'beach0' is read as"),
        ("C:\\Users\\me\\img\\{name},{label}", "is read as"),
        ("/content/data/img/{name},{label}", "'/content/data/img/beach0.jpg' is read as"),
    ],
)
def test_paths_are_found_as_they_are_written(form: str, note: str, folder: Path) -> None:
    source = write(folder / "table.csv", rows(form))
    if note == "unchanged":
        assert [os.path.normpath(path) for path in find_images(source).paths] == [
            str(folder / "img" / name) for name in IMAGES
        ]
        return
    notes = assert_same(source, folder)
    assert note in " ".join(notes)
    assert bool(note) == bool(notes)


def test_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert_same(write(folder / "table.csv", rows("~/img/{name},{label}")), folder)


def test_root_and_template(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("tables") / "train.csv"
    source = write(elsewhere, rows("{stem},{label}"), "code,label")
    with pytest.raises(SourceError, match=r"No path column.*Pass path_column \(--path-column\)"):
        find_images(source)
    assert_same(source, folder, path_template="img/{code}.jpg", root=str(folder))
    assert_same(source, folder, path_template=f"{folder}/img/{{code}}.jpg")
    assert_same(source, folder, path_column="code", root=str(folder / "img"))
    frame = pd.read_csv(source)
    assert find_images(frame, path_template="img/{code}.jpg", root=folder).paths[0] == str(folder / "img/beach0.jpg")


def test_template_of_several_columns(folder: Path) -> None:
    source = write(folder / "table.csv", rows("img,{stem},{label}"), "part,id,label")
    assert_same(source, folder, path_template="{part}/{id}.jpg")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path_template": "img/{cod}.jpg"}, r"must name columns of .* in braces, got \{cod\}\. Did you mean 'code'\?"),
        ({"path_template": "img/1.jpg"}, "must contain the name of a column in braces"),
        ({"path_template": "img/{code.x}.jpg"}, "must contain the name of a column in braces"),
        ({"path_template": "img/{.jpg"}, "must contain the name of a column in braces"),
        ({"path_template": "{code}", "path_column": "code"}, "cannot be combined. Remove one"),
    ],
)
def test_invalid_templates(options: dict[str, str], words: str, folder: Path) -> None:
    source = write(folder / "table.csv", rows("{stem},{label}"), "code,label")
    with pytest.raises((OptionError, SourceError), match=words):
        find_images(source, **options)


def test_options_of_tables_need_a_table(folder: Path) -> None:
    for options in ({"root": "img"}, {"path_template": "{id}.jpg"}):
        with pytest.raises(OptionError, match="is not a table"):
            find_images(folder, **options)


@pytest.mark.parametrize("column", ["id", "image_id", "Id", "id_code", "image_name"])
def test_ids_are_paths_if_the_files_exist(column: str, folder: Path) -> None:
    source = write(folder / "train.csv", rows("{stem},{label}"), f"{column},label")
    assert f"are in the column '{column}'" in assert_same(source, folder)[0]
    numbers = write(folder / "other.csv", ["1,a", "2,b"], f"{column},label")
    with pytest.raises(SourceError, match="No path column"):
        find_images(numbers)


def test_urls_are_paths(tmp_path: Path) -> None:
    source = write(tmp_path / "table.csv", ["https://example.org/1.jpg,a"], "url,label")
    assert find_images(source).paths == ["https://example.org/1.jpg"]


def test_images_in_two_folders_are_a_question(folder: Path) -> None:
    (folder / "small").mkdir()
    (folder / "small" / IMAGES[0]).write_bytes(b"")
    source = write(folder / "table.csv", rows("{name},{label}"))
    with pytest.raises(SourceError, match=r"exists in '.*img' and '.*small'\. Pass one of them as root \(--root\)"):
        find_images(source)
    assert_same(source, folder, root=str(folder / "img"))


def test_images_in_an_archive(folder: Path) -> None:
    import zipfile

    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        for name in IMAGES:
            archive.writestr(f"train/{name}", b"")
    source = write(folder / "table.csv", rows("{stem},{label}"), "id,label")
    table = find_images(source, root=str(folder / "train.zip"), path_template="train/{id}.jpg")
    assert table.paths == [f"{folder}/train.zip/train/{name}" for name in IMAGES]


def _gzip(folder: Path) -> str:
    (folder / "a.csv.gz").write_bytes(gzip.compress("\n".join(["path,label", *rows("img/{name},{label}")]).encode()))
    return str(folder / "a.csv.gz")


def _json_lines(folder: Path) -> str:
    lines = [
        json.dumps({"file_name": f"img/{name}", "label": label}) for name, label in zip(IMAGES, LABELS, strict=True)
    ]
    return write(folder / "a.jsonl", lines, header="")


def _excel(folder: Path) -> str:
    pytest.importorskip("openpyxl")
    pd.DataFrame({"path": [f"img/{name}" for name in IMAGES], "label": LABELS}).to_excel(folder / "a.xlsx", index=False)
    return str(folder / "a.xlsx")


def _feather(folder: Path) -> str:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"path": [f"img/{name}" for name in IMAGES], "label": LABELS}).to_feather(folder / "a.feather")
    return str(folder / "a.feather")


def _list(folder: Path) -> str:
    return write(folder / "val.txt", rows("img/{name} {label}"), header="")


def _list_of_ids(folder: Path) -> str:
    return write(folder / "val.txt", rows("img/{stem}\t{label}"), header="")


def _list_with_names(folder: Path) -> str:
    return write(folder / "val.txt", rows("img/{name} {label}"), header="image label")


def _without_names(folder: Path) -> str:
    return write(folder / "a.csv", rows("img/{name},{label}"), header="")


def _labels_first(folder: Path) -> str:
    return write(folder / "a.csv", rows("{label},img/{name}"), header="")


def _semicolons(folder: Path) -> str:
    return write(folder / "a.csv", rows("img/{name};{label}"), header="path;label, kind")


def _utf16(folder: Path) -> str:
    return write(folder / "a.tsv", rows("img/{name}\t{label}"), header="path\tlabel", encoding="utf-16")


@pytest.mark.parametrize(
    "make",
    [
        _gzip,
        _json_lines,
        _excel,
        _feather,
        _list,
        _list_of_ids,
        _list_with_names,
        _without_names,
        _labels_first,
        _semicolons,
        _utf16,
    ],
)
def test_formats(make: Callable[[Path], str], folder: Path) -> None:
    options = {"label_column": "label, kind"} if make is _semicolons else {}
    notes = assert_same(make(folder), folder, **options)
    has_names = make not in (_list, _list_of_ids, _without_names, _labels_first)
    assert has_names or "has no header row" in notes[0]


def test_labels_of_several_words_in_a_list(tmp_path: Path) -> None:
    for name in ("1.png", "my photo.png"):
        (tmp_path / name).write_bytes(b"")
    table = find_images(write(tmp_path / "val.txt", ["1.png red car", "my photo.png sea"], header=""))
    assert table.labels == ["red car", "sea"]
    assert [Path(path).name for path in table.paths] == ["1.png", "my photo.png"]
    numbers = write(tmp_path / "numbers.txt", ["1.png 0 1", "my photo.png 1 1"], header="")
    assert "'column 2', 'column 3'" in find_images(numbers).no_labels_reason
    assert find_images(numbers, label_column=["column 2", "column 3"]).labels[1].names == ("column 2", "column 3")


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl"])
def test_empty_tables(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("\n")
    with pytest.raises(SourceError, match="No columns to parse|it has no columns"):
        find_images(tmp_path / name)


def test_list_of_paths_with_blanks(tmp_path: Path) -> None:
    (tmp_path / "my beach.jpg").write_bytes(b"")
    source = write(tmp_path / "all.txt", ["my beach.jpg"], header="")
    assert find_images(source).paths == [str(tmp_path / "my beach.jpg")]
    source = write(tmp_path / "labels.txt", ["my beach.jpg 3"], header="")
    assert (find_images(source).paths, find_images(source).labels) == ([str(tmp_path / "my beach.jpg")], [3])


@pytest.mark.parametrize("bad", ["[1, 2]", "{"])
def test_invalid_json_lines(bad: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", ['{"path": "a.jpg"}', bad], header="")
    with pytest.raises(SourceError, match="Cannot read table .*a.jsonl"):
        find_images(source)


def test_latin_1(folder: Path) -> None:
    (folder / "img" / "caf\u00e9.jpg").write_bytes(b"")
    source = write(folder / "a.csv", ["img/caf\u00e9.jpg,plag\u00e9", "img/beach0.jpg,for\u00eat"], encoding="latin-1")
    table = find_images(source)
    assert table.labels == ["plag\u00e9", "for\u00eat"]
    assert table.paths[0] == str(folder / "img" / "caf\u00e9.jpg")
    assert "is not UTF-8" in table.notes[0]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"latin\xe9.jpg")
    (tmp_path / name).write_bytes(b"")
    (tmp_path / "table.csv").write_bytes(b"row,path,label\n0,latin\xe9.jpg,a\n")
    assert find_images(tmp_path / "table.csv").paths == [str(tmp_path / name)]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_in_a_folder(name: str, folder: Path) -> None:
    if name.endswith(".csv"):
        write(folder / name, rows("img/{name},{label}"), "file_name,label")
    else:
        os.rename(_json_lines(folder), folder / name)
    table = find_images(folder)
    assert table.labels == LABELS
    assert f"Labels are read from '{folder / name}'" in table.notes[0]
    assert find_images(folder, class_level=1).labels == ["img"] * 4


def test_metadata_without_labels_is_ignored(folder: Path) -> None:
    (folder / "forest").mkdir()
    os.rename(folder / "img" / IMAGES[2], folder / "forest" / IMAGES[2])
    write(folder / "metadata.csv", ["img/beach0.jpg,3"], "file_name,width")
    assert set(find_images(folder).labels) == {"img", "forest"}


def test_no_message_is_long(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", ["x" * 100_000], header="y" * 100_000)
    with pytest.raises(FeatxError) as caught:
        find_images(source)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_encoding_of_a_table(kind: str, tmp_path: Path) -> None:
    text = {
        "csv": "path,label\na.jpg,кошка\n",
        "jsonl": '{"path": "a.jpg", "label": "кошка"}\n',
        "txt": "a.jpg кошка\n",
    }[kind]
    (tmp_path / "a.jpg").write_bytes(b"")
    table = tmp_path / f"list.{kind}"
    table.write_text(text, encoding="cp1251")
    assert find_images(table).labels == ["êîøêà"]  # noted as Latin-1
    assert find_images(table, encoding="windows-1251").labels == ["кошка"]
    with pytest.raises(SourceError, match=r"is not in encoding \(--encoding\) 'ascii'"):
        find_images(table, encoding="ascii")
    for unknown in ("cp99", "base64"):
        with pytest.raises(OptionError, match=rf"must be a text encoding.*got '{unknown}'"):
            find_images(table, encoding=unknown)


def test_urls_beside_local_paths(folder: Path, server: str) -> None:
    """The web has half of the images. Suffixes of paths on the disk are completed, and those of URLs are not."""
    written = [f"{server}/photo", "img/beach1", f"{server}/photo?size=2", "img/forest1"]
    source = write(folder / "t.csv", [f"{path},{label}" for path, label in zip(written, LABELS, strict=True)])
    table = find_images(source)
    expected = [written[0], str(folder / "img/beach1.jpg"), written[2], str(folder / "img/forest1.jpg")]
    assert (table.paths, table.labels) == (expected, LABELS)
    for name in ("beach1", "forest1"):
        PIL.Image.new("RGB", (8, 8), "blue").save(folder / "img" / f"{name}.jpg")
    assert check_images(table).unreadable == []
    rows_of_urls = [f"{path},{label}" for path, label in zip(written, LABELS, strict=True)]
    source = write(folder / "urls.csv", rows_of_urls, header="url,y")
    assert find_images(source, root=str(folder)).paths == expected
    assert find_images(source).notes[0] == f"Paths of {source!r} are in the column 'url'."


def test_sheets_of_excel_files(folder: Path) -> None:
    pytest.importorskip("openpyxl")
    rows_of_images = pd.DataFrame({"Path": [f"img/{name}" for name in IMAGES], "label": LABELS})
    with pd.ExcelWriter(folder / "a.xlsx") as file:
        pd.DataFrame({"about": ["hello"]}).to_excel(file, sheet_name="Readme", index=False)
        rows_of_images.to_excel(file, sheet_name="Train", index=False)
        rows_of_images[:2].to_excel(file, sheet_name="Test", index=False)
    source = str(folder / "a.xlsx")
    assert assert_same(source, folder) == (
        f"{source!r}: the sheet 'Train' is read, and 'Readme', 'Test' not. Save another sheet as CSV to read it.",
    )


def test_tables_of_other_kinds_name_their_conversion(folder: Path) -> None:
    records = [{"path": f"img/{name}", "label": label} for name, label in zip(IMAGES, LABELS, strict=True)]
    (folder / "t.json").write_text(json.dumps(records))
    with pytest.raises(SourceError, match="Convert a list of records to CSV: ") as caught:
        find_images(str(folder / "t.json"))
    exec(str(caught.value).partition("to CSV: ")[2].rstrip("."), {"pandas": pd})
    assert_same(str(folder / "t.csv"), folder)


def test_several_columns_of_labels(folder: Path) -> None:
    written = [f"img/{name},{name[0]},{label}" for name, label in zip(IMAGES, LABELS, strict=True)]
    source = write(folder / "t.csv", written, "path,y,label")
    (note,) = assert_same(source, folder)
    assert note.startswith(f"Labels of {source!r} are in the column 'label', not in 'y'. Pass another as label_column")
    assert find_images(source, label_column="y").notes == ()
    assert find_images(pd.read_csv(source)).notes[0].startswith("Labels of 'DataFrame' are in the column 'label', not")


def test_templates_pad_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [1.0, 22.0], "label": ["x", "y"]})
    frame.astype({"id": int}).to_csv(tmp_path / "t.csv", index=False)
    for source, folder in ((frame, ""), (tmp_path / "t.csv", f"{tmp_path}/")):
        paths = find_images(source, path_template="{label}/{id:04}.png").paths
        assert paths == [f"{folder}x/0001.png", f"{folder}y/0022.png"]
    assert find_images(frame, path_template="{id}.png").paths == ["1.png", "22.png"]
    with pytest.raises(OptionError, match=r"must fit the values of 'DataFrame', got '\{label:04d\}' for 'x'"):
        find_images(frame, path_template="{label:04d}")
