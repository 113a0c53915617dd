from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, RepeatedStratifiedKFold, StratifiedKFold

from featx.baselines.folds.groups import group_codes
from featx.baselines.folds.make_split import check_split_options, make_split
from featx.errors import ComparisonError, OptionError

Y = np.repeat(["a", "b"], 20)


def test_stratified_k_fold() -> None:
    ours = make_split(Y, task="classification", cv=4, random_state=3)
    usual = StratifiedKFold(4, shuffle=True, random_state=3).split(Y, Y)
    for (train, test), (usual_train, usual_test) in zip(ours.folds, usual, strict=True):
        np.testing.assert_array_equal(train, usual_train)
        np.testing.assert_array_equal(test, usual_test)
    assert ours.test_ratio == pytest.approx(1 / 3)


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=12, max_size=60),
    groups=st.lists(st.integers(0, 12), min_size=60, max_size=60),
    cv=st.integers(2, 6),
    repeats=st.integers(1, 3),
)
def test_any_groups(labels: list[int], groups: list[int], cv: int, repeats: int) -> None:
    """No group is divided, and each sample is tested once per repeat."""
    y, codes = np.array(labels), np.array(groups[: len(labels)])
    usable = [label for label in set(labels) if len(set(codes[y == label])) > 1]
    try:
        split = make_split(y, task="classification", cv=cv, repeats=repeats, groups=codes)
    except ComparisonError as error:
        if "Cannot create folds" not in str(error):
            assert len(usable) < 2
        return
    assert len(usable) >= 2
    kept = None
    by_repeat: list[list[Any]] = [[]]
    for fold in split.folds:
        if by_repeat[-1] and set(fold[1]) & set(np.concatenate([test for _, test in by_repeat[-1]])):
            by_repeat.append([])
        by_repeat[-1].append(fold)
    assert len(by_repeat) == repeats
    assert len(by_repeat[0]) == len(split.first_repeat)
    for folds in by_repeat:
        tested = np.sort(np.concatenate([test for _, test in folds]))
        kept = tested if kept is None else kept
        np.testing.assert_array_equal(tested, kept)
        for train, test in folds:
            assert len(train)
            assert len(test)
            assert not set(codes[train]) & set(codes[test])
            assert set(y[test]) <= set(y[train])
            assert len(set(y[train])) > 1
            np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), kept)
    assert kept is not None
    assert (len(kept) == len(y)) == (not any("Dropped" in note for note in split.notes))


def test_repeats() -> None:
    split = make_split(Y, task="classification", cv=4, repeats=3, random_state=1)
    tests = [tuple(test) for _, test in split.folds]
    assert len(set(tests)) == 12
    assert list(split.first_repeat) == [0, 1, 2, 3]
    again = make_split(Y, task="classification", cv=4, repeats=3, random_state=1)
    assert tests == [tuple(test) for _, test in again.folds]
    assert split.description == "4 stratified folds, 3 repeats"


def test_class_of_single_group() -> None:
    y = np.array(["a"] * 6 + ["b"] * 6 + ["c"] * 4)
    groups = np.array([*range(12), 50, 50, 50, 50])
    split = make_split(y, task="classification", cv=3, groups=groups)
    assert split.notes == ["Dropped 1 class with a single sample or group (4 samples): 'c'."]
    assert max(test.max() for _, test in split.folds) < 12


def test_fewer_groups_than_folds() -> None:
    split = make_split(Y, task="classification", groups=np.tile([0, 1, 2], 14)[:40])
    assert split.notes == ["3 folds instead of 5: there are 3 groups."]


def test_a_class_with_fewer_groups_than_folds() -> None:
    y = np.array(["a"] * 12 + ["b"] * 12)
    groups = np.array([*range(12), *([12] * 6), *([13] * 6)])
    split = make_split(y, task="classification", groups=groups)
    assert split.notes == ["2 folds instead of 5: the smallest class, 'b', has 2 groups."]
    assert all(set(y[test]) == {"a", "b"} for _, test in split.folds)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_single_group(task: str) -> None:
    with pytest.raises(ComparisonError, match="at least two groups, got one for all 40 samples.*another column"):
        make_split(Y, task=task, groups=np.zeros(40))


def test_regression() -> None:
    values = np.arange(40.0)
    assert make_split(values, task="regression").description == "5 folds"
    groups = np.arange(40) // 10
    split = make_split(values, task="regression", groups=groups)
    assert split.notes == ["4 folds instead of 5: there are 4 groups."]
    for train, test in split.folds:
        assert not set(groups[train]) & set(groups[test])


def test_given_folds_with_groups() -> None:
    train, test = np.arange(30), np.arange(30, 40)
    groups = np.arange(40)
    groups[35] = groups[3]
    split = make_split(Y, task="classification", cv=[(train, test)], groups=groups)
    assert split.notes == ["Dropped 1 training sample in the same group as a test sample."]
    assert split.description == "29 training, 10 test samples"
    assert 3 not in split.folds[0][0]


def test_scikit_learn_splitter() -> None:
    groups = np.arange(40) // 4
    split = make_split(Y, task="classification", cv=GroupKFold(5), groups=groups)
    assert split.description == "5 given folds"


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ([([0, 1], [1, 2])], "The training and test split must have disjoint"),
        ([([0, 1], [99])], "row indices from 0 to 39"),
        ([([0, 1], [])], "must have training and test samples, got 2 and 0"),
        ([(["x"], [1])], "row indices"),
    ],
    ids=str,
)
def test_invalid_folds(cv: Any, message: str) -> None:
    with pytest.raises(ComparisonError, match=message):
        make_split(Y, task="classification", cv=cv)


@pytest.mark.parametrize("cv", ["5", 2.5, None, True, 1, [], [1, 2]])
def test_invalid_cv(cv: Any) -> None:
    with pytest.raises(OptionError, match="an integer of at least 2, a scikit-learn splitter"):
        check_split_options(cv, 1)


def test_classes_without_training_samples() -> None:
    with pytest.raises(ComparisonError, match="training samples of at least two classes, got 'a'"):
        make_split(Y, task="classification", cv=[(np.arange(10), np.arange(20, 30))])
    y = np.array(["a", "b"] * 10 + ["c"] * 20)
    split = make_split(y, task="classification", cv=[(np.arange(10), np.arange(20, 30))])
    assert split.notes == [
        "No training samples for 1 tested class, whose samples are therefore always misclassified: 'c'."
    ]


def test_first_repeat_of_splitter() -> None:
    split = make_split(Y, task="classification", cv=RepeatedStratifiedKFold(n_splits=4, n_repeats=3))
    assert (len(split.folds), list(split.first_repeat)) == (12, [0, 1, 2, 3])


def test_missing_groups() -> None:
    groups = [None, float("nan"), *("g" + str(index // 3) for index in range(38))]
    split = make_split(Y, task="classification", groups=groups)
    assert np.concatenate([test for _, test in split.folds]).size == 40
    assert len(np.unique(group_codes(groups, 40))) == 15


@pytest.mark.parametrize("n", [4, 5, 8])
def test_few_samples_regression(n: int) -> None:
    split = make_split(np.arange(n) + 0.5, task="regression")
    assert min(len(test) for _, test in split.folds) >= 2
    with pytest.raises(ComparisonError, match="at least four samples"):
        make_split(np.arange(3) + 0.5, task="regression")
