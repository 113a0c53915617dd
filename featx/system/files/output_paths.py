"""Check, before any work is done, that an output can be written and replaces only what featx wrote."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from featx.errors import FeatxError, OutputError
from featx.system.files.atomic import write_problem

_HEAD_BYTES = 4096


def check_output_file(
    path: Path,
    is_replaceable: Callable[[Path], bool],
    *,
    inputs: Sequence[str] = (),
    remedy: str = "Choose another file.",
) -> None:
    """Raise an error if a file cannot be written, or would replace an input or a file that featx did not write.

    Parameters
    ----------
    path : Path
    is_replaceable : callable
        Whether an existing file that is not empty may be replaced. See :func:`starts_with`.
    inputs : sequence of str, default=()
        Paths that are read and must not be replaced.
    remedy : str, default="Choose another file."
        Last sentence of the error.

    Raises
    ------
    OutputError
    """
    check_parent(path)
    if problem := _file_problem(path, is_replaceable, inputs):
        raise output_error(path, problem, remedy)


def check_output_files(
    outputs: Iterable[tuple[str | Path | None, Callable[[Path], bool]]], inputs: Sequence[str] = ()
) -> None:
    """Raise an error if one of several output files cannot be written, or if two of them have the same path.

    Parameters
    ----------
    outputs : iterable of (str, Path or None, callable) pairs
        Arguments of :func:`check_output_file`. Pairs without a path are skipped.
    inputs : sequence of str, default=()

    Raises
    ------
    OutputError
    """
    seen: set[str] = set()
    for path, is_replaceable in outputs:
        if not path:
            continue
        check_output_file(Path(path), is_replaceable, inputs=inputs)
        if os.path.abspath(path) in seen:
            raise output_error(path, "two outputs have this path")
        seen.add(os.path.abspath(path))


def check_output_folder(
    folder: Path, own_names: Collection[str], *, remedy: str = "Choose another folder.", parents: bool = False
) -> None:
    """Raise an error if a folder cannot be created or written, or holds files of other names than an output has.

    With `parents`, missing folders above it are created later.

    Raises
    ------
    OutputError
    """
    if folder.is_dir():
        others = sorted(set(os.listdir(folder)) - set(own_names))
        problem = f"the folder contains {others[0]!r}, which is not part of this output" if others else ""
    else:
        problem = "a file with this name exists" if os.path.lexists(folder) else ""
    if not parents:
        check_parent(folder, "another folder")
    top = next((path for path in [folder, *folder.parents] if path.parent.is_dir()), folder)
    if problem := problem or parent_problem(top):
        raise output_error(folder, problem, remedy)


def check_parent(path: str | Path, other: str = "another file") -> None:
    """Raise an error if there is no folder for an output: a misspelled one would be created.

    Parameters
    ----------
    path : str or Path
    other : str, default="another file"
        Alternative that the error names.

    Raises
    ------
    OutputError
    """
    parent = os.path.dirname(str(path).rstrip("/"))
    if os.path.isfile(parent):
        raise output_error(path, f"{parent!r} is a file", f"Choose {other}.")
    if parent and not os.path.isdir(parent):
        raise output_error(path, f"there is no folder {parent!r}", f"Create it, or choose {other}.")


def starts_with(*patterns: bytes) -> Callable[[Path], bool]:
    r"""Return a function that tests whether one of several regular expressions matches the first 4 kB of a file.

    Examples
    --------
    >>> is_replaceable = starts_with(rb"\Apath,label\r?\n")
    """

    def matches(path: Path) -> bool:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
        return any(re.search(pattern, head) for pattern in patterns)

    return matches


def header_pattern(columns: Sequence[str]) -> bytes:
    """Return the regular expression of a CSV file with exactly these columns."""
    return rb"\A" + re.escape(",".join(columns).encode()) + rb"\r?\n"


def output_error(path: str | Path, problem: str, remedy: str = "Choose another file.") -> OutputError:
    """Return the error of an output that cannot be written."""
    return OutputError(f"Cannot write {str(path)!r}: {problem}. {remedy}")


@contextlib.contextmanager
def as_output_error(path: str | Path, remedy: str = "Choose another file, or free some disk space.") -> Iterator[None]:
    """Turn an error of the operating system in this block into an OutputError; other errors of featx pass."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise output_error(path, error.strerror or str(error), remedy) from error


def _file_problem(path: Path, is_replaceable: Callable[[Path], bool], inputs: Sequence[str]) -> str:
    if path.is_dir():
        return "it is a folder"
    if path.exists() and not path.is_file():
        return "it is a device or a pipe, not a regular file"
    if path.is_file():
        if any(os.path.exists(source) and os.path.samefile(source, path) for source in inputs):
            return "it is also an input"
        if path.stat().st_size and not is_replaceable(path):
            return "the file exists and was not written by featx"
    return parent_problem(path)


def parent_problem(path: Path) -> str:
    """Return why no file can be created in the folder of a path, or ""."""
    problem = write_problem(path.parent)
    return f"no file can be created in {str(path.parent)!r} ({problem})" if problem else ""
