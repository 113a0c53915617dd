"""Images → those of which features are on disk that are most similar to each."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from featx.datasets.failures import Failure
from featx.datasets.labels import is_missing
from featx.extraction.extract import extract_rows
from featx.extraction.options import Resolved
from featx.features.matrix import FeatureMatrix
from featx.features.search.nearest import Index, check_top, find_similar
from featx.features.shard_table import ROW_COLUMNS
from featx.images.image import describe_image
from featx.system.array_types import FloatArray
from featx.system.files import remote
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import escape_cell, escape_path_cell, format_count

HEADER = ("path", "rank", "found", "cosine", "label", "note")
SAME = "the same image"


@dataclasses.dataclass(frozen=True)
class Found:
    """An image that was found.

    Attributes
    ----------
    row : int
        Of the features.
    path : str
        As the features have it; what is written and shown is `shown_path`.
    cosine : float
    label : str, int or float, or None
    is_same : bool
        Whether it has the same bytes as the image that was looked for.
    """

    row: int
    path: str
    cosine: float
    label: Any
    is_same: bool

    @property
    def shown_path(self) -> str:
        """The path without what lets anybody in who has it."""
        return redact_secrets(self.path)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was found for an image, the most similar first; or why it cannot be read.

    Attributes
    ----------
    path : str
    found : list of Found
    error : str
    self_excluded : bool
        Whether the image is a row of the features itself, which was found and is not listed.
    """

    path: str
    found: list[Found]
    error: str = ""
    self_excluded: bool = False

    def as_json(self) -> str:
        """Return it as one line of JSON."""
        found = [
            {
                "rank": rank,
                "path": one.shown_path,
                "cosine": round(one.cosine, 6),
                "label": None if is_missing(one.label) else one.label,
                "same": one.is_same,
            }
            for rank, one in enumerate(self.found, 1)
        ]
        return json.dumps(
            {"path": self.path, "found": found, "self_excluded": self.self_excluded, "error": self.error or None}
        )

    def lines(self) -> list[dict[str, object]]:
        """Return a line for each that was found; one with a note if the image cannot be read."""
        if self.error:
            return [dict(zip(HEADER, (self.path, None, "", None, "", self.error), strict=True))]
        return [
            dict(
                zip(
                    HEADER,
                    (
                        self.path,
                        rank,
                        one.shown_path,
                        f"{one.cosine:.4f}",
                        _text(one.label),
                        SAME if one.is_same else "",
                    ),
                    strict=True,
                )
            )
            for rank, one in enumerate(self.found, 1)
        ]


def _text(label: Any) -> str:
    return "" if is_missing(label) else str(label)


