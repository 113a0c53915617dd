"""``featx train`` on the command line."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.cli import main as cli

Array = np.ndarray[Any, Any]


def test_train_then_predict(
    digits: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in digits:
        Path("few", path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, Path("few", path.parent.name, path.name))
    source = "few"
    options = ["--backbone", "color_histogram", "--image-size", "8", "--quiet"]
    assert cli.main(["train", source, *options, "--select-from", "knn,logreg"]) == 0
    captured = capsys.readouterr().out
    assert f"fitted on {len(digits)} images, 4 classes" in captured
    assert "accuracy 0." in captured
    assert "model: model.skops, " in captured
    assert cli.main(["train", source, *options, "--json", "--estimator", "centroid"]) == 0
    assert json.loads(capsys.readouterr().out)["estimator"] == "centroid"
    assert cli.main(["predict", "model.skops", str(digits[0]), "--top", "3", "--quiet"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["path"] == str(digits[0])
    assert list(row) == ["path", "label", "score", "label_2", "score_2", "label_3", "score_3", "novelty_score", "note"]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--select-from", ","], "logreg,svm,knn"),
        (["--estimator", "logref"], "Did you mean 'logreg'"),
        (["-o", "nowhere/model.skops"], "Cannot write"),
        (
            ["--estimator", "ridge", "--calibrate", "--task", "regression"],
            "requires classes or tags, got continuous targets",
        ),
    ],
)
def test_train_command_errors(
    arguments: list[str],
    remedy: str,
    digits: list[Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    source = [str(digits[0].parents[1]), "--backbone", "color_histogram", "--image-size", "8", "--quiet"]
    assert cli.main(["train", *source, *arguments]) == (1 if "-o" in arguments else 2)
    captured = capsys.readouterr()
    assert re.search(remedy, captured.err), captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "model.skops").exists()
