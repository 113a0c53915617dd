"""Caches as a whole: told, checked, compacted, cleared."""

from featx.caches.info import CacheInfo, RecipeInfo, describe_cache
from featx.caches.upkeep import clear_cache, clear_set_aside, compact_cache
from featx.caches.verification import Finding, verify_cache

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
