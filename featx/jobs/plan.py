"""Plan a job: list images into shards, and estimate their cost. A third of `plan_job` is its list of parameters."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Unpack

from featx.datasets.find import list_source
from featx.datasets.image_listing import ListedImage
from featx.datasets.image_table import ImagesLike
from featx.datasets.source_options import SourceOptions
from featx.extraction.options import ExtractionOptions, resolve_cache
from featx.extraction.recorded import ExtractionParameters, options_of_call, portable_options, with_absolute_paths
from featx.features.job_files import FORMAT, JobManifest, shards_per_file
from featx.features.job_tables import make_plan_table
from featx.images.image import find_file_state
from featx.jobs.cost_estimate import MAX_SAMPLE, CostEstimate, Speed
from featx.jobs.job import open_job_folder
from featx.jobs.plan_writer import ShardListing, commit_plan, new_plan, write_plan
from featx.jobs.preconditions import check_free, check_not_nested
from featx.system.files.parquet import import_pyarrow
from featx.system.files.url_secrets import check_no_secrets
from featx.system.formatting import format_bytes, format_count, format_duration
from featx.system.notebook.html import TextResult
from featx.system.option_checks import check_integer
from featx.system.terminal.progress import ProgressFunction, reporting, stage
from featx.system.terminal.tables import wrap_text
from featx.system.version import __version__

SHARD_SIZE = 10_000
_MAX_SHARD_SIZE = 1_000_000


@dataclasses.dataclass(frozen=True)
class JobPlan(TextResult):
    """Result of :func:`featx.plan_job`; its fields are those of ``featx job plan --json``.

    Attributes
    ----------
    output : str
        Path or URL of the job.
    images, shards, shard_size, features : int
        Number of images, of shards, of images of a shard, and of features of a row.
    bytes : int
        Size of all features.
    cached : int or None
        Number of images whose row is in the cache; None without a cache. A file is recognized by its path, size and
        modification time, so a file that was moved or copied is not counted.
    images_per_second, hours : float or None
        Speed of one process on this machine, measured on a sample, and duration for all images that are not cached at
        that speed; None if it was not measured.
    unreadable, sampled : int
        Number of unreadable images of the sample, and of all images of the sample.
    backbone, precision, fingerprint : str
        Backbone, precision and fingerprint of the recipe.
    seconds : float
        Duration of planning.
    ignored : dict of str to int
        Number of ignored files, by kind.
    notes : list of str
        Remarks on how the source was interpreted.

    See Also
    --------
    plan_job : Plan a job.

    Examples
    --------
    >>> import os, tempfile, PIL.Image
    >>> from featx import plan_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("RGB", (32, 32)).save(f"{folder}/0.png")
    ...     plan = plan_job(f"{folder}/0.png", f"{folder}/job", backbone="color_histogram", sample=0, cache=None)
    >>> plan.images, plan.shards, plan.features
    (1, 1, 512)
    """

    output: str
    images: int
    shards: int
    shard_size: int
    features: int
    bytes: int
    cached: int | None
    images_per_second: float | None
    hours: float | None
    unreadable: int
    sampled: int
    backbone: str
    precision: str
    fingerprint: str
    seconds: float
    ignored: dict[str, int]
    notes: list[str] = dataclasses.field(default_factory=list)

    def as_text(self) -> str:
        """Return a human-readable summary."""
        lines = [
            f"{format_count(self.images, 'image')} in {format_count(self.shards, 'shard')} of up to "
            f"{self.shard_size:,}; {self.features:,} features each, {format_bytes(self.bytes)} in all "
            f"({self.backbone}, {self.precision})"
        ]
        if self.cached is not None:
            lines.append(f"At least {self.cached:,} rows are cached (moved and copied files are recognized later)")
        if self.images_per_second is not None and self.hours is not None:
            unreadable = f", {self.unreadable:,} of them unreadable" if self.unreadable else ""
            left = format_count(self.images - (self.cached or 0), "image")
            speed = f"{self.images_per_second:.{0 if self.images_per_second >= 10 else 1}f} images/s"
            lines.append(
                f"{format_duration(self.hours * 3600)} for {'the other ' if self.cached else ''}{left}, at {speed} of "
                f"one process on this machine (a sample of {self.sampled:,}{unreadable})"
            )
        return "\n".join([*lines, *map(wrap_text, self.notes), f"Next: featx job run {shlex.quote(self.output)}"])


def plan_job(
    source: ImagesLike | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    shard_size: int = SHARD_SIZE,
    path_column: str | None = None,
    path_template: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    root: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    zip_encoding: str | None = None,
    class_level: int | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    sample: int = MAX_SAMPLE,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
    **options: Unpack[ExtractionParameters],
) -> JobPlan:
    """Plan a job: list images into shards, in a folder or in object storage.

    Parameters
    ----------
    source : str, Path or list of these, or ImageTable, FeatureMatrix or DataFrame of paths
        Folder, archive, CSV, TSV or Parquet file, or URL that fsspec understands; or several folders and files. A table
        in memory has the labels, splits and groups of its images.
    output : str or Path
        Folder that is empty or does not exist, or a URL such as ``s3://bucket/job``.
    shard_size : int, default=10_000
        Number of images of a shard. A worker computes one shard at a time, and without a cache an interrupted shard
        starts again.
    path_column, path_template : str or None, default=None
        Column of paths of a table, or paths made of columns, see :func:`featx.find_images`.
    label_column : str, sequence of str or None, default=None
        Column of labels; several columns of 0 and 1 are tags.
    label_separator : str or None, default=None
        Separator of tags in the label column, such as ";".
    split_column, group_column : str or None, default=None
        Columns of splits and groups, which the job keeps for each image: :func:`featx.compare_features` uses them.
    root : str, Path or None, default=None
        Where relative paths of a table start.
    encoding, zip_encoding : str or None, default=None
        Encoding of a table or text file, such as "cp1251", and of undeclared names in a zip archive.
    class_level : int or None, default=None
        Depth of the class folders.
    cache : str, Path or None, default="auto"
        Folder of the feature cache; see :class:`featx.FeatureExtractor`. The plan counts the rows that it has.
    sample : int, default=4000
        Maximum number of images to extract in some seconds, to measure the speed; 0 for none. If all rows are cached,
        none is extracted.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.
    **options
        Parameters of :class:`featx.FeatureExtractor`: ``backbone``, ``layer``, ``pooling`` and the like.

    Returns
    -------
    JobPlan
        Number of images and shards, and the estimated cost.

    Raises
    ------
    OptionError, SourceError, JobError, MissingDependencyError
        The job cannot be planned. Nothing is left behind.

    See Also
    --------
    run_job : Process the remaining shards of a job.

    Examples
    --------
    >>> import tempfile, PIL.Image
    >>> from featx import merge_job, plan_job, run_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("RGB", (32, 32)).save(f"{folder}/0.png")
    ...     plan = plan_job(f"{folder}/0.png", f"{folder}/job", backbone="color_histogram", cache=None)
    ...     run = run_job(f"{folder}/job", cache=None)
    ...     merged = merge_job(f"{folder}/job", f"{folder}/features.npy")
    >>> plan.shards, run.shards_done, merged.rows
    (1, 1, 1)
    """
    started = time.perf_counter()
    import_pyarrow()
    extraction, folder = options_of_call("plan_job", options), open_job_folder(output)
    _check_options(extraction, shard_size, sample)
    extraction = with_absolute_paths(extraction)
    resolved = extraction.resolve()
    source_options = SourceOptions.of(
        path_column=path_column,
        label_column=label_column,
        label_separator=label_separator,
        split_column=split_column,
        group_column=group_column,
        path_template=path_template,
        root=root,
        encoding=encoding,
        class_level=class_level,
        zip_encoding=zip_encoding,
    )
    sources, images = list_source(source, source_options)
    listing = ShardListing(images, has_split_column=split_column is not None)
    check_not_nested(sources, folder)
    check_free(folder)
    with reporting(verbose, progress), stage("plan", None) as advance, new_plan(folder) as job_id:
        estimate = CostEstimate(resolve_cache(cache), resolved, sample)
        write_plan(folder, job_id, shard_size, _plan_tables(listing.shards(shard_size), estimate, advance))
        seconds = time.perf_counter() - started
        speed = estimate.measure()
        manifest = JobManifest(
            format=FORMAT,
            id=job_id,
            featx=__version__,
            recipe=resolved.recipe.as_dict(),
            fingerprint=resolved.recipe.fingerprint,
            n_features=resolved.n_features,
            options=portable_options(dataclasses.replace(extraction, precision=resolved.recipe.precision)),
            source=sources,
            folder=os.getcwd(),
            labels=images.label_type,
            splits=listing.splits,
            has_groups=listing.has_groups,
            shard_size=shard_size,
            n_images=listing.n_images,
            n_shards=-(-listing.n_images // shard_size),
            source_options=source_options.as_dict(),
            listed=listing.digest,
            shards_per_file=shards_per_file(shard_size),
        )
        commit_plan(folder, manifest)
    rest = {"seconds": round(seconds, 3), "ignored": dict(images.remarks.ignored.most_common())}
    return _summarize(folder.location, manifest, estimate, speed, **rest, notes=images.notes())


def _plan_tables(
    shards: Iterable[list[ListedImage]], estimate: CostEstimate, advance: Callable[[int], object]
) -> Iterator[Any]:
    """Yield the table of each shard, and add its files to the estimate."""
    for shard in shards:
        paths = [image.path for image in shard]
        states = [find_file_state(path) for path in paths]
        estimate.add(paths, states)
        yield make_plan_table(shard, states)
        advance(len(shard))


def _summarize(location: str, manifest: JobManifest, estimate: CostEstimate, speed: Speed, **rest: Any) -> JobPlan:
    rate, n_left = speed.images_per_second, manifest.n_images - (estimate.n_cached or 0)
    return JobPlan(
        output=location,
        images=manifest.n_images,
        shards=manifest.n_shards,
        shard_size=manifest.shard_size,
        features=manifest.n_features,
        bytes=manifest.n_images * manifest.n_features * 4,
        cached=estimate.n_cached,
        images_per_second=rate and round(rate, 1),
        hours=rate and round(n_left / rate / 3600, 4),
        unreadable=speed.n_unreadable,
        sampled=speed.n_images,
        backbone=str(manifest.recipe["backbone"]),
        precision=str(manifest.recipe["precision"]),
        fingerprint=manifest.fingerprint,
        **rest,
    )


def _check_options(options: ExtractionOptions, shard_size: int, sample: int) -> None:
    check_integer("shard_size", shard_size, 1, _MAX_SHARD_SIZE, remedy=f"The default is {SHARD_SIZE:,}.")
    check_integer("sample", sample, 0, remedy="Pass 0 to skip the measurement.")
    for path in (options.backbone, options.weights or ""):
        check_no_secrets(os.fspath(path))
