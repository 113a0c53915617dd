"""What the commands of the command line share: where data and messages go, and options as they were given."""

from __future__ import annotations

import argparse
import codecs
import io
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli.shared_options import EXTRACTION_OPTIONS, READING_OPTIONS
from featx.errors import OutputError
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_count
from featx.system.progress import write_line

if TYPE_CHECKING:
    from featx.extraction.options import ExtractionOptions


_AS_IT_IS = "featx.as_it_is"


class ReaderGoneError(Exception):
    """Nobody reads our output any more (featx … | head), so nobody is left to be told."""


def show_all_characters() -> None:
    """Let no file name or arrow fail that a stream cannot show; in data, names that are no text stay what they are."""
    codecs.register_error(_AS_IT_IS, _as_it_is)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_data = stream is sys.stdout and not stream.isatty()
            stream.reconfigure(errors=_AS_IT_IS if is_data else "backslashreplace")


def _as_it_is(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write a byte of a file name that is not UTF-8 as that byte, and what else cannot be written by its number."""
    assert isinstance(error, UnicodeEncodeError)
    code = ord(error.object[error.start])
    if 0xDC80 <= code <= 0xDCFF:  # as Python has such bytes
        return bytes([code - 0xDC00]), error.start + 1
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.backslashreplace_errors(one)


def print_data(text: str) -> None:
    """Print data to standard output."""
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = None  # or Python would try once more when it ends
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError from error
        raise OutputError(
            f"Standard output cannot be written: {error.strerror}. Make room there, or send it elsewhere."
        ) from error


def command_of(args: argparse.Namespace) -> str:
    """Return the command as it was given, without what lets anybody in who has an address: pages are passed on."""
    return shlex.join(["featx", *map(redact_secrets, args.argv)])


def columns_from(args: argparse.Namespace) -> dict[str, Any]:
    """Return which columns of a table hold what, as they were given."""
    names = ("path_column", "label_column", "split_column")
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def options_from(args: argparse.Namespace, backbone: str) -> ExtractionOptions:
    """Return the options of extraction that were given, for one of the networks."""
    from featx.backbones.registry import DirectBackbone, load_backbone
    from featx.extraction.options import ExtractionOptions

    given = {name: getattr(args, name) for name in EXTRACTION_OPTIONS if hasattr(args, name)}
    beside = args.backbone if isinstance(args.backbone, list) else []
    if not load_backbone(backbone).is_model_file and any(load_backbone(one).is_model_file for one in beside):
        given.pop("preprocessing", None)  # it is for the files beside it
    if len(set(beside)) > 1 and isinstance(load_backbone(backbone), DirectBackbone):
        given.pop("weights", None)  # they are for the networks beside it
    return ExtractionOptions(backbone=backbone, **given)


def groups_from(args: argparse.Namespace) -> str:
    """Return the parameter `groups`: "auto" unless ``--no-duplicate-groups`` is given."""
    return "none" if args.no_duplicate_groups else "auto"


def reading_from(args: argparse.Namespace) -> dict[str, object]:
    """Return which images are to be read, where that was given."""
    return {name: getattr(args, name) for name in READING_OPTIONS if hasattr(args, name)}


def cache_from(args: argparse.Namespace) -> Path | None:
    """Return the cache folder; None if nothing is to be kept."""
    from featx.extraction.options import resolve_cache

    return resolve_cache(args.cache)


def cache_folder_from(args: argparse.Namespace) -> Path:
    """Return the cache folder, of a command that has one."""
    cache = cache_from(args)
    assert cache is not None  # only --no-cache says so, which these commands do not have
    return cache


def say(args: argparse.Namespace, message: str) -> None:
    """Tell what goes on, on standard error."""
    if not args.quiet:
        write_line(message)


def note_ignored(args: argparse.Namespace, ignored: dict[str, int]) -> None:
    """Tell how many files were passed over, and why."""
    from featx.datasets.find import format_ignored

    if ignored:
        n_ignored = format_count(sum(ignored.values()), "file")
        say(args, f"{n_ignored} passed over, no images by their names: {format_ignored(ignored)}.")
