"""The place of temporary files: the first folder that can be written, and temporary folders in it."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from featx.errors import ResourceError
from featx.system.files.atomic import abandoned_files, make_folder, temporary_path, write_problem

_VARIABLES = ("TMPDIR", "TEMP", "TMP")
#: Memory as a file system, on Linux. A container with a read-only root often has it.
_SHARED_MEMORY = "/dev/shm"  # noqa: S108  # folders in it are created with mode 0700
_known: dict[tuple[str | None, ...], Path] = {}


def temporary_place() -> Path:
    """Return the folder for temporary files: that of the system, else memory, else the user's cache folder.

    Raises
    ------
    ResourceError
        No such folder can be written.
    """
    key = (tempfile.tempdir and os.fsdecode(tempfile.tempdir), *(os.environ.get(name) for name in _VARIABLES))
    if key not in _known:
        problems = []
        for folder in _candidates():
            if not (problem := write_problem(folder)):
                _known[key] = folder
                break
            problems.append(f"{str(folder)!r}: {problem}")
        else:
            raise ResourceError(
                f"No folder for temporary files can be written ({'; '.join(problems)}). Set the environment variable "
                "TMPDIR to a folder that can."
            )
    return _known[key]


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder for temporary files. Remove the folders of killed processes.

    Raises
    ------
    ResourceError
        No folder can be written.
    """
    folder = _make_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def folder_until_exit() -> Path:
    """Return an empty folder for temporary files that is removed when this process ends. After a kill, others do it.

    Raises
    ------
    ResourceError
        No folder can be written.
    """
    folder = _make_folder()
    atexit.register(_remove_own, folder, os.getpid())
    return folder


def _remove_own(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked process does not own it
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path:
    parent = temporary_place()
    for path, _ in list(abandoned_files(parent)):
        shutil.rmtree(path, ignore_errors=True)  # fails for folders of other users
    folder = temporary_path(parent)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise temporary_error(parent, error) from error
    return folder


def temporary_error(folder: Path, error: OSError) -> ResourceError:
    """Return the error for temporary files that cannot be written."""
    return ResourceError(
        f"Cannot write temporary files in {str(folder)!r}: {error.strerror or error}. Free space there, or set the "
        "environment variable TMPDIR to another folder."
    )


def _candidates() -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):  # nowhere
        folder = tempfile.gettempdir()
        if folder != os.getcwd() or folder in map(os.environ.get, _VARIABLES):  # Python's last resort
            yield Path(folder)
    if os.path.isdir(_SHARED_MEMORY):
        yield Path(_SHARED_MEMORY)
    with contextlib.suppress(RuntimeError, OSError):  # no home folder, or it cannot be written
        cache = platformdirs.user_cache_path("featx", appauthor=False)
        if cache.is_absolute():
            make_folder(cache)
            yield cache
