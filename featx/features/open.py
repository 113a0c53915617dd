"""Open a feature file or a job. Only footers of tables and file sizes are read."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import shlex
import warnings
from pathlib import Path

from featx.errors import FeaturesError, FeaturesNotFoundError, IncompleteJobWarning, JobError
from featx.features.csv_table import PARQUET_SUFFIX, CsvTable, table_path
from featx.features.job_files import MANIFEST, JobManifest, matrix_name, parse_manifest, shards_with_table
from featx.features.matrix import FeatureMatrix
from featx.features.npy_part import FeatureFolder, MatrixPart
from featx.features.parquet.reader import ParquetFeatures, ParquetTable, is_feature_table
from featx.features.shard_table import RowTable, ShardTable, remedy
from featx.system.files import remote
from featx.system.files.folder import open_folder
from featx.system.formatting import format_count
from featx.system.option_checks import as_path

_MAX_READERS = 16


def open_features(path: str | os.PathLike[str]) -> FeatureMatrix:
    """Open the features of a job or of ``featx extract`` as one matrix whose rows are read on demand.

    Parameters
    ----------
    path : str or Path
        Folder or URL of a job, path of a ``.npy`` file with its ``.csv`` table, or path of a Parquet file with a column
        ``path`` and lists of floats in a column ``features``. Of an incomplete job, the shards that are done are
        opened and a warning is issued.

    Returns
    -------
    FeatureMatrix
        The rows, with path and label of each.

    Raises
    ------
    FeaturesNotFoundError
        There is no feature file or job at this path.
    FeaturesError
        The files are corrupt, or rows do not match their table.
    MissingDependencyError
        pyarrow (for a job or a Parquet file) or fsspec (for a URL) is not installed.

    Warns
    -----
    IncompleteJobWarning
        Shards of the job are missing.

    See Also
    --------
    FeatureMatrix : Rows on disk that are read on demand.
    find_similar : Find the rows most similar to queries.
    find_duplicates : Find groups of near-duplicate rows.
    run_job : Complete a job.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featx import open_features
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(f"{folder.name}/features.npy", np.eye(3, dtype=np.float32))
    >>> features = open_features(f"{folder.name}/features.npy")
    >>> features.shape, features[1:].tolist()
    ((3, 3), [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> [block.sum().item() for block in features.blocks(2)]
    [2.0, 1.0]
    >>> folder.cleanup()
    """
    location = as_path("path", path)
    if location.endswith(".npy") and not os.path.isdir(location):
        parent, name = os.path.split(location)
        folder = FeatureFolder(parent or ".")
        part = MatrixPart(folder, name)
        table = CsvTable(folder, table_path(Path(name)).name, part.shape[0])
        return FeatureMatrix(location, [part], [table], n_features=part.shape[1])
    if location.endswith(PARQUET_SUFFIX) and not os.path.isdir(location):
        parent, name = os.path.split(location)
        features = ParquetFeatures(FeatureFolder(parent or "."), name)
        lines = ParquetTable(features)
        return FeatureMatrix(location, [features], [lines], job=features.record or None, n_features=features.shape[1])
    if os.path.isfile(location):
        raise FeaturesError(
            f"Cannot open {location!r}: it is neither a .npy or .parquet file nor the folder of a job. Pass the output "
            "of featx extract or of a job."
        )
    return _open_job(location)


def is_features(location: str) -> bool:
    """Return whether a path is that of a job or of a feature file, which :func:`open_features` reads.

    A Parquet file may also be a table of images: its columns decide.
    """
    if location.endswith(".npy") and not os.path.isdir(location):
        return True
    if location.endswith(PARQUET_SUFFIX) and not os.path.isdir(location):
        folder, name = os.path.split(location)
        return is_feature_table(FeatureFolder(folder or "."), name)
    if remote.is_url(location):  # jobs are in object stores; the pages of a web server cannot be listed
        return not location.startswith(("http:", "https:")) and open_folder(location).exists(MANIFEST)
    return os.path.isfile(os.path.join(location, MANIFEST))


def _open_job(location: str) -> FeatureMatrix:
    folder = FeatureFolder(location)
    manifest = _read_manifest(folder)
    sizes = folder.sizes("shards")
    shards = shards_with_table(sizes)

    def read_table(shard: int) -> ShardTable:
        return ShardTable.open(folder, shard, manifest)

    with concurrent.futures.ThreadPoolExecutor(_MAX_READERS) as threads:
        tables = list(map(read_table, shards) if folder.is_local else threads.map(read_table, shards))
    parts = []
    for shard, table in zip(shards, tables, strict=True):
        name = matrix_name(shard, table.footer.checksum)
        part = MatrixPart(folder, name, (table.n_rows, manifest.n_features), remedy=remedy(folder))
        if table.n_rows:
            part.check_size(sizes.get(os.path.basename(name)))
        parts.append(part)
    is_complete = len(shards) == manifest.n_shards
    if not is_complete:
        warnings.warn(
            f"The job {location!r} is incomplete: {len(shards):,} of {format_count(manifest.n_shards, 'shard')} are "
            f"done, and only their rows are returned. Complete it: featx job run {shlex.quote(location)}",
            IncompleteJobWarning,
            stacklevel=3,
        )
    lines: list[RowTable] = list(tables)
    job = dataclasses.asdict(manifest)
    return FeatureMatrix(location, parts, lines, job=job, n_features=manifest.n_features, is_complete=is_complete)


def _read_manifest(folder: FeatureFolder) -> JobManifest:
    try:
        return parse_manifest(folder.read(MANIFEST), folder.location)
    except FeaturesNotFoundError as error:
        location = folder.location
        if not (remote.is_url(location) or os.path.isdir(location)):
            raise FeaturesNotFoundError(f"{location!r} does not exist. Check the path.") from error
        raise FeaturesNotFoundError(
            f"Cannot open {location!r}: it has no {MANIFEST}. Pass the folder of a job, or a file that ends in .npy or "
            f".parquet. For images, first run: featx extract {shlex.quote(location)} -o features.npy"
        ) from error
    except JobError as error:
        raise FeaturesError(str(error)) from error
    except FeaturesError:
        raise
    except ValueError as error:
        raise FeaturesError(
            f"Cannot read {folder.path(MANIFEST)!r}: {error}. Restore the file, or plan the job again under a new name."
        ) from error
