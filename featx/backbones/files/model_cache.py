"""Objects of Keras, kept as files in the user's cache, so that child processes can read them.

A file lies in ``<digest of the model>/<SHA-256 of the file>/<name>.keras``: Keras writes other bytes each time it saves
the same, so that several processes may keep one model at once, each in a folder of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.weights import file_digests
from featx.errors import StoreError, WeightsError
from featx.system.files.atomic import atomic_write, make_folder

_SHA_256 = re.compile(r"[0-9a-f]{64}")
#: Below it, files that were no objects: of tuned networks, and those within models.
_FILES = "files"
#: Seconds after which an object that was not used again is forgotten: it is kept anew when it is.
_FORGOTTEN_AFTER = 30 * 24 * 3600


def folder() -> Path:
    """Return where featx keeps what it knows of networks of the user's own."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a process without a home: nothing can be kept
        cache = Path(os.devnull)
    return Path(os.path.abspath(cache)) / "featx" / "networks"


def keep(model: Any) -> Path:
    """Return a file that holds a ``keras.Model``, in a folder that is named by what the model is.

    Raises
    ------
    StoreError
        It cannot be kept.
    WeightsError
        It could not be read again: it is code, or not built.
    """
    _refuse_unreadable(model)
    of_model = folder() / _digest(model)
    name = f"{re.sub(r'[^A-Za-z0-9]+', '_', model.name)}.keras"
    for path in sorted(of_model.glob(f"*/{name}")):
        if _is_whole(path):
            with contextlib.suppress(OSError):  # of another user, say: it is used all the same
                os.utime(of_model)
            return path
        shutil.rmtree(path.parent, ignore_errors=True)
    _forget_unused()
    try:
        make_folder(of_model)
        return _saved(model, of_model, name)
    except Exception as error:  # a model of layers that cannot be saved raises anything
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"The network {model.name!r} cannot be kept in {str(of_model)!r}: {reason}. Make room there, or name "
            "another folder in the variable XDG_CACHE_HOME; or save it yourself, and pass its path."
        ) from error


def display_name(path: str | os.PathLike[str]) -> str:
    """Return a network's path for a message; of an object that is kept as a file, its name."""
    at = Path(path)
    if at.parents[2:] and at.parents[2] == folder() and _SHA_256.fullmatch(at.parents[1].name):
        return f"{at.stem!r} (a keras.Model object)"
    return repr(str(path))


def _refuse_unreadable(model: Any) -> None:
    """Raise if a child process could not read a model from a file, before it is written to one."""
    from featx.backbones.files import keras_file as keras_files  # which knows where these are kept

    name = f"The network {model.name!r} (a keras.Model object)"
    if not type(model).__module__.startswith(("keras.", "tf_keras.")):
        raise WeightsError(
            f"{name} is of the class {type(model).__name__!r}, whose code a file does not hold. Build it of layers, "
            "keras.Model(inputs, outputs), or export it to a SavedModel (model.export('folder')) or ONNX, and pass "
            "its path."
        )
    if not model.built:
        raise WeightsError(
            f"{name} is not built yet: it has no weights. Begin it with keras.Input((height, width, 3)), or call it "
            "once."
        )
    if held := keras_files.foreign_code(model):
        raise WeightsError(
            f"{name} holds {held}. Objects are read from a file, in which somebody's own code is refused. Use Keras's "
            "own layers, or export it to a SavedModel (model.export('folder')) or ONNX, and pass its path."
        )


def _saved(model: Any, of_model: Path, name: str) -> Path:
    with tempfile.TemporaryDirectory(prefix=".", dir=of_model) as unfinished:
        whole = Path(unfinished) / "whole"
        whole.mkdir()
        model.save(whole / name)
        kept = of_model / file_digests(whole / name)["sha256"]
        try:
            os.rename(whole, kept)
        except OSError:
            if not _is_whole(kept / name):  # if it is, another thread has kept the same bytes
                raise
    return kept / name


def cache_model_file(data: bytes, name: str) -> Path:
    """Return a file of these bytes and this name: one like any of the user's own, wherever it came from.

    Raises
    ------
    StoreError
        It cannot be kept.
    """
    of_file = folder() / _FILES / hashlib.sha256(data).hexdigest()
    path = of_file / name
    if _is_whole(path):
        with contextlib.suppress(OSError):  # of another user, say: it is used all the same
            os.utime(of_file)
        return path
    _forget_unused()
    try:
        make_folder(of_file)
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise StoreError(
            f"The network {name!r} cannot be kept in {str(of_file)!r}: {error.strerror or error}. Make room there, or "
            "name another folder in the variable XDG_CACHE_HOME."
        ) from error
    return path


def digest_of(path: Path) -> str | None:
    """Return the digest of the model that was kept in a file; None if it is another file.

    Raises
    ------
    WeightsError
        The file is damaged.
    """
    model = path.parent.parent
    if model.parent != folder() or not _SHA_256.fullmatch(model.name):
        return None
    if not _is_whole(path):
        raise WeightsError(
            f"The network {str(path)!r}, which featx keeps of an object of Keras, is damaged or gone. Pass the object "
            "once more: it is kept anew."
        )
    return model.name


def _is_whole(path: Path) -> bool:
    try:
        return path.parent.name == file_digests(path)["sha256"]
    except OSError:
        return False


def _forget_unused() -> None:
    """Remove the objects that nobody has used for long: each is as large as its network."""
    for kept in [*folder().glob("*/"), *(folder() / _FILES).glob("*/")]:
        with contextlib.suppress(OSError):  # another process removes it
            if _SHA_256.fullmatch(kept.name) and time.time() - kept.stat().st_mtime > _FORGOTTEN_AFTER:
                shutil.rmtree(kept)


def _digest(model: Any) -> str:
    # How it was trained, or is to be, decides no feature.
    wiring = {name: part for name, part in json.loads(model.to_json()).items() if name != "compile_config"}
    digest = hashlib.sha256(json.dumps(wiring, sort_keys=True).encode())
    for value in model.get_weights():
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
