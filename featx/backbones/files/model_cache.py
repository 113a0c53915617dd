"""Cache of networks in the user's cache folder, from which child processes read them.

A ``keras.Model`` object is cached as ``<digest of the model>/<SHA-256 of the file>/<name>.keras``. Keras writes other
bytes each time it saves a model, so that each of several processes that cache one model at once writes its own file.
A file from elsewhere (a fine-tuned network, or one within a trained model) is cached as ``files/<SHA-256>/<name>``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.digests import sha256_of
from featx.backbones.files.display_name import is_cached_model, is_sha256, network_cache_folder
from featx.backbones.files.safe_config import find_unsafe_part
from featx.errors import FeatxWarning, StoreError, WeightsError
from featx.system.files.atomic import atomic_write, make_folder
from featx.system.files.temporary import folder_until_exit, temporary_error

#: Errors of a user without a cache folder: it is read-only, belongs to somebody else, or there is no home folder.
_NO_CACHE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_temporary_folders: dict[str, Path] = {}
#: Seconds without use after which a cached network is removed. It is cached again when it is next used.
_MAX_UNUSED_SECONDS = 30 * 24 * 3600


def cache_model(model: Any) -> Path:
    """Return the path of a file that holds a ``keras.Model`` object.

    Raises
    ------
    StoreError
        If the file cannot be written.
    WeightsError
        If the model could not be read from a file: it contains code, or is not built.
    """
    _check_readable_again(model)
    folder = network_cache_folder() / _model_digest(model)
    name = f"{re.sub(r'[^A-Za-z0-9]+', '_', model.name)}.keras"
    for path in sorted(folder.glob(f"*/{name}")):
        if _is_intact(path):
            _mark_used(folder)
            return path
        shutil.rmtree(path.parent, ignore_errors=True)
    _remove_unused()
    try:
        make_folder(folder)
        return _save(model, folder, name)
    except Exception as error:  # a layer that cannot be saved raises anything
        raise StoreError(
            f"Cannot cache network {model.name!r} in {str(folder)!r}: {getattr(error, 'strerror', None) or error}. "
            "Free space there or, on Linux, set the environment variable XDG_CACHE_HOME to another folder; or save "
            "the model and pass its path."
        ) from error


def cache_model_file(data: bytes, name: str) -> Path:
    """Return the path of a file with this content and name.

    Without a cache folder that can be written, it is a temporary file of this process.

    Raises
    ------
    StoreError, ResourceError
        If the file cannot be written.

    Warns
    -----
    FeatxWarning
        The disk of the cache folder is full.
    """
    digest = hashlib.sha256(data).hexdigest()
    if (cached := cached_file(digest, name)) is not None:
        return cached
    folder = network_cache_folder() / "files" / digest
    path = folder / name
    _remove_unused()
    try:
        make_folder(folder)
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        if error.errno in (*_NO_CACHE, *_FULL):
            path = _temporary_model_file(data, digest, name)
            if error.errno in _FULL:
                warnings.warn(
                    f"Cannot cache network {name!r} in {str(folder)!r}: {error.strerror}. It is a temporary file until "
                    "this process ends.",
                    FeatxWarning,
                    stacklevel=2,
                )
            return path
        raise StoreError(
            f"Cannot cache network {name!r} in {str(folder)!r}: {error.strerror or error}. Free space there or, "
            "on Linux, set the environment variable XDG_CACHE_HOME to another folder."
        ) from error
    return path


def _temporary_model_file(data: bytes, digest: str, name: str) -> Path:
    """Return the path of a file that is removed when this process ends."""
    if digest not in _temporary_folders:
        _temporary_folders[digest] = folder_until_exit()
    path = _temporary_folders[digest] / digest / name
    if not _is_intact(path):
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise temporary_error(path.parents[2], error) from error
    return path


def cached_file(digest: str, name: str) -> Path | None:
    """Return the path of the cached file with this SHA-256 and name, or None if it is missing or damaged."""
    folders = [network_cache_folder() / "files", _temporary_folders.get(digest)]
    for path in [folder / digest / name for folder in folders if folder is not None]:
        if _is_intact(path):
            _mark_used(path.parent)
            return path
    return None


def cached_model_digest(path: Path) -> str | None:
    """Return the digest of the ``keras.Model`` object that was cached as a file; None for any other file.

    Raises
    ------
    WeightsError
        If the file is corrupt or missing.
    """
    if not is_cached_model(path):
        return None
    if not _is_intact(path):
        raise WeightsError(
            f"The cached keras.Model object {str(path)!r} is corrupt or missing. Pass the object again to restore it."
        )
    return path.parents[1].name


def _check_readable_again(model: Any) -> None:
    """Raise WeightsError if a child process could not read the model from a file."""
    name = f"network {model.name!r} (a keras.Model object)"
    remedy = "or export it to a SavedModel (model.export('folder')) or ONNX, and pass its path."
    if not type(model).__module__.startswith(("keras.", "tf_keras.")):
        raise WeightsError(
            f"Cannot save {name}: files do not hold the code of its class {type(model).__name__!r}. Build it "
            f"from layers, as keras.Model(inputs, outputs), {remedy}"
        )
    if not model.built:
        raise WeightsError(
            f"Cannot save {name}: it is not built and has no weights. Begin it with keras.Input((height, width, 3)), "
            "or call it once."
        )
    if unsafe := find_unsafe_part(json.loads(model.to_json())):
        raise WeightsError(
            f"Cannot use {name}: it contains {unsafe}. The model is read from a file, where custom code is refused. "
            f"Use Keras's own layers, {remedy}"
        )


def _save(model: Any, folder: Path, name: str) -> Path:
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
        complete = Path(temporary) / "complete"
        complete.mkdir()
        model.save(complete / name)
        target = folder / sha256_of(complete / name)
        try:
            os.rename(complete, target)
        except OSError:
            if not _is_intact(target / name):  # otherwise another thread has cached the same bytes
                raise
    return target / name


def _is_intact(path: Path) -> bool:
    try:
        return path.parent.name == sha256_of(path)
    except OSError:
        return False


def _mark_used(folder: Path) -> None:
    with contextlib.suppress(OSError):  # the folder of another user, for example
        os.utime(folder)


def _remove_unused() -> None:
    """Remove networks that were not used for a long time."""
    cache = network_cache_folder()
    for folder in [*cache.glob("*/"), *(cache / "files").glob("*/")]:
        with contextlib.suppress(OSError):  # another process removes it
            if is_sha256(folder.name) and time.time() - folder.stat().st_mtime > _MAX_UNUSED_SECONDS:
                shutil.rmtree(folder)


def _model_digest(model: Any) -> str:
    # How the model was or will be trained does not change its features.
    config = {name: part for name, part in json.loads(model.to_json()).items() if name != "compile_config"}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for value in model.get_weights():
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
