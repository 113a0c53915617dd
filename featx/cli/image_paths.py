"""What commands that go on for ever share: paths in, batch after batch, from a source or a stream; lines out."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from featx.cli.console import note_ignored, print_data, say
from featx.errors import OptionError
from featx.system.files.atomic import atomic_write
from featx.system.files.output_paths import as_output_error
from featx.system.formatting import format_count

if TYPE_CHECKING:
    from featx.datasets.failures import Failure

_BATCH = 4096
#: Some hundred paths: of a stream, answers are waited for.
_STREAM_BYTES = 16_384


def batches(args: argparse.Namespace, missing: list[str]) -> tuple[Iterator[list[str]], int | None]:
    """Return the paths of images, batch after batch, and how many there are, if that is known; tell what is missing."""
    from featx.datasets.find import find_images, is_table, missing_sources

    if "-" in args.source:
        if len(args.source) > 1:
            raise OptionError("-: paths on standard input are read alone. Give no other source beside it.")
        return _counted(_of_stream(sys.stdin.fileno()), args), None
    if is_table(args.source):
        table = find_images(args.source, path_column=args.path_column)
    elif args.path_column:
        raise OptionError(f"--path-column {args.path_column} names a column, but {args.source[0]!r} is no table.")
    else:
        table = find_images(args.source, keep_missing=True)
        missing += missing_sources(args.source)
    note_ignored(args, table.ignored)
    starts = range(0, len(table), _BATCH)
    return (list(table.paths[at : at + _BATCH]) for at in starts), len(table)


def _counted(of_paths: Iterator[list[str]], args: argparse.Namespace) -> Iterator[list[str]]:
    """Return them, and tell at the end if there were none."""
    n_paths = 0
    for paths in of_paths:
        n_paths += len(paths)
        yield paths
    if not n_paths:
        say(args, "No path came in on standard input, where one in each line was expected.")


def _of_stream(descriptor: int) -> Iterator[list[str]]:
    """Return the lines of a stream, as many at a time as there are: who writes one and waits gets an answer.

    No path holds a NUL: where there is one, it separates them, as ``find -print0`` does.
    """
    rest, separator = b"", b"\n"
    while block := os.read(descriptor, _STREAM_BYTES):
        separator = b"\0" if b"\0" in block else separator
        *lines, rest = (rest + block).split(separator)
        if paths := [path for line in lines if (path := _as_path(line, separator))]:
            yield paths
    if path := _as_path(rest, separator):
        yield [path]


def _as_path(line: bytes, separator: bytes) -> str:
    """Return the path in a line, "" if there is none; a line may end as those of Windows do."""
    if separator == b"\n":
        line = line.rstrip(b"\r") if line.strip() else b""
    return os.fsdecode(line)


def raise_for_images(missing: Sequence[str], n_done: int, n_failed: int, first: Failure | None) -> None:
    """Raise, when all others are done, for a source that was named and is not there, or if no image can be read."""
    from featx.datasets.failures import all_unreadable_error
    from featx.datasets.find import source_not_found_message
    from featx.errors import SourceNotFoundError

    if missing:
        others = f" (The same of {format_count(len(missing) - 1, 'other source')}.)" if len(missing) > 1 else ""
        raise SourceNotFoundError(f"{source_not_found_message(missing[0])}{others} All others are done.")
    if first is not None and not n_done:
        raise all_unreadable_error(n_failed, first)


@contextlib.contextmanager
def writing(output: str | None) -> Iterator[Callable[[str], object]]:
    """Yield the function that writes data: to standard output, or to a file that is there once it is whole."""
    if output is None:
        yield lambda text: print_data(text.removesuffix("\n")) if text else None
        return
    # File names that are not UTF-8 are written as their own bytes.
    with (
        as_output_error(output),
        atomic_write(Path(output)) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file.write
        file.flush()
