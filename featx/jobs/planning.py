"""Images → the plan of a job: shards, and what they will cost."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx import __version__, files, remote
from featx.digests import DigestIndex
from featx.errors import JobError, OptionError
from featx.extraction import Extraction
from featx.folders import INDEX
from featx.images import state_of as stat_of
from featx.jobs.job import FOLDERS, FORMAT, MANIFEST, SHARDS_PER_FILE, Job, Manifest, arrow, path_columns, plan_name
from featx.jobs.listing import Listing, Part
from featx.jobs.place import Place
from featx.models import portable_options
from featx.options import ExtractionOptions, Resolved, resolve_cache
from featx.view_stores import ViewStores
from featx.wording import counted, in_bytes, in_duration

SHARD_SIZE = 10_000
#: Images that are extracted to estimate how long the job takes.
SAMPLE = 64
_PLANNING = "planning.json"
_ABANDONED_AFTER = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `featx job plan` says; the fields of its ``--json``.

    Attributes
    ----------
    output : str
    images, shards, shard_size, features : int
    bytes : int
        Of the features.
    stored : int or None
        Images whose row is in the store already, as far as its index knows the files; None if there is no store.
    images_per_second : float or None
        On this machine, in a sample; None if none was taken.
    hours : float or None
        For the images that are not in the store, at that rate.
    unreadable : int
        Images of the sample that cannot be read.
    sampled : int
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
            f"{counted(self.images, 'image')} in {counted(self.shards, 'shard')} of up to {self.shard_size:,}; "
            f"{self.features:,} features each, {in_bytes(self.bytes)} in all ({self.backbone}, {self.precision})"
        ]
        if self.stored is not None:
            lines.append(f"{self.stored:,} of them are known to be in the store already")
        if self.images_per_second is not None and self.hours is not None:
            bad = f", {self.unreadable} of them unreadable" if self.unreadable else ""
            lines.append(
                f"{self.images_per_second:.0f} images/s in a sample of {self.sampled}{bad}: "
                f"{in_duration(self.hours * 3600)} for what is left, on this machine alone"
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
) -> Plan:
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
    sample : int, default=64
        So many images are extracted to tell the rate; 0 for none.
    progress : callable, default=None
        Called with the number of images listed since the last call.
    **options
        As of :class:`featx.FeatureExtractor`: ``backbone``, ``layer``, ``pooling`` and the like.

    Returns
    -------
    Plan

    Raises
    ------
    OptionError, SourceError, JobError, MissingDependencyError
        Nothing was planned.

    Examples
    --------
    >>> import tempfile, PIL.Image
    >>> from featx import merge_job, plan_job, run_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number in range(5):
    ...         PIL.Image.new("RGB", (32, 32), (50 * number, 0, 0)).save(f"{folder}/{number}.png")
    ...     plan = plan_job(folder, f"{folder}/job", backbone="color_histogram", shard_size=2, cache=None)
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
) -> Plan:
    """Plan a job of checked options; see :func:`plan_job`."""
    started = time.perf_counter()
    arrow()
    if isinstance(shard_size, bool) or not isinstance(shard_size, int) or shard_size < 1:
        raise OptionError(f"shard_size={shard_size!r}: expected a whole number of images, 1 or more.")
    options = fixed(options)
    resolved = options.resolve()
    listing = Listing(sources, *columns)
    _refuse_other(place)
    with _Writer(place, shard_size) as writer:
        census = _Census(cache, resolved, sample)
        for part in listing.parts(shard_size):
            states = [_state(path) for path in part.paths]
            writer.add(part, states)
            census.add(part.paths, states)
            if progress is not None:
                progress(len(part.paths))
        listed_in = time.perf_counter() - started
        rate, n_sampled, n_bad = census.measure()
        writer.finish(
            Manifest(
                format=FORMAT,
                id=uuid.uuid4().hex,
                featx=__version__,
                recipe=resolved.recipe.as_dict(),
                fingerprint=resolved.recipe.fingerprint,
                n_features=resolved.n_features,
                options=portable_options(dataclasses.replace(options, precision=resolved.recipe.precision)),
                source=list(sources),
                folder=os.getcwd(),
                labels="numbers" if listing.labels_are_numbers else "text",
                shard_size=shard_size,
                n_images=writer.n_images,
                n_shards=writer.n_shards,
            )
        )
    left = writer.n_images - (census.n_stored or 0)
    return Plan(
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


def refuse_unlike(job: Job, sources: Sequence[str], options: ExtractionOptions) -> None:
    """Raise JobError if a job that is there is not the one that is asked for."""
    asked = fixed(options).resolve().recipe.as_dict()
    planned = job.manifest
    unlike = [name for name in {**planned.recipe, **asked} if planned.recipe.get(name) != asked.get(name)]
    if list(sources) != planned.source or (not os.path.isabs(sources[0]) and os.getcwd() != planned.folder):
        unlike.append("source")
    if unlike:
        raise JobError(
            f"In {job.place.address!r} there is another job: its {', '.join(unlike)} is not what was asked for. Go on "
            f"with that one (featx job run {job.place.address}), or choose another -o."
        )


def fixed(options: ExtractionOptions) -> ExtractionOptions:
    """Return options that mean the same from any working folder: whole paths of weights and networks."""
    whole = {}
    weights = os.fspath(options.weights) if options.weights is not None else ""
    if weights and not remote.is_address(weights) and os.path.isfile(weights):
        whole["weights"] = os.path.abspath(weights)
    if os.path.exists(options.backbone) and (os.sep in options.backbone or "." in options.backbone):
        whole["backbone"] = os.path.abspath(options.backbone)
    return dataclasses.replace(options, **whole) if whole else options  # type: ignore[arg-type]


def _state(path: str) -> os.stat_result | None:
    if remote.is_address(path):
        return None
    try:
        return stat_of(path)
    except (OSError, ValueError):
        return None


def _refuse_other(place: Place) -> None:
    """Refuse a folder that holds something else; clear up what a plan that was broken off has left."""
    if place.is_empty():
        return
    there = place.folders()
    if MANIFEST in there:
        raise JobError(
            f"There is a job in {place.address!r} already. featx job run {place.address} goes on with it; for another, "
            "choose another folder."
        )
    ours = {"plan", _PLANNING, *(folder for folder in FOLDERS if not place.listed(folder))}
    if others := sorted(name for name in there - ours if not name.startswith(".featx-")):
        raise JobError(
            f"{place.address!r} holds something else ({others[0]!r}) and no job. Choose a folder that is empty or not "
            "there yet."
        )
    if _PLANNING in there and (reason := _why_in_use(place)):
        raise JobError(f"Somebody is planning a job in {place.address!r} ({reason}). Wait for it, or choose another.")
    place.clear("plan")
    place.remove(_PLANNING)


def _why_in_use(place: Place) -> str:
    try:
        note = json.loads(place.read(_PLANNING))
        where, pid, since = str(note["where"]), int(note["pid"]), float(note["time"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""
    if where == files.where():
        return f"process {pid}" if files.is_running(pid) else ""
    return f"process {pid} on {where.partition('.')[0]}" if time.time() - since < _ABANDONED_AFTER else ""


class _Writer:
    """Writes a plan: a row group for each shard, and last of all the manifest, without which it is none."""

    def __init__(self, place: Place, shard_size: int) -> None:
        pa = arrow()
        self._place, self._shard_size = place, shard_size
        self._schema = pa.schema(
            {
                "path": pa.string(),
                "path_bytes": pa.binary(),
                "label": pa.string(),
                "size": pa.int64(),
                "mtime_ns": pa.int64(),
            }
        )
        self.n_images = self.n_shards = 0
        self._scratch: Any = None
        self._temporary: Path | None = None
        self._file: Any = None

    def __enter__(self) -> _Writer:
        self._place.prepare("", "plan", *FOLDERS)
        note = {"where": files.where(), "pid": os.getpid(), "time": time.time()}
        if not self._place.create(_PLANNING, json.dumps(note).encode()):
            raise JobError(f"Somebody is planning a job in {self._place.address!r}. Choose another folder.")
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._scratch.__exit__(None, None, None)
        if kind is not None:
            self._place.clear("plan")
        self._place.remove(_PLANNING)

    def add(self, part: Part, states: list[os.stat_result | None]) -> None:
        """Write one shard."""
        pa = arrow()
        if self._file is None:
            self._scratch = self._place.scratch("plan")
            self._temporary = self._scratch.__enter__()
            self._file = pa.parquet.ParquetWriter(self._temporary, self._schema, write_statistics=False)
        columns = {
            **path_columns(part.paths),
            "label": pa.array(part.labels, pa.string()),
            "size": pa.array([state and state.st_size for state in states], pa.int64()),
            "mtime_ns": pa.array([state and state.st_mtime_ns for state in states], pa.int64()),
        }
        self._file.write_table(pa.table(columns, self._schema), row_group_size=self._shard_size)
        self.n_images += len(part.paths)
        self.n_shards += 1
        if self.n_shards % SHARDS_PER_FILE == 0:
            self._publish()

    def _publish(self) -> None:
        if self._file is None:
            return
        assert self._temporary is not None
        self._file.close()
        self._file = None
        self._place.create_from(plan_name((self.n_shards - 1) // SHARDS_PER_FILE), self._temporary)
        self._scratch.__exit__(None, None, None)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest."""
        self._publish()
        if not self._place.create(MANIFEST, manifest.as_bytes()):
            raise JobError(f"Somebody has planned a job in {self._place.address!r} meanwhile. Choose another folder.")


