"""Whether everything in a cache is whole: all of it is read, nothing is changed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from featx import folders
from featx.caches.contents import INDEX, ROWS, SET_ASIDE, reading, recipe_folders
from featx.digests import DigestIndex
from featx.engines import compilation
from featx.segments import DAMAGED, DamagedSegmentError, Segment, find_manifests


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


def verify_cache(cache: Path, *, progress: Callable[[str], object] | None = None) -> list[Finding]:
    """Read everything in a cache and return what is not whole; nothing is changed.

    Parameters
    ----------
    cache : Path
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
        for folder in recipe_folders(cache):
            say(f"Reading {folder} …")
            findings += _verify_recipe(folder)
        say("Reading the compiled networks and the index …")
        for name, problem in compilation.find_graphs(cache / "compiled").items():
            if problem:
                is_damage = problem != compilation.UNFINISHED
                path = str(cache / "compiled" / name)
                findings.append(Finding(path, problem, "the network is compiled anew", is_damage))
        _, problem = DigestIndex(cache / INDEX).check()
    if problem:
        findings.append(Finding(str(cache / INDEX), problem, "it is started anew; files are read again, once"))
    return findings


def _verify_recipe(folder: Path) -> Iterator[Finding]:
    anew = f"it is set aside as *{DAMAGED}, and its rows are extracted anew when they are wanted"
    names = find_manifests(folder)
    for name in sorted(names):
        try:
            Segment(folder / name).verify()
        except DamagedSegmentError as error:
            if os.path.lexists(error.manifest):  # else it was merged into another meanwhile
                yield Finding(str(error.path), str(error.reason), anew)
    if folders.read_description(folder) is None:
        yield Finding(str(folder / "recipe.json"), "it is absent or damaged", "the next run writes it anew")
    for path in sorted(folder.iterdir()):
        if SET_ASIDE.fullmatch(path.name):
            kept = "it stays until you remove it: featx cache clear --damaged"
            yield Finding(str(path), "it was found damaged earlier, and set aside", kept, is_damage=False)
        elif ROWS.fullmatch(path.name) and not path.with_suffix(".json").exists():
            yield Finding(str(path), "it was never committed", "a later run removes it", is_damage=False)
