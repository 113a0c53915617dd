"""The accuracy of estimators on int8 features, beside that on float32 features: the table of the guide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score

from featx import FeatureExtractor
from featx.baselines.estimators import make_baseline
from featx.features.search.cosine import mean_cosine
from featx.system.array_types import AnyArray

ESTIMATORS = ("logreg", "svm", "knn")
#: The repetitions of cross-validation; each is one pair of scores on the same folds.
N_REPEATS = 10


def scores(X: AnyArray, y: AnyArray) -> dict[str, AnyArray]:
    """Return the accuracy of each estimator in each repetition."""
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=N_REPEATS, random_state=0)
    return {
        name: cross_val_score(make_baseline(name), X, y, cv=folds, n_jobs=2).reshape(N_REPEATS, -1).mean(axis=1)
        for name in ESTIMATORS
    }


@pytest.mark.thorough  # 600 fits
@pytest.mark.parametrize("name", ["ucmerced", "digits"])
def test_accuracy_is_within_half_a_point_of_float32(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "ucmerced":
        images = request.getfixturevalue("ucmerced")
        y = np.array([Path(path).parent.name for path in images])
    else:
        digits = load_digits()
        y = digits.target[:900]
        images = [
            np.repeat((image * 255 / 16).astype(np.uint8)[:, :, None], 3, axis=2) for image in digits.images[:900]
        ]
    rows = {
        precision: FeatureExtractor(precision=precision, cache=None).fit_transform(images)
        for precision in ("float32", "int8")
    }
    exact, quantized = (scores(rows[precision], y) for precision in ("float32", "int8"))
    cosine = mean_cosine(rows["int8"], rows["float32"])
    with capsys.disabled():
        print(f"\n{name}: cosine {cosine:.4f}")
        for estimator in ESTIMATORS:
            change = quantized[estimator] - exact[estimator]
            print(
                f"{estimator}: float32 {exact[estimator].mean():.4f}, int8 {quantized[estimator].mean():.4f}, "
                f"change {change.mean():+.4f} ± {change.std(ddof=1) / N_REPEATS**0.5:.4f}"
            )
    for estimator in ESTIMATORS:
        assert quantized[estimator].mean() > exact[estimator].mean() - 0.005, estimator
    assert name == "digits" or cosine >= 0.995
