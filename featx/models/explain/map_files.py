"""Image files of attribution maps: their names, and what they may replace."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import PIL.PngImagePlugin

from featx.models.explain.attribution import Attribution
from featx.models.explain.overlay import side_by_side
from featx.system.files.atomic import atomic_write, make_folder
from featx.system.files.output_paths import as_output_error, check_output_file, check_parent, output_error

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".svg", ".pdf")
#: PNG metadata near the beginning of each file: files with it may be replaced.
_SOFTWARE = b"Software\0featx"
_HEAD_BYTES = 200
_MAX_NAME_LENGTH = 80


def check_map_folder(folder: Path) -> None:
    """Raise an error if this is not the name of a folder for image files.

    Raises
    ------
    OutputError
    """
    if folder.is_dir():
        return
    check_parent(folder, "another folder")
    if folder.exists():
        problem = "a file with this name exists"
    elif folder.suffix.lower() in _IMAGE_SUFFIXES:
        problem = "expected a folder, got the name of an image file"
    else:
        return
    raise output_error(folder, problem, "Pass the name of a folder, such as output='maps/' (-o maps/).")


class MapWriter:
    """Write attribution maps as PNG files to a folder.

    Names come from the image and the class. A file of another image is never replaced: the name gets a number.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        check_map_folder(folder)
        self._folder = folder
        self._used: set[str] = set()

    def write(self, path: str, attribution: Attribution) -> str:
        """Write the map of the image at a path; return the path of the file.

        Raises
        ------
        OutputError
        """
        source = hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=8).hexdigest()
        target = self._folder / self._choose_name(path, attribution, source)
        remedy = "Choose another folder, or free some disk space."
        with as_output_error(target, remedy):
            make_folder(self._folder)
            check_output_file(target, lambda existing: _SOFTWARE in _read_head(existing), remedy=remedy)
            information = PIL.PngImagePlugin.PngInfo()
            information.add_text("Software", "featx")
            information.add_text("Source", source)  # a digest: the path itself is private
            with atomic_write(target) as temporary:
                side_by_side(attribution).save(temporary, format="PNG", pnginfo=information)
        return str(target)

    def _choose_name(self, path: str, attribution: Attribution, source: str) -> str:
        parts = [Path(path).stem, *([] if attribution.label is None else [str(attribution.label)])]
        stem = ".".join(re.sub(r"[^\w.-]+", "_", part)[:_MAX_NAME_LENGTH] or "image" for part in parts)
        name, number = f"{stem}.attribution.png", 1
        while name.casefold() in self._used or _belongs_to_other_image(self._folder / name, source):
            number += 1
            name = f"{stem}-{number}.attribution.png"
        self._used.add(name.casefold())
        return name


def _belongs_to_other_image(path: Path, source: str) -> bool:
    head = _read_head(path)
    return _SOFTWARE in head and source.encode() not in head


def _read_head(path: Path) -> bytes:
    """Return the beginning of a file, or b"" if it does not exist."""
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return b""
