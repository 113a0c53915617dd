"""Rows of texts: from the cache, or by running the text tower of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from featx.backbones.registry import Backbone
from featx.errors import EngineError, OptionError, StoreError
from featx.extraction.options import Resolved
from featx.extraction.text.text_tower import start_text_tower
from featx.images.image import DIGEST_SIZE, content_digest
from featx.recipe import TextRecipe
from featx.store.layout import is_unusable_error, warn_unusable
from featx.store.store import Store
from featx.system.array_types import DigestArray, FloatArray

_EXAMPLE = "'open_clip/ViT-B-32:laion2b_s34b_b79k'"


def check_has_text(backbone: Backbone, purpose: str) -> None:
    """Raise OptionError if a backbone has no text tower. No weights are looked up."""
    if not backbone.has_text:
        raise OptionError(
            f"{purpose} needs a backbone with a text tower, got {backbone.name!r}. Use one of open_clip, such as "
            f"{_EXAMPLE}."
        )


def check_text_support(resolved: Resolved, purpose: str) -> None:
    """Raise an error if texts are not comparable with the features of a recipe.

    Parameters
    ----------
    resolved : Resolved
        Backbone and recipe of the images.
    purpose : str
        Purpose of the texts, for the error message.

    Raises
    ------
    OptionError
        If the backbone has no text tower, or its own pooling is not used.
    """
    backbone, recipe = resolved.backbone, resolved.recipe
    check_has_text(backbone, purpose)
    pooling = backbone.resolve_pooling("native")
    if (recipe.layer, recipe.pooling) != (backbone.layer, pooling):
        raise OptionError(
            f"{purpose} needs the features that the text tower was trained with: layer {backbone.layer!r} and pooling "
            f"'native', got {recipe.layer!r} and {recipe.pooling!r}. Omit layer and pooling (--layer, --pooling), and "
            "extract the features again."
        )


def extract_texts(texts: Sequence[str], resolved: Resolved, *, cache: Path | None) -> FloatArray:
    """Return the rows of texts, which are comparable with those of images by their cosine.

    Parameters
    ----------
    texts : sequence of str
        Texts; a text that occurs several times is computed once.
    resolved : Resolved
        Backbone and weights; see :func:`check_text_support`.
    cache : Path or None
        Cache folder. None: no caching.

    Returns
    -------
    ndarray of float32 of shape (n_texts, n_features)
        Rows.

    Raises
    ------
    OptionError
        If a text is empty, no str, or not valid Unicode.
    EngineError
        If the text tower cannot be run, or returns NaN.
    MissingDependencyError
        If a package is not installed.
    """
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise OptionError(f"A text must be a non-empty str, got {text!r}. Describe what the image shows.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise OptionError(
                f"A text must be valid Unicode, got {text!r}. Type it again, or read it with its own encoding."
            ) from None
    unique = list(dict.fromkeys(texts))
    recipe = TextRecipe(resolved.recipe.backbone, resolved.recipe.weights)
    store = Store(cache, recipe.fingerprint, recipe.as_dict(), resolved.n_features) if cache else None
    digests = np.array([list(content_digest(text.encode())) for text in unique], dtype=np.uint8).reshape(
        -1, DIGEST_SIZE
    )
    rows = np.empty((len(unique), resolved.n_features), dtype=np.float32)
    is_stored = np.zeros(len(unique), dtype=bool)
    if store is not None:
        is_stored, rows[is_stored] = store.read(digests)
    missing = [text for text, known in zip(unique, is_stored, strict=True) if not known]
    if missing:
        rows[~is_stored] = start_text_tower(resolved, recipe, cache)(missing)
        if not np.isfinite(rows).all():
            raise EngineError(
                f"The text tower of {resolved.backbone.name!r} returned NaN or infinite values. Its weights may be "
                "corrupt: download them again."
            )
        if store is not None:
            _keep(store, digests[~is_stored], rows[~is_stored])
    position = {text: index for index, text in enumerate(unique)}
    return rows[[position[text] for text in texts]]


def _keep(store: Store, digests: DigestArray, rows: FloatArray) -> None:
    """Write rows to the cache; one that cannot be written is only warned about."""
    try:
        store.prepare()
        store.append(digests, rows)
        store.commit()
    except StoreError as error:
        if not is_unusable_error(error):
            raise
        warn_unusable(store.cache, error)
