from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, extract_images, merge_job, open_features, plan_job
from featx.cli import main as cli
from featx.datasets.find import find_images
from featx.errors import AuditError, FeaturesError, OptionError, OutputError, SourceError, UnreadableImageError
from featx.extraction.options import ExtractionOptions
from featx.extraction.writing.summary import ExtractionSummary
from featx.extraction.writing.table_to_file import extract_to_file
from featx.features.csv_table import failures_path, table_path
from featx.testing import CountingBackbone
from featx.testing.faults import Killed, killing, recording

pytestmark = pytest.mark.usefixtures("counting")


def extract(folder: Path, output: Path, **options: Any) -> ExtractionSummary:
    return extract_sources([folder], output, **options)


def extract_sources(sources: Sequence[str | Path], output: Path, **options: Any) -> ExtractionSummary:
    options.setdefault("cache", output.parent / "cache")
    resolved = ExtractionOptions(backbone="counting").resolve()
    return extract_to_file(find_images(sources), resolved, output, **options)


def lines(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def test_matrix_and_table(photo_folder: Path, in_folder: Path) -> None:
    summary = extract(photo_folder, in_folder / "features.npy")
    rows = np.load(in_folder / "features.npy", mmap_mode="r", allow_pickle=False)
    assert (rows.dtype, rows.shape) == (np.float32, (24, 12))
    table = lines(in_folder / "features.csv")
    assert list(table[0]) == ["row", "path", "label", "digest"]
    assert [int(line["row"]) for line in table] == list(range(24))
    assert table[0]["path"] == str(photo_folder / "china" / "00.jpg")
    assert table[0]["label"] == "china"
    assert (summary.rows, summary.features, summary.computed, summary.cached, summary.failed) == (24, 12, 24, 0, 0)
    assert sorted(os.listdir(in_folder)) == ["cache", "features.csv", "features.npy"]


def test_extract_images_writes_what_the_command_writes(photo_folder: Path, in_folder: Path) -> None:
    """Labels, image size and failures too."""
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    options = ["--backbone", "counting", "--image-size", "16", "-o", "command.npy", "--quiet"]
    assert cli.main(["extract", str(photo_folder), *options]) == 0
    summary = extract_images(photo_folder, "function.npy", backbone="counting", image_size=16)
    assert (summary.rows, summary.cached, summary.failed) == (23, 23, 1)
    for suffix in (".npy", ".csv", ".failures.csv"):
        assert Path(f"function{suffix}").read_bytes() == Path(f"command{suffix}").read_bytes()
    with pytest.raises(UnreadableImageError):
        extract_images(photo_folder, "function.npy", backbone="counting", on_error="raise")
    with pytest.raises(OptionError, match="on_error .* must be 'skip' or 'raise', got 'nan'"):
        extract_images(photo_folder, "function.npy", backbone="counting", on_error="nan")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="must be the name of a .npy or .parquet file"):
        extract_images(photo_folder, "features/", backbone="counting")


def test_unreadable_images_are_listed(photo_folder: Path, in_folder: Path) -> None:
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    (photo_folder / "flower" / "23.jpg").write_bytes(b"text")
    summary = extract(photo_folder, in_folder / "features.npy")
    rows = np.load(in_folder / "features.npy", allow_pickle=False)
    assert (len(rows), summary.rows, summary.failed) == (22, 22, 2)
    assert np.isfinite(rows).all()
    listed = lines(table_path(in_folder / "features.npy"))
    assert [Path(line["path"]).name for line in listed] == [f"{number:02}.jpg" for number in range(1, 23)]
    failures = lines(failures_path(in_folder / "features.npy"))
    assert [(Path(line["path"]).name, line["reason"][:17]) for line in failures] == [
        ("00.jpg", "the file is empty"),
        ("23.jpg", "the file is not a"),
    ]
    whole = extract(photo_folder / "china", in_folder / "china.npy")
    assert whole.cached == 11
    np.testing.assert_array_equal(np.load(in_folder / "china.npy"), rows[:11])


