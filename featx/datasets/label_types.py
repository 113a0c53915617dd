"""Infers the type of labels that are written as text: numbers, booleans or class names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from featx.datasets.labels import is_continuous
from featx.errors import SourceError
from featx.system.array_types import Float64Array, IntArray

#: Type of all labels of a table. "float" labels are continuous targets; the others are classes.
LabelType: TypeAlias = Literal["bool", "int", "float", "str"]

#: An integer as programs write it. ``007`` is a name, and longer integers do not fit into 64 bits.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
#: Booleans as Python, JSON and spreadsheets write them.
_BOOLEANS = (("True", "False"), ("true", "false"), ("TRUE", "FALSE"))


class LabelTypeInferrer:
    """Infers the type of labels from all of them. It keeps each distinct integer, in 16 bytes, and no text.

    Examples
    --------
    >>> inferrer = LabelTypeInferrer()
    >>> inferrer.add(["1", None, "2"])
    >>> inferrer.label_type("table.csv")
    'int'
    """

    def __init__(self) -> None:
        self._counted = np.empty(0), np.empty(0, dtype=np.int64)
        self._uncounted: list[tuple[Float64Array, IntArray]] = []
        self._n_uncounted = 0
        self._n_numbers = self._n_texts = 0
        self._has_fractions = False
        self._first_number: float | None = None
        self._first_text = self._first_infinite = ""
        self._only_integers = self._only_booleans = True
        self._booleans: set[str] = set()

    def add(self, labels: Iterable[str | None]) -> None:
        """Add labels. None is a missing label."""
        numbers = []
        for label in labels:
            if label is None:
                continue
            self._check_spelling(label)
            if (number := parse_number(label)) is not None:
                numbers.append(number)
                continue
            self._n_texts += 1
            self._first_text = self._first_text or label
            if not self._first_infinite and is_infinite_text(label):
                self._first_infinite = label
        if numbers:
            self._add_numbers(numbers)

    def _check_spelling(self, label: str) -> None:
        """Note whether all labels so far are spelled as integers, or as booleans of one style."""
        self._only_integers = self._only_integers and _INTEGER.fullmatch(label) is not None
        if self._only_booleans and label not in self._booleans:
            self._booleans.add(label)
            self._only_booleans = any(self._booleans <= set(pair) for pair in _BOOLEANS)

    def _add_numbers(self, numbers: list[float]) -> None:
        if self._first_number is None:
            self._first_number = numbers[0]
        self._n_numbers += len(numbers)
        values = np.array(numbers)
        self._has_fractions = self._has_fractions or bool((values != np.round(values)).any())
        # Fractions and text decide the type without the number of distinct values.
        if not self._has_fractions and not self._n_texts:
            self._uncounted.append(np.unique(values, return_counts=True))
            self._n_uncounted += len(self._uncounted[-1][0])
            # Merging only when as many values wait as are known costs one sort for each doubling of their number.
            if self._n_uncounted > len(self._counted[0]):
                self._count()

    def _count(self) -> tuple[Float64Array, IntArray]:
        """Return the distinct integers and how often each occurs."""
        parts = [self._counted, *self._uncounted]
        values, codes = np.unique(np.concatenate([part for part, _ in parts]), return_inverse=True)
        counts = np.zeros(len(values), dtype=np.int64)
        np.add.at(counts, codes, np.concatenate([part for _, part in parts]))
        self._counted, self._uncounted, self._n_uncounted = (values, counts), [], 0
        return self._counted

    def label_type(self, source: str) -> LabelType:
        """Return the type of all labels.

        Parameters
        ----------
        source : str
            Name of the table, for error messages.

        Returns
        -------
        {"bool", "int", "float", "str"}

        Raises
        ------
        SourceError
            Most labels are numbers with a fractional part, but some are text or infinite.
        """
        if self._is_continuous(source):
            return "float"
        if not self._n_numbers + self._n_texts:
            return "str"
        if self._only_integers:
            return "int"
        return "bool" if self._only_booleans else "str"

    def _is_continuous(self, source: str) -> bool:
        mostly_fractions = self._has_fractions and self._n_numbers > self._n_texts
        if not self._n_numbers or (self._n_texts and not mostly_fractions):
            return False
        if self._first_infinite:
            raise SourceError(
                f"Labels of {source!r} must be finite numbers, got {self._first_infinite!r}. Leave the cell empty if "
                "the label is missing."
            )
        if self._n_texts:
            raise SourceError(
                f"Labels of {source!r} mix numbers and text, for example {self._first_number:g} and "
                f"{self._first_text!r}. Leave the cell empty if the label is missing. Use only numbers for continuous "
                "targets, or only text for classes."
            )
        return self._has_fractions or is_continuous(*self._count())


def infer_types(labels: Sequence[str | None], source: str) -> list[Any]:
    """Return the labels of a table converted to their common type.

    Raises
    ------
    SourceError
        See :meth:`LabelTypeInferrer.label_type`.

    Examples
    --------
    >>> infer_types(["1", None, "2"], "t.csv"), infer_types(["1.5", "2,25"], "t.csv")
    ([1, None, 2], [1.5, 2.25])
    >>> infer_types(["007", "8"], "t.csv")
    ['007', '8']
    """
    inferrer = LabelTypeInferrer()
    inferrer.add(labels)
    label_type = inferrer.label_type(source)
    return [None if label is None else cast_label(label, label_type) for label in labels]


def cast_label(label: str, label_type: str) -> Any:
    """Return a label converted to a type of :meth:`LabelTypeInferrer.label_type`."""
    if label_type == "float":
        return parse_number(label)
    if label_type == "int":
        return int(label)
    return label.lower() == "true" if label_type == "bool" else label


def is_infinite_text(label: str) -> bool:
    """Return whether a text means infinity."""
    return label.strip().lower().lstrip("+-") in ("inf", "infinity")


def parse_number(label: str) -> float | None:
    """Return the finite number that a text holds, also with a decimal comma. None: it is not a number."""
    for text in (label, label.replace(",", ".")):
        try:
            number = float(text)
        except ValueError:
            continue
        return number if np.isfinite(number) else None
    return None
