"""Text tables and paragraphs that fit the terminal."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Collection, Mapping, Sequence

#: Limits of the width of a terminal: in a narrower one lines wrap, and wider tables are hard to read.
_MIN_COLUMNS, _MAX_COLUMNS = 40, 200
_MAX_TEXT_COLUMNS = 110
#: Long texts in cells are shortened to no less than this.
_MIN_CELL = 16
_GAP = "  "


def terminal_width() -> int | None:
    """Return the number of columns of the terminal, from 40 to 200; None if standard output goes elsewhere."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return min(max(shutil.get_terminal_size().columns, _MIN_COLUMNS), _MAX_COLUMNS)


def format_table(
    rows: Sequence[Mapping[str, object]],
    *,
    formats: Mapping[str, str] | None = None,
    min_widths: Mapping[str, int] | None = None,
    marked: Collection[int] = (),
    header: bool = True,
    indent: int = 0,
    width: int | None = None,
) -> str:
    """Return rows as a text table: text left-aligned, numbers right-aligned.

    In a terminal, a table that is too wide is fitted: empty columns are omitted, long texts are shortened in the
    middle, and columns that still have no room follow below, beside the first names. Numbers are never shortened.
    Elsewhere, tables have their full width.

    Parameters
    ----------
    rows : sequence of mapping
        Column names and values. None, NaN and False are empty cells, True is "yes".
    formats : mapping of str to str or None, default=None
        Format specifications of numbers, for example ``{"seconds": ".2f"}``.
    min_widths : mapping of str to int or None, default=None
        Minimum widths of columns, where there is room.
    marked : collection of int, default=()
        Indices of rows that begin with ``*``. If there is one, all lines are indented by two characters.
    header : bool, default=True
        Whether to begin with the column names, in which spaces replace underscores.
    indent : int, default=0
        Number of spaces before each line.
    width : int or None, default=None
        Maximum length of a line. None: that of the terminal.

    Examples
    --------
    >>> rows = [{"layer": "conv1", "seconds": 0.5}, {"layer": "relu", "seconds": 10.25}]
    >>> print(format_table(rows, formats={"seconds": ".2f"}, marked=[1]))
      layer  seconds
      conv1     0.50
    * relu     10.25
    >>> print(format_table([{"path": "photos/a/very/long/name/1.jpg", "score": 0.25}], width=24))
    path               score
    photo…/name/1.jpg   0.25
    """
    if not rows:
        return ""
    names = list(rows[0])
    is_text = [any(isinstance(row[name], str) for row in rows) for name in names]
    lines = [[_format_cell(row[name], (formats or {}).get(name)) for name in names] for row in rows]
    if header:
        lines.insert(0, [name.replace("_", " ") for name in names])
    prefixes = ["* " if index in marked else "  " if marked else "" for index in range(-int(header), len(rows))]
    prefixes = [" " * indent + prefix for prefix in prefixes]
    columns = [list(cells) for cells in zip(*lines, strict=True)]
    widths = [max(map(text_width, column)) for column in columns]
    room = (width or terminal_width() or sys.maxsize) - len(prefixes[0])
    wanted = [max(size, (min_widths or {}).get(name, 0)) for name, size in zip(names, widths, strict=True)]
    if _total(wanted) <= room:
        return "\n".join(_join(columns, wanted, is_text, prefixes))
    kept = [index for index, column in enumerate(columns) if any(column[header:])] or [0]
    columns, is_text = [columns[index] for index in kept], [is_text[index] for index in kept]
    widths = [widths[index] for index in kept]
    n_keys = _count_keys(columns, widths, room, header=header)
    columns, widths = _shorten_columns(columns, widths, is_text, room, n_keys, header=header)
    blocks = [
        _join(
            [columns[index] for index in block],
            [widths[index] for index in block],
            [is_text[index] for index in block],
            prefixes,
        )
        for block in _split_columns(widths, room, n_keys)
    ]
    return "\n\n".join(map("\n".join, blocks))


