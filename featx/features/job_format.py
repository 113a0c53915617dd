"""What the folder of a job holds: the names in it, and what its files say."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from featx.errors import JobError

FORMAT = 1
MANIFEST = "job.json"
#: Beside the manifest and the plan.
FOLDERS = ("shards", "attempts", "set_aside", "running", "again")
#: Of a file of the plan, row groups (one for each shard) and images, unless one shard has more.
SHARDS_PER_FILE, IMAGES_PER_FILE = 1000, 1_000_000
#: Where the schema of a shard's table says what it vouches for.
METADATA = b"featx"


def shards_per_file(shard_size: int) -> int:
    """Return how many shards a file of the plan has."""
    return max(1, min(SHARDS_PER_FILE, IMAGES_PER_FILE // shard_size))


def plan_name(number: int) -> str:
    """Return the name of a file of the plan."""
    return f"plan/{number:06}.parquet"


def matrix_name(shard: int) -> str:
    """Return the name of a shard's rows."""
    return f"shards/{shard:08}.npy"


def table_name(shard: int) -> str:
    """Return the name of a shard's table, which commits it."""
    return f"shards/{shard:08}.parquet"


def again_name(shard: int) -> str:
    """Return the name of a note that a shard is to be done again; until then, what is committed stands."""
    return f"again/{shard:08}.json"


@dataclasses.dataclass(frozen=True)
class JobManifest:
    """What ``job.json`` says.

    Attributes
    ----------
    format : int
    id : str
        Of this plan alone.
    featx : str
        Version that planned it.
    recipe : dict
        As :meth:`featx.Recipe.as_dict`.
    fingerprint : str
    n_features : int
    options : dict
        Parameters of :class:`featx.FeatureExtractor`, without those that concern one machine alone.
    source : list of str
    folder : str
        Where relative paths start.
    labels : {"str", "float", "int", "bool"}
    shard_size, n_images, n_shards : int
    columns : list of (str or None)
        Of a table: those of paths and of labels, as they were asked for.
    listed : str
        Digest of all paths and labels; empty if nobody noted it.
    shards_per_file : int
        Row groups in a file of the plan.
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
    shard_size: int
    n_images: int
    n_shards: int
    columns: list[str | None] = dataclasses.field(default_factory=lambda: [None, None])
    listed: str = ""
    shards_per_file: int = SHARDS_PER_FILE

    def as_bytes(self) -> bytes:
        """Return the file."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode() + b"\n"


def parse_manifest(said: dict[str, Any]) -> JobManifest:
    """Return what a manifest says.

    Raises
    ------
    JobError
        It is that of another format.
    KeyError, TypeError, ValueError, AttributeError
        It is none, or one whose numbers do not fit each other.
    """
    if said["format"] != FORMAT:
        raise JobError(
            f"This job has format {said['format']!r}, planned by featx {said.get('featx')}; this featx reads {FORMAT}. "
            "Run it with that version, or plan it anew in another folder."
        )
    fields = [field.name for field in dataclasses.fields(JobManifest)]
    manifest = JobManifest(**{name: said[name] for name in fields if name in said})
    if manifest.n_shards != -(-manifest.n_images // max(1, manifest.shard_size)):
        raise ValueError(
            f"{manifest.n_images:,} images in shards of {manifest.shard_size:,} are not {manifest.n_shards:,} of them: "
            "was it edited?"
        )
    return manifest


@dataclasses.dataclass(frozen=True)
class PlannedShard:
    """The images of one shard, as they were planned.

    Attributes
    ----------
    paths : list of str
    labels : list of (str, float, int, bool or None)
    states : list of ((int, int) or None)
        Size and time of change, in nanoseconds, where they were known.
    """

    paths: list[str]
    labels: list[Any]
    states: list[tuple[int, int] | None]


@dataclasses.dataclass(frozen=True)
class CommittedShard:
    """What the table of a shard says about it.

    Attributes
    ----------
    shard : int
    rows : int
    checksum : str
    computed, cached, failed, padded, changed : int
    seconds : float
    """

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
        """Images of the shard."""
        return self.rows + self.failed


def totals(done: Iterable[CommittedShard]) -> collections.Counter[str]:
    """Return the sums over shards."""
    sums: collections.Counter[str] = collections.Counter()
    for shard in done:
        sums.update(
            rows=shard.rows,
            computed=shard.computed,
            cached=shard.cached,
            failed=shard.failed,
            padded=shard.padded,
            changed=shard.changed,
        )
    return sums
