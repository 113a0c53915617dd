"""What labels that are written as text are: quantities, whole numbers, truths, or names of classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from featx.datasets.labels import infer_task
from featx.errors import SourceError

#: A whole number as programs write it: 007 is a name.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
#: As Python, JSON and spreadsheets write them.
_TRUTHS = (("True", "False"), ("true", "false"), ("TRUE", "FALSE"))


#: So many different numbers are counted; of more, how many there are is estimated, to half a percent or so.
_MOST_COUNTED = 100_000
#: Odd, and without a pattern in its bits: 2⁶⁴ by the golden ratio.
_MIXER = np.uint64(0x9E3779B97F4A7C15)


class _Different:
    """Counts different numbers in bounded memory: of their hashes, which are evenly spread, the smallest are kept."""

    def __init__(self) -> None:
        self._smallest = np.empty(0, dtype=np.uint64)

    def add(self, values: np.ndarray[Any, Any]) -> None:
        mixed = (values.astype(np.float64) + 0.0).view(np.uint64)  # -0 is 0
        for _ in range(3):
            mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIXER
        mixed ^= mixed >> np.uint64(32)
        if len(self._smallest) == _MOST_COUNTED:
            mixed = mixed[mixed < self._smallest[-1]]
        if len(self._smallest):
            at = np.minimum(np.searchsorted(self._smallest, mixed), len(self._smallest) - 1)
            mixed = mixed[self._smallest[at] != mixed]
        if len(mixed):
            self._smallest = np.union1d(self._smallest, mixed)[:_MOST_COUNTED]

    def count(self) -> int:
        """Return how many there were; of many, about."""
        if len(self._smallest) < _MOST_COUNTED:
            return len(self._smallest)
        return int((_MOST_COUNTED - 1) * 2.0**64 / float(self._smallest[-1]))


class LabelTypeInferrer:
    """Tells of all labels what they are, without keeping them."""

    def __init__(self) -> None:
        self._different = _Different()
        self._n_numbers = self._n_others = 0
        self._has_fractions = False
        self._other = self._infinite = ""
        self._number: float | None = None
        self._are_whole = self._are_truths = True
        self._truths: set[str] = set()

    def add(self, labels: Iterable[str | None]) -> None:
        """Take in some of the labels; None is none."""
        found = []
        for label in labels:
            if label is None:
                continue
            self._see(label)
            if (number := parse_number(label)) is not None:
                found.append(number)
                continue
            self._n_others += 1
            self._other = self._other or label
            if not self._infinite and is_infinite_text(label):
                self._infinite = label
        if found:
            self._number = found[0] if self._number is None else self._number
            self._n_numbers += len(found)
            values = np.array(found)
            self._has_fractions = self._has_fractions or bool((values != np.round(values)).any())
            if not (self._has_fractions or self._n_others):  # else how many there are tells nothing more
                self._different.add(values)

    def _see(self, label: str) -> None:
        self._are_whole = self._are_whole and _WHOLE.fullmatch(label) is not None
        if self._are_truths and label not in self._truths:
            self._truths.add(label)
            self._are_truths = any(self._truths <= set(words) for words in _TRUTHS)

    def name(self, source: str) -> str:
        """Return ``"numbers"``, ``"whole numbers"``, ``"truths"`` or ``"text"``.

        Raises
        ------
        SourceError
            Most are numbers with fractions, and some are no numbers.
        """
        if self._are_quantities(source):
            return "numbers"
        if not self._n_numbers + self._n_others or not (self._are_whole or self._are_truths):
            return "text"
        return "whole numbers" if self._are_whole else "truths"

    def _are_quantities(self, source: str) -> bool:
        if not self._n_numbers or (self._n_others and not (self._n_numbers > self._n_others and self._has_fractions)):
            return False
        if self._infinite:
            raise SourceError(
                f"Labels of {source!r} are quantities, and {self._infinite!r} is infinite. Leave the cell empty."
            )
        if self._n_others:
            raise SourceError(
                f"Labels of {source!r} mix numbers and text: {self._number:g} and {self._other!r}, for example. Leave "
                "the cell empty if the label is missing, or make all of them text."
            )
        if self._has_fractions:
            return True
        # As many of each number as there were, on average: what it is depends on that alone, and not on which they are.
        n_different = self._different.count()
        n_each = 5 if self._n_numbers >= 5 * n_different else 1
        return infer_task(np.arange(min(n_different, 1000)).repeat(n_each)) == "regression"


def infer_types(labels: Sequence[str | None], source: str) -> list[Any]:
    """Return the labels of a table as what all of them are.

    Raises
    ------
    SourceError
        As of :meth:`LabelKind.name`.

    Examples
    --------
    >>> infer_types(["1", None, "2"], "t.csv"), infer_types(["1.5", "2,25"], "t.csv"), infer_types(["007", "8"], "t.csv")
    ([1, None, 2], [1.5, 2.25], ['007', '8'])
    """
    kind = LabelTypeInferrer()
    kind.add(labels)
    name = kind.name(source)
    return [None if label is None else cast_label(label, name) for label in labels]


def cast_label(label: str, kind: str) -> Any:
    """Return a label as what :meth:`LabelKind.name` has found it to be."""
    if kind == "numbers":
        return parse_number(label)
    if kind == "whole numbers":
        return int(label)
    return label.lower() == "true" if kind == "truths" else label


def is_infinite_text(label: str) -> bool:
    """Return whether a text is the infinite number."""
    return label.strip().lower().lstrip("+-") in ("inf", "infinity")


def parse_number(label: str) -> float | None:
    """Return the number that a text is, also with a decimal comma; None if it is none."""
    for text in (label, label.replace(",", ".")):
        try:
            number = float(text)
        except ValueError:
            continue
        return number if np.isfinite(number) else None
    return None
