"""A job in its folder: the manifest, the plan, and what became of each shard."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import io
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from featx import remote
from featx.errors import FeatxError, JobError, MissingDependencyError
from featx.jobs.place import Place
from featx.matrices import HEADER_BYTES

FORMAT = 1
MANIFEST = "job.json"
#: Beside the manifest and the plan.
FOLDERS = ("shards", "attempts", "set_aside", "running")
#: Row groups, one for each shard, in a file of the plan.
SHARDS_PER_FILE = 1000
_READ_AT_ONCE = 16
#: Where the schema of a shard's table says what it vouches for.
METADATA = b"featx"
_COLUMNS = ("path", "label", "digest", "status", "reason")
#: More than the footer of such a table takes.
_FOOTER_BYTES = 2**16


def arrow() -> Any:
    """Return pyarrow, with its Parquet.

    Raises
    ------
    MissingDependencyError
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"Jobs keep their tables as Parquet, which pyarrow writes: it is not installed ({error}). Install it: "
            "pip install 'featx[jobs]'."
        ) from error
    assert pyarrow.parquet
    return pa


@dataclasses.dataclass(frozen=True)
class Manifest:
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
    labels : {"text", "numbers", "whole numbers", "truths"}
    shard_size, n_images, n_shards : int
    columns : list of (str or None)
        Of a table: those of paths and of labels, as they were asked for.
    listed : str
        Digest of all paths and labels; empty if nobody noted it.
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

    def as_bytes(self) -> bytes:
        """Return the file."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode() + b"\n"


@dataclasses.dataclass(frozen=True)
class Planned:
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
class Committed:
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


class Job:
    """A planned job.

    Parameters
    ----------
    place : Place

    Raises
    ------
    JobError
        There is no job, or one that this featx does not understand.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        if place.is_local and os.path.isfile(place.address):
            raise JobError(
                f"{place.address!r} is a file, and a job is a folder. Pass the folder that it was planned in."
            )
        try:
            said = json.loads(place.read(MANIFEST))
            self.manifest = _manifest(said)
        except FileNotFoundError as error:
            raise JobError(
                f"There is no job in {place.address!r}. Plan one: featx job plan SOURCE -o {place.address}"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, JobError):
                raise
            raise JobError(
                f"{place.path(MANIFEST)!r} is no description of a job ({error}). Plan the job anew in another folder."
            ) from error

    def n_images(self, shard: int) -> int:
        """Return how many images a shard has."""
        whole = self.manifest
        return min(whole.shard_size, whole.n_images - shard * whole.shard_size)

    def planned(self, shard: int) -> Planned:
        """Return the images of a shard.

        Raises
        ------
        JobError
            The plan is damaged.
        """
        number, group = divmod(shard, SHARDS_PER_FILE)
        name = plan_name(number)
        try:
            footer = _footer(self.place, name, self.manifest.id)
            table = self.place.read_within(
                name, lambda file: arrow().parquet.ParquetFile(file, metadata=footer).read_row_group(group)
            )
            columns = table.to_pydict()
        except (ValueError, OSError, IndexError) as error:
            if isinstance(error, FeatxError):
                raise
            raise JobError(
                f"The plan {self.place.path(name)!r} cannot be read: {str(error).splitlines()[0]}. Plan the job anew "
                "in another folder: rows that are in the store are not computed again."
            ) from error
        labels = texts_of("label", columns)
        if (kind := self.manifest.labels) != "text":
            from featx.label_kinds import as_kind

            labels = [None if label is None else as_kind(label, kind) for label in labels]
        states = [
            None if size is None else (size, changed)
            for size, changed in zip(columns["size"], columns["mtime_ns"], strict=True)
        ]
        return Planned(texts_of("path", columns), labels, states)

    def located(self, paths: Sequence[str]) -> list[str]:
        """Return paths as seen from the working folder, wherever they were planned."""
        folder = self.manifest.folder
        if folder == os.getcwd():
            return list(paths)
        return [path if remote.is_address(path) else os.path.join(folder, path) for path in paths]

    def committed(self) -> tuple[dict[int, Committed], dict[int, str]]:
        """Return the shards that are done, and why others that have a table are not: these are damaged."""
        found = self.place.listed("shards")
        numbers = sorted(int(name[:-8]) for name in found if name.endswith(".parquet") and name[:-8].isdigit())
        done: dict[int, Committed] = {}
        damaged: dict[int, str] = {}
        with concurrent.futures.ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="featx-job") as pool:
            for number, seen in zip(numbers, pool.map(self._read_committed, numbers), strict=True):
                size = found.get(os.path.basename(matrix_name(number)))
                is_well = isinstance(seen, Committed) and not self._why_not(seen, size)
                read = seen if is_well else self.committed_now(number)  # a listing while others commit is no snapshot
                if isinstance(read, Committed):
                    done[number] = read
                elif read:
                    damaged[number] = read
        return done, damaged

    def committed_now(self, shard: int) -> Committed | str:
        """Return what is committed of a shard, or why it is damaged; nothing if it has no table."""
        read = self._read_committed(shard)
        if isinstance(read, str):
            return read
        reason = self._why_not(read, self.place.size_of(matrix_name(shard)))
        if not reason:
            return read
        return reason if self.place.has(table_name(shard)) else ""

    def _read_committed(self, shard: int) -> Committed | str:
        try:
            return self.read_committed(shard)
        except FileNotFoundError:
            return ""
        except JobError as error:
            return str(error)

    def read_committed(self, shard: int) -> Committed:
        """Return what the table of a shard says; FileNotFoundError if there is none, JobError if it is damaged."""
        pa = arrow()
        try:
            end = io.BytesIO(self.place.end_of(table_name(shard), _FOOTER_BYTES))
            said = json.loads(pa.parquet.read_schema(end).metadata[METADATA])
            if said["fingerprint"] != self.manifest.fingerprint or said["shard"] != shard:
                raise JobError("its table is that of another job or shard")
            fields = [field.name for field in dataclasses.fields(Committed)]
            return Committed(**{name: said[name] for name in fields})
        except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
            if isinstance(error, JobError):
                raise
            raise JobError(f"its table is damaged ({str(error).splitlines()[0]})") from error

    def lines(self, shard: Committed) -> dict[str, list[Any]]:
        """Return the columns of a shard's table.

        Raises
        ------
        JobError
            It is damaged.
        """
        pa = arrow()
        name = table_name(shard.shard)
        try:
            file = io.BytesIO(self.place.read(name))
            found = pa.parquet.read_table(file, page_checksum_verification=True).to_pydict()
            columns: dict[str, list[Any]] = {column: found[column] for column in (*found, *_COLUMNS)}
            n_done, n_images = columns["status"].count("done"), len(columns["status"])
        except FileNotFoundError as error:
            raise self._damaged(name, "it has gone") from error
        except FeatxError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise self._damaged(name, str(error).splitlines()[0]) from error
        if (n_done, n_images) != (shard.rows, shard.n_images):
            said = f"{n_done} of {n_images} images have a row, where its footer says {shard.rows} of {shard.n_images}"
            raise self._damaged(name, said)
        return columns

    def _damaged(self, name: str, why: str) -> JobError:
        return JobError(
            f"The table {self.place.path(name)!r} is damaged ({why}). Do what is damaged again: featx job run "
            f"{self.place.address} --verify"
        )

    def _why_not(self, shard: Committed, size: int | None) -> str:
        expected = HEADER_BYTES + shard.rows * self.manifest.n_features * 4
        if shard.shard >= self.manifest.n_shards or shard.n_images != self.n_images(shard.shard):
            return "its table does not fit the plan"
        if size is None:
            return "its matrix is missing"
        return "" if size == expected else f"its matrix has {size:,} bytes, expected {expected:,}"


