"""Names of files and classes: which files are images, which are ignored, and how class names are written."""

from __future__ import annotations

import os
import unicodedata

from featx.images.formats import IMAGE_SUFFIXES

#: Files and folders that macOS, Windows and NAS systems create, in lower case.
_SYSTEM_FILES = frozenset(
    (
        *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("@eadir", "#recycle", "@recycle", "#snapshot", "lost+found", "__pycache__"),
    )
)


#: Characters without a width: byte order mark, joiners and directions.
_INVISIBLE = " \t\u00a0\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"


def normalize_label(name: str) -> str:
    """Return the name of a class without blanks around it, in Unicode NFC: some systems write é as two characters.

    Invisible characters around it, such as a byte order mark, are removed, too.
    """
    name = name.strip()
    return name if name.isascii() else unicodedata.normalize("NFC", name.strip(_INVISIBLE).strip())


def ignore_reason(name: str) -> str:
    """Return why a file or folder of this name is ignored regardless of its content; empty if it is not."""
    if name.startswith("."):
        return "hidden"
    return "system files" if name.lower() in _SYSTEM_FILES else ""


def is_image_name(name: str) -> bool:
    """Return whether a file of this name is an image by its suffix."""
    dot = name.rfind(".")
    # A leading period begins a name, not a suffix.
    return dot > 0 and name[dot:].lower() in IMAGE_SUFFIXES and name[dot - 1] != "/"


def suffix_kind(name: str) -> str:
    """Return the suffix under which an ignored file is counted."""
    return os.path.splitext(name)[1].lower() or "without suffix"
