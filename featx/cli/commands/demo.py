"""Show the whole workflow on digits: ``featx demo``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.cli.console import cache_folder_from, print_data
from featx.cli.shared_options import add_cache, add_command, add_quiet


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
    add_quiet(parser)


def _demo(args: argparse.Namespace) -> None:
    run_demo(Path(args.folder), cache_folder_from(args), print_step=print_data)


def run_demo(folder: Path, cache: Path, *, print_step: Callable[[str], object]) -> None:
    """Extract and compare the digits of scikit-learn step by step, and describe each step.

    Parameters
    ----------
    folder : Path
        Output folder of images and features.
    cache : Path
    print_step : callable
        Called with each text.

    Raises
    ------
    OutputError
        The folder is not writable.
    StoreError
        The cache is not writable.
    """
    from featx.datasets.find import find_images
    from featx.datasets.sample_images import write_digits
    from featx.extraction.options import ExtractionOptions
    from featx.extraction.writing.table_to_file import extract_to_file
    from featx.workflows.compare import compare_images

    print_step("1. Images: scikit-learn's handwritten digits, as PNG files in class folders.")
    n_written = write_digits(folder / "digits")
    table = find_images([folder / "digits"])
    print_step(f"   {len(table):,} files in {folder / 'digits'} ({n_written:,} written now)")
    print_step("2. Features: a frozen MobileNet, trained on ImageNet, turns each image into 1,024 features.")
    options = ExtractionOptions("mobilenet")
    summary = extract_to_file(table, options.resolve(), folder / "features.npy", cache=cache)
    print_step("   " + summary.as_text().replace("\n", "\n   "))
    print_step(f"   Every row is cached in {cache}{os.sep} and never computed again.")
    print_step("3. Baselines: scikit-learn estimators, cross-validated on the features.")
    print_step("\n" + compare_images(table, backbones=[options], diagnostics=False, cache=cache).as_text() + "\n")
    print_step("Now use your own photos, a folder with one subfolder per class:")
    print_step("   featx compare photos/")
    print_step("   featx extract photos/ -o features.npy")
