"""Extract features: ``featx extract``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from featx.cli.commands import job
from featx.cli.console import cache_from, note_ignored, options_from, print_result, source_options_from
from featx.cli.shared_options import (
    add_backbone,
    add_command,
    add_common,
    add_extraction_options,
    add_sources,
    add_tables,
)

_EXTRACT_EXAMPLES = """examples:
  featx extract photos/ -o features.npy
  featx extract photos/ -o features.parquet
  featx extract photos/cats photos/dogs --backbone resnet50 --pooling max
  featx extract photos/ --json --quiet > summary.json
  featx extract labels.csv --path-column file
  featx extract s3://bucket/photos -o features/
"""


def add_commands(commands: Any) -> None:
    """Add ``extract``."""
    parser = add_command(
        commands, "extract", "Extract features of images into a .npy or Parquet file", _EXTRACT_EXAMPLES, run=_extract
    )
    add_sources(parser)
    parser.add_argument(
        "-o",
        "--output",
        default="features.npy",
        metavar="FILE",
        help="Output .npy or .parquet file, or a folder/ or URL for a resumable job (default: features.npy)",
    )
    add_backbone(parser)
    add_tables(parser, groups=True)
    add_extraction_options(parser)
    add_common(parser)


def _extract(args: argparse.Namespace) -> int | None:
    if job.is_job_output(args.output):
        return job.extract(args)
    from featx.datasets.find import find_images
    from featx.extraction.writing.table_to_file import extract_to_file
    from featx.features.outputs import check_output

    output = Path(args.output)
    check_output(output, alternative="For a resumable job, pass a folder that ends in a slash: -o features/.")
    options = options_from(args, args.backbone)
    table = find_images(args.source, **source_options_from(args))
    resolved = options.resolve()
    summary = extract_to_file(table, resolved, output, cache=cache_from(args), on_error=args.on_error, options=options)
    note_ignored(args, table.ignored)
    print_result(args, summary)
    return None
