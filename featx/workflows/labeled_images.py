"""Labeled images: input of the workflows, reduced to the images that take part."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from featx.datasets.find import find_images
from featx.datasets.folders.names import normalize_label
from featx.datasets.image_table import ImagesLike, ImageTable, LabelsLike
from featx.datasets.label_names import (
    joined_tags_note,
    measured_note,
    missing_labels_note,
    similar_names_note,
    unify_labels,
    unknown_classes_note,
)
from featx.datasets.labels import as_integers, as_label_array, is_missing
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.columns import table_from_frame
from featx.datasets.tables.frames import columns_of, images_of_features, is_dataset_dict, is_frame, read_lazy_table
from featx.datasets.tables.groups import normalize_groups, notes_of_groups
from featx.datasets.tags import Tags
from featx.errors import ComparisonError, SourceError, shorten_quoted
from featx.features.matrix import FeatureMatrix
from featx.images.image_lists import as_image_list, is_lazy_table, is_stream, name_images
from featx.system.array_types import IntArray
from featx.system.formatting import format_count, shorten

_MAX_NAMED = 3


def as_image_table(
    images: ImagesLike,
    y: LabelsLike | None = None,
    *,
    groups: LabelsLike | None = None,
    test_mask: LabelsLike | None = None,
) -> ImageTable:
    """Return paths, labels, groups and splits as one table.

    Parameters
    ----------
    images : ImageTable, list, array, Series, table or iterable of images
        See :meth:`FeatureExtractor.transform`. An ImageTable provides what the other parameters do not; so do a
        FeatureMatrix, whose images are read again, and a table with a column of labels if `y` is None.
    y : array-like, Series, iterable or None, default=None
        Label of each image.
    groups : array-like, Series, iterable or None, default=None
        Group of each image.
    test_mask : array-like of bool, Series, iterable or None, default=None
        Whether each image belongs to the test split.

    Raises
    ------
    ComparisonError
        If the lengths differ, there are no labels, or `test_mask` has other values than True and False.
    """
    table = _as_table(images, has_labels=y is not None)
    given = {"y": y, "groups": groups, "test_mask": test_mask}
    columns = {name: as_label_array(values, name).tolist() for name, values in given.items() if values is not None}
    for name, column in columns.items():
        if len(column) != len(table):
            raise ComparisonError(f"{name} must have one value per image ({len(table):,}), got {len(column):,}.")
    changes: dict[str, Any] = {}
    if "y" in columns:
        labels = [None if is_missing(label) else label for label in columns["y"]]
        labels = [normalize_label(label) or None if isinstance(label, str) else label for label in labels]
        known = [label for label in labels if label is not None]
        if len(known) < len(labels) and known and all(isinstance(label, float) for label in known):
            integers = iter(as_integers(np.array(known)).tolist())
            labels = [None if label is None else next(integers) for label in labels]
        changes |= {"labels": labels, "no_labels_reason": ""}
    if "groups" in columns:
        changes["groups"] = normalize_groups(columns["groups"])
        changes["notes"] = (*table.notes, *notes_of_groups(changes["groups"]))
    if "test_mask" in columns:
        changes["splits"] = ["test" if is_test else "train" for is_test in _checked_mask(columns["test_mask"])]
    return dataclasses.replace(table, **changes)


def _checked_mask(values: list[Any]) -> list[bool]:
    """Return a mask of bool. Text such as "False" would be true."""
    for index, value in enumerate(values):
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise ComparisonError(
                f"test_mask must have True or False (or 1 or 0) for each image, got {value!r} at index {index}. For "
                'names of splits, pass test_mask=[name == "test" for name in splits].'
            )
    return [bool(value) for value in values]


def _as_table(images: ImagesLike, *, has_labels: bool) -> ImageTable:
    if isinstance(images, ImageTable):
        return images
    if isinstance(images, FeatureMatrix):
        return images_of_features(images, are_read=True)
    if is_lazy_table(images):
        images = read_lazy_table(images)
    if (
        is_dataset_dict(images)
        or is_stream(images)
        or (is_frame(images) and not (has_labels and len(columns_of(images)) == 1))
    ):
        if has_labels and is_frame(images) and not is_stream(images):
            return table_from_frame(images, SourceOptions(), has_labels=False)
        table = find_images(images)
        if has_labels or any(label is not None for label in table.labels):
            return table
        raise ComparisonError(
            f"y must be the label of each image, got None. {table.no_labels_reason or 'Pass labels.'}"
        )
    if not has_labels:
        if not isinstance(images, Iterator):
            as_image_list(images)  # raises InputError, with what to pass instead
        raise ComparisonError("y must be the label of each image, got None. Pass labels, or the result of find_images.")
    listed = as_image_list(images)
    return ImageTable(name_images(listed, "images"), [None] * len(listed))


def prepare_table(table: ImageTable, test: ImageTable | None, notes: list[str]) -> ImageTable:
    """Return the images that take part, and add a note on those that do not. See :func:`prepare_rows`."""
    return prepare_rows(table, test, notes)[0]


def prepare_rows(table: ImageTable, test: ImageTable | None, notes: list[str]) -> tuple[ImageTable, IntArray]:
    """Return the images that take part with their positions, and add a note on those that do not.

    Parameters
    ----------
    table : ImageTable
        Images without a label, and images of neither split, are excluded.
    test : ImageTable or None
        Test images. The training images of `table` are then the training split.
    notes : list of str
        Receives the notes.

    Returns
    -------
    table : ImageTable
    rows : ndarray of int of shape (n_samples,)
        Position of each image in `table`, or after its end in `test`.
    """
    notes += dict.fromkeys([*table.notes, *(() if test is None else test.notes)])
    rows = _assigned_rows(table, notes)
    rows = _labeled_rows(table, rows, notes)
    if test is None:
        table = _without_empty_split(table.select(rows), notes)
        _note_names(table, notes)
        return table, np.array(rows, dtype=np.int64)
    if table.splits is not None:
        rows = [row for row in rows if table.splits[row] == "train"]
        notes.append(f"Test images of the first source are not used: {format_count(len(rows), 'training image')}.")
    test_rows = list(range(len(test)))
    if test.splits is not None and {"train", "test"} <= set(test.splits):
        test_rows = [row for row in test_rows if test.splits[row] == "test"]
        notes.append(
            f"Of the test source, only its test split is used: {len(test_rows):,} of "
            f"{format_count(len(test), 'image')}."
        )
    if all(test.labels[row] is None for row in test_rows):
        reason = test.no_labels_reason or "Pass one folder per class, or a table with a label column."
        raise ComparisonError(f"The test images have no labels. {reason}")
    if rows and {table.paths[row] for row in rows} <= {test.paths[row] for row in test_rows}:
        raise ComparisonError("All training images are also test images. Pass other images as test (--test).")
    test_rows = _labeled_rows(test, test_rows, notes)
    joined = _join(table.select(rows), test.select(test_rows))
    _note_names(joined, notes)
    return joined, np.array([*rows, *(len(table) + row for row in test_rows)], dtype=np.int64)


def _join(table: ImageTable, test: ImageTable) -> ImageTable:
    """Return training and test images as one table."""
    return ImageTable(
        paths=[*table.paths, *test.paths],
        labels=unify_labels(table.labels, test.labels),
        ignored=dict(collections.Counter(table.ignored) + collections.Counter(test.ignored)),
        splits=[*["train"] * len(table), *["test"] * len(test)],
        groups=_concatenate_groups(table, test),
        no_labels_reason=table.no_labels_reason or test.no_labels_reason,
    )


def _without_empty_split(table: ImageTable, notes: list[str]) -> ImageTable:
    """Return the table without splits if no labeled image is in the test split."""
    if table.splits is None or not len(table) or "test" in table.splits:
        return table
    notes.append("No test image has a label: the training images are used for cross-validation.")
    return dataclasses.replace(table, splits=None)


def _note_names(table: ImageTable, notes: list[str]) -> None:
    """Note names of classes or tags that may mean the same or nothing, and those without training images."""
    names = _names(table.labels)
    found = [similar_names_note(names), missing_labels_note(names)]
    if not any(isinstance(label, Tags) for label in table.labels):
        found += [joined_tags_note(names), measured_note(names)]
    if table.splits is not None and not any(isinstance(label, float) for label in table.labels):
        parts = {
            part: _names(label for label, split in zip(table.labels, table.splits, strict=True) if split == part)
            for part in ("train", "test")
        }
        # The folds note classes without training samples, but not tags.
        has_tags = any(isinstance(label, Tags) for label in table.labels)
        found.append(unknown_classes_note(parts["train"], parts["test"], only_similar=not has_tags))
    notes += map(shorten_quoted, filter(None, found))


def _names(labels: Iterable[Any]) -> list[Any]:
    """Return labels, and the single tags of images that have several."""
    return [name for label in labels for name in (label if isinstance(label, Tags) else [label])]


def _concatenate_groups(table: ImageTable, test: ImageTable) -> list[str | None] | None:
    if table.groups is None and test.groups is None:
        return None
    return [*(table.groups or [None] * len(table)), *(test.groups or [None] * len(test))]


def _assigned_rows(table: ImageTable, notes: list[str]) -> list[int]:
    """Return the positions of images that are in a split, if there are splits."""
    splits = table.splits
    if splits is None:
        return list(range(len(table)))
    excluded = [row for row, split in enumerate(splits) if split is None]
    _note_excluded(table, excluded, "in neither the training nor the test split", notes)
    return [row for row, split in enumerate(splits) if split is not None]


def _labeled_rows(table: ImageTable, rows: Sequence[int], notes: list[str]) -> list[int]:
    """Return the positions of images that have a label."""
    unlabeled = [row for row in rows if table.labels[row] is None]
    for path in (table.paths[row] for row in unlabeled):
        if isinstance(path, str) and os.path.isdir(path):  # without its images, a class may be missing
            raise SourceError(f"Cannot list the folder {path!r}. Fix its permissions, or move it to another place.")
    if len(unlabeled) < len(rows):  # else it is the error
        _note_excluded(table, unlabeled, "without a label", notes)
    return [row for row in rows if table.labels[row] is not None]


def _note_excluded(table: ImageTable, rows: Sequence[int], reason: str, notes: list[str]) -> None:
    if rows:
        names = [shorten(table.paths[row]) for row in rows[:_MAX_NAMED]]
        n_more = len(rows) - _MAX_NAMED
        more = f" and {n_more:,} more" if n_more > 0 else ""
        notes.append(f"{format_count(len(rows), 'image')} {reason} excluded: {', '.join(names)}{more}.")


def label_column(labels: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return labels as a float array if all of them are floats, else as an object array."""
    if all(isinstance(label, float) for label in labels):
        return np.array(labels, dtype=np.float64)
    column = np.empty(len(labels), dtype=object)
    column[:] = labels
    return column
