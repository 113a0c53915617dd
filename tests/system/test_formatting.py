from __future__ import annotations

import pytest

from featx.system.formatting import escape_cell, format_table


def test_table() -> None:
    rows = [
        {"name": "a", "n_rows": 12_000, "score": 0.5, "local": True, "note": None},
        {"name": "long name", "n_rows": 3, "score": float("nan"), "local": False, "note": "x"},
    ]
    assert format_table(rows, formats={"score": ".3f"}).splitlines() == [
        "name       n rows  score  local  note",
        "a          12,000  0.500    yes",
        "long name       3                x",
    ]


def test_marked_table_without_header() -> None:
    rows = [{"name": "a"}, {"name": "b"}]
    assert format_table(rows, marked=[1], header=False).splitlines() == ["  a", "* b"]


def test_empty_table() -> None:
    assert format_table([]) == ""


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@A1", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_formulas_are_escaped(text: str) -> None:
    assert escape_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["cat", "", "-2.5", "+3", "a=b"])
def test_other_cells_are_unchanged(text: str) -> None:
    assert escape_cell(text) == text
