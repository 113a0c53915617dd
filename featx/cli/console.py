"""Standard output and standard error, and parsed arguments as options of the library."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from featx.cli.option_words import in_option_words
from featx.cli.shared_options import EXTRACTION_OPTIONS, READING_OPTIONS, add_command
from featx.datasets.source_options import TABLE_OPTIONS
from featx.errors import OutputError
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_count
from featx.system.terminal.encoding import replace_character
from featx.system.terminal.messages import write_line
from featx.system.terminal.tables import terminal_width, text_width, wrap_text

if TYPE_CHECKING:
    from featx.datasets.image_table import ImageTable
    from featx.extraction.options import ExtractionOptions


_SPELL, _KEEP_BYTES = "featx.spell", "featx.keep_bytes"


class SupportsText(Protocol):
    """A result that can be printed."""

    def as_text(self) -> str:
        """Return the result as text."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        ...


class ReaderGoneError(Exception):
    """The reader of standard output is gone, as in ``featx … | head``."""


def show_all_characters() -> None:
    """Make standard output and standard error accept any character.

    Characters that a stream cannot encode are spelled in ASCII or escaped. In data, file names that are not UTF-8 keep
    their bytes.
    """
    codecs.register_error(_SPELL, _spell)
    codecs.register_error(_KEEP_BYTES, _keep_bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_data = stream is sys.stdout and not stream.isatty()
            stream.reconfigure(errors=_KEEP_BYTES if is_data else _SPELL)


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    return replace_character(error)


def _keep_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle encoding errors: write undecodable bytes of file names unchanged, and spell other characters."""
    assert isinstance(error, UnicodeEncodeError)
    code = ord(error.object[error.start])
    if 0xDC80 <= code <= 0xDCFF:  # surrogate escape of an undecodable byte
        return bytes([code - 0xDC00]), error.start + 1
    return replace_character(error)


def add_group(commands: Any, name: str, summary: str, examples: str) -> Any:
    """Add a command that has commands of its own, and return what these are added to. Alone, it prints its help."""

    def show_help(args: argparse.Namespace) -> None:
        print_data(parser.format_help().rstrip())

    parser = add_command(commands, name, summary, examples, run=show_help)
    return parser.add_subparsers(title="commands", metavar="COMMAND")


def open_closed_streams() -> None:
    """Open the null device as each standard stream that the parent process has closed.

    Otherwise the next file that is opened would become the stream, and would get what libraries print there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # the lowest descriptor that is free is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def check_standard_output(args: argparse.Namespace) -> None:
    """Raise an error, before any work, if a command would print its result to a standard output that is closed."""
    prints_nothing = args.command == "predict" and args.output is not None
    if sys.stdout is None and not prints_nothing:
        raise OutputError("Cannot write to standard output: it is closed. Redirect it to a file, or to /dev/null.")


def print_data(text: str) -> None:
    """Print data to standard output."""
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = None  # otherwise Python flushes it again at exit
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError from error
        raise OutputError(
            f"Cannot write to standard output: {error.strerror}. Free disk space, or redirect it to another file."
        ) from error


def print_result(args: argparse.Namespace, result: SupportsText) -> None:
    """Print a result to standard output: with ``--json`` its values, else its text in the words of the options."""
    print_data(json.dumps(result.as_dict()) if args.json else fit_lines(in_option_words(result.as_text())))


def fit_lines(text: str) -> str:
    """Return text whose long lines are wrapped for the terminal. Commands stay on one line, to be copied."""
    width = terminal_width() or sys.maxsize
    return "\n".join(
        wrap_text(line) if text_width(line) > width and "featx " not in line else line for line in text.split("\n")
    )


def command_of(args: argparse.Namespace) -> str:
    """Return the command line without credentials in URLs, for pages that users share."""
    return shlex.join(["featx", *map(redact_secrets, args.argv)])


#: Options of :func:`featx.find_images` for folders and archives.
_FOLDER_OPTIONS = ("class_level", "zip_encoding")


def source_options_from(args: argparse.Namespace, *, tables: bool = True) -> dict[str, Any]:
    """Return how the source is read, as parameters of :func:`featx.find_images`; also for tables."""
    names = (*TABLE_OPTIONS, *_FOLDER_OPTIONS) if tables else _FOLDER_OPTIONS
    options = {name: getattr(args, name) for name in names if hasattr(args, name)}
    columns = options.get("label_column")
    if isinstance(columns, list) and len(columns) == 1:
        options["label_column"] = columns[0]
    return options


def options_from(args: argparse.Namespace, backbone: str) -> ExtractionOptions:
    """Return the extraction options for one of the backbones."""
    from featx.backbones.registry import DirectBackbone, load_backbone
    from featx.extraction.options import ExtractionOptions

    given = {name: getattr(args, name) for name in EXTRACTION_OPTIONS if hasattr(args, name)}
    others = args.backbone if isinstance(args.backbone, list) else []
    is_own = [load_backbone(name).preprocessing_text is not None for name in (backbone, *others)]
    if is_own[0] and not all(is_own):
        given.pop("preprocessing", None)  # it applies to the model files among the others
    if len(set(others)) > 1 and isinstance(load_backbone(backbone), DirectBackbone):
        for name in ("weights", "engine", "device"):
            given.pop(name, None)  # they apply to the networks among the others
    return ExtractionOptions(backbone=backbone, **given)


def labeled_images_from(args: argparse.Namespace) -> ImageTable:
    """Return the labeled images of a command. Those of features are what their table lists."""
    from featx.datasets.find import find_images
    from featx.datasets.tables.frames import images_of_features
    from featx.features.open import is_features, open_features

    options = source_options_from(args)
    if len(args.source) == 1 and is_features(args.source[0]) and all(value is None for value in options.values()):
        return images_of_features(open_features(args.source[0]), are_read=True)
    return find_images(args.source, **options)


def workflow_options_from(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that comparing, ranking and training share, as parameters of their functions."""
    return {
        "task": args.task,
        "duplicate_groups": not args.no_duplicate_groups,
        "duplicate_threshold": args.duplicate_threshold,
        "cache": args.cache,
        "on_error": args.on_error,
    }


def reading_from(args: argparse.Namespace) -> dict[str, Any]:
    """Return the reading options that were given."""
    return {name: getattr(args, name) for name in READING_OPTIONS if hasattr(args, name)}


def cache_from(args: argparse.Namespace) -> Path | None:
    """Return the cache folder, or None without a cache."""
    from featx.extraction.options import resolve_cache

    return resolve_cache(args.cache)


def cache_folder_from(args: argparse.Namespace) -> Path:
    """Return the cache folder of a command that requires one."""
    cache = cache_from(args)
    assert cache is not None  # these commands do not have --no-cache
    return cache


def print_message(args: argparse.Namespace, message: str) -> None:
    """Print a message to standard error unless ``--quiet`` is given."""
    if not args.quiet:
        write_line(in_option_words(message))


def note_ignored(args: argparse.Namespace, ignored: dict[str, int]) -> None:
    """Report the files that were skipped."""
    from featx.datasets.folders.absent import format_ignored

    if ignored:
        n_ignored = format_count(sum(ignored.values()), "file")
        print_message(args, f"{n_ignored} skipped, not images by their names: {format_ignored(ignored)}.")
