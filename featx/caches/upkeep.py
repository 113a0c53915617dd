"""A cache compacted or cleared."""

from __future__ import annotations

import contextlib
from pathlib import Path

from featx import compaction, folders
from featx.caches.contents import INDEX, ROWS, SET_ASIDE, reading, recipe_folders
from featx.compaction import Compaction
from featx.engines import compilation
from featx.errors import FeatxError
from featx.segments import find_manifests, remove_leftovers, remove_segment


def compact_cache(cache: Path) -> dict[str, Compaction]:
    """Merge small segments, recipe by recipe, while others may read and write.

    Returns
    -------
    dict of str to Compaction
        For each recipe's fingerprint, what was done.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read or written; no row is lost.
    """
    with reading(cache):
        found = recipe_folders(cache)
    done = {}
    for folder in found:
        try:
            remove_leftovers(folder)
            done[folder.name] = compaction.compact(folder)
        except OSError as error:
            raise error if isinstance(error, FeatxError) else folders.not_writable(cache, error) from error
    return done


def clear_cache(cache: Path, *, fingerprints: list[str] | None = None) -> None:
    """Remove rows; and if no recipes are named, compiled networks and the index too.

    Parameters
    ----------
    cache : Path
    fingerprints : list of str or None, default=None
        Recipes whose rows are removed; None removes all that featx keeps in the folder, and nothing else.

    Raises
    ------
    StoreError
        There is no cache, or something cannot be removed.
    """
    with reading(cache):
        found = recipe_folders(cache)
    try:
        for folder in found:
            if fingerprints is None or folder.name in fingerprints:
                _clear_recipe(folder)
        if fingerprints is None:
            compilation.remove_graphs(cache / "compiled")
            for path in cache.glob(f"{INDEX}*"):
                path.unlink(missing_ok=True)
            for folder in (cache / "features", cache / "compiled"):
                _remove_if_empty(folder)
    except OSError as error:
        raise folders.not_writable(cache, error) from error


def clear_set_aside(cache: Path) -> int:
    """Remove damaged files that were set aside; return their number of bytes."""
    with reading(cache):
        places = [cache, *recipe_folders(cache)]
        paths = [path for place in places for path in place.iterdir() if SET_ASIDE.fullmatch(path.name)]
    try:
        n_bytes = sum(path.lstat().st_size for path in paths)
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise folders.not_writable(cache, error) from error
    return n_bytes


def _clear_recipe(folder: Path) -> None:
    for name in find_manifests(folder):
        remove_segment(folder / name)
    remove_leftovers(folder)
    for path in folder.iterdir():
        if SET_ASIDE.fullmatch(path.name) or ROWS.fullmatch(path.name) or path.name == "recipe.json":
            path.unlink(missing_ok=True)
    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else's files are in it, or it is gone
        folder.rmdir()
