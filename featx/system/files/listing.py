"""What lies directly in a folder, of a disk or of storage, as it is now; without what is only being written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

#: How names begin that are files' only while they are written: those come and go.
TEMPORARY = ".featx-"


def sizes_in(folder: str) -> dict[str, int]:
    """Return the files of a folder on this machine, and their bytes; none if it is not there."""
    found = {}
    for entry in _files_in(folder):
        with contextlib.suppress(FileNotFoundError):  # it alone went away meanwhile
            found[entry.name] = entry.stat().st_size
    return found


def names_in(folder: str) -> set[str]:
    """Return the names of the files of a folder on this machine, without a look at each; none if it is not there."""
    return {entry.name for entry in _files_in(folder)}


def _files_in(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        yield from (entry for entry in entries if not entry.name.startswith(TEMPORARY) and entry.is_file())


def sizes_at(system: Any, path: str) -> dict[str, int]:
    """Return the files of a folder of storage, and their bytes; none if it is not there."""
    try:
        entries = listed_anew(system, path)
    except FileNotFoundError:
        return {}
    found = {
        str(entry["name"]).rpartition("/")[2]: int(entry.get("size") or 0)
        for entry in entries
        if entry["type"] == "file" and not str(entry["name"]).endswith("/")
    }
    return {name: size for name, size in found.items() if not name.startswith(TEMPORARY)}


def listed_anew(system: Any, path: str) -> list[dict[str, Any]]:
    """Return what storage says of a folder now: others write there, and what it said before is kept by most kinds.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    system.invalidate_cache(path)
    return list(system.ls(path, detail=True))
