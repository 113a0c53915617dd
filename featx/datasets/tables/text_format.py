"""How a text file of columns is written: compression, encoding, separator, and whether it has column names."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import gzip
import itertools
import re
from collections.abc import Iterator
from typing import IO

from featx.datasets.folders.names import is_image_name
from featx.errors import OptionError

_UNDECODED = re.compile("[\udc80-\udcff]")
_SEPARATORS = (",", ";", "\t", "|")
#: First line of a file for spreadsheets.
_SEPARATOR_LINE = re.compile(r"\"?sep=([^\s\"])\"?", re.IGNORECASE)
#: Number of first lines that decide the format.
_N_LINES = 20
#: Number of characters that are checked at a time.
_BLOCK = 2**20
#: Values that cannot be decoded as UTF-8 are decoded as this, which contains Latin-1.
FALLBACK_ENCODING = "cp1252"


@dataclasses.dataclass(frozen=True)
class TextFormat:
    """Format of a text file of columns.

    Attributes
    ----------
    encoding : str
    separator : str
        Separator of the columns. " ": a path, and after the last blank a label.
    names : list of str or None
        Names of the columns if the file has none. None: the first line has them.
    is_utf8 : bool, default=True
        Whether all bytes are in the encoding.
    repeated : tuple of str
        Names that several columns have.
    n_skipped : int, default=0
        Number of first lines that are no rows: ``sep=;``, for spreadsheets.
    """

    encoding: str
    separator: str
    names: list[str] | None
    is_utf8: bool = True
    repeated: tuple[str, ...] = ()
    n_skipped: int = 0

    @classmethod
    def of(cls, path: str, encoding: str | None = None) -> TextFormat:
        """Return the format of a file by its first lines. `encoding` is that of the user, if any.

        Raises
        ------
        OptionError
            The encoding is unknown.
        """
        encoding = _encoding(path) if encoding is None else checked_encoding(encoding)
        with open_text(path, encoding) as file:
            lines = [line.rstrip("\r\n") for line in itertools.islice(file, _N_LINES)]
        given = _SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
        lines = lines[1:] if given else lines
        is_list = _suffix(path) == ".txt"
        separator = "\t" if _suffix(path) in (".tsv", ".tab") else _separator(lines, default=" " if is_list else ",")
        separator = given[1] if given else separator
        rows = list(split_lines(iter(lines), separator))
        has_images = [any(map(_is_image, row)) for row in rows]
        has_names = not has_images[0] and (not is_list or any(has_images)) if rows else True
        if not has_names:
            names = _default_names(rows[0])
            return cls(encoding, separator, names, is_valid(path, encoding), n_skipped=int(given is not None))
        names = [name.strip() for name in rows[0]] if rows else []
        repeated = tuple(name for name in dict.fromkeys(names) if name and names.count(name) > 1)
        return cls(encoding, separator, None, is_valid(path, encoding), repeated, int(given is not None))


def checked_encoding(encoding: str) -> str:
    """Return the standard name of a text encoding.

    Raises
    ------
    OptionError
        It is unknown.

    Examples
    --------
    >>> checked_encoding("Windows-1251")
    'cp1251'
    """
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # encodings of bytes, such as base64, are no text encodings
    except (LookupError, TypeError):
        raise OptionError(
            f"encoding (--encoding) must be a text encoding that Python knows, such as 'cp1251', got {encoding!r}."
        ) from None
    return name


def open_text(path: str, encoding: str) -> IO[str]:
    """Open a text file, which may be compressed. Bytes that are not in the encoding become lone surrogates."""
    if path.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding=encoding, errors="surrogateescape", newline="")
    return open(path, encoding=encoding, errors="surrogateescape", newline="")


def split_lines(lines: Iterator[str], separator: str) -> Iterator[list[str]]:
    """Yield the cells of each line that is not empty."""
    if separator != " ":
        yield from (row for row in csv.reader(lines, delimiter=separator) if row)
        return
    for line in lines:
        text = line.strip()
        if text:
            yield _split_at_spaces(text)


def _split_at_spaces(text: str) -> list[str]:
    """Return path and label of a line: a path ends with the suffix of an image, and both may have spaces.

    Several numbers after the path are a cell each: tags, or boxes.

    Examples
    --------
    >>> _split_at_spaces("my photo.png red car"), _split_at_spaces("00012 cat"), _split_at_spaces("1.png 0 1 1")
    (['my photo.png', 'red car'], ['00012', 'cat'], ['1.png', '0', '1', '1'])
    """
    if _is_image(text):
        return [text]
    for space in _SPACES.finditer(text):
        path, label = text[: space.start()], text[space.end() :]
        if _is_image(path):
            cells = label.split()
            return [path, *(cells if all(map(_NUMBER.fullmatch, cells)) else [label])]
    return text.rsplit(None, 1)


def repair_text(text: str) -> str:
    r"""Return text whose bytes that are not UTF-8 are decoded as Latin-1.

    Examples
    --------
    >>> repair_text(b"caf\xe9".decode("utf-8", "surrogateescape"))
    'café'
    """
    if text.isascii() or not has_undecoded(text):
        return text
    return text.encode("utf-8", "surrogateescape").decode(FALLBACK_ENCODING, "replace")


def has_undecoded(text: str) -> bool:
    """Return whether text contains bytes that could not be decoded."""
    return _UNDECODED.search(text) is not None


def _suffix(path: str) -> str:
    name = path.lower().removesuffix(".gz")
    return name[name.rfind(".") :]


def _encoding(path: str) -> str:
    """Return the encoding of a text file by its first bytes. Spreadsheets write UTF-16 as "Unicode text"."""
    opened = gzip.open if path.lower().endswith(".gz") else open
    with opened(path, "rb") as file:
        start = file.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def is_valid(path: str, encoding: str) -> bool:
    """Return whether all bytes of a file are in the encoding."""
    with open_text(path, encoding) as file:
        return not any(not block.isascii() and has_undecoded(block) for block in iter(lambda: file.read(_BLOCK), ""))


def _separator(lines: list[str], default: str) -> str:
    """Return the separator that divides all lines into the same number of columns, else the one of the first line.

    Spreadsheets write semicolons where numbers have a decimal comma.
    """
    numbers: dict[str, int] = {}
    for separator in _SEPARATORS:
        n_columns = {len(row) for row in split_lines(iter(lines), separator)}
        if len(n_columns) == 1 and (n := n_columns.pop()) > 1:
            numbers[separator] = n
    if numbers:
        return max(numbers, key=lambda separator: numbers[separator])
    first = lines[0] if lines else ""
    return next((separator for separator in _SEPARATORS if separator in first), default)


_SPACES = re.compile(r"\s+")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


def _is_image(cell: str) -> bool:
    text = cell.strip().strip("\"'")
    return is_image_name(text.partition("?")[0])


def _default_names(row: list[str]) -> list[str]:
    """Return names for the columns of a file without names: path, and label if there are two."""
    path = next((index for index, cell in enumerate(row) if _is_image(cell)), 0)
    names = [f"column {number}" for number in range(1, len(row) + 1)]
    names[path] = "path"
    if len(row) == 2:
        names[1 - path] = "label"
    return names
