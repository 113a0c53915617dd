"""Near-duplicates of features on disk as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.datasets.labels import is_missing
from featx.datasets.tables.stored import label_cell
from featx.features.duplicates.find import Duplicates
from featx.features.duplicates.select import DuplicateSelection
from featx.features.matrix import FeatureMatrix
from featx.features.shard_table import TableColumns
from featx.features.table_rows import ROW_COLUMNS, TableRow, stored_columns
from featx.system.array_types import IntArray
from featx.system.files.url_secrets import is_redacted, redact_secrets
from featx.system.formatting import escape_cell, escape_path_cell, format_count, shorten
from featx.system.terminal.tables import fit_text, wrap_text

HEADER = ("group", "row", "path", "label", "cosine", "digest")
#: Further column if it was decided what to keep: what to do with the image.
DECISION = "decision"
#: First columns of the list of images to keep; split, group and type of labels follow if there is something to keep.
LIST_HEADER = ("path", "label")
_SHOWN_GROUPS, _SHOWN_PATHS = 10, 3
#: Rows to look up together: rows of a group may be in any table, and each table is read once per batch.
_BATCH_SIZE = 2**17


def as_csv(
    duplicates: Duplicates, features: FeatureMatrix, selection: DuplicateSelection | None = None
) -> Iterator[str]:
    """Yield CSV lines of all groups, the largest first, with a decision for each image if there is one."""
    clusters = duplicates.clusters
    groups = np.repeat(np.arange(1, len(clusters) + 1), [len(cluster) for cluster in clusters])
    yield ",".join([*HEADER, *([] if selection is None else [DECISION])]) + "\n"
    start = 0
    for rows, lines in _looked_up(clusters, features, ROW_COLUMNS):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        batch_groups = groups[start : start + len(rows)].tolist()
        for group, row, path, label, digest in zip(
            batch_groups, rows.tolist(), *(lines[name] for name in ROW_COLUMNS), strict=True
        ):
            label_cell = "" if is_missing(label) else escape_cell(str(label))
            decision = [] if selection is None else ["keep" if selection.is_kept[row] else "remove"]
            cosine = f"{duplicates.cosine[row]:.6f}"
            writer.writerow([group, row, escape_path_cell(path), label_cell, cosine, digest, *decision])
        start += len(rows)
        yield text.getvalue()


def kept_as_csv(selection: DuplicateSelection, features: FeatureMatrix) -> Iterator[str]:
    """Yield path, label, split and group of all images to keep as CSV: a table that other commands read as it was."""
    stored = stored_columns(row for rows in _kept(selection, features) for row in rows)
    yield ",".join([*LIST_HEADER, *stored.names]) + "\n"
    for rows in _kept(selection, features):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in rows:
            writer.writerow([escape_path_cell(row.path), label_cell(row.label), *stored.cells(row.split, row.group)])
        yield text.getvalue()


def redacted_note(selection: DuplicateSelection, features: FeatureMatrix) -> str:
    """Return a note if images to keep are URLs whose secrets are not written. Empty: none are."""
    n_redacted = sum(is_redacted(redact_secrets(row.path)) for rows in _kept(selection, features) for row in rows)
    if not n_redacted:
        return ""
    return (
        f"The list has {format_count(n_redacted, 'URL')} without signatures or passwords, which are not written: it is "
        "no SOURCE for other commands. Drop the rows of your table of complete URLs that --csv marks remove."
    )


def _kept(selection: DuplicateSelection, features: FeatureMatrix) -> Iterator[list[TableRow]]:
    """Yield the images to keep in batches."""
    names = ("path", "label", *features.part_columns)
    for start in range(0, len(selection.kept_rows), _BATCH_SIZE):
        columns = features.metadata(selection.kept_rows[start : start + _BATCH_SIZE], names)
        columns["path"] = list(map(features.resolve_path, columns["path"]))  # those of a job start where it was planned
        lines = zip(*(columns[name] for name in names), strict=True)
        yield [TableRow(digest="", **dict(zip(names, line, strict=True))) for line in lines]


def _looked_up(
    clusters: Sequence[IntArray], features: FeatureMatrix, names: Sequence[str]
) -> Iterator[tuple[IntArray, TableColumns]]:
    """Yield batches of row indices and their table columns, group by group."""
    rows = np.concatenate([np.empty(0, dtype=np.int64), *clusters])
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = rows[start : start + _BATCH_SIZE]
        yield batch, features.metadata(batch, names)


def _paths(clusters: Sequence[IntArray], features: FeatureMatrix) -> list[list[str]]:
    """Return the paths of each group without credentials."""
    paths = [redact_secrets(path) for _, lines in _looked_up(clusters, features, ["path"]) for path in lines["path"]]
    ends = np.cumsum([0, *map(len, clusters)]).tolist()
    return [paths[start:end] for start, end in itertools.pairwise(ends)]


def as_dict(
    duplicates: Duplicates, features: FeatureMatrix, selection: DuplicateSelection | None = None
) -> dict[str, Any]:
    """Return the groups with their paths, and the decision if there is one, as a JSON object."""
    groups = {**_facts(duplicates, features), "clusters": _paths(duplicates.clusters, features)}
    if selection is None:
        return groups
    (removed,) = _paths([selection.removed_rows], features)
    (kept,) = _paths([np.array(selection.kept, dtype=np.int64)], features)
    return {**groups, "kept": kept, "reasons": selection.reasons, "remove": removed, "notes": selection.notes}


def _facts(duplicates: Duplicates, features: FeatureMatrix) -> dict[str, Any]:
    clusters = duplicates.clusters
    return {
        "rows": len(features),
        "groups": len(clusters),
        "in_groups": duplicates.n_rows,
        "largest": max(map(len, clusters), default=0),
        "threshold": duplicates.threshold,
        "centered": duplicates.centered,
        "complete": features.is_complete,
    }


def as_text(duplicates: Duplicates, features: FeatureMatrix, selection: DuplicateSelection | None = None) -> str:
    """Return a summary with the largest groups, and the decision if there is one."""
    clusters = duplicates.clusters
    n_more = duplicates.n_rows - len(clusters)
    lines = [f"{format_count(len(features), 'row')}: no near-duplicates."]
    if clusters:
        lines = [
            f"{format_count(len(features), 'row')}: {duplicates.n_rows:,} are near-duplicates in "
            f"{format_count(len(clusters), 'group')}; keeping one of each would remove {n_more:,}."
        ]
    if duplicates.centered:
        lines.append("All rows are similar; similarities were computed after subtracting their mean.")
    if selection is not None and clusters:
        counts = ", ".join(
            f"{reason} {selection.reasons.count(reason):,}" for reason in dict.fromkeys(sorted(selection.reasons))
        )
        lines.append(f"{selection.describe().capitalize()}. Number of groups by what decided: {counts}.")
        # The image to keep comes first.
        clusters = [
            np.concatenate([[kept], cluster[cluster != kept]])
            for kept, cluster in zip(selection.kept, clusters, strict=True)
        ]
    shown = _paths([cluster[:_SHOWN_PATHS] for cluster in clusters[:_SHOWN_GROUPS]], features)
    for number, (cluster, cluster_paths) in enumerate(zip(clusters, shown, strict=False), 1):
        paths = ", ".join(shorten(path, 50) for path in cluster_paths)
        paths = paths if selection is None else f"keep {paths}"
        more = len(cluster) - _SHOWN_PATHS
        paths += f" and {more:,} more" if more > 0 else ""
        cosine = float(duplicates.cosine[cluster].min())
        lines.append(f"{number:>3}  {len(cluster):,} images, cosine {cosine:.3f} and above: {paths}")
    if len(clusters) > _SHOWN_GROUPS:
        lines.append(f"and {format_count(len(clusters) - _SHOWN_GROUPS, 'smaller or equal group')}; --csv lists all.")
    notes = [] if selection is None else map(wrap_text, selection.notes)
    return "\n".join([*map(fit_text, lines), *notes])
