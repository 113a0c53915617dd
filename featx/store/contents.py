"""Which files of a cache folder are featx's own; nothing else there is ever touched."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from featx.errors import FeatxError, StoreError
from featx.extraction.throughput import RATES
from featx.store.layout import DAMAGED, DESCRIPTION, INDEX

#: Files that were set aside.
SET_ASIDE = re.compile(
    rf"([0-9a-f]{{32}}\.(json|npy)|[0-9a-f]{{16}}\.(json|xml|bin)|{re.escape(DESCRIPTION)}|{re.escape(INDEX)})"
    + re.escape(DAMAGED)
)
_RECIPE = re.compile(r"[0-9a-f]{16}")


@contextlib.contextmanager
def reading(cache: Path) -> Iterator[None]:
    """Check that there is a cache; turn a failure to read it into a StoreError."""
    try:
        inside = set(os.listdir(cache))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"There is no cache in {str(cache)!r}. Name it (--cache DIR, or the variable FEATX_CACHE), or extract "
            "something first."
        ) from error
    except OSError as error:
        raise _not_readable(cache, error) from error
    if inside - {".gitignore"} and not inside & {"features", "compiled", INDEX, RATES}:
        raise StoreError(
            f"{str(cache)!r} is no cache of featx: expected features/ or compiled/ in it. "
            "Name the cache: --cache DIR, or the variable FEATX_CACHE."
        )
    try:
        yield
    except OSError as error:
        raise error if isinstance(error, FeatxError) else _not_readable(cache, error) from error


def _not_readable(cache: Path, error: OSError) -> StoreError:
    where = error.filename or cache
    return StoreError(
        f"{str(where)!r} in the cache cannot be read: {error.strerror or error}. Mend that, and try again."
    )


def recipe_folders(cache: Path, fingerprints: Collection[str] | None = None) -> list[Path]:
    """Return the folders of rows, in order; of these recipes if any are named."""
    features = cache / "features"
    if features.is_symlink() or not features.is_dir():
        return []
    return sorted(
        path
        for path in features.iterdir()
        if _RECIPE.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        if fingerprints is None or path.name in fingerprints
    )


def index_files(cache: Path) -> list[Path]:
    """Return the index and what SQLite keeps beside it."""
    return [cache / f"{INDEX}{suffix}" for suffix in ("", "-journal", "-wal", "-shm")]


def remove(path: Path) -> None:
    """Remove a file of ours, or an empty folder that lies in its place; one that is not empty is not ours."""
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        if not path.is_dir():
            raise
        with contextlib.suppress(OSError):
            path.rmdir()


def set_aside_in(folder: Path) -> list[Path]:
    """Return the files that were set aside in a folder."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted(path for path in folder.iterdir() if SET_ASIDE.fullmatch(path.name))


def size_of(paths: Iterable[Path]) -> int:
    """Return the bytes of files; of those that are gone meanwhile, none."""
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            total += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return total
