"""Find the recipe with which to extract query images, so that their features fit those on disk.

The recipe is that of the job or Parquet file; for a ``.npy`` file that of its rows in the cache, or the options of the
user, which are checked on one of its images.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import (
    EngineError,
    FeaturesError,
    FeatxError,
    OptionError,
    RecipeMismatchError,
    StoreError,
    UnreadableImageError,
)
from featx.extraction.engines.engine import check_supported
from featx.extraction.extract import extract_rows
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.recorded import resolve_with_recipe
from featx.features.csv_table import PARQUET_SUFFIX
from featx.features.matrix import FeatureMatrix
from featx.features.search.cosine import mean_cosine
from featx.images.image import DIGEST_SIZE, content_digest, read_image
from featx.store.layout import read_description
from featx.store.segments import CorruptSegmentError, Segment, find_manifests
from featx.store.store import Store
from featx.system.files.url_secrets import redact_secrets

#: Number of rows whose images are looked up to compare features.
_N_PROBED = 32
#: Features of another engine, CPU or precision differ by less.
_MIN_COSINE = 0.98
#: Features of another precision differ by more.
_SAME_PRECISION = 0.9995
_DIGEST = re.compile(f"[0-9a-f]{{{2 * DIGEST_SIZE}}}")
#: Parts of a recipe that are options of extraction, under the same name.
_RECIPE_OPTIONS = ("backbone", "image_size", "layer", "pooling", "resize", "preprocessing", "tta")


@dataclasses.dataclass(frozen=True)
class RecordedRecipe:
    """The recipe of features on disk.

    Attributes
    ----------
    resolved : Resolved
    origin : str
        Where the recipe comes from, as a phrase.
    """

    resolved: Resolved
    origin: str


def find_recorded_recipe(features: FeatureMatrix, options: Mapping[str, Any], *, cache: Path | None) -> RecordedRecipe:
    """Return the recipe of features on disk.

    Parameters
    ----------
    features : FeatureMatrix
    options : mapping
        Extraction options of the user.
    cache : Path or None

    Raises
    ------
    FeaturesError
        If the options give other features.
    """
    if options.get("precision") == "auto":  # as in the extraction
        options = {name: value for name, value in options.items() if name != "precision"}
    if features.recipe is not None and features.options is not None:
        resolved = _resolve_with_recipe(features, features.options, options, features.recipe)
        origin = "file" if features.address.endswith(PARQUET_SUFFIX) else "job"
        return RecordedRecipe(resolved, f"that of the {origin}{_replacement(resolved, features.recipe)}")
    if cache is not None and "backbone" not in options and (recipe := _find_in_cache(features, cache)):
        recorded_options = {name: recipe[name] for name in _RECIPE_OPTIONS if recipe.get(name)}
        if recipe.get("window"):
            recorded_options["window"] = tuple(map(float, recipe["window"].split(":")))
        if recipe.get("bands"):
            recorded_options["bands"] = tuple(map(int, recipe["bands"].split(",")))
        resolved = _resolve_with_recipe(features, recorded_options, options, recipe)
        return RecordedRecipe(resolved, f"that of these rows in the cache{_replacement(resolved, recipe)}")
    extraction = ExtractionOptions(**options)
    if extraction.n_features != features.shape[1]:  # before weights are downloaded
        raise FeaturesError(
            f"{features.address!r} has {features.shape[1]:,} features per row, but {extraction.backbone!r} produces "
            f"{extraction.n_features:,} with these options. Set backbone, layer and pooling (--backbone, --layer, "
            "--pooling) as in the extraction."
        )
    return _verify_on_image(features, extraction, cache, is_precision_given="precision" in options)


def _replacement(resolved: Resolved, recipe: Mapping[str, Any]) -> str:
    precision, recorded = resolved.recipe.precision, recipe.get("precision")
    return f", with precision {precision} instead of {recorded}" if precision != recorded else ""


def _resolve_with_recipe(
    features: FeatureMatrix, recorded: Mapping[str, Any], given: Mapping[str, Any], recipe: Mapping[str, Any]
) -> Resolved:
    ignore = ("precision",) if "precision" in given else ()
    try:
        return resolve_with_recipe(ExtractionOptions(**{**recorded, **given}), recipe, ignore=ignore)
    except RecipeMismatchError as error:
        remedy = "Extract the features again."
        if set(given) & set(error.differences):
            remedy = "Remove the extraction options, or set them as in the extraction."
        raise FeaturesError(
            f"{features.address!r} was extracted with another recipe: {error.described_differences()} {remedy}"
        ) from error


def _find_in_cache(features: FeatureMatrix, cache: Path) -> dict[str, Any] | None:
    """Return the recipe of which the cache holds the same rows for the same images, or None."""
    try:
        digests = features.digests[:_N_PROBED].tolist()
    except FeatxError:  # there is no table next to the matrix
        return None
    known_rows = [row for row, digest in enumerate(digests) if _DIGEST.fullmatch(digest)]
    if not known_rows:
        return None
    keys = np.frombuffer(bytes.fromhex("".join(digests[row] for row in known_rows)), dtype=np.uint8)
    keys, expected = keys.reshape(-1, DIGEST_SIZE), features[known_rows]
    for fingerprint, recipe in _cached_recipes(cache):
        if not _can_hold(cache / "features" / fingerprint, features.shape[1]):
            continue
        try:
            is_cached, rows = Store(cache, fingerprint, recipe, features.shape[1]).read(keys)
        except StoreError:  # for example written by a newer version
            continue
        if is_cached.any() and np.allclose(rows, expected[is_cached], rtol=1e-3, atol=1e-3):
            return recipe
    return None


def _cached_recipes(cache: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in sorted(cache.glob("features/*")):
        if description := read_description(folder):
            yield folder.name, description["recipe"]


def _can_hold(folder: Path, n_features: int) -> bool:
    """Return whether the rows of a recipe have this number of features. A store quarantines rows of another number."""
    for name in sorted(find_manifests(folder)):
        try:
            return Segment(folder / name).n_features == n_features
        except (StoreError, CorruptSegmentError):  # all segments of a recipe have the same number
            continue
    return False


def _verify_on_image(
    features: FeatureMatrix, extraction: ExtractionOptions, cache: Path | None, *, is_precision_given: bool
) -> RecordedRecipe:
    """Compare the features of one image with its row, and return the recipe in the precision of the row.

    Raises
    ------
    FeaturesError
        If they differ.
    """
    resolved = extraction.resolve()
    name = f"{resolved.recipe.backbone}, {resolved.recipe.layer}, {resolved.recipe.pooling}"
    row, path = _find_unchanged_image(features)
    if path is None:
        unverified = f"not verified, because none of the first {_N_PROBED} images is available"
        return RecordedRecipe(resolved, f"{name}; {unverified}")
    cosine = _cosine_to_row(features, row, path, resolved, cache)
    origin = f"{name}; verified on {redact_secrets(path)!r}"
    if cosine >= _SAME_PRECISION:
        return RecordedRecipe(resolved, origin)
    for other in () if is_precision_given else _other_precisions(extraction, resolved):
        if _cosine_to_row(features, row, path, other, cache) >= _SAME_PRECISION:
            return RecordedRecipe(other, f"{origin}, in the precision of its row, {other.recipe.precision}")
    if not cosine >= _MIN_COSINE:
        raise FeaturesError(
            f"{features.address!r} was not extracted with these options ({name}): the stored row of "
            f"{redact_secrets(path)!r} has cosine similarity {cosine:.3f} to the row extracted with these options. "
            "Pass the options of the extraction."
        )
    return RecordedRecipe(
        resolved,
        f"{origin}, whose row has another precision than {resolved.recipe.precision} (cosine similarity {cosine:.4f}): "
        "similarities differ slightly",
    )


def _cosine_to_row(features: FeatureMatrix, row: int, path: str, resolved: Resolved, cache: Path | None) -> float:
    extracted = extract_rows([path], resolved, cache=cache)[0][0]
    return float(mean_cosine(extracted[None], features[row][None]))


def _other_precisions(extraction: ExtractionOptions, resolved: Resolved) -> Iterator[Resolved]:
    """Yield the recipe in the other precisions that this machine supports without quantizing a network."""
    quantized = ("int8",) if extraction.backbone == "mobilenet" and extraction.layer is None else ()
    for precision in ("float32", "float16", "bfloat16", *quantized):
        if precision == resolved.recipe.precision:
            continue
        try:
            other = dataclasses.replace(extraction, precision=precision).resolve()
            if other.engine == "openvino":
                check_supported(precision)
            yield other
        except (EngineError, OptionError):
            continue


def _find_unchanged_image(features: FeatureMatrix) -> tuple[int, str | None]:
    """Return a row and the path of its image, which still has the digest of the table; (-1, None) if there is none."""
    try:
        paths, digests = features.paths[:_N_PROBED].tolist(), features.digests[:_N_PROBED].tolist()
    except FeatxError:  # there is no table next to the matrix
        return -1, None
    for row, (path, digest) in enumerate(zip(paths, digests, strict=True)):
        try:
            content, _ = read_image(path)
        except (UnreadableImageError, OSError):
            continue
        if content_digest(content).hex() == digest:
            return row, path
    return -1, None
