"""Whether everything in a cache is whole: all of it is read, nothing is changed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from featx.errors import StoreError
from featx.store import compiled_graphs
from featx.store import layout as folders
from featx.store.file_index import DigestIndex
from featx.store.layout import DAMAGED, INDEX, reading, recipe_folders, set_aside_in
from featx.store.segments import FORMAT, DamagedSegmentError, Segment, find_manifests, rows_without_manifest


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something in a cache that is not as it should be.

    Attributes
    ----------
    path : str
    problem : str
    consequence : str
        What will happen to it.
    is_damage : bool
        False for what is only left over.
    """

    path: str
    problem: str
    consequence: str
    is_damage: bool = True


def verify_cache(
    cache: Path,
    *,
    fingerprints: Collection[str] | None = None,
    progress: Callable[[str], object] | None = None,
) -> list[Finding]:
    """Read everything in a cache and return what is not whole; nothing is changed.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Recipes whose rows are read; None is all, the compiled networks and the index.
    progress : callable, default=None
        Called with what is read next.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read.
    """
    say = progress or (lambda text: None)
    findings: list[Finding] = []
    with reading(cache):
        for folder in recipe_folders(cache, fingerprints):
            say(f"Reading {folder} …")
            findings += _verify_recipe(folder)
        if fingerprints is None:
            say("Reading the compiled networks and the index …")
            findings += _verify_graphs(cache / "compiled")
            findings += _verify_index(cache / INDEX)
    return findings


def _verify_recipe(folder: Path) -> Iterator[Finding]:
    try:
        folders.check_format(folder, FORMAT)
    except StoreError as error:
        yield Finding(str(folder), "it has another format", str(error), is_damage=False)
        return
    for name in sorted(find_manifests(folder)):
        try:
            Segment(folder / name).verify()
        except StoreError as error:
            yield Finding(str(folder / name), "it has another format", str(error), is_damage=False)
        except DamagedSegmentError as error:
            if error.is_of_a_committed_segment:  # else it was merged into another meanwhile
                anew = f"it is set aside as *{DAMAGED}, and its rows are extracted anew when they are wanted"
                yield Finding(str(error.path), str(error.reason), anew)
    description = folder / folders.DESCRIPTION
    if folders.read_description(folder) is None:
        is_there = os.path.lexists(description)
        problem = "it is damaged" if is_there else "it is absent"
        yield Finding(str(description), problem, "the next run writes it anew", is_damage=is_there)
    for path in set_aside_in(folder):
        kept = "it stays until you remove it: featx cache clear --corrupt-only"
        yield Finding(str(path), "it was found damaged earlier, and set aside", kept, is_damage=False)
    for path in rows_without_manifest(folder):
        yield Finding(str(path), "its manifest is gone", "its rows are extracted anew; a later run removes the file")


def _verify_graphs(folder: Path) -> Iterator[Finding]:
    for name in compiled_graphs.graph_names(folder):
        path, problem = compiled_graphs.check_graph(folder, name)
        if problem:
            is_damage = path.suffix != ".json" or os.path.lexists(path)  # the manifest is written last
            yield Finding(str(path), problem, "the network is compiled anew", is_damage)


def _verify_index(path: Path) -> Iterator[Finding]:
    check = DigestIndex(path).check()
    if check.problem:
        consequence = "files are read again, once" if check.is_damage else "it could not be checked now"
        yield Finding(str(path), check.problem, consequence, check.is_damage)