class _Census:
    """Counts what is in the store already, and draws the sample that is measured."""

    def __init__(self, cache: Path | None, resolved: Resolved, n_sampled: int) -> None:
        self._cache, self._resolved, self._n_sampled = cache, resolved, n_sampled
        self._drawn: list[str] = []
        self._n_seen = 0
        self._random = random.Random(0)  # noqa: S311  # a sample, no secret
        self.n_stored: int | None = None
        if cache is not None:
            self.n_stored = 0
            self._index = DigestIndex(cache / INDEX)
            self._store = ViewStores(cache, resolved.recipe, resolved.n_features)

    def add(self, paths: list[str], states: list[os.stat_result | None]) -> None:
        """Take in the images of one shard."""
        for path in paths if self._n_sampled else ():
            self._n_seen += 1
            if len(self._drawn) < self._n_sampled:
                self._drawn.append(path)
            elif (at := self._random.randrange(self._n_seen)) < self._n_sampled:
                self._drawn[at] = path
        if self.n_stored is not None:
            known = self._index.find([(path, at) for path, at in zip(paths, states, strict=True) if at is not None])
            there = b"".join(digest for digest in known if digest is not None)
            digests = np.frombuffer(there, dtype=np.uint8).reshape(-1, 16)
            self.n_stored += int(self._store.has(digests).sum()) if len(digests) else 0

    def measure(self) -> tuple[float | None, int, int]:
        """Return images/s of the sample, how many it has, and how many of them cannot be read."""
        if self.n_stored is not None:
            self._index.close()
        if not self._drawn:
            return None, 0, 0
        compiled = None if self._cache is None else self._cache / "compiled"
        engine = self._resolved.start(compiled)
        size = self._resolved.recipe.image_size
        engine(np.zeros((1, *size, 3), dtype=np.uint8))  # a network is slower the first time
        started = time.perf_counter()
        rows = np.empty((len(self._drawn), self._resolved.n_features), dtype=np.float32)
        # Without the store, so that every image counts; the network that was just started is the one that is used.
        extraction = Extraction(self._drawn, self._resolved, rows, cache=None, raise_on_error=False)
        extraction.run()
        return len(self._drawn) / (time.perf_counter() - started), len(self._drawn), len(extraction.failures)
