"""Options that several commands have, and the conversion of their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Those that concern one machine only.
MACHINE_OPTIONS = ("engine", "device", "batch_size")
#: Options that are passed to ExtractionOptions if they are given.
EXTRACTION_OPTIONS = (
    *("weights", "image_size", "layer", "pooling", "resize", "precision", *MACHINE_OPTIONS),
    *("max_pixels", "on_truncated", "preprocessing", "tta", "bit_depth", "window", "bands"),
)

#: Extraction options that commands with a trained model have.
READING_OPTIONS = ("max_pixels", "on_truncated", "precision", "device", "batch_size")

#: Default limit of pixels, that of :mod:`featx.images.decode`, which imports numpy.
MAX_PIXELS = 178_956_970

WEIGHTS_HELP = (
    "Weights of the backbone without its head: imagenet, a file, a URL followed by #sha256=DIGEST, or none for random "
    "weights (default: imagenet)"
)


def add_command(
    commands: Any, name: str, summary: str, examples: str, *, run: Callable[[argparse.Namespace], int | None]
) -> argparse.ArgumentParser:
    """Add a command and return its parser; `run` is called with the parsed arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name, run=run)
    return parser


def add_sources(parser: argparse.ArgumentParser, *, features: bool = False) -> None:
    """Add the images to read, labeled or not; with `features` also extracted ones."""
    stored = "; or features: the folder of a job, or a .npy or .parquet file" if features else ""
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="Folder with one subfolder per class (optionally below train, val and test), flat folder, zip or tar "
        f"archive, image files, or a table that lists images (CSV, TSV, JSON Lines, Parquet, Excel){stored}",
    )


def add_backbone(parser: argparse.ArgumentParser) -> None:
    """Add the option of a command that takes one backbone."""
    parser.add_argument(
        "--backbone", default="mobilenet", metavar="NAME", help="Backbone or model file (default: mobilenet)"
    )


def add_backbones(parser: argparse.ArgumentParser) -> None:
    """Add the option of a command that takes several backbones."""
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="Backbone or model file; repeatable (default: mobilenet)"
    )


def add_task(parser: argparse.ArgumentParser) -> None:
    """Add the type of the target."""
    parser.add_argument(
        "--task",
        default="auto",
        metavar="NAME",
        help="classification, regression, multilabel or auto (inferred from the labels) (default: auto)",
    )


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """Add the texts of zero-shot classification."""
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="Texts for zero-shot: a template such as 'a photo of a {}.' on each line, or a CSV file with the columns "
        "label and prompt; several texts of a class are averaged (default: a photo of a {}.)",
    )


def add_group_column(group: Any) -> None:
    """Add the column of groups of images."""
    group.add_argument(
        "--group-column",
        metavar="COLUMN",
        help="Table column of groups that are never split, such as patients; duplicates are kept together, too",
    )


def add_groups(group: Any) -> None:
    """Add the options for groups of images that are never split."""
    add_group_column(group)
    group.add_argument(
        "--no-duplicate-groups", action="store_true", help="Do not keep duplicates and near-duplicates together"
    )
    add_duplicate_threshold(group)


def add_duplicate_threshold(group: Any) -> None:
    """Add the option for the similarity from which images are near-duplicates."""
    group.add_argument(
        "--duplicate-threshold",
        type=float,
        default=0.97,
        metavar="COSINE",
        help="Cosine similarity of near-duplicates; isolated pairs count from 0.90 (default: 0.97; 1: identical only)",
    )


def add_tables(
    parser: argparse.ArgumentParser, *, splits: bool = True, groups: bool = False, tags: bool = True
) -> None:
    """Add how tables of images, folders and archives are read; with `tags`, images may have several labels."""
    group = parser.add_argument_group("tables (a CSV, TSV, JSON Lines, Parquet or Excel file as SOURCE)")
    if tags:
        group.add_argument(
            "--label-column",
            action="append",
            metavar="COLUMN",
            help="Column of labels; repeated: columns of 0 and 1, one for each tag (default: label, class, target …)",
        )
        group.add_argument(
            "--label-separator",
            metavar="TEXT",
            help="Separator of several labels (tags) in the label column, such as ;",
        )
    else:
        group.add_argument(
            "--label-column", metavar="COLUMN", help="Column of labels (default: label, class, category, target …)"
        )
    if splits:
        group.add_argument("--split-column", metavar="COLUMN", help="Column with train, val or test")
    if groups:
        add_group_column(group)
    add_paths(group)
    folders = parser.add_argument_group("folders and archives")
    folders.add_argument(
        "--class-level",
        type=int,
        metavar="N",
        help="Depth of the class folders: 1 for SOURCE/CLASS/1.jpg (default: inferred from the names of folders)",
    )
    add_zip_encoding(folders)