def test_old_table_of_failures_is_removed(photo_folder: Path, in_folder: Path) -> None:
    bad = photo_folder / "china" / "00.jpg"
    good = bad.read_bytes()
    bad.write_bytes(b"")
    extract(photo_folder, in_folder / "features.npy")
    bad.write_bytes(good)
    extract(photo_folder, in_folder / "features.npy")
    assert not failures_path(in_folder / "features.npy").exists()


@pytest.mark.parametrize("cached", [True, False])
def test_more_rows_than_one_block(cached: bool, photos: Any, tmp_path: Path) -> None:
    for number in range(60):
        path = tmp_path / "many" / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        photos[number % 24].crop((number, 0, number + 40, 40)).save(path)
    for number in (0, 13, 14, 59):
        (tmp_path / "many" / f"{number:03}.png").write_bytes(b"bad")
    cache = tmp_path / "cache" if cached else None
    extract(tmp_path / "many", tmp_path / "f.npy", cache=cache, audit_block_rows=7)
    rows = np.load(tmp_path / "f.npy")
    listed = lines(tmp_path / "f.csv")
    assert len(rows) == len(listed) == 56
    resolved = ExtractionOptions(backbone="counting").resolve()
    for line, row in zip(listed, rows, strict=True):
        alone = extract_to_file(find_images([line["path"]]), resolved, tmp_path / "one.npy", cache=None)
        assert alone.rows == 1
        np.testing.assert_array_equal(np.load(tmp_path / "one.npy")[0], row)


def test_unusual_file_names(photos: Any, tmp_path: Path) -> None:
    names = ["new\nline.png", 'quote", comma.png', "emoji 🦆.png", os.fsdecode(b"\xff\xfe.png"), "x" * 251 + ".png"]
    (tmp_path / "odd").mkdir()
    for name, photo in zip(names, photos, strict=False):
        photo.save(tmp_path / "odd" / name)
    extract(tmp_path / "odd", tmp_path / "f.npy")
    assert sorted(os.path.basename(line["path"]) for line in lines(tmp_path / "f.csv")) == sorted(names)


def test_cells_are_no_formulas(photos: Any, in_folder: Path) -> None:
    for number, name in enumerate(["=1+1", "@SUM(A1)", "+x", "-3", "plain"]):
        Path(name).mkdir()
        photos[number].save(f"{name}/a.png")
        Path(name, "broken.png").write_bytes(b"=cmd|' /C calc'!A0")
    extract(Path("."), Path("f.npy"))
    table = lines(in_folder / "f.csv")
    assert [line["label"] for line in table] == ["'+x", "-3", "'=1+1", "'@SUM(A1)", "plain"]
    assert all(Path(line["path"]).is_file() for line in table)
    extract_sources(["=1+1", "@SUM(A1)"], in_folder / "g.npy")
    for line in [*lines(in_folder / "g.csv"), *lines(in_folder / "g.failures.csv")]:
        assert line["path"].startswith(("./=", "./@"))
        assert Path(line["path"]).is_file()
    failures = lines(in_folder / "f.failures.csv")
    assert list(failures[0]) == ["position", "path", "error", "reason"]
    assert failures[0]["error"] == "UnknownFormatError"
    assert [int(line["position"]) for line in failures] == [1, 3, 5, 7, 9]


def test_on_error_raise_keeps_the_old_files(photo_folder: Path, in_folder: Path) -> None:
    extract(photo_folder, in_folder / "features.npy")
    before = {path: path.read_bytes() for path in in_folder.glob("features*")}
    (photo_folder / "china" / "05.jpg").write_bytes(b"")
    with pytest.raises(UnreadableImageError, match="05.jpg"):
        extract(photo_folder, in_folder / "features.npy", on_error="raise")
    assert {path: path.read_bytes() for path in in_folder.glob("*") if path.is_file()} == before


