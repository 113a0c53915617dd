"""Numbers as people write them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from featx.system.files.url_secrets import without_secrets


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural if it is not one.

    Examples
    --------
    >>> counted(1, "row"), counted(1200, "row"), counted(2, "damaged copy")
    ('1 row', '1,200 rows', '2 damaged copies')
    """
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun}"


def in_bytes(number: int) -> str:
    """Return a number of bytes.

    Examples
    --------
    >>> in_bytes(999), in_bytes(3_440_000), in_bytes(2 * 10**12)
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


def in_duration(seconds: float) -> str:
    """Return how long something takes.

    Examples
    --------
    >>> in_duration(90), in_duration(600), in_duration(9000), in_duration(10**6)
    ('90 s', '10 min', '2.5 hours', '11.6 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} hours" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def listed(names: Sequence[object], most: int = 3) -> str:
    """Return the first few names, and how many more there are.

    Examples
    --------
    >>> listed(["a", "b"]), listed([1, 2, 3, 4, 5])
    ("'a', 'b'", '1, 2, 3 and 2 more')
    """
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def shortened(text: str, most: int = 60) -> str:
    """Return the end of a long name, where file names differ; what cannot be printed is replaced.

    What lets anybody in who has an address is left out: what is shown is passed on.

    Examples
    --------
    >>> shortened("photos/" * 20 + "1.jpg", 20), shortened("https://host/1.jpg?sig=abc", 12)
    ('…photos/photos/1.jpg', '…1.jpg?sig=…')
    """
    text = "".join(character if character.isprintable() else "\ufffd" for character in without_secrets(text))
    return text if len(text) <= most else "…" + text[1 - most :]


def abridged(text: str, most: int) -> str:
    """Return the beginning and the end of a long name; what cannot be printed is replaced.

    Examples
    --------
    >>> abridged("a class with a name that never ends, it seems", 20)
    'a class w…, it seems'
    """
    text = shortened(text, len(text))
    return text if len(text) <= most else text[: (most - 1) // 2] + "…" + text[(most - 1) // 2 - most + 1 :]


def wrapped(text: str) -> str:
    """Return text in lines of 110 characters, the second and later ones indented."""
    return "\n".join(textwrap.wrap(text, 110, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def as_cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: with ``'`` in front if it begins like one.

    Examples
    --------
    >>> as_cell("cat"), as_cell("=1+1"), as_cell("-2.5")
    ('cat', "'=1+1", '-2.5')
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def as_path_cell(path: str) -> str:
    """Return a path that no spreadsheet takes for a formula, and that leads to the same file.

    What lets anybody in who has an address, a signature or a token, is left out: tables are passed on.

    Examples
    --------
    >>> as_path_cell("=1+1.jpg"), as_path_cell("photos/1.jpg"), as_path_cell("https://host/1.jpg?size=2&sig=abc")
    ('./=1+1.jpg', 'photos/1.jpg', 'https://host/1.jpg?size=2&sig=…')
    """
    path = without_secrets(path)
    return path if as_cell(path) == path else f"./{path}"


def as_columns(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows under their names, numbers to the right; a truth is a yes or nothing, and None is nothing.

    Examples
    --------
    >>> print(as_columns([{"layer": "conv1", "features": 32}, {"layer": "relu", "features": 1024}]))
    layer  features
    conv1        32
    relu       1024
    """
    if not rows:
        return ""
    cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in rows[0]}
    is_text = {name: any(isinstance(row[name], str) for row in rows) for name in rows[0]}
    lines = [{name: name.replace("_", " ") for name in rows[0]}, *cells]
    return "\n".join(
        "  ".join(f"{line[name]:{'<' if is_text[name] else '>'}{widths[name]}}" for name in widths).rstrip()
        for line in lines
    )


def _cell(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