def add_paths(group: Any) -> None:
    """Add where the paths of a table are, and where they start."""
    group.add_argument(
        "--path-column", metavar="COLUMN", help="Column of paths (default: path, file, filename, image …)"
    )
    group.add_argument(
        "--path-template", metavar="TEXT", help="Paths made of columns in braces, such as 'train/{id}.jpg'"
    )
    group.add_argument(
        "--root", metavar="DIR", help="Where relative paths start (default: at the table, else the working directory)"
    )
    group.add_argument(
        "--encoding",
        metavar="NAME",
        help="Encoding of a table that is text, such as cp1251 (default: UTF-8 or UTF-16, else Latin-1)",
    )


def add_zip_encoding(group: Any) -> None:
    """Add the encoding of names in zip archives."""
    group.add_argument(
        "--zip-encoding",
        metavar="NAME",
        help="Encoding of undeclared names in a zip archive, such as cp932 (default: UTF-8, else that of the system)",
    )


def add_image_sources(parser: argparse.ArgumentParser) -> None:
    """Add how sources of images without labels are read."""
    add_paths(parser)
    add_zip_encoding(parser)


def weights(text: str) -> str | None:
    """Convert the value of ``--weights``; None selects random weights."""
    return None if text.lower() == "none" else text


def _tta(text: str) -> str | None:
    return None if text.lower() == "none" else text


def _image_size(text: str) -> int | tuple[int, ...] | str:
    try:
        sides = [int(side) for side in text.lower().replace("×", "x").split("x")]
    except ValueError:
        return text  # ExtractionOptions rejects it and names the remedy
    return sides[0] if len(sides) == 1 else tuple(sides)


def add_extraction_options(parser: argparse.ArgumentParser, *, repeatable: bool = False, on_error: bool = True) -> None:
    """Add the options of extraction.

    Parameters
    ----------
    parser : ArgumentParser
    repeatable : bool, default=False
        Whether layer, pooling and test-time augmentation may be given several times.
    on_error : bool, default=True
        Whether to add ``--on-error``.
    """
    # SUPPRESS: an option that is not given is absent, so that only ExtractionOptions defines defaults.
    group = parser.add_argument_group("extraction", argument_default=argparse.SUPPRESS)
    group.add_argument("--weights", type=weights, metavar="FILE", help=WEIGHTS_HELP)
    group.add_argument(
        "--image-size",
        type=_image_size,
        metavar="N",
        help="Side in pixels, or HEIGHTxWIDTH such as 224x320 (default: that of the backbone)",
    )
    action, again = ("append", "; repeatable") if repeatable else ("store", "")
    group.add_argument(
        "--layer",
        action=action,
        metavar="NAME",
        help="Layer to pool: a name, a relative depth such as 0.75, an index such as -2, or several layers joined as "
        f"A+B{again} (default: the last convolutional layer)",
    )
    group.add_argument(
        "--pooling",
        action=action,
        metavar="NAME",
        help=f"native, avg, max, avgmax, cls or none{again} (default: native)",
    )
    group.add_argument(
        "--preprocessing",
        metavar="NAME",
        help="Pixel scaling of a custom model file: tf, torch, caffe, none, or MEAN/SCALE for (pixel - MEAN) / SCALE",
    )
    group.add_argument(
        "--tta",
        action=action,
        type=_tta,
        metavar="NAME",
        help=f"Test-time augmentation: flip, five-crop, rotations or none{again} (default: none)",
    )
    _add_pixel_options(group)
    group.add_argument("--precision", metavar="NAME", help="auto, float32, float16, bfloat16 or int8 (default: auto)")
    add_machine_options(group)
    _add_reading_options(group, str(MAX_PIXELS), "raise")
    if on_error:
        add_on_error(group)
    add_cache(group)
    add_no_cache(group)


