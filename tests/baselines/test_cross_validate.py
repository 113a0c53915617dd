from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict, cross_validate

from featx import compare_baselines, learning_curve
from featx.baselines.builtin_baselines import DEFAULT_NAMES, NAMES, Baseline
from featx.baselines.estimators import make_baseline
from featx.baselines.fitting import Dataset, score_fold
from featx.baselines.folds.make_split import make_split
from featx.errors import ComparisonError, OptionError

COLUMNS = [
    "estimator",
    "accuracy_mean",
    "accuracy_std",
    "low",
    "high",
    "balanced_accuracy_mean",
    "balanced_accuracy_std",
    "f1_macro_mean",
    "f1_macro_std",
    "p_value",
    "verdict",
    "fit_seconds",
    "predict_seconds",
]


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    X, y = load_digits(return_X_y=True)
    return X[:400].astype(np.float32), y[:400]


def test_table(digits: Any) -> None:
    comparison = compare_baselines(*digits)
    assert list(comparison.table.columns) == COLUMNS
    assert comparison.table["estimator"].tolist() == list(DEFAULT_NAMES["classification"])
    assert comparison.fold_scores.groupby("estimator").size().tolist() == [5] * 4
    best = comparison.table.set_index("estimator")["accuracy_mean"]
    assert comparison.best == best.idxmax()
    assert best["dummy"] < 0.2 < 0.85 < best.drop("dummy").min()


