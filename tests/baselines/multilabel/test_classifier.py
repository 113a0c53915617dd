"""Several labels of one sample: comparison, folds, scores and label errors."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from featx import TagClassifier, Tags, compare_baselines, find_label_issues, learning_curve
from featx.baselines.estimators import as_baselines, make_baseline
from featx.baselines.fitting import Dataset, fit_on_all
from featx.baselines.folds.make_split import make_split
from featx.baselines.scaling.approximate import approximate_baselines
from featx.baselines.scaling.gcv_ridge import GcvRidgeClassifier
from featx.baselines.scaling.limits import ScaleLimits
from featx.datasets.labels import as_label_array, infer_task
from featx.datasets.tags import as_tags, tag_matrix, tag_names
from featx.errors import ComparisonError, OptionError

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    X, Y = make_multilabel_classification(200, 20, n_classes=4, n_labels=2, random_state=0)
    return X.astype(np.float32), Y


@pytest.mark.parametrize(
    "convert",
    [
        lambda Y: Y,
        lambda Y: Y.astype(bool),
        csr_array,
        lambda Y: pd.DataFrame(Y, columns=["a", "b", "c", "d"]),
        lambda Y: [[f"t{tag}" for tag in np.flatnonzero(row)] for row in Y],
        lambda Y: [frozenset(f"t{tag}" for tag in np.flatnonzero(row)) for row in Y],
        lambda Y: [Tags(f"t{tag}" for tag in np.flatnonzero(row)) for row in Y],
    ],
    ids=["matrix", "bool", "sparse", "frame", "lists", "sets", "tags"],
)
def test_forms_of_tags(data: tuple[Array, Array], convert: Any) -> None:
    y = as_label_array(convert(data[1]))
    assert infer_task(y) == "multilabel"
    np.testing.assert_array_equal(tag_matrix(y, tag_names(y)), data[1])
    if isinstance(convert(data[1]), pd.DataFrame):
        assert tag_names(y) == ["a", "b", "c", "d"]


def test_what_is_not_tags() -> None:
    with pytest.raises(ComparisonError, match=r"got one-hot labels of shape \(3, 3\). Pass y.argmax\(1\)"):
        as_label_array(np.eye(3, dtype=int))
    assert as_tags(np.array([[0.5, 1.0], [0.1, 0.2]])) is None
    assert as_tags(["a", "b"]) is None
    assert as_tags(np.zeros((3, 1))) is None
    assert as_tags([None, None]) is None
    split = pd.Series(["a;b", "", None, np.nan]).str.split(";")
    tags = as_tags(split)
    assert tags is not None
    assert [label and tuple(label) for label in tags] == [("a", "b"), tuple(Tags([""])), None, None]
    assert as_tags(pd.Series(["a", "b"])) is None
    assert as_tags(pd.Series([1.0, np.nan], dtype=object)) is None
    with pytest.raises(ComparisonError, match="Labels mix tags and single labels, such as 'sea'"):
        infer_task(as_label_array([Tags(["a"]), "sea"]))
    assert str(Tags(["b", "a", "b"])) == "a;b"
    assert np.array([Tags(["a"]), Tags(["a", "b"])]).shape == (2,)


def test_many_samples_are_approximated(data: tuple[Array, Array]) -> None:
    notes: list[str] = []
    exact = as_baselines(["dummy", "svm"], "multilabel", 0)
    dummy, svm = approximate_baselines(exact, 200, ScaleLimits(exact_rows=100, n_components=50), notes, random_state=0)
    assert dummy.is_builtin
    assert svm.name == "svm (Nystroem, 50 components)"
    assert len(notes) == 1
    y = as_label_array(data[1])
    classifier = (
        svm.make(200).set_params(**{name: values[0] / 100 for name, values in svm.grid.items()}).fit(data[0], y)
    )
    assert isinstance(classifier, TagClassifier)
    assert classifier.score(data[0], y) > 0.3
    np.testing.assert_array_equal(classifier.decision_function(data[0]) > 0, classifier.predict(data[0]))


def test_tuning_with_fewer_samples_than_neighbors(data: tuple[Array, Array]) -> None:
    comparison = compare_baselines(data[0][:9], data[1][:9], estimators=["knn"], cv=3, tune=True, n_jobs=1)
    assert not any("n_neighbors" in note for note in comparison.notes)
    assert comparison.best == "knn"


def test_score_of_a_classifier(data: tuple[Array, Array]) -> None:
    X, Y = data
    lists = [[str(tag) for tag in np.flatnonzero(row)] for row in Y]
    classifier = TagClassifier(LogisticRegression(max_iter=1000)).fit(X, lists)
    expected = accuracy_score(Y, classifier.predict(X))
    assert classifier.score(X, lists) == classifier.score(X, Y) == pytest.approx(expected)
    assert classifier.n_features_in_ == 20


def test_labels_of_a_classifier() -> None:
    X = np.eye(3)
    classifier = TagClassifier(LogisticRegression()).fit(X, np.eye(3, dtype=int))  # also if each sample has one tag
    assert classifier.classes_.tolist() == ["0", "1", "2"]
    with pytest.raises(ComparisonError, match="drop samples whose tags are unknown"):
        TagClassifier(LogisticRegression()).fit(X, [["a"], None, ["b"]])


def test_a_series_of_lists() -> None:
    y = as_label_array(pd.Series(["a;b", None, "b"], index=[3, 1, 2]).str.split(";"))
    assert y.tolist() == [Tags(["a", "b"]), None, Tags(["b"])]


def test_lists_of_integers() -> None:
    with pytest.raises(ComparisonError, match="y must have one label for each image, or a list of str for tags"):
        compare_baselines(np.eye(2), [[1, 2], [3]])


@pytest.mark.parametrize("X", [np.zeros(3), csr_array(np.eye(3))], ids=["one axis", "sparse"])
def test_shapes_of_features_are_checked(X: Any) -> None:
    with pytest.raises(ComparisonError, match="X must (be numeric|have shape)"):
        compare_baselines(X, ["a", "b", "a"])


def test_comparison(data: tuple[Array, Array]) -> None:
    X, Y = data
    comparison = compare_baselines(X, Y, estimators=["dummy", "logreg", "svm", "knn", "ridge"], n_jobs=1)
    assert comparison.task == "multilabel"
    assert comparison.classes.tolist() == ["0", "1", "2", "3"]
    table = comparison.table.set_index("estimator")
    assert (table["map_mean"].drop("dummy") > table.loc["dummy", "map_mean"] + 0.2).all()
    assert table.loc["dummy", "verdict"] == "worse"
    assert comparison.split.description == "5 folds stratified by tags"
    assert list(comparison.probabilities) == ["dummy", "logreg", "knn"]
    assert list(comparison.tag_values) == ["dummy", "logreg", "svm", "knn", "ridge"]
    assert "mAP" in str(comparison)
    # Scores are those of scikit-learn for the same folds.
    train, test = comparison.split.folds[0]
    reference = OneVsRestClassifier(LogisticRegression(C=3, max_iter=1000)).fit(X[train], Y[train])
    scores = compare_baselines(
        X, Y, estimators=[LogisticRegression(C=3, max_iter=1000)], cv=comparison.split
    ).fold_scores.iloc[0]
    values, predicted = reference.predict_proba(X[test]), reference.predict(X[test])
    assert scores["map"] == pytest.approx(average_precision_score(Y[test], values, average="macro"))
    for average in ("micro", "macro"):
        assert scores[f"f1_{average}"] == pytest.approx(f1_score(Y[test], predicted, average=average))


def test_scores_of_each_tag(data: tuple[Array, Array]) -> None:
    X, Y = data
    comparison = compare_baselines(X, Y, estimators=["logreg", "svm"])
    for name in ("logreg", "svm"):
        table = comparison.per_class(name)
        assert list(table) == ["label", "images", "recall", "precision", "f1", "average_precision"]
        assert table["images"].tolist() == Y.sum(axis=0).tolist()
        expected = average_precision_score(Y, comparison.tag_values[name], average=None)
        np.testing.assert_allclose(table["average_precision"], expected)


def test_wrong_and_missing_tags_are_found(data: tuple[Array, Array]) -> None:
    X, Y = data
    X = np.concatenate([X, X + 0.01])  # the tags of a sample can be known from its copy
    wrong = np.concatenate([Y, Y])
    wrong[3, 0] ^= 1
    wrong[210, 2] ^= 1
    issues = compare_baselines(X, wrong, estimators=["knn"]).label_issues
    assert list(issues) == ["row", "given", "suggested", "confidence", "probability_of_given"]
    first = issues.set_index("row")["suggested"].to_dict()
    assert first[3] == ("remove 0" if wrong[3, 0] else "add 0")
    assert first[210] == ("remove 2" if wrong[210, 2] else "add 2")
    assert issues["given"][issues["row"] == 3].iloc[0] == ";".join(map(str, np.flatnonzero(wrong[3])))


@pytest.mark.parametrize("has_groups", [False, True])
def test_folds_spread_each_tag_evenly_and_keep_groups(has_groups: bool) -> None:
    rng = np.random.default_rng(0)
    rates = np.array([0.5, 0.2, 0.05, 0.03])
    y = as_label_array((rng.random((400, 4)) < rates).astype(int))
    groups = rng.integers(0, 130, 400) if has_groups else None
    split = make_split(y, task="multilabel", cv=5, repeats=2, groups=groups)
    assert (len(split.folds), split.n_first_repeat) == (10, 5)
    truth = tag_matrix(y, tag_names(y))
    for train, test in split.folds:
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(400))
        if groups is not None:
            assert not np.isin(groups[train], groups[test]).any()
        expected = truth.sum(axis=0) / 5
        assert (np.abs(truth[test].sum(axis=0) - expected) <= (3.5 if has_groups else 2)).all()
        assert abs(len(test) - 80) <= 8
    assert not np.array_equal(split.folds[0][1], split.folds[5][1])
    again = make_split(y, task="multilabel", cv=5, repeats=2, groups=groups)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(split.folds, again.folds, strict=True))


def test_rare_tags_and_few_samples_are_noted(data: tuple[Array, Array]) -> None:
    X, Y = data[0][:40], np.column_stack([data[1][:40], np.eye(40)[:, :1]])
    comparison = compare_baselines(X, Y, estimators=["logreg"])
    assert any("1 tag of a single image" in note for note in comparison.notes)
    assert np.isfinite(comparison.table["map_mean"]).all()
    few = compare_baselines(X[:4], Y[:4], estimators=["dummy"])
    assert few.split.notes[0].startswith("4 folds instead of 5")
    with pytest.raises(ComparisonError, match="and a tag"):
        compare_baselines(X, np.zeros((40, 3)))


def test_tuning_and_estimators_of_the_user(data: tuple[Array, Array]) -> None:
    X, Y = data
    forest = RandomForestClassifier(3)
    comparison = compare_baselines(X[:60], Y[:60], estimators={"forest": forest, "knn": "knn"}, tune=True, cv=2)
    assert (comparison.table["map_mean"] > 0.5).all()
    assert "n_neighbors" in comparison.table["best_params"].iloc[1]


def test_what_tags_do_not_support(data: tuple[Array, Array]) -> None:
    X, Y = data
    with pytest.raises(OptionError, match="'fine-tune' predicts one label for each image"):
        compare_baselines(X, Y, estimators=["fine-tune"])
    with pytest.raises(OptionError, match="task .*'classification' requires one label per image, got several"):
        compare_baselines(X, Y, task="classification")
    with pytest.raises(OptionError, match="'multilabel' requires several labels per image, got one"):
        compare_baselines(X, Y[:, 0], task="multilabel")
    with pytest.raises(ComparisonError, match="For tags, use the label_issues of compare_baselines"):
        find_label_issues(Y, Y)
    with pytest.raises(ComparisonError, match="confusion matrix for multilabel"):
        compare_baselines(X, Y, estimators=["dummy"]).plot_confusion()


def test_learning_curve(data: tuple[Array, Array]) -> None:
    X, Y = data[0][:90], data[1][:90]
    comparison = compare_baselines(X, Y, estimators=["centroid"], cv=2, n_jobs=1)
    curve = comparison.learning_curve
    assert curve["n_per_class"].tolist() == [5, 10, 20, 45]
    assert curve["score_mean"].iloc[-1] == pytest.approx(comparison.table["map_mean"].item())
    rare = np.zeros_like(Y)
    rare[::20, 0] = rare[1::20, 1] = 1  # most small samples have no tag
    few = learning_curve(X, rare, comparison.split, estimators=["centroid"], n_jobs=1)
    assert few["score_mean"].notna().all()


@pytest.mark.parametrize("groups", [None, np.arange(200) // 2])
def test_calibrated_tags(data: tuple[Array, Array], groups: Array | None) -> None:
    X, Y = data
    baseline = dataclasses.replace(as_baselines(["linear-svm"], "multilabel", 0)[0], is_calibrated=True)
    y = as_label_array(np.column_stack([Y, np.ones(len(Y), dtype=int)]))
    fitted, params = fit_on_all(baseline, Dataset(X, y, "multilabel", groups), tune=True, notes=[])
    probabilities = fitted.predict_proba(X)
    assert np.abs(probabilities[:, :4].mean(axis=0) - Y.mean(axis=0)).max() < 0.05
    assert probabilities[:, 4].tolist() == [1.0] * 200
    assert all(tag.cv == 5 for tag in fitted.estimators_[:4])
    assert all(name in TagClassifier(fitted.estimator.estimator).get_params() for name in params)
    rare = np.zeros((200, 2), dtype=int)
    rare[:2, 0] = rare[::3, 1] = 1
    if groups is not None:  # both images of the first tag are one group
        with pytest.raises(ComparisonError, match="at least two groups of images with and without each tag .*'0'"):
            fit_on_all(baseline, Dataset(X, as_label_array(rare), "multilabel", groups), tune=False, notes=[])


def test_classifier(data: tuple[Array, Array]) -> None:
    X, Y = data
    everywhere = np.column_stack([Y, np.ones(len(Y), dtype=int)])
    classifier = TagClassifier(LogisticRegression(max_iter=1000)).fit(X, everywhere)
    assert classifier.estimators_[-1] == 1
    assert classifier.predict_proba(X)[:, -1].tolist() == [1.0] * 200
    np.testing.assert_array_equal(classifier.predict(X)[:, :4], classifier.predict_proba(X)[:, :4] > 0.5)
    assert classifier.decision_function(X).shape == (200, 5)
    with pytest.raises(ComparisonError, match="y must be the tags"):
        classifier.fit(X, Y[:, 0])
    with pytest.raises(ComparisonError, match="at least one tag"):
        classifier.fit(X, Y * 0)


def test_a_single_test_set(data: tuple[Array, Array]) -> None:
    X, Y = data
    comparison = compare_baselines(X, Y, estimators=["dummy", "logreg"], cv=[(np.arange(100), np.arange(100, 200))])
    assert comparison.table["verdict"].tolist() == ["worse", "best"]
    assert comparison.table["low"].isna().all()


def test_values_of_tags_that_take_too_much_memory_are_not_kept(data: tuple[Array, Array]) -> None:
    names = ["logreg", "centroid"]
    complete = compare_baselines(*data, estimators=names, cv=3)
    few = compare_baselines(*data, estimators=names, cv=3, limits=ScaleLimits(probability_bytes=1000))
    assert few.predictions.equals(complete.predictions)
    scores = [name for name in few.table if not name.endswith("seconds")]
    assert few.table[scores].equals(complete.table[scores])
    assert few.tag_values == few.probabilities == {}
    assert few.notes == [
        "Values of tags are not kept: those of 200 predictions and 4 tags would take 0.0 GB for each estimator."
    ]
    assert few.per_class()["f1"].equals(complete.per_class()["f1"])
    assert few.per_class()["average_precision"].isna().all()
    with pytest.raises(ComparisonError, match="probabilities of 200 samples and 4 tags take too much memory"):
        _ = few.label_issues


@pytest.mark.parametrize(
    "estimator",
    [
        make_baseline("knn"),
        make_baseline("logreg"),
        make_pipeline(Nystroem(n_components=30, random_state=0), GcvRidgeClassifier((0.1, 1.0, 10.0))),
        make_pipeline(SelectKBest(k=5), LogisticRegression()),
    ],
    ids=["neighbors", "transformers", "ridge", "supervised"],
)
def test_one_classifier_of_all_tags_is_that_of_each(data: tuple[Array, Array], estimator: Any) -> None:
    X, Y = data
    Y = np.column_stack([np.ones(len(Y), dtype=int), Y])
    tags = TagClassifier(estimator).fit(X[:150], Y[:150])
    method = "predict_proba" if hasattr(tags, "predict_proba") else "decision_function"
    values = getattr(tags, method)(X[150:])
    assert (values[:, 0] == 1).all()
    for tag in range(1, 5):
        one = clone(estimator).fit(X[:150], Y[:150, tag])
        assert (tags.predict(X[150:])[:, tag] == one.predict(X[150:])).all()
        expected = getattr(one, method)(X[150:])
        expected = expected[:, 1] - expected[:, 0] if method == "decision_function" and expected.ndim == 2 else expected
        expected = expected[:, 1] if method == "predict_proba" else expected
        scale = 2 if isinstance(estimator[-1] if hasattr(estimator, "steps") else None, GcvRidgeClassifier) else 1
        np.testing.assert_allclose(scale * values[:, tag], expected, rtol=1e-6, atol=1e-9)


def test_neighbors_of_all_tags_are_searched_once(data: tuple[Array, Array], monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = data
    tags = TagClassifier(make_baseline("knn")).fit(X, Y)
    searched: list[Any] = []
    search = KNeighborsClassifier.kneighbors
    monkeypatch.setattr(KNeighborsClassifier, "kneighbors", lambda self, X: searched.append(X) or search(self, X))
    tags.predict_proba(X)
    assert len(searched) == 1
    assert tags.joint_tags_.tolist() == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.thorough
def test_tags_of_many_samples_are_compared_in_processes(data: tuple[Array, Array]) -> None:
    limits = ScaleLimits(exact_rows=100, n_components=50, sample_rows=40)
    table = compare_baselines(*data, limits=limits, cv=3, n_jobs=1).table.set_index("estimator")
    assert table.index.tolist() == ["dummy", "logreg", "svm (Nystroem, 50 components)", "knn"]
    small = compare_baselines(*data, cv=3).table.set_index("estimator")
    assert table.loc["knn", "map_mean"] == small.loc["knn", "map_mean"]
    assert table["map_mean"].iloc[2] > small.loc["svm", "map_mean"] - 0.05
