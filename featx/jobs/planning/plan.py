"""Images → the plan of a job: shards, and what they will cost."""

from __future__ import annotations

import dataclasses
import os
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions, Resolved, portable_options, resolve_cache
from featx.features.job_columns import import_pyarrow
from featx.features.job_format import FORMAT, JobManifest
from featx.images.image import file_state as stat_of
from featx.jobs.planning.cost_estimate import SAMPLE, Census
from featx.jobs.planning.image_listing import Listing
from featx.jobs.planning.plan_writer import PlanWriter, refuse_other
from featx.jobs.planning.preconditions import refuse_nested
from featx.jobs.planning.repeated import fixed
from featx.jobs.storage import Place
from featx.system.files import remote
from featx.system.files.url_secrets import check_no_secrets
from featx.system.formatting import format_bytes, format_count, format_duration
from featx.system.version import __version__

SHARD_SIZE = 10_000
_LARGEST_SHARD = 1_000_000


@dataclasses.dataclass(frozen=True)
class JobPlan:
    """What `featx job plan` says; the fields of its ``--json``.

    Attributes
    ----------
    output : str
    images, shards, shard_size, features : int
    bytes : int
        Of the features.
    stored : int or None
        Images whose row is in the store already, at least: files are known by path, size and time of change, and that
        one was moved or copied is known when it is read. None if there is no store.
    images_per_second : float or None
        Of one process on this machine, in a sample; None if none was taken, or none of it was done in time.
    hours : float or None
        For all but those `stored`, at that rate.
    unreadable : int
        Images of the sample that cannot be read.
    sampled : int
        Images of it that were extracted, and kept nowhere.
    backbone, precision, fingerprint : str
    seconds : float
        That planning took.
    ignored : dict of str to int
    """

    output: str
    images: int
    shards: int
    shard_size: int
    features: int
    bytes: int
    stored: int | None
    images_per_second: float | None
    hours: float | None
    unreadable: int
    sampled: int
    backbone: str
    precision: str
    fingerprint: str
    seconds: float
    ignored: dict[str, int]

    def as_text(self) -> str:
        """Return the plan for people."""
        lines = [
            f"{format_count(self.images, 'image')} in {format_count(self.shards, 'shard')} of up to "
            f"{self.shard_size:,}; "
            f"{self.features:,} features each, {format_bytes(self.bytes)} in all ({self.backbone}, {self.precision})"
        ]
        if self.stored is not None:
            n_stored = f"At least {self.stored:,} of them are" if self.stored else "None of them is known to be"
            lines.append(f"{n_stored} in the store already (moved and copied files are known when they are read)")
        if self.images_per_second is not None and self.hours is not None:
            bad = f", {self.unreadable:,} of them unreadable" if self.unreadable else ""
            left = format_count(self.images - (self.stored or 0), "image")
            rate = f"{self.images_per_second:.{0 if self.images_per_second >= 10 else 1}f} images/s"
            lines.append(
                f"{format_duration(self.hours * 3600)} for {'the other ' if self.stored else ''}{left}, at "
                f"{rate} of one "
                f"process on this machine (a sample of {self.sampled:,}{bad})"
            )
        lines.append(f"Next: featx job run {self.output}")
        return "\n".join(lines)