def test_no_readable_image(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match=r"Cannot read the image .*a\.jpg': the file is empty"):
        extract(tmp_path / "bad", tmp_path / "f.npy")
    assert not (tmp_path / "f.npy").exists()


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("absent/f.npy", "there is no folder .*absent.*Create it"),
        ("features.csv", r"must be the name of a \.npy or \.parquet file"),
        ("features", "must be the name of a"),
    ],
)
def test_invalid_output_is_rejected(
    output: str, remedy: str, photo_folder: Path, in_folder: Path, counting: CountingBackbone
) -> None:
    with pytest.raises((OptionError, OutputError), match=remedy):
        extract(photo_folder, in_folder / output)
    assert counting.n_images == 0


def test_only_extract_suggests_a_job_folder(
    photo_folder: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_job(photo_folder, "job", backbone="counting", sample=0, cache=None)
    for command in (["job", "merge", "job"], ["extract", str(photo_folder)]):
        assert cli.main([*command, "-o", "f"]) == 2
        err = capsys.readouterr().err
        assert "-o must be the name of a .npy or .parquet file, got 'f'. Pass for example -o features.npy." in err
        assert ("features/" in err) == (command[0] == "extract")


def test_audit_detects_swapped_rows(photo_folder: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featx.features import npy_writer as outputs

    keep = outputs.NpyWriter.keep

    def swap_two_rows(self: Any, kept: Any) -> None:
        self[[3, 4]] = np.array(self[[4, 3]])
        keep(self, kept)

    monkeypatch.setattr(outputs.NpyWriter, "keep", swap_two_rows)
    with pytest.raises(AuditError, match="does not belong to its image"):
        extract(photo_folder, in_folder / "features.npy")
    assert os.listdir(in_folder) == ["cache"]


def test_full_disk_keeps_cached_rows(photo_folder: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import resource, sys; from pathlib import Path; import featx.backbones.registry\n"
        "from featx.testing import CountingBackbone; featx.register_backbone(CountingBackbone())\n"
        "from tests.extraction.test_to_file import extract; from featx.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: extract(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except OutputError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(photo_folder), str(tmp_path / "f.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "Cannot write" in done.stdout
    assert "File too large" in done.stdout
    assert not list(tmp_path.glob(".*.tmp"))


def test_failed_rename_leaves_an_empty_table(photo_folder: Path, in_folder: Path) -> None:
    """The old matrix is then without rows of a table, and the command can be repeated."""
    extract(photo_folder / "china", in_folder / "features.npy")
    replace = os.replace

    def refuse_the_matrix(source: Any, target: Any) -> None:
        if str(target).endswith("features.npy"):
            raise OSError(5, "Input/output error")
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featx.system.files.atomic.os.replace", refuse_the_matrix)
        with pytest.raises(OutputError, match="Input/output error"):
            extract(photo_folder / "flower", in_folder / "features.npy")
    assert sorted(os.listdir(in_folder)) == ["cache", "features.csv", "features.npy"]
    with pytest.raises(FeaturesError, match="expected 12 lines, one for each row, got 0"):
        list(open_features(in_folder / "features.npy").paths)
    assert extract(photo_folder / "flower", in_folder / "features.npy").rows == 12
    assert len(open_features(in_folder / "features.npy").paths) == 12


@pytest.mark.parametrize("name", ["features.csv", "features.failures.csv"])
def test_user_table_is_not_replaced(name: str, photo_folder: Path, in_folder: Path) -> None:
    (in_folder / name).write_text("my,own,table\n")
    with pytest.raises(OutputError, match="was not written by featx. Move the file"):
        extract(photo_folder, in_folder / "features.npy")
    assert (in_folder / name).read_text() == "my,own,table\n"


def test_user_matrix_is_not_replaced(
    photo_folder: Path, in_folder: Path, counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor by the rows of a job; a matrix with its table beside it is one of featx."""
    np.save(in_folder / "mine.npy", np.arange(5))
    before = (in_folder / "mine.npy").read_bytes()
    with pytest.raises(OutputError, match=r"was not written by featx. Move the file, .*if its table 'mine.csv' is"):
        extract_images(photo_folder, "mine.npy", backbone="counting")
    assert counting.n_images == 0
    plan_job(photo_folder, "job", backbone="counting", sample=0, cache=None)
    with pytest.raises(OutputError, match="was not written by featx"):
        merge_job("job", "mine.npy")
    assert cli.main(["extract", str(photo_folder), "-o", "mine.npy", "--backbone", "counting"]) == 1
    assert "was not written by featx" in capsys.readouterr().err
    assert (in_folder / "mine.npy").read_bytes() == before
    assert not (in_folder / "mine.csv").exists()
    for _ in range(2):
        assert extract(photo_folder, in_folder / "features.npy").rows == 24


def _spoil(function: Any, change: Any) -> Any:
    def spoiled(path: Path, *args: Any) -> int:
        n_lines: int = function(path, *args)
        listed = path.read_text().splitlines(keepends=True)
        path.write_text("".join(change(listed)))
        return n_lines

    return spoiled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda listed: listed[:-1], "24 rows, 23 lines"),
        (lambda listed: [listed[0], *listed[2:], listed[1]], "row numbers from 0 on do not match"),
        (
            lambda listed: [listed[0], listed[1].replace(listed[1][-9:], "00000000\n"), *listed[2:]],
            "does not belong to its image",
        ),
    ],
    ids=["a line lost", "lines out of order", "another digest"],
)
def test_audit_detects_wrong_tables(
    change: Any, message: str, photo_folder: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.features import outputs

    monkeypatch.setattr(outputs, "write_table", _spoil(outputs.write_table, change))
    with pytest.raises(AuditError, match=message):
        extract(photo_folder, in_folder / "features.npy")


def test_audit_detects_nan_without_a_cache(
    photo_folder: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.features import npy_writer as outputs

    keep = outputs.NpyWriter.keep

    def spoil(self: Any, kept: Any) -> None:
        self[5] = np.nan
        keep(self, kept)

    monkeypatch.setattr(outputs.NpyWriter, "keep", spoil)
    with pytest.raises(AuditError, match="does not belong to its image"):
        extract(photo_folder, in_folder / "features.npy", cache=None)


def test_kill_while_the_new_output_is_synced_leaves_the_old_one(photo_folder: Path, in_folder: Path) -> None:
    output = in_folder / "features.npy"
    extract(photo_folder, output, cache=None)
    before = table_path(output).read_bytes()
    with recording() as calls:
        extract(photo_folder, output, cache=None)
    syncs = [index for index in range(calls.index("replace features.csv")) if calls[index].startswith("fsync")]
    assert len(syncs) == 3  # the matrix, its table, and the empty table in place of the old one
    for index in syncs:
        with pytest.raises(Killed), killing(index):
            extract(photo_folder, output, cache=None)
        assert table_path(output).read_bytes() == before


def test_leftovers_of_a_killed_run_are_removed(photo_folder: Path, in_folder: Path) -> None:
    import subprocess
    import sys

    code = (
        "import os; from pathlib import Path; from featx.system.files.atomic import atomic_write\n"
        "with atomic_write(Path('f.npy')) as t:\n"
    )
    code += "    t.write_text('half'); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(in_folder.glob(".featx-*.tmp"))) == 1
    extract(photo_folder, in_folder / "other.npy")
    assert not list(in_folder.glob(".featx-*.tmp"))


def test_backbone_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"must be a name, a path or a keras.Model, got FeatureExtractor. Pass for"):
        extract_images(tmp_path, tmp_path / "f.npy", backbone=FeatureExtractor("color_histogram"))
