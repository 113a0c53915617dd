"""Features of the same images by several backbones, each recipe extracted once and with a name of its own."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.preprocessing import format_preprocessing
from featx.datasets.failures import Failure, readable_positions
from featx.datasets.image_table import ImageTable
from featx.datasets.pixel_range import pixel_range_note
from featx.errors import OptionError
from featx.extraction.extract import extract_into
from featx.extraction.options import ExtractionOptions, Resolved
from featx.images.arrays import check_values
from featx.images.image_lists import listed_images
from featx.system.array_types import DigestArray, FloatArray
from featx.system.formatting import format_count, shorten
from featx.system.terminal.progress import stage

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_NAMED = 3


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Features of one recipe.

    Attributes
    ----------
    rows : ndarray of float32 of shape (n_samples, n_features)
    digests : ndarray of uint8 of shape (n_samples, 16)
        Digests of the image files.
    failures : list of Failure
        Images that cannot be read.
    padded : list of int
        Positions of truncated images whose missing part was filled.
    n_computed : int
        Number of images that were not cached.
    seconds : float
        Duration of the extraction.
    """

    rows: FloatArray
    digests: DigestArray
    failures: list[Failure]
    padded: list[int]
    n_computed: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class ReadableImages:
    """The images that every backbone can read, with their features.

    Attributes
    ----------
    table : ImageTable
    feature_sets : list of FeatureSet
        One for each recipe, with rows of the readable images.
    duplicate_features : ndarray of float32 of shape (n_samples, n_features)
        Features used to detect near-duplicates.
    digests : ndarray of uint8 of shape (n_samples, 16)
    failures : list of Failure
        Images that some backbone cannot read, by position.
    pixel_note : str, default=""
        Note that images are nearly black, with a remedy. Empty: they are not.
    """

    table: ImageTable
    feature_sets: list[FeatureSet]
    duplicate_features: FloatArray
    digests: DigestArray
    failures: list[Failure]
    pixel_note: str = ""


def as_extraction_options(backbone: Any) -> ExtractionOptions:
    """Return the extraction options of a backbone name, a model file, a FeatureExtractor or other options.

    Raises
    ------
    OptionError
        If `backbone` is something else.
    """
    if isinstance(backbone, str | os.PathLike):
        return ExtractionOptions(os.fspath(backbone))
    if hasattr(backbone, "get_weights") and hasattr(backbone, "to_json"):
        raise OptionError(
            f"Cannot use keras.Model {getattr(backbone, 'name', '')!r} as a backbone: its preprocessing is unknown. "
            "Wrap it: FeatureExtractor(model, preprocessing='tf')."
        )
    try:
        options = {field.name: getattr(backbone, field.name) for field in dataclasses.fields(ExtractionOptions)}
    except AttributeError as error:
        raise OptionError(f"A backbone must be a name, a path or a FeatureExtractor, got {backbone!r}.") from error
    return ExtractionOptions(**options)


def unique_recipes(resolved: Sequence[Resolved], notes: list[str]) -> list[Resolved]:
    """Return the first of each recipe, and add a note if some are repeated."""
    unique: dict[str, Resolved] = {}
    for candidate in resolved:
        unique.setdefault(candidate.recipe.fingerprint, candidate)
    if len(unique) < len(resolved):
        n_repeated = format_count(len(resolved) - len(unique), "backbone")
        notes.append(f"{n_repeated} excluded: the features are those of another one in the list.")
    return list(unique.values())


def extract_readable(
    table: ImageTable,
    resolved: Sequence[Resolved],
    detector: Resolved,
    notes: list[str],
    *,
    cache: Path | None,
    on_error: str,
) -> ReadableImages:
    """Extract images with each backbone, and note unreadable and truncated ones.

    Parameters
    ----------
    table : ImageTable
    resolved : sequence of Resolved
        One for each recipe.
    detector : Resolved
        Backbone whose features detect near-duplicates.
    notes : list of str
        Receives the notes.
    cache : Path or None
    on_error : {"skip", "raise"}

    Raises
    ------
    SourceError
        If no image can be read.
    InputError
        If arrays have values outside of their range: those of the others may be inside by chance.
    UnreadableImageError
        For the first unreadable image, with ``on_error="raise"``.
    """
    window = next((backbone.recipe.window for backbone in resolved if backbone.recipe.window), "")
    pixel_note = pixel_range_note(table.paths, window)
    notes += filter(None, [pixel_note])
    for backbone in resolved:
        check_values(listed_images(table.paths), backbone.recipe.pixel_range)
    by_recipe: dict[Any, FeatureSet] = {}
    for backbone in (*resolved, detector):
        if backbone.recipe not in by_recipe:
            by_recipe[backbone.recipe] = _extract(table, backbone, cache, on_error == "raise")
    feature_sets = [by_recipe[backbone.recipe] for backbone in resolved]
    failures_by_position = {failure.position: failure for features in feature_sets for failure in features.failures}
    failures = [failures_by_position[position] for position in sorted(failures_by_position)]
    readable = readable_positions(len(table), failures)
    _note_padded(table, sorted({position for features in feature_sets for position in features.padded}), notes)
    _note_failures(failures, notes)
    duplicates = by_recipe[detector.recipe]
    return ReadableImages(
        table.select(readable),
        [dataclasses.replace(features, rows=features.rows[readable]) for features in feature_sets],
        duplicates.rows[readable],
        duplicates.digests[readable],
        failures,
        pixel_note,
    )


