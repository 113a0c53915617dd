"""Check of where a job and its outputs may be, and of whether an existing job is the requested one."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.datasets.image_listing import ImageListing
from featx.datasets.source_options import SourceOptions
from featx.errors import JobError, OptionError, OutputError
from featx.extraction.options import ExtractionOptions
from featx.extraction.recorded import with_absolute_paths
from featx.features.job_files import FOLDERS, MANIFEST
from featx.jobs.job import Job, job_exists_error
from featx.jobs.plan_writer import ShardListing
from featx.system.files import atomic, remote
from featx.system.files.folder import Folder
from featx.system.files.output_paths import check_parent
from featx.system.formatting import format_count

#: Names of other outputs of featx, and of files in general.
_FILE_ENDINGS = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".json", ".html", ".skops", ".zip", ".tar", ".gz", ".tgz")
#: ``s3:bucket/job`` or ``s3:/bucket/job``, given as a path.
_BROKEN_URL = re.compile(r"^(s3|gs|gcs|az|abfs|https?|file|memory):/?(.*)$", re.IGNORECASE)


def check_free(folder: Folder) -> None:
    """Raise OptionError if a folder cannot be that of a job, JobError if it has more than an interrupted plan left."""
    if folder.location.lower().endswith(_FILE_ENDINGS):
        raise OptionError(
            f"output (-o) must be a folder, got the file name {folder.location!r}. Pass output='job/' (-o job/); "
            "for one matrix, run featx extract SOURCE -o features.npy, or featx job merge when the job is complete."
        )
    if folder.is_local and os.path.isfile(folder.location):
        raise OptionError(f"output (-o) must be a folder, got the file {folder.location!r}. Choose another name.")
    if folder.is_local and (match := _BROKEN_URL.search(os.path.relpath(folder.location))):
        raise OptionError(
            f"output (-o) must be a folder or a URL, got {match[0]!r}. Pass {match[1]}://{match[2]}, with two slashes, "
            "or a folder without a colon."
        )
    if folder.is_local:
        check_parent(folder.location, "another folder")
    entries = folder.entries()
    if MANIFEST in entries:
        try:
            Job(folder)
        except JobError as error:
            raise JobError(f"There is already a job in {folder.location!r}: {error} Choose another folder.") from error
        raise job_exists_error(folder)
    left = {"plan", *FOLDERS} - ({"shards"} if "shards" in entries and folder.names("shards") else set())
    if others := sorted(name for name in entries - left if not name.startswith(atomic.TEMPORARY_PREFIX)):
        raise JobError(
            f"{folder.location!r} is not empty ({others[0]!r}) and has no job. Choose a folder that is empty or does "
            "not exist."
        )


def check_not_nested(sources: Sequence[str], folder: Folder) -> None:
    """Raise JobError if a job is in the folder of its images, contains it, or is in another job."""
    if not folder.is_local:
        return
    output = os.path.realpath(folder.location)
    if outer := _job_around(output):
        raise _nested_error(f"The output {folder.location!r} is in another job, {outer!r}.", outer)
    for source in sources:
        path = remote.local_path(source) if remote.is_url(source) else source
        if path is None or not os.path.exists(path):
            continue
        path = os.path.realpath(path)
        if os.path.isdir(path) and (output == path or _is_within(output, path)):
            relation = "is" if output == path else "is within"
            raise _nested_error(f"The output {folder.location!r} {relation} the source {source!r}.", path)
        if _is_within(path, output):
            raise _nested_error(f"The source {source!r} is within the output {folder.location!r}.", path)


def _nested_error(problem: str, path: str) -> JobError:
    """Return an error that names a new folder next to `path`, relative to the working folder if it is below."""
    root = path if os.path.isdir(path) else os.path.splitext(path)[0]
    name = f"{root.rstrip(os.sep)}-{'2' if root.endswith('job') else 'job'}"
    name = os.path.relpath(name) if name.startswith(os.getcwd() + os.sep) else name
    return JobError(f"{problem} Choose another output folder, such as {name!r}.")


def _job_around(path: str) -> str | None:
    """Return the innermost folder above a path that holds a job."""
    jobs = (parent for parent in Path(path).parents if (parent / MANIFEST).is_file() and (parent / "shards").is_dir())
    return next(map(str, jobs), None)


def check_outside_job(output: str | os.PathLike[str], folder: Folder) -> None:
    """Raise OutputError if a file would be in the folder of a job."""
    if folder.is_local and _is_within(os.path.realpath(output), os.path.realpath(folder.location)):
        raise OutputError(
            f"The output {os.fspath(output)!r} is within the job {folder.location!r}. Write it elsewhere."
        )


def _is_within(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def check_same_job(job: Job, sources: Sequence[str], options: ExtractionOptions, source_options: SourceOptions) -> None:
    """Raise JobError if an existing job has another recipe, source or list of images than requested."""
    planned, location = job.manifest, job.folder.location
    is_relative = any(not (os.path.isabs(source) or remote.is_url(source)) for source in sources)
    before: dict[str, Any] = {**planned.recipe, "source": planned.source, **_as_flags(planned.source_options)}
    now = {**with_absolute_paths(options).resolve().recipe.as_dict(), "source": list(sources)}
    now |= _as_flags(source_options.as_dict())
    different = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if different or (is_relative and os.getcwd() != planned.folder):
        raise JobError(
            f"The job in {location!r} differs from the requested one in: {', '.join(different or ['source'])}. Resume "
            f"it (featx job run {shlex.quote(location)}), or choose another output folder."
        )
    listing = ShardListing(
        ImageListing(sources, source_options), has_split_column=source_options.split_column is not None
    )
    for _ in listing.shards(planned.shard_size):
        pass
    if listing.digest != planned.listed:
        n_more = listing.n_images - planned.n_images
        number = f"{format_count(abs(n_more), 'image')} {'more' if n_more > 0 else 'fewer'}"
        raise JobError(
            f"The source of the job in {location!r} has {number if n_more else 'other images or labels'} than were "
            f"planned ({planned.n_images:,}). Plan it again in another output folder, where cached rows are not "
            f"computed again; or resume what was planned: featx job run {shlex.quote(location)}"
        )


def _as_flags(options: dict[str, Any]) -> dict[str, Any]:
    return {f"--{name.replace('_', '-')}": value for name, value in options.items()}