def _shorten_columns(
    columns: list[list[str]], widths: list[int], is_text: list[bool], room: int, n_keys: int, *, header: bool
) -> tuple[list[list[str]], list[int]]:
    """Shorten long texts, the longest column first, until the table fits or none is left."""
    columns, widths = list(columns), list(widths)
    smallest = [
        max(_MIN_CELL, text_width(column[0]) if header else 0) if text and _has_words(column[header:]) else size
        for column, size, text in zip(columns, widths, is_text, strict=True)
    ]
    # At the smallest widths, columns that do not fit move below; the others use the room that this leaves.
    blocks = _split_columns([min(pair) for pair in zip(widths, smallest, strict=True)], room, n_keys)
    for block in blocks:
        while _total([widths[index] for index in block]) > room:
            longest = max(block, key=lambda index: widths[index] - smallest[index])
            if widths[longest] <= smallest[longest]:
                break
            widths[longest] -= 1
    shortened = [
        [cell if text_width(cell) <= size else _shorten(cell, size) for cell in column]
        for column, size in zip(columns, widths, strict=True)
    ]
    return shortened, widths


def _shorten(text: str, size: int) -> str:
    """Return the beginning and the end of a text; more of the end of a path, where file names differ."""
    first_room = (size - 1) // (3 if "/" in text else 2)
    first = _take(text, first_room)
    last = _take(text[::-1], size - 1 - text_width(first))
    return f"{first}…{last[::-1]}"


def _take(characters: str, room: int) -> str:
    """Return the first characters that fit."""
    count = next((count for count in range(len(characters), 0, -1) if text_width(characters[:count]) <= room), 0)
    return characters[:count]


def _has_words(cells: Sequence[str]) -> bool:
    """Return whether cells may be shortened: those without letters are numbers, such as ``0.95 ± 0.01``."""
    return any(character.isalpha() for cell in cells for character in cell)


def _count_keys(columns: list[list[str]], widths: list[int], room: int, *, header: bool) -> int:
    """Return the number of first columns that name the rows, at least one, in three fifths of the room."""
    count = 1
    while count < len(columns) and _has_words(columns[count][header:]) and _total(widths[: count + 1]) <= 0.6 * room:
        count += 1
    return count


def _split_columns(widths: Sequence[int], room: int, n_keys: int) -> list[list[int]]:
    """Return the columns of each block of a table; the first ones, which name the rows, are part of all."""
    blocks = [list(range(n_keys))]
    for index in range(n_keys, len(widths)):
        if _total([widths[column] for column in (*blocks[-1], index)]) > room and len(blocks[-1]) > n_keys:
            blocks.append(list(range(n_keys)))
        blocks[-1].append(index)
    return blocks


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _join(
    columns: Sequence[Sequence[str]], widths: Sequence[int], is_text: Sequence[bool], prefixes: Sequence[str]
) -> list[str]:
    padded = [
        [_pad(cell, size, left=text) for cell in column]
        for column, size, text in zip(columns, widths, is_text, strict=True)
    ]
    return [
        (prefix + _GAP.join(cells)).rstrip() for prefix, cells in zip(prefixes, zip(*padded, strict=True), strict=True)
    ]


def _pad(cell: str, size: int, *, left: bool) -> str:
    spaces = " " * (size - text_width(cell))
    return cell + spaces if left else spaces + cell


def text_width(text: str) -> int:
    """Return the number of columns that a terminal needs for a text.

    Examples
    --------
    >>> text_width("cat"), text_width("猫"), text_width("naïve")
    (3, 2, 5)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _format_cell(value: object, specification: str | None) -> str:
    if value is None or isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float) and math.isnan(value):
        return ""
    if specification and not isinstance(value, str):
        return format(value, specification)
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)


def fit_text(text: str) -> str:
    """Return text in lines that fit the terminal; unchanged if standard output goes elsewhere."""
    return text if terminal_width() is None else wrap_text(text)


def wrap_text(text: str) -> str:
    """Return text in lines that fit the terminal, of at most 110 characters, all but the first indented."""
    columns = min(_MAX_TEXT_COLUMNS, terminal_width() or _MAX_TEXT_COLUMNS)
    return "\n".join(
        textwrap.wrap(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    )
