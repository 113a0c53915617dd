"""The command line: parse → call → print. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx import __version__
from featx.errors import FeatxError, OutputError
from featx.progress import show_messages, write_line

if TYPE_CHECKING:
    from featx.options import ExtractionOptions

_EXTRACT_EXAMPLES = """examples:
  featx extract photos/ -o features.npy
  featx extract photos/cats photos/dogs --backbone resnet50 --pooling max
  featx extract photos/ --json --quiet > summary.json
"""
_COMPARE_EXAMPLES = """examples:
  featx compare photos/
  featx compare photos/ --backbone mobilenet --backbone resnet50 --csv scores.csv
  featx compare photos/ --estimator logreg --estimator knn --cv 10
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C, 143 for SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name or an arrow that the console cannot show
    args = _parser().parse_args(argv)
    try:
        with _ended_by_signals():
            show_messages(getattr(args, "quiet", False))
            args.run(args)
    except FeatxError as error:
        write_line(f"Error: {error}")
        return 1
    except KeyboardInterrupt as interrupt:
        if sys.stderr is not None and sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal has just echoed ^C
        write_line("Interrupted. Rows already committed are kept; the same command goes on from there.")
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    except _ReaderGoneError:
        return 1
    return 0


class _ReaderGoneError(Exception):
    """Nobody reads our output any more (featx … | head), so nobody is left to be told."""


def _print(text: str) -> None:
    """Print data to standard output."""
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = None  # or Python would try once more when it ends
        if isinstance(error, BrokenPipeError):
            raise _ReaderGoneError from error
        raise OutputError(
            f"Standard output cannot be written: {error.strerror}. Make room there, or send it elsewhere."
        ) from error


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: what is computed is committed, the rest cleared up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # Python takes handlers from the main thread only
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is signal.SIG_DFL:  # not under nohup
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _extract(args: argparse.Namespace) -> None:
    from featx.outputs import check_output, extract_to_file
    from featx.progress import progress_bar
    from featx.sources import find_images

    output = Path(args.output)
    check_output(output)
    options = _options(args, args.backbone)
    table = find_images(args.source)
    resolved = options.resolve()
    with progress_bar(len(table), args.backbone, shown=not args.quiet) as progress:
        summary = extract_to_file(
            table, resolved, output, cache=_cache(args), on_error=args.on_error, progress=progress
        )
    _note_ignored(args, table.n_ignored)
    _print(json.dumps(vars(summary)) if args.json else summary.as_text())


def _compare(args: argparse.Namespace) -> None:
    from featx.baselines import BASELINES
    from featx.compare import check_table_path, compare_backbones
    from featx.sources import find_images

    if args.csv:
        check_table_path(Path(args.csv))
    table = find_images(args.source)
    comparison = compare_backbones(
        table,
        [_options(args, backbone) for backbone in dict.fromkeys(args.backbone or ["mobilenet"])],
        cache=_cache(args),
        on_error=args.on_error,
        estimators=args.estimator or BASELINES,
        cv=args.cv,
        random_state=args.random_state,
        n_jobs=args.n_jobs,
        show_progress=not args.quiet,
        progress=lambda name: _say(args, f"Comparing: {name} …"),
    )
    _note_ignored(args, table.n_ignored)
    unlabelled = len(table) - len(table.labelled())
    if unlabelled:
        _say(args, f"{unlabelled} images outside of any class folder were left out.")
    if comparison.failures:
        first = comparison.failures[0]
        _say(args, f"{len(comparison.failures)} images cannot be read; the first is {first.image!r}: {first.reason}.")
    _print(json.dumps(comparison.as_dict()) if args.json else comparison.as_text())
    if args.csv:
        comparison.to_csv(Path(args.csv))


def _demo(args: argparse.Namespace) -> None:
    from featx.demo import run_demo
    from featx.options import resolve_cache

    cache = resolve_cache(args.cache)
    assert cache is not None
    run_demo(Path(args.folder), cache, show_progress=not args.quiet, say=_print)


def _backbones(args: argparse.Namespace) -> None:
    from featx.backbones import available_backbones, load_backbone

    rows = [
        {"backbone": name, "features": backbone.n_features("avg"), "image_size": backbone.image_size}
        for name in available_backbones()
        for backbone in [load_backbone(name)]
    ]
    if args.json:
        _print(json.dumps(rows))
        return
    _print(f"{'backbone':<13} {'features':>8} {'image size':>10}")
    for row in rows:
        _print(f"{row['backbone']:<13} {row['features']:>8} {row['image_size']:>10}")


