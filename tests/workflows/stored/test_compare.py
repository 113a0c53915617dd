"""Comparisons on jobs and feature files, beside those of the images."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import featx
from featx import compare_features, compare_images, extract_images, find_images, open_features, plan_job, run_job
from featx.baselines.scaling.limits import ScaleLimits
from featx.cli import main as cli
from featx.errors import ComparisonError, FeaturesNotFoundError, IncompleteJobWarning, OptionError
from featx.workflows.stored import compare as stored

ESTIMATORS = ["dummy", "ridge", "knn"]


@pytest.fixture(scope="module")
def digits(digits_folder, tmp_path_factory):
    """200 images of four digits."""
    folder = tmp_path_factory.mktemp("digits")
    paths = [path for digit in "0123" for path in sorted((digits_folder / digit).glob("*.png"))[:50]]
    for path in paths:
        (folder / "few" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "few" / path.parent.name / path.name)
    return folder / "few"


@pytest.fixture(scope="module")
def job(digits):
    """A job of color histograms with several shards."""
    folder = digits.parent / "job"
    plan_job(digits, folder, backbone="color_histogram", shard_size=64)
    run_job(folder, cache=None)
    return folder


@pytest.fixture
def out_of_core(monkeypatch):
    """Read more than 100 rows in blocks."""
    monkeypatch.setattr(ScaleLimits, "is_out_of_core", lambda limits, shape, **options: shape[0] > 100)


def without_times(table):
    return table.drop(columns=["fit_seconds", "predict_seconds"])


def test_a_job_gives_the_table_of_its_images(digits, job):
    images = compare_images(
        find_images(digits), backbones=["color_histogram"], estimators=ESTIMATORS, diagnostics=False, cache=None
    )
    stored = compare_features(job, estimators=ESTIMATORS, diagnostics=False)
    assert without_times(stored.table).equals(without_times(images.table))
    assert [note for note in stored.notes if "pixel" not in note][1:] == [
        note for note in images.notes if "pixel" not in note
    ][1:]
    assert stored.paths == open_features(job).paths[:].tolist()
    assert stored.groups.tolist() == images.groups.tolist()


def test_a_job_that_is_read_in_blocks_gives_the_scores_of_one_in_memory(job, out_of_core):
    blocks = compare_features(job, estimators=["dummy", "ridge"], diagnostics=False)
    memory = compare_features(job, estimators=["dummy", "ridge"], diagnostics=False, exact=True)
    assert blocks.table["estimator"].tolist() == ["dummy", "ridge (Gram, out of core)"]
    assert np.allclose(blocks.table["accuracy_mean"], memory.table["accuracy_mean"], atol=1e-6)
    assert any("200 rows are read in blocks" in note for note in blocks.notes)
    for train, test in blocks.backbones[0].comparison.split.folds:
        assert not set(blocks.groups[train]) & set(blocks.groups[test])


@pytest.mark.slow
def test_processes_read_the_rows_of_a_job(job, out_of_core):
    blocks = compare_features(job, estimators=["knn"], diagnostics=False)
    memory = compare_features(job, estimators=["knn"], diagnostics=False, exact=True)
    assert blocks.table["estimator"].tolist() == ["knn"]  # the sample would be larger than a fold
    assert np.allclose(blocks.table["accuracy_mean"], memory.table["accuracy_mean"])


def test_a_report_names_the_estimators_of_blocks(job, out_of_core, tmp_path):
    result = compare_features(job, estimators=["dummy", "logreg"])
    assert result.label_issues is not None
    assert not result.learning_curve.empty
    result.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "logreg (out of core)" in page
    assert "color_histogram" in page


def test_a_feature_file_takes_given_labels_and_a_test_mask(job, tmp_path):
    features = open_features(job)
    np.save(tmp_path / "features.npy", features.to_numpy())
    mask = np.arange(len(features)) % 4 == 0
    result = compare_features(
        tmp_path / "features.npy", features.labels, test_mask=mask, estimators=ESTIMATORS, diagnostics=False
    )
    assert result.table["backbone"].unique().tolist() == ["features.npy"]
    ((train, test),) = result.backbones[0].comparison.split.folds
    assert set(test) == set(np.flatnonzero(mask))
    assert not set(result.groups[train]) & set(result.groups[test])


def test_rows_without_a_label_take_no_part(job, out_of_core):
    labels = open_features(job).labels[:].tolist()
    labels[::5] = [None] * 40
    blocks = compare_features(job, labels, estimators=["ridge"], diagnostics=False)
    memory = compare_features(job, labels, estimators=["ridge"], diagnostics=False, exact=True)
    assert blocks.n_rows == 160
    assert np.allclose(blocks.table["accuracy_mean"], memory.table["accuracy_mean"], atol=1e-6)


def test_duplicates_are_split_on_request(job):
    result = compare_features(job, estimators=ESTIMATORS, duplicate_groups=False, diagnostics=False)
    assert len(result.duplicates) == 0
    assert result.groups is None


def test_an_incomplete_job_is_noted(job, tmp_path):
    copy = shutil.copytree(job, tmp_path / "job")
    (copy / "shards" / "00000003.parquet").unlink()
    with pytest.warns(IncompleteJobWarning):
        result = compare_features(copy, estimators=ESTIMATORS, diagnostics=False)
    assert "The job is incomplete: only the rows of shards that are done are compared." in result.notes
    assert len(result.paths) == 192


def test_bad_input_has_a_remedy(job, tmp_path):
    np.save(tmp_path / "features.npy", np.zeros((4, 3), np.float32))
    with pytest.raises(ComparisonError, match="has no table"):
        compare_features(tmp_path / "features.npy")
    with pytest.raises(FeaturesNotFoundError):
        compare_features(tmp_path / "missing.npy")
    with pytest.raises(OptionError, match="compare_baselines"):
        compare_features(np.zeros((4, 3)))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="fitted on images"):
        compare_features(job, estimators=["fine-tune"])
    with pytest.raises(ComparisonError, match="no row has a label"):
        compare_features(job, [None] * 200)


def test_features_are_a_test_set(digits, job, tmp_path, capsys):
    images = find_images(digits)
    parts = {"train": range(0, 200, 2), "test": range(1, 200, 2)}
    for name, rows in parts.items():
        for suffix in (".parquet", ".npy"):
            extract_images(images.select(rows), tmp_path / f"{name}{suffix}", backbone="color_histogram", cache=None)
    options = {"estimators": ["ridge"], "diagnostics": False, "duplicate_groups": False}
    mask = [row % 2 == 1 for row in range(200)]
    expected = compare_images(images, test_mask=mask, backbones=["color_histogram"], cache=None, **options)
    for suffix in (".parquet", ".npy"):
        stored = compare_features(tmp_path / f"train{suffix}", test=tmp_path / f"test{suffix}", **options)
        assert without_times(stored.table)["accuracy_mean"].tolist() == expected.table["accuracy_mean"].tolist()
        assert stored.paths == [images.paths[row] for rows in parts.values() for row in rows]
    assert any("test.npy' does not record its backbone" in note for note in stored.notes)
    with pytest.raises(ComparisonError, match="All training images are also test images"):
        compare_features(tmp_path / "train.npy", test=job, **options)
    command = ["compare", str(tmp_path / "train.parquet"), "--estimator", "ridge", "--quiet", "--test"]
    assert cli.main([*command, str(tmp_path / "test.parquet"), "--no-duplicate-groups"]) == 0
    assert f"{expected.table['accuracy_mean'].item():.3f}" in capsys.readouterr().out
    assert cli.main([*command, str(digits)]) == 2
    assert "featx extract TEST -o test.npy" in capsys.readouterr().err
    test = open_features(tmp_path / "test.parquet")
    listed = compare_images(
        images.select(parts["train"]), test=test, backbones=["color_histogram"], cache=None, **options
    )
    assert listed.table["accuracy_mean"].tolist() == expected.table["accuracy_mean"].tolist()


def test_test_features_of_another_recipe_are_refused(digits, tmp_path):
    images = find_images(digits).select(range(0, 200, 20))
    for name, resize in (("train", "squash"), ("test", "crop")):
        output = tmp_path / f"{name}.parquet"
        extract_images(images, output, backbone="color_histogram", resize=resize, cache=None)
    np.save(tmp_path / "flat.npy", np.zeros((4, 3), np.float32))
    with pytest.raises(OptionError, match=r"got resize crop instead of squash in .* Extract both with the same"):
        compare_features(tmp_path / "train.parquet", test=tmp_path / "test.parquet")
    with pytest.raises(ComparisonError, match="have no labels: there is no table next to them"):
        compare_features(tmp_path / "train.parquet", test=tmp_path / "flat.npy")


def run(*arguments):
    command = [sys.executable, "-m", "featx", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_compares_a_job(job, tmp_path):
    result = run(job, "--estimator", "ridge", "--json", "--csv", tmp_path / "scores.csv", "--quiet")
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["best"]["estimator"] == "ridge"
    assert values["best"]["backbone"] == "color_histogram"
    assert (tmp_path / "scores.csv").read_text().startswith("backbone,layer,pooling,features,estimator,")
    wrong = run(job, "--pooling", "max")
    assert wrong.returncode == 2
    assert "--pooling does not apply to features" in wrong.stderr


def test_the_function_is_public():
    assert featx.compare_features is compare_features


def test_many_rows_are_searched_for_equal_ones_only(job, monkeypatch, tmp_path):
    monkeypatch.setattr(stored, "MAX_SEARCHED_ROWS", 100)
    rows, labels = open_features(job).to_numpy(), open_features(job).labels[:].tolist()
    np.save(tmp_path / "features.npy", np.concatenate([rows, rows[:9]]))
    result = compare_features(
        tmp_path / "features.npy", [*labels, *labels[:9]], estimators=["ridge"], diagnostics=False
    )
    assert any("Near-duplicates were not searched for among 209 rows" in note for note in result.notes)
    assert (result.groups[:9] == result.groups[200:]).all()
    for train, test in result.backbones[0].comparison.split.folds:
        assert not set(result.groups[train]) & set(result.groups[test])
