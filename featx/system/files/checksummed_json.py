"""Small JSON files with a checksum: the last field ``checksum`` is a BLAKE2b hash of the rest of the file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from featx.system.files.atomic import open_regular_file

_MAX_BYTES = 2**30
_FIELD = b'"checksum": "'
_BLANK = b"0" * 32
#: Errors of :func:`load` for a missing or corrupt file. Any other OSError means that the file cannot be read now.
CORRUPT = (FileNotFoundError, EOFError, KeyError, TypeError, ValueError, OverflowError, RecursionError)


def dump(fields: dict[str, Any], indent: int | None = None) -> str:
    """Return the text of a file with a checksum.

    The checksum is the same for all formats and versions of a file, so that every version of featx can verify it.
    """
    blank = json.dumps({**fields, "checksum": _BLANK.decode()}, indent=indent).encode() + b"\n"
    start = blank.rindex(_FIELD) + len(_FIELD)
    return (blank[:start] + _checksum(blank) + blank[start + len(_BLANK) :]).decode()


def load(path: Path) -> dict[str, Any]:
    """Return the fields of a file with a checksum.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError, RecursionError
        The file is missing or corrupt, see `CORRUPT`.
    OSError
        The file cannot be read now.
    """
    with open_regular_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise ValueError("the file is too large")
        data = file.readall()
    start = data.rfind(_FIELD) + len(_FIELD)
    if start < len(_FIELD):
        raise ValueError("the file has no checksum")
    end = start + len(_BLANK)
    if data[start:end] != _checksum(data[:start] + _BLANK + data[end:]):
        raise ValueError("the checksum does not match")
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise TypeError("expected a JSON object")
    del fields["checksum"]
    return fields


def _checksum(blank: bytes) -> bytes:
    """Return the checksum of a file whose checksum field is filled with zeros."""
    return hashlib.blake2b(blank, digest_size=len(_BLANK) // 2).hexdigest().encode()
