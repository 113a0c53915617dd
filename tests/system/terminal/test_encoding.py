"""Terminals without Unicode: texts of featx in ASCII, and aligned tables."""

from __future__ import annotations

import io
import sys

import pytest

from featx.system.terminal.encoding import spell
from featx.system.terminal.tables import fit_text, format_table, wrap_text


def show_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))


def test_characters_are_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    show_ascii(monkeypatch)
    assert spell("0.9 ± 0.1 – 1 × 2 … R²") == "0.9 +/- 0.1 - 1 x 2 ... R^2"
    assert wrap_text("a – b") == fit_text("a – b") == "a - b"


def test_tables_stay_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    show_ascii(monkeypatch)
    rows = [{"name": "a", "score": "0.9 ± 0.1", "n": 1}, {"name": "photos/" * 9, "score": "0.8", "n": 2}]
    assert format_table(rows, width=36).splitlines() == [
        "name                  score        n",
        "a                     0.9 +/- 0.1  1",
        "photo...otos/photos/  0.8          2",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "unknown"])
def test_unicode_is_unchanged(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", type("Stream", (), {"encoding": encoding})())
    assert spell("±") == ("±" if encoding == "utf-8" else "+/-")
    monkeypatch.setattr(sys, "stdout", None)
    assert spell("±") == "±"
