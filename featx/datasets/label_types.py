"""Infer the type of labels that are written as text: numbers, booleans or class names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from featx.datasets.labels import is_continuous
from featx.datasets.tags import SEPARATOR, Tags, split_tags
from featx.errors import SourceError
from featx.system.array_types import Float64Array, IntArray

#: Type of all labels of a table. "float" labels are continuous targets, with "." or "," before the decimals; "tags" are
#: several names for each image; the others are classes.
LabelType: TypeAlias = Literal["bool", "int", "float", "float_comma", "str", "tags"]

#: An integer as programs write it, also as a float. ``007`` is a name, and longer integers do not fit into 64 bits.
_INTEGER = re.compile(r"(0|-?[1-9][0-9]{0,17})(\.0+)?")
#: Numbers with separators between thousands.
_COMMA_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
_POINT_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+(,[0-9]*)?")
#: Numbers with blanks or apostrophes between thousands, as in France and Switzerland.
_BLANK_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}([\s'’][0-9]{3})+([.,][0-9]*)?")
#: Texts with fewer digits are integers that floats hold.
_MAX_PLAIN = 16
#: Booleans as Python, JSON and spreadsheets write them.
_BOOLEANS = (("True", "False"), ("true", "false"), ("TRUE", "FALSE"))


class LabelTypeInferrer:
    """Inference of the type of labels from all of them. It keeps each distinct integer, in 16 bytes, and no text.

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
        #: Whether numbers have fractions, and the first number that cannot be read, with a decimal point and comma.
        self._has_fractions = {".": False, ",": False}
        self._not_a_number: dict[str, str] = {}
        self._first_with_sign = self._first_with_comma = ""
        self._first_number = self._first_text = self._first_infinite = ""
        self._only_integers = self._only_booleans = True
        self._booleans: set[str] = set()

    def add(self, labels: Iterable[str | None], *, are_typed: bool = False) -> None:
        """Add labels. None is a missing label.

        Parameters
        ----------
        labels : iterable of (str or None)
        are_typed : bool, default=False
            Whether a program wrote numbers as numbers, with a decimal point, and not as text.
        """
        numbers = []
        for label in labels:
            if label is None:
                continue
            self._check_spelling(label)
            if (number := self._read_number(label, is_typed=are_typed)) is not None:
                numbers.append(number)
                self._first_number = self._first_number or label
                continue
            self._n_texts += 1
            self._first_text = self._first_text or label
            if not self._first_infinite and is_infinite_text(label):
                self._first_infinite = label
        if numbers:
            self._add_numbers(numbers)

    def _read_number(self, label: str, *, is_typed: bool) -> float | None:
        """Return a number, and note which decimal signs are possible."""
        number = parse_number(label)
        if number is None or _is_plain(label):
            return number
        if "." not in label and "," not in label:
            for decimal in self._has_fractions:
                self._has_fractions[decimal] |= number != round(number)
            return number
        self._first_with_sign = self._first_with_sign or label
        if "," in label:
            self._first_with_comma = self._first_with_comma or label
        for decimal in self._has_fractions:
            reading = None if is_typed and decimal == "," else parse_number(label, decimal)
            if reading is None:
                self._not_a_number.setdefault(decimal, label)
            else:
                self._has_fractions[decimal] |= reading != round(reading)
        return number

    @property
    def _possible_signs(self) -> list[str]:
        """Decimal signs in which all labels are numbers."""
        return [sign for sign in self._has_fractions if sign not in self._not_a_number]

    def _decimal_sign(self, source: str) -> str:
        """Return the decimal sign of all numbers."""
        label, possible = self._first_with_sign, self._possible_signs
        if len(possible) == 1 or not label:
            return possible[0]
        if possible:
            sign, name = (",", "comma") if "," in label else (".", "point")
            problem = f"in {label!r} the {name} may separate decimals or thousands"
            remedy = (
                f"Write thousands without a separator ({label.replace(sign, '')}), or decimals with a point and more "
                f"digits ({label.replace(sign, '.')}0)"
            )
        else:
            other = self._not_a_number["."]
            other = self._not_a_number[","] if other == label else other
            problem = f"the decimal signs of {label!r} and {other!r} differ"
            remedy = "Write all numbers with a decimal point and without separators of thousands"
        raise SourceError(f"Labels of {source!r} are ambiguous numbers: {problem}. {remedy}.")

    def notes(self) -> list[str]:
        """Return how numbers with commas or thousands are read, and whether numbers are names."""
        if self._n_texts and self._n_numbers:
            numbers = f"{self._first_number!r}, {self._first_text!r}"
            return [f"Labels mix numbers and text ({numbers}): all of them are class names."]
        is_comma = "." in self._not_a_number
        if self._n_texts or not (self._first_with_comma or is_comma):
            return []
        meaning = "a decimal comma" if self._first_with_comma else "points between thousands"
        label = self._first_with_comma or self._first_with_sign
        return [f"Labels are numbers with {meaning if is_comma else 'commas between thousands'}, such as {label!r}."]

    def convert(self, labels: Sequence[str | None], source: str) -> list[Any]:
        """Return labels converted to the type of all labels.

        Raises
        ------
        SourceError
            See :meth:`label_type`.

        Examples
        --------
        >>> inferrer = LabelTypeInferrer()
        >>> inferrer.add(["1.234,5", "2,25"])
        >>> inferrer.convert(["1.234,5", None], "table.csv")
        [1234.5, None]
        """
        label_type = self.label_type(source)
        return [None if label is None else cast_label(label, label_type) for label in labels]

    def _check_spelling(self, label: str) -> None:
        """Note whether all labels so far are spelled as integers, or as booleans of one style."""
        self._only_integers = self._only_integers and _INTEGER.fullmatch(label) is not None
        if self._only_booleans and label not in self._booleans:
            self._booleans.add(label)
            self._only_booleans = any(self._booleans <= set(pair) for pair in _BOOLEANS)

    def _add_numbers(self, numbers: list[float]) -> None:
        self._n_numbers += len(numbers)
        values = np.array(numbers)
        # Fractions and text decide the type without the number of distinct values.
        if not any(self._has_fractions.values()) and not self._n_texts:
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
        {"bool", "int", "float", "float_comma", "str"}

        Raises
        ------
        SourceError
            Most labels are numbers with a fractional part, but some are text or infinite, or decimal signs differ.
        """
        if self._is_continuous(source):
            return "float" if self._decimal_sign(source) == "." else "float_comma"
        if not self._n_numbers + self._n_texts:
            return "str"
        if self._only_integers:
            return "int"
        return "bool" if self._only_booleans else "str"

    def stored_type(self) -> LabelType:
        """Return the type of labels that a program wrote: some may be class names, most of which are numbers."""
        self._not_a_number.setdefault(",", "")
        try:
            return self.label_type("")
        except SourceError:
            return "str"

    def _is_continuous(self, source: str) -> bool:
        signs = self._possible_signs
        # Distinct numbers are counted with a decimal point: those with other signs are continuous.
        has_fractions = any(self._has_fractions[sign] for sign in signs or self._has_fractions) or signs == [","]
        mostly_fractions = has_fractions and self._n_numbers > self._n_texts
        if not self._n_numbers or (self._n_texts and not mostly_fractions):
            return False
        if self._first_infinite:
            raise SourceError(
                f"Labels of {source!r} must be finite numbers, got {self._first_infinite!r}. Leave the cell empty if "
                "the label is missing."
            )
        if self._n_texts:
            raise SourceError(
                f"Labels of {source!r} mix numbers and text, for example {self._first_number!r} and "
                f"{self._first_text!r}. Leave the cell empty if the label is missing. Use only numbers for continuous "
                "targets, or only text for classes."
            )
        return has_fractions or is_continuous(*self._count())


class TagCounts:
    """Counts labels that are tags while a source is listed.

    Attributes
    ----------
    n_untagged : int
        Number of images whose tags are none.
    """

    def __init__(self) -> None:
        self._n_tagged = self.n_untagged = 0
        self._has_texts = False
        self._is_single = True
        self._first: set[str] = set()

    def add(self, labels: Iterable[Any]) -> None:
        """Add labels. None is a missing label."""
        for label in labels:
            if isinstance(label, Tags):
                self._n_tagged += bool(label.names)
                self.n_untagged += not label.names
                self._is_single &= len(label.names) == 1
                if len(self._first) < 2:
                    self._first.update(label.names)
            elif label is not None:
                self._has_texts = True

    @property
    def are_single(self) -> bool:
        """Whether each image has exactly one tag, of several: these are classes."""
        return self._is_single and len(self._first) > 1

    def label_type(self, source: str) -> LabelType | None:
        """Return the type of the labels: "str" if no image has a tag. None: they are single labels.

        Raises
        ------
        SourceError
            Some labels are tags, and others are single labels.
        """
        if not self._n_tagged + self.n_untagged:
            return None
        if self._has_texts:
            raise SourceError(
                f"Labels of {source!r} mix lists of tags and single labels. Write a list in each row, also for one tag."
            )
        return "tags" if self._n_tagged else "str"


def type_of_labels(types: Iterable[type]) -> LabelType:
    """Return the type of labels in memory by the types of their values.

    Examples
    --------
    >>> type_of_labels([int, type(None)]), type_of_labels([int, float]), type_of_labels([str, int])
    ('int', 'float', 'str')
    """
    known = set(types) - {type(None)}
    if known == {Tags}:
        return "tags"
    if known and known <= {bool, np.bool_}:
        return "bool"
    if known and all(issubclass(kind, int | np.integer) and kind is not bool for kind in known):
        return "int"
    is_number = all(issubclass(kind, int | float | np.integer | np.floating) and kind is not bool for kind in known)
    return "float" if known and is_number else "str"


def cast_label(label: str, label_type: str) -> Any:
    """Return a label converted to a type of :meth:`LabelTypeInferrer.label_type`, or to tags."""
    if label_type == "tags":
        return split_tags(label, SEPARATOR)
    if label_type in ("float", "float_comma"):
        return parse_number(label, "," if label_type == "float_comma" else ".")
    if label_type == "int":
        return int(label.partition(".")[0])
    return label.lower() == "true" if label_type == "bool" else label


def is_infinite_text(label: str) -> bool:
    """Return whether a text means infinity."""
    return label.strip().lower().lstrip("+-") in ("inf", "infinity")


def _is_plain(label: str) -> bool:
    """Return whether a text consists of a few digits, as most labels that are numbers do."""
    return len(label) < _MAX_PLAIN and label.isascii() and label.isdecimal()


def parse_number(label: str, decimal: str | None = None) -> float | None:
    """Return the finite number that a text holds. None: it is not a number.

    Parameters
    ----------
    label : str
    decimal : {".", ","} or None, default=None
        Sign before decimals; the other one may separate thousands. None: the first in which the text is a number.

    Examples
    --------
    >>> parse_number("1,234.5"), parse_number("1,234", ","), parse_number("1,23"), parse_number("1,2,3")
    (1234.5, 1.234, 1.23, None)
    """
    if _is_plain(label):
        return float(label)
    label = label.strip().replace("\N{MINUS SIGN}", "-")
    if _BLANK_THOUSANDS.fullmatch(label):
        label = re.sub(r"[\s'’]", "", label)
    for sign in (decimal,) if decimal else (".", ","):
        text = label
        if sign == "," and (_POINT_THOUSANDS.fullmatch(text) or "." not in text):
            text = text.replace(".", "").replace(",", ".")
        elif sign == "." and _COMMA_THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        elif sign == ",":
            continue
        try:
            number = float(text)
        except ValueError:
            continue
        return number if np.isfinite(number) else None
    return None
