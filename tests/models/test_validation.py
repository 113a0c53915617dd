"""Pipelines that cannot be saved are refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from featx import FineTunedClassifier, load_pipeline, save_pipeline, train_images
from featx.cli import main as cli
from featx.errors import ModelFileError, OutputError
from featx.models.model_file import read_model
from tests.models.model_samples import extractor

Array = np.ndarray[Any, Any]


def test_untrusted_estimator_is_refused_before_any_work(
    digits: list[Path], digit_labels: list[str], in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, which writes a model; from Python a note describes how to save it."""
    forest = RandomForestClassifier(2).fit([[0], [1]], [0, 1])
    if not skops.io.get_untrusted_types(data=skops.io.dumps(forest)):
        pytest.skip("this version of skops trusts trees")
    for option in ("--estimator", "--select-from"):
        assert cli.main(["train", "absent/", option, "RandomForestClassifier"]) == 1
        err = capsys.readouterr().err
        assert "untrusted types (sklearn.tree._tree.Tree)" in err
        assert "joblib.dump or mlflow.sklearn.log_model" in err
    trained = train_images(digits, digit_labels, backbone=extractor(), estimator=RandomForestClassifier(2), cache=None)
    assert "untrusted types (sklearn.tree._tree.Tree)" in trained.notes[-1]
    with pytest.raises(ModelFileError, match="untrusted types"):
        trained.save("model.skops")
    joblib.dump(trained.pipeline, "model.joblib")
    assert joblib.load("model.joblib").predict(digits[:9]).tolist() == trained.pipeline.predict(digits[:9]).tolist()


def test_invalid_pipeline_is_refused_before_writing(
    digits: list[Path], digit_labels: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "model.skops"
    fitted = make_pipeline(extractor(cache=None), LogisticRegression()).fit(digits, digit_labels)
    with pytest.raises(ModelFileError, match="not fitted"):
        save_pipeline(make_pipeline(extractor(), LogisticRegression()), path)
    with pytest.raises(ModelFileError, match="expected a Pipeline whose first step"):
        save_pipeline(fitted.steps[-1][1], path)
    strange = make_pipeline(extractor(cache=None), FunctionTransformer(extractor), Ridge())
    strange.steps[1] = ("f", FunctionTransformer(_identity))
    strange.fit(digits, [float(label) for label in digit_labels])
    with pytest.raises(ModelFileError, match="untrusted types .*_identity"):
        save_pipeline(strange, path)
    assert list(tmp_path.iterdir()) == []
    save_pipeline(fitted, path)
    assert load_pipeline(path).predict(digits[:3]).tolist() == fitted.predict(digits[:3]).tolist()
    assert read_model(path).novelty_detector is None
    path.write_text("mine")
    with pytest.raises(OutputError, match="was not written by featx"):
        save_pipeline(fitted, path)
    with pytest.raises(OutputError, match="it is a folder"):
        save_pipeline(fitted, tmp_path)


def _identity(X: Any) -> Any:
    return X


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"features": np.zeros((40, 3))},
            r"shape \(n_samples, 512\) and finite values, got shape \(40, 3\).*pipeline\[0\].transform",
        ),
        ({"features": np.zeros(512)}, r"got shape \(512,\)"),
        ({"features": np.zeros((0, 512))}, r"got shape \(0, 512\)"),
        ({"features": [["a"] * 512]}, "could not convert"),
        ({"features": np.full((40, 512), np.nan)}, "NaN or infinity. Remove"),
        ({"features": np.ones((40, 512)), "y": ["0"] * 39}, r"y must have one label for each of 40 .*\(39,\)"),
        ({"y": [["0", "1"]] * 40}, "y must have one label for each image, as the estimator was fitted"),
        ({"scores": {"from": Path("a")}}, "scores must be a mapping .* JSON .* a value of type PosixPath"),
        ({"scores": 0.9}, "scores must be a mapping"),
    ],
)
def test_invalid_training_data_is_refused(given: dict[str, Any], reason: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=reason):
        save_pipeline(load_pipeline(model), tmp_path / "model.skops", **given)
    assert list(tmp_path.iterdir()) == []


def test_unfitted_fine_tuned_classifier(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="Cannot save FineTunedClassifier as a model: it is not fitted. Call fit"):
        save_pipeline(FineTunedClassifier(), tmp_path / "model.skops")