def _manifest(said: dict[str, Any]) -> Manifest:
    if said["format"] != FORMAT:
        raise JobError(
            f"This job has format {said['format']!r}, planned by featx {said.get('featx')}; this featx reads {FORMAT}. "
            "Run it with that version, or plan it anew in another folder."
        )
    fields = [field.name for field in dataclasses.fields(Manifest)]
    return Manifest(**{name: said[name] for name in fields if name in said})


def plan_name(number: int) -> str:
    """Return the name of a file of the plan."""
    return f"plan/{number:06}.parquet"


def matrix_name(shard: int) -> str:
    """Return the name of a shard's rows."""
    return f"shards/{shard:08}.npy"


def table_name(shard: int) -> str:
    """Return the name of a shard's table, which commits it."""
    return f"shards/{shard:08}.parquet"


@functools.lru_cache(maxsize=2)
def _footer(place: Place, name: str, job_id: str) -> Any:
    """Return where the shards are in a file of the plan, which takes longer to read than one of them."""
    return place.read_within(name, arrow().parquet.read_metadata)


def text_columns(name: str, texts: Sequence[str | None]) -> dict[str, Any]:
    """Return the columns of paths or labels: as text, and as bytes where they are not UTF-8."""
    pa = arrow()
    try:
        return {name: pa.array(texts, pa.string()), f"{name}_bytes": pa.nulls(len(texts), pa.binary())}
    except (UnicodeEncodeError, pa.ArrowInvalid):
        as_bytes = [None if text is None or _is_text(text) else os.fsencode(text) for text in texts]
        shown = [None if text is None else text.encode("utf-8", "backslashreplace").decode() for text in texts]
        return {name: pa.array(shown, pa.string()), f"{name}_bytes": pa.array(as_bytes, pa.binary())}


def texts_of(name: str, columns: dict[str, list[Any]]) -> list[Any]:
    """Return paths or labels from their columns."""
    if f"{name}_bytes" not in columns:
        return columns[name]
    return [
        text if as_bytes is None else os.fsdecode(as_bytes)
        for text, as_bytes in zip(columns[name], columns[f"{name}_bytes"], strict=True)
    ]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def totals(done: Iterable[Committed]) -> collections.Counter[str]:
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
