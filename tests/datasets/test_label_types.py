from __future__ import annotations

import pytest

from featx.datasets.label_types import LabelTypeInferrer


@pytest.mark.parametrize("step", [1, 1000, -7, 10**12])
@pytest.mark.parametrize(("n_each", "label_type"), [(4, "float"), (6, "int")])
def test_rare_integers_are_continuous(step: int, n_each: int, label_type: str) -> None:
    inferrer = LabelTypeInferrer()
    labels = [str(number * step) for number in range(5000)] * n_each
    for start in range(0, len(labels), 1000):
        inferrer.add(labels[start : start + 1000])
    assert inferrer.label_type("t.csv") == label_type


def test_integers_beyond_the_limit_are_continuous() -> None:
    inferrer = LabelTypeInferrer(max_distinct=500)
    for _ in range(6):
        for start in range(0, 5000, 1000):
            inferrer.add([str(number) for number in range(start, start + 1000)])
            assert len(inferrer._distinct) <= 1002
    assert inferrer.label_type("t.csv") == "float"


@pytest.mark.parametrize(("n_distinct", "label_type"), [(1, "int"), (20, "int"), (21, "float"), (500, "float")])
def test_distinct_integers_are_counted_up_to_the_limit(n_distinct: int, label_type: str) -> None:
    inferrer = LabelTypeInferrer(max_distinct=500)
    for _ in range(2):
        inferrer.add([str(number) for number in range(n_distinct)])
    assert inferrer.label_type("t.csv") == label_type
    assert len(inferrer._distinct) == n_distinct


def test_no_labels_are_text() -> None:
    inferrer = LabelTypeInferrer()
    inferrer.add([None, None])
    assert inferrer.label_type("t.csv") == "str"


def test_positive_and_negative_zero_are_one_value() -> None:
    inferrer = LabelTypeInferrer()
    inferrer.add(["0", "-0", "0.0"])
    assert len(inferrer._distinct) == 1


def test_numbers_beside_text_are_not_counted() -> None:
    inferrer = LabelTypeInferrer()
    inferrer.add(["1", "2", "cat"])
    inferrer.add([str(number) for number in range(1000)])
    assert len(inferrer._distinct) <= 2
    assert inferrer.label_type("t.csv") == "str"
