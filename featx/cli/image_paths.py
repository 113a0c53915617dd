"""Paths of images from sources or a stream, batch by batch; lines of output.

Commands that use these process any number of images in constant memory.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from featx.cli.console import note_ignored, print_data, print_message, source_options_from
from featx.errors import OptionError
from featx.system.files.atomic import atomic_write
from featx.system.files.output_paths import as_output_error
from featx.system.formatting import format_count

if TYPE_CHECKING:
    from featx.datasets.failures import Failure

_BATCH_SIZE = 4096
#: A few hundred paths, so that a writer that waits for results gets them soon.
_STREAM_BYTES = 16_384


def batches(args: argparse.Namespace, missing: list[str]) -> tuple[Iterator[list[str]], int | None]:
    """Return batches of image paths and their total number, if known.

    Sources that do not exist are appended to `missing`.
    """
    from featx.datasets.find import find_images
    from featx.datasets.image_listing import is_table, missing_sources

    if "-" in args.source:
        if len(args.source) > 1:
            raise OptionError(
                "The source - (standard input) cannot be combined with other sources. Remove the other sources."
            )
        if sys.stdin is None:  # closed by the parent process
            raise OptionError("Cannot read paths from standard input: it is closed. Pass images, or a pipe.")
        return _warn_if_empty(_read_stream(sys.stdin.fileno()), args), None
    options = source_options_from(args)
    if is_table(args.source):
        table = find_images(args.source, **options)
    else:
        table = find_images(args.source, **options, keep_missing=True)
        missing += missing_sources(args.source)
    for note in table.notes:
        print_message(args, note)
    note_ignored(args, table.ignored)
    starts = range(0, len(table), _BATCH_SIZE)
    return (list(table.paths[start : start + _BATCH_SIZE]) for start in starts), len(table)


def _warn_if_empty(batches: Iterator[list[str]], args: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the batches; report an empty input at the end."""
    n_paths = 0
    for paths in batches:
        n_paths += len(paths)
        yield paths
    if not n_paths:
        print_message(args, "Standard input contains no paths: expected one per line.")


def _read_stream(descriptor: int) -> Iterator[list[str]]:
    """Yield the paths of a stream as they arrive, so that an interactive writer gets results at once.

    Paths are separated by NUL characters if there are any (``find -print0``), else by newlines.
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
    """Return the path in a line, or an empty string; Windows line ends are removed."""
    if separator == b"\n":
        line = line.rstrip(b"\r") if line.strip() else b""
    return os.fsdecode(line)


def raise_for_images(missing: Sequence[str], n_done: int, n_failed: int, first: Failure | None) -> None:
    """Raise an error for missing sources, or if no image was readable; called after all others are processed."""
    from featx.datasets.failures import all_unreadable_error
    from featx.datasets.folders.absent import source_not_found_message
    from featx.errors import SourceNotFoundError

    if missing:
        others = f" ({format_count(len(missing) - 1, 'other source')} missing, too.)" if len(missing) > 1 else ""
        raise SourceNotFoundError(f"{source_not_found_message(missing[0])}{others} All other images were processed.")
    if first is not None and not n_done:
        raise all_unreadable_error(n_failed, first)


@contextlib.contextmanager
def writing(output: str | None) -> Iterator[Callable[[str], object]]:
    """Yield a function that writes text to standard output, or to a file that is created when it is complete."""
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
