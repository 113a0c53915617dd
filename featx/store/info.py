"""Content of a cache, from manifests and file sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from featx.errors import StoreError
from featx.store.compaction import is_small
from featx.store.compiled_graphs import graph_names
from featx.store.file_index import FileIndex
from featx.store.layout import INDEX, corrupt_files, index_files, read_description, reading, recipe_folders, total_size
from featx.store.segments import CorruptSegmentError, Segment, find_manifests
from featx.system.notebook.cards import Record


@dataclasses.dataclass(frozen=True)
class RecipeInfo(Record):
    """Rows of one recipe.

    Attributes
    ----------
    fingerprint : str
        Name of the recipe folder.
    recipe : dict
        Recipe from the description; empty if the description is missing or corrupt.
    rows, features : int
        Number of rows and of features; 0 features if there are no rows.
    bytes : int
        Size of rows and manifests.
    segments, small_segments, unreadable_segments : int
        Number of intact segments, of those that should be merged, and of segments that are corrupt or have another
        format.
    corrupt_bytes : int
        Size of quarantined corrupt files.

    See Also
    --------
    cache_info : Its result has one for each recipe.

    Examples
    --------
    >>> import tempfile
    >>> from featx import FeatureExtractor, cache_info
    >>> from sklearn.datasets import load_sample_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = FeatureExtractor("color_histogram", cache=folder).fit_transform(load_sample_images().images)
    ...     (info,) = cache_info(folder).recipes
    >>> info.recipe["backbone"], info.rows, info.features
    ('color_histogram', 2, 512)
    """

    fingerprint: str
    recipe: dict[str, Any]
    rows: int
    features: int
    bytes: int
    segments: int
    small_segments: int
    unreadable_segments: int
    corrupt_bytes: int

    @property
    def is_empty(self) -> bool:
        """Whether the folder contains nothing but a description, as after a failed run."""
        return not (self.rows or self.segments or self.unreadable_segments or self.corrupt_bytes)


@dataclasses.dataclass(frozen=True)
class CacheInfo:
    """Content of a cache.

    Attributes
    ----------
    folder : str
        Path of the cache.
    bytes : int
        Size of all files of the cache.
    recipes : list of RecipeInfo
        Rows of each recipe.
    graphs, graph_bytes : int
        Number and size of compiled graphs.
    known_files, index_bytes : int
        Number of files in the file index, and its size.
    corrupt_bytes : int
        Size of quarantined corrupt files.
    """

    folder: str
    bytes: int
    recipes: list[RecipeInfo]
    graphs: int
    graph_bytes: int
    known_files: int
    index_bytes: int
    corrupt_bytes: int


def describe_cache(cache: Path) -> CacheInfo:
    """Return the content of a cache. No row is read.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read.
    """
    with reading(cache):
        recipes = [_describe_recipe(folder) for folder in recipe_folders(cache)]
        compiled = cache / "compiled"
        graphs = graph_names(compiled)
        graph_bytes = total_size(compiled.iterdir()) if graphs else 0
        index_bytes = total_size(index_files(cache))
        corrupt_bytes = sum(info.corrupt_bytes for info in recipes) + total_size(corrupt_files(cache))
    return CacheInfo(
        folder=str(cache),
        bytes=sum(info.bytes for info in recipes) + graph_bytes + index_bytes + corrupt_bytes,
        recipes=recipes,
        graphs=len(graphs),
        graph_bytes=graph_bytes,
        known_files=FileIndex(cache / INDEX).check().entries,
        index_bytes=index_bytes,
        corrupt_bytes=corrupt_bytes,
    )


def _describe_recipe(folder: Path) -> RecipeInfo:
    n_rows = n_features = n_segments = n_small = n_unreadable = 0
    for name in find_manifests(folder):
        try:
            segment = Segment(folder / name)
        except StoreError:
            n_unreadable += 1
        except CorruptSegmentError as error:
            n_unreadable += error.is_committed  # otherwise another process has compacted it
        else:
            n_segments += 1
            n_rows += len(segment.digests)
            n_features = segment.n_features
            n_small += is_small(segment)
    description = read_description(folder)
    corrupt_bytes = total_size(corrupt_files(folder))
    return RecipeInfo(
        fingerprint=folder.name,
        recipe=description["recipe"] if description else {},
        rows=n_rows,
        features=n_features,
        bytes=total_size(folder.iterdir()) - corrupt_bytes,
        segments=n_segments,
        small_segments=n_small,
        unreadable_segments=n_unreadable,
        corrupt_bytes=corrupt_bytes,
    )
