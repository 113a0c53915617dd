from __future__ import annotations

import pytest

from featx.system.formatting import escape_cell


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@A1", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_formulas_are_escaped(text: str) -> None:
    assert escape_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["cat", "", "-2.5", "+3", "a=b"])
def test_other_cells_are_unchanged(text: str) -> None:
    assert escape_cell(text) == text
