"""Check images: ``featx check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from featx.cli.console import print_result, source_options_from
from featx.cli.shared_options import MAX_PIXELS, add_command, add_common, add_sources, add_tables


def add_commands(commands: Any) -> None:
    """Add ``check``."""
    summary = "Check images for problems; exit with code 1 if one is unreadable"
    examples = (
        "examples:\n  featx check photos/\n  featx check photos/ --csv findings.csv\n  featx check a.zip --json\n"
    )
    parser = add_command(commands, "check", summary, examples, run=_check)
    add_sources(parser)
    parser.add_argument("--csv", metavar="FILE", help="Also write all findings as CSV: path, finding, detail")
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help=f"Maximum number of pixels of an image (default: {MAX_PIXELS})",
    )
    add_tables(parser, splits=False)
    add_common(parser)


def _check(args: argparse.Namespace) -> int:
    from featx.datasets.find import find_images
    from featx.datasets.image_check.check import check_images
    from featx.system.files.output_paths import check_output_files
    from featx.workflows.result_output import is_table_file, write_csv

    check_output_files([(args.csv, is_table_file)], args.source)
    table = find_images(args.source, **source_options_from(args))
    check = check_images(table, max_pixels=args.max_pixels)
    if args.csv:
        write_csv(Path(args.csv), check.to_frame())
    print_result(args, check)
    return 1 if check.unreadable else 0
