from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from featx.system.files.name_files import NameFile, sort_names

CHARACTERS = ["a", "b", "\n", "\0", "é", "🦆", os.fsdecode(b"\xff"), "\u2028"]


def random_names(n_names: int) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(CHARACTERS, k=draw.randint(0, 5))) for _ in range(n_names)]


@pytest.mark.parametrize("n_names", [0, 1, 6, 7, 8, 14, 15, 100])
def test_sort_names_equals_sorted(n_names: int) -> None:
    names = random_names(n_names)
    assert list(sort_names(iter(names), max_in_memory=7)) == sorted(names)


def test_errors_while_listing_are_raised() -> None:
    def names() -> Iterator[str]:
        yield from map(str, range(20))
        raise PermissionError(13, "no")

    with pytest.raises(PermissionError):
        sort_names(names(), max_in_memory=7)
    with pytest.raises(PermissionError):
        NameFile(names())


def test_name_file_is_read_repeatedly() -> None:
    names = random_names(50)
    with NameFile(names) as file:
        assert list(file) == names
        assert list(file) == names
