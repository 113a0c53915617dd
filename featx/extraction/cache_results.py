"""Results of the cache functions: content, problems, compaction and clearing, as data and as text."""

from __future__ import annotations

import dataclasses
from typing import Any

from featx.backbones.preprocessing import format_preprocessing
from featx.store.compaction import Compaction
from featx.store.info import CacheInfo, RecipeInfo
from featx.store.layout import CORRUPT_SUFFIX
from featx.store.verify import Finding
from featx.system.formatting import format_bytes, format_count
from featx.system.notebook.html import TextResult
from featx.system.terminal.tables import fit_text


class CacheSummary(TextResult, CacheInfo):
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
        texts = [describe_recipe(recipe) for recipe in recipes]
        for recipe, text in zip(recipes, texts, strict=True):
            # Recipes of two versions of featx differ in the number of their pixels only.
            pixels = f", pixels {_printable(recipe.recipe.get('pixels', '?'))}" if texts.count(text) > 1 else ""
            lines += [text + pixels, *_recipe_lines(recipe)]
        lines += [] if recipes else ["no rows"]
        lines += ["", f"{format_count(self.graphs, 'compiled network')}, {format_bytes(self.graph_bytes)}"]
        lines.append(f"{format_count(self.known_files, 'file')} in the file index, {format_bytes(self.index_bytes)}")
        return "\n".join(map(fit_text, lines))


@dataclasses.dataclass(frozen=True)
class CacheVerification(TextResult):
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
        """Number of corrupt files; leftovers that do no harm do not count."""
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
class CacheCompaction(TextResult):
    """Merged segments of a feature cache, as :func:`compact_cache` returns them.

    Attributes
    ----------
    recipes : dict of str to Compaction
        Merged segments, by the fingerprint of the recipe.

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
        """Number of corrupt segments, which were not changed."""
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
class CacheClearing(TextResult):
    """Rows and files that :func:`clear_cache` removed, or would remove with ``dry_run=True``.

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
    unreadable_segments : int, default=0
        Number of files of rows that another version of featx wrote, or that are corrupt. Their rows do not count.

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
    unreadable_segments: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return rows and bytes as JSON types."""
        return {"rows": self.rows, "bytes": self.bytes}

    def as_text(self) -> str:
        """Return a human-readable sentence."""
        if self.corrupt_only:
            content = "quarantined corrupt files"
        else:
            content = f"{format_count(self.rows, 'row')} of {format_count(self.recipes, 'recipe')}"
            if self.unreadable_segments:
                files = format_count(self.unreadable_segments, "file")
                content += f", {files} of rows that another version of featx wrote or that are corrupt"
            content += ", compiled networks and the file index" if self.is_everything else ""
        verb = "Would remove" if self.is_dry_run else "Removed"
        return f"{verb} {content} ({format_bytes(self.bytes)}) from {self.folder}"


def describe_recipe(info: RecipeInfo) -> str:
    """Return a human-readable recipe in one line, without the number of its pixels."""
    if not info.recipe:
        return f"{info.fingerprint} (its recipe.json is missing, corrupt or of another format)"
    fields = {name: _printable(value) for name, value in info.recipe.items()}
    fields["image_size"] = fields.get("image_size", "?").strip("[]").replace(", ", " × ")
    weights = fields.get("weights", "")
    # A digest is shortened; a backbone without weights has a version instead.
    fields["weights"] = weights if weights.startswith("version") else f"weights {weights[:8]}"
    if "text" in fields:
        return f"{fields['backbone']}, texts, {fields['precision']}, {fields['weights']}"
    names = ("backbone", "precision", "image_size", "resize", "layer", "pooling", "weights")
    parts = [fields.get(name, "?") for name in names]
    if fields.get("preprocessing"):
        parts.append(f"preprocessing {format_preprocessing(fields['preprocessing'])}")
    if fields.get("tta"):
        parts.append(f"view {fields['tta']}")
    return ", ".join(parts)


def _recipe_lines(info: RecipeInfo) -> list[str]:
    lines = [
        f"  {format_count(info.rows, 'row')} of {info.features:,} features, {format_bytes(info.bytes)} in "
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
