"""The networks that are compared or ranked: each recipe once, extracted once, under a name that tells it apart."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.backbones import preprocessing
from featx.datasets.failures import Failure, readable_positions
from featx.datasets.image_table import ImageTable
from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions, Resolved
from featx.system.array_types import DigestArray, FloatArray
from featx.system.formatting import shorten
from featx.workflows.prepare import Extracted, extract, note_failures, note_padded

_DIGEST = re.compile(r"[0-9a-f]{64}")


def as_extraction_options(network: Any) -> ExtractionOptions:
    """Return the options of a network that was given by its name, or as a FeatureExtractor."""
    if isinstance(network, str | os.PathLike):
        return ExtractionOptions(os.fspath(network))
    if hasattr(network, "get_weights") and hasattr(network, "to_json"):
        raise OptionError(
            f"networks holds {getattr(network, 'name', 'a network')!r}, a keras.Model object, which does not say how "
            "it wants its pixels. Wrap it: FeatureExtractor(model, preprocessing='tf')."
        )
    names = [field.name for field in dataclasses.fields(ExtractionOptions)]
    try:
        return ExtractionOptions(**{name: getattr(network, name) for name in names})
    except AttributeError as error:
        raise OptionError(f"{network!r} is no network: expected a name, or a FeatureExtractor.") from error


def unique_recipes(resolved: Sequence[Resolved], notes: list[str]) -> list[Resolved]:
    """Return the networks, each recipe once, and note how many were the same."""
    found = {network.recipe.fingerprint: network for network in reversed(resolved)}
    if len(found) < len(resolved):
        notes.append(f"{len(resolved) - len(found)} of {len(resolved)} networks are the same as another one.")
    return [network for network in dict.fromkeys(resolved) if found[network.recipe.fingerprint] is network]


def extract_each(
    table: ImageTable,
    resolved: Sequence[Resolved],
    teller: Resolved,
    *,
    cache: Path | None,
    on_error: str,
    show_progress: bool,
) -> tuple[list[Extracted], Extracted]:
    """Return the rows of each network, and those of the one that tells duplicates, no recipe extracted twice."""
    known: dict[Any, Extracted] = {}
    for network in (*resolved, teller):
        if network.recipe not in known:
            known[network.recipe] = extract(table, network, cache, on_error == "raise", show_progress)
    return [known[network.recipe] for network in resolved], known[teller.recipe]


@dataclasses.dataclass(frozen=True)
class Readable:
    """The images that every network could read, and their rows.

    Attributes
    ----------
    table : ImageTable
    each : list of Extracted
        Of each network, all images.
    rows : list of ndarray of float32, shape (n_samples, n_features)
        Of each network, those that can be read.
    duplicate_features : ndarray of float32, shape (n_samples, n_features)
        Rows by which duplicates are told.
    digests : ndarray of uint8, shape (n_samples, 16)
    failures : list of Failure
    """

    table: ImageTable
    each: list[Extracted]
    rows: list[FloatArray]
    duplicate_features: FloatArray
    digests: DigestArray
    failures: list[Failure]


def extract_readable(
    table: ImageTable,
    resolved: Sequence[Resolved],
    teller: Resolved,
    notes: list[str],
    *,
    cache: Path | None,
    on_error: str,
    show_progress: bool,
) -> Readable:
    """Extract images with each network, and note which are left out as unreadable, or were made complete.

    Raises
    ------
    SourceError
        Not one of them can be read.
    """
    each, duplicate_features = extract_each(
        table, resolved, teller, cache=cache, on_error=on_error, show_progress=show_progress
    )
    by_position = {failure.position: failure for one in each for failure in one.failures}
    failures = [by_position[position] for position in sorted(by_position)]
    keep = readable_positions(len(table), failures)
    note_padded(table, sorted({position for one in each for position in one.padded}), notes)
    note_failures(failures, notes)
    rows = [one.rows[keep] for one in each]
    return Readable(
        table.select(keep), each, rows, duplicate_features.rows[keep], duplicate_features.digests[keep], failures
    )


def backbone_names(resolved: Sequence[Resolved]) -> list[str]:
    """Return a name for each network: its backbone, what is not its default, and what tells it from the others."""
    recipes = [
        {"preprocessing": "", "tta": "", **network.recipe.as_dict(), "name": network.backbone.name}
        for network in resolved
    ]
    defaults = [
        {
            "layer": network.backbone.layer,
            "pooling": "avg",
            "image_size": list(network.backbone.fixed_image_size or [network.backbone.image_size] * 2),
            "resize": "squash",
            "precision": network.recipe.precision,
            "weights": network.recipe.weights,
            "preprocessing": network.recipe.preprocessing,
            "tta": "",
        }
        for network in resolved
    ]
    named = [
        key
        for key in defaults[0]
        if any(recipe[key] != default[key] for recipe, default in zip(recipes, defaults, strict=True))
        or any(one["name"] == other["name"] and one[key] != other[key] for one in recipes for other in recipes)
    ]
    return [
        " ".join(
            [
                str(recipe["name"]),
                *(_said(key, recipe[key]) for key in named if recipe[key] and _tells(key, recipe, recipes)),
            ]
        )
        for recipe in recipes
    ]


def _tells(key: str, recipe: dict[str, Any], recipes: list[dict[str, Any]]) -> bool:
    """Return whether a network is to be named by a part of its recipe: a digest only beside another of its name."""
    return key != "weights" or any(
        other["name"] == recipe["name"] and other["weights"] != recipe["weights"] for other in recipes
    )


def _said(key: str, value: Any) -> str:
    if key == "weights" and _DIGEST.fullmatch(value):
        return str(value[:8])
    if key == "preprocessing":
        return preprocessing.format_preprocessing(value)
    return "×".join(map(str, value)) if isinstance(value, list) else shorten(str(value), 40)
