"""A job that is there, held against what is asked for: gone on with if it is the same, else told."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from featx.errors import JobError
from featx.extraction.options import ExtractionOptions
from featx.jobs.job import Job
from featx.jobs.planning.image_listing import Listing
from featx.system.files import remote
from featx.system.formatting import format_count


def refuse_unlike(
    job: Job, sources: Sequence[str], options: ExtractionOptions, columns: tuple[str | None, str | None]
) -> None:
    """Raise JobError if a job that is there is not the one that is asked for."""
    asked = fixed(options).resolve().recipe.as_dict()
    planned = job.manifest
    unlike = [name for name in {**planned.recipe, **asked} if planned.recipe.get(name) != asked.get(name)]
    is_relative = any(not (os.path.isabs(source) or remote.is_url(source)) for source in sources)
    if list(sources) != planned.source or (is_relative and os.getcwd() != planned.folder):
        unlike.append("source")
    names = ("--path-column", "--label-column")
    unlike += [name for name, now, was in zip(names, columns, planned.columns, strict=True) if now != was]
    if unlike:
        raise JobError(
            f"In {job.place.address!r} there is another job: its {', '.join(unlike)} is not what was asked for. Go on "
            f"with that one (featx job run {job.place.address}), or choose another -o."
        )
    _refuse_changed(job, Listing(sources, *columns))


def _refuse_changed(job: Job, listing: Listing) -> None:
    """Raise JobError if other images are listed than were planned."""
    planned, address = job.manifest, job.place.address
    for _ in listing.parts(planned.shard_size):
        pass
    if not planned.listed or listing.digest == planned.listed:
        return
    n_more = listing.n_images - planned.n_images
    what = (
        f"{format_count(abs(n_more), 'image')} {'more' if n_more > 0 else 'fewer'}"
        if n_more
        else "other images or labels"
    )
    raise JobError(
        f"The source of the job in {address!r} has {what} than were planned ({planned.n_images:,}). Plan anew with "
        f"another -o, where rows that are in the store are not computed again; or go on with what was planned: featx "
        f"job run {address}"
    )


def fixed(options: ExtractionOptions) -> ExtractionOptions:
    """Return options that mean the same from any working folder: whole paths of weights and networks."""
    whole = {}
    weights = os.fspath(options.weights) if options.weights is not None else ""
    if weights and not remote.is_url(weights) and os.path.isfile(weights):
        whole["weights"] = os.path.abspath(weights)
    if os.path.exists(options.backbone) and (os.sep in options.backbone or "." in options.backbone):
        whole["backbone"] = os.path.abspath(options.backbone)
    return dataclasses.replace(options, **whole) if whole else options  # type: ignore[arg-type]
