"""Measure the speed of this machine: ``featx benchmark``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from featx.cli.console import cache_from, options_from, print_data, say
from featx.cli.shared_options import WEIGHTS_HELP, add_backbones, add_cache, add_command, add_common, weights
from featx.errors import OptionError


def add_commands(commands: Any) -> None:
    """Add ``benchmark``."""
    summary = "Measure the extraction speed of this machine, compared with tf.data and model.predict"
    examples = (
        "examples:\n  featx benchmark\n  featx benchmark photos/ --backbone mobilenet --backbone resnet50 --json\n"
    )
    parser = add_command(commands, "benchmark", summary, examples, run=_benchmark)
    parser.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="Folders or files of photos (default: generated photos of 500 × 375 pixels)",
    )
    add_backbones(parser)
    parser.add_argument("--weights", type=weights, default=argparse.SUPPRESS, metavar="FILE", help=WEIGHTS_HELP)
    add_cache(parser)
    add_common(parser)


def _benchmark(args: argparse.Namespace) -> None:
    import tempfile

    from featx.backbones.registry import load_backbone
    from featx.datasets.find import find_images
    from featx.datasets.sample_images import write_sample_images
    from featx.extraction.benchmark import measure_throughput
    from featx.extraction.throughput import save_rates

    names = list(dict.fromkeys(args.backbone or ["mobilenet"]))
    if own := next((name for name in names if load_backbone(name).is_model_file), None):
        raise OptionError(
            f"{own!r} has nothing to be compared with: featx benchmark is for networks of keras.applications."
        )
    options = [options_from(args, backbone) for backbone in names]
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        paths = find_images(args.source).paths if args.source else write_sample_images(Path(folder))
        bench = measure_throughput(paths, options, cache=cache_from(args), progress=lambda text: say(args, text))
    print_data(json.dumps(bench.as_dict()) if args.json else bench.as_text())
    if cache := cache_from(args):
        try:
            save_rates(cache, {result.backbone: result.pipeline for result in bench.results})
        except OSError as error:
            say(args, f"The rates cannot be kept for `featx backbones`: {error}")
