"""Estimators of other libraries by the full name of their class."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx import LabelEncodedClassifier, compare_baselines, load_pipeline, predict_images, read_model, train_images
from featx.baselines.libraries.label_encoding import needs_encoding
from featx.cli import main as cli
from featx.errors import ComparisonError, ModelFileError, OptionError
from tests.baselines.libraries.odd_estimators import CodedClassifier, TwoColumnsClassifier

ODD = "tests.baselines.libraries.odd_estimators"
X, codes = load_iris(return_X_y=True)
y = np.array(["setosa", "versicolor", "virginica"])[codes]


def test_a_class_by_its_full_name_scores_like_its_instance() -> None:
    names = ["sklearn.linear_model.LogisticRegression", "LogisticRegression"]
    table = compare_baselines(X, y, estimators=[*names, LogisticRegression()]).table
    assert table["estimator"].tolist() == [*names, "LogisticRegression-2"]
    assert table["accuracy_mean"].nunique() == 1


@pytest.mark.parametrize("labels", [y, codes, codes + 5, codes == 1], ids=["str", "0", "5", "bool"])
def test_labels_are_encoded_for_estimators_that_need_it(labels: Any) -> None:
    with_scaling = make_pipeline(StandardScaler(), CodedClassifier())
    estimators = {"by name": f"{ODD}.CodedClassifier", "scaled": with_scaling, "lda": "lda"}
    comparison = compare_baselines(X, labels, estimators=estimators, task="classification")
    assert comparison.table["estimator"].tolist() == list(estimators)
    assert (comparison.table["accuracy_mean"] > 0.6).all()
    for name in ("by name", "scaled"):
        np.testing.assert_array_equal(
            comparison.predictions[name], comparison.classes[comparison.probabilities[name].argmax(axis=1)]
        )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("UnboundedClassifier", "predict must return classes from 0 to 2"),
        ("NanClassifier", "predict_proba must return finite values, got NaN"),
        ("TwoColumnsClassifier", r"predict must return shape \(30,\), got \(30, 2\)"),
    ],
)
def test_odd_outputs_cost_that_estimator_and_not_the_run(name: str, reason: str) -> None:
    comparison = compare_baselines(X, y, estimators=[f"{ODD}.{name}", "lda"])
    assert comparison.table["estimator"].tolist() == ["lda"]
    assert any(note.startswith(f"Excluded {ODD}.{name}") for note in comparison.notes)
    with pytest.raises(ComparisonError, match=reason):
        compare_baselines(X, y, estimators=[f"{ODD}.{name}"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nolibrary.Classifier", "there is no module 'nolibrary'. Install it: pip install nolibrary"),
        (f"{ODD}.absent.Classifier", "there is no module .*absent'. Check the spelling"),
        (f"{ODD}.CodedClasifier", "has no class 'CodedClasifier'. Did you mean 'CodedClassifier'"),
        (f"{ODD}.function", "has no class 'function'"),
        (f"{ODD}.NeedsArguments", "Cannot create NeedsArguments without arguments.*depth"),
        ("pathlib.PurePath", "must contain scikit-learn estimators"),
        ("sklearn.linear_model.Ridge", "Ridge is not an estimator for classification"),
        ("XGBClassifier", "pass its full name, such as xgboost.XGBClassifier"),
        ("linear.svm-", "or the full name of a class of another library"),
    ],
)
def test_names_that_are_no_estimators(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        compare_baselines(X, y, estimators=[name])


def test_a_module_that_fails_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_estimators.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionError, match=r"importing 'broken_estimators' failed \(division by zero\)"):
        compare_baselines(X, y, estimators=["broken_estimators.Classifier"])


def test_estimators_of_scikit_learn_are_not_wrapped() -> None:
    assert not needs_encoding(make_pipeline(StandardScaler(), LogisticRegression()))
    assert needs_encoding(make_pipeline(StandardScaler(), CodedClassifier()))
    assert needs_encoding(TwoColumnsClassifier())


@parametrize_with_checks([LabelEncodedClassifier(DecisionTreeClassifier(random_state=0))])
def test_encoded_classifier_follows_the_conventions(estimator: Any, check: Any) -> None:
    check(estimator)


def test_encoded_classifier_is_pickled_by_its_public_name() -> None:
    fitted = LabelEncodedClassifier(CodedClassifier()).fit(X, y)
    content = pickle.dumps(fitted)
    assert b"cfeatx\nLabelEncodedClassifier" in pickle.dumps(fitted, 0)
    assert (pickle.loads(content).predict(X) == y).mean() > 0.9
    assert not hasattr(fitted, "decision_function")
    assert LabelEncodedClassifier(LogisticRegression(max_iter=1000)).fit(X, y).decision_function(X).shape == (150, 3)


@pytest.mark.usefixtures("counting")
def test_train_with_another_library(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(photo_folder.glob("*/*.jpg"))
    labels = [path.parent.name for path in paths]
    options: dict[str, Any] = {"backbone": "counting", "cv": 2, "cache": None}
    trained = train_images(paths, labels, estimator=f"{ODD}.CodedClassifier", **options)
    assert trained.pipeline.classes_.tolist() == ["china", "flower"]
    assert set(trained.pipeline.predict(paths)) <= {"china", "flower"}
    assert "joblib.dump or mlflow.sklearn.log_model" in trained.notes[-1]
    assert cli.main(["train", str(photo_folder), "--estimator", f"{ODD}.CodedClassifier", "-o", "m.skops"]) == 1
    assert "untrusted types (tests.baselines" in capsys.readouterr().err
    assert not os.path.exists("m.skops")


@pytest.mark.parametrize(
    ("classifier", "regressor"),
    [
        ("xgboost.XGBClassifier", "xgboost.XGBRegressor"),
        ("lightgbm.LGBMClassifier", "lightgbm.LGBMRegressor"),
        ("catboost.CatBoostClassifier", "catboost.CatBoostRegressor"),
    ],
)
def test_boosting_libraries(
    classifier: str, regressor: str, in_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec(classifier.partition(".")[0]) is None:
        pytest.skip(f"{classifier.partition('.')[0]} is not installed: the test extra leaves out these large packages")
    for labels in (y, codes == 1):
        comparison = compare_baselines(X, labels, estimators=[classifier, "dummy"], task="classification", cv=3)
        assert (comparison.best, comparison.table["accuracy_mean"].max() > 0.9) == (classifier, True)
        assert comparison.probabilities[classifier].shape == (150, len(np.unique(labels)))
    first = compare_baselines(X, y, estimators=[classifier], cv=3).probabilities[classifier]
    np.testing.assert_array_equal(
        first, compare_baselines(X, y, estimators=[classifier], cv=3).probabilities[classifier]
    )
    assert compare_baselines(*load_diabetes(return_X_y=True), estimators=[regressor]).table["r2_mean"].item() > 0.2
    assert os.listdir() == []
    output = capfd.readouterr()
    assert output.out == output.err == ""


@pytest.mark.usefixtures("counting")
def test_types_of_another_library_are_saved_and_loaded_only_if_they_are_trusted(
    photo_folder: Path, in_folder: Path
) -> None:
    paths = sorted(photo_folder.glob("*/*.jpg"))
    labels = [path.parent.name for path in paths]
    options: dict[str, Any] = {"backbone": "counting", "cv": 2, "cache": None}
    trained = train_images(paths, labels, estimator=f"{ODD}.CodedClassifier", **options)
    types = [f"{ODD}.CodedClassifier"]
    with pytest.raises(ModelFileError, match=re.escape(f"Or save it in Python, with trusted={types}")):
        trained.save("model.skops")
    with pytest.raises(ModelFileError, match=re.escape(f"with trusted={['other.Type', *types]}")):
        trained.save("model.skops", trusted=["other.Type"])
    trained.save("model.skops", trusted=types)
    with pytest.raises(ModelFileError, match=re.escape(f"these types, read it in Python, with trusted={types}")):
        predict_images("model.skops", paths[:3], cache=None)
    table = predict_images(read_model("model.skops", trusted=types), paths, cache=None)
    expected = trained.pipeline.set_params(features__cache=None).predict(paths)
    assert table["label"].tolist() == expected.tolist()
    assert load_pipeline("model.skops", cache=None, trusted=types).predict(paths).tolist() == expected.tolist()