def plan_job(
    source: Any,
    output: str | os.PathLike[str],
    *,
    shard_size: int = SHARD_SIZE,
    path_column: str | None = None,
    label_column: str | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    sample: int = SAMPLE,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> JobPlan:
    """Plan a job: list images into shards, in a folder or an object store.

    Parameters
    ----------
    source : str, Path or list of these
        A folder, archive, CSV, TSV or Parquet file, an address that fsspec understands, or several folders and files.
    output : str or Path
        A folder that is empty or not there yet; or an address such as ``s3://bucket/job``.
    shard_size : int, default=10_000
        Images of a shard. A shard is what a kill loses at most, and what one worker computes at a time.
    path_column, label_column : str or None, default=None
        Of a table; None is the usual names.
    cache : str, Path or None, default="auto"
        As of :class:`featx.FeatureExtractor`; asked how many rows it has already.
    sample : int, default=4000
        So many images at most are extracted to tell the rate, as many as take some seconds; 0 for none.
    progress : callable, default=None
        Called with the number of images listed since the last call.
    **options
        As of :class:`featx.FeatureExtractor`: ``backbone``, ``layer``, ``pooling`` and the like.

    Returns
    -------
    JobPlan

    Raises
    ------
    OptionError, SourceError, JobError, MissingDependencyError
        Nothing was planned.

    Examples
    --------
    >>> import os, tempfile, PIL.Image
    >>> from featx import merge_job, plan_job, run_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/photos")
    ...     for number in range(5):
    ...         PIL.Image.new("RGB", (32, 32), (50 * number, 0, 0)).save(f"{folder}/photos/{number}.png")
    ...     plan = plan_job(f"{folder}/photos", f"{folder}/job", backbone="color_histogram", shard_size=2, cache=None)
    ...     run = run_job(f"{folder}/job", cache=None)
    ...     merged = merge_job(f"{folder}/job", f"{folder}/features.npy")
    >>> plan.shards, run.done, merged.rows
    (3, 3, 5)
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    return plan_sources(
        [os.fspath(one) for one in sources],
        ExtractionOptions(**options),
        Place(output),
        shard_size=shard_size,
        columns=(path_column, label_column),
        cache=resolve_cache(cache),
        sample=sample,
        progress=progress,
    )


def plan_sources(
    sources: Sequence[str],
    options: ExtractionOptions,
    place: Place,
    *,
    shard_size: int,
    columns: tuple[str | None, str | None],
    cache: Path | None,
    sample: int,
    progress: Callable[[int], object] | None = None,
) -> JobPlan:
    """Plan a job of checked options; see :func:`plan_job`."""
    started = time.perf_counter()
    import_pyarrow()
    _check(options, shard_size, sample)
    options = fixed(options)
    resolved = options.resolve()
    listing = Listing(sources, *columns)
    refuse_nested(sources, place)
    refuse_other(place)
    with PlanWriter(place, shard_size) as writer:
        census = Census(cache, resolved, sample)
        _list(listing, writer, census, shard_size, progress)
        listed_in = time.perf_counter() - started
        rate, n_sampled, n_bad = census.measure()
        writer.finish(
            _manifest(
                sources, options, resolved, listing=listing, columns=columns, shard_size=shard_size, writer=writer
            )
        )
    left = writer.n_images - (census.n_stored or 0)
    return JobPlan(
        output=str(place.address),
        images=writer.n_images,
        shards=writer.n_shards,
        shard_size=shard_size,
        features=resolved.n_features,
        bytes=writer.n_images * resolved.n_features * 4,
        stored=census.n_stored,
        images_per_second=rate and round(rate, 1),
        hours=rate and round(left / rate / 3600, 4),
        unreadable=n_bad,
        sampled=n_sampled,
        backbone=resolved.recipe.backbone,
        precision=resolved.recipe.precision,
        fingerprint=resolved.recipe.fingerprint,
        seconds=round(listed_in, 3),
        ignored=dict(listing.ignored.most_common()),
    )


def _list(
    listing: Listing, writer: PlanWriter, census: Census, shard_size: int, progress: Callable[[int], object] | None
) -> None:
    """List the images, a shard at a time, into the plan."""
    for part in listing.parts(shard_size):
        states = [_state(path) for path in part.paths]
        writer.add(part, states)
        census.add(part.paths, states)
        if progress is not None:
            progress(len(part.paths))


def _check(options: ExtractionOptions, shard_size: int, sample: int) -> None:
    """Raise if a job cannot be planned so."""
    if isinstance(shard_size, bool) or not isinstance(shard_size, int) or not 1 <= shard_size <= _LARGEST_SHARD:
        raise OptionError(
            f"shard_size={shard_size!r}: expected a whole number of images, 1 to {_LARGEST_SHARD:,}, as the list of "
            "one shard is in memory."
        )
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 0:
        raise OptionError(f"sample={sample!r}: expected a whole number of images; 0 for none.")
    for one in (options.backbone, options.weights or ""):
        check_no_secrets(os.fspath(one))


def _manifest(
    sources: Sequence[str],
    options: ExtractionOptions,
    resolved: Resolved,
    *,
    listing: Listing,
    columns: tuple[str | None, str | None],
    shard_size: int,
    writer: PlanWriter,
) -> JobManifest:
    return JobManifest(
        format=FORMAT,
        id=uuid.uuid4().hex,
        featx=__version__,
        recipe=resolved.recipe.as_dict(),
        fingerprint=resolved.recipe.fingerprint,
        n_features=resolved.n_features,
        options=portable_options(dataclasses.replace(options, precision=resolved.recipe.precision)),
        source=list(sources),
        folder=os.getcwd(),
        labels=listing.label_type,
        shard_size=shard_size,
        n_images=writer.n_images,
        n_shards=writer.n_shards,
        columns=list(columns),
        listed=listing.digest,
        shards_per_file=writer.shards_per_file,
    )


def _state(path: str) -> os.stat_result | None:
    if remote.is_url(path):
        return None
    try:
        return stat_of(path)
    except (OSError, ValueError):
        return None
