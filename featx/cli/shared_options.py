"""Arguments that commands share: sources, tables, groups, the options of extraction."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

#: Options that are handed to ExtractionOptions if they are given.
EXTRACTION_OPTIONS = (
    *("weights", "image_size", "layer", "pooling", "resize", "precision", "engine", "batch_size"),
    *("max_pixels", "on_truncated", "preprocessing", "tta"),
)

#: Those of them that a model leaves open.
READING_OPTIONS = ("max_pixels", "on_truncated")

WEIGHTS_HELP = (
    "weights of this network without its head: imagenet, a file, an address that ends in #sha256=DIGEST, or none for "
    "random ones, as a control (default: imagenet)"
)


def add_command(
    commands: Any, name: str, summary: str, examples: str, *, run: Callable[[argparse.Namespace], int | None]
) -> argparse.ArgumentParser:
    """Return the parser of a new command, with its examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name, run=run)
    return parser


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add what is read: images, with labels or without."""
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a folder of class folders, or with train and test folders of these; a flat folder; a zip or tar archive "
        "of such; image files; or a CSV, TSV or Parquet file that lists images",
    )


def add_backbone(parser: argparse.ArgumentParser) -> None:
    """Add the network of a command that takes one."""
    parser.add_argument(
        "--backbone", default="mobilenet", metavar="NAME", help="network, or a file that holds one (default: mobilenet)"
    )


def add_backbones(parser: argparse.ArgumentParser) -> None:
    """Add the networks of a command that takes several."""
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="network (default: mobilenet); may be repeated"
    )


def add_task(parser: argparse.ArgumentParser) -> None:
    """Add what the labels are taken for."""
    parser.add_argument(
        "--task", default="auto", metavar="NAME", help="classification or regression (default: what the labels are)"
    )


def add_groups(group: Any, treated: str) -> None:
    """Add which images are treated together."""
    group.add_argument(
        "--groups",
        default="auto",
        metavar="COLUMN",
        help=f"images of one group are {treated}: auto (duplicates and near-duplicates), none, or a column of the "
        "table (default: auto)",
    )
    group.add_argument(
        "--duplicate-threshold",
        type=float,
        default=0.97,
        metavar="COSINE",
        help="cosine of near-duplicates, beside pairs from 0.90 that stand out; 1: equal ones only (default: 0.97)",
    )


def add_tables(parser: argparse.ArgumentParser, *, splits: bool = True) -> None:
    """Add which columns of a table hold what."""
    group = parser.add_argument_group("tables (a CSV, TSV or Parquet file as SOURCE)")
    group.add_argument("--path-column", metavar="COLUMN", help="paths (default: path, file, filename, image …)")
    group.add_argument("--label-column", metavar="COLUMN", help="labels (default: label, class, category, target …)")
    if splits:
        group.add_argument("--split-column", metavar="COLUMN", help="train, val or test")


def weights(text: str) -> str | None:
    """Return the weights that were asked for; None are random ones."""
    return None if text.lower() == "none" else text


def _tta(text: str) -> str | None:
    return None if text.lower() == "none" else text


def _image_size(text: str) -> int | tuple[int, ...] | str:
    try:
        sides = [int(side) for side in text.lower().replace("×", "x").split("x")]
    except ValueError:
        return text  # which ExtractionOptions refuses, with a remedy
    return sides[0] if len(sides) == 1 else tuple(sides)


def add_extraction_options(parser: argparse.ArgumentParser, *, several: bool = False, reads_all: bool = True) -> None:
    """Add the options of extraction; of several networks, some may be repeated."""
    # SUPPRESS: an option that is not given is not there, and ExtractionOptions has the only default.
    group = parser.add_argument_group("extraction", argument_default=argparse.SUPPRESS)
    group.add_argument("--weights", type=weights, metavar="FILE", help=WEIGHTS_HELP)
    group.add_argument(
        "--image-size",
        type=_image_size,
        metavar="N",
        help="side in pixels, or height and width as in 224x320 (default: the network's own)",
    )
    more, again = ("append", "; may be repeated") if several else ("store", "")
    group.add_argument(
        "--layer",
        action=more,
        metavar="NAME",
        help="layer that is pooled: a name, a share of the depth such as 0.75 (1.0 is all of it), a place such as -2 "
        f"(1 is the first after the input), or several joined as A+B (default: the last){again}",
    )
    pooling = f"avg, max, avgmax (both), or none (every position) (default: avg){again}"
    group.add_argument("--pooling", action=more, metavar="NAME", help=pooling)
    group.add_argument(
        "--preprocessing",
        metavar="NAME",
        help="of a network in a file of yours: tf, torch, caffe, none, or MEAN/SCALE, a number or three each: "
        "(pixel - MEAN) / SCALE of pixels from 0 to 255",
    )
    views = f"views of an image that are averaged: flip, five-crop, rotations, or none (default: none){again}"
    group.add_argument("--tta", action=more, type=_tta, metavar="NAME", help=views)
    group.add_argument("--resize", metavar="NAME", help="squash, crop or pad (default: squash)")
    group.add_argument("--precision", metavar="NAME", help="auto, float32 or bfloat16 (default: auto)")
    group.add_argument("--engine", metavar="NAME", help="auto, openvino or keras (default: auto)")
    group.add_argument("--batch-size", type=int, metavar="N", help="images at a time; changes no value (default: 32)")
    _add_reading(group, "178956970", "raise")
    if reads_all:
        add_on_error(group)
    add_cache(group)
    add_no_cache(group)


def _add_reading(group: Any, most: str, truncated: str) -> None:
    group.add_argument("--max-pixels", type=int, metavar="N", help=f"refuse larger images (default: {most})")
    group.add_argument(
        "--on-truncated",
        metavar="NAME",
        help="a JPEG or PNG that ends too early: raise (cannot be read), or pad (missing parts grey) (default: "
        f"{truncated})",
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add which images a model takes: what changes no row, and may be other than in training."""
    group = parser.add_argument_group("reading", argument_default=argparse.SUPPRESS)
    _add_reading(group, "as in training", "as in training")


def add_on_error(group: Any) -> None:
    """Add what to do about an image that cannot be read."""
    group.add_argument(
        "--on-error",
        choices=("skip", "raise"),
        default="skip",
        help="an unreadable image: leave it out and list it, or stop (default: skip)",
    )


def add_no_cache(group: Any) -> None:
    """Add the choice to keep nothing."""
    group.add_argument(
        "--no-cache", dest="cache", action="store_const", const=None, help="keep nothing: networks are compiled anew"
    )


def add_cache(parser: Any) -> None:
    """Add where rows are kept."""
    parser.add_argument(
        "--cache", default="auto", metavar="DIR", help="keeps every row (default: $FEATX_CACHE, else cache/)"
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output instead of text")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
