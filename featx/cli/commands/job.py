"""Extract in shards: ``featx job plan``, ``run``, ``status`` and ``merge``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

from featx.cli.console import (
    add_group,
    fit_lines,
    note_ignored,
    options_from,
    print_data,
    print_message,
    source_options_from,
)
from featx.cli.option_words import in_option_words
from featx.cli.shared_options import (
    MACHINE_OPTIONS,
    add_backbone,
    add_cache,
    add_command,
    add_common,
    add_extraction_options,
    add_machine_options,
    add_no_cache,
    add_on_error,
    add_sources,
    add_tables,
)
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.jobs.job import Job
    from featx.jobs.plan import JobPlan
    from featx.jobs.status import JobStatus


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


def add_commands(commands: Any) -> None:
    """Add ``job`` and its subcommands."""
    summary = "Extract features in resumable shards"
    actions = add_group(commands, "job", summary, _EXAMPLES)
    _add_plan(actions)
    _add_run(actions)
    _add_status(actions)
    _add_merge(actions)


def _add_plan(actions: Any) -> None:
    parser = add_command(actions, "plan", "Assign images to shards and estimate the cost", _PLAN_EXAMPLES, run=plan)
    parser.set_defaults(command="job plan")
    add_sources(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUTPUT", help="Empty folder, or a URL such as s3://bucket/job"
    )
    add_backbone(parser)
    parser.add_argument(
        "--shard-size", type=int, default=10_000, metavar="N", help="Number of images per shard (default: 10000)"
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=4000,
        metavar="N",
        help="Maximum number of images to extract for the cost estimate; 0: no estimate (default: 4000)",
    )
    add_tables(parser, groups=True)
    add_extraction_options(parser, on_error=False)
    add_common(parser)


def _add_run(actions: Any) -> None:
    parser = add_command(
        actions,
        "run",
        "Process the remaining shards of a job",
        "example:\n  featx job run job/ --backend loky\n",
        run=run,
    )
    parser.set_defaults(command="job run")
    _add_job(parser)
    parser.add_argument(
        "--backend",
        default="sequential",
        metavar="NAME",
        help="Where to process shards: sequential (one process on all cores), loky (local processes), dask or ray "
        "(default: sequential)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Address of the cluster: tcp://HOST:8786 (Dask) or ray://HOST:10001 (Ray)",
    )
    parser.add_argument(
        "--n-jobs",
        type=int,
        default=-1,
        metavar="N",
        help="Number of processes of loky and ray; -1: one per core (default: -1)",
    )
    parser.add_argument("--retry-quarantined", action="store_true", help="Process quarantined shards again")
    parser.add_argument("--retry-failed", action="store_true", help="Process shards with unreadable images again")
    parser.add_argument(
        "--verify", action="store_true", help="Verify shards that are done, and process corrupt ones again"
    )
    group = parser.add_argument_group("extraction", argument_default=argparse.SUPPRESS)
    add_machine_options(group)
    add_on_error(group)
    add_cache(group)
    add_no_cache(group)
    add_common(parser)


def _add_status(actions: Any) -> None:
    example = "example:\n  featx job status job/ --json\n"
    parser = add_command(actions, "status", "Show the progress of a job and the remaining time", example, run=status)
    parser.set_defaults(command="job status")
    _add_job(parser)
    add_common(parser)


def _add_merge(actions: Any) -> None:
    example = "example:\n  featx job merge job/ -o features.npy\n"
    parser = add_command(
        actions, "merge", "Merge the shards of a job into one .npy or Parquet file", example, run=merge
    )
    parser.set_defaults(command="job merge")
    _add_job(parser)
    parser.add_argument(
        "-o",
        "--output",
        default="features.npy",
        metavar="FILE",
        help="Output .npy or .parquet file (default: features.npy)",
    )
    parser.add_argument(
        "--allow-incomplete", action="store_true", help="Merge the shards that are done, even if others are missing"
    )
    add_common(parser)


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="Folder or URL of the job")


def plan(args: argparse.Namespace) -> None:
    """Run ``featx job plan``."""
    planned = _planned(args, args.output, shard_size=args.shard_size, sample=args.sample)
    note_ignored(args, planned.ignored)
    _print(args, planned)


def run(args: argparse.Namespace) -> int:
    """Run ``featx job run``."""
    names = ("backend", "n_jobs", "scheduler", "retry_quarantined", "retry_failed", "verify")
    done = _run(args, args.job, **{name: getattr(args, name) for name in names})
    _print(args, done)
    return 0 if done.is_complete else 1


def status(args: argparse.Namespace) -> None:
    """Run ``featx job status``."""
    from featx.jobs.status import job_status

    _print(args, job_status(args.job))


def merge(args: argparse.Namespace) -> None:
    """Run ``featx job merge``."""
    from featx.jobs.merge import merge_job

    merged = merge_job(args.job, args.output, allow_incomplete=args.allow_incomplete)
    _print(args, merged)


def is_job_output(output: str) -> bool:
    """Return whether an output is the folder or URL of a job rather than a file."""
    from featx.system.files import remote

    return output.endswith(("/", os.sep)) or remote.is_url(output)


def extract(args: argparse.Namespace) -> int:
    """Run ``featx extract -o folder/``: plan and run a job, or resume it."""
    from featx.datasets.source_options import SourceOptions
    from featx.features.job_files import MANIFEST
    from featx.jobs.job import open_job_folder
    from featx.jobs.plan import SHARD_SIZE
    from featx.jobs.preconditions import check_same_job

    if open_job_folder(args.output).exists(MANIFEST):
        source_options = SourceOptions.of(**source_options_from(args))
        check_same_job(_opened(args.output), args.source, options_from(args, args.backbone), source_options)
    else:
        planned = _planned(args, args.output, shard_size=SHARD_SIZE, sample=0)
        note_ignored(args, planned.ignored)
        for note in planned.notes:
            print_message(args, note)
    done = _run(args, args.output)
    _print(args, done)
    return 0 if done.is_complete else 1


def _planned(args: argparse.Namespace, output: str, *, shard_size: int, sample: int) -> JobPlan:
    from featx.jobs.plan import plan_job

    if output.lower().startswith("memory://"):
        raise OptionError(
            f"output (-o) must be a folder or a URL such as s3://bucket/job, got {output!r}, which is in the memory of "
            "this process."
        )
    options = options_from(args, args.backbone)
    return plan_job(
        args.source,
        output,
        shard_size=shard_size,
        **source_options_from(args),
        cache=args.cache,
        sample=sample,
        **{field.name: getattr(options, field.name) for field in dataclasses.fields(options)},
    )


def _run(args: argparse.Namespace, output: str, **options: Any) -> JobStatus:
    from featx.jobs.run import run_job
    from featx.jobs.running.heartbeats import count_done_images

    machine_options = {name: getattr(args, name) for name in MACHINE_OPTIONS if hasattr(args, name)}
    job = _opened(output)
    n_done, n_images = count_done_images(job), job.manifest.n_images  # from file names; no table is read
    if n_done:
        print_message(args, f"{n_done:,} of {n_images:,} images are done already.")
    return run_job(output, cache=args.cache, on_error=args.on_error, **options, **machine_options)


def _opened(output: str) -> Job:
    from featx.jobs.job import open_job

    return open_job(output)


def _print(args: argparse.Namespace, result: Any) -> None:
    print_data(json.dumps(vars(result)) if args.json else fit_lines(in_option_words(result.as_text())))
