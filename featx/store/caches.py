"""Caches as a whole: told, checked, compacted, cleared."""

from featx.store.info import CacheInfo, RecipeInfo, describe_cache
from featx.store.maintenance import clear_cache, clear_set_aside, compact_cache
from featx.store.verify import Finding, verify_cache

__all__ = [
    "CacheInfo",
    "Finding",
    "RecipeInfo",
    "clear_cache",
    "clear_set_aside",
    "compact_cache",
    "describe_cache",
    "verify_cache",
]
