"""featx train, model, predict, explain and export."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, explain_images, load_pipeline, predict_images, save_pipeline
from featx.baselines.estimators import make_baseline
from featx.cli import main as cli
from featx.store.view_store import write_buffers


@pytest.fixture(scope="module")
def digits(digits_folder: Path) -> list[Path]:
    return sorted(digits_folder.glob("[0-2]/*.png"))[::8]


@pytest.fixture(scope="module")
def model(digits: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.skops"
    histogram = FeatureExtractor("color_histogram", image_size=8, cache=None)
    pipeline = make_pipeline(histogram, make_baseline("logreg"))
    save_pipeline(pipeline.fit(digits, [f"={one.parent.name}" for one in digits]), path)
    return path


def predicted(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def piped(model: Path, paths: bytes, *more: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "featx", "predict", str(model), "-", "--quiet", "--no-cache", *more]
    return subprocess.run(command, input=paths, capture_output=True, check=False)


def test_missing_source_does_not_affect_others(
    model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = str(digits[0].with_name("0000x.png"))
    names = [str(digits[0]), missing, str(digits[-1])]
    assert cli.main(["predict", str(model), *names, "--quiet"]) == 1
    output = capsys.readouterr()
    rows = predicted(output.out)
    assert [row["path"] for row in rows] == names
    assert [bool(row["label"]) for row in rows] == [True, False, True]
    assert rows[1]["note"] == "No such file or directory"
    assert output.err.startswith(f"Error: No such folder or file: {missing!r}. Did you mean ")
    assert output.err.count("\n") == 1
    assert cli.main(["explain", str(model), *names, "-o", str(tmp_path / "seen"), "--json", "--quiet"]) == 1
    output = capsys.readouterr()
    assert [item["error"] for item in json.loads(output.out)] == ["", "No such file or directory", ""]
    assert "All other images were processed." in output.err


def test_predict_adds_features_to_the_cache_on_request(
    model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.models.predictor.MANY_COMPUTED", 2)
    command = ["predict", str(model), *map(str, digits[:2]), "--cache", str(tmp_path / "cache")]
    for options, is_written in ([], False), (["--write-cache"], True):
        assert cli.main([*command, *options]) == 0
        write_buffers()  # as at the end of the process
        assert (tmp_path / "cache").exists() is is_written
        assert ("To keep them, pass --write-cache." in capsys.readouterr().err) is not is_written


def test_no_readable_image_is_an_error(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"junk")
    for command in (["predict"], ["explain", "-o", str(tmp_path / "seen")]):
        assert cli.main([*command, str(model), str(tmp_path), "--quiet"]) == 1
        output = capsys.readouterr()
        assert "bad.jpg" in output.out
        assert "Cannot read the image " in output.err
    assert piped(model, b"").returncode == 0


def test_image_in_archive_is_a_source(
    model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(digits[0], "a/1.png")
    name = str(tmp_path / "photos.zip" / "a" / "1.png")
    assert cli.main(["predict", str(model), name, "--quiet"]) == 0
    assert predicted(capsys.readouterr().out)[0]["path"] == name


def test_standard_input_with_nul_or_newlines(model: Path, digits: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / "two\nlines.png"
    shutil.copy(digits[0], odd)
    paths = [os.fsencode(path) for path in (odd, *digits[:4])]
    done = piped(model, b"\0".join(paths) + b"\0")
    assert done.returncode == 0, done.stderr
    assert [row["path"] for row in predicted(done.stdout.decode())] == [os.fsdecode(path) for path in paths]
    done = piped(model, b"\r\n".join(paths[1:]))
    assert [row["path"] for row in predicted(done.stdout.decode())] == [os.fsdecode(path) for path in paths[1:]]


@pytest.mark.skipif(sys.platform != "linux", reason="file systems that take any bytes for a name")
def test_names_that_are_not_utf8_keep_their_bytes(model: Path, digits: list[Path], tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9-\xff.png"
    shutil.copy(digits[0], odd)
    done = piped(model, odd + b"\n")
    assert odd + b"," in done.stdout
    assert json.loads(piped(model, odd + b"\n", "--json").stdout)["path"] == os.fsdecode(odd)


def test_labels_are_escaped_in_csv_only(model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(model), str(digits[0]), "--quiet"]) == 0
    assert predicted(capsys.readouterr().out)[0]["label"].startswith("'=")
    assert cli.main(["predict", str(model), str(digits[0]), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"].startswith("=")


@pytest.mark.parametrize(
    ("word", "classes"), [(lambda name: name, [0, 1, 2]), (lambda name: str(name == "0").lower(), [False, True])]
)
def test_integer_and_boolean_labels_keep_their_type(
    word: Any, classes: list[Any], digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = [f"{path},{word(path.parent.name)}" for path in digits]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines]))
    options = ["--backbone", "color_histogram", "--image-size", "8", "--no-cache", "--quiet"]
    model = str(tmp_path / "model.skops")
    assert cli.main(["train", str(tmp_path / "t.csv"), "-o", model, "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == classes
    found = load_pipeline(model).predict(digits)
    assert found.dtype == np.asarray(classes).dtype
    assert cli.main(["predict", model, *map(str, digits), "--json", "--quiet", "--no-cache"]) == 0
    assert [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()] == found.tolist()
    assert cli.main(["predict", model, *map(str, digits), "--quiet", "--no-cache"]) == 0
    assert pd.read_csv(io.StringIO(capsys.readouterr().out))["label"].tolist() == found.tolist()
    for label in (str(classes[0]), json.dumps(classes[0])):  # a bool in Python and in JSON
        seen = ["explain", model, str(digits[0]), "-o", str(tmp_path / "seen"), "--label", label, "--quiet"]
        assert cli.main(seen) == 0
        assert f"  {classes[0]}  " in capsys.readouterr().out


def test_model_prints_card(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["model", str(model)]) == 0
    assert "3 classes  =0, =1, =2\n" in capsys.readouterr().out
    assert cli.main(["model", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["=0", "=1", "=2"]


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["csv", "json"])
def test_predictions_replace_earlier_output(
    options: list[str], model: Path, digits: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "predictions"
    command = ["predict", str(model), *map(str, digits), "-o", str(path), "--quiet", "--no-cache", *options]
    assert cli.main(command) == 0
    path.write_text(path.read_text()[:900])  # shorter than the new file
    assert cli.main(command) == 0
    assert len(path.read_text().splitlines()) == len(digits) + (not options)
    path.write_text('{"path": "a.png", "label": "cat"}\n')  # a file of the user
    assert cli.main(command) == 1


def test_json_marks_uncertain_predictions(model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    def is_uncertain(*options: str) -> list[Any]:
        assert cli.main(["predict", str(model), *map(str, digits), "--quiet", "--json", *options]) == 0
        report = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert all(
            item["is_uncertain"] == (item["label"] is None) for item in report if item["is_uncertain"] is not None
        )
        return [item["is_uncertain"] for item in report]

    assert set(is_uncertain("--threshold", "0.8")) == {True, False}
    assert set(is_uncertain()) == {None}


@pytest.mark.parametrize(
    "header", ["path,label,patient,note_by_hand", "path,label,probability,novelty_score,note,seen"]
)
def test_other_tables_are_not_replaced(
    header: str, model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text(f"{header}\n{digits[0]},beach,7,,,\n")
    assert cli.main(["predict", str(model), str(digits[0]), "-o", str(mine), "--quiet", "--no-cache"]) == 1
    assert "was not written by featx" in capsys.readouterr().err
    assert mine.read_text().startswith(header)


def test_own_output_is_replaced_unless_it_is_the_source(
    model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table, link = tmp_path / "t.csv", tmp_path / "link.csv"
    for more in ([], ["--top", "3"]):
        for _ in range(2):
            assert cli.main(["predict", str(model), str(digits[0]), "-o", str(table), "--quiet", *more]) == 0
        before = table.read_bytes()
        link.unlink(missing_ok=True)
        os.link(table, link)
        assert cli.main(["predict", str(model), str(table), "-o", str(link), "--quiet"]) == 1
        assert "it is also an input" in capsys.readouterr().err
        assert table.read_bytes() == link.read_bytes() == before


def test_model_with_extra_bytes_is_refused(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for data in (model.read_bytes() + b"xx", b"xx" + model.read_bytes()):
        (tmp_path / "m.skops").write_bytes(data)
        assert cli.main(["model", str(tmp_path / "m.skops")]) == 1
        assert "bytes of the archive were changed or added" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["m.pkl", "m.PICKLE", "m.joblib"])
def test_suffix_of_pickle_is_refused(
    name: str, digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["train", str(digits[0].parent.parent), "-o", str(tmp_path / name), "--quiet"]) == 1
    assert "Choose a name that ends in .skops" in capsys.readouterr().err


def test_table_without_labels_lists_its_columns(
    digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["path,kind", *(f"{one},{one.parent.name}" for one in digits)]))
    for command in (["train", "-o", str(tmp_path / "m.skops")], ["compare"], ["rank"]):
        assert cli.main([*command, str(tmp_path / "t.csv"), "--quiet"]) == 1
        assert "it has the columns 'path', 'kind'. Pass --label-column" in capsys.readouterr().err


def test_progress_and_data_are_separate_lines(model: Path, digits: list[Path]) -> None:
    command = [sys.executable, "-m", "featx", "predict", str(model), *map(str, digits[:3]), "--no-cache"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    *rows, progress, tally = done.stdout.decode().splitlines()
    assert len(rows) == 4
    assert rows[0].startswith("path,label,probability,")
    assert all(row.startswith(f"{path},") for row, path in zip(rows[1:], digits, strict=False))
    assert progress.startswith("predict: 100%")
    assert b"\r" not in done.stdout
    assert tally.startswith("3 images predicted")


def test_empty_standard_input_is_reported(model: Path) -> None:
    command = [sys.executable, "-m", "featx", "predict", str(model), "-", "--no-cache"]
    done = subprocess.run(command, input=b"\n", capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stderr.startswith(b"Standard input contains no paths")
    assert piped(model, b"").stderr == b""


def test_remedy_for_too_large_image_works(
    model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(digits[0].read_bytes()[:-40])
    for command in (["predict"], ["explain", "-o", str(tmp_path / "seen")]):
        options = [*command, str(model), str(digits[0]), "--json", "--quiet"]
        assert cli.main([*options, "--max-pixels", "100"]) == 1
        captured = capsys.readouterr()
        assert "more than the limit of 100. If the size is correct, raise --max-pixels;" in captured.err
        error = json.loads(captured.out)[0]["error"] if "explain" in command else json.loads(captured.out)["error"]
        assert error.endswith(" pixels, more than the limit of 100")
        assert cli.main([*options, "--max-pixels", "4096"]) == 0
        capsys.readouterr()
        options = [*command, str(model), str(cut), "--json", "--quiet"]
        assert cli.main(options) == 1
        assert "or pass --on-truncated pad" in capsys.readouterr().err
        assert cli.main([*options, "--on-truncated", "pad"]) == 0
        capsys.readouterr()
    assert predict_images(model, digits[:1], max_pixels=100, cache=None)["label"].isna().all()
    assert explain_images(model, digits[:1], max_pixels=100)[0].error


def test_explain_refuses_file_as_output_folder(
    model: Path, digits: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "seen").write_text("mine")
    for name, reason in (("seen", "a file with this name exists"), ("seen.png", "got the name of an image file")):
        assert cli.main(["explain", str(model), str(digits[0]), "-o", str(tmp_path / name), "--quiet"]) == 1
        message = capsys.readouterr().err
        assert reason in message
        assert "-o maps/" in message
    assert [path.name for path in tmp_path.iterdir()] == ["seen"]
