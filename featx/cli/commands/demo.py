"""Show the whole workflow on digits: ``featx demo``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.cli.console import cache_folder_from, print_data
from featx.cli.shared_options import add_cache, add_command
from featx.errors import OutputError
from featx.system.files.atomic import atomic_write
from featx.system.progress import progress_bar


def add_commands(commands: Any) -> None:
    """Add ``demo``."""
    summary = "Show the whole workflow on the digits of scikit-learn"
    parser = add_command(commands, "demo", summary, "example:\n  featx demo\n", run=_demo)
    parser.add_argument(
        "--folder",
        default="featx-demo",
        metavar="DIR",
        help="Output folder of images and features (default: featx-demo)",
    )
    add_cache(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _demo(args: argparse.Namespace) -> None:
    run_demo(Path(args.folder), cache_folder_from(args), show_progress=not args.quiet, say=print_data)


#: The 8 × 8 scans are enlarged to this side, in pixels, so that a person can look at them.
_SIDE = 64


def run_demo(folder: Path, cache: Path, *, show_progress: bool, say: Callable[[str], object]) -> None:
    """Do the main job on digits, step by step, and say what happens.

    Parameters
    ----------
    folder : Path
        Gets the images and the features.
    cache : Path
    show_progress : bool
        Show a progress bar on standard error.
    say : callable
        Receives the text, for standard output.

    Raises
    ------
    OutputError
        The folder cannot be written.
    StoreError
        The cache cannot be written.
    """
    from featx.datasets.find import find_images
    from featx.extraction.options import ExtractionOptions
    from featx.extraction.to_file import extract_to_file
    from featx.workflows.compare import compare_tables

    say("1. Images: scikit-learn's handwritten digits, as PNG files in class folders.")
    n_written = write_digits(folder / "digits")
    table = find_images([folder / "digits"])
    say(f"   {len(table)} files in {folder / 'digits'} ({n_written} written now)")
    say("2. Features: a MobileNet trained on ImageNet, frozen, turns each image into 1,024 numbers.")
    options = ExtractionOptions("mobilenet")
    with progress_bar(len(table), "mobilenet", shown=show_progress) as progress:
        summary = extract_to_file(table, options.resolve(), folder / "features.npy", cache=cache, progress=progress)
    say("   " + summary.as_text().replace("\n", "\n   "))
    say(f"   Every row is kept in {cache}{os.sep} and never computed again.")
    say("3. Baselines: scikit-learn estimators, cross-validated on the features.")
    say("\n" + compare_tables(table, [options], cache=cache).as_text() + "\n")
    say("Now your own photos, a folder with one folder for each class:")
    say("   featx compare photos/")
    say("   featx extract photos/ -o features.npy")


def write_digits(folder: Path) -> int:
    """Write the 1,797 digits as PNG files in class folders; return how many were not there yet.

    Parameters
    ----------
    folder : Path
        Gets the folders ``0`` to ``9``. A file that is there is left alone.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    n_written = 0
    try:
        for number, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            path = folder / str(label) / f"{number:04}.png"
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.round(scan * (255 / 16)).astype(np.uint8)  # values run from 0 to 16
            enlarged = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            with atomic_write(path, durable=False) as temporary:
                enlarged.save(temporary, format="PNG")
            n_written += 1
    except OSError as error:
        raise OutputError(
            f"The demonstration cannot write its images to {str(folder)!r}: {error.strerror or error}. "
            "Choose another folder: featx demo --folder FOLDER."
        ) from error
    return n_written
