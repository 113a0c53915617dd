"""The arguments of the commands about jobs."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli.shared_options import (
    add_backbone,
    add_cache,
    add_command,
    add_common,
    add_extraction_options,
    add_no_cache,
    add_on_error,
    add_sources,
    add_tables,
)

_EXAMPLES = """examples:
  featx job plan photos/ -o job/
  featx job run job/
  featx job status job/
  featx job merge job/ -o features.npy
"""
_PLAN_EXAMPLES = """examples:
  featx job plan photos/ -o job/
  featx job plan list.csv -o s3://bucket/job --path-column url --backbone resnet50
"""


def add_job_commands(commands: Any) -> None:
    """Add `featx job` and the commands within it."""
    summary = "extract many images in shards: planned, run, resumed after any fault, joined"
    parser = commands.add_parser(
        "job",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command="job", show_help=parser.format_help)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_plan(actions)
    _add_run(actions)
    _add_status(actions)
    _add_merge(actions)


def _add_plan(actions: Any) -> None:
    parser = add_command(actions, "plan", "list images into shards, and tell what they will cost", _PLAN_EXAMPLES)
    parser.set_defaults(command="job plan")
    add_sources(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUTPUT", help="an empty folder, or an address such as s3://bucket/job"
    )
    add_backbone(parser)
    parser.add_argument(
        "--shard-size", type=int, default=10_000, metavar="N", help="images of a shard (default: 10000)"
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=4000,
        metavar="N",
        help="images extracted at most, in some seconds, to tell the rate; 0 for none (default: 4000)",
    )
    add_tables(parser, splits=False)
    add_extraction_options(parser, reads_all=False)
    add_common(parser)


def _add_run(actions: Any) -> None:
    parser = add_command(
        actions, "run", "do what is missing of a job", "example:\n  featx job run job/ --backend loky\n"
    )
    parser.set_defaults(command="job run")
    _add_job(parser)
    parser.add_argument(
        "--backend",
        default="sequential",
        metavar="NAME",
        help="sequential (one process that uses all cores), loky (several), or a cluster of dask or ray "
        "(default: sequential)",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of the cluster: tcp://HOST:8786 of Dask, ray://HOST:10001 of Ray"
    )
    parser.add_argument(
        "--n-jobs", type=int, default=-1, metavar="N", help="processes of loky and ray (default: -1, one for each core)"
    )
    parser.add_argument("--retry-quarantined", action="store_true", help="try shards again that were set aside")
    parser.add_argument("--retry-failed", action="store_true", help="do shards again in which images failed")
    parser.add_argument("--verify", action="store_true", help="read all that is done, and do what is damaged again")
    group = parser.add_argument_group("extraction", argument_default=argparse.SUPPRESS)
    group.add_argument("--engine", metavar="NAME", help="auto, openvino or keras (default: auto)")
    group.add_argument("--batch-size", type=int, metavar="N", help="images at a time; changes no value (default: 32)")
    add_on_error(group)
    add_cache(group)
    add_no_cache(group)
    add_common(parser)


def _add_status(actions: Any) -> None:
    example = "example:\n  featx job status job/ --json\n"
    parser = add_command(
        actions, "status", "tell what is done, failed and left of a job, and how long it takes", example
    )
    parser.set_defaults(command="job status")
    _add_job(parser)
    add_common(parser)


def _add_merge(actions: Any) -> None:
    example = "example:\n  featx job merge job/ -o features.npy\n"
    parser = add_command(actions, "merge", "join the shards of a job as `featx extract` leaves them", example)
    parser.set_defaults(command="job merge")
    _add_job(parser)
    parser.add_argument(
        "-o", "--output", default="features.npy", metavar="FILE", help="the matrix (default: features.npy)"
    )
    parser.add_argument("--allow-incomplete", action="store_true", help="join what is done although shards are missing")
    add_common(parser)


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="OUTPUT", help="the job, as it was planned")
