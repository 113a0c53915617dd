"""Text tables and paragraphs that fit the terminal."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from featx.system.terminal.encoding import spell

#: Limits of the width of a terminal: in a narrower one lines wrap, and wider tables are hard to read.
_MIN_COLUMNS, _MAX_COLUMNS = 40, 200
_MAX_TEXT_COLUMNS = 110
#: Long texts in cells are shortened to no less than this.
_MIN_CELL = 16
#: Columns are not made wider than this in order that different texts remain different.
_MAX_KEY = 40
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

    In a terminal, a table that is too wide is fitted: empty columns are omitted and long texts are shortened in the
    middle. If this is not enough, texts that are the same in all rows stand above the table, and columns without room
    follow below, with those that name the rows. Numbers are never shortened. Elsewhere, tables have their full width.

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
    lines = [[spell(_format_cell(row[name], (formats or {}).get(name))) for name in names] for row in rows]
    if header:
        lines.insert(0, [spell(name.replace("_", " ")) for name in names])
    prefixes = ["* " if index in marked else "  " if marked else "" for index in range(-int(header), len(rows))]
    prefixes = [" " * indent + prefix for prefix in prefixes]
    columns = [list(cells) for cells in zip(*lines, strict=True)]
    widths = [max(map(text_width, column)) for column in columns]
    room = (width or terminal_width() or sys.maxsize) - len(prefixes[0])
    wanted = [max(size, (min_widths or {}).get(name, 0)) for name, size in zip(names, widths, strict=True)]
    if _total(wanted) <= room:
        return "\n".join(_join(columns, wanted, is_text, prefixes))
    return "\n\n".join(_fit(_Cells(columns, is_text, prefixes, header), room))


@dataclasses.dataclass(frozen=True)
class _Cells:
    """Cells of a table, column by column; the first of each is its name if there is a header."""

    columns: list[list[str]]
    is_text: list[bool]
    prefixes: list[str]
    header: bool

    def select(self, columns: Sequence[int], rows: Sequence[int] | None = None) -> _Cells:
        """Return some columns, of all rows or of some."""
        rows = range(len(self.prefixes)) if rows is None else rows
        return _Cells(
            [[self.columns[column][row] for row in rows] for column in columns],
            [self.is_text[column] for column in columns],
            [self.prefixes[row] for row in rows],
            self.header,
        )

    def values(self, column: int) -> list[str]:
        """Return the cells of a column without its name."""
        return self.columns[column][self.header :]

    def is_name(self, column: int) -> bool:
        """Return whether a column may be shortened: those without letters are numbers, such as ``0.95 ± 0.01``."""
        return self.is_text[column] and any(letter.isalpha() for cell in self.values(column) for letter in cell)

    def min_width(self, column: int) -> int:
        """Return the width to which a column may be shortened: different texts remain different, where possible."""
        cells = self.columns[column]
        full = max(map(text_width, cells))
        first = max(_MIN_CELL, text_width(cells[0]) if self.header else 0)
        if full <= first or not self.is_name(column):
            return full
        n_different = len(set(cells))
        sizes = range(first, min(full, _MAX_KEY))
        return next((size for size in sizes if len({_fit_cell(cell, size) for cell in cells}) == n_different), first)


def _fit(cells: _Cells, room: int) -> list[str]:
    """Return the parts of a table that is too wide: what all rows share, and blocks of columns."""
    cells = cells.select([column for column in range(len(cells.columns)) if any(cells.values(column))] or [0])
    widths = [cells.min_width(column) for column in range(len(cells.columns))]
    if not cells.header or _total(widths) <= room:
        return _blocks(cells, room)
    shared = _shared_columns(cells)
    above = [_shared_line(cells, column, room) for column in shared]
    left = cells.select([column for column in range(len(widths)) if column not in shared])
    groups = _row_groups(left, room)
    parts = _blocks(left, room) if not groups else []
    for group in groups:
        part = left.select(range(len(left.columns)), [0, *group])
        parts.append(_shared_line(part, 0, room))
        parts += _blocks(part.select(range(1, len(part.columns))), room)
    return ["\n".join(above), *parts] if above else parts


def _shared_columns(cells: _Cells) -> list[int]:
    """Return the columns with the same text in all rows, unless no other text names the rows."""
    names = [column for column in range(len(cells.columns)) if cells.is_name(column)]
    shared = [column for column in names if len(cells.values(column)) > 1 and len(set(cells.values(column))) == 1]
    return shared if len(shared) < len(names) else []


def _row_groups(cells: _Cells, room: int) -> list[list[int]]:
    """Return the rows of each text in the first column, where the columns that name the rows have no room together."""
    n_names = _count_names(cells)
    widths = [cells.min_width(column) for column in range(len(cells.columns))]
    if n_names < 2 or _total([*widths[:n_names], max(widths[n_names:], default=0)]) <= room:
        return []
    groups: dict[str, list[int]] = {}
    for row, text in enumerate(cells.values(0), 1):
        groups.setdefault(text, []).append(row)
    return list(groups.values())


def _count_names(cells: _Cells) -> int:
    """Return the number of first columns, of names and integers, that distinguish all rows; 1 if none do."""
    n_rows = len(cells.values(0))
    for count in range(1, len(cells.columns) + 1):
        if not (cells.is_name(count - 1) or all(cell.replace(",", "").isdigit() for cell in cells.values(count - 1))):
            break
        if len(set(zip(*map(cells.values, range(count)), strict=True))) == n_rows:
            return count
    return 1


def _shared_line(cells: _Cells, column: int, room: int) -> str:
    name, text = cells.columns[column][:2]
    line = f"{name}: {text}" if name else text
    indent = " " * len(cells.prefixes[0])
    wide = len(indent) + room
    return textwrap.fill(line, wide, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)


def _blocks(cells: _Cells, room: int) -> list[str]:
    """Return blocks of columns that fit the room; the first ones, which name the rows, are part of all."""
    n_keys = _count_keys(cells, room)
    columns, widths = _shorten_columns(cells, room, n_keys)
    return [
        "\n".join(
            _join(
                [columns[index] for index in block],
                [widths[index] for index in block],
                [cells.is_text[index] for index in block],
                cells.prefixes,
            )
        )
        for block in _split_columns(widths, room, n_keys)
    ]


def _shorten_columns(cells: _Cells, room: int, n_keys: int) -> tuple[list[list[str]], list[int]]:
    """Shorten long texts, the longest column first, until the table fits or none is left."""
    widths = [max(map(text_width, column)) for column in cells.columns]
    smallest = [cells.min_width(column) for column in range(len(widths))]
    # At the smallest widths, columns that do not fit move below; the others use the room that this leaves.
    for block in _split_columns(smallest, room, n_keys):
        while _total([widths[index] for index in block]) > room:
            longest = max(block, key=lambda index: widths[index] - smallest[index])
            if widths[longest] <= smallest[longest]:
                break
            widths[longest] -= 1
    shortened = [[_fit_cell(cell, size) for cell in column] for column, size in zip(cells.columns, widths, strict=True)]
    return shortened, widths


def _fit_cell(cell: str, size: int) -> str:
    return cell if text_width(cell) <= size else _shorten(cell, size)


def _shorten(text: str, size: int) -> str:
    """Return the beginning and the end of a text; more of the end of a path, where file names differ."""
    mark = spell("…")
    first_room = (size - len(mark)) // (3 if "/" in text else 2)
    first = _take(text, first_room)
    last = _take(text[::-1], size - len(mark) - text_width(first))
    return f"{first}{mark}{last[::-1]}"


def _take(characters: str, room: int) -> str:
    """Return the first characters that fit."""
    count = next((count for count in range(len(characters), 0, -1) if text_width(characters[:count]) <= room), 0)
    return characters[:count]


def _count_keys(cells: _Cells, room: int) -> int:
    """Return the number of first columns that are part of each block: those that name the rows, and short ones."""
    widths = [max(map(text_width, column)) for column in cells.columns]
    count = _count_names(cells)
    smallest = [cells.min_width(column) for column in range(len(widths))]
    if _total([*smallest[:count], max(smallest[count:], default=0)]) > room:
        count = 1
    while count < len(widths) and cells.is_name(count) and _total(widths[: count + 1]) <= 0.6 * room:
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
    return f"{value:,}" if isinstance(value, int) else str(value)


def fit_text(text: str) -> str:
    """Return text in lines that fit the terminal; on one line if standard output goes elsewhere."""
    return spell(text) if terminal_width() is None else wrap_text(text)


def wrap_text(text: str, indent: str = "") -> str:
    """Return text in lines that fit the terminal, of at most 110 characters, all but the first indented by two more."""
    columns = min(_MAX_TEXT_COLUMNS, terminal_width() or _MAX_TEXT_COLUMNS)
    lines = textwrap.wrap(
        spell(text),
        columns,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)
