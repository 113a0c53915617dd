"""A cache compacted or cleared."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from featx.errors import FeatxError, StoreError
from featx.store import compaction, compiled_graphs
from featx.store import layout as folders
from featx.store.compaction import Compaction
from featx.store.layout import RATES, index_files, reading, recipe_folders, remove, set_aside_in, size_of
from featx.store.segments import FORMAT, find_manifests, remove_leftovers, remove_segment, rows_without_manifest
from featx.system.locks import try_lock


def compact_cache(cache: Path, *, fingerprints: Collection[str] | None = None) -> dict[str, Compaction]:
    """Merge small segments, recipe by recipe, while others may read and write.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Recipes whose segments are merged; None is all.

    Returns
    -------
    dict of str to Compaction
        For each recipe's fingerprint, what was done.

    Raises
    ------
    StoreError
        There is no cache, it cannot be read or written, or another process compacts it; no row is lost.
    """
    with reading(cache):
        found = recipe_folders(cache, fingerprints)
    with try_lock(f"compacting {cache.resolve()}") as is_alone:
        if not is_alone:
            raise StoreError(f"{str(cache)!r} is being compacted by another process just now. Wait for that one.")
        return {folder.name: _compact_recipe(cache, folder) for folder in found}


def _compact_recipe(cache: Path, folder: Path) -> Compaction:
    try:
        folders.check_format(folder, FORMAT)
        remove_leftovers(folder)
        return compaction.compact(folder)
    except OSError as error:
        raise error if isinstance(error, FeatxError) else folders.not_writable(cache, error) from error


def clear_cache(cache: Path, *, fingerprints: Collection[str] | None = None) -> None:
    """Remove rows; and if no recipes are named, compiled networks and the index too.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Recipes whose rows are removed; None removes all that featx keeps in the folder, and nothing else.

    Raises
    ------
    StoreError
        There is no cache, or something cannot be removed.
    """
    with reading(cache):
        found = recipe_folders(cache, fingerprints)
    try:
        folders.refuse_links(cache / "features", cache / "compiled")
        for folder in found:
            _clear_recipe(folder)
        if fingerprints is None:
            compiled_graphs.remove_graphs(cache / "compiled")
            for path in [cache / RATES, *index_files(cache), *set_aside_in(cache), *set_aside_in(cache / "compiled")]:
                remove(path)
            for folder in (cache / "features", cache / "compiled"):
                _remove_if_empty(folder)
    except OSError as error:
        raise error if isinstance(error, FeatxError) else folders.not_writable(cache, error) from error


def clear_set_aside(cache: Path, *, fingerprints: Collection[str] | None = None) -> int:
    """Remove damaged files that were set aside; return their number of bytes.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Recipes whose files are removed; None is all, and the index.

    Raises
    ------
    StoreError
        There is no cache, or something cannot be removed.
    """
    with reading(cache):
        places = recipe_folders(cache, fingerprints) + ([cache, cache / "compiled"] if fingerprints is None else [])
        paths = [path for place in places for path in set_aside_in(place)]
    n_bytes = size_of(paths)
    try:
        for path in paths:
            remove(path)
    except OSError as error:
        raise folders.not_writable(cache, error) from error
    return n_bytes


def _clear_recipe(folder: Path) -> None:
    for name in find_manifests(folder):
        remove_segment(folder / name)
    remove_leftovers(folder)
    for path in [*set_aside_in(folder), *rows_without_manifest(folder), folder / folders.DESCRIPTION]:
        remove(path)
    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else's files are in it, or it is gone
        folder.rmdir()
