from __future__ import annotations

import numpy as np
import pytest

from featx.datasets import label_types as label_kinds
from featx.datasets.label_types import LabelTypeInferrer


@pytest.mark.parametrize("step", [1, 1000, -7, 10**12])
@pytest.mark.parametrize(("n_each", "name"), [(4, "numbers"), (6, "whole numbers")])
def test_different_numbers_are_told_apart_in_bounded_memory(
    step: int, n_each: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_kinds, "_MOST_COUNTED", 500)
    kind = LabelTypeInferrer()
    labels = [str(number * step) for number in range(5000)] * n_each
    for at in range(0, len(labels), 1000):
        kind.add(labels[at : at + 1000])
        assert len(kind._different._smallest) <= 500
    assert kind.name("t.csv") == name


@pytest.mark.parametrize("n", [0, 1, 20, 21, 99_999])
def test_of_fewer_numbers_the_count_is_exact(n: int) -> None:
    different = label_kinds._Different()
    for _ in range(2):
        different.add(np.concatenate([np.arange(n), -np.arange(n) * 0.0]))
    assert different.count() == n


def test_the_count_of_many_is_near() -> None:
    different = label_kinds._Different()
    for start in range(0, 400_000, 50_000):
        different.add(np.arange(start, start + 50_000))
    assert different.count() == pytest.approx(400_000, rel=0.02)


def test_what_can_be_no_quantity_is_not_counted() -> None:
    kind = LabelTypeInferrer()
    kind.add(["1", "2", "cat"])
    kind.add([str(number) for number in range(1000)])
    assert len(kind._different._smallest) <= 2
    assert kind.name("t.csv") == "text"
