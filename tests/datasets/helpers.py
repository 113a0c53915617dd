"""Files of data sets for tests."""

from __future__ import annotations

from pathlib import Path


def make_files(folder: Path, *names: str) -> Path:
    """Create empty files with the given paths in a folder, and return the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder
