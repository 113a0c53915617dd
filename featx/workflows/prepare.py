"""The images that take part in a comparison: prepared, extracted, and what was left out."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.datasets.image_table import ImageTable, LabelsLike, PathsLike, as_path_list
from featx.datasets.labels import as_label_array, is_missing
from featx.errors import ComparisonError
from featx.extraction.extract import extract_into
from featx.extraction.options import Resolved
from featx.system.array_types import DigestArray, FloatArray
from featx.system.formatting import format_count, shorten
from featx.system.progress import progress_bar


def as_table(paths: PathsLike, y: LabelsLike | None = None, *, groups: Any = None, test_mask: Any = None) -> ImageTable:
    """Return paths and labels that were passed in Python as a table of images.

    Parameters
    ----------
    paths : ImageTable, list, ndarray, Series or iterable of str or Path
        Paths. An ImageTable provides what the other parameters do not.
    y : array-like, Series, iterable or None, default=None
        Label of each image.
    groups : array-like, Series, iterable or None, default=None
        Group of each image.
    test_mask : array-like of bool, Series, iterable or None, default=None
        Whether each image is a test image.

    Raises
    ------
    ComparisonError
        The lengths differ, or there are no labels.
    """
    given = paths if isinstance(paths, ImageTable) else None
    names = as_path_list(paths)
    columns = {"y": y, "groups": groups, "test_mask": test_mask}
    values = {name: as_label_array(column).tolist() for name, column in columns.items() if column is not None}
    for name, column in values.items():
        if len(column) != len(names):
            raise ComparisonError(f"{name} must have one value per path ({len(names)}), got {len(column)}.")
    if "y" in values:
        labels = [None if is_missing(label) else label for label in values["y"]]
    elif given is not None:
        labels = list(given.labels)
    else:
        raise ComparisonError("y must be the label of each image, got None. Pass labels, or the result of find_images.")
    splits = given.splits if given is not None else None
    if "test_mask" in values:
        splits = ["test" if is_test else "train" for is_test in values["test_mask"]]
    table_groups = given.groups if given is not None else None
    return ImageTable(names, labels, splits=splits, groups=values.get("groups", table_groups))


def prepare_table(table: ImageTable, test: ImageTable | None, notes: list[str]) -> ImageTable:
    """Return the images that take part, of both tables, and note the others."""
    notes += [*table.notes, *(() if test is None else test.notes)]
    table = _labelled(_of_a_part(table, notes), notes)
    if test is None:
        return table
    if table.splits is not None:
        table = table.select([at for at, split in enumerate(table.splits) if split == "train"])
        notes.append(f"Of the first source, only the {format_count(len(table), 'training image')} are fitted on.")
    test = _labelled(test, notes)
    return ImageTable(
        paths=[*table.paths, *test.paths],
        labels=_alike(table.labels, test.labels),
        ignored=dict(collections.Counter(table.ignored) + collections.Counter(test.ignored)),
        splits=[*["train"] * len(table), *["test"] * len(test)],
        groups=_both(table, test),
    )


def _alike(labels: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Return labels of two sources, as text if they are of different types: folders have names, tables may have 0."""
    both = [*labels, *others]
    types = {type(label) for label in both if label is not None}
    if str not in types or float in types:  # quantities beside names are told of later on
        return both
    return [None if label is None else str(label) for label in both]


def _both(table: ImageTable, test: ImageTable) -> list[str | None] | None:
    """Return the groups of both; what has none is alone."""
    if table.groups is None and test.groups is None:
        return None
    return [*(table.groups or [None] * len(table)), *(test.groups or [None] * len(test))]


def _of_a_part(table: ImageTable, notes: list[str]) -> ImageTable:
    if table.splits is None:
        return table
    _note_left_out(table, [split is None for split in table.splits], "that are neither to train nor to test on", notes)
    return table.select([at for at, split in enumerate(table.splits) if split is not None])


def _labelled(table: ImageTable, notes: list[str]) -> ImageTable:
    _note_left_out(table, [label is None for label in table.labels], "without a label", notes)
    return table.labeled()


def note_failures(failures: Sequence[Failure], notes: list[str]) -> None:
    """Note how many images cannot be read, and the first of them with the reason."""
    if failures:
        named = "; ".join(f"{shorten(failure.image)} ({failure.reason})" for failure in failures[:3])
        more = f"; and {len(failures) - 3:,} more" if len(failures) > 3 else ""
        notes.append(f"{format_count(len(failures), 'image')} left out as unreadable: {named}{more}.")


def note_padded(table: ImageTable, padded: Sequence[int], notes: list[str]) -> None:
    """Note how many images ended too early and were made complete."""
    if padded:
        first = shorten(table.paths[padded[0]])
        notes.append(
            f"{format_count(len(padded), 'truncated image')} made complete, with grey or black: {first} first."
        )


def _note_left_out(table: ImageTable, is_left_out: Sequence[bool], why: str, notes: list[str]) -> None:
    names = [shorten(path) for path, out in zip(table.paths, is_left_out, strict=True) if out]
    if names:
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        notes.append(f"{format_count(len(names), 'image')} {why} left out: {', '.join(names[:3])}{more}.")


def as_array(labels: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return labels as an array: of numbers if all are quantities, else of objects."""
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    if all(isinstance(label, float) for label in labels):
        return array.astype(np.float64)
    return array


@dataclasses.dataclass(frozen=True)
class Extracted:
    """Rows of one network, and what is known of their images.

    Attributes
    ----------
    rows : ndarray of float32, shape (n_samples, n_features)
    digests : ndarray of uint8, shape (n_samples, 16)
    failures : list of Failure
    padded : list of int
        Positions of images that ended too early and were made complete.
    n_computed : int
        Images that went through the network, and were not in the store.
    seconds : float
    """

    rows: FloatArray
    digests: DigestArray
    failures: list[Failure]
    padded: list[int]
    n_computed: int
    seconds: float


def extract(
    table: ImageTable, resolved: Resolved, cache: Path | None, raise_on_error: bool, show_progress: bool
) -> Extracted:
    """Return the rows of all images, NaN for those that cannot be read.

    Parameters
    ----------
    table : ImageTable
    resolved : Resolved
    cache : Path or None
    raise_on_error : bool
        Stop at the first image that cannot be read.
    show_progress : bool
    """
    rows = np.empty((len(table), resolved.n_features), dtype=np.float32)
    started = time.perf_counter()
    with progress_bar(len(table), resolved.backbone.name, shown=show_progress) as progress:
        ledger = extract_into(
            rows, table.paths, resolved, cache=cache, raise_on_error=raise_on_error, progress=progress
        )
    seconds = time.perf_counter() - started
    return Extracted(rows, ledger.digests, ledger.failures, ledger.padded, ledger.n_computed, seconds)
