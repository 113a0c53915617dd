"""Download of one weights file, which is checked before it replaces another."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.backbones.digests import file_digests, hash_name
from featx.errors import WeightsError, WeightsNotFoundError
from featx.system.terminal.progress import Stage, stage

#: Seconds without data after which a server counts as unreachable.
_TIMEOUT_SECONDS = 60.0
#: Seconds without a write after which a partial file belongs to no running download, on any machine of a shared folder.
_STALE_SECONDS = 10 * _TIMEOUT_SECONDS
_PARTIAL_NAME = re.compile(r".+\.\d+-\d+\.part")
_CHUNK_BYTES = 2**20
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: How urllib3 names a connection in front of its reason.
_CONNECTION = re.compile(r"^(<[^>]*>|\w+\([^)]*\)): ")


def check_hdf5(path: Path) -> None:
    """Raise ValueError or OSError if a file is not in HDF5 format, or truncated."""
    import h5py

    with open(path, "rb") as file:
        if file.read(len(_HDF5_SIGNATURE)) != _HDF5_SIGNATURE:
            raise ValueError("the server did not send an HDF5 file of weights")
    h5py.File(path, "r").close()  # raises for a truncated file, which not every server reports


def download_weights(
    url: str, path: Path, expected_hash: str, check: Callable[[Path], object] = check_hdf5, variable: str = "KERAS_HOME"
) -> None:
    """Download a file of weights.

    The file is downloaded under a temporary name next to `path` and renamed once it is complete and correct. Partial
    files that killed processes left behind are deleted.

    Parameters
    ----------
    url : str
        Address of the file.
    path : Path
        Path of the file on this machine.
    expected_hash : str
        MD5 or SHA-256 of the file in hexadecimal, or "" if it is unknown.
    check : callable, default=check_hdf5
        Raises if the file is not complete or not of the expected format.
    variable : str, default="KERAS_HOME"
        Environment variable that selects another folder.

    Raises
    ------
    WeightsNotFoundError
        If the file cannot be downloaded or fails the check. The message is the reason alone.
    WeightsError
        If the file has another hash. The message is the reason alone.
    """
    import pooch

    _check_writable(path.parent, variable)
    _delete_stale_partial_files(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    responses: list[Any] = []
    try:
        with stage("download", None, "bytes", path.name) as progress:
            download = pooch.HTTPDownloader(
                progressbar=_DownloadProgress(progress),
                chunk_size=_CHUNK_BYTES,
                timeout=_TIMEOUT_SECONDS,
                hooks={"response": lambda response, **_: responses.append(response)},
            )
            download(url, str(partial), None)
        check(partial)
        _check_hash(partial, expected_hash)
        os.replace(partial, path)
    except WeightsError:
        raise
    except Exception as error:  # requests and h5py raise many kinds
        raise WeightsNotFoundError(_reason(error)) from error
    finally:
        for response in responses:  # pooch leaves connections open if a download fails
            response.close()
        partial.unlink(missing_ok=True)


class _DownloadProgress:
    """A progress bar as pooch expects it, which reports to a stage."""

    def __init__(self, progress: Stage) -> None:
        self._progress = progress

    @property
    def total(self) -> int | None:
        """Number of bytes, as far as the server reports it."""
        return self._progress.total

    @total.setter
    def total(self, n_bytes: int) -> None:
        self._progress.total = n_bytes or None

    def update(self, n_bytes: int) -> None:
        """Count bytes; the last chunk may be smaller."""
        self._progress(n_bytes)

    def reset(self) -> None:
        """Do nothing: the stage ends with all bytes."""

    def close(self) -> None:
        """Do nothing: the stage ends with the download."""


def _check_writable(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise WeightsNotFoundError(
            f"cannot write to the folder {str(folder)!r}: {error.strerror}. Set the environment variable {variable} to "
            "another folder"
        ) from error


def _delete_stale_partial_files(folder: Path) -> None:
    for path in folder.glob("*.part"):
        with contextlib.suppress(OSError):  # another process may delete it at the same time
            if _PARTIAL_NAME.fullmatch(path.name) and time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def _check_hash(path: Path, expected: str) -> None:
    kind = hash_name(expected)
    if expected and file_digests(path)[kind] != expected:
        raise WeightsError(f"expected {kind} {expected}, got {file_digests(path)[kind]}")


def _reason(error: Exception) -> str:
    """Return the reason of a failed download in one line."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", None) or cause  # the reason of urllib3, within an error of requests
    text = str(getattr(cause, "original_error", None) or cause).strip()  # the error behind a ProxyError
    return _CONNECTION.sub("", text).splitlines()[0] if text else type(error).__name__
