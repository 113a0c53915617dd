"""The files of a job: their names, ``job.json``, the columns of its tables, and the footer that commits a shard.

All code that reads or writes such a file uses this module::

    job.json                      manifest: the plan is complete once it exists
    plan/000000-ID.parquet        paths, labels, splits, groups and file states; one row group for each shard
    shards/00000000-CHECKSUM.npy  rows of a shard, whose bytes have this checksum
    shards/00000000.parquet       table of its images; its footer commits the rows
    heartbeats/, clients/         who works at the job now
    quarantine/, suspects/        shards that are skipped, and shards that run last
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from featx.errors import FeatxError, JobError
from featx.system.files.parquet import import_pyarrow
from featx.system.formatting import first_line

#: Number of the file format; raised when files of an earlier version can no longer be read.
FORMAT = 4
MANIFEST = "job.json"
#: Folders of a job, besides ``plan``.
FOLDERS = ("shards", "heartbeats", "clients", "quarantine", "suspects")
#: Folders of marks: shards that are skipped, and shards that run last, in this run and the next.
Mark = Literal["quarantine", "suspects"]
#: Maximum number of row groups (one for each shard) and of images in a file of the plan; one shard may exceed it.
SHARDS_PER_FILE, IMAGES_PER_FILE = 1000, 1_000_000
#: Key in the schema metadata of a shard's table.
METADATA = b"featx"
#: Footers of such tables are smaller than this.
_FOOTER_BYTES = 2**16


def shards_per_file(shard_size: int) -> int:
    """Return the number of shards in a file of the plan."""
    return max(1, min(SHARDS_PER_FILE, IMAGES_PER_FILE // shard_size))


def plan_name(number: int, job_id: str) -> str:
    """Return the name of a file of the plan: clients that plan a job in one folder do not disturb each other."""
    return f"plan/{number:06}-{job_id}.parquet"


def matrix_name(shard: int, checksum: str) -> str:
    """Return the name of a shard's rows: whoever writes other rows gives them another name."""
    return f"shards/{shard:08}-{checksum}.npy"


def table_name(shard: int) -> str:
    """Return the name of a shard's table, which commits its rows."""
    return f"shards/{shard:08}.parquet"


def mark_name(kind: Mark, shard: int) -> str:
    """Return the name of the mark of a shard."""
    return f"{kind}/{shard:08}.json"


def checksum_of(path: Path) -> str:
    """Return the checksum of a shard's rows: the BLAKE2b of the file, 16 bytes in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def shards_with_table(names: Iterable[str]) -> list[int]:
    """Return the shards that have a table, given the file names in ``shards/``."""
    return sorted(int(name[:-8]) for name in names if name.endswith(".parquet") and name[:-8].isdigit())


@dataclasses.dataclass(frozen=True)
class JobManifest:
    """Contents of ``job.json``.

    Attributes
    ----------
    format : int
        Number of the file format.
    id : str
        Random identifier of the plan.
    featx : str
        Version of featx that planned the job.
    recipe : dict
        Recipe, as :meth:`featx.Recipe.as_dict`.
    fingerprint : str
        Fingerprint of the recipe.
    n_features : int
        Number of features of a row.
    options : dict
        Parameters of :class:`featx.FeatureExtractor`, without those that concern a single machine.
    source : list of str
        Paths and URLs that were planned.
    folder : str
        Working folder when planning: relative paths start there.
    labels : {"str", "float", "float_comma", "int", "bool", "tags"}
        Type of the labels.
    splits : dict of str to str
        Split ("train" or "test") by the name that it has in the plan. Empty: there are no splits.
    has_groups : bool
        Whether images have groups.
    shard_size, n_images, n_shards : int
        Number of images of a full shard, of images in total, and of shards.
    source_options : dict
        Options of :func:`featx.find_images` with which the source was listed, as given by the caller.
    listed : str
        Digest of all paths, labels, splits and groups.
    shards_per_file : int
        Number of row groups in a file of the plan.
    """

    format: int
    id: str
    featx: str
    recipe: dict[str, Any]
    fingerprint: str
    n_features: int
    options: dict[str, Any]
    source: list[str]
    folder: str
    labels: str
    splits: dict[str, str]
    has_groups: bool
    shard_size: int
    n_images: int
    n_shards: int
    source_options: dict[str, Any]
    listed: str
    shards_per_file: int

    @property
    def part_columns(self) -> tuple[str, ...]:
        """Columns of the tables of shards besides path, label and digest."""
        return (*(["split"] if self.splits else []), *(["group"] if self.has_groups else []))

    def as_bytes(self) -> bytes:
        """Return the contents of the file."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode() + b"\n"


