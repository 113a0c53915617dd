"""Find the indexed images that are most similar to query images and texts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from featx.datasets.image_table import ImagesLike
from featx.datasets.tables.streams import as_images
from featx.errors import OptionError
from featx.extraction.engines.engine import PrecisionName
from featx.extraction.options import ExtractionOptions, resolve_cache
from featx.features.matrix import FeatureMatrix
from featx.features.search.nearest import IndexName
from featx.images.thumbnails import thumbnail_url
from featx.system.files.atomic import write_text
from featx.system.files.output_paths import as_output_error
from featx.system.formatting import format_count
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import table_to_html
from featx.system.terminal.progress import ProgressFunction, reporting, stage
from featx.system.terminal.tables import format_table
from featx.workflows.report.similar_page import max_queries
from featx.workflows.search.image_search import ImageSearch
from featx.workflows.search.matches import ImageMatches, SearchSummary, matches_csv

_BATCH_SIZE = 4096
#: Maximum number of matches that notebooks show.
_MAX_SHOWN_MATCHES = 30


@dataclasses.dataclass(frozen=True)
class SimilarImages(Sequence[ImageMatches]):
    """The images most similar to each query, a sequence of ``ImageMatches``.

    Attributes
    ----------
    results : list of ImageMatches
        One for each query, in order.
    search : ImageSearch
        The search that returned them.

    See Also
    --------
    similar_images : Find the images most similar to queries.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from featx import extract_images, similar_images
    >>> reddish = np.full((32, 32, 3), (250, 10, 10), dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for color in ("red", "lime", "blue"):
    ...         PIL.Image.new("RGB", (32, 32), color).save(f"{folder}/{color}.png")
    ...     features = f"{folder}/features.npy"
    ...     _ = extract_images(folder, features, backbone="color_histogram", cache=None)
    ...     similar = similar_images(features, [reddish], top=1, backbone="color_histogram", cache=None)
    ...     similar.to_html(f"{folder}/similar.html")
    >>> print(similar)
    path                        rank  match ... cosine  label  note
    array of shape (32, 32, 3)     1  ...red.png  1.0000
    >>> round(similar[0].matches[0].cosine, 3)
    1.0
    """

    results: list[ImageMatches]
    search: ImageSearch

    def __getitem__(self, position: Any) -> Any:
        return self.results[position]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[ImageMatches]:
        return iter(self.results)

    def __repr__(self) -> str:
        return f"<SimilarImages: {format_count(len(self), 'query')}>"

    def _repr_html_(self) -> str:
        """Return the first matches with thumbnails as an HTML table, for notebooks."""
        records = [record for result in self.results for record in result.records()]
        rows = [
            {name: str("" if value is None else value) for name, value in record.items()}
            for record in records[:_MAX_SHOWN_MATCHES]
        ]
        pictures = [thumbnail_url(row["match"]) for row in rows]
        n_more = len(records) - len(rows)
        notes = [f"{format_count(n_more, 'more match')} are not shown."] if n_more else []
        table = table_to_html(rows, images=pictures) if rows else ""
        return card_to_html(f"Similar images of {format_count(len(self), 'query')}", {}, table, notes=notes)

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self) -> str:
        """Return the matches as a text table.

        Returns
        -------
        str
            One line for each match.
        """
        return format_table([record for result in self.results for record in result.records()])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line for each match to a CSV file.

        Parameters
        ----------
        path : str or Path
            Path of the file.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        with as_output_error(os.fspath(path)):
            write_text(Path(path), matches_csv(self.results, header=True), errors="surrogateescape")

    def to_html(self, path: str | os.PathLike[str], *, command: str = "") -> None:
        """Write a page with thumbnails: one HTML page that needs no other files.

        Parameters
        ----------
        path : str or Path
            Path of the file.
        command : str, default=""
            Command that repeats the search, to be shown on the page.

        Raises
        ------
        OutputError
            If the file cannot be written.
        MissingDependencyError
            If Jinja2 is not installed.
        """
        summary = SearchSummary(max_kept=max_queries(self.search.top))
        summary.add(self.results)
        self.search.write_page(Path(path), summary, command=command)


def similar_images(
    features: FeatureMatrix | str | os.PathLike[str],
    images: ImagesLike | None = None,
    *,
    text: str | Sequence[str] = (),
    top: int = 10,
    include_self: bool = False,
    index: IndexName = "exact",
    backbone: Any = None,
    precision: PrecisionName | None = None,
    device: str = "auto",
    cache: str | os.PathLike[str] | None = "auto",
    on_error: Literal["skip", "raise"] = "skip",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> SimilarImages:
    """Return the indexed images that are most similar to each query image or text.

    Similarity is the cosine of features. The query images are extracted with the recipe of the indexed features. Texts
    need features of a backbone with a text tower, such as ``open_clip/ViT-B-32:laion2b_s34b_b79k``.

    Parameters
    ----------
    features : FeatureMatrix, str or Path
        Indexed features: the path of a ``.npy`` or ``.parquet`` file, or the path or URL of a job. See
        :func:`open_features`.
    images : sequence of images, ImageTable or None, default=None
        Query images. See :class:`FeatureExtractor`. None: `text` alone.
    text : str or sequence of str, default=()
        Descriptions of the images to find, for example ``"a red car"``. Their matches precede those of `images`.
    top : int, default=10
        Number of matches for each query.
    include_self : bool, default=False
        Whether to return the query image itself if it is indexed (same path and bytes). Copies under other paths are
        always returned.
    index : {"exact", "faiss", "faiss-approximate"}, default="exact"
        How to search. See :func:`find_similar`.
    backbone : str, FeatureExtractor or None, default=None
        Backbone of the indexed features. None: the recipe of the job; for a ``.npy`` file the recipe of its rows in the
        cache, or ``"mobilenet"``.
    precision : {"auto", "float32", "float16", "bfloat16", "int8"} or None, default=None
        Precision of the network for query images. None: that of the indexed features. "float32" runs on every CPU;
        another precision changes similarities slightly.
    device : str, default="auto"
        Device that runs the network, see :class:`FeatureExtractor`.
    cache : str, Path or None, default="auto"
        Path of the feature cache. See :class:`FeatureExtractor`.
    on_error : {"skip", "raise"}, default="skip"
        How to handle unreadable query images. "skip": return a result with an error message. "raise": raise an error
        for the first one.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    SimilarImages
        Matches of each text and query image.

    Raises
    ------
    FeaturesError
        If the features are empty, have no table of paths, or were extracted with another recipe.
    OptionError
        If an option is invalid, or the backbone of the features has no text tower.
    UnreadableImageError
        If a query image cannot be read, with ``on_error="raise"``.

    See Also
    --------
    find_similar : Find similar rows of a feature matrix.
    find_duplicates : Group near-duplicates of a feature matrix.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import PIL.Image
    >>> from featx import extract_images, similar_images
    >>> reddish = np.full((32, 32, 3), (250, 10, 10), dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for color in ("red", "lime", "blue"):
    ...         PIL.Image.new("RGB", (32, 32), color).save(f"{folder}/{color}.png")
    ...     features = f"{folder}/features.npy"
    ...     _ = extract_images(folder, features, backbone="color_histogram", cache=None)
    ...     similar = similar_images(features, [reddish], top=1, backbone="color_histogram", cache=None)
    >>> [(Path(match.path).name, round(match.cosine, 3)) for match in similar[0].matches]
    [('red.png', 1.0)]
    """
    options: dict[str, Any] = {}
    if isinstance(backbone, str):
        options["backbone"] = backbone
    elif backbone is not None:
        options = {field.name: getattr(backbone, field.name) for field in dataclasses.fields(ExtractionOptions)}
    if precision is not None:
        options["precision"] = precision
    if device != "auto":
        options["device"] = device
    texts = [text] if isinstance(text, str) else list(text)
    if images is None and not texts:
        raise OptionError("images or text (--text) is required: there is no query. Pass one of them.")
    queries = [] if images is None else as_images(images)
    search = ImageSearch(
        features,
        top=top,
        include_self=include_self,
        index=index,
        options=options,
        cache=resolve_cache(cache),
        on_error=on_error,
        for_texts=bool(texts),
    )
    with reporting(verbose, progress), stage("search", len(queries)):
        results = search.search_texts(texts) if texts else []
        for start in range(0, len(queries), _BATCH_SIZE):
            results += search.search(queries[start : start + _BATCH_SIZE])
    return SimilarImages(results, search)
