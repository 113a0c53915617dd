"""Fetch one file with Keras's own means: run as a child process, which spares ours importing tensorflow."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from featx.backbones.keras_import import first_line, import_keras
from featx.backbones.weights import keras_home
from featx.errors import WeightsError, WeightsNotFoundError
from featx.system.child_process import serve_task

#: A server may be silent for so long.
_SILENT_SECONDS = 60.0
_HDF5 = b"\x89HDF\r\n\x1a\n"


def download(task: dict[str, Any]) -> None:
    """Fetch the task's ``url`` to its ``path``, under another name until it is whole.

    Raises
    ------
    WeightsNotFoundError, WeightsError
        It cannot be had, or is not what the task's ``hash`` says. With the reason only: the caller knows what to do.
    """
    path = Path(task["path"])
    partial = f"{path.name}.{os.getpid()}.part"
    _make_writable(path.parent)
    keras = import_keras()
    import h5py

    socket.setdefaulttimeout(_SILENT_SECONDS)  # Keras would wait for ever
    try:
        fetched = keras.utils.get_file(partial, task["url"], cache_dir=keras_home(), cache_subdir="models")
        with open(fetched, "rb") as file:
            if file.read(len(_HDF5)) != _HDF5:
                raise ValueError("what the server sent is no file of weights")
        h5py.File(fetched, "r").close()  # raises if it ends too early, which a server need not tell
        _check(Path(fetched), task["hash"])
        os.replace(fetched, path)
    except WeightsError:
        raise
    except Exception as error:  # Keras raises a bare Exception when a server cannot be reached
        raise WeightsNotFoundError(first_line(error)) from error
    finally:
        (path.parent / partial).unlink(missing_ok=True)


def _check(file: Path, expected: str) -> None:
    """Raise if a file has not the MD5 or SHA-256, in hex, that is expected, if any is."""
    kind = "sha256" if len(expected) == 64 else "md5"
    with open(file, "rb") as opened:
        found = hashlib.file_digest(opened, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if expected and found != expected:
        raise WeightsError(f"expected {'SHA-256' if kind == 'sha256' else 'MD5'} {expected}, got {found}")


def _make_writable(folder: Path) -> None:
    """Make the folder; where it cannot be written, Keras would put the file below /tmp."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        tempfile.TemporaryFile(dir=keras_home()).close()
    except OSError as error:
        raise WeightsNotFoundError(
            f"Keras's folder {str(folder)!r} cannot be written: {error.strerror}. Name another in the variable "
            "KERAS_HOME"
        ) from error


if __name__ == "__main__":
    sys.exit(serve_task(download))
