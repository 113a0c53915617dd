"""Measure the speed of this machine: ``featx benchmark``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli.console import cache_from, print_result
from featx.cli.shared_options import WEIGHTS_HELP, add_cache, add_command, add_common, add_device, weights


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
    parser.add_argument(
        "--backbone",
        action="append",
        metavar="NAME",
        help="Network of keras.applications; repeatable (default: mobilenet)",
    )
    parser.add_argument("--weights", type=weights, default=argparse.SUPPRESS, metavar="FILE", help=WEIGHTS_HELP)
    add_device(parser.add_argument_group("extraction", argument_default=argparse.SUPPRESS))
    add_cache(parser)
    add_common(parser)


def _benchmark(args: argparse.Namespace) -> None:
    from featx.extraction.benchmarking.benchmark import benchmark_images

    result = benchmark_images(
        args.source or None,
        backbones=args.backbone or ("mobilenet",),
        **{name: getattr(args, name) for name in ("weights", "device") if hasattr(args, name)},
        cache=cache_from(args),
    )
    print_result(args, result)
