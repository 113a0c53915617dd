"""Search features on disk: ``featx similar`` and ``featx duplicates``."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli.console import cache_from, command_of, print_data, print_message
from featx.cli.image_paths import batches, raise_for_images, writing
from featx.cli.shared_options import (
    EXTRACTION_OPTIONS,
    add_command,
    add_common,
    add_duplicate_threshold,
    add_extraction_options,
    add_image_sources,
)
from featx.system.option_checks import check_choice
from featx.system.terminal.tables import format_table

if TYPE_CHECKING:
    from featx.features.matrix import FeatureMatrix
    from featx.workflows.search.matches import ImageMatches


_SIMILAR_EXAMPLES = """examples:
  featx similar features.npy photo.jpg
  featx similar features.npy --text "a red car" --text "a dog on a beach"
  featx similar job/ new/ --top 5 --html similar.html
  featx similar features.npy new/ -o similar.csv --backbone resnet50
  find /photos -name '*.jpg' | featx similar job/ - --json
"""


_DUPLICATES_EXAMPLES = """examples:
  featx duplicates features.npy
  featx duplicates job/ --csv duplicates.csv --duplicate-threshold 0.99
  featx duplicates features.npy --keep best --list unique.csv
"""


_FEATURES_HELP = "File written by featx extract, or the folder or URL of a job"


def add_commands(commands: Any) -> None:
    """Add ``similar`` and ``duplicates``."""
    _add_similar(commands)
    _add_duplicates(commands)


def _add_similar(commands: Any) -> None:
    summary = "Find the most similar images by cosine similarity of features"
    parser = add_command(commands, "similar", summary, _SIMILAR_EXAMPLES, run=similar)
    parser.add_argument("features", metavar="FEATURES", help=_FEATURES_HELP)
    parser.add_argument(
        "source",
        nargs="*",
        metavar="IMAGES",
        help="Image files, folders, archives, URLs or tables; - reads paths from standard input",
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="TEXT",
        help="Description of the images to find; needs features of a backbone with a text tower, such as "
        "open_clip/ViT-B-32:laion2b_s34b_b79k; repeatable",
    )
    parser.add_argument(
        "--top", type=int, default=10, metavar="K", help="Number of similar images per query (default: 10)"
    )
    parser.add_argument(
        "--include-self",
        action="store_true",
        help="Also return the query image itself if it is in FEATURES",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="Write CSV to this file instead of printing a table")
    parser.add_argument("--html", metavar="FILE", help="Also write a self-contained HTML page with thumbnails")
    parser.add_argument(
        "--index",
        default="exact",
        metavar="NAME",
        help="exact (compare every row), faiss (index of all rows, for many queries) or faiss-approximate (smaller "
        "index) (default: exact)",
    )
    add_image_sources(parser)
    parser.add_argument(
        "--backbone",
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="Backbone of FEATURES if the cache does not know its rows (default: mobilenet)",
    )
    add_extraction_options(parser)
    add_common(parser, json_help="Print one JSON object per query instead of a table")


def _add_duplicates(commands: Any) -> None:
    summary = "Find near-duplicates among feature rows"
    parser = add_command(commands, "duplicates", summary, _DUPLICATES_EXAMPLES, run=duplicates)
    parser.add_argument("features", metavar="FEATURES", help=_FEATURES_HELP)
    parser.add_argument("--csv", metavar="FILE", help="Also write CSV: group, row, path, label, cosine, digest")
    parser.add_argument(
        "--keep",
        metavar="RULE",
        help="Select one image of each group: best (labeled, then largest, then sharpest), largest, sharpest, labeled "
        "or first; no file is changed",
    )
    parser.add_argument(
        "--list",
        metavar="FILE",
        help="Write path and label of all images to keep as CSV, which other commands take as SOURCE; with --keep",
    )
    add_duplicate_threshold(parser)
    add_common(parser)


def similar(args: argparse.Namespace) -> None:
    """Run ``featx similar``."""
    from featx.errors import OptionError
    from featx.system.files.output_paths import check_output_files
    from featx.system.terminal.progress import stage
    from featx.workflows.report.similar_page import max_queries
    from featx.workflows.result_output import is_report_file
    from featx.workflows.search.image_search import ImageSearch
    from featx.workflows.search.matches import SearchSummary, is_matches_file

    if not args.source and not args.text:
        raise OptionError("IMAGES or --text is required: there is no query. Pass one of them.")
    check_output_files([(args.html, is_report_file), (args.output, is_matches_file)], args.source)
    search = ImageSearch(
        args.features,
        top=args.top,
        include_self=args.include_self,
        index=args.index,
        options={name: getattr(args, name) for name in ("backbone", *EXTRACTION_OPTIONS) if hasattr(args, name)},
        cache=cache_from(args),
        on_error=args.on_error,
        for_texts=bool(args.text),
    )
    missing: list[str] = []
    batches_of_paths, total = batches(args, missing) if args.source else (iter(()), 0)
    print_message(args, search.description)
    summary = SearchSummary(max_kept=max_queries(args.top) if args.html else 0)
    with writing(args.output) as write, stage("search", total):
        write_results = _writer(args, write)
        text_results = [search.search_texts(args.text)] if args.text else []
        for results in itertools.chain(text_results, map(search.search, batches_of_paths)):
            write_results(results)
            summary.add(results)
    if args.html:
        search.write_page(Path(args.html), summary, command=command_of(args))
        print_message(args, f"Open {args.html} in a browser.")
    print_message(args, summary.as_text())
    raise_for_images(missing, summary.n_searched, summary.n_unreadable, summary.first_unreadable)


def _writer(args: argparse.Namespace, write: Callable[[str], object]) -> Callable[[Sequence[ImageMatches]], object]:
    """Return a function that writes results as JSON, CSV or a table."""
    from featx.workflows.search.matches import matches_csv

    if args.json:
        return lambda results: write("".join(f"{result.as_json()}\n" for result in results))
    if args.output:
        write(matches_csv([], header=True))
        return lambda results: write(matches_csv(results))
    return lambda results: write(format_table([record for result in results for record in result.records()]))


def duplicates(args: argparse.Namespace) -> None:
    """Run ``featx duplicates``."""
    from featx.cli.commands.duplicate_lists import (
        DECISION,
        HEADER,
        LIST_HEADER,
        as_csv,
        as_dict,
        as_text,
        kept_as_csv,
        redacted_note,
    )
    from featx.datasets.tables.stored import all_headers
    from featx.errors import OptionError
    from featx.features.duplicates.find import check_threshold, find_duplicates
    from featx.features.duplicates.select import KEEP, select_duplicates
    from featx.features.open import open_features
    from featx.system.files.output_paths import check_output_files, header_pattern, starts_with

    check_threshold("duplicate_threshold", args.duplicate_threshold)
    if args.keep is not None:
        check_choice("keep", args.keep, KEEP)
    elif args.list:
        raise OptionError("--list needs --keep, which selects the images. Add for example --keep best.")
    is_csv = starts_with(header_pattern(HEADER), header_pattern((*HEADER, DECISION)))
    is_list = starts_with(*map(header_pattern, all_headers(LIST_HEADER)))
    check_output_files([(args.csv, is_csv), (args.list, is_list)])
    features = open_features(args.features)
    _check_table(features)
    near_duplicates = find_duplicates(features, duplicate_threshold=args.duplicate_threshold)
    selection = None if args.keep is None else select_duplicates(near_duplicates, features, keep=args.keep)
    if args.csv:
        _write(args.csv, as_csv(near_duplicates, features, selection))
    if args.list and selection is not None:
        _write(args.list, kept_as_csv(selection, features))
        if note := redacted_note(selection, features):
            print_message(args, note)
    print_data(
        json.dumps(as_dict(near_duplicates, features, selection))
        if args.json
        else as_text(near_duplicates, features, selection)
    )


def _write(path: str, texts: Iterable[str]) -> None:
    with writing(path) as write:
        for text in texts:
            write(text)


def _check_table(features: FeatureMatrix) -> None:
    """Raise an error now, not after a long search, if the table of the rows is missing."""
    features.metadata(range(min(1, len(features))))
