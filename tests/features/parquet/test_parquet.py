"""Features in one Parquet file: written by extraction, merging and FeatureMatrix, and read like any other features."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featx import (
    compare_features,
    extract_images,
    find_duplicates,
    merge_job,
    open_features,
    plan_job,
    run_job,
    similar_images,
)
from featx.cli import main as cli
from featx.errors import AuditError, FeaturesError, OutputError
from featx.features.open import is_features
from featx.features.parquet import schema
from featx.features.parquet.writer import write_parquet
from featx.features.table_rows import TableRow
from tests.jobs.job_samples import make_job

pytestmark = pytest.mark.usefixtures("counting")

N_ROWS, N_FEATURES = 30, 5


@pytest.fixture
def rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)


def write(
    path: Path, rows: np.ndarray[Any, Any], labels: list[Any] | None = None, paths: list[str] | None = None
) -> Path:
    paths = paths or [f"{row}.jpg" for row in range(len(rows))]
    labels = labels or ["ab"[row % 2] for row in range(len(rows))]
    lines = list(map(TableRow, paths, labels, [f"{row:032x}" for row in range(len(rows))]))
    write_parquet(path, lambda start, stop: rows[start:stop], rows.shape, lambda: lines, {})
    return path


def test_urls_are_written_without_secrets(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    path = write(tmp_path / "f.parquet", rows[:2], paths=["https://me:word@host/1.jpg?sig=abc", "2.jpg"])
    assert pq.read_table(path)["path"].to_pylist() == ["https://…@host/1.jpg?sig=…", "2.jpg"]


def test_extraction_writes_the_rows_of_the_npy_file_with_path_label_and_digest(
    photo_folder: Path, in_folder: Path
) -> None:
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    assert cli.main(["extract", str(photo_folder), "--backbone", "counting", "-o", "f.parquet", "--quiet"]) == 0
    summary = extract_images(photo_folder, "f.npy", backbone="counting")
    assert sorted(os.listdir()) == ["f.csv", "f.failures.csv", "f.npy", "f.parquet", "f.parquet.failures.csv"]
    assert Path("f.parquet.failures.csv").read_bytes() == Path("f.failures.csv").read_bytes()
    table = pq.read_table("f.parquet")
    assert table.schema.names == ["path", "label", "digest", "features"]
    assert table.schema.field("features").type == pa.list_(pa.field("element", pa.float32(), nullable=False), 12)
    expected, features = open_features("f.npy"), open_features("f.parquet")
    assert features.shape == expected.shape == (summary.rows, 12)
    np.testing.assert_array_equal(features.to_numpy(), expected.to_numpy())
    assert features.metadata(slice(None)) == expected.metadata(slice(None))
    assert [failure.image for failure in features.failures] == [failure.image for failure in expected.failures]
    assert features.recipe is not None
    assert features.recipe["backbone"] == "counting"
    # Queries are extracted with the recipe of the file, without a cache.
    (result,) = similar_images("f.parquet", [photo_folder / "china" / "01.jpg"], top=1, include_self=True, cache=None)
    assert [match.path for match in result.matches] == [str(photo_folder / "china" / "01.jpg")]


def test_everything_that_takes_stored_features_takes_a_parquet_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(60, 4)) + 3 * (np.arange(60) % 2)[:, None]).astype(np.float32)
    rows[7] = rows[5]
    path = write(tmp_path / "f.parquet", rows)
    np.save(tmp_path / "f.npy", rows)
    assert find_duplicates(path, duplicate_threshold=1.0).n_rows == 2
    scores = [
        compare_features(source, [*"ab"] * 30, estimators=["logreg"], diagnostics=False).table["accuracy_mean"].item()
        for source in (path, tmp_path / "f.npy")
    ]
    assert scores[0] == scores[1] > 0.9
    assert cli.main(["compare", str(path), "--estimator", "lda", "--quiet"]) == 0
    assert cli.main(["duplicates", str(path), "--quiet"]) == 0
    assert "5.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("group_bytes", [1, 7 * 4 * N_FEATURES, 2**20])
def test_rows_of_several_row_groups(
    tmp_path: Path, rows: np.ndarray[Any, Any], group_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_GROUP_BYTES", group_bytes)
    labels = [None, *range(N_ROWS - 1)]
    features = open_features(write(tmp_path / "f.parquet", rows, labels))
    assert pq.read_metadata(tmp_path / "f.parquet").num_row_groups == -(
        -N_ROWS // max(1, group_bytes // 4 // N_FEATURES)
    )
    for key in (0, -1, slice(3, 23), slice(9, 2), [29, 0, 8, 8], np.arange(N_ROWS) % 3 == 0, (slice(2, 9), [1, 0]), []):
        np.testing.assert_array_equal(features[key], rows[key])
    np.testing.assert_array_equal(np.concatenate(list(features.blocks(4))), rows)
    assert features.labels[[2, 0, 29]].tolist()[::2] == [1.0, 28.0]
    assert features.metadata([0, 2])["label"] == [None, 1]
    assert features.digests[3] == f"{3:032x}"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features))[5:9], rows[5:9])


@pytest.mark.parametrize(
    ("labels", "arrow_type"),
    [
        (["a", None, "é"], pa.string()),
        ([1, None, 2], pa.int64()),
        ([0.5, None, 2], pa.float64()),
        ([True, None, False], pa.bool_()),
        (["x", 1, None], pa.string()),
        ([None, None, None], pa.null()),
    ],
)
def test_types_of_labels(tmp_path: Path, rows: np.ndarray[Any, Any], labels: list[Any], arrow_type: Any) -> None:
    path = write(tmp_path / "f.parquet", rows[:3], labels)
    assert pq.read_schema(path).field("label").type == arrow_type
    expected = ["x", "1", None] if labels[0] == "x" else labels
    assert open_features(path).metadata(slice(None))["label"] == expected


def test_paths_that_are_not_utf8(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    names = ["a.jpg", os.fsdecode(b"\xff.jpg"), "ü.jpg"]
    path = write(tmp_path / "f.parquet", rows[:3], paths=names)
    assert open_features(path).paths[:].tolist() == names
    assert pq.read_table(path)["path"].to_pylist() == ["a.jpg", "\\udcff.jpg", "ü.jpg"]


def test_a_job_becomes_a_parquet_file(tmp_path: Path, photo_folder: Path) -> None:
    (photo_folder / "flower" / "03.jpg").write_bytes(b"no image")
    plan_job(photo_folder, tmp_path / "job", backbone="counting", shard_size=10, sample=0, cache=None)
    run_job(tmp_path / "job", cache=None)
    job = open_features(tmp_path / "job")
    job.to_parquet(tmp_path / "converted.parquet")
    merged = merge_job(tmp_path / "job", tmp_path / "merged.parquet")
    assert merged.as_text().splitlines()[0].endswith("merged.parquet, with paths and labels")
    for name in ("converted", "merged"):
        features = open_features(tmp_path / f"{name}.parquet")
        np.testing.assert_array_equal(features.to_numpy(), job.to_numpy())
        assert features.metadata(slice(None)) == job.metadata(slice(None))
        assert (features.recipe, features.options, features.folder) == (job.recipe, job.options, job.folder)
    assert open_features(tmp_path / "merged.parquet").n_failed == 1


def test_libraries_that_read_arrow_read_a_matrix(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    labels = ["ab"[row % 2] for row in range(N_ROWS)]
    make_job(tmp_path / "job", rows, labels=labels)
    features = open_features(tmp_path / "job")
    table, frame = pa.table(features), pl.DataFrame(features)
    np.testing.assert_array_equal(table["features"].combine_chunks().flatten().to_numpy().reshape(N_ROWS, -1), rows)
    assert table["label"].to_pylist() == frame["label"].to_list() == labels
    assert frame.schema["features"] == pl.Array(pl.Float32, N_FEATURES)
    assert pa.RecordBatchReader.from_stream(features).schema.names == ["path", "label", "digest", "features"]


def test_what_another_program_wrote_from_the_file_is_read(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    frame = pl.read_parquet(write(tmp_path / "f.parquet", rows))
    frame.filter(pl.col("label") == "b").write_parquet(tmp_path / "polars.parquet")
    features = open_features(tmp_path / "polars.parquet")
    np.testing.assert_array_equal(features.to_numpy(), rows[1::2])
    assert features.recipe is None
    lists = pa.table({"path": ["a", "b"], "features": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64()))})
    pq.write_table(lists, tmp_path / "lists.parquet")
    features = open_features(tmp_path / "lists.parquet")
    assert features.to_numpy().tolist() == [[1, 2], [3, 4]]
    assert features.metadata(slice(None)) == {"path": ["a", "b"], "label": [None, None], "digest": ["", ""]}


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2)], ids=["lists", "fixed lists"])
def test_row_groups_without_rows(tmp_path: Path, kind: Any) -> None:
    table = pa.table({"path": ["a", "b"], "features": pa.array([[1.0, 2.0], [3.0, 4.0]], kind)})
    with pq.ParquetWriter(tmp_path / "f.parquet", table.schema) as file:
        for part in (table[:0], table, table[:0]):
            file.write_table(part)
    features = open_features(tmp_path / "f.parquet")
    assert features.to_numpy().tolist() == [[1, 2], [3, 4]]
    assert features[2:].shape == (0, 2)


def test_files_that_are_no_features(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    pq.write_table(pa.table({"path": ["a.jpg"], "label": ["a"]}), tmp_path / "images.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    unequal = pa.table({"path": ["a", "b", "c"], "features": [[1.0, 2.0], [3.0], [4.0]]})
    pq.write_table(unequal, tmp_path / "unequal.parquet")
    assert not is_features(str(tmp_path / "images.parquet"))
    assert not is_features(str(tmp_path / "absent.parquet"))
    assert not is_features(str(tmp_path / "text.parquet"))
    with pytest.raises(FeaturesError, match=r"expected the columns path \(text\) and features \(lists of floats\)"):
        open_features(tmp_path / "images.parquet")
    with pytest.raises(FeaturesError, match="Cannot read features from .*text.parquet"):
        open_features(tmp_path / "text.parquet")
    with pytest.raises(FeaturesError, match="does not exist"):
        open_features(tmp_path / "absent.parquet")
    with pytest.raises(FeaturesError, match="not all rows have features of equal length"):
        open_features(tmp_path / "unequal.parquet")
    newer = pq.read_table(write(tmp_path / "f.parquet", rows))
    pq.write_table(newer.replace_schema_metadata({schema.METADATA: b'{"format": 99}'}), tmp_path / "newer.parquet")
    with pytest.raises(FeaturesError, match="format 99 of another version of featx"):
        open_features(tmp_path / "newer.parquet")


def test_only_feature_files_are_replaced(photo_folder: Path, in_folder: Path, rows: np.ndarray[Any, Any]) -> None:
    pq.write_table(pa.table({"path": ["a.jpg"]}), "images.parquet")
    before = Path("images.parquet").read_bytes()
    with pytest.raises(OutputError, match="was not written by featx"):
        extract_images(photo_folder, "images.parquet", backbone="counting")
    assert Path("images.parquet").read_bytes() == before
    others = pa.table({"path": ["a.jpg"], "features": pa.array([[1.0]], pa.list_(pa.float32(), 1))})
    pq.write_table(others, "others.parquet")
    with pytest.raises(OutputError, match="was not written by featx"):
        extract_images(photo_folder, "others.parquet", backbone="counting")
    write(Path("f.parquet"), rows)
    extract_images(photo_folder, "f.parquet", backbone="counting", cache=None)
    assert open_features("f.parquet").shape == (24, 12)
    with pytest.raises(OutputError, match="No such file or directory"):
        open_features("f.parquet").to_parquet("absent/f.parquet")


@pytest.mark.parametrize("n_lines", [2, 4])
def test_a_table_of_another_length_is_an_error(tmp_path: Path, rows: np.ndarray[Any, Any], n_lines: int) -> None:
    lines = [TableRow("a.jpg", "a", "")] * n_lines
    with pytest.raises(AuditError, match="another number of lines than the 3 rows"):
        write_parquet(tmp_path / "f.parquet", lambda start, stop: rows[start:stop], (3, N_FEATURES), lambda: lines, {})


def test_a_corrupt_page_is_an_error(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    path = write(tmp_path / "f.parquet", rows)
    content = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(0).column(3).data_page_offset
    content[start + 60] ^= 255
    path.write_bytes(content)
    with pytest.raises(FeaturesError, match="Cannot read features from"):
        open_features(path).to_numpy()


def test_rows_in_remote_storage(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    import fsspec

    path = write(tmp_path / "f.parquet", rows)
    fsspec.filesystem("memory").pipe_file("/parquet/f.parquet", path.read_bytes())
    assert is_features("memory://parquet/f.parquet")
    features = open_features("memory://parquet/f.parquet")
    np.testing.assert_array_equal(features[[3, 20]], rows[[3, 20]])
    assert features.paths[20] == "20.jpg"
    assert features.n_failed == 0


def test_duckdb_reads_and_rewrites_the_file(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = write(tmp_path / "f.parquet", rows)
    counts = duckdb.sql(f"SELECT label, count(*) FROM '{path}' GROUP BY label ORDER BY label").fetchall()
    assert counts == [("a", 15), ("b", 15)]
    query = (
        f"SELECT array_cosine_similarity(features::FLOAT[{N_FEATURES}], features::FLOAT[{N_FEATURES}]) FROM '{path}'"
    )
    assert duckdb.sql(query).fetchall()[0][0] == pytest.approx(1)
    duckdb.sql(f"COPY (SELECT * FROM '{path}' WHERE label = 'b') TO '{tmp_path}/b.parquet'")
    np.testing.assert_array_equal(open_features(tmp_path / "b.parquet").to_numpy(), rows[1::2])
    features = open_features(path)  # DuckDB finds the variable by its name
    assert duckdb.sql("SELECT count(*) FROM features").fetchall() == [(len(features),)]


def test_lancedb_searches_the_rows(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    lancedb = pytest.importorskip("lancedb")
    features = open_features(write(tmp_path / "f.parquet", rows))
    table = lancedb.connect(str(tmp_path / "lance")).create_table("photos", pa.table(features))
    nearest = table.search(rows[7].tolist(), vector_column_name="features").limit(1).to_list()
    assert nearest[0]["path"] == "7.jpg"


def test_datasets_reads_and_rewrites_the_file(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    datasets = pytest.importorskip("datasets")
    path = write(tmp_path / "f.parquet", rows)
    loaded = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["features"].length == N_FEATURES
    loaded.select(range(5)).to_parquet(str(tmp_path / "five.parquet"))
    np.testing.assert_array_equal(open_features(tmp_path / "five.parquet").to_numpy(), rows[:5])
