"""What a cache holds, from manifests and sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from featx import compaction, folders
from featx.caches.contents import INDEX, SET_ASIDE, reading, recipe_folders, size_of
from featx.digests import DigestIndex
from featx.engines import compilation
from featx.errors import OptionError, did_you_mean
from featx.segments import DAMAGED, DamagedSegmentError, Segment, find_manifests
from featx.wording import counted, in_bytes


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
    segments, small_segments, damaged_segments : int
        Whole ones, those of them that are worth merging, and those that are not whole.
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
    damaged_segments: int
    set_aside_bytes: int

    def in_words(self) -> str:
        """Return the recipe as people say it."""
        if not self.recipe:
            return f"{self.fingerprint} (its recipe.json is absent or damaged)"
        recipe = self.recipe
        height, width = recipe["image_size"]
        return (
            f"{recipe['backbone']}, {recipe['precision']}, {height} × {width} {recipe['resize']}, {recipe['layer']} "
            f"{recipe['pooling']}, weights {recipe['weights'][:8]}"
        )


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
    """

    folder: str
    bytes: int
    recipes: list[RecipeInfo]
    graphs: int
    graph_bytes: int
    known_files: int
    index_bytes: int

    def as_text(self) -> str:
        """Return a summary for people."""
        lines = [f"{self.folder}: {in_bytes(self.bytes)}", ""]
        for info in self.recipes:
            lines.append(info.in_words())
            lines.append(
                f"  {counted(info.rows, 'row')} of {info.features} features, {in_bytes(info.bytes)} in "
                f"{counted(info.segments, 'segment')}   {info.fingerprint}"
            )
            if info.small_segments > 1:
                lines.append(f"  {info.small_segments} of the segments are small: featx cache compact merges them")
            if info.damaged_segments:
                damaged = counted(info.damaged_segments, "damaged segment")
                lines.append(f"  {damaged}: featx cache verify tells what is wrong")
            if info.set_aside_bytes:
                lines.append(f"  {in_bytes(info.set_aside_bytes)} of damaged files are set aside as *{DAMAGED}")
        if not self.recipes:
            lines.append("no rows")
        lines += ["", f"{counted(self.graphs, 'compiled network')}, {in_bytes(self.graph_bytes)}"]
        lines.append(f"{counted(self.known_files, 'file')} known by name, {in_bytes(self.index_bytes)}")
        return "\n".join(lines)


def describe_cache(cache: Path) -> CacheInfo:
    """Return what a cache holds, from manifests and sizes; no row is read.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read.
    """
    with reading(cache):
        recipes = [_describe_recipe(folder) for folder in recipe_folders(cache)]
        graphs = compilation.find_graphs(cache / "compiled")
        graph_bytes = size_of(cache / "compiled") if graphs else 0
        known, _ = DigestIndex(cache / INDEX).check()
        index_bytes = sum(path.lstat().st_size for path in cache.glob(f"{INDEX}*"))
    total = sum(info.bytes + info.set_aside_bytes for info in recipes) + graph_bytes + index_bytes
    return CacheInfo(str(cache), total, recipes, len(graphs), graph_bytes, known, index_bytes)


def _describe_recipe(folder: Path) -> RecipeInfo:
    segments, damaged = [], 0
    for name in find_manifests(folder):
        try:
            segments.append(Segment(folder / name))
        except DamagedSegmentError:
            damaged += 1
    described = folders.read_description(folder)
    set_aside = sum(path.lstat().st_size for path in folder.iterdir() if SET_ASIDE.fullmatch(path.name))
    return RecipeInfo(
        fingerprint=folder.name,
        recipe=described["recipe"] if described else {},
        rows=sum(len(segment.digests) for segment in segments),
        features=max((segment.n_features for segment in segments), default=0),
        bytes=size_of(folder) - set_aside,
        segments=len(segments),
        small_segments=sum(map(compaction.is_small, segments)),
        damaged_segments=damaged,
        set_aside_bytes=set_aside,
    )


def recipes_of_backbone(info: CacheInfo, backbone: str) -> list[RecipeInfo]:
    """Return the recipes that use a backbone.

    Raises
    ------
    OptionError
        None does.
    """
    found = [recipe for recipe in info.recipes if recipe.recipe.get("backbone") == backbone]
    if not found:
        known = sorted({str(recipe.recipe["backbone"]) for recipe in info.recipes if recipe.recipe})
        raise OptionError(
            f"The cache {info.folder!r} has no rows of backbone {backbone!r}.{did_you_mean(backbone, known)} "
            f"It has: {', '.join(known) or 'none'}."
        )
    return found
