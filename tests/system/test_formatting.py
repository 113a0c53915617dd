from __future__ import annotations

import pytest

from featx.system.formatting import escape_cell, first_line


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@A1", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_formulas_are_escaped(text: str) -> None:
    assert escape_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["cat", "", "-2.5", "+3", "a=b"])
def test_other_cells_are_unchanged(text: str) -> None:
    assert escape_cell(text) == text


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Exception from src/core.cpp:57:\nCheck 'ok' failed at src/a.cpp:8:\nUnable to read x.\n", "Unable to read x"),
        ('Traceback (most recent call last):\n  File "a.py", line 3\nValueError: no', "ValueError: no"),
        ("cannot identify image file <_io.BytesIO object at 0x7f28992846d0>", "cannot identify image file"),
        ("-----\nOOM when allocating:\n", "OOM when allocating"),
        ("failed at a.cpp:3", "failed at a.cpp:3"),
        ("x" * 500, "x" * 199 + "…"),
        ("\n", "ValueError"),
    ],
)
def test_errors_of_libraries_in_one_line(message: str, expected: str) -> None:
    assert first_line(ValueError(message)) == expected
