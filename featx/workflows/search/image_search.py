"""Search of indexed features for query images and texts, batch by batch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from featx.backbones.registry import load_backbone
from featx.errors import FeaturesError
from featx.extraction.extract import extract_rows
from featx.extraction.options import check_on_error
from featx.extraction.text.text_rows import check_has_text, check_text_support, extract_texts
from featx.features.matrix import FeatureMatrix
from featx.features.open import open_features
from featx.features.search.nearest import IndexName, check_top, find_similar, make_index
from featx.features.table_rows import ROW_COLUMNS
from featx.images.image import describe_image
from featx.system.array_types import FloatArray
from featx.system.files import remote
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_count
from featx.system.terminal.progress import stage
from featx.workflows.report.similar_page import write_similar
from featx.workflows.search.matches import ImageMatches, Match, SearchSummary
from featx.workflows.search.recipe_lookup import find_recorded_recipe

_TEXT_QUERY = "A text query"


class ImageSearch:
    """Search of indexed features for query images and texts, batch by batch.

    Parameters
    ----------
    features : FeatureMatrix, str or Path
    top, include_self, index, on_error
        See :func:`similar_images`.
    options : mapping, default={}
        Extraction options of the features, as far as they are known.
    cache : Path or None, default=None
    for_texts : bool, default=False
        Whether texts are among the queries.

    Raises
    ------
    FeaturesError, OptionError
        See :func:`similar_images`.
    """

    def __init__(
        self,
        features: FeatureMatrix | str | os.PathLike[str],
        *,
        top: int = 10,
        include_self: bool = False,
        index: IndexName = "exact",
        options: Mapping[str, Any] | None = None,
        cache: Path | None = None,
        on_error: Literal["skip", "raise"] = "skip",
        for_texts: bool = False,
    ) -> None:
        check_top(top)
        check_on_error(on_error)
        if for_texts and options and "backbone" in options:  # before weights are downloaded
            check_has_text(load_backbone(options["backbone"]), _TEXT_QUERY)
        self.features = features if isinstance(features, FeatureMatrix) else open_features(features)
        self.top = top
        self._recipe = find_recorded_recipe(self.features, options or {}, cache=cache)
        if for_texts:
            check_text_support(self._recipe.resolved, _TEXT_QUERY)
        if not len(self.features):
            raise FeaturesError(
                f"Cannot search {self.features.address!r}: it has no rows. If it is a job, run it first: featx job run."
            )
        self.features.metadata([0])  # raises if there is no table of paths, before a long search
        self._index = make_index(self.features, index)
        self._include_self = include_self
        self._cache = cache
        self._raise_on_error = on_error == "raise"

    @property
    def description(self) -> str:
        """Description of the indexed features and of the recipe of queries."""
        rows = format_count(len(self.features), "row")
        return f"{rows} of {self.features.address}, {self._index.description}; recipe: {self._recipe.origin}."

    def search(self, images: Sequence[Any]) -> list[ImageMatches]:
        """Return the matches of each image, in order.

        Parameters
        ----------
        images : sequence of images

        Raises
        ------
        UnreadableImageError
            If an image cannot be read, with ``on_error="raise"``.
        """
        with stage("search", len(images)) as progress:
            rows, digests, errors = extract_rows(
                images,
                self._recipe.resolved,
                cache=self._cache,
                raise_on_error=self._raise_on_error,
                progress=progress,
            )
        results = [
            ImageMatches(describe_image(image), [], errors.get(position, "")) for position, image in enumerate(images)
        ]
        pending = [position for position in range(len(images)) if position not in errors]
        n_neighbors = self.top + (not self._include_self)
        while pending:
            hex_digests = [digests[position].tobytes().hex() for position in pending]
            neighbors = self._neighbors(rows[pending], hex_digests, n_neighbors)
            not_searched = []
            for position, matches in zip(pending, neighbors, strict=True):
                results[position] = self._select(results[position], images[position], matches)
                # A query that is indexed several times, under one path, may leave too few matches.
                if len(results[position].matches) < self.top and len(matches) == n_neighbors < len(self.features):
                    not_searched.append(position)
            pending = not_searched
            n_neighbors *= 2
        return results

    def search_texts(self, texts: Sequence[str]) -> list[ImageMatches]:
        """Return the matches of each text, in order.

        Parameters
        ----------
        texts : sequence of str
            Descriptions of images.

        Raises
        ------
        OptionError
            If a text is empty.
        """
        rows = extract_texts(texts, self._recipe.resolved, cache=self._cache)
        neighbors = self._neighbors(rows, [""] * len(texts), self.top)
        return [ImageMatches(text, matches, is_text=True) for text, matches in zip(texts, neighbors, strict=True)]

    def _neighbors(self, rows: FloatArray, digests: Sequence[str], n_neighbors: int) -> list[list[Match]]:
        """Return the nearest neighbors of each row; there may be fewer than `n_neighbors`."""
        similar = find_similar(self.features, rows, n_neighbors, index=self._index)
        lines = self.features.metadata(similar.rows.ravel().clip(0))
        paths, labels, indexed_digests = (lines[name] for name in ROW_COLUMNS)
        neighbors = []
        for query, digest in enumerate(digests):
            matches = []
            for rank, row in enumerate(similar.rows[query].tolist()):
                line = query * similar.rows.shape[1] + rank
                if row >= 0:  # approximate indexes pad with -1
                    is_identical = bool(digest) and indexed_digests[line] == digest
                    cosine = float(similar.cosine[query, rank])
                    matches.append(Match(row, paths[line], cosine, labels[line], is_identical))
            neighbors.append(matches)
        return neighbors

    def _select(self, result: ImageMatches, image: Any, matches: list[Match]) -> ImageMatches:
        """Return a result with the best matches, without the query itself unless it is to be included."""
        others = matches if self._include_self else [match for match in matches if not self._is_self(match, image)]
        return dataclasses.replace(result, matches=others[: self.top], self_excluded=len(others) < len(matches))

    def _is_self(self, match: Match, image: Any) -> bool:
        """Return whether a match is the query itself, not a copy under another path."""
        if not match.is_identical or not isinstance(image, str | os.PathLike):
            return False
        # Signatures of URLs are not stored, and change from one signing to the next.
        query, indexed = (
            redact_secrets(path) if remote.is_url(path) else os.path.abspath(path)
            for path in (os.fspath(image), self.features.resolve_path(match.path))
        )
        return query == indexed

    def write_page(self, path: Path, summary: SearchSummary, *, command: str = "") -> None:
        """Write the kept results of a search to an HTML page. See :meth:`SimilarImages.to_html`."""
        write_similar(
            path, summary.kept, self.features, self._index.description, command=command, n_omitted=summary.n_not_kept
        )
