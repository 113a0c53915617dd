"""The folders of a cache: made, described for people, refused where they cannot be featx's own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from featx.errors import FeatxError, StoreError
from featx.system.files import checksummed_json
from featx.system.files.atomic import make_folder, open_regular_file, remove_abandoned, write_text

#: The index of known files; what it gives is only speed.
INDEX = "digests.sqlite"
#: The measured throughput of networks on this machine.
RATES = "rates.json"
#: What the name of a file gets when it is found damaged and set aside.
DAMAGED = ".damaged"
#: What a recipe's folder says of itself.
DESCRIPTION = "recipe.json"
_FIRST_FORMAT_BYTES = 100_000
_CACHE_IGNORE = "# Kept by featx; safe to delete.\n*\n!.gitignore\n"


def prepare_cache(folder: Path) -> None:
    """Make the cache folder, or say why it cannot be written.

    Raises
    ------
    StoreError
        It is a file, or cannot be made or written to.
    """
    try:
        make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            code = errno.EROFS if _is_read_only(folder) else errno.EACCES
            raise OSError(code, os.strerror(code))
        remove_abandoned(folder)
        if not os.listdir(folder):  # in a folder that holds other things, git must go on seeing them
            write_text(folder / ".gitignore", _CACHE_IGNORE)
    except OSError as error:
        raise not_writable(folder, error) from error


def _is_read_only(folder: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def not_writable(cache: Path, error: OSError) -> StoreError:
    """Return the error for a cache that cannot be written."""
    return StoreError(
        f"The cache folder {str(cache)!r} cannot be written: {error.strerror or error}. What is committed "
        "there is safe. Free or unlock it, or choose another: --cache, cache= or the variable FEATX_CACHE."
    )


def newer_format(path: Path, found: object, known: int) -> StoreError:
    """Return the error for a file that a newer featx wrote."""
    return StoreError(
        f"{str(path)!r} has format {found}; this featx reads up to {known}. Upgrade featx, or choose another cache "
        "folder."
    )


def refuse_links(*folders: Path) -> None:
    """Refuse folders inside a cache that are symbolic links.

    Raises
    ------
    StoreError
    """
    for path in folders:
        if path.is_symlink():
            raise StoreError(
                f"{str(path)!r} is a symbolic link, which featx never makes inside a cache. Remove it; to keep rows "
                "elsewhere, make the cache folder itself a link, or name the other folder."
            )


def clear_the_way(path: Path) -> None:
    """Set aside what lies in the place of a file and cannot be replaced by one: a folder."""
    if path.is_dir() and not path.is_symlink():
        os.replace(path, f"{path}{DAMAGED}")


def describe(folder: Path, recipe: dict[str, Any], layout: int) -> None:
    """Write the recipe beside its rows, unless it is there and whole."""
    if read_description(folder) is None:
        clear_the_way(folder / DESCRIPTION)
        write_text(folder / DESCRIPTION, checksummed_json.dump({"format": layout, "recipe": recipe}, indent=2))


def read_description(folder: Path) -> dict[str, Any] | None:
    """Return ``format`` and ``recipe`` of a recipe's folder; None if they are absent or damaged.

    They are for people: segments carry what reading them needs, format and checksums included.
    """
    try:
        fields = checksummed_json.load(folder / DESCRIPTION)
    except (*checksummed_json.CORRUPT, OSError):
        return None
    whole = isinstance(fields.get("format"), int) and isinstance(fields.get("recipe"), dict)
    return fields if whole else None


def check_format(folder: Path, known: int) -> None:
    """Refuse a folder that a newer featx wrote.

    Raises
    ------
    StoreError
    """
    described = read_description(folder)
    if described and described["format"] > known:
        raise newer_format(folder / DESCRIPTION, described["format"], known)
    if described is None and _is_first_format(folder / DESCRIPTION):
        raise StoreError(
            f"{str(folder)!r} was written before featx 0.1.0, in a format that is no longer read. Remove it (featx "
            "cache clear), or choose another cache folder."
        )


def _is_first_format(path: Path) -> bool:
    try:
        with open_regular_file(path) as file:
            fields = json.loads(file.read(_FIRST_FORMAT_BYTES) or b"")
    except (*checksummed_json.CORRUPT, OSError):
        return False
    return isinstance(fields, dict) and fields.keys() == {"format", "recipe"} and fields["format"] == 1


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
