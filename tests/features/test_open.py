from __future__ import annotations

import csv
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import NearestCentroid

from featx import FeatureMatrix, compare_baselines, find_duplicates, open_features
from featx.cli import main as cli
from featx.errors import FeaturesError, FeaturesNotFoundError, IncompleteJobWarning, OutputError
from featx.features.csv_table import CsvTable
from featx.features.npy_part import FeatureFolder
from featx.features.outputs import check_output
from tests.jobs.job_samples import make_job

N, FAILED = 95, (4, 90, 91, 92, 93, 94)  # in the last shard all, and one in another shard


@pytest.fixture
def rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)


@pytest.fixture
def expected(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.delete(rows, FAILED, axis=0)


@pytest.fixture
def job(tmp_path: Path, rows: np.ndarray[Any, Any]) -> Path:
    labels = [None if index == 3 else "ab"[index % 2] for index in range(N)]
    digests = [f"{index:032x}" for index in range(N)]
    return make_job(tmp_path / "job", rows, labels=labels, digests=digests, failed=FAILED)


@pytest.fixture
def in_memory(job: Path) -> Iterator[str]:
    import fsspec

    system = fsspec.filesystem("memory")
    for path in job.rglob("*.*"):
        system.pipe_file(f"/job/{path.relative_to(job).as_posix()}", path.read_bytes())
    yield "memory://job"
    system.rm("/job", recursive=True)


@pytest.fixture(params=["folder", "url", "npy"])
def features(request: pytest.FixtureRequest, expected: np.ndarray[Any, Any], tmp_path: Path) -> FeatureMatrix:
    if request.param == "npy":
        np.save(tmp_path / "features.npy", expected)
        return open_features(tmp_path / "features.npy")
    return open_features(request.getfixturevalue("job" if request.param == "folder" else "in_memory"))


@pytest.mark.parametrize(
    "key",
    [
        *(0, -1, np.int64(40), slice(None), slice(3, 37), slice(90, 200), slice(50, 3), slice(None, None, -7)),
        *([1, 80, 2, -1], [], np.array([[1, 2], [30, 4]]), np.arange(89) % 3 == 0),
        *((slice(2, 30), slice(0, 3)), ([1, 2], ...), (3, 4), (slice(5), [2, 0])),
    ],
)
def test_indexing(features: FeatureMatrix, expected: np.ndarray[Any, Any], key: Any) -> None:
    rows = features[key]
    assert isinstance(rows, np.ndarray | np.float32)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected[key])


@pytest.mark.parametrize("key", [89, -90, [0, 89], [-90], np.ones(88, dtype=bool), 1.5, (1, 2, 3), None])
def test_index_error(features: FeatureMatrix, key: Any) -> None:
    with pytest.raises(IndexError):
        features[key]


def test_blocks(features: FeatureMatrix, expected: np.ndarray[Any, Any]) -> None:
    blocks = list(features.blocks(n_rows=7))
    assert [len(block) for block in blocks] == [7] * 12 + [5]
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    np.testing.assert_array_equal(np.array(list(features)), expected)
    np.testing.assert_array_equal(np.asarray(features), expected)
    np.testing.assert_array_equal(features.to_numpy(), expected)
    assert (features.shape, features.ndim, features.dtype, len(features)) == ((89, 6), 2, np.float32, 89)
    assert np.asarray(features, dtype=np.float64).dtype == np.float64
    with pytest.raises(FeaturesError, match="must be an integer of at least 1"):
        features.blocks(0)


def test_metadata(job: Path, in_memory: str) -> None:
    kept = [index for index in range(N) if index not in FAILED]
    for features in (open_features(job), open_features(in_memory)):
        assert list(features.paths) == [f"photos/{index:05}.jpg" for index in kept]
        assert features.labels[:4].tolist() == ["b" if index % 2 else "a" for index in range(3)] + [None]
        assert features.labels[-1] == "b"
        assert features.digests[[80, 0]].tolist() == [f"{81:032x}", f"{0:032x}"]
        assert features.classes.tolist() == ["a", "b"]
        assert features.is_complete
        assert features.n_failed == 6
        failures = features.failures
        for _ in range(2):  # they are read in each iteration
            assert [(failure.position, failure.image, failure.reason) for failure in failures][:2] == [
                (4, "photos/00004.jpg", "it is empty"),
                (90, "photos/00090.jpg", "it is empty"),
            ]
            assert len(failures) == len(list(failures)) == 6


def test_paths_that_are_not_utf8(tmp_path: Path) -> None:
    make_job(tmp_path / "job", np.eye(2), paths=["a.jpg", b"\xff.jpg"])
    assert open_features(tmp_path / "job").paths[:].tolist() == ["a.jpg", os.fsdecode(b"\xff.jpg")]


