"""Small JSON files that prove to be whole: their last field ``seal`` is a hash of everything else in the file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from featx.system.files import atomic as files

_LARGEST = 2**30
_OPENS = b'"seal": "'
_BLANK = b"0" * 32
#: What reading one raises if it is not what featx wrote, as opposed to a file that cannot be read just now.
DAMAGE = (FileNotFoundError, EOFError, KeyError, TypeError, ValueError, OverflowError, RecursionError)


def dump(fields: dict[str, Any], indent: int | None = None) -> str:
    """Return the text of a sealed file; every format of every file is sealed alike, so that any featx can tell."""
    blank = json.dumps({**fields, "seal": _BLANK.decode()}, indent=indent).encode() + b"\n"
    at = blank.rindex(_OPENS) + len(_OPENS)
    return (blank[:at] + _seal(blank) + blank[at + len(_BLANK) :]).decode()


def load(path: Path) -> dict[str, Any]:
    """Return the fields of a sealed file.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError, RecursionError
        It is absent or damaged, see `DAMAGE`.
    OSError
        It cannot be read just now.
    """
    with files.open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise ValueError("it is too large")
        data = file.readall()
    at = data.rfind(_OPENS) + len(_OPENS)
    if at < len(_OPENS):
        raise ValueError("it has no seal")
    if data[at : at + len(_BLANK)] != _seal(data[:at] + _BLANK + data[at + len(_BLANK) :]):
        raise ValueError("it does not match its seal")
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise TypeError("it is no JSON object")
    del fields["seal"]
    return fields


def _seal(blank: bytes) -> bytes:
    return hashlib.blake2b(blank, digest_size=len(_BLANK) // 2).hexdigest().encode()
