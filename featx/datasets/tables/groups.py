"""Groups of images, which splits keep together: how they are written, and notes on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featx.datasets.folders.names import normalize_label
from featx.datasets.label_names import similar_names
from featx.datasets.labels import is_missing
from featx.system.formatting import format_count

#: Groups that are missing, as programs write them.
_MISSING = ("", "nan", "NaN", "<NA>", "NaT", "None", "null")


def normalize_groups(groups: Sequence[Any]) -> list[Any]:
    """Return groups without blanks around them, with None for empty ones and for a missing value, also as text.

    Examples
    --------
    >>> normalize_groups(["P1", "P1 ", "nan"])
    ['P1', 'P1', None]
    """
    names = [normalize_label(group) if isinstance(group, str) else group for group in groups]
    return [None if is_missing(name) or (isinstance(name, str) and name in _MISSING) else name for name in names]


def notes_of_groups(groups: Sequence[Any] | None) -> tuple[str, ...]:
    """Return notes on images without a group, and on groups that may be the same one."""
    if groups is None:
        return ()
    notes = []
    if similar := similar_names(groups):
        notes.append(
            f"Groups with similar names are different groups: {similar}. Rename them if they are the same, so that no "
            "split divides them."
        )
    if n_ungrouped := groups.count(None):
        notes.append(f"{format_count(n_ungrouped, 'image')} without a group: each is a group of its own.")
    return tuple(notes)
