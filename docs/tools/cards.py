"""Lists that the site shows as cards, while their pages stay plain Markdown.

The list follows the comment ``<!-- cards -->``. An entry is ``- [Title](page.md): text``, and may end with a picture,
``![description](picture.png)``.
"""

from __future__ import annotations

import re

_LIST = re.compile(r"^<!-- cards -->\n\n((?:- .*\n(?:  .*\n)*)+)", flags=re.MULTILINE)
_ENTRY = re.compile(
    r"- (?P<link>\[[^\]]*\]\(\S+?\)): (?P<text>.*?)(?:\s*!\[(?P<alt>[^\]]*)\]\((?P<image>\S+?)\))?\s*", flags=re.DOTALL
)


def lists_to_grids(text: str) -> str:
    """Return a page with a grid of sphinx-design instead of each list of cards."""
    return _LIST.sub(lambda match: _grid(match[1]), text)


def _grid(entries: str) -> str:
    cards = [_card(entry) for entry in re.split(r"\n(?=- )", entries)]
    return "\n".join(["::::{grid} 1 2 2 3", ":gutter: 3", "", *cards, "::::", ""])


def _card(entry: str) -> str:
    parts = _ENTRY.fullmatch(entry)
    if parts is None:
        raise ValueError(f"An entry of a list of cards must be '- [Title](page.md): text', got {entry!r}.")
    picture = [f":img-top: {parts['image']}", f":img-alt: {parts['alt']}"] if parts["image"] else []
    return "\n".join([f":::{{grid-item-card}} {parts['link']}", *picture, "", parts["text"], ":::", ""])
