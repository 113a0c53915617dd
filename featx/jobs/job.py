"""A job in its folder: the plan, and what became of each shard."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import io
import json
import os
from collections.abc import Sequence
from typing import Any

from featx.errors import FeatxError, JobError
from featx.features.job_columns import import_pyarrow, texts_of
from featx.features.job_format import (
    MANIFEST,
    METADATA,
    CommittedShard,
    PlannedShard,
    matrix_name,
    parse_manifest,
    plan_name,
    table_name,
)
from featx.features.npy_writer import HEADER_BYTES
from featx.jobs.storage import Place
from featx.system.files import remote

_READ_AT_ONCE = 16
_COLUMNS = ("path", "label", "digest", "status", "reason")
#: More than the footer of such a table takes.
_FOOTER_BYTES = 2**16


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
            self.manifest = parse_manifest(said)
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

    def planned(self, shard: int) -> PlannedShard:
        """Return the images of a shard.

        Raises
        ------
        JobError
            The plan is damaged.
        """
        number, group = divmod(shard, self.manifest.shards_per_file)
        name = plan_name(number)
        try:
            footer = _footer(self.place, name, self.manifest.id)
            table = self.place.read_within(
                name, lambda file: import_pyarrow().parquet.ParquetFile(file, metadata=footer).read_row_group(group)
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
        if (kind := self.manifest.labels) != "str":
            from featx.datasets.label_types import cast_label

            labels = [None if label is None else cast_label(label, kind) for label in labels]
        states = [
            None if size is None else (size, changed)
            for size, changed in zip(columns["size"], columns["mtime_ns"], strict=True)
        ]
        return PlannedShard(texts_of("path", columns), labels, states)

    def located(self, paths: Sequence[str]) -> list[str]:
        """Return paths as seen from the working folder, wherever they were planned."""
        folder = self.manifest.folder
        if folder == os.getcwd():
            return list(paths)
        return [path if remote.is_url(path) else os.path.join(folder, path) for path in paths]

    def committed(self) -> tuple[dict[int, CommittedShard], dict[int, str]]:
        """Return the shards that are done, and why others that have a table are not: these are damaged."""
        found = self.place.listed("shards")
        numbers = sorted(int(name[:-8]) for name in found if name.endswith(".parquet") and name[:-8].isdigit())
        done: dict[int, CommittedShard] = {}
        damaged: dict[int, str] = {}
        with concurrent.futures.ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="featx-job") as pool:
            for number, seen in zip(numbers, pool.map(self._read_committed, numbers), strict=True):
                size = found.get(os.path.basename(matrix_name(number)))
                is_well = isinstance(seen, CommittedShard) and not self._why_not(seen, size)
                read = seen if is_well else self.committed_now(number)  # a listing while others commit is no snapshot
                if isinstance(read, CommittedShard):
                    done[number] = read
                elif read:
                    damaged[number] = read
        return done, damaged

    def committed_now(self, shard: int) -> CommittedShard | str:
        """Return what is committed of a shard, or why it is damaged; nothing if it has no table."""
        read = self._read_committed(shard)
        if isinstance(read, str):
            return read
        reason = self._why_not(read, self.place.size_of(matrix_name(shard)))
        if not reason:
            return read
        return reason if self.place.has(table_name(shard)) else ""

    def _read_committed(self, shard: int) -> CommittedShard | str:
        try:
            return self.read_committed(shard)
        except FileNotFoundError:
            return ""
        except JobError as error:
            return str(error)

    def read_committed(self, shard: int) -> CommittedShard:
        """Return what the table of a shard says; FileNotFoundError if there is none, JobError if it is damaged."""
        pa = import_pyarrow()
        try:
            end = io.BytesIO(self.place.end_of(table_name(shard), _FOOTER_BYTES))
            footer = pa.parquet.read_metadata(end)
            said = json.loads(footer.metadata[METADATA])
            ours = (self.manifest.id, self.manifest.fingerprint, shard)
            if (said["job"], said["fingerprint"], said["shard"]) != ours:
                raise JobError("its table is that of another job or shard")
            fields = [field.name for field in dataclasses.fields(CommittedShard)]
            committed = CommittedShard(**{name: said[name] for name in fields})
            if footer.num_rows != committed.n_images:
                raise JobError(f"its table has {footer.num_rows:,} lines, expected {committed.n_images:,}")
            return committed
        except (FileNotFoundError, FeatxError):
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise JobError(f"its table is damaged ({str(error).splitlines()[0]})") from error

    def lines(self, shard: CommittedShard) -> dict[str, list[Any]]:
        """Return the columns of a shard's table.

        Raises
        ------
        JobError
            It is damaged.
        """
        pa = import_pyarrow()
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

    def _why_not(self, shard: CommittedShard, size: int | None) -> str:
        expected = HEADER_BYTES + shard.rows * self.manifest.n_features * 4
        if shard.shard >= self.manifest.n_shards or shard.n_images != self.n_images(shard.shard):
            return "its table does not fit the plan"
        if size is None:
            return "its matrix is missing"
        return "" if size == expected else f"its matrix has {size:,} bytes, expected {expected:,}"


@functools.lru_cache(maxsize=2)
def _footer(place: Place, name: str, job_id: str) -> Any:
    """Return where the shards are in a file of the plan, which takes longer to read than one of them."""
    return place.read_within(name, import_pyarrow().parquet.read_metadata)