def _extract(table: ImageTable, resolved: Resolved, cache: Path | None, raise_on_error: bool) -> FeatureSet:
    """Return the features of all images, with rows of NaN for those that cannot be read."""
    rows = np.empty((len(table), resolved.n_features), dtype=np.float32)
    started = time.perf_counter()
    with stage("extract", len(table), message=resolved.backbone.name) as progress:
        ledger = extract_into(
            rows, table.paths, resolved, cache=cache, raise_on_error=raise_on_error, progress=progress
        )
    seconds = time.perf_counter() - started
    return FeatureSet(rows, ledger.digests, ledger.failures, ledger.padded, ledger.n_computed, seconds)


def _note_failures(failures: Sequence[Failure], notes: list[str]) -> None:
    if failures:
        named = "; ".join(f"{shorten(failure.image)} ({failure.reason})" for failure in failures[:_MAX_NAMED])
        n_more = len(failures) - _MAX_NAMED
        more = f"; and {n_more:,} more" if n_more > 0 else ""
        notes.append(f"{format_count(len(failures), 'unreadable image')} excluded: {named}{more}.")


def _note_padded(table: ImageTable, padded: Sequence[int], notes: list[str]) -> None:
    if padded:
        first = shorten(table.paths[padded[0]])
        notes.append(f"{format_count(len(padded), 'truncated image')} padded with gray or black; the first is {first}.")


def backbone_names(resolved: Sequence[Resolved]) -> list[str]:
    """Return a display name for each recipe.

    A name consists of the backbone and of recipe values that are not the default, or that differ among recipes of the
    same backbone.
    """
    recipes = [_recipe_values(backbone) for backbone in resolved]
    defaults = [_default_values(backbone) for backbone in resolved]
    values: dict[tuple[Any, str], set[Any]] = collections.defaultdict(set)
    for recipe in recipes:
        for field, value in recipe.items():
            values[recipe["name"], field].add(value)
    shown_fields = [
        field
        for field in defaults[0]
        if any(recipe[field] != default[field] for recipe, default in zip(recipes, defaults, strict=True))
        or any(len(values[recipe["name"], field]) > 1 for recipe in recipes)
    ]

    def is_shown(recipe: dict[str, Any], field: str) -> bool:
        # The digest of weights is shown only to distinguish backbones of the same name.
        return bool(recipe[field]) and (field != "weights" or len(values[recipe["name"], field]) > 1)

    return [
        " ".join(
            [recipe["name"], *(_format(field, recipe[field]) for field in shown_fields if is_shown(recipe, field))]
        )
        for recipe in recipes
    ]


def _recipe_values(resolved: Resolved) -> dict[str, Any]:
    recipe = {"preprocessing": "", "tta": "", **resolved.recipe.as_dict(), "name": resolved.backbone.name}
    return {field: tuple(value) if isinstance(value, list) else value for field, value in recipe.items()}


def _default_values(resolved: Resolved) -> dict[str, Any]:
    """Return the recipe values that need not be named; weights, precision and preprocessing have no other default."""
    backbone, recipe = resolved.backbone, resolved.recipe
    return {
        "layer": backbone.layer,
        "pooling": backbone.resolve_pooling("native"),
        "image_size": tuple(backbone.fixed_image_size or [backbone.image_size] * 2),
        "resize": backbone.resize,
        "precision": recipe.precision,
        "weights": recipe.weights,
        "preprocessing": recipe.preprocessing,
        "tta": "",
    }


def _format(field: str, value: Any) -> str:
    if field == "weights" and _SHA256.fullmatch(value):
        return str(value[:8])
    if field == "preprocessing":
        return format_preprocessing(value)
    return "×".join(map(str, value)) if isinstance(value, tuple) else shorten(str(value), 40)
