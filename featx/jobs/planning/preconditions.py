"""Where what is written may lie: not among the images, and not in the folder of a job."""

from __future__ import annotations

import os
from collections.abc import Sequence

from featx.errors import JobError, OutputError
from featx.features.job_format import MANIFEST
from featx.jobs.storage import Place
from featx.system.files import remote


def refuse_nested(sources: Sequence[str], place: Place) -> None:
    """Refuse a job in the folder that its images are in, or around it; or in another job.

    Raises
    ------
    JobError
    """
    if not place.is_local:
        return
    output = above = os.path.realpath(place.address)
    while (above := os.path.dirname(above)) != os.path.dirname(above):
        if os.path.isfile(os.path.join(above, MANIFEST)) and os.path.isdir(os.path.join(above, "shards")):
            raise JobError(
                f"The output {place.address!r} is within another job, {above!r}. Choose an -o beside it, such as "
                f"{_beside(above)!r}."
            )
    for source in sources:
        path = remote.local_path(source) if remote.is_url(source) else source
        if path is None or not os.path.exists(path):
            continue
        whole = os.path.realpath(path)
        if os.path.isdir(whole) and (output == whole or _is_within(output, whole)):
            where = "is the source" if output == whole else "is within the source"
            raise JobError(
                f"The output {place.address!r} {where} {source!r}, and no job is to lie among images. Choose an -o "
                f"beside it, such as {_beside(whole)!r}."
            )
        if _is_within(whole, output):
            raise JobError(
                f"The source {source!r} is within the output {place.address!r}, which is to hold the job alone. "
                f"Choose an -o beside it, such as {_beside(whole)!r}."
            )


def refuse_in_job(output: str | os.PathLike[str], place: Place) -> None:
    """Refuse a file in the folder of a job.

    Raises
    ------
    OutputError
    """
    if place.is_local and _is_within(os.path.realpath(output), os.path.realpath(place.address)):
        raise OutputError(
            f"The output {os.fspath(output)!r} is within the job {place.address!r}, which holds its shards alone. "
            "Choose an -o beside it, such as -o features.npy."
        )


def _is_within(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _beside(source: str) -> str:
    """Return the name of a folder beside a source that is not there yet, as one would write it from here."""
    root = source if os.path.isdir(source) else os.path.splitext(source)[0]
    name = f"{root.rstrip(os.sep)}-{'2' if root.endswith('job') else 'job'}"
    return os.path.relpath(name) if name.startswith(os.getcwd() + os.sep) else name
