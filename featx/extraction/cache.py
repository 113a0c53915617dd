"""Maintenance of the feature cache by backbone: what it holds, whether it is intact, compacting and clearing it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.backbones.files.model_source import ModelSource, is_model_path
from featx.backbones.files.network_file import MODEL_FILE
from featx.backbones.preprocessing import format_preprocessing
from featx.backbones.registry import available_backbones
from featx.errors import OptionError, did_you_mean
from featx.extraction.options import resolve_cache
from featx.store import maintenance, verify
from featx.store.compaction import Compaction
from featx.store.info import CacheInfo, RecipeInfo, describe_cache
from featx.store.layout import CORRUPT_SUFFIX
from featx.store.verify import Finding
from featx.system.formatting import format_bytes, format_count


class CacheSummary(CacheInfo):
    """Content of a feature cache, as :func:`cache_info` returns it.

    Attributes
    ----------
    folder : str
        Path of the cache.
    bytes : int
        Size of all files.
    recipes : list of RecipeInfo
        Rows of each recipe: ``fingerprint``, ``recipe``, ``rows``, ``features``, ``bytes`` and more.
    graphs, graph_bytes : int
        Number and size of compiled networks.
    known_files, index_bytes : int
        Number of files in the file index, and its size.
    corrupt_bytes : int
        Size of quarantined corrupt files.

    See Also
    --------
    cache_info : Return the content of a cache.

    Examples
    --------
    >>> from featx import CacheSummary
    >>> print(CacheSummary("cache", 0, [], 0, 0, 0, 0, 0).as_text().splitlines()[0])
    cache: 0 bytes
    """

    def as_dict(self) -> dict[str, Any]:
        """Return the content as JSON types."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return a human-readable summary."""
        recipes = [recipe for recipe in self.recipes if not recipe.is_empty]
        lines = [f"{self.folder}: {format_bytes(self.bytes)}", ""]
        lines += [line for recipe in recipes for line in _recipe_lines(recipe)] or ["no rows"]
        lines += ["", f"{format_count(self.graphs, 'compiled network')}, {format_bytes(self.graph_bytes)}"]
        lines.append(f"{format_count(self.known_files, 'file')} in the file index, {format_bytes(self.index_bytes)}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class CacheVerification:
    """Problems of a feature cache, as :func:`verify_cache` returns them.

    Attributes
    ----------
    folder : str
        Path of the cache.
    findings : list of Finding
        Each has ``path``, ``problem``, ``consequence`` and ``is_corrupt``.

    See Also
    --------
    verify_cache : Find corrupt files.

    Examples
    --------
    >>> from featx import CacheVerification
    >>> print(CacheVerification("cache", []).as_text())
    cache: no corrupt files
    """

    folder: str
    findings: list[Finding]

    @property
    def n_corrupt(self) -> int:
        """Return the number of corrupt files; leftovers that do no harm do not count."""
        return sum(finding.is_corrupt for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the problems as JSON types."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"corrupt": self.n_corrupt, "findings": findings}

    def as_text(self) -> str:
        """Return one line for each problem, and the result."""
        lines = [f"{finding.path}: {finding.problem}; {finding.consequence}" for finding in self.findings]
        result = f"{format_count(self.n_corrupt, 'corrupt file')}" if self.n_corrupt else "no corrupt files"
        return "\n".join([*lines, f"{self.folder}: {result}"])


@dataclasses.dataclass(frozen=True)
class CacheCompaction:
    """Merged segments of a feature cache, as :func:`compact_cache` returns them.

    Attributes
    ----------
    recipes : dict of str to Compaction
        What was merged, for the fingerprint of each recipe.

    See Also
    --------
    compact_cache : Merge small files.

    Examples
    --------
    >>> from featx import CacheCompaction
    >>> print(CacheCompaction({}).as_text())
    no rows
    """

    recipes: dict[str, Compaction]

    @property
    def n_corrupt(self) -> int:
        """Return the number of corrupt segments, which were not changed."""
        return sum(len(compaction.corrupt) for compaction in self.recipes.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the result for each recipe as JSON types."""
        return {fingerprint: compaction.as_dict() for fingerprint, compaction in self.recipes.items()}

    def as_text(self) -> str:
        """Return one line for each recipe."""
        lines = [f"{fingerprint}: {compaction.as_text()}" for fingerprint, compaction in self.recipes.items()]
        if self.n_corrupt:
            corrupt = format_count(self.n_corrupt, "corrupt segment")
            lines.append(f"{corrupt} not changed: see featx cache verify")
        return "\n".join(lines) or "no rows"


@dataclasses.dataclass(frozen=True)
class CacheClearing:
    """What :func:`clear_cache` removed, or would remove with ``dry_run=True``.

    Attributes
    ----------
    folder : str
        Path of the cache.
    rows, recipes : int
        Number of rows and of recipes with rows.
    bytes : int
        Size of the files.
    corrupt_only, is_everything : bool
        Whether only quarantined files, or everything in the cache, was removed.
    is_dry_run : bool
        Whether nothing was removed.

    See Also
    --------
    clear_cache : Remove rows.

    Examples
    --------
    >>> from featx import CacheClearing
    >>> print(CacheClearing("cache", 8, 1, 4000, False, False, False).as_text())
    Removed 8 rows of 1 recipe (4.0 kB) from cache
    """

    folder: str
    rows: int
    recipes: int
    bytes: int
    corrupt_only: bool
    is_everything: bool
    is_dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """Return rows and bytes as JSON types."""
        return {"rows": self.rows, "bytes": self.bytes}

    def as_text(self) -> str:
        """Return a human-readable sentence."""
        if self.corrupt_only:
            content = "quarantined corrupt files"
        else:
            content = f"{format_count(self.rows, 'row')} of {format_count(self.recipes, 'recipe')}"
            content += ", compiled networks and the file index" if self.is_everything else ""
        verb = "Would remove" if self.is_dry_run else "Removed"
        return f"{verb} {content} ({format_bytes(self.bytes)}) from {self.folder}"


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
    progress: Callable[[str], object] | None = None,
) -> CacheVerification:
    """Read every file of a feature cache and return the problems. Nothing is changed.

    Parameters
    ----------
    cache : str or Path, default="auto"
        Path of the feature cache, see :func:`cache_info`.
    backbone : str or None, default=None
        Name or model file of a backbone, or fingerprint of a recipe: only its rows are read. None: everything.
    progress : callable, default=None
        Function that is called with a message before each folder is read.

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
    findings = verify.verify_cache(folder, fingerprints=_fingerprints(folder, backbone), progress=progress)
    return CacheVerification(str(folder), findings)


def compact_cache(cache: str | os.PathLike[str] = "auto", *, backbone: str | None = None) -> CacheCompaction:
    """Merge the small files of a feature cache into large ones. Other processes may read and write meanwhile.

    Parameters
    ----------
    cache : str or Path, default="auto"
        Path of the feature cache, see :func:`cache_info`.
    backbone : str or None, default=None
        Name or model file of a backbone, or fingerprint of a recipe: only its rows are merged. None: all.

    Returns
    -------
    CacheCompaction
        What was merged, for each recipe.

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
    return CacheCompaction(maintenance.compact_cache(folder, fingerprints=_fingerprints(folder, backbone)))


def clear_cache(
    cache: str | os.PathLike[str] = "auto",
    *,
    backbone: str | None = None,
    corrupt_only: bool = False,
    dry_run: bool = False,
) -> CacheClearing:
    """Remove rows from a feature cache; without `backbone`, compiled networks and the file index too.

    Only files of featx are removed.

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
    )


def find_recipes(cache: CacheInfo, backbone: str) -> list[RecipeInfo]:
    """Return the recipes of a backbone, given by its name or model file, or the recipe with this fingerprint.

    Raises
    ------
    OptionError
        There are none.
    """
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


def describe_recipe(info: RecipeInfo) -> str:
    """Return a human-readable recipe in one line."""
    if not info.recipe:
        return f"{info.fingerprint} (its recipe.json is missing or corrupt)"
    fields = {name: _printable(value) for name, value in info.recipe.items()}
    fields["image_size"] = fields.get("image_size", "?").strip("[]").replace(", ", " × ")
    fields["weights"] = f"weights {fields.get('weights', '')[:8]}"
    names = ("backbone", "precision", "image_size", "resize", "layer", "pooling", "weights")
    parts = [fields.get(name, "?") for name in names]
    if fields.get("preprocessing"):
        parts.append(f"preprocessing {format_preprocessing(fields['preprocessing'])}")
    if fields.get("tta"):
        parts.append(f"view {fields['tta']}")
    return ", ".join(parts)


def _recipe_lines(info: RecipeInfo) -> list[str]:
    lines = [
        describe_recipe(info),
        f"  {format_count(info.rows, 'row')} of {info.features} features, {format_bytes(info.bytes)} in "
        f"{format_count(info.segments, 'segment')}   {info.fingerprint}",
    ]
    if info.small_segments > 1:
        lines.append(f"  {info.small_segments} segments are small: featx cache compact merges them")
    if info.unreadable_segments:
        unreadable = format_count(info.unreadable_segments, "unreadable segment")
        lines.append(f"  {unreadable}: featx cache verify shows the reason")
    if info.corrupt_bytes:
        lines.append(f"  {format_bytes(info.corrupt_bytes)} of corrupt files are quarantined as *{CORRUPT_SUFFIX}")
    return lines


def _printable(value: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _existing(cache: str | os.PathLike[str]) -> Path:
    folder = resolve_cache(cache)
    if folder is None:
        raise OptionError("cache (--cache) must be a path or 'auto', got None.")
    return folder


def _fingerprints(folder: Path, backbone: str | None) -> list[str] | None:
    if backbone is None:
        return None
    return [recipe.fingerprint for recipe in find_recipes(describe_cache(folder), backbone)]
