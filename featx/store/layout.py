"""The folders of a cache: made, described for people, refused where they cannot be featx's own."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from featx.errors import StoreError
from featx.system import atomic_files as files
from featx.system import checksummed_json as sealed

#: The index of known files; what it gives is only speed.
INDEX = "digests.sqlite"
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
        files.make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            code = errno.EROFS if _is_read_only(folder) else errno.EACCES
            raise OSError(code, os.strerror(code))
        files.remove_abandoned(folder)
        if not os.listdir(folder):  # in a folder that holds other things, git must go on seeing them
            files.write_text(folder / ".gitignore", _CACHE_IGNORE)
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
        files.write_text(folder / DESCRIPTION, sealed.dump({"format": layout, "recipe": recipe}, indent=2))


def read_description(folder: Path) -> dict[str, Any] | None:
    """Return ``format`` and ``recipe`` of a recipe's folder; None if they are absent or damaged.

    They are for people: segments carry what reading them needs, format and checksums included.
    """
    try:
        fields = sealed.load(folder / DESCRIPTION)
    except (*sealed.DAMAGE, OSError):
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
        with files.open_regular(path) as file:
            fields = json.loads(file.read(_FIRST_FORMAT_BYTES) or b"")
    except (*sealed.DAMAGE, OSError):
        return False
    return isinstance(fields, dict) and fields.keys() == {"format", "recipe"} and fields["format"] == 1
