"""Names, formats and errors of a cache folder.

::

    cache/
      digests.sqlite                       file index: path and state of a file → digest of its bytes
      rates.json                           measured throughput of backbones on this machine
      compiled/<fingerprint>.graph               compiled graphs
      features/<fingerprint>/recipe.json         description of a recipe
      features/<fingerprint>/<uuid>.npy|.json    segments: rows, and the manifest that commits them
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import warnings
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from featx.errors import FeatxError, StoreError, StoreWarning
from featx.system.files import checksummed_json
from featx.system.files.atomic import make_folder, open_regular_file, remove_abandoned, write_text

#: Format of segments and descriptions. A cache of another format is refused.
FORMAT = 3
#: File index.
INDEX = "digests.sqlite"
#: Measured throughput of backbones on this machine.
RATES = "rates.json"
#: Human-readable description of a recipe. Segments hold all that is needed to read them.
DESCRIPTION = "recipe.json"
#: Suffix of corrupt files that were quarantined.
CORRUPT_SUFFIX = ".corrupt"
_OLD_CORRUPT_SUFFIX = ".damaged"

_CORRUPT_FILE = re.compile(
    rf"([0-9a-f]{{32}}\.(json|npy)|[0-9a-f]{{16}}\.(json|xml|bin)|{re.escape(DESCRIPTION)}|{re.escape(INDEX)})"
    rf"({re.escape(CORRUPT_SUFFIX)}|{re.escape(_OLD_CORRUPT_SUFFIX)})"
)
_RECIPE_FOLDER = re.compile(r"[0-9a-f]{16}")
_MAX_DESCRIPTION_BYTES = 100_000
#: Formats 1 and 2 had no field "checksum"; format 2 had "seal" instead.
_OLD_END = re.compile(rb'("seal": "[0-9a-f]{32}"\s*\}\s*$)')
#: Files that keep a cache out of repositories and backups (https://bford.info/cachedir), and their contents.
MARKS = {
    ".gitignore": "# Written by featx. This folder can be deleted.\n*\n",
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n# Written by featx. This folder can be deleted.\n",
}
_NOT_PERMITTED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OTHER_CACHE = "set another folder with cache= (--cache) or FEATX_CACHE"


# Errors ---------------------------------------------------------------------------------------------------


def write_error(cache: Path, error: OSError) -> StoreError:
    """Return the error for a cache that cannot be written."""
    return StoreError(
        f"Cannot write to the feature cache {str(cache)!r}: {error.strerror or error}. Rows already written are kept. "
        f"Fix the cause, or {_OTHER_CACHE}."
    )


def read_error(path: Path | str, error: OSError) -> StoreError:
    """Return the error for a file or folder of a cache that cannot be read."""
    return StoreError(
        f"Cannot read {str(error.filename or path)!r} in the feature cache: {error.strerror or error}. No file was "
        f"changed. Fix the cause, or {_OTHER_CACHE}."
    )


def is_unusable_error(error: StoreError) -> bool:
    """Return whether this process may not use a cache, as on a read-only file system, or its disk is full."""
    is_listed = isinstance(error.__cause__, OSError) and error.__cause__.errno in (*_NOT_PERMITTED, *_FULL)
    return is_listed or isinstance(error, _CannotCreateError)


def warn_unusable(cache: Path, error: StoreError, verb: str = "write to") -> None:
    """Issue the warning of a cache that this process cannot write or read; Python shows it once for each cache."""
    cause = error.__cause__
    assert isinstance(cause, OSError)
    remedies = dict.fromkeys(_FULL, "Free space, ") | dict.fromkeys(_NOT_PERMITTED, "Fix the permissions, ")
    remedy = f"{remedies.get(cause.errno or 0, '')}{_OTHER_CACHE}"
    warnings.warn(
        f"Cannot {verb} the feature cache {str(cache)!r}: {cause.strerror or cause}. Rows and networks are computed "
        f"and not kept. {remedy[0].upper()}{remedy[1:]}, or pass cache=None (--no-cache).",
        StoreWarning,
        stacklevel=1,  # from one place, so that it is shown once
    )


class _CannotCreateError(StoreError):
    """The folder of a cache cannot be created, such as below ``/proc`` or below a file."""


class OtherFormatError(StoreError):
    """Another version of featx wrote a file in another format.

    Attributes
    ----------
    reason, remedy : str
        Parts of the message, without a period.
    """

    def __init__(self, message: str, reason: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.remedy = remedy


def newer_format_error(path: Path, actual: object) -> OtherFormatError:
    """Return the error for a file that a newer version of featx wrote."""
    reason, remedy = f"expected cache format {FORMAT}, got {actual}", f"upgrade featx, or {_OTHER_CACHE}"
    return OtherFormatError(f"Cannot read {str(path)!r}: {reason}. U{remedy[1:]}.", reason, remedy)


def older_format_error(cache: Path) -> OtherFormatError:
    """Return the error for a cache that an older version of featx wrote."""
    reason = "an older version of featx wrote it in another format"
    remedy = f"delete it with featx cache clear --cache {_quoted(cache)}, or {_OTHER_CACHE}"
    message = f"Cannot use the feature cache {str(cache)!r}: {reason}. D{remedy[1:]}."
    return OtherFormatError(message, reason, remedy)


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def check_no_links(*folders: Path) -> None:
    """Raise an error if a folder inside a cache is a symbolic link.

    Raises
    ------
    StoreError
    """
    for path in folders:
        if path.is_symlink():
            raise StoreError(
                f"{str(path)!r} is a symbolic link, which featx does not follow inside a cache. Remove it. To store "
                f"rows elsewhere, make the cache folder itself a link, or {_OTHER_CACHE}."
            )


# Descriptions and formats -----------------------------------------------------------------------------------


def write_description(folder: Path, recipe: dict[str, Any]) -> None:
    """Write the description of a recipe, unless there is an intact one."""
    if read_description(folder) is None:
        quarantine_folder(folder / DESCRIPTION)
        write_text(folder / DESCRIPTION, checksummed_json.dump({"format": FORMAT, "recipe": recipe}, indent=2))


def read_description(folder: Path) -> dict[str, Any] | None:
    """Return ``format`` and ``recipe`` of the description in a recipe folder; None if it is missing or corrupt."""
    try:
        fields = checksummed_json.load(folder / DESCRIPTION)
    except (*checksummed_json.CORRUPT, OSError):
        return None
    is_valid = isinstance(fields.get("format"), int) and isinstance(fields.get("recipe"), dict)
    return fields if is_valid else None


def check_format(cache: Path, folder: Path) -> None:
    """Raise an error if another version of featx wrote a recipe folder in another format.

    If the folder does not exist yet, some other recipe folders are checked, so that rows are not added to an old cache.

    Raises
    ------
    StoreError
    """
    folders = [folder] if folder.is_dir() else islice(recipe_folders(cache), 4)
    for path in folders:
        description = read_description(path)
        if description and description["format"] > FORMAT and path == folder:
            raise newer_format_error(path / DESCRIPTION, description["format"])
        if description is None and is_old_file(path / DESCRIPTION):
            raise older_format_error(cache)


def is_old_file(path: Path) -> bool:
    """Return whether an older version of featx wrote a description or manifest."""
    try:
        with open_regular_file(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_DESCRIPTION_BYTES))
            data = file.read(_MAX_DESCRIPTION_BYTES) or b""
        if _OLD_END.search(data):
            return True
        fields = json.loads(data)
    except (*checksummed_json.CORRUPT, OSError):
        return False
    return isinstance(fields, dict) and fields.keys() == {"format", "recipe"} and fields["format"] == 1


# Folders and files ------------------------------------------------------------------------------------------


def prepare_cache(folder: Path) -> None:
    """Create the cache folder and check that it can be written.

    Raises
    ------
    StoreError
        It is a file, or cannot be created or written.
    """
    try:
        make_folder(folder)
    except OSError as error:
        if os.path.lexists(folder):  # a file: most likely a wrong path
            raise write_error(folder, error) from error
        raise _CannotCreateError(str(write_error(folder, error))) from error
    try:
        if not os.access(folder, os.W_OK | os.X_OK):
            code = errno.EROFS if _is_read_only(folder) else errno.EACCES
            raise OSError(code, os.strerror(code))
        remove_abandoned(folder)
        _write_marks(folder)
    except OSError as error:
        raise write_error(folder, error) from error


def _write_marks(folder: Path) -> None:
    """Write the files that keep a cache out of repositories and backups, unless the folder has files of the user."""
    names = set(os.listdir(folder))
    own = {name for name in names if name in (*MARKS, "features", "compiled", RATES) or name.startswith(INDEX)}
    if names - own:  # git must not ignore other files
        return
    for name in MARKS.keys() - names:
        write_text(folder / name, MARKS[name])


def is_read_only(cache: Path) -> bool:
    """Return whether a cache exists and this process may not write it; no file is created."""
    return os.path.isdir(cache) and not os.access(cache, os.W_OK | os.X_OK)


def _is_read_only(folder: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def reading(cache: Path) -> Iterator[None]:
    """Check that a folder is a cache, and turn read errors in this block into a StoreError.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read.
    """
    try:
        names = set(os.listdir(cache))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"There is no feature cache in {str(cache)!r}. Set its folder with cache= (--cache) or FEATX_CACHE, or "
            "extract features first."
        ) from error
    except OSError as error:
        raise read_error(cache, error) from error
    if names - MARKS.keys() and not names & {"features", "compiled", INDEX, RATES}:
        raise StoreError(
            f"{str(cache)!r} is not a feature cache: it contains neither features/ nor compiled/. Set the "
            "folder of the cache with cache= (--cache) or FEATX_CACHE."
        )
    try:
        yield
    except OSError as error:
        raise error if isinstance(error, FeatxError) else read_error(cache, error) from error


def recipe_folders(cache: Path, fingerprints: Collection[str] | None = None) -> list[Path]:
    """Return the sorted recipe folders of a cache.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Names of the folders to return. None: all.
    """
    features = cache / "features"
    if features.is_symlink() or not features.is_dir():
        return []
    return sorted(
        path
        for path in features.iterdir()
        if _RECIPE_FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        if fingerprints is None or path.name in fingerprints
    )


def index_files(cache: Path) -> list[Path]:
    """Return the paths of the file index and of SQLite's files next to it."""
    return [cache / f"{INDEX}{suffix}" for suffix in ("", "-journal", "-wal", "-shm")]


def corrupt_files(folder: Path) -> list[Path]:
    """Return the quarantined files in a folder."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted(path for path in folder.iterdir() if _CORRUPT_FILE.fullmatch(path.name))


def quarantine(path: Path) -> None:
    """Rename a corrupt file: it is not read any more, and can be inspected."""
    os.replace(path, f"{path}{CORRUPT_SUFFIX}")


def quarantine_folder(path: Path) -> None:
    """Quarantine a folder that has the name of a file and would not be replaced by it."""
    if path.is_dir() and not path.is_symlink():
        quarantine(path)


def remove(path: Path) -> None:
    """Remove a file, or an empty folder in its place."""
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        if not path.is_dir():
            raise
        with contextlib.suppress(OSError):  # a folder that is not empty is not ours
            path.rmdir()


def total_size(paths: Iterable[Path]) -> int:
    """Return the total size of files in bytes; files that were removed meanwhile count 0."""
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            total += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return total
