"""Compact or clear a cache."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from featx.errors import FeatxError, StoreError
from featx.store.compaction import Compaction, compact
from featx.store.compiled_graphs import remove_graphs
from featx.store.layout import (
    DESCRIPTION,
    RATES,
    check_format,
    check_no_links,
    corrupt_files,
    index_files,
    reading,
    recipe_folders,
    remove,
    total_size,
    write_error,
)
from featx.store.segments import find_manifests, remove_leftovers, remove_segment, rows_without_manifest
from featx.system.locks import try_lock
from featx.system.terminal.progress import stage


def compact_cache(cache: Path, *, fingerprints: Collection[str] | None = None) -> dict[str, Compaction]:
    """Merge the small segments of each recipe, while other processes may read and write.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Fingerprints of the recipes to compact. None: all.

    Returns
    -------
    dict of str to Compaction
        Result for each fingerprint.

    Raises
    ------
    StoreError
        There is no cache, it cannot be read or written, or another process is compacting it. No row is lost.
    """
    with reading(cache):
        folders = recipe_folders(cache, fingerprints)
    with try_lock(f"compacting {cache.resolve()}") as is_locked:
        if not is_locked:
            raise StoreError(f"Another process is compacting {str(cache)!r}. Wait until it is done.")
        compactions = {}
        with stage("compact", len(folders), "folders") as progress:
            for folder in folders:
                progress.describe(folder.name)
                compactions[folder.name] = _compact_recipe(cache, folder)
                progress(1)
        return compactions


def _compact_recipe(cache: Path, folder: Path) -> Compaction:
    try:
        check_format(cache, folder)
        remove_leftovers(folder)
        return compact(folder)
    except OSError as error:
        raise error if isinstance(error, FeatxError) else write_error(cache, error) from error


def clear_cache(cache: Path, *, fingerprints: Collection[str] | None = None) -> None:
    """Remove rows, of any format. Without fingerprints, also remove compiled graphs, throughput and the file index.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Fingerprints of the recipes to remove. None: all files of the cache. Other files are never removed.

    Raises
    ------
    StoreError
        There is no cache, or a file cannot be removed.
    """
    with reading(cache):
        folders = recipe_folders(cache, fingerprints)
    compiled = cache / "compiled"
    try:
        check_no_links(cache / "features", compiled)
        for folder in folders:
            _clear_recipe(folder)
        if fingerprints is None:
            remove_graphs(compiled)
            for path in [cache / RATES, *index_files(cache), *corrupt_files(cache), *corrupt_files(compiled)]:
                remove(path)
            for folder in (cache / "features", compiled):
                _remove_if_empty(folder)
    except OSError as error:
        raise error if isinstance(error, FeatxError) else write_error(cache, error) from error


def clear_corrupt(cache: Path, *, fingerprints: Collection[str] | None = None) -> int:
    """Remove quarantined corrupt files; return their size in bytes.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Fingerprints of the recipes whose files are removed. None: all, compiled graphs and the file index included.

    Raises
    ------
    StoreError
        There is no cache, or a file cannot be removed.
    """
    with reading(cache):
        folders = recipe_folders(cache, fingerprints) + ([cache, cache / "compiled"] if fingerprints is None else [])
        paths = [path for folder in folders for path in corrupt_files(folder)]
    n_bytes = total_size(paths)
    try:
        for path in paths:
            remove(path)
    except OSError as error:
        raise write_error(cache, error) from error
    return n_bytes


def _clear_recipe(folder: Path) -> None:
    for name in find_manifests(folder):
        remove_segment(folder / name)
    remove_leftovers(folder)
    for path in [*corrupt_files(folder), *rows_without_manifest(folder), folder / DESCRIPTION]:
        remove(path)
    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # other files are in it, or it does not exist
        folder.rmdir()
