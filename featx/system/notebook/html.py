"""HTML of results in notebooks: escaped, and in the colors of the page, so that it is readable in dark mode."""

from __future__ import annotations

import html
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence

#: No colors: light and dark pages have their own.
_PRE = "margin:0;white-space:pre-wrap;overflow-wrap:anywhere;color:inherit;background:transparent"
_CELL = "text-align:left;padding:2px 8px;"
#: Short cells stay on their line; only long text, such as a path, breaks.
_MAX_UNBROKEN = 24
_LONG = _CELL + "overflow-wrap:anywhere;white-space:normal;min-width:10em"
_SHORT = _CELL + "white-space:nowrap"
#: Maximum number of characters of a text. A notebook is stored with its output.
MAX_CHARACTERS = 20_000


class TextResult:
    """A result whose text is printed in shells and shown in notebooks."""

    @abstractmethod
    def as_text(self) -> str:
        """Return human-readable text."""

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        """Return the text as HTML, for notebooks."""
        return text_to_html(self.as_text())


def text_to_html(text: str) -> str:
    """Return text as HTML; the end of a very long one is cut.

    Examples
    --------
    >>> text_to_html("<b>.jpg").endswith(">&lt;b&gt;.jpg</pre>")
    True
    """
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]}\n… print the object to see all lines"
    return f'<pre style="{_PRE}">{html.escape(text)}</pre>'


def table_to_html(
    rows: Sequence[Mapping[str, str]], caption: str = "", images: Sequence[str] = (), marked: Collection[int] = ()
) -> str:
    """Return rows of text as an HTML table, without the columns that are empty.

    Parameters
    ----------
    rows : sequence of mapping of str to str
        Column names and cells.
    caption : str, default=""
        Text above the table.
    images : sequence of str, default=()
        For each row, the data URL of its thumbnail, or "".
    marked : collection of int, default=()
        Indices of rows in bold type.

    Examples
    --------
    >>> "<td" in table_to_html([{"path": "<b>.jpg"}]), "<b>" in table_to_html([{"path": "<b>.jpg"}])
    (True, False)
    """
    names = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
    head = ["", *names] if images else names
    lines = [f"<p>{html.escape(caption)}</p>" if caption else "", "<table><thead><tr>"]
    lines += [f'<th style="{_style(name)}">{html.escape(name)}</th>' for name in head]
    lines.append("</tr></thead><tbody>")
    for index, row in enumerate(rows):
        picture = f'<img alt="" src="{html.escape(images[index])}">' if images and images[index] else ""
        cells = [f'<td style="{_SHORT}">{picture}</td>'] if images else []
        cells += [f'<td style="{_style(row[name])}">{html.escape(row[name])}</td>' for name in names]
        bold = ' style="font-weight:700"' if index in marked else ""
        lines.append(f"<tr{bold}>{''.join(cells)}</tr>")
    return "".join([*lines, "</tbody></table>"])


def _style(text: str) -> str:
    return _SHORT if len(text) <= _MAX_UNBROKEN else _LONG
