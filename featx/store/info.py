"""What a cache holds, from manifests and sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from featx.backbones.files.network_file import RECORDED, is_own, own_network
from featx.backbones.preprocessing import named
from featx.backbones.registry import available_backbones
from featx.errors import OptionError, StoreError, did_you_mean
from featx.extraction.engines import compile as compilation
from featx.store import compaction
from featx.store import layout as folders
from featx.store.contents import index_files, reading, recipe_folders, set_aside_in, size_of
from featx.store.file_index import DigestIndex
from featx.store.layout import DAMAGED, INDEX
from featx.store.segments import DamagedSegmentError, Segment, find_manifests
from featx.system.formatting import counted, in_bytes

#: How to say which network in a file is meant.
_OF_OWN = f" For one {RECORDED!r}, pass the path of its file, or the fingerprint that `featx cache info` shows."


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

    def in_words(self) -> str:
        """Return the recipe as people say it."""
        if not self.recipe:
            return f"{self.fingerprint} (its recipe.json is absent or damaged)"
        said = {name: _printable(value) for name, value in self.recipe.items()}
        said["image_size"] = said.get("image_size", "?").strip("[]").replace(", ", " × ")
        said["weights"] = f"weights {said.get('weights', '')[:8]}"
        order = ("backbone", "precision", "image_size", "resize", "layer", "pooling", "weights")
        steps = [f"preprocessing {named(said['preprocessing'])}"] if said.get("preprocessing") else []
        views = [f"view {said['views']}"] if said.get("views") else []
        return ", ".join([*(said.get(name, "?") for name in order), *steps, *views])

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

    def of_backbone(self, backbone: str) -> list[RecipeInfo]:
        """Return the recipes that use a backbone, by its name or its file, or the one whose fingerprint this is.

        Raises
        ------
        OptionError
            None does.
        """
        if is_own(backbone) and backbone not in available_backbones():
            recorded = (RECORDED, own_network(backbone).digest)
            found = [one for one in self.recipes if (one.recipe.get("backbone"), one.recipe.get("weights")) == recorded]
        else:
            found = [one for one in self.recipes if backbone in (one.recipe.get("backbone"), one.fingerprint)]
        if not found:
            known = sorted({str(recipe.recipe.get("backbone", recipe.fingerprint)) for recipe in self.recipes})
            raise OptionError(
                f"The cache {self.folder!r} has no rows of backbone {backbone!r}.{did_you_mean(backbone, known)} "
                f"It has: {', '.join(known) or 'none'}.{_OF_OWN if RECORDED in known else ''}"
            )
        return found

    def as_text(self) -> str:
        """Return a summary for people."""
        lines = [f"{self.folder}: {in_bytes(self.bytes)}", ""]
        shown = [info for info in self.recipes if not info.is_empty]
        for info in shown:
            lines.append(info.in_words())
            lines.append(
                f"  {counted(info.rows, 'row')} of {info.features} features, {in_bytes(info.bytes)} in "
                f"{counted(info.segments, 'segment')}   {info.fingerprint}"
            )
            if info.small_segments > 1:
                lines.append(f"  {info.small_segments} of the segments are small: featx cache compact merges them")
            if info.unreadable_segments:
                unreadable = counted(info.unreadable_segments, "unreadable segment")
                lines.append(f"  {unreadable}: featx cache verify tells why")
            if info.set_aside_bytes:
                lines.append(f"  {in_bytes(info.set_aside_bytes)} of damaged files are set aside as *{DAMAGED}")
        if not shown:
            lines.append("no rows")
        lines += ["", f"{counted(self.graphs, 'compiled network')}, {in_bytes(self.graph_bytes)}"]
        lines.append(f"{counted(self.known_files, 'file')} known by name, {in_bytes(self.index_bytes)}")
        return "\n".join(lines)


def _printable(value: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


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
        graphs = compilation.graph_names(compiled)
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
