"""Cards: title, facts, tables, bars and notes of a result, in the colors of the page."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from featx.system.formatting import format_count, shorten_middle

#: Half-transparent gray is seen on light and on dark pages.
_LINE = "rgba(128,128,128,.45)"
_CARD = f"border:1px solid {_LINE};border-radius:6px;padding:10px 14px;margin:4px 0;max-width:70em;color:inherit"
_FACTS = "display:flex;flex-wrap:wrap;gap:6px 28px;margin:6px 0"
_TRACK = f"display:flex;height:14px;border-radius:4px;overflow:hidden;background:{_LINE};margin:2px 0"
_DOT = "display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:4px"
#: Colors of the parts of a bar: with a contrast of at least 3 to white and to black.
COLORS = {"done": "#2e9e5b", "active": "#3b82d6", "bad": "#d0602a", "left": _LINE}
_MAX_VALUE = 300


def card_to_html(title: str, facts: Mapping[str, object], *parts: str, notes: Sequence[str] = ()) -> str:
    """Return a card as HTML.

    Parameters
    ----------
    title : str
    facts : mapping of str to object
        Names and values; empty ones (None, "") are omitted.
    *parts : str
        HTML below the facts: tables and bars.
    notes : sequence of str, default=()
        Remarks, as a list at the end.

    Examples
    --------
    >>> "&lt;b&gt;" in card_to_html("<b>", {}), "<b>" in card_to_html("<b>", {})
    (True, False)
    """
    shown = {name: value for name, value in facts.items() if value is not None and value != ""}
    cells = "".join(
        f'<div><div style="opacity:.75;font-size:85%">{html.escape(name)}</div>'
        f'<div style="overflow-wrap:anywhere">{html.escape(str(value))}</div></div>'
        for name, value in shown.items()
    )
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return "".join(
        [
            f'<div style="{_CARD}"><div style="font-weight:600;overflow-wrap:anywhere">{html.escape(title)}</div>',
            f'<div style="{_FACTS}">{cells}</div>' if cells else "",
            *(f'<div style="overflow-x:auto">{part}</div>' for part in parts if part),
            f'<ul style="margin:6px 0;padding-left:1.4em">{items}</ul>' if items else "",
            "</div>",
        ]
    )


def bar_to_html(parts: Iterable[tuple[str, float, str]]) -> str:
    """Return a bar of several parts with a legend.

    Parameters
    ----------
    parts : iterable of (str, float, str)
        Name, size and color of each part; parts of size 0 are omitted.
    """
    shown = [(name, size, color) for name, size, color in parts if size > 0]
    total = sum(size for _, size, _ in shown) or 1
    segments = "".join(
        f'<div style="width:{100 * size / total:.3f}%;background:{color}"></div>' for _, size, color in shown
    )
    legend = "".join(
        f'<span style="margin-right:16px"><span style="{_DOT};background:{color}"></span>'
        f"{html.escape(name)}: {size:,.0f}</span>"
        for name, size, color in shown
    )
    return f'<div style="{_TRACK}" role="img" aria-label="shares">{segments}</div><div>{legend}</div>'


def share_to_html(name: str, share: float) -> str:
    """Return a name with a bar of its share from 0 to 1, such as a probability."""
    track = f"display:inline-block;width:160px;height:10px;border-radius:3px;background:{_LINE};margin:0 8px"
    fill = f"width:{100 * min(max(share, 0.0), 1.0):.1f}%;height:100%;border-radius:3px;background:{COLORS['active']}"
    return (
        f'<div><span style="{track}"><span style="display:block;{fill}"></span></span>'
        f"{share:.3f} {html.escape(name)}</div>"
    )


def picture_to_html(url: str, title: str = "") -> str:
    """Return a picture with a title that appears on hover, or "" without one."""
    return f'<img alt="{html.escape(title)}" title="{html.escape(title)}" src="{html.escape(url)}">' if url else ""


class Record:
    """A dataclass of a few values, which notebooks show as a card of its fields."""

    def _repr_html_(self) -> str:
        """Return the fields as HTML, for notebooks."""
        assert dataclasses.is_dataclass(self)
        names = [field.name for field in dataclasses.fields(self) if field.repr]
        return card_to_html(type(self).__name__, {name: describe_value(getattr(self, name)) for name in names})


def describe_value(value: Any) -> str:
    """Return a value as short text; of an array its shape, and of a long or nested list its length.

    Examples
    --------
    >>> describe_value([1, 2]), describe_value(list(range(100))), describe_value([(1, 2)]), describe_value("")
    ('[1, 2]', '100 items', '1 item', '')
    """
    if value is None or (isinstance(value, list | tuple | dict) and not value):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}, {' × '.join(map(str, value.shape))}"
    if isinstance(value, str):
        return shorten_middle(value, _MAX_VALUE)
    if isinstance(value, list | tuple | dict) and (len(value) > 20 or any(map(_is_collection, value))):
        return format_count(len(value), "item")
    return shorten_middle(str(value), _MAX_VALUE)


def _is_collection(item: Any) -> bool:
    return hasattr(item, "shape") or isinstance(item, list | tuple | dict)