def test_unusual_folder_name(tmp_path: Path) -> None:
    make_job(tmp_path / "job.npy", np.eye(3))
    assert open_features(tmp_path / "job.npy").shape == (3, 3)


def test_numeric_labels(tmp_path: Path) -> None:
    make_job(tmp_path / "job", np.eye(3), labels=[0.5, None, 2.0], shard_size=2)
    labels = np.asarray(open_features(tmp_path / "job").labels)
    np.testing.assert_array_equal(labels, [0.5, np.nan, 2.0])


@pytest.mark.parametrize("kind", ["job", "csv"])
def test_boolean_labels_stay_boolean(kind: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    booleans = [True, False, False, None, True, True]
    if kind == "job":
        features = open_features(make_job(tmp_path / "job", rows, labels=booleans, shard_size=4))
    else:
        np.save(tmp_path / "f.npy", rows)
        lines = [f"{row},{row}.jpg,{'' if label is None else label}," for row, label in enumerate(booleans)]
        (tmp_path / "f.csv").write_text("\n".join(["row,path,label,digest", *lines]) + "\n")
        features = open_features(tmp_path / "f.npy")
    assert features.labels[:3].dtype == features.classes.dtype == bool
    assert features.labels[2:4].tolist() == [False, None]
    learner = SGDClassifier(random_state=0)
    for X, y in features.labeled_blocks(4):
        assert y.dtype == bool
        learner.partial_fit(X, y, classes=features.classes)
    assert learner.predict(rows).dtype == bool


def test_output_of_extract(
    photo_folder: Path, in_folder: Path, counting: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_folder / "china" / "=x,\n.jpg").write_bytes((photo_folder / "china" / "00.jpg").read_bytes())
    (photo_folder / "china" / "03.jpg").write_bytes(b"")
    assert cli.main(["extract", str(photo_folder), "--backbone", "counting", "--quiet"]) == 0
    features = open_features("features.npy")
    np.testing.assert_array_equal(features[:], np.load("features.npy"))
    paths = list(features.paths)
    assert all(map(os.path.isfile, paths))
    assert features.labels[:].tolist() == [Path(path).parent.name for path in paths]
    assert features.digests[0] != features.digests[1]
    for _ in range(2):
        assert [failure.image for failure in features.failures] == [str(photo_folder / "china" / "03.jpg")]
    assert len(features.failures) == features.n_failed == 1
    Path("features.csv").write_text("row,path,label,digest\n0,a,b,c\n")
    with pytest.raises(FeaturesError, match="expected 24 lines, one for each row, got 1"):
        open_features("features.npy").paths[0]
    os.unlink("features.csv")
    assert open_features("features.npy").shape == (24, 12)
    with pytest.raises(FeaturesNotFoundError, match="Put it next to the matrix"):
        open_features("features.npy").labels[:3]


def test_long_table_is_read_in_blocks(tmp_path: Path) -> None:
    n = 10_000
    np.save(tmp_path / "f.npy", np.zeros((n, 1), dtype=np.float32))
    lines = [f"{index},p{index}.jpg,{index / 8},\n" for index in range(n)]
    (tmp_path / "f.csv").write_text("row,path,label,digest\n" + "".join(lines))
    features = open_features(tmp_path / "f.npy")
    assert features.paths[9_999] == "p9999.jpg"
    assert features.paths[4095:4098].tolist() == ["p4095.jpg", "p4096.jpg", "p4097.jpg"]
    assert features.labels[8000] == 1000.0


@pytest.fixture
def read_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of bytes that were read."""
    sizes: list[int] = []
    read = FeatureFolder.read

    def counting(folder: FeatureFolder, *args: Any) -> bytes:
        data = read(folder, *args)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(FeatureFolder, "read", counting)
    return sizes


def test_distant_rows(tmp_path: Path, read_sizes: list[int]) -> None:
    n = 20_000
    np.save(tmp_path / "f.npy", np.zeros((n, 1), dtype=np.float32))
    table = "row,path,label,digest\n" + "".join(
        f"{index},photos/{index:06}.jpg,{'ab'[index % 2]},\n" for index in range(n)
    )
    (tmp_path / "f.csv").write_text(table)
    features = open_features(tmp_path / "f.npy")
    assert features.paths[0] == "photos/000000.jpg"  # indexes the lines
    read_sizes.clear()
    assert features.paths[[n - 1, 0, n - 1]].tolist() == [f"photos/{index:06}.jpg" for index in (n - 1, 0, n - 1)]
    assert sum(read_sizes) < len(table) / 8
    assert features.metadata([7, 2]) == {
        **{"path": ["photos/000007.jpg", "photos/000002.jpg"], "label": ["b", "a"], "digest": ["", ""]}
    }


def test_distant_remote_rows(tmp_path: Path, read_sizes: list[int]) -> None:
    import fsspec

    rows = np.random.default_rng(0).normal(size=(100, 2**15)).astype(np.float32)  # 13 MB
    system = fsspec.filesystem("memory")
    system.put(str(make_job(tmp_path / "job", rows, shard_size=60)), "/wide-job", recursive=True)
    try:
        features = open_features("memory://wide-job")
        assert features[0, 0] == rows[0, 0]
        read_sizes.clear()
        indices = [59, 0, 1, 99, 59, 3]
        np.testing.assert_array_equal(features[indices], rows[indices])
        assert sum(read_sizes) < 8 * rows[0].nbytes
    finally:
        system.rm("/wide-job", recursive=True)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_line_breaks_in_cells(tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CsvTable, "block_lines", 4)
    monkeypatch.setattr(CsvTable, "read_bytes", 13)
    for n in range(10):
        paths = [f'{"x" * index}\n"{index}",\r\n.jpg' if index % 3 == 0 else f"{index}.jpg" for index in range(n)]
        np.save(tmp_path / "f.npy", np.zeros((n, 1), dtype=np.float32))
        with open(tmp_path / "f.csv", "w", newline="") as file:
            writer = csv.writer(file, lineterminator=end or "\n")
            writer.writerows(
                [["row", "path", "label", "digest"], *([index, path, index, ""] for index, path in enumerate(paths))]
            )
        if not end:
            (tmp_path / "f.csv").write_bytes((tmp_path / "f.csv").read_bytes()[:-1])
        features = open_features(tmp_path / "f.npy")
        assert features.paths[:].tolist() == paths
        assert features.paths[::-2].tolist() == paths[::-2]
        assert features.labels[:].tolist() == list(range(n))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("row,path,label\n0,a,b\n", "expected the header 'row,path,label,digest'"),
        ("", "expected the header"),
        ("row,path,label,digest\n0,a,,\n2,b,,\n", "line 3 does not belong to row 1"),
        ("row,path,label,digest\n0,a,,\n\n", "line 3 does not belong to row 1"),
    ],
)
def test_other_table_is_refused(tmp_path: Path, table: str, message: str) -> None:
    np.save(tmp_path / "f.npy", np.zeros((2, 1), dtype=np.float32))
    (tmp_path / "f.csv").write_text(table)
    with pytest.raises(FeaturesError, match=message):
        open_features(tmp_path / "f.npy").paths[1]


def test_incomplete_job(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    make_job(tmp_path / "job", rows, committed=[0, 2])
    with pytest.warns(IncompleteJobWarning, match="is incomplete: 2 of 10 shards are done"):
        features = open_features(tmp_path / "job")
    assert not features.is_complete
    np.testing.assert_array_equal(features[:], rows[np.r_[0:10, 20:30]])
    assert features.paths[10] == "photos/00020.jpg"
    assert "incomplete" in repr(features)
    assert "The job is incomplete: only the rows of shards that are done can be read." in features._repr_html_()


@pytest.mark.parametrize("corruption", ["truncated", "missing", "other shape", "pickled"])
def test_rows_that_do_not_match_the_table(job: Path, corruption: str) -> None:
    (npy,) = job.glob("shards/00000002-*.npy")
    if corruption == "truncated":
        npy.write_bytes(npy.read_bytes()[:-8])
    elif corruption == "missing":
        npy.unlink()
    elif corruption == "pickled":
        np.save(npy, np.array([{}] * 10, dtype=object), allow_pickle=True)
    else:
        np.save(npy, np.zeros((6, 10), dtype=np.float32))
    with pytest.raises(FeaturesError, match="Cannot read the rows of .*00000002-.*npy'") as raised:
        open_features(job)[:]
    assert str(raised.value).endswith(f"Compute corrupt shards again: featx job run {job} --verify")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 10**5, None])
def test_corrupt_table(job: Path, content: bytes | None) -> None:
    table = job / "shards" / "00000002.parquet"
    data = bytearray(table.read_bytes())
    data[4:600] = bytes(596)
    table.write_bytes(data if content is None else content)
    with pytest.raises(FeaturesError, match="00000002.parquet' as the table of a shard: ") as raised:
        open_features(job).paths[:]
    assert ".." not in str(raised.value).replace(str(job), "")
    assert str(raised.value).endswith(f". Compute corrupt shards again: featx job run {job} --verify")


def test_shards_of_another_recipe_are_refused(job: Path) -> None:
    found = json.loads((job / "job.json").read_text())
    (job / "job.json").write_text(json.dumps({**found, "fingerprint": "beef"}))
    with pytest.raises(FeaturesError, match="has the recipe 'f00d', expected 'beef'"):
        open_features(job)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a folder that nobody may write to")
def test_output_in_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(OutputError, match="no file can be created in '/proc' .*Make it writable, or choose another"):
        check_output(Path("/proc/f.npy"))


def test_not_a_job(tmp_path: Path, job: Path) -> None:
    with pytest.raises(FeaturesNotFoundError, match="has no job.json.* featx extract .* -o features.npy"):
        open_features(tmp_path)
    for path in ("absent", "absent.npy", "absent.parquet"):
        with pytest.raises(FeaturesNotFoundError, match=f"'{path}' does not exist. Check the path."):
            open_features(path)
    with pytest.raises(FeaturesNotFoundError, match="does not exist"):
        open_features(tmp_path / "x.npy")
    for text in ("{", "[]", "{}", '{"format": 5, "fingerprint": "", "n_features": 1, "shard_size": 1, "n_shards": 1}'):
        (job / "job.json").write_text(text)
        with pytest.raises(FeaturesError, match="Restore the file|reads format 4. Upgrade featx, or plan it again"):
            open_features(job)
    np.save(tmp_path / "ints.npy", np.arange(4))
    with pytest.raises(FeaturesError, match="expected a float32 matrix"):
        open_features(tmp_path / "ints.npy")
    (job / "job.json").write_text(text.replace('"format": 5', '"format": 4'))
    with pytest.raises(FeaturesError, match="the field 'id' is missing"):
        open_features(job)


def test_only_needed_shards_are_read(job: Path, expected: np.ndarray[Any, Any]) -> None:
    features = open_features(job)
    for path in job.glob("shards/*"):
        if not path.name.startswith("00000002"):
            path.unlink()
    np.testing.assert_array_equal(features[20:25], expected[20:25])
    assert features.paths[20] == "photos/00021.jpg"


def test_scikit_learn(job: Path, expected: np.ndarray[Any, Any]) -> None:
    features = open_features(job)
    classifier = SGDClassifier(random_state=0)
    for X, y in features.labeled_blocks(20):
        assert len(X) == len(y) <= 20
        classifier.partial_fit(X, y, classes=features.classes)
    assert classifier.predict(features).shape == (89,)
    train, test = train_test_split(features, random_state=0)
    assert len(train) + len(test) == 89
    comparison = compare_baselines(features, features.labels, estimators=["knn", "dummy"], cv=3)
    assert len(comparison.y) == 88
    is_labeled = np.array([label is not None for label in features.labels])
    same = compare_baselines(expected[is_labeled], features.labels[is_labeled], estimators=["knn", "dummy"], cv=3)
    assert comparison.table["accuracy_mean"].tolist() == same.table["accuracy_mean"].tolist()
    np.testing.assert_array_equal(find_duplicates(features).groups, find_duplicates(expected).groups)


def test_pickle(job: Path, expected: np.ndarray[Any, Any]) -> None:
    restored = pickle.loads(pickle.dumps(open_features(job)))
    np.testing.assert_array_equal(restored[:], expected)
    assert restored.paths[0] == "photos/00000.jpg"


def test_labels_in_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [("cat", "dog")[index % 2] for index in range(40)]
    rows = rng.normal(size=(40, 4)) + 3 * np.array([index % 2 for index in range(40)])[:, None]
    features = open_features(make_job(tmp_path / "job", rows, labels=labels))
    scores = cross_val_score(NearestCentroid(), features, features.labels, cv=4)
    assert scores.mean() > 0.9
    _, test, _, y = train_test_split(features, features.labels, random_state=0)
    assert len(test) == len(y) == 10
    cats = features.labels == "cat"
    assert cats.tolist() == [label == "cat" for label in labels]
    assert (features.labels != "cat").sum() == 20
    assert features[cats].shape == (20, 4)


def test_paired_indices(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((25, 6), dtype=np.float32)
    features = open_features(make_job(tmp_path / "job", rows))
    assert features[[1, 22], [3, 4]].tolist() == rows[[1, 22], [3, 4]].tolist()
    assert features[np.ix_([1, 22], [3, 4])].tolist() == rows[np.ix_([1, 22], [3, 4])].tolist()
    assert features[[1, 22], 1:3].tolist() == rows[[1, 22], 1:3].tolist()
    assert features[2:5, [3, 4]].tolist() == rows[2:5, [3, 4]].tolist()
    with pytest.raises(IndexError):
        features[[1, 2, 3], [0, 1]]
