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
    from featx.recipe import Recipe
    from featx.transformer import FeatureExtractor

__version__ = "0.1.0"

__all__ = [
    "Backbone",
    "Comparison",
    "DirectBackbone",
    "FeatureExtractor",
    "KerasBackbone",
    "Recipe",
    "__version__",
    "available_backbones",
    "compare_baselines",
    "load_backbone",
    "register_backbone",
]

_HOMES = {
    "Backbone": "backbones",
    "Comparison": "baselines",
    "DirectBackbone": "backbones",
    "FeatureExtractor": "transformer",
    "KerasBackbone": "backbones",
    "Recipe": "recipe",
    "available_backbones": "backbones",
    "compare_baselines": "baselines",
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
