"""Predictions of new images, in Python and on the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import predict_images, train_images
from featx.cli import main as cli
from featx.errors import OptionError
from featx.models.model import Model
from featx.models.model_file import read_model
from tests.models.model_samples import extractor

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize(
    ("name", "calibrate"),
    [
        *((name, False) for name in ("logreg", "svm", "linear-svm", "knn", "ridge", "lda", "centroid", "dummy")),
        *((name, True) for name in ("logreg", "svm", "ridge")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*within_class_std_dev_")
def test_predictions_equal_those_of_pipeline(
    name: str, calibrate: bool, digits: list[Path], digit_labels: list[str], tmp_path: Path
) -> None:
    trained = train_images(digits, digit_labels, backbone=extractor(), estimator=name, calibrate=calibrate, cache=None)
    trained.save(tmp_path / "model.skops")
    model = read_model(tmp_path / "model.skops")
    assert model.head is not None
    predictions = predict_images(model, digits, top=4, cache=None)
    assert predictions["label"].tolist() == trained.pipeline.predict(digits).tolist()
    if calibrate or name in ("logreg", "knn", "lda"):
        probabilities = trained.pipeline.predict_proba(digits)
        np.testing.assert_allclose(predictions["probability"], probabilities.max(axis=1), atol=1e-4)
        parts = predictions[["probability", "probability_2", "probability_3", "probability_4"]].to_numpy()
        np.testing.assert_allclose(parts.sum(axis=1), 1, atol=1e-4)
        assert (np.diff(parts, axis=1) <= 1e-9).all()


@pytest.mark.parametrize("threshold", ["0.5", [0.5], 1.5, float("nan"), True, {"3": {"3": 0.5}}])
def test_invalid_threshold(threshold: Any, model: Path) -> None:
    with pytest.raises(OptionError, match=r"must be a probability between 0 and 1"):
        predict_images(model, [], threshold=threshold, cache=None)


def test_thresholds_of_tags_do_not_fit_single_labels(
    model_here: Model, digits: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", "model.skops", str(digits[0]), "--threshold", "3=0.9"]) == 2
    assert "--threshold must be one probability for a model of one label per image" in capsys.readouterr().err


def test_unreadable_images_are_listed(
    model_here: Model, digits: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "=bad.jpg").write_bytes(b"junk")
    names = [str(digits[0]), "=bad.jpg", str(digits[-1])]
    assert cli.main(["predict", "model.skops", *names, "-o", "predictions.csv"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 images predicted; 1 unreadable." in captured.err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "predictions.csv").read_text())))
    assert [row["path"] for row in rows] == [str(digits[0]), "./=bad.jpg", str(digits[-1])]
    assert rows[1]["label"] == ""
    assert "not an image" in rows[1]["note"]
    assert cli.main(["predict", "model.skops", *names, "--json", "--quiet"]) == 0
    parsed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["path"] for item in parsed] == names
    assert parsed[1]["error"]
    assert parsed[0]["top"][0]["label"] == parsed[0]["label"]


def test_labels_below_threshold_are_empty(
    model_here: Model, digits: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", "model.skops", *map(str, digits), "--threshold", "0.6", "--quiet"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    uncertain = [row for row in rows if not row["label"]]
    assert 0 < len(uncertain) < len(rows)
    assert all(
        float(row["probability"]) < 0.6 and row["note"].startswith("below the threshold, most probable: ")
        for row in uncertain
    )
    assert all(float(row["probability"]) >= 0.6 for row in rows if row["label"])


def test_stream_of_paths(model_here: Model, digits: list[Path]) -> None:
    command = [sys.executable, "-m", "featx", "predict", "model.skops", "-", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for index, path in enumerate(digits[:3]):
            process.stdin.write(os.fsencode(path) + b"\n")
            process.stdin.flush()
            if not index:
                assert process.stdout.readline().startswith(b"path,label,probability")
            assert process.stdout.readline().startswith(os.fsencode(path) + b",")
        process.stdin.write(os.fsencode(digits[3]))  # no line break at the end
        process.stdin.close()
        assert process.stdout.read().startswith(os.fsencode(digits[3]) + b",")
        assert process.wait() == 0


def test_output_file_needs_no_standard_output(
    model: Path, digits: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    output = tmp_path / "predictions.csv"
    assert cli.main(["predict", str(model), str(digits[0]), "-o", str(output), "--no-cache", "--quiet"]) == 0
    assert output.read_text().count("\n") == 2
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["predict", str(model), str(digits[0]), "-o", str(output), "--no-cache"]) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_full_disk_of_the_log_does_not_end_the_work(model: Path, digits: list[Path]) -> None:
    command = f"{sys.executable} -m featx predict {model} {digits[0]} --no-cache 2>/dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (0, 2)


@pytest.mark.parametrize("options", [(), ("--json",), ("-o", "predictions.csv")])
def test_no_output_before_the_first_row_is_possible(
    options: tuple[str, ...],
    model_here: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """See test_other_cpus for a refused precision."""
    assert cli.main(["predict", "model.skops", "absent.png", "--no-cache", "--quiet", *options]) == 1
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "predictions.csv").exists()


def test_closed_standard_input(model: Path) -> None:
    command = f"{sys.executable} -m featx predict {model} - <&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: Cannot read paths from standard input: it is closed. Pass images, or a pipe.\n"


@pytest.mark.usefixtures("model_here")
@pytest.mark.parametrize(
    ("arguments", "code", "remedy"),
    [
        (["absent.skops", "a.png"], 1, "`featx train PHOTOS -o absent.skops`"),
        (["model.skops", "a.png"], 1, "No such folder or file: 'a.png'"),
        (["model.skops", "-", "a.png"], 2, "cannot be combined with other sources"),
        (["model.skops", "DIGIT", "--top", "0"], 2, "--top must be an integer of at least 1, got 0"),
        (["model.skops", "DIGIT", "--threshold", "2"], 2, "between 0 and 1"),
        (["model.skops", "DIGIT", "--threshold", "a=0.9", "--threshold", "a=0.1"], 2, "given twice for the tag 'a'"),
        (["model.skops", "DIGIT", "--path-column", "file"], 2, "Remove the option, or pass a table"),
        (["model.skops", "DIGIT", "-o", "model.skops"], 1, "was not written by featx"),
        (["model.skops", "DIGIT", "-o", "nowhere/p.csv"], 1, "Cannot write"),
    ],
)
def test_predict_command_errors(
    arguments: list[str], code: int, remedy: str, digits: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(digits[0]) if argument == "DIGIT" else argument for argument in arguments]
    assert cli.main(["predict", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert remedy in captured.err
    assert captured.err.count("\n") == 1


def test_prediction_imports_no_scikit_learn(model_here: Model, digits: list[Path]) -> None:
    code = (
        "import sys; from featx.cli import main as cli; code = cli.main(sys.argv[1:]); "
        "print(code, sorted({'sklearn', 'pandas', 'skops', 'tensorflow'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, "predict", "model.skops", str(digits[0]), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
