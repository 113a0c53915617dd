"""Images → features for scikit-learn: a frozen network, every row kept, nothing computed twice.

``import featx`` loads nothing heavy: names are fetched when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take this name for true; typing itself need not be loaded
if TYPE_CHECKING:
    from typing import Any

    from featx.backbones import (
        Backbone,
        DirectBackbone,
        KerasBackbone,
        available_backbones,
        load_backbone,
        register_backbone,
    )
    from featx.baselines import Comparison, compare_baselines
    from featx.compare import compare_images
    from featx.curves import learning_curve
    from featx.duplicates import Duplicates, find_duplicates
    from featx.label_issues import find_label_issues
    from featx.recipe import Recipe
    from featx.results import ImageComparison
    from featx.transformer import FeatureExtractor

__version__ = "0.1.0"

__all__ = [
    "Backbone",
    "Comparison",
    "DirectBackbone",
    "Duplicates",
    "FeatureExtractor",
    "ImageComparison",
    "KerasBackbone",
    "Recipe",
    "__version__",
    "available_backbones",
    "compare_baselines",
    "compare_images",
    "find_duplicates",
    "find_label_issues",
    "learning_curve",
    "load_backbone",
    "register_backbone",
]

_HOMES = {
    "Backbone": "backbones",
    "Comparison": "baselines",
    "DirectBackbone": "backbones",
    "Duplicates": "duplicates",
    "FeatureExtractor": "transformer",
    "ImageComparison": "results",
    "KerasBackbone": "backbones",
    "Recipe": "recipe",
    "available_backbones": "backbones",
    "compare_baselines": "baselines",
    "compare_images": "compare",
    "find_duplicates": "duplicates",
    "find_label_issues": "label_issues",
    "learning_curve": "curves",
    "load_backbone": "backbones",
    "register_backbone": "backbones",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featx' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"featx.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