@pytest.mark.parametrize("name", NAMES["classification"])
def test_scores_equal_cross_validate(name: str, digits: Any) -> None:
    X, y = digits
    folds = StratifiedKFold(4, shuffle=True, random_state=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NearestCentroid
        expected = cross_validate(
            make_baseline(name), X, y, cv=folds, scoring=("accuracy", "balanced_accuracy", "f1_macro")
        )
    ours = compare_baselines(X, y, estimators=[name], cv=4, random_state=3)
    for score in ("accuracy", "balanced_accuracy", "f1_macro"):
        np.testing.assert_allclose(ours.fold_scores[score], expected[f"test_{score}"], rtol=1e-12)
        assert ours.table[f"{score}_mean"].item() == pytest.approx(expected[f"test_{score}"].mean())
        assert ours.table[f"{score}_std"].item() == pytest.approx(expected[f"test_{score}"].std(ddof=1))


@pytest.mark.parametrize("name", NAMES["regression"])
def test_regression_scores_equal_cross_validate(name: str) -> None:
    X, y = load_diabetes(return_X_y=True)
    y = y + 0.5
    folds = KFold(4, shuffle=True, random_state=3)
    expected = cross_validate(make_baseline(name, task="regression"), X, y, cv=folds, scoring="r2")
    ours = compare_baselines(X, y, estimators=[name], cv=4, random_state=3)
    assert ours.task == "regression"
    # The kernel that all folds share is float32.
    np.testing.assert_allclose(ours.fold_scores["r2"], expected["test_score"], atol=1e-3 if name == "svr" else 1e-9)
    assert list(ours.table.columns[1:9:2]) == ["r2_mean", "low", "mae_mean", "rmse_mean"]


def test_random_state(digits: Any) -> None:
    """Scores depend on random_state and not on n_jobs."""
    scores = COLUMNS[1:11]
    table = compare_baselines(*digits, n_jobs=1, random_state=1).table[scores]
    assert table.equals(compare_baselines(*digits, n_jobs=2, random_state=1).table[scores])
    assert not table.equals(compare_baselines(*digits, n_jobs=1, random_state=2).table[scores])


def test_four_samples() -> None:
    X = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert len(compare_baselines(X, ["a", "a", "b", "b"], cv=2).table) == 4


@pytest.mark.parametrize(
    ("y", "remedy"),
    [
        (["a"] * 10, "at least two classes, got one class, 'a'"),
        (["a"] * 9 + ["b"], "two classes with two samples, but 1 of 2 classes have a single sample: 'b'. Add samples"),
        (["a", "b"] * 4, "got X of shape"),
        (["a", 1] * 5, "mix numbers and text: 1 and 'a'"),
    ],
    ids=str,
)
def test_unusable_labels(y: list[Any], remedy: str) -> None:
    labels = np.empty(len(y), dtype=object)
    labels[:] = y
    with pytest.raises(ComparisonError, match=remedy):
        compare_baselines(np.zeros((10, 2)), labels)


def test_small_classes(digits: Any) -> None:
    """A small class reduces the number of folds, and a class with one sample is dropped."""
    X, y = digits
    some = np.concatenate([np.flatnonzero(y < 3)[:60], np.flatnonzero(y == 4)[:3], np.flatnonzero(y == 5)[:1]])
    comparison = compare_baselines(X[some], y[some], estimators=["knn"])
    assert comparison.notes == [
        "Dropped 1 class with a single sample (1 sample): 5.",
        "3 folds instead of 5: the smallest class, 4, has 3 samples.",
    ]
    assert comparison.split.description == "3 stratified folds"
    assert len(comparison.predictions) == 63


def test_nan_rows() -> None:
    X = np.zeros((10, 2))
    X[[3, 7]] = np.nan
    with pytest.raises(ComparisonError, match=r"2 of 10 rows, first in row 3.*np\.isfinite"):
        compare_baselines(X, ["a", "b"] * 5)


def test_unknown_estimator() -> None:
    """The error suggests the nearest name."""
    with pytest.raises(OptionError, match="Did you mean 'logreg'.*dummy, logreg, svm, linear-svm, knn"):
        compare_baselines(np.zeros((10, 2)), ["a", "b"] * 5, estimators=["logrec"])


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"random_state": -1}, "random_state .* must be an integer from 0"),
        ({"n_jobs": 0}, "n_jobs .* must be an integer other than 0"),
        ({"estimators": []}, "estimators must be a non-empty list of estimators or names"),
        ({"estimators": "svm"}, "estimators must be a non-empty list of estimators or names"),
        ({"task": "clustering"}, "task .* must be one of 'auto', 'classification', 'regression'"),
        ({"repeats": 0}, "repeats .* must be an integer of at least 1"),
        ({"repeats": 2, "cv": [([0, 1], [2])]}, "repeats .* must be 1 for given folds"),
    ],
    ids=str,
)
def test_invalid_options(wrong: Any, expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        compare_baselines(np.zeros((10, 2)), ["a", "b"] * 5, **wrong)


def test_rows_without_labels(digits: Any) -> None:
    """Samples without a label are dropped and listed."""
    X, y = digits
    labels = y.astype(object)
    labels[[4, 9]] = None
    labels[17] = float("nan")
    comparison = compare_baselines(X, labels, estimators=["knn"])
    assert comparison.notes == ["Dropped 3 of 400 rows without a label: 4, 9, 17."]
    assert comparison.predictions.index.tolist() == [row for row in range(400) if row not in (4, 9, 17)]
    given = [(np.arange(200), np.arange(200, 400))]
    comparison = compare_baselines(X, labels, estimators=["knn"], cv=given)
    assert comparison.split.description == "197 training, 200 test samples"
    assert comparison.predictions.index.tolist() == list(range(200, 400))
    np.testing.assert_array_equal(comparison.y, y[200:])


def test_non_numeric_matrix() -> None:
    with pytest.raises(ComparisonError, match="X must be numeric.*FeatureExtractor"):
        compare_baselines(np.full((10, 2), "a.jpg"), ["a", "b"] * 5)


def test_estimators_of_scikit_learn(digits: Any) -> None:
    estimators = ["knn", "GaussianNB", RandomForestClassifier(20), RandomForestClassifier(5)]
    comparison = compare_baselines(*digits, estimators=estimators)
    names = ["knn", "GaussianNB", "RandomForestClassifier", "RandomForestClassifier-2"]
    assert comparison.table["estimator"].tolist() == names
    assert comparison.table["accuracy_mean"].min() > 0.7
    again = compare_baselines(*digits, estimators=estimators)  # forests have random_state=None
    assert comparison.table["accuracy_mean"].equals(again.table["accuracy_mean"])
    named = compare_baselines(*digits, estimators={"small": RandomForestClassifier(5)})
    assert named.best == "small"


def test_out_of_fold_predictions(digits: Any) -> None:
    X, y = digits
    comparison = compare_baselines(X, y, estimators=["knn", "svm"], repeats=2, random_state=3)
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    knn = make_baseline("knn")
    np.testing.assert_array_equal(comparison.predictions["knn"], cross_val_predict(knn, X, y, cv=folds))
    expected = cross_val_predict(knn, X, y, cv=folds, method="predict_proba")
    np.testing.assert_allclose(comparison.probabilities["knn"], expected, atol=1e-6)
    assert list(comparison.probabilities) == ["knn"]
    top = np.sort(expected, axis=1)
    np.testing.assert_allclose(comparison.margins["knn"], top[:, -1] - top[:, -2], atol=1e-6)
    np.testing.assert_array_equal(comparison.y, y)
    assert len(comparison.fold_scores) == 20
    assert comparison.split.description == "5 stratified folds, 2 repeats"


def test_groups(digits: Any) -> None:
    X, y = digits
    groups = np.arange(400) // 2
    comparison = compare_baselines(X, y, estimators=["knn"], groups=groups, repeats=2)
    for train, test in comparison.split.folds:
        assert not set(groups[train]) & set(groups[test])
    assert sorted(np.concatenate([test for _, test in comparison.split.folds[:5]])) == list(range(400))


def test_tuning_is_nested(digits: Any) -> None:
    """With random labels, tuning on test samples would raise the score."""
    X, y = digits
    labels = np.random.default_rng(0).permutation(y)
    by_chance = compare_baselines(X, labels, estimators=["knn", "svm"], tune=True).table["accuracy_mean"]
    assert (by_chance < 0.17).all()


def test_tuning_random_predictions() -> None:
    """The best of 20 random predictors is good on the samples that selected it, and nowhere else."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), rng.permutation(np.repeat(["a", "b"], 20))
    coins = Baseline("coins", lambda n_train: DummyClassifier(strategy="uniform"), {"random_state": range(20)})
    data = Dataset(X, y, "classification")
    folds = make_split(y, task="classification", repeats=2).folds
    nested = [score_fold(coins, data, fold, None, tune=True).scores["accuracy"] for fold in folds]
    chosen_by_test = [
        max(
            DummyClassifier(strategy="uniform", random_state=seed).fit(X[train], y[train]).score(X[test], y[test])
            for seed in range(20)
        )
        for train, test in folds
    ]
    assert np.mean(nested) < 0.6 < 0.7 < np.mean(chosen_by_test)


@pytest.mark.parametrize("name", ["svm", "linear-svm"])
def test_tuned_svm(name: str, digits: Any) -> None:
    """Tuning with a shared kernel selects the parameters of a plain grid search."""
    X, y = digits
    fold = (np.arange(300), np.arange(300, 400))
    inner = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X[:300], y[:300]))
    grid: dict[str, Any] = {"C": [1, 10, 100]} if name == "svm" else {"C": [0.1, 1, 10]}
    best: tuple[float, Any] = (-1.0, None)
    for params in [{"C": C, "factor": factor} for C in grid["C"] for factor in ([0.3, 1, 3] if name == "svm" else [1])]:
        scores = []
        for train, test in inner:
            gamma = params["factor"] / (X.shape[1] * X[train].var())
            estimator = make_baseline(name).set_params(C=params["C"], gamma=gamma)
            scores.append(estimator.fit(X[train], y[train]).score(X[test], y[test]))
        best = max(best, (float(np.mean(scores)), params), key=lambda candidate: candidate[0])
    gamma = best[1]["factor"] / (X.shape[1] * X[:300].var())
    expected = make_baseline(name).set_params(C=best[1]["C"], gamma=gamma).fit(X[:300], y[:300])
    ours = compare_baselines(X, y, estimators=[name], tune=True, cv=[fold])
    np.testing.assert_array_equal(ours.predictions[name], expected.predict(X[300:]))


def test_estimator_that_cannot_be_fitted(digits: Any) -> None:
    X, y = digits
    comparison = compare_baselines(X - 9, y, estimators=["knn", "MultinomialNB"])
    assert comparison.table["estimator"].tolist() == ["knn"]
    assert comparison.notes[0].startswith(
        "Excluded MultinomialNB, which cannot be fitted to this data: Negative values"
    )
    with pytest.raises(ComparisonError, match="none could be fitted. Excluded MultinomialNB"):
        compare_baselines(X - 9, y, estimators=["MultinomialNB"])
    with pytest.raises(OptionError, match="Cannot create VotingClassifier without arguments"):
        compare_baselines(X, y, estimators=["VotingClassifier"])


def test_untested_classes(digits: Any) -> None:
    """Classes without test samples have a column of probabilities."""
    X, y = digits
    test = np.flatnonzero((y < 5) & (np.arange(400) >= 300))
    comparison = compare_baselines(X, y, estimators=["knn"], cv=[(np.arange(300), test)])
    assert comparison.classes.tolist() == list(range(10))
    np.testing.assert_allclose(comparison.probabilities["knn"].sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("unlabeled", [[0, 1], [398, 399], [5, 300]])
def test_given_folds(unlabeled: list[int], digits: Any) -> None:
    """Indices of given folds are rows of X, with samples without a label."""
    X, y = digits
    labels = y.astype(object)
    labels[unlabeled] = None
    mask = np.arange(400) < 300
    for pair in [(np.arange(300), np.arange(300, 400)), (mask, ~mask)]:
        comparison = compare_baselines(X, labels, estimators=["knn"], cv=[pair])
        train, test = comparison.split.folds[0]
        assert sorted([*train, *test, *unlabeled]) == list(range(400))
        curve = learning_curve(X, labels, comparison.split, estimators=["knn"])
        assert curve["score_mean"].iloc[-1] == pytest.approx(comparison.table["accuracy_mean"].item())
    with pytest.raises(ComparisonError, match="row indices from 0 to 399"):
        compare_baselines(X, labels, cv=[(np.arange(300), [999])])


def test_convergence_note(digits: Any) -> None:
    comparison = compare_baselines(*digits, estimators={"short": LogisticRegression(max_iter=2)})
    assert len(comparison.notes) == 1
    assert comparison.notes[0].startswith("short: 5 fits did not converge: ")


def test_misleading_accuracy() -> None:
    rng = np.random.default_rng(0)
    y = np.array(["many"] * 190 + ["few"] * 10)
    comparison = compare_baselines(rng.normal(size=(200, 5)), y, estimators=["dummy", "knn"])
    assert comparison.notes[-2].startswith(
        "Accuracy is misleading for these imbalanced classes (190 images of many, 10 of few)"
    )
    fair = compare_baselines(rng.normal(size=(200, 5)), np.repeat(["a", "b"], 100), estimators=["dummy", "knn"])
    assert not any("misleading" in note for note in fair.notes)


def test_per_class(digits: Any) -> None:
    X, y = digits
    comparison = compare_baselines(X, y, estimators=["knn"])
    table = comparison.per_class()
    assert table["label"].tolist() == list(range(10))
    assert table["images"].tolist() == np.bincount(y).tolist()
    predicted = comparison.predictions["knn"].to_numpy()
    assert table["recall"].tolist() == [pytest.approx((predicted[y == label] == label).mean()) for label in range(10)]


def test_text_and_html(digits: Any) -> None:
    comparison = compare_baselines(*digits, estimators=["dummy", "knn", "knn"])
    assert "best: knn" in str(comparison)
    assert comparison._repr_html_().count("<tr") == 3


@pytest.mark.parametrize("cv", [1, 0, 2.5, "5"])
def test_invalid_cv(cv: Any) -> None:
    with pytest.raises(OptionError, match="an integer of at least 2"):
        compare_baselines(np.zeros((10, 2)), ["a", "b"] * 5, cv=cv)


def test_near_duplicates_as_groups(digits: Any) -> None:
    X, y = digits
    X, y = np.concatenate([X, X[:30] * 1.001]), np.concatenate([y, y[:30]])
    comparison = compare_baselines(X, y, estimators=["knn"], groups="auto", cv=3)
    assert comparison.duplicates is not None
    assert comparison.duplicates.n_rows >= 60
    for train, test in comparison.split.folds:
        assert not set(comparison.duplicates.groups[train]) & set(comparison.duplicates.groups[test])
    assert "near-duplicates in" in comparison.notes[0]
    with pytest.raises(OptionError, match="groups must be \"auto\".*got 'sites'"):
        compare_baselines(X, y, groups="sites")


def test_plots_and_pickle(digits: Any) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    comparison = compare_baselines(*digits, estimators=["dummy", "knn", "logreg"])
    again = pickle.loads(pickle.dumps(comparison))
    assert comparison.learning_curve.equals(again.learning_curve)
    assert comparison.learning_curve["n_per_class"].tolist()[:3] == [1, 2, 5]
    assert len(comparison.label_issues) < 40
    for axes in (comparison.plot_scores(), comparison.plot_confusion(), comparison.plot_learning_curve()):
        assert axes.get_figure() is not None
    axes = comparison.plot_scores()
    assert axes.get_xlim()[0] > 0.8  # the dummy estimator does not hide the difference of the others
    assert [label.get_text().split(":")[0] for label in axes.get_yticklabels()] == ["dummy", "knn", "logreg"]


def test_groups_with_given_split() -> None:
    X, y = load_iris(return_X_y=True)
    split = compare_baselines(X, y, estimators=["knn"]).split
    groups = np.arange(150) // 2
    comparison = compare_baselines(X, y, estimators=["knn"], cv=split, groups=groups)
    for train, test in comparison.split.folds:
        assert not set(groups[train]) & set(groups[test])
    assert any("in the same group as a test sample" in note for note in comparison.notes)
    assert comparison.split.description == split.description
    with pytest.raises(ComparisonError, match="row"):
        compare_baselines(X[:50], y[:50] + np.arange(50) % 2, estimators=["knn"], cv=split)


def test_few_features() -> None:
    """Settings of linear models suit few features, too."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    comparison = compare_baselines(X, X @ np.ones(5), task="regression", estimators=["ridge", "svr"])
    assert comparison.table["r2_mean"].iloc[0] > 0.98
    assert (comparison.table["high"] <= 1).all()
    assert compare_baselines(*load_iris(return_X_y=True), estimators=["logreg"]).table["accuracy_mean"].iloc[0] > 0.95


def test_columns_of_different_scale() -> None:
    X, y = load_wine(return_X_y=True)
    (note,) = compare_baselines(X, y, estimators=["knn", "logreg"]).notes
    assert note.startswith(
        "The largest standard deviation of a column of X is 388 times the median: such columns dominate knn."
    )
    assert compare_baselines(X, y, estimators=["logreg"]).notes == []
    assert compare_baselines(X / X.std(axis=0), y, estimators=["knn"]).notes == []


def test_ties() -> None:
    comparison = compare_baselines(*load_iris(return_X_y=True), estimators=["dummy", "knn", "lda"])
    assert comparison.ties == ["knn"]
