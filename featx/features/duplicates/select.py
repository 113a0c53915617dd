"""Select the image of each group of duplicates to keep."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from featx.datasets.labels import is_missing
from featx.errors import ComparisonError, UnreadableImageError
from featx.features.duplicates.find import Duplicates
from featx.features.matrix import FeatureMatrix
from featx.images.decode import decode_image, load_decoders
from featx.images.formats import open_image
from featx.images.image import read_image
from featx.images.quality.measures import brightness, fine_detail
from featx.recipe import Window, window_of
from featx.system.array_types import BoolArray, IntArray
from featx.system.formatting import format_count
from featx.system.notebook.cards import card_to_html
from featx.system.option_checks import check_choice
from featx.system.processes import n_cores
from featx.system.terminal.progress import ProgressFunction, counted, reporting, stage

#: What decides, in order, for each value of `keep`. The first row of a group decides at last.
_CRITERIA: dict[str, tuple[str, ...]] = {
    "best": ("labeled", "largest", "sharpest"),
    "largest": ("largest", "sharpest"),
    "sharpest": ("sharpest", "largest"),
    "labeled": ("labeled",),
    "first": (),
}
KEEP = tuple(_CRITERIA)
#: Side to which images are resized to compare their sharpness, and the difference that counts.
_SIDE, _MIN_DIFFERENCE = 256, 0.01


@dataclasses.dataclass(frozen=True)
class DuplicateSelection:
    """Result of :func:`select_duplicates`: which rows to keep.

    Attributes
    ----------
    is_kept : ndarray of bool of shape (n_samples,)
        Whether to keep each row: one of each group, and all rows without a duplicate.
    kept : list of int
        The row of each group that is kept, in the order of ``Duplicates.clusters``.
    reasons : list of {"labeled", "largest", "sharpest", "first"}
        Criterion that selected the kept row of each group.
    notes : list of str
        Remarks on groups to review manually.

    See Also
    --------
    select_duplicates : Select the row to keep of each group of duplicates.

    Examples
    --------
    >>> import numpy as np
    >>> selection = DuplicateSelection(np.array([True, False, True]), [0], ["largest"], [])
    >>> selection
    <DuplicateSelection: keep 2 of 3 rows, remove 1>
    >>> selection.removed_rows.tolist()
    [1]
    """

    is_kept: BoolArray
    kept: list[int]
    reasons: list[str]
    notes: list[str]

    @property
    def kept_rows(self) -> IntArray:
        """Rows to keep."""
        return np.flatnonzero(self.is_kept)

    @property
    def removed_rows(self) -> IntArray:
        """Rows to remove."""
        return np.flatnonzero(~self.is_kept)

    def describe(self) -> str:
        """Return the number of rows to keep and to remove as a phrase."""
        n_rows, n_kept = len(self.is_kept), int(self.is_kept.sum())
        return f"keep {n_kept:,} of {format_count(n_rows, 'row')}, remove {n_rows - n_kept:,}"

    def __repr__(self) -> str:
        return f"<DuplicateSelection: {self.describe()}>"

    def _repr_html_(self) -> str:
        """Return the numbers and the notes as HTML, for notebooks."""
        counts = {reason: f"{self.reasons.count(reason):,}" for reason in dict.fromkeys(self.reasons)}
        return card_to_html(self.describe().capitalize(), counts, notes=self.notes)


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """Properties of an image that decide which duplicate is kept."""

    labeled: bool
    largest: int = 0
    sharpest: float = 0.0
    is_readable: bool = True


def select_duplicates(
    duplicates: Duplicates,
    paths: FeatureMatrix | Sequence[str],
    *,
    labels: Iterable[Any] | None = None,
    keep: Literal["best", "largest", "sharpest", "labeled", "first"] = "best",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> DuplicateSelection:
    """Select the image of each group of duplicates to keep. No file is changed.

    Parameters
    ----------
    duplicates : Duplicates
        Result of :func:`find_duplicates`.
    paths : FeatureMatrix or sequence of str
        Features that were searched, with the path of each image, or these paths.
    labels : iterable or None, default=None
        Label of each image; None or NaN is no label. None: those of the FeatureMatrix.
    keep : {"best", "largest", "sharpest", "labeled", "first"}, default="best"
        Which image to keep. "largest": the one with the most pixels, of equally large ones the sharpest. "sharpest":
        the one with the most fine detail after all are resized to 256 × 256 pixels. "labeled": the first with a label.
        "first": the first one. "best": one with a label, of these the largest, of these the sharpest. The first one
        decides a tie. Images that cannot be read are kept only if no other can be.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    DuplicateSelection
        Rows to keep, and why.

    Raises
    ------
    OptionError
        If `keep` is unknown.
    ComparisonError
        If there are not as many paths or labels as rows.

    See Also
    --------
    find_duplicates : Find the groups.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import find_duplicates, select_duplicates
    >>> duplicates = find_duplicates(np.eye(5)[[0, 1, 2, 1]])
    >>> selection = select_duplicates(duplicates, ["0.jpg", "1.jpg", "2.jpg", "3.jpg"], keep="first")
    >>> selection.kept_rows.tolist(), selection.removed_rows.tolist()
    ([0, 1, 2], [3])
    """
    check_choice("keep", keep, KEEP)
    clusters, criteria = duplicates.clusters, _CRITERIA[keep]
    rows = np.concatenate([np.empty(0, dtype=np.int64), *clusters])
    all_labels = _checked_labels(labels, len(duplicates.groups))
    names, given = _look_up(paths, rows, len(duplicates.groups))
    row_labels = given if all_labels is None else [all_labels[row] for row in rows.tolist()]
    with reporting(verbose, progress), stage("compare", len(rows)) as advance:
        measured = _candidates(names, row_labels, criteria, _pixel_range(paths), advance)
        candidates = dict(zip(rows.tolist(), measured, strict=True))
    label_of = dict(zip(rows.tolist(), row_labels, strict=True))
    is_kept = np.ones(len(duplicates.groups), dtype=bool)
    kept, reasons = [], []
    for cluster in clusters:
        members = cluster.tolist()
        chosen, reason = _choose(members, candidates, criteria)
        is_kept[members] = False
        is_kept[chosen] = True
        kept.append(chosen)
        reasons.append(reason)
    return DuplicateSelection(is_kept, kept, reasons, _notes(clusters, label_of, candidates))


def _checked_labels(labels: Iterable[Any] | None, n_rows: int) -> list[Any] | None:
    if labels is None:
        return None
    values = list(labels)
    if len(values) != n_rows:
        raise ComparisonError(f"labels must have one value for each of the {n_rows:,} rows, got {len(values):,}.")
    return values


def _look_up(paths: FeatureMatrix | Sequence[str], rows: IntArray, n_rows: int) -> tuple[list[str], list[Any]]:
    """Return path and label of some rows."""
    if len(paths) != n_rows:
        raise ComparisonError(f"paths must have one value for each of the {n_rows:,} rows, got {len(paths):,}.")
    if isinstance(paths, FeatureMatrix):
        columns = paths.metadata(rows, ["path", "label"])
        return [paths.resolve_path(path) for path in columns["path"]], columns["label"]
    return [str(paths[row]) for row in rows.tolist()], [None] * len(rows)


def _candidates(
    paths: Sequence[str],
    labels: Sequence[Any],
    criteria: Sequence[str],
    window: Window | None,
    advance: Callable[[int], object],
) -> list[_Candidate]:
    is_labeled = [not is_missing(label) for label in labels]
    if not {"largest", "sharpest"} & set(criteria):
        return [_Candidate(labeled) for labeled in is_labeled]
    load_decoders()
    with concurrent.futures.ThreadPoolExecutor(n_cores(), thread_name_prefix="featx-quality") as threads:
        measured = list(counted(threads.map(lambda path: _measure(path, window), paths), advance))
    return [
        dataclasses.replace(candidate, labeled=labeled) for candidate, labeled in zip(measured, is_labeled, strict=True)
    ]


def _pixel_range(paths: FeatureMatrix | Sequence[str]) -> Window | None:
    """Return the values and bands with which the features were extracted."""
    recipe = paths.recipe if isinstance(paths, FeatureMatrix) else None
    return None if recipe is None else window_of(recipe.get("window", ""), recipe.get("bands", ""))


def _measure(path: str, window: Window | None) -> _Candidate:
    try:
        content, _ = read_image(path)
        sharpest = fine_detail(brightness(decode_image(content, (_SIDE, _SIDE), window=window)))
        if isinstance(content, bytes):
            with open_image(content, window) as image:
                n_pixels = image.width * image.height
        else:  # an array in a file
            n_pixels = content.shape[0] * content.shape[1]
        return _Candidate(labeled=False, largest=n_pixels, sharpest=sharpest)
    except (UnreadableImageError, OSError):
        return _Candidate(labeled=False, is_readable=False)


def _choose(members: list[int], candidates: dict[int, _Candidate], criteria: Sequence[str]) -> tuple[int, str]:
    """Return the row to keep of a group, and what decided."""
    remaining = [row for row in members if candidates[row].is_readable] or members
    reason = "first"
    for criterion in criteria:
        values = [getattr(candidates[row], criterion) for row in remaining]
        tolerance = _MIN_DIFFERENCE * max(values) if criterion == "sharpest" else 0
        best = [row for row, value in zip(remaining, values, strict=True) if value >= max(values) - tolerance]
        if len(best) < len(remaining):
            remaining, reason = best, criterion
    return remaining[0], reason


def _notes(clusters: Sequence[IntArray], labels: dict[int, Any], candidates: dict[int, _Candidate]) -> list[str]:
    notes = []
    distinct = [{labels[row] for row in cluster.tolist() if not is_missing(labels[row])} for cluster in clusters]
    n_conflicts = sum(len(values) > 1 for values in distinct)
    if n_conflicts:
        notes.append(
            f"{format_count(n_conflicts, 'group')} of images with different labels: look at these before you remove "
            "images, as one of the labels may be wrong."
        )
    n_unreadable = sum(not candidate.is_readable for candidate in candidates.values())
    if n_unreadable:
        notes.append(f"{format_count(n_unreadable, 'image')} of these groups cannot be read now.")
    return notes
