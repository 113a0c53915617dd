"""The commands about jobs: parse → call → print, as the others."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from featx.cli.console import cache_from, note_ignored, options_from, print_data, say
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.jobs.job import Job
    from featx.jobs.planning.plan import JobPlan
    from featx.jobs.running.summary import JobRun


def show_help(args: argparse.Namespace) -> None:
    """Tell which commands there are."""
    print_data(args.show_help().rstrip())


def plan(args: argparse.Namespace) -> None:
    """List images into shards."""
    planned = _planned(args, args.output, shard_size=args.shard_size, sample=args.sample)
    note_ignored(args, planned.ignored)
    _print(args, planned)


def run(args: argparse.Namespace) -> int:
    """Do what is missing."""
    asked = ("backend", "n_jobs", "scheduler", "retry_quarantined", "retry_failed", "verify")
    done = _run(args, args.job, **{name: getattr(args, name) for name in asked})
    _print(args, done)
    return 0 if done.done == done.shards else 1


def status(args: argparse.Namespace) -> None:
    """Tell how far a job is."""
    from featx.jobs.status import job_status

    _print(args, job_status(args.job))


def merge(args: argparse.Namespace) -> None:
    """Join the shards."""
    from featx.jobs.merge import merge_job
    from featx.system.progress import progress_bar

    with progress_bar(_opened(args.job).manifest.n_images, "merge", shown=not args.quiet) as progress:
        merged = merge_job(args.job, args.output, allow_incomplete=args.allow_incomplete, progress=progress)
    _print(args, merged)


def is_job_output(output: str) -> bool:
    """Return whether an output is a place for a job rather than a file."""
    from featx.system.files import remote

    return output.endswith(("/", os.sep)) or remote.is_url(output)


def extract(args: argparse.Namespace) -> int:
    """Plan and run in one go; go on with the same job if it is there."""
    from featx.features.job_format import MANIFEST
    from featx.jobs.planning.plan import SHARD_SIZE
    from featx.jobs.planning.repeated import refuse_unlike
    from featx.jobs.storage import Place

    if Place(args.output).has(MANIFEST):
        columns = (args.path_column, args.label_column)
        refuse_unlike(_opened(args.output), args.source, options_from(args, args.backbone), columns)
    else:
        planned = _planned(args, args.output, shard_size=SHARD_SIZE, sample=0)
        note_ignored(args, planned.ignored)
    done = _run(args, args.output)
    _print(args, done)
    return 0 if done.done == done.shards else 1


def _planned(args: argparse.Namespace, output: str, *, shard_size: int, sample: int) -> JobPlan:
    from featx.jobs.planning.plan import plan_sources
    from featx.jobs.storage import Place
    from featx.system.progress import progress_bar

    if output.lower().startswith("memory://"):
        raise OptionError(f"-o {output}: what is in memory ends with this command. Pass a folder, or an s3:// address.")
    with progress_bar(None, "plan", shown=not args.quiet) as progress:
        return plan_sources(
            args.source,
            options_from(args, args.backbone),
            Place(output),
            shard_size=shard_size,
            columns=(args.path_column, args.label_column),
            cache=cache_from(args),
            sample=sample,
            progress=progress,
        )


def _run(args: argparse.Namespace, output: str, **how: Any) -> JobRun:
    from featx.jobs.running.monitor import images_done
    from featx.jobs.running.run import run_job
    from featx.system.progress import progress_bar

    here = {name: getattr(args, name) for name in ("engine", "batch_size") if hasattr(args, name)}
    job = _opened(output)
    n_done, n_images = images_done(job), job.manifest.n_images  # by names alone: no table is read for it
    if n_done:
        say(args, f"{n_done:,} of {n_images:,} images are done already.")
    with progress_bar(n_images - n_done, str(job.manifest.recipe["backbone"]), shown=not args.quiet) as progress:
        return run_job(output, cache=args.cache, on_error=args.on_error, progress=progress, **how, **here)


def _opened(output: str) -> Job:
    from featx.jobs.job import Job
    from featx.jobs.storage import Place

    return Job(Place(output))


def _print(args: argparse.Namespace, said: Any) -> None:
    print_data(json.dumps(vars(said)) if args.json else said.as_text())
