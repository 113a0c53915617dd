"""Characters that a terminal or file without Unicode cannot show, and their spelling in ASCII."""

from __future__ import annotations

import codecs
import sys

#: Characters in texts of featx, and how they are written in ASCII.
_SPELLINGS = {
    **{"×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "±": "+/-", "÷": "/", "·": "-", "→": "->"},
    **{
        "≥": ">=",
        "≤": "<=",
        "²": "^2",
        "’": "'",
        "“": '"',
        "”": '"',
        "\N{NO-BREAK SPACE}": " ",
        "\N{REPLACEMENT CHARACTER}": "?",
    },
}
_TABLE = str.maketrans(_SPELLINGS)


def spell(text: str) -> str:
    """Return text for standard output: where it has no Unicode, characters of featx are spelled in ASCII.

    Examples
    --------
    >>> spell("0.911")
    '0.911'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if text.isascii():
        return text
    try:
        text.encode(encoding, "surrogateescape")
    except (UnicodeEncodeError, LookupError):
        return text.translate(_TABLE)
    return text


def replace_character(error: UnicodeEncodeError) -> tuple[str | bytes, int]:
    """Handle an encoding error: spell the character in ASCII, or escape it."""
    character = error.object[error.start]
    if spelling := _SPELLINGS.get(character):
        return spelling, error.start + 1
    single = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.backslashreplace_errors(single)
