"""What a job or `featx extract` left → a matrix that is read as it is used: only footers and sizes are looked at."""

from __future__ import annotations

import concurrent.futures
import json
import os
import warnings
from collections.abc import Callable
from typing import Any

from featx.errors import FeaturesError, FeaturesNotFoundError, UnfinishedWarning
from featx.features.csv_table import CsvTable
from featx.features.matrix import FeatureMatrix
from featx.features.npy_part import FeaturePlace, MatrixPart
from featx.features.shard_table import RowTable, ShardTable, remedy
from featx.system.formatting import format_count

_FOOTERS_AT_ONCE = 16
_FORMAT = 1


def open_features(output: str | os.PathLike[str]) -> FeatureMatrix:
    """Return the features that a job or ``featx extract`` wrote, as one matrix that is read as it is used.

    Parameters
    ----------
    output : str or Path
        The folder or address of a job; or a ``.npy`` file, with the ``.csv`` of its rows beside it. Of a job that is
        not finished, the rows of the shards that are there, with a warning.

    Returns
    -------
    FeatureMatrix

    Raises
    ------
    FeaturesNotFoundError
        There is no such thing.
    FeaturesError
        It holds no features, or rows that do not fit their table.
    MissingDependencyError
        A job is read with pyarrow, and an address with fsspec.

    Warns
    -----
    UnfinishedWarning
        Shards of the job are missing.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(f"{folder.name}/features.npy", np.eye(3, dtype=np.float32))
    >>> features = open_features(f"{folder.name}/features.npy")
    >>> features.shape, features[1:].tolist()
    ((3, 3), [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> [block.sum().item() for block in features.blocks(2)]
    [2.0, 1.0]
    >>> folder.cleanup()
    """
    address = os.fspath(output)
    if address.endswith(".npy") and not os.path.isdir(address):
        folder, name = os.path.split(address)
        place = FeaturePlace(folder or ".")
        part = MatrixPart(place, name)
        table = CsvTable(place, f"{name.removesuffix('.npy')}.csv", part.shape[0])
        return FeatureMatrix(address, [part], [table], n_features=part.shape[1])
    return _open_job(address)


def _open_job(address: str) -> FeatureMatrix:
    place = FeaturePlace(address)
    job = _job(place)
    sizes = place.sizes("shards")
    names = sorted(name.removesuffix(".parquet") for name in sizes if name.endswith(".parquet") and name[0] != ".")

    def footer(name: str) -> ShardTable:
        return ShardTable.open(place, f"shards/{name}.parquet", job["shard_size"], sizes[f"{name}.parquet"])

    tables = _each(footer, names, n_threads=1 if place.is_local else _FOOTERS_AT_ONCE)
    parts, again = [], remedy(place)
    for name, table in zip(names, tables, strict=True):
        if table.facts.get("job") != job.get("id"):
            raise FeaturesError(f"{place.at(table.name)!r} is that of another job, planned here before. {again}")
        if table.facts.get("fingerprint") != job["fingerprint"]:
            raise FeaturesError(
                f"{place.at(table.name)!r} was made by the recipe {table.facts.get('fingerprint')!r}, and the job is "
                f"of {job['fingerprint']!r}. {again}"
            )
        part = MatrixPart(place, f"shards/{name}.npy", (table.n_rows, job["n_features"]), remedy=again)
        if table.n_rows:
            part.check_size(sizes.get(f"{name}.npy"))
        parts.append(part)
    is_complete = len(names) == job["n_shards"]
    if not is_complete:
        warnings.warn(
            f"The job {address!r} is not finished: {len(names)} of {format_count(job['n_shards'], 'shard')} are "
            f"there, and "
            f"the rows are those of these alone. Finish it: featx job run {address}",
            UnfinishedWarning,
            stacklevel=3,
        )
    lines: list[RowTable] = list(tables)
    return FeatureMatrix(address, parts, lines, job=job, n_features=job["n_features"], is_complete=is_complete)


def _job(place: FeaturePlace) -> dict[str, Any]:
    """Return what job.json says."""
    try:
        text = place.read("job.json")
    except FeaturesNotFoundError as error:
        raise FeaturesNotFoundError(
            f"{place.address!r} is no job: it has no job.json. Expected the folder of a job, or a file that ends in "
            ".npy."
        ) from error
    try:
        job = json.loads(text)
        numbers = [job[name] for name in ("format", "n_features", "shard_size", "n_shards")]
        if not isinstance(job["fingerprint"], str) or not all(type(number) is int for number in numbers):
            raise TypeError("a value is of another kind")
    except (ValueError, KeyError, TypeError) as error:
        raise FeaturesError(f"{place.at('job.json')!r} is not what a job has: {error}. Bring it back.") from error
    if job["format"] > _FORMAT:
        raise FeaturesError(
            f"{place.address!r} is a job of format {job['format']}, and this featx knows {_FORMAT}. Install the featx "
            "that made it, or a newer one."
        )
    return dict(job)


def _each(work: Callable[[str], ShardTable], names: list[str], *, n_threads: int) -> list[ShardTable]:
    if n_threads == 1:
        return [work(name) for name in names]
    with concurrent.futures.ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(work, names))