# Arguments -------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="featx",
        description="Images → features for scikit-learn: a frozen network, every row kept, nothing computed twice.",
        epilog="Begin with: featx demo. Help for a command: featx COMMAND --help.",
    )
    parser.add_argument("--version", action="version", version=f"featx {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_extract(commands)
    _add_compare(commands)
    _add_demo(commands)
    _add_backbones(commands)
    return parser


def _command(commands: Any, name: str, summary: str, examples: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_extract(commands: Any) -> None:
    parser = _command(commands, "extract", "turn images into a .npy matrix of features", _EXTRACT_EXAMPLES, _extract)
    _add_sources(parser)
    parser.add_argument(
        "-o", "--output", default="features.npy", metavar="FILE", help="the matrix (default: features.npy)"
    )
    parser.add_argument("--backbone", default="mobilenet", metavar="NAME", help="network (default: mobilenet)")
    _add_extraction_options(parser)
    _add_common(parser)


def _add_compare(commands: Any) -> None:
    parser = _command(commands, "compare", "compare scikit-learn baselines on features", _COMPARE_EXAMPLES, _compare)
    _add_sources(parser)
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="network (default: mobilenet); may be repeated"
    )
    parser.add_argument(
        "--estimator", action="append", metavar="NAME", help="dummy, logreg, svm, knn (default: all); may be repeated"
    )
    parser.add_argument("--cv", type=int, default=5, metavar="N", help="number of stratified folds (default: 5)")
    parser.add_argument("--random-state", type=int, default=0, metavar="N", help="decides the folds (default: 0)")
    parser.add_argument(
        "--n-jobs", type=int, default=-1, metavar="N", help="folds computed at once (default: -1, all cores)"
    )
    parser.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    _add_extraction_options(parser)
    _add_common(parser)


def _add_demo(commands: Any) -> None:
    summary = "show the whole job on scikit-learn's digits, with the bundled MobileNet"
    parser = _command(commands, "demo", summary, "example:\n  featx demo\n", _demo)
    parser.add_argument(
        "--folder", default="featx-demo", metavar="DIR", help="where images and features go (default: featx-demo)"
    )
    _add_cache(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _add_backbones(commands: Any) -> None:
    parser = _command(commands, "backbones", "list the networks", "example:\n  featx backbones --json\n", _backbones)
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table")


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="+", metavar="SOURCE", help="a folder of class folders, a flat folder, or image files"
    )


_EXTRACTION_OPTIONS = ("weights", "image_size", "pooling", "resize", "precision", "engine", "batch_size")


def _add_extraction_options(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: an option that is not given is not there, and ExtractionOptions has the only default.
    group = parser.add_argument_group("extraction", argument_default=argparse.SUPPRESS)
    group.add_argument("--weights", metavar="FILE", help="weights of this network without its head")
    group.add_argument("--image-size", type=int, metavar="N", help="side in pixels (default: the network's own)")
    group.add_argument("--pooling", metavar="NAME", help="avg or max (default: avg)")
    group.add_argument("--resize", metavar="NAME", help="squash, crop or pad (default: squash)")
    group.add_argument("--precision", metavar="NAME", help="auto, float32 or bfloat16 (default: auto)")
    group.add_argument("--engine", metavar="NAME", help="auto, openvino or keras (default: auto)")
    group.add_argument("--batch-size", type=int, metavar="N", help="images at a time; changes no value (default: 32)")
    group.add_argument(
        "--on-error",
        choices=("skip", "raise"),
        default="skip",
        help="an unreadable image: leave it out and list it, or stop (default: skip)",
    )
    _add_cache(group)
    group.add_argument("--no-cache", dest="cache", action="store_const", const=None, help="keep nothing")


def _add_cache(parser: Any) -> None:
    parser.add_argument(
        "--cache", default="auto", metavar="DIR", help="keeps every row (default: $FEATX_CACHE, else cache/)"
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output instead of text")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _options(args: argparse.Namespace, backbone: str) -> ExtractionOptions:
    from featx.options import ExtractionOptions

    given = {name: getattr(args, name) for name in _EXTRACTION_OPTIONS if hasattr(args, name)}
    return ExtractionOptions(backbone=backbone, **given)


def _cache(args: argparse.Namespace) -> Path | None:
    from featx.options import resolve_cache

    return resolve_cache(args.cache)


# Messages --------------------------------------------------------------------------------------------


def _say(args: argparse.Namespace, message: str) -> None:
    if not args.quiet:
        write_line(message)


def _note_ignored(args: argparse.Namespace, n_ignored: int) -> None:
    if n_ignored:
        _say(args, f"{n_ignored} files that are no images by their suffix were passed over.")
