"""A small store for tests, whose rows are made of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from featx.store.store import Store
from featx.testing.row_store import N_FEATURES
from featx.testing.store_contract import StoreContract


class DiskStoreContract(StoreContract):
    """The contract of the store on disk."""

    def open(self, cache: Path) -> Store:
        return store_in(cache)

    def leftovers(self, cache: Path) -> list[Path]:
        return leftovers(cache)


def store_in(cache: Path) -> Store:
    """Return a handle of the store."""
    return Store(cache, "abc", {"backbone": "test"}, N_FEATURES)


def write(cache: Path, numbers: Iterable[int]) -> None:
    """Commit the rows of some numbers."""
    DiskStoreContract().write(cache, numbers)


def stored(cache: Path, numbers: Sequence[int]) -> list[int]:
    """Return the numbers whose rows are stored."""
    return DiskStoreContract().stored(cache, numbers)


def leftovers(cache: Path) -> list[Path]:
    """Return files that belong to no committed row, description or setting."""
    known = re.compile(r"[0-9a-f]{32}\.json|recipe\.json|\.gitignore|CACHEDIR\.TAG")
    return [
        path
        for path in cache.rglob("*")
        if path.is_file()
        and not known.fullmatch(path.name)
        and not (path.suffix == ".npy" and path.with_suffix(".json").exists())
    ]
