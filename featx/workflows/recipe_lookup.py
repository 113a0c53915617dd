"""Features on disk → what gives rows of the same recipe: as their job says, the cache knows, or the user."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import FeaturesError, FeatxError, RecipeMismatchError, StoreError, UnreadableImageError
from featx.extraction.extract import extract_rows
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.resolved import resolve_with_recipe
from featx.features.matrix import FeatureMatrix
from featx.images.image import DIGEST_SIZE, content_digest, read_image
from featx.store.layout import read_description
from featx.store.store import Store
from featx.system.files.url_secrets import redact_secrets

#: Rows whose images are looked for, to compare a row with what the options give.
_LOOKED_FOR = 32
#: Another engine, CPU or precision moves a row by less.
_LEAST_COSINE = 0.98
_DIGEST = re.compile(f"[0-9a-f]{{{2 * DIGEST_SIZE}}}")
_OPTIONS_OF_RECIPE = ("backbone", "image_size", "layer", "pooling", "resize", "preprocessing", "tta")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What gives rows like those on disk.

    Attributes
    ----------
    resolved : Resolved
    words : str
        How that is known.
    """

    resolved: Resolved
    words: str


def find_recorded_recipe(features: FeatureMatrix, given: Mapping[str, Any], *, cache: Path | None) -> Recorded:
    """Return what gives rows like those of features on disk.

    Parameters
    ----------
    features : FeatureMatrix
    given : mapping
        Options of extraction that the user gave. A job has its recipe; of a ``.npy`` file, it is found in the cache if
        its rows are there, or is what these options say, checked on an image that has a row.
    cache : Path or None

    Raises
    ------
    FeaturesError
        The options give other features.
    """
    if features.recipe is not None:
        resolved = _held(features, {**(features.options or {}), **given}, features.recipe)
        precision = features.recipe.get("precision")
        if resolved.recipe.precision != precision:
            return Recorded(
                resolved, f"the job's recipe, but for {resolved.recipe.precision}, where it has {precision}"
            )
        return Recorded(resolved, "the job's recipe")
    if cache is not None and "backbone" not in given and (recipe := _in_cache(features, cache)):
        found = {name: recipe[name] for name in _OPTIONS_OF_RECIPE if recipe.get(name)}
        return Recorded(_held(features, {**found, **given}, recipe), "the recipe that the cache has of these rows")
    options = ExtractionOptions(**given)
    if options.n_features != features.shape[1]:  # before weights are fetched
        raise FeaturesError(
            f"{features.address!r} has {features.shape[1]:,} features, and {options.backbone!r} gives "
            f"{options.n_features:,} with these options. Name the network, layer and pooling that it was extracted "
            "with (--backbone, --layer, --pooling)."
        )
    resolved = options.resolve()
    return Recorded(resolved, _checked(features, resolved, cache))


def _held(features: FeatureMatrix, options: Mapping[str, Any], recipe: Mapping[str, Any]) -> Resolved:
    try:
        return resolve_with_recipe(ExtractionOptions(**options), recipe, ignore=("precision",))
    except RecipeMismatchError as error:
        differing = "; ".join(f"{name} {was!r}, not {found!r}" for name, (was, found) in error.differences.items())
        raise FeaturesError(
            f"{features.address!r} was extracted with another recipe than these options give here: {differing}. Leave "
            "options of extraction out, or give those that it was made with."
        ) from error


def _in_cache(features: FeatureMatrix, cache: Path) -> dict[str, Any] | None:
    """Return the recipe of which the cache has rows of these images, if they are the same rows."""
    try:
        digests = features.digests[:_LOOKED_FOR].tolist()
    except FeatxError:  # there is no table beside the matrix: its images are not known
        return None
    known = [row for row, digest in enumerate(digests) if _DIGEST.fullmatch(digest)]
    if not known:
        return None
    wanted = np.frombuffer(bytes.fromhex("".join(digests[row] for row in known)), dtype=np.uint8)
    wanted, expected = wanted.reshape(-1, DIGEST_SIZE), features[known]
    for fingerprint, recipe in _recipes(cache):
        try:
            found, rows = Store(cache, fingerprint, recipe, features.shape[1]).read(wanted)
        except StoreError:
            continue  # of a newer featx, or locked: not the one
        if found.any() and np.allclose(rows, expected[found], rtol=1e-3, atol=1e-3):
            return recipe
    return None


def _recipes(cache: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in sorted(cache.glob("features/*")):
        if described := read_description(folder):
            yield folder.name, described["recipe"]


def _checked(features: FeatureMatrix, resolved: Resolved, cache: Path | None) -> str:
    """Compare a row with what the options give for its image; return in words what that showed.

    Raises
    ------
    FeaturesError
        They give another row.
    """
    name = f"{resolved.recipe.backbone}, {resolved.recipe.layer}, {resolved.recipe.pooling}"
    row, path = _an_image(features)
    if path is None:
        return f"{name}; not checked, as none of the first images that have a row is there as it was"
    found = extract_rows([path], resolved, cache=cache)[0][0]
    expected = features[row]
    cosine = float(found @ expected / max(1e-30, float(np.linalg.norm(found) * np.linalg.norm(expected))))
    if not cosine >= _LEAST_COSINE:
        raise FeaturesError(
            f"{features.address!r} was not extracted as these options say ({name}): the row of "
            f"{redact_secrets(path)!r} has a cosine of {cosine:.3f} to what they give. Give the options that it was "
            "made with."
        )
    return f"{name}; checked on {redact_secrets(path)!r}"


def _an_image(features: FeatureMatrix) -> tuple[int, str | None]:
    """Return a row and the path of its image, of one that is still what it was."""
    try:
        paths, digests = features.paths[:_LOOKED_FOR].tolist(), features.digests[:_LOOKED_FOR].tolist()
    except FeatxError:  # as above
        return -1, None
    for row, (path, digest) in enumerate(zip(paths, digests, strict=True)):
        try:
            content, _ = read_image(path)
        except (UnreadableImageError, OSError):
            continue
        if content_digest(content).hex() == digest:
            return row, path
    return -1, None
