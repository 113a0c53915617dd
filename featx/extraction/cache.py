"""Maintenance of the feature cache by backbone: what it holds, whether it is intact, compacting and clearing it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from featx.backbones.files.model_source import ModelSource, is_model_path
from featx.backbones.files.network_file import MODEL_FILE, as_backbone_name
from featx.backbones.registry import available_backbones
from featx.errors import OptionError, did_you_mean
from featx.extraction.cache_results import CacheClearing, CacheCompaction, CacheSummary, CacheVerification
from featx.extraction.options import resolve_cache
from featx.store import maintenance, verify
from featx.store.info import CacheInfo, RecipeInfo, describe_cache
from featx.store.view_store import write_buffers
from featx.system.terminal.progress import ProgressFunction, reporting


def cache_info(cache: str | os.PathLike[str] = "auto", *, backbone: str | None = None) -> CacheSummary:
    """Return what a feature cache holds: recipes, rows and sizes. No row is read.

    Parameters
    ----------
    cache : str or Path, default="auto"
        Path of the feature cache. "auto": ``FEATX_CACHE`` if set, else ``./cache``.
    backbone : str or None, default=None
        Name or model file of a backbone, or fingerprint of a recipe: only its recipes are returned. None: all.

    Returns
    -------
    CacheSummary
        Recipes and sizes; ``as_text()`` is what ``featx cache info`` prints.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read.
    OptionError
        The cache has no rows of the backbone.

    See Also
    --------
    verify_cache : Find corrupt files.
    compact_cache : Merge small files.
    clear_cache : Remove rows.

    Examples
    --------
    >>> import tempfile
    >>> from featx import FeatureExtractor, cache_info
    >>> from sklearn.datasets import load_sample_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     extractor = FeatureExtractor("color_histogram", cache=folder)
    ...     rows = extractor.fit_transform(load_sample_images().images)
    ...     [(recipe.recipe["backbone"], recipe.rows) for recipe in cache_info(folder).recipes]
    [('color_histogram', 2)]
    """
    info = describe_cache(_existing(cache))
    if backbone is not None:
        info = dataclasses.replace(info, recipes=find_recipes(info, backbone))
    return CacheSummary(**vars(info))


def verify_cache(
    cache: str | os.PathLike[str] = "auto",
    *,
    backbone: str | None = None,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> CacheVerification:
    """Read every file of a feature cache and return the problems. Nothing is changed.

    Parameters
    ----------
    cache : str or Path, default="auto"
        Path of the feature cache, see :func:`cache_info`.
    backbone : str or None, default=None
        Name or model file of a backbone, or fingerprint of a recipe: only its rows are read. None: everything.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    CacheVerification
        Problems, and the number of corrupt files.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read.
    OptionError
        The cache has no rows of the backbone.

    See Also
    --------
    cache_info : Return what a cache holds.
    clear_cache : Remove rows, or quarantined files only.

    Examples
    --------
    >>> import tempfile
    >>> from featx import FeatureExtractor, verify_cache
    >>> from sklearn.datasets import load_sample_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     extractor = FeatureExtractor("color_histogram", cache=folder)
    ...     rows = extractor.fit_transform(load_sample_images().images)
    ...     verify_cache(folder).n_corrupt
    0
    """
    folder = _existing(cache)
    with reporting(verbose, progress):
        findings = verify.verify_cache(folder, fingerprints=_fingerprints(folder, backbone))
    return CacheVerification(str(folder), findings)


def compact_cache(
    cache: str | os.PathLike[str] = "auto",
    *,
    backbone: str | None = None,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> CacheCompaction:
    """Merge the small files of a feature cache into large ones. Other processes may read and write meanwhile.

    Parameters
    ----------
    cache : str or Path, default="auto"
        Path of the feature cache, see :func:`cache_info`.
    backbone : str or None, default=None
        Name or model file of a backbone, or fingerprint of a recipe: only its rows are merged. None: all.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    CacheCompaction
        Merged segments of each recipe.

    Raises
    ------
    StoreError
        There is no cache, it cannot be read or written, or another process is compacting it. No row is lost.
    OptionError
        The cache has no rows of the backbone.

    See Also
    --------
    cache_info : Return what a cache holds.

    Examples
    --------
    >>> import tempfile
    >>> from featx import FeatureExtractor, compact_cache
    >>> from sklearn.datasets import load_sample_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     extractor = FeatureExtractor("color_histogram", cache=folder)
    ...     rows = [extractor.fit_transform([image]) for image in load_sample_images().images]
    ...     [compaction.after for compaction in compact_cache(folder).recipes.values()]
    [1]
    """
    folder = _existing(cache)
    with reporting(verbose, progress):
        return CacheCompaction(maintenance.compact_cache(folder, fingerprints=_fingerprints(folder, backbone)))


def clear_cache(
    cache: str | os.PathLike[str] = "auto",
    *,
    backbone: str | None = None,
    corrupt_only: bool = False,
    dry_run: bool = False,
) -> CacheClearing:
    """Remove rows from a feature cache; without `backbone`, compiled networks and the file index too.

    Only files of featx are removed. Features that other processes keep in memory are added later, within 30 seconds.

    Parameters
    ----------
    cache : str or Path, default="auto"
        Path of the feature cache, see :func:`cache_info`.
    backbone : str or None, default=None
        Name or model file of a backbone, or fingerprint of a recipe: only its rows are removed. None: everything.
    corrupt_only : bool, default=False
        Whether to remove only corrupt files that were quarantined.
    dry_run : bool, default=False
        Whether to remove nothing and return what would be removed.

    Returns
    -------
    CacheClearing
        Number of rows and bytes.

    Raises
    ------
    StoreError
        There is no cache, or a file cannot be removed.
    OptionError
        The cache has no rows of the backbone.

    See Also
    --------
    cache_info : Return what a cache holds.

    Examples
    --------
    >>> import tempfile
    >>> from featx import FeatureExtractor, clear_cache
    >>> from sklearn.datasets import load_sample_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     extractor = FeatureExtractor("color_histogram", cache=folder)
    ...     rows = extractor.fit_transform(load_sample_images().images)
    ...     clear_cache(folder, backbone="color_histogram").rows
    2
    """
    write_buffers()  # rows that are written later would come back
    folder = _existing(cache)
    info = cache_info(folder, backbone=backbone)
    fingerprints = None if backbone is None else [recipe.fingerprint for recipe in info.recipes]
    if corrupt_only:
        sizes = [info.corrupt_bytes] if backbone is None else [recipe.corrupt_bytes for recipe in info.recipes]
    else:
        sizes = [info.bytes] if backbone is None else [recipe.bytes for recipe in info.recipes]
    if not dry_run:
        (maintenance.clear_corrupt if corrupt_only else maintenance.clear_cache)(folder, fingerprints=fingerprints)
    return CacheClearing(
        folder=str(folder),
        rows=0 if corrupt_only else sum(recipe.rows for recipe in info.recipes),
        recipes=len(info.recipes),
        bytes=sum(sizes),
        corrupt_only=corrupt_only,
        is_everything=backbone is None and not corrupt_only,
        is_dry_run=dry_run,
        unreadable_segments=0 if corrupt_only else sum(recipe.unreadable_segments for recipe in info.recipes),
    )


def find_recipes(cache: CacheInfo, backbone: str) -> list[RecipeInfo]:
    """Return the recipes of a backbone, given by its name or model file, or the recipe with this fingerprint.

    Raises
    ------
    OptionError
        There are none.
    """
    backbone = as_backbone_name(backbone)
    if is_model_path(backbone) and backbone not in available_backbones():
        recorded = (MODEL_FILE, ModelSource.open(backbone).digest)
        recipes = [
            info for info in cache.recipes if (info.recipe.get("backbone"), info.recipe.get("weights")) == recorded
        ]
    else:
        recipes = [info for info in cache.recipes if backbone in (info.recipe.get("backbone"), info.fingerprint)]
    if not recipes:
        known = sorted({str(info.recipe.get("backbone", info.fingerprint)) for info in cache.recipes})
        files = (
            f" For a {MODEL_FILE}, pass its path, or the fingerprint shown by featx cache info."
            if MODEL_FILE in known
            else ""
        )
        raise OptionError(
            f"backbone (--backbone) must be one with rows in the cache {cache.folder!r} "
            f"({', '.join(known) or 'it has no rows'}), got {backbone!r}.{did_you_mean(backbone, known)}{files}"
        )
    return recipes


def _existing(cache: str | os.PathLike[str]) -> Path:
    folder = resolve_cache(cache)
    if folder is None:
        raise OptionError("cache (--cache) must be a path or 'auto', got None.")
    return folder


def _fingerprints(folder: Path, backbone: str | None) -> list[str] | None:
    if backbone is None:
        return None
    return [recipe.fingerprint for recipe in find_recipes(describe_cache(folder), backbone)]
