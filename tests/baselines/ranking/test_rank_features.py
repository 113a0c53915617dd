from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr
from sklearn.datasets import load_digits

from featx import FeatureExtractor, compare_baselines, find_duplicates, h_score, leave_one_out, log_me, rank_features
from featx.baselines.ranking.ranking import CRITERIA
from featx.errors import ComparisonError, OptionError


@pytest.fixture(scope="module")
def digits() -> tuple[dict[str, Any], Any]:
    """Digits: whole, blurred to 4 × 4, and their first two rows; and noise."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:400].astype(np.float32), y[:400]
    blurred = X.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    noise = np.random.default_rng(0).normal(size=(400, 30))
    return {"noise": noise, "whole": X, "two rows": X[:, :16], "blurred": blurred}, y


def test_order_and_ranks(digits: tuple[dict[str, Any], Any]) -> None:
    features, y = digits
    ranking = rank_features(features, y, groups=None)
    table = ranking.table.set_index("name")
    assert list(table.index) == ["whole", "blurred", "two rows", "noise"]
    assert ranking.best == "whole"
    assert (ranking.n_rows, ranking.n_classes, ranking.task) == (400, 10, "classification")
    for name, X in features.items():
        assert table.loc[name, "loo_ridge"] == leave_one_out(X, y)
        assert table.loc[name, "loo_knn"] == leave_one_out(X, y, method="knn")
        assert table.loc[name, "logme"] == log_me(X, y)
        assert table.loc[name, "h_score"] == h_score(X, y)
        assert table.loc[name, "features"] == X.shape[1]
    for criterion in CRITERIA:
        assert sorted(table[f"{criterion}_rank"]) == [1, 2, 3, 4]
        assert table[f"{criterion}_rank"].idxmin() == table[criterion].idxmax()
    assert table["verdict"].tolist() == ["best", "worse", "worse", "worse"]


def test_logme_breaks_ties() -> None:
    y = np.arange(60) % 2
    clear = np.column_stack([y * 10.0, np.random.default_rng(0).normal(size=60)])
    less_clear = clear + np.random.default_rng(1).normal(size=(60, 2))
    ranking = rank_features({"less clear": less_clear, "clear": clear}, y, groups=None)
    assert ranking.table["loo_ridge"].tolist() == [1, 1]
    assert ranking.table["loo_ridge_rank"].tolist() == [1, 1]
    assert ranking.best == "clear"
    assert ranking.ties == ["less clear"]


def test_text_and_dict(digits: tuple[dict[str, Any], Any]) -> None:
    ranking = rank_features(*digits, groups=None)
    text = str(ranking)
    assert text.startswith("400 rows, 10 classes; ridge and kNN: leave-one-out accuracy")
    assert [line.split()[0] for line in text.splitlines() if line.startswith("* ")] == ["*", "*"]
    assert "* best: whole\n" in text + "\n"
    output = json.loads(json.dumps(ranking.as_dict()))
    assert [row["name"] for row in output["ranking"]] == ["whole", "blurred", "two rows", "noise"]
    assert output["best"] == output["ranking"][0]
    assert output["best"]["p_value"] is None
    assert output["criterion"] == "loo_ridge"


def test_card_shows_numbers_as_the_text_does() -> None:
    X, y = load_digits(return_X_y=True)
    ranking = rank_features({"wide": np.tile(X[:100].astype(np.float32), 20)}, y[:100], groups=None)
    assert "1,280" in str(ranking)
    assert ">1,280</td>" in ranking._repr_html_()


def test_near_duplicates() -> None:
    """Near-duplicates form groups, and LogME and H-score use one of each."""
    X = np.random.default_rng(0).normal(size=(100, 300))
    labels = np.arange(100) % 2
    twice, both = np.concatenate([X, X * 1.001]), np.concatenate([labels, labels])
    leaky, safe, once = (
        rank_features({"noise": rows}, of, groups=groups).table.iloc[0]
        for rows, of, groups in ((twice, both, None), (twice, both, "auto"), (X, labels, None))
    )
    assert leaky["loo_ridge"] > 0.9
    assert leaky["loo_knn"] == 1
    assert leaky["logme"] > once["logme"] + 0.5
    assert safe["loo_ridge"] < 0.65
    assert safe["loo_knn"] < 0.65
    assert safe["logme"] == pytest.approx(once["logme"])
    assert safe["h_score"] == pytest.approx(once["h_score"])
    (note,) = rank_features({"noise": twice}, both).notes
    assert note.startswith("200 near-duplicates in 100 groups: each one is predicted without its group")


def test_classes_of_near_duplicates_only() -> None:
    X = np.repeat(np.random.default_rng(0).normal(size=(2, 50)), 30, axis=0)
    with pytest.raises(ComparisonError, match="have a single group.*Near-duplicates in 'X' form.*groups=None"):
        rank_features({"X": X}, np.repeat(["cat", "dog"], 30))


def test_groups() -> None:
    rng = np.random.default_rng(0)
    places = np.repeat(np.arange(20), 10)
    X = rng.normal(size=(20, 60))[places] + 0.5 * rng.normal(size=(200, 60))
    y = places % 2
    assert rank_features({"X": X}, y, groups=None).table["loo_knn"][0] == 1
    grouped = rank_features({"X": X}, y, groups=[f"place {number}" for number in places]).table
    assert grouped["loo_knn"][0] < 0.7
    assert grouped["loo_ridge"][0] < 0.7


def test_dropped_samples(
    digits: tuple[dict[str, Any], Any],
) -> None:
    features, y = digits
    labels: list[Any] = y.tolist()
    labels[0], labels[1] = None, 99
    ranking = rank_features(features, labels, groups=None)
    assert (ranking.n_rows, ranking.n_classes) == (398, 10)
    assert ranking.notes[0].startswith("Dropped 1 of 400 rows without a label")
    assert ranking.notes[1].startswith("Dropped 1 class with a single sample")
    assert ranking.table["loo_ridge"].max() == leave_one_out(features["whole"][2:], y[2:])


def test_regression(digits: tuple[dict[str, Any], Any]) -> None:
    features, _ = digits
    y = features["whole"].mean(axis=1) + 0.1 * np.random.default_rng(0).normal(size=400)
    ranking = rank_features(features, y, groups=None)
    assert ranking.task == "regression"
    assert ranking.table["name"].tolist()[-1] == "noise"
    assert ranking.table["loo_ridge"][0] > 0.9
    assert ranking.table["h_score"].isna().all()
    assert "ridge and kNN: leave-one-out R²" in str(ranking)
    assert json.loads(json.dumps(ranking.as_dict()))["best"]["h_score_rank"] is None


def test_invalid_input(digits: tuple[dict[str, Any], Any]) -> None:
    features, y = digits
    with pytest.raises(ComparisonError, match="at least one feature matrix"):
        rank_features({}, y)
    with pytest.raises(ComparisonError, match="at least two classes, got one class.*Add samples of another"):
        rank_features(features, np.zeros(400, dtype=int))
    with pytest.raises(ComparisonError, match="two different values, got 400 equal ones"):
        rank_features(features, np.full(400, 0.5))
    with pytest.raises(ComparisonError, match="one label per row"):
        rank_features({**features, "short": np.zeros((3, 3))}, y)
    with pytest.raises(ComparisonError, match="NaN or infinity"):
        rank_features({**features, "bad": np.full((400, 2), np.nan)}, y)
    with pytest.raises(OptionError, match="must be one of 'auto', 'classification', 'regression'"):
        rank_features(features, y, task="ranking")
    with pytest.raises(OptionError, match='must be "auto", None'):
        rank_features(features, y, groups="site")


@pytest.mark.thorough  # extracts eight layers and poolings, and compares baselines on each
def test_order_of_layers(ucmerced: list[str], compiled_cache: Path) -> None:
    """Measured: tau 0.84 and rho 0.92 by ridge, 0.91 and 0.97 by LogME; no accuracy lost."""
    features = {
        f"{layer} {pooling}": FeatureExtractor(layer=layer, pooling=pooling, cache=compiled_cache).transform(ucmerced)
        for layer in (1.0, 0.75, 0.5, 0.25)
        for pooling in ("avg", "max")
    }
    y = [Path(path).parent.name for path in ucmerced]
    ranking = rank_features(features, y)
    groups = find_duplicates(features["1.0 avg"]).groups
    accuracy = [
        compare_baselines(features[name], y, estimators=["logreg", "svm", "knn"], groups=groups)
        .table["accuracy_mean"]
        .max()
        for name in ranking.table["name"]
    ]
    for criterion in ("loo_ridge", "logme"):
        assert kendalltau(ranking.table[criterion], accuracy)[0] > 0.6
        assert spearmanr(ranking.table[criterion], accuracy)[0] > 0.8
    assert max(accuracy) - accuracy[0] < 0.01