def add_machine_options(group: Any) -> None:
    """Add the options that concern one machine only."""
    group.add_argument("--engine", metavar="NAME", help="auto, openvino, keras or onnxruntime (default: auto)")
    add_device(group)
    add_batch_size(group)


def add_batch_size(group: Any) -> None:
    """Add the number of images that the network processes at a time."""
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="Images per batch (default: 32; on a GPU more, such as 128 of 224 x 224 pixels)",
    )


def add_device(group: Any) -> None:
    """Add the device that runs the network."""
    group.add_argument(
        "--device",
        metavar="NAME",
        help="cpu, cuda, cuda:1, tensorrt, mps, directml, or auto: an NVIDIA GPU if there is one (default: auto)",
    )


def _add_pixel_options(group: Any) -> None:
    group.add_argument(
        "--resize", metavar="NAME", help="native, squash, crop or pad; 'crop 0.95 bicubic' as in timm (default: native)"
    )
    group.add_argument(
        "--bit-depth", type=int, metavar="N", help="Bits of pixels that are stored in 16 bits (default: 16)"
    )
    group.add_argument(
        "--window",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="Values of pixels with more than 8 bits that become black and white (default: 0 65535)",
    )
    group.add_argument(
        "--bands",
        type=_bands,
        metavar="R,G,B",
        help="Bands of TIFF files that are red, green and blue (default: their colors)",
    )


def _bands(text: str) -> tuple[int, ...] | str:
    """Convert the value of ``--bands``. Another text is refused where the options are checked."""
    parts = text.split(",")
    return tuple(map(int, parts)) if all(part.strip().isdecimal() for part in parts) else text


def _add_reading_options(group: Any, max_pixels: str, on_truncated: str) -> None:
    group.add_argument(
        "--max-pixels", type=int, metavar="N", help=f"Maximum number of pixels of an image (default: {max_pixels})"
    )
    group.add_argument(
        "--on-truncated",
        metavar="NAME",
        help=f"How to handle a truncated JPEG or PNG: raise, or pad missing pixels (default: {on_truncated})",
    )


def add_reading_options(parser: argparse.ArgumentParser, *, batch_size: bool = False) -> None:
    """Add the extraction options of a command that uses a trained model."""
    group = parser.add_argument_group("extraction", argument_default=argparse.SUPPRESS)
    _add_reading_options(group, "as in training", "as in training")
    group.add_argument(
        "--precision",
        metavar="NAME",
        help="float32, which every CPU supports, float16, bfloat16 or int8; changes the result slightly (default: as "
        "in training)",
    )
    add_device(group)
    if batch_size:
        add_batch_size(group)


def add_on_error(group: Any) -> None:
    """Add the option for unreadable images."""
    group.add_argument(
        "--on-error",
        choices=("skip", "raise"),
        default="skip",
        help="How to handle unreadable images: skip or raise (default: skip)",
    )


def add_n_jobs(parser: Any) -> None:
    """Add the number of folds to compute in parallel."""
    parser.add_argument(
        "--n-jobs",
        type=int,
        default=-1,
        metavar="N",
        help="Number of folds to compute in parallel; -1: all cores (default: -1)",
    )


def add_no_cache(group: Any) -> None:
    """Add the option to run without a cache."""
    group.add_argument("--no-cache", dest="cache", action="store_const", const=None, help="Do not use a cache")


def add_cache(parser: Any) -> None:
    """Add the folder of the feature cache."""
    parser.add_argument(
        "--cache", default="auto", metavar="DIR", help="Feature cache (default: $FEATX_CACHE, else cache/)"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the option to hide progress."""
    parser.add_argument("--quiet", action="store_true", help="Do not show progress on standard error")


def add_common(parser: argparse.ArgumentParser, *, json_help: str = "Print one JSON object instead of text") -> None:
    """Add the options of every command that prints a result."""
    parser.add_argument("--json", action="store_true", help=json_help)
    add_quiet(parser)
