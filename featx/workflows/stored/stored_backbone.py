"""Description of the backbone of stored features, in the form in which results and reports show backbones."""

from __future__ import annotations

import dataclasses
from pathlib import PurePath
from typing import Any

from featx.features.matrix import FeatureMatrix
from featx.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class UnknownRecipe:
    """Recipe of a feature file, which does not record it."""

    layer: str = ""
    pooling: str = ""
    tta: str = ""
    fingerprint: str = "unknown"

    def as_dict(self) -> dict[str, Any]:
        """Return no values: nothing is known."""
        return {}


@dataclasses.dataclass(frozen=True)
class StoredName:
    """Name of a backbone that is not loaded."""

    name: str


@dataclasses.dataclass(frozen=True)
class StoredBackbone:
    """A backbone whose features are stored.

    Attributes
    ----------
    backbone : StoredName
        Name of the backbone; that of the file if it is unknown.
    recipe : Recipe or UnknownRecipe
    n_features : int
    engine : str
    """

    backbone: StoredName
    recipe: Recipe | UnknownRecipe
    n_features: int
    engine: str = "not recorded"


def stored_backbone(features: FeatureMatrix) -> StoredBackbone:
    """Return the backbone of features."""
    if features.recipe is None:
        return StoredBackbone(StoredName(PurePath(features.address).name), UnknownRecipe(), features.shape[1])
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in features.recipe.items()
    }
    recipe = Recipe(**values)
    name = (features.options or {}).get("backbone") or recipe.backbone
    return StoredBackbone(StoredName(str(name)), recipe, features.shape[1])
