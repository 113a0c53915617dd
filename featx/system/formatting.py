"""Human-readable numbers and names; cells that no spreadsheet runs as a formula."""

from __future__ import annotations

import re
from collections.abc import Sequence

from featx.system.files.url_secrets import redact_secrets


def format_count(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural unless the number is 1.

    Examples
    --------
    >>> format_count(1, "row"), format_count(1200, "row"), format_count(2, "corrupt copy")
    ('1 row', '1,200 rows', '2 corrupt copies')
    >>> format_count(2, "class"), format_count(2, "match"), format_count(2, "matrix")
    ('2 classes', '2 matches', '2 matrices')
    """
    return f"{number:,} {noun if number == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    for ending, plural in (("y", "ies"), ("ix", "ices")):
        if noun.endswith(ending):
            return noun.removesuffix(ending) + plural
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def format_bytes(number: int) -> str:
    """Return a number of bytes with its unit.

    Examples
    --------
    >>> format_bytes(999), format_bytes(3_440_000), format_bytes(2 * 10**12)
    ('999 bytes', '3.4 MB', '2.0 TB')
    """
    if number < 1000:
        return f"{number} bytes"
    size = float(number)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 1000 or unit == "TB":
            break
    return f"{size:.1f} {unit}"


def format_percent(fraction: float, n_digits: int = 0) -> str:
    """Return a fraction as a percentage.

    Examples
    --------
    >>> format_percent(0.954), format_percent(0.954, 1)
    ('95 %', '95.4 %')
    """
    return f"{100 * fraction:.{n_digits}f} %"


def format_duration(seconds: float) -> str:
    """Return a duration with its unit.

    Examples
    --------
    >>> format_duration(90), format_duration(600), format_duration(9000), format_duration(10**6)
    ('90 s', '10 min', '2.5 hours', '11.6 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} hours" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def format_ties(ties: Sequence[str], where: str = "") -> str:
    """Return the names of ties; if there are many, their number and where they are listed.

    Examples
    --------
    >>> format_ties(["knn", "svm"]), format_ties(["a", "b", "c", "d"], "ties in the table")
    ('knn and svm', '4 others (ties in the table)')
    """
    if len(ties) <= 3:
        return " and ".join(filter(None, (", ".join(ties[:-1]), *ties[-1:])))
    return f"{len(ties)} others" + (where and f" ({where})")


#: Lines of errors of libraries that name their source code, and objects that have no name.
_INTERNAL_LINE = re.compile(r"Exception from |Check '|Traceback|File \"|.*\.(cpp|hpp|cc|py):\d+\W*$|[-=^~\s]*$")
_OBJECT = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>")


def first_line(error: BaseException, max_length: int = 200) -> str:
    r"""Return the first line of an error message that means something, without its period; else the type of the error.

    Lines that name source code of a library are skipped, a long line is shortened, and objects in memory are omitted.

    Examples
    --------
    >>> first_line(ValueError("The file is empty.\nAt line 1.")), first_line(MemoryError())
    ('The file is empty', 'MemoryError')
    >>> first_line(RuntimeError("Exception from src/core.cpp:57:\nCheck 'ok' failed at src/a.cpp:8:\nUnable to read x"))
    'Unable to read x'
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    meaningful = [line for line in lines if line and not _INTERNAL_LINE.match(line)]
    line = _OBJECT.sub("", next(iter(meaningful or filter(None, lines)), "")).rstrip(" .:")
    if not line:
        return type(error).__name__
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"


def format_list(names: Sequence[object], max_names: int = 3) -> str:
    """Return the first few names and the number of the others.

    Examples
    --------
    >>> format_list(["a", "b"]), format_list([1, 2, 3, 4, 5])
    ("'a', 'b'", '1, 2, 3 and 2 more')
    """
    shown = ", ".join(repr(name) for name in names[:max_names])
    return shown if len(names) <= max_names else f"{shown} and {len(names) - max_names:,} more"


def as_printable(text: str) -> str:
    """Return a name without secrets and unprintable characters.

    Examples
    --------
    >>> as_printable("https://host/1.jpg?sig=abc")
    'https://host/1.jpg?sig=…'
    """
    return "".join(character if character.isprintable() else "\ufffd" for character in redact_secrets(text))


def shorten(text: str, max_length: int = 60) -> str:
    """Return the end of a long name, where file names differ, without secrets and unprintable characters.

    Examples
    --------
    >>> shorten("photos/" * 20 + "1.jpg", 20), shorten("https://host/1.jpg?sig=abc", 12)
    ('…photos/photos/1.jpg', '…1.jpg?sig=…')
    """
    text = as_printable(text)
    return text if len(text) <= max_length else "…" + text[1 - max_length :]


def shorten_middle(text: str, max_length: int) -> str:
    """Return the beginning and the end of a long name, without secrets and unprintable characters.

    Examples
    --------
    >>> shorten_middle("a class with a very long name", 20)
    'a class w… long name'
    """
    text = as_printable(text)
    if len(text) <= max_length:
        return text
    n_first = (max_length - 1) // 2
    return text[:n_first] + "…" + text[n_first - max_length + 1 :]


def escape_cell(text: str) -> str:
    """Return the text of a CSV cell, with a leading ``'`` if spreadsheets would run it as a formula.

    Examples
    --------
    >>> escape_cell("cat"), escape_cell("=1+1"), escape_cell("-2.5")
    ('cat', "'=1+1", '-2.5')
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def escape_path_cell(path: str) -> str:
    """Return the path of a CSV cell, without secrets, with a leading ``./`` if it would be run as a formula.

    Examples
    --------
    >>> escape_path_cell("=1+1.jpg"), escape_path_cell("https://host/1.jpg?size=2&sig=abc")
    ('./=1+1.jpg', 'https://host/1.jpg?size=2&sig=…')
    """
    path = redact_secrets(path)
    return path if escape_cell(path) == path else f"./{path}"