class Searcher:
    """Look for images, batch after batch.

    Parameters
    ----------
    features : FeatureMatrix
    resolved : Resolved
        What gives rows of the same recipe.
    index : Index
    top : int, default=10
        How many to find for each.
    include_self : bool, default=False
        List an image that is itself a row of the features, by its path and its bytes. Without, it takes no place;
        rows of the same bytes under other paths are listed either way.
    cache : Path or None, default=None

    Raises
    ------
    OptionError
        `top` cannot be.
    """

    def __init__(
        self,
        features: FeatureMatrix,
        resolved: Resolved,
        index: Index,
        *,
        top: int = 10,
        include_self: bool = False,
        cache: Path | None = None,
    ) -> None:
        check_top(top)
        self._features = features
        self._resolved = resolved
        self._index = index
        self._top = top
        self._with_itself = include_self
        self._cache = cache

    def search(self, images: Sequence[Any], progress: Callable[[int], object] | None = None) -> list[Answer]:
        """Return what is found for each image, in their order; of one that cannot be read, why.

        Parameters
        ----------
        images : sequence of images
            As for :class:`featx.FeatureExtractor`.
        progress : callable, default=None
            Called with numbers of images that are extracted.
        """
        rows, digests, errors = extract_rows(images, self._resolved, cache=self._cache, progress=progress)
        readable = [at for at in range(len(images)) if at not in errors]
        answers = [Answer(describe_image(image), [], errors.get(at, "")) for at, image in enumerate(images)]
        left = readable if len(self._features) else []
        n_wanted = self._top + (not self._with_itself)
        while left:
            found = self._found(rows[left], [digests[at].tobytes().hex() for at in left], n_wanted)
            for at, of_one in zip(left, found, strict=True):
                answers[at] = self._listed(answers[at], images[at], of_one)
            # An image that the features have several times, under one path, takes as many places, and has none.
            left = [
                at
                for at, of_one in zip(left, found, strict=True)
                if len(answers[at].found) < self._top and len(of_one) == n_wanted < len(self._features)
            ]
            n_wanted *= 2
        return answers

    def _found(self, rows: FloatArray, digests: Sequence[str], n_wanted: int) -> list[list[Found]]:
        """Return what is similar to each of some rows, fewer than wanted if there are no more."""
        similar = find_similar(self._features, rows, n_wanted, index=self._index)
        lines = self._features.metadata(similar.rows.ravel().clip(0))
        known = zip(*(lines[name] for name in ROW_COLUMNS), strict=True)
        return [
            [
                Found(row, path, cosine, label, digest == own)
                for row, cosine, (path, label, digest) in zip(numbers, cosines, known, strict=False)
                if row >= 0
            ]
            for own, numbers, cosines in zip(digests, similar.rows.tolist(), similar.cosine.tolist(), strict=True)
        ]

    def _listed(self, answer: Answer, image: Any, found: list[Found]) -> Answer:
        """Return an answer with as many as are wanted of those found, and without the image itself."""
        others = found if self._with_itself else [one for one in found if not self._is_itself(one, image)]
        return dataclasses.replace(answer, found=others[: self._top], self_excluded=len(others) < len(found))

    def _is_itself(self, found: Found, image: Any) -> bool:
        """Return whether a row is that of the image, rather than that of a copy."""
        if not found.is_same or not isinstance(image, str | os.PathLike):
            return False
        both = os.fspath(image), self._features.resolve_path(found.path)
        # Tables hold no signature, and the next one would be another.
        one, other = (redact_secrets(path) if remote.is_url(path) else os.path.abspath(path) for path in both)
        return one == other


def as_csv(answers: Sequence[Answer], *, header: bool = False) -> str:
    """Return answers as lines of CSV, no cell of which a spreadsheet takes for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    for answer in answers:
        for line in answer.lines():
            paths = {name: escape_path_cell(str(line[name])) for name in ("path", "found")}
            words = {name: escape_cell(str(line[name])) for name in ("label", "note")}
            rest = {name: "" if line[name] is None else line[name] for name in ("rank", "cosine")}
            writer.writerow([{**paths, **words, **rest}[name] for name in HEADER])
    return text.getvalue()


@dataclasses.dataclass
class Tally:
    """How many images were looked for, batch after batch."""

    n_found: int = 0
    n_same: int = 0
    n_left_out: int = 0
    n_unreadable: int = 0
    first_unreadable: Failure | None = None

    def add(self, answers: Sequence[Answer]) -> None:
        """Count some more."""
        unreadable = [answer for answer in answers if answer.error]
        n_unreadable = len(unreadable)
        if unreadable and self.first_unreadable is None:
            self.first_unreadable = Failure(self.n_found, unreadable[0].path, unreadable[0].error)
        self.n_unreadable += n_unreadable
        self.n_found += len(answers) - n_unreadable
        self.n_same += sum(answer.self_excluded or any(one.is_same for one in answer.found) for answer in answers)
        self.n_left_out += sum(answer.self_excluded for answer in answers)

    def as_text(self) -> str:
        """Return it for people."""
        parts = [f"{format_count(self.n_found, 'image')} looked for"]
        parts += [f"{self.n_same} of them among the features themselves"] if self.n_same else []
        parts += [f"{self.n_left_out} not listed for itself (--include-self)"] if self.n_left_out else []
        parts += [f"{self.n_unreadable} unreadable"] if self.n_unreadable else []
        return "; ".join(parts) + "."
