"""The arguments of the commands that search features on disk."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli.shared_options import add_command, add_common, add_extraction_options

_SIMILAR_EXAMPLES = """examples:
  featx similar features.npy photo.jpg
  featx similar job/ new/ --top 5 --html similar.html
  featx similar features.npy new/ -o similar.csv --backbone resnet50
  find /photos -name '*.jpg' | featx similar job/ - --json
"""
_DUPLICATES_EXAMPLES = """examples:
  featx duplicates features.npy
  featx duplicates job/ --csv duplicates.csv --duplicate-threshold 0.99
"""
_OUTPUT_HELP = "features.npy as featx extract writes it, or the folder or address of a job"


def add_search_commands(commands: Any) -> None:
    """Add ``similar`` and ``duplicates``."""
    _add_similar(commands)
    _add_duplicates(commands)


def _add_similar(commands: Any) -> None:
    summary = "find the images most similar to others, by the cosine of their features"
    parser = add_command(commands, "similar", summary, _SIMILAR_EXAMPLES)
    parser.add_argument("features", metavar="OUTPUT", help=_OUTPUT_HELP)
    parser.add_argument(
        "source",
        nargs="+",
        metavar="IMAGES",
        help="image files, folders, archives, addresses, or tables; - for paths on standard input, a line each",
    )
    parser.add_argument("--top", type=int, default=10, metavar="K", help="images to find for each (default: 10)")
    parser.add_argument(
        "--include-self",
        action="store_true",
        help="list an image that is itself among the features; without, it takes no place (copies of it are listed)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write CSV to a file instead of a table")
    parser.add_argument("--html", metavar="FILE", help="also write a page with thumbnails, one HTML file")
    parser.add_argument(
        "--index",
        default="exact",
        metavar="NAME",
        help="exact: compare every row, a block at a time; faiss: all rows in an index, for many queries; "
        "faiss-approximate: a smaller one that looks at a part of them (default: exact)",
    )
    parser.add_argument("--path-column", metavar="COLUMN", help="paths, in a table (default: path, file, image …)")
    parser.add_argument(
        "--backbone",
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="network of features.npy, where the cache does not know its rows (default: mobilenet)",
    )
    add_extraction_options(parser)
    add_common(parser)


def _add_duplicates(commands: Any) -> None:
    summary = "tell which rows of features are near-duplicates of each other"
    parser = add_command(commands, "duplicates", summary, _DUPLICATES_EXAMPLES)
    parser.add_argument("features", metavar="OUTPUT", help=_OUTPUT_HELP)
    parser.add_argument("--csv", metavar="FILE", help="also write them as CSV: group, row, path, label, cosine, digest")
    parser.add_argument(
        "--duplicate-threshold",
        type=float,
        default=0.97,
        metavar="COSINE",
        help="cosine of near-duplicates, beside pairs from 0.90 that stand out; 1: equal ones only (default: 0.97)",
    )
    add_common(parser)
