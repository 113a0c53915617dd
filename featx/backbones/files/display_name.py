"""Cache folder of networks, and their names in messages."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

_SHA256 = re.compile(r"[0-9a-f]{64}")


def network_cache_folder() -> Path:
    """Return the folder in the user's cache for copies and descriptions of custom networks."""
    try:
        cache = platformdirs.user_cache_path("featx", appauthor=False)
    except RuntimeError:  # no home folder
        cache = Path("~")
    if cache.parts[0] == "~":  # likewise, in older versions of platformdirs
        cache = Path(os.devnull)  # nothing can be cached
    return Path(os.path.abspath(cache)) / "networks"


def is_cached_model(path: Path) -> bool:
    """Return whether a path is that of a cached ``keras.Model`` object: ``FOLDER/<digest>/<digest>/<name>.keras``."""
    return bool(path.parents[2:]) and path.parents[2] == network_cache_folder() and is_sha256(path.parents[1].name)


def is_sha256(text: str) -> bool:
    """Return whether a text is a SHA-256 in hexadecimal."""
    return bool(_SHA256.fullmatch(text))


def display_name(path: str | os.PathLike[str]) -> str:
    """Return how messages name a network: the name of a ``keras.Model`` object, or the path of a file."""
    if is_cached_model(Path(path)):
        return f"{Path(path).stem!r} (a keras.Model object)"
    return repr(str(path))
