from __future__ import annotations

import re

import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris

from featx import Comparison, compare_baselines, rank_features
from featx.baselines.output.score_table import conclusion_lines, score_cells


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare_baselines(*load_iris(return_X_y=True), estimators=["dummy", "knn", "lda"])


def test_text_is_that_of_images_without_a_backbone(comparison: Comparison) -> None:
    headline, empty, header, *_ = str(comparison).splitlines()
    assert headline.startswith("150 rows, 3 classes; ")
    assert headline.endswith("; mean ± sd")
    assert empty == ""
    assert re.split(r" {2,}", header.strip()) == [
        *("estimator", "accuracy", "95 % interval", "balanced", "macro-F1", "fit s", "predict s")
    ]
    assert re.search(r"^\* lda +0\.980 ± 0\.\d{3} +0\.\d{3} – 1\.000 +best ", str(comparison), re.MULTILINE)
    assert "\n* best: lda, accuracy 0.980; its lead over knn is not significant\n" in f"{comparison}\n"


def test_regression_has_no_classes() -> None:
    X, y = load_diabetes(return_X_y=True)
    assert str(compare_baselines(X[:100], y[:100], estimators=["ridge"], cv=2)).startswith("100 rows; 2 folds")


def test_tuned_parameters_follow_the_best_row() -> None:
    metrics = ("accuracy", "balanced_accuracy", "f1_macro")
    scores = {f"{metric}_{part}": 0.5 for metric in metrics for part in ("mean", "std")}
    row = {"estimator": "knn", **scores, "low": float("nan"), "high": float("nan"), "verdict": "best"}
    table = pd.DataFrame([{**row, "fit_seconds": 1.0, "predict_seconds": 0.0, "best_params": {"n_neighbors": 5}}])
    assert conclusion_lines(table, "classification", "knn on mobilenet", []) == [
        "* best: knn on mobilenet, accuracy 0.500",
        "best parameters of knn: {'n_neighbors': 5}",
    ]
    (cells,) = score_cells(table, "classification", ["mobilenet"])
    assert (cells["backbone"], cells["95 % interval"]) == ("mobilenet", "")


def test_ranking_of_arrays_counts_rows() -> None:
    X, y = load_iris(return_X_y=True)
    assert str(rank_features({"all": X}, y, groups=None)).startswith("150 rows, 3 classes; ")