def parse_manifest(data: bytes, location: str) -> JobManifest:
    """Return the manifest in the bytes of ``job.json``.

    Parameters
    ----------
    data : bytes
        Contents of the file.
    location : str
        Path or URL of the job, for messages.

    Raises
    ------
    JobError
        The job has another format.
    ValueError
        The file is corrupt; the message is the reason.
    """
    try:
        fields = json.loads(data)
        if (number := fields["format"]) != FORMAT:
            plan = "Upgrade featx, or plan it" if isinstance(number, int) and number > FORMAT else "Plan it"
            raise JobError(
                f"Cannot read the job {location!r}: it has format {number!r} (planned by featx {fields.get('featx')}), "
                f"and this version reads format {FORMAT}. {plan} again under a new name: "
                "featx job plan SOURCE -o NEW-JOB."
            )
        manifest = JobManifest(**{field.name: fields[field.name] for field in dataclasses.fields(JobManifest)})
        _check_types(manifest)
        n_shards = -(-manifest.n_images // max(1, manifest.shard_size))
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    if manifest.n_shards != n_shards:
        raise ValueError(
            f"{manifest.n_images:,} images in shards of {manifest.shard_size:,} need {n_shards:,} shards, got "
            f"{manifest.n_shards:,}"
        )
    return manifest


def _check_types(manifest: JobManifest) -> None:
    numbers = (manifest.n_features, manifest.shard_size, manifest.n_images, manifest.n_shards, manifest.shards_per_file)
    if not isinstance(manifest.fingerprint, str) or not all(type(number) is int for number in numbers):
        raise TypeError("a field has the wrong type")


@dataclasses.dataclass(frozen=True)
class PlannedShard:
    """The images of one shard, as they were planned.

    Attributes
    ----------
    paths : list of str
        Path or URL of each image.
    labels : list of (str, float, int, bool, Tags or None)
        Label of each image.
    states : list of ((int, int) or None)
        Size and modification time in nanoseconds of each file, where they are known.
    splits, groups : list of (str or None), or None
        Split and group of each image. None: the job has none.
    """

    paths: list[str]
    labels: list[Any]
    states: list[tuple[int, int] | None]
    splits: list[str | None] | None = None
    groups: list[str | None] | None = None


@dataclasses.dataclass(frozen=True)
class CommittedShard:
    """The footer of a shard's table.

    Attributes
    ----------
    job, fingerprint : str
        Identifier of the plan, and fingerprint of the recipe.
    shard : int
        Index of the shard.
    rows : int
        Number of images with a row.
    checksum : str
        BLAKE2b of the ``.npy`` file.
    computed, cached, failed, padded, changed : int
        Number of images that the network computed, that have the row of the cache or of an equal image, that cannot
        be read, that are truncated, and whose file changed since planning.
    seconds : float
        Time that the worker took.
    """

    job: str
    fingerprint: str
    shard: int
    rows: int
    checksum: str
    computed: int
    cached: int
    failed: int
    padded: int
    changed: int
    seconds: float

    @property
    def n_images(self) -> int:
        """Number of images of the shard."""
        return self.rows + self.failed

    def as_metadata(self) -> dict[bytes, str]:
        """Return the schema metadata of the table."""
        return {METADATA: json.dumps({"format": FORMAT, **dataclasses.asdict(self)})}


class _ReadsTails(Protocol):
    def read_tail(self, name: str, n_bytes: int) -> bytes: ...


def read_committed(folder: _ReadsTails, shard: int, job: str, fingerprint: str) -> CommittedShard:
    """Return the footer of a shard's table.

    Parameters
    ----------
    folder : Folder or FeatureFolder
        Folder of the job.
    shard : int
        Index of the shard.
    job, fingerprint : str
        Expected identifier of the plan and fingerprint of the recipe.

    Raises
    ------
    FileNotFoundError
        The shard is not committed.
    ValueError
        The table is corrupt, or belongs to another job; the message is the reason.
    """
    pa = import_pyarrow()
    try:
        footer = pa.parquet.read_metadata(io.BytesIO(folder.read_tail(table_name(shard), _FOOTER_BYTES)))
        fields = json.loads((footer.metadata or {})[METADATA])
        names = [field.name for field in dataclasses.fields(CommittedShard)]
        committed = CommittedShard(**{name: fields[name] for name in names})
        n_images = committed.n_images
    except (FileNotFoundError, FeatxError):
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its table is corrupt ({first_line(error)})") from error
    if (committed.job, committed.shard) != (job, int(shard)):
        raise ValueError("its table belongs to another job or shard")
    if committed.fingerprint != fingerprint:
        raise ValueError(f"its table has the recipe {committed.fingerprint!r}, expected {fingerprint!r}")
    if footer.num_rows != n_images or committed.rows < 0 or committed.failed < 0:
        raise ValueError(f"its table has {footer.num_rows:,} lines, expected {n_images:,}")
    return committed


def sum_counts(shards: Iterable[CommittedShard]) -> dict[str, int]:
    """Return the sums of the counts of shards."""
    names = ("rows", "failed", "computed", "cached", "padded", "changed")
    sums = collections.Counter[str]()
    for shard in shards:
        sums.update({name: getattr(shard, name) for name in names})
    return {name: sums[name] for name in names}
