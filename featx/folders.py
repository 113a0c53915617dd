"""The folders of a cache: made, described for people, refused where they cannot be featx's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from featx import files, sealed
from featx.errors import StoreError

_DESCRIPTION = "recipe.json"
_CACHE_IGNORE = "# Kept by featx; safe to delete.\n*\n!.gitignore\n"


def prepare_cache(folder: Path) -> None:
    """Make the cache folder, or say why it cannot be written.

    Raises
    ------
    StoreError
        It is a file, or cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        files.remove_abandoned(folder)
        if not os.listdir(folder):  # in a folder that holds other things, git must go on seeing them
            files.write_text(folder / ".gitignore", _CACHE_IGNORE)
    except OSError as error:
        raise not_writable(folder, error) from error


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


def refuse_links(folder: Path) -> None:
    """Refuse the folder of a recipe that is a symbolic link, or lies in one.

    Raises
    ------
    StoreError
    """
    for path in (folder.parent, folder):
        if path.is_symlink():
            raise StoreError(
                f"{str(path)!r} is a symbolic link, which featx never makes inside a cache. Remove it; to keep rows "
                "elsewhere, make the cache folder itself a link, or name the other folder."
            )


def describe(folder: Path, recipe: dict[str, Any], layout: int) -> None:
    """Write the recipe beside its rows, unless it is there and whole."""
    if read_description(folder) is None:
        files.write_text(folder / _DESCRIPTION, sealed.dump({"format": layout, "recipe": recipe}, indent=2))


def read_description(folder: Path) -> dict[str, Any] | None:
    """Return ``format`` and ``recipe`` of a recipe's folder; None if they are absent or damaged.

    They are for people: segments carry what reading them needs, format and checksums included.
    """
    try:
        fields = sealed.load(folder / _DESCRIPTION)
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
        raise newer_format(folder / _DESCRIPTION, described["format"], known)
