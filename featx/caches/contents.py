"""Which files of a cache folder are featx's own; nothing else there is ever touched."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from featx.errors import FeatxError, StoreError
from featx.segments import DAMAGED

INDEX = "digests.sqlite"
#: Files of rows, and files that were set aside.
ROWS = re.compile(r"[0-9a-f]{32}\.npy")
SET_ASIDE = re.compile(r"([0-9a-f]{32}\.(json|npy)|digests\.sqlite)" + re.escape(DAMAGED))
_RECIPE = re.compile(r"[0-9a-f]{16}")


@contextlib.contextmanager
def reading(cache: Path) -> Iterator[None]:
    """Check that there is a cache; turn a failure to read it into a StoreError."""
    try:
        inside = {path.name for path in cache.iterdir()}
        if inside - {".gitignore"} and not inside & {"features", "compiled", INDEX}:
            raise StoreError(
                f"{str(cache)!r} is no cache of featx: expected features/ or compiled/ in it. "
                "Name the cache: --cache DIR, or the variable FEATX_CACHE."
            )
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"There is no cache in {str(cache)!r}. Name it (--cache DIR, or the variable FEATX_CACHE), or extract "
            "something first."
        ) from error
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise StoreError(f"The cache {str(cache)!r} cannot be read: {error.strerror or error}. Unlock it.") from error


def recipe_folders(cache: Path) -> list[Path]:
    """Return the folders of rows, in order."""
    features = cache / "features"
    if features.is_symlink() or not features.is_dir():
        return []
    return sorted(
        path for path in features.iterdir() if _RECIPE.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.lstat().st_size for path in folder.iterdir() if not path.is_dir())
