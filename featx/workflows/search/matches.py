"""Matches of query images, as JSON, CSV and text."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from featx.datasets.failures import Failure
from featx.datasets.labels import is_missing, label_to_json
from featx.system.files.output_paths import header_pattern, starts_with
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import escape_cell, escape_path_cell, format_count
from featx.system.notebook.cards import Record, card_to_html
from featx.system.notebook.html import table_to_html

COLUMNS = ("path", "rank", "match", "cosine", "label", "note")
#: Note on a match whose file is identical to that of the query.
IDENTICAL = "identical file"

#: Whether an existing file holds matches, as CSV or JSON lines.
is_matches_file = starts_with(header_pattern(COLUMNS), rb'\A\{"(path|text)": [^\n]*, "matches": \[')

#: Number of matches that notebooks show.
_MAX_SHOWN = 30


@dataclasses.dataclass(frozen=True)
class Match(Record):
    """An image that is similar to a query.

    Attributes
    ----------
    row : int
        Row of the features.
    path : str
        Path as stored with the features; `shown_path` is for output.
    cosine : float
        Cosine similarity to the query.
    label : str, int, float or None
    is_identical : bool
        Whether its file is identical to that of the query.

    See Also
    --------
    ImageMatches : All matches of a query.

    Examples
    --------
    >>> from featx import Match
    >>> match = Match(7, "photos/a.jpg", 0.93, None, False)
    >>> match.shown_path, match.shown_label
    ('photos/a.jpg', '')
    """

    row: int
    path: str
    cosine: float
    label: Any
    is_identical: bool

    @property
    def shown_path(self) -> str:
        """Path without credentials."""
        return redact_secrets(self.path)

    @property
    def shown_label(self) -> str:
        """Label as text, or "" if there is none."""
        return "" if is_missing(self.label) else str(self.label)


@dataclasses.dataclass(frozen=True)
class ImageMatches:
    """The images most similar to one query.

    Attributes
    ----------
    path : str
        Path of the query image, or the text.
    matches : list of Match
        Most similar image first.
    error : str, default=""
        Why the query cannot be read.
    self_excluded : bool, default=False
        Whether the query itself is indexed and is not among the matches.
    is_text : bool, default=False
        Whether the query is a text.

    See Also
    --------
    similar_images : Returns one for each query.

    Examples
    --------
    >>> from featx import ImageMatches, Match
    >>> matches = [Match(7, "a.jpg", 0.93, "cat", False), Match(2, "b.jpg", 0.90, "dog", False)]
    >>> result = ImageMatches("query.jpg", matches)
    >>> [match.path for match in result.matches if match.cosine > 0.92]
    ['a.jpg']
    >>> [record["label"] for record in result.records()]
    ['cat', 'dog']
    """

    path: str
    matches: list[Match]
    error: str = ""
    self_excluded: bool = False
    is_text: bool = False

    def _repr_html_(self) -> str:
        """Return the matches with thumbnails as HTML, for notebooks."""
        from featx.images.thumbnails import thumbnail_url

        rows = [
            {name: "" if value is None else str(value) for name, value in record.items() if name != "path"}
            for record in self.records()[:_MAX_SHOWN]
        ]
        pictures = [thumbnail_url(row["match"]) if row["match"] else "" for row in rows]
        return card_to_html(f"Images similar to {self.path}", {}, table_to_html(rows, images=pictures))

    def as_json(self) -> str:
        """Return the matches as one line of JSON."""
        matches = [
            {
                "rank": rank,
                "path": match.shown_path,
                "cosine": round(match.cosine, 6),
                "label": label_to_json(match.label),
                "identical": match.is_identical,
            }
            for rank, match in enumerate(self.matches, 1)
        ]
        query = {"text" if self.is_text else "path": self.path}
        record = {**query, "matches": matches, "self_excluded": self.self_excluded}
        return json.dumps({**record, "error": self.error or None})

    def records(self) -> list[dict[str, object]]:
        """Return a table row for each match, or a single one with a note if the query cannot be read."""
        if self.error:
            return [dict(zip(COLUMNS, (self.path, None, "", None, "", self.error), strict=True))]
        return [
            {
                "path": self.path,
                "rank": rank,
                "match": match.shown_path,
                "cosine": f"{match.cosine:.4f}",
                "label": match.shown_label,
                "note": IDENTICAL if match.is_identical else "",
            }
            for rank, match in enumerate(self.matches, 1)
        ]


def matches_csv(results: Iterable[ImageMatches], *, header: bool = False) -> str:
    """Return matches as lines of CSV without cells that spreadsheets evaluate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    for result in results:
        for record in result.records():
            escape_query = escape_cell if result.is_text else escape_path_cell
            safe = {"path": escape_query(str(record["path"])), "match": escape_path_cell(str(record["match"]))}
            safe |= {name: escape_cell(str(record[name])) for name in ("label", "note")}
            cells = {name: "" if value is None else value for name, value in {**record, **safe}.items()}
            writer.writerow([cells[name] for name in COLUMNS])
    return text.getvalue()


@dataclasses.dataclass
class SearchSummary:
    """Number of queries of a search, and the first results.

    Parameters
    ----------
    max_kept : int, default=0
        Maximum number of results to keep in `kept`.
    """

    max_kept: int = 0
    kept: list[ImageMatches] = dataclasses.field(default_factory=list)
    n_searched: int = 0
    n_texts: int = 0
    n_indexed: int = 0
    n_excluded: int = 0
    n_unreadable: int = 0
    first_unreadable: Failure | None = None

    def add(self, results: Sequence[ImageMatches]) -> None:
        """Count the queries of a batch."""
        unreadable = [result for result in results if result.error]
        if unreadable and self.first_unreadable is None:
            self.first_unreadable = Failure(self.n_searched, unreadable[0].path, unreadable[0].error)
        self.n_unreadable += len(unreadable)
        n_texts = sum(result.is_text for result in results)
        self.n_texts += n_texts
        self.n_searched += len(results) - len(unreadable) - n_texts
        self.n_excluded += sum(result.self_excluded for result in results)
        self.n_indexed += sum(
            result.self_excluded or any(match.is_identical for match in result.matches) for result in results
        )
        self.kept += results[: self.max_kept - len(self.kept)]

    @property
    def n_not_kept(self) -> int:
        """Number of queries whose results were not kept."""
        return self.n_searched + self.n_texts + self.n_unreadable - len(self.kept)

    def as_text(self) -> str:
        """Return the summary as one sentence."""
        n_images = self.n_searched + self.n_unreadable
        parts = [format_count(self.n_texts, "query text")] if self.n_texts else []
        parts += [format_count(self.n_searched, "query image")] if n_images or not self.n_texts else []
        whose = "its own match" if self.n_excluded == 1 else "their own matches"
        parts += [f"{self.n_indexed:,} in the index"] if self.n_indexed else []
        parts += [f"{self.n_excluded:,} not listed as {whose}"] if self.n_excluded else []
        parts += [f"{self.n_unreadable:,} unreadable"] if self.n_unreadable else []
        return "; ".join(parts) + "."
