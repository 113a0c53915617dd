"""Objects of Keras, kept as files in the user's cache, so that child processes can read them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from featx import files
from featx.backbones.weight_files import file_digests
from featx.errors import StoreError

_SHA_256 = re.compile(r"[0-9a-f]{64}")
#: Beside a kept file: the SHA-256 of its bytes, which differ each time Keras saves the same.
_CHECK = "sha256"
#: Seconds after which an object that was not used again is forgotten: it is kept anew when it is.
_FORGOTTEN_AFTER = 30 * 24 * 3600


def folder() -> Path:
    """Return where featx keeps what it knows of networks of the user's own."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a process without a home: nothing can be kept
        cache = Path(os.devnull)
    return cache / "featx" / "networks"


def keep(model: Any) -> Path:
    """Return a file that holds a ``keras.Model``, in a folder that is named by what the model is.

    Raises
    ------
    StoreError
        It cannot be kept.
    """
    path = folder() / _digest(model) / f"{re.sub(r'[^A-Za-z0-9]+', '_', model.name)}.keras"
    if digest_of(path) is not None:
        with contextlib.suppress(OSError):  # of another user, say: it is used all the same
            os.utime(path.parent)
        return path
    _forget_unused()
    saved = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        files.make_folder(path.parent)
        model.save(saved)
        check = file_digests(saved)["sha256"]
        os.replace(saved, path)
        files.write_text(path.parent / _CHECK, check)
    except Exception as error:  # a model of layers that cannot be saved raises anything
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"The network {model.name!r} cannot be kept in {str(path.parent)!r}: {reason}. Make room there, or name "
            "another folder in the variable XDG_CACHE_HOME; or save it yourself, and pass its path."
        ) from error
    finally:
        saved.unlink(missing_ok=True)
    return path


def keep_file(data: bytes, name: str) -> Path:
    """Return a ``.keras`` file of these bytes, in a folder that is named by their digest.

    Raises
    ------
    StoreError
        It cannot be kept.
    """
    digest = hashlib.sha256(data).hexdigest()
    path = folder() / digest / f"{name}.keras"
    if digest_of(path) is not None:
        with contextlib.suppress(OSError):  # of another user, say: it is used all the same
            os.utime(path.parent)
        return path
    _forget_unused()
    try:
        files.make_folder(path.parent)
        with files.replacing(path) as temporary:
            temporary.write_bytes(data)
        files.write_text(path.parent / _CHECK, digest)
    except OSError as error:
        raise StoreError(
            f"The network {name!r} cannot be kept in {str(path.parent)!r}: {error.strerror or error}. Make room there, "
            "or name another folder in the variable XDG_CACHE_HOME."
        ) from error
    return path


def digest_of(path: Path) -> str | None:
    """Return the digest of the model that was kept in a file; None if it is another file, or damaged."""
    if path.parent.parent != folder() or not _SHA_256.fullmatch(path.parent.name):
        return None
    try:
        is_whole = (path.parent / _CHECK).read_text(encoding="utf-8") == file_digests(path)["sha256"]
    except (OSError, UnicodeDecodeError):
        return None
    return path.parent.name if is_whole else None


def _forget_unused() -> None:
    """Remove the objects that nobody has used for long: each is as large as its network."""
    for kept in folder().glob("*/"):
        with contextlib.suppress(OSError):  # another process removes it
            if _SHA_256.fullmatch(kept.name) and time.time() - kept.stat().st_mtime > _FORGOTTEN_AFTER:
                shutil.rmtree(kept)


def _digest(model: Any) -> str:
    digest = hashlib.sha256(model.to_json().encode())
    for value in model.get_weights():
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
