from __future__ import annotations

import os
import random

import pytest

from featx.datasets import external_sort as sorting
from featx.datasets.external_sort import in_order


@pytest.mark.parametrize("n_names", [0, 1, 6, 7, 8, 14, 15, 100])
def test_names_come_as_sorted_gives_them(n_names: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "_AT_ONCE", 7)
    letters = ["a", "b", "\n", "\0", "é", "🦆", os.fsdecode(b"\xff"), "\u2028"]
    draw = random.Random(0)
    names = ["".join(draw.choices(letters, k=draw.randint(0, 5))) for _ in range(n_names)]
    assert list(in_order(iter(names))) == sorted(names)


def test_what_fails_while_names_are_listed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "_AT_ONCE", 7)

    def names() -> object:
        yield from map(str, range(20))
        raise PermissionError(13, "no")

    with pytest.raises(PermissionError):
        in_order(names())  # type: ignore[arg-type]
