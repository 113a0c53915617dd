"""Near-duplicates of features on disk as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.datasets.labels import is_missing
from featx.features.duplicates.find import Duplicates
from featx.features.matrix import FeatureMatrix
from featx.features.shard_table import ROW_COLUMNS, TableColumns
from featx.system.array_types import IntArray
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import escape_cell, escape_path_cell, format_count, shorten

HEADER = ("group", "row", "path", "label", "cosine", "digest")
_SHOWN_GROUPS, _SHOWN_PATHS = 10, 3
#: Rows to look up together: rows of a group may be in any table, and each table is read once per batch.
_BATCH_SIZE = 2**17


def as_csv(found: Duplicates, features: FeatureMatrix) -> Iterator[str]:
    """Yield CSV lines of all groups, the largest first."""
    clusters = found.clusters
    groups = np.repeat(np.arange(1, len(clusters) + 1), [len(cluster) for cluster in clusters])
    yield ",".join(HEADER) + "\n"
    start = 0
    for rows, lines in _looked_up(clusters, features, ROW_COLUMNS):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        here = groups[start : start + len(rows)].tolist()
        for group, row, path, label, digest in zip(
            here, rows.tolist(), *(lines[name] for name in ROW_COLUMNS), strict=True
        ):
            label_cell = "" if is_missing(label) else escape_cell(str(label))
            writer.writerow([group, row, escape_path_cell(path), label_cell, f"{found.cosine[row]:.6f}", digest])
        start += len(rows)
        yield text.getvalue()


def _looked_up(
    clusters: Sequence[IntArray], features: FeatureMatrix, names: Sequence[str]
) -> Iterator[tuple[IntArray, TableColumns]]:
    """Yield batches of row indices and their table columns, group by group."""
    rows = np.concatenate([np.empty(0, dtype=np.int64), *clusters])
    for at in range(0, len(rows), _BATCH_SIZE):
        here = rows[at : at + _BATCH_SIZE]
        yield here, features.metadata(here, names)


def _paths(clusters: Sequence[IntArray], features: FeatureMatrix) -> list[list[str]]:
    """Return the paths of each group without credentials."""
    paths = [redact_secrets(path) for _, lines in _looked_up(clusters, features, ["path"]) for path in lines["path"]]
    ends = np.cumsum([0, *map(len, clusters)]).tolist()
    return [paths[start:end] for start, end in itertools.pairwise(ends)]


def as_dict(found: Duplicates, features: FeatureMatrix) -> dict[str, Any]:
    """Return the groups with their paths as a JSON object."""
    return {**_facts(found, features), "clusters": _paths(found.clusters, features)}


def _facts(found: Duplicates, features: FeatureMatrix) -> dict[str, Any]:
    clusters = found.clusters
    return {
        "rows": len(features),
        "groups": len(clusters),
        "in_groups": found.n_rows,
        "largest": max(map(len, clusters), default=0),
        "threshold": found.threshold,
        "centered": found.centered,
        "complete": features.is_complete,
    }


def as_text(found: Duplicates, features: FeatureMatrix) -> str:
    """Return a summary with the largest groups."""
    clusters = found.clusters
    n_more = found.n_rows - len(clusters)
    lines = [f"{format_count(len(features), 'row')}: no near-duplicates."]
    if clusters:
        lines = [
            f"{format_count(len(features), 'row')}: {found.n_rows:,} are near-duplicates in "
            f"{format_count(len(clusters), 'group')}; keeping one of each would remove {n_more:,}."
        ]
    if found.centered:
        lines.append("Rows have much in common; similarities were computed after subtracting their mean.")
    shown = _paths([cluster[:_SHOWN_PATHS] for cluster in clusters[:_SHOWN_GROUPS]], features)
    for number, (cluster, of_cluster) in enumerate(zip(clusters, shown, strict=False), 1):
        paths = ", ".join(shorten(path, 50) for path in of_cluster)
        more = len(cluster) - _SHOWN_PATHS
        paths += f" and {more:,} more" if more > 0 else ""
        cosine = float(found.cosine[cluster].min())
        lines.append(f"{number:>3}  {len(cluster):,} images, cosine {cosine:.3f} and above: {paths}")
    if len(clusters) > _SHOWN_GROUPS:
        lines.append(f"and {format_count(len(clusters) - _SHOWN_GROUPS, 'smaller or equal group')}; --csv lists all.")
    return "\n".join(lines)
