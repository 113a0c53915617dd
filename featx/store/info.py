"""What a cache holds, from manifests and sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from featx.errors import StoreError
from featx.store import compaction, compiled_graphs
from featx.store import layout as folders
from featx.store.file_index import DigestIndex
from featx.store.layout import INDEX, index_files, reading, recipe_folders, set_aside_in, size_of
from featx.store.segments import DamagedSegmentError, Segment, find_manifests


@dataclasses.dataclass(frozen=True)
class RecipeInfo:
    """The rows of one recipe.

    Attributes
    ----------
    fingerprint : str
        Name of the folder.
    recipe : dict
        As it is written there; empty if that file is damaged.
    rows, features : int
        `features` is 0 where there is no row.
    bytes : int
        Of rows and manifests.
    segments, small_segments, unreadable_segments : int
        Whole ones, those of them that are worth merging, and those that are damaged or of a newer featx.
    set_aside_bytes : int
        Of damaged files that were set aside.
    """

    fingerprint: str
    recipe: dict[str, Any]
    rows: int
    features: int
    bytes: int
    segments: int
    small_segments: int
    unreadable_segments: int
    set_aside_bytes: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but its description, as a run that failed leaves it."""
        return not (self.rows or self.segments or self.unreadable_segments or self.set_aside_bytes)


@dataclasses.dataclass(frozen=True)
class CacheInfo:
    """What a cache holds; the fields of ``featx cache info --json``.

    Attributes
    ----------
    folder : str
    bytes : int
        Of everything that featx keeps there.
    recipes : list of RecipeInfo
    graphs, graph_bytes : int
        Compiled networks.
    known_files, index_bytes : int
        Files whose digest is known, and the size of that index.
    set_aside_bytes : int
        Of damaged files that were set aside.
    """

    folder: str
    bytes: int
    recipes: list[RecipeInfo]
    graphs: int
    graph_bytes: int
    known_files: int
    index_bytes: int
    set_aside_bytes: int


def describe_cache(cache: Path) -> CacheInfo:
    """Return what a cache holds, from manifests and sizes; no row is read.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read.
    """
    with reading(cache):
        recipes = [_describe_recipe(folder) for folder in recipe_folders(cache)]
        compiled = cache / "compiled"
        graphs = compiled_graphs.graph_names(compiled)
        graph_bytes = size_of(compiled.iterdir()) if graphs else 0
        index_aside = size_of(set_aside_in(cache))
        index_bytes = size_of(index_files(cache))
    set_aside = sum(info.set_aside_bytes for info in recipes) + index_aside
    total = sum(info.bytes for info in recipes) + graph_bytes + index_bytes + set_aside
    known = DigestIndex(cache / INDEX).check().entries
    return CacheInfo(str(cache), total, recipes, len(graphs), graph_bytes, known, index_bytes, set_aside)


def _describe_recipe(folder: Path) -> RecipeInfo:
    rows = features = n_segments = small = unreadable = 0
    for name in find_manifests(folder):
        try:
            segment = Segment(folder / name)
        except StoreError:
            unreadable += 1
        except DamagedSegmentError as error:
            unreadable += error.is_of_a_committed_segment  # else it was merged into another meanwhile
        else:
            n_segments += 1
            rows += len(segment.digests)
            features = segment.n_features
            small += compaction.is_small(segment)
    described = folders.read_description(folder)
    set_aside = size_of(set_aside_in(folder))
    return RecipeInfo(
        fingerprint=folder.name,
        recipe=described["recipe"] if described else {},
        rows=rows,
        features=features,
        bytes=size_of(folder.iterdir()) - set_aside,
        segments=n_segments,
        small_segments=small,
        unreadable_segments=unreadable,
        set_aside_bytes=set_aside,
    )
