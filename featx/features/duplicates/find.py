"""Find near-duplicates among rows of features."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import ComparisonError, OptionError
from featx.features.duplicates.dense import N_NEIGHBORS, link_all_pairs
from featx.features.duplicates.large import distinct_rows, link_many_rows
from featx.features.duplicates.limits import DuplicateLimits
from featx.features.open import open_features
from featx.features.search.cosine import normalize_rows
from featx.system.array_types import FloatArray, IntArray
from featx.system.formatting import format_count, format_list
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import table_to_html
from featx.system.terminal.progress import ProgressFunction, reporting, stage

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from featx.features.matrix import FeatureMatrix

#: Default cosine similarity from which rows are near-duplicates.
DUPLICATE_THRESHOLD = 0.97
#: Maximum number of groups that notebooks show.
_MAX_SHOWN_GROUPS = 20


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Result of :func:`find_duplicates`: groups of near-duplicate rows.

    Attributes
    ----------
    groups : ndarray of int of shape (n_samples,)
        Group of each row; most rows are the only one of their group. Can be passed as `groups` to
        :func:`compare_baselines` and to scikit-learn's splitters.
    cosine : ndarray of float32 of shape (n_samples,)
        Cosine similarity to the most similar row of the group; NaN for rows without a near-duplicate.
    threshold : float
        The `duplicate_threshold` that was used.
    centered : bool
        Whether the mean row was subtracted before rows were compared; see the Notes of :func:`find_duplicates`.

    See Also
    --------
    find_duplicates : Return a result of this class.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import find_duplicates
    >>> duplicates = find_duplicates(np.eye(5)[[0, 1, 2, 1]])
    >>> duplicates.clusters, duplicates.n_rows, len(duplicates)
    ([array([1, 3])], 2, 1)
    """

    groups: IntArray
    cosine: FloatArray
    threshold: float
    centered: bool = False

    @functools.cached_property
    def clusters(self) -> list[IntArray]:
        """Row indices of each group of at least two rows, largest group first."""
        _, labels, counts = np.unique(self.groups, return_inverse=True, return_counts=True)
        rows = np.flatnonzero(counts[labels] > 1)
        order = rows[np.argsort(labels[rows], kind="stable")]
        parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []
        return sorted(parts, key=lambda part: (-len(part), int(part[0])))

    @property
    def n_rows(self) -> int:
        """Number of rows that have a near-duplicate."""
        return int((~np.isnan(self.cosine)).sum())

    def __repr__(self) -> str:
        groups = format_count(len(self), "group")
        return f"<Duplicates: {groups} with {self.n_rows:,} of {format_count(len(self.groups), 'row')}>"

    def _repr_html_(self) -> str:
        """Return the largest groups as an HTML table, for notebooks."""
        rows = [
            {
                "rows": format_list(rows.tolist(), 10),
                "size": f"{len(rows):,}",
                "cosine": f"{self.cosine[rows].min():.4f}",
            }
            for rows in self.clusters[:_MAX_SHOWN_GROUPS]
        ]
        facts = {
            "groups": f"{len(self):,}",
            "rows in groups": f"{self.n_rows:,} of {len(self.groups):,}",
            "threshold": f"{self.threshold:g}",
        }
        notes = ["Rows have much in common; similarities were computed after subtracting their mean."]
        table = table_to_html(rows) if rows else ""
        return card_to_html("Near-duplicates", facts, table, notes=notes if self.centered else [])

    def __len__(self) -> int:
        """Return the number of groups of at least two rows."""
        return len(self.clusters)


def find_duplicates(
    features: str | os.PathLike[str] | FeatureMatrix | ArrayLike,
    *,
    duplicate_threshold: float = DUPLICATE_THRESHOLD,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> Duplicates:
    """Find groups of near-duplicate rows.

    Two rows are near-duplicates if their cosine similarity is at least `duplicate_threshold`, or if it is at least 0.90
    and they stand out: their distance (1 − cosine) is at most half the distance of either row to its tenth-nearest
    neighbor. Rows that are linked by such pairs form a group.

    Parameters
    ----------
    features : str, Path, FeatureMatrix or array-like of float of shape (n_samples, n_features)
        Feature rows, or the path of a feature file or a job as for :func:`open_features`. Large matrices of
        :func:`open_features` and memory maps are read in blocks.
    duplicate_threshold : float, default=0.97
        Minimum cosine similarity, above 0 and at most 1. With 1, only rows that are equal up to rounding are
        near-duplicates.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    Duplicates
        Group of each row, and the similarity to the nearest row of the group.

    Raises
    ------
    OptionError
        `duplicate_threshold` is out of range.
    ComparisonError
        `features` is not a two-dimensional matrix of finite numbers.
    FeaturesNotFoundError
        There is no feature file or job at this path.

    See Also
    --------
    find_similar : Find the rows most similar to given queries.
    open_features : Open a feature file or a job.

    Notes
    -----
    **Accuracy.** The rule was measured with MobileNet features of 840 aerial photos and 1,797 digits, and altered
    copies of 120 of each. Among the photos, a threshold of 0.97 alone finds 45 % of the copies with JPEG quality 50,
    14 % at half the size, 3 % cropped by 5 % on each side and 6 % of the mirrored ones; with the second rule it is 99,
    78, 98 and 100 %. Of the photos themselves, 71 are in groups (many are neighboring crops of one place, one pair is
    identical), of the digits 60. No group has more than five rows, and none mixes classes. A threshold of 0.95 alone
    would link 104 digits. The second rule cannot find more than ten similar images with a cosine similarity between
    0.90 and 0.97, such as the frames of a video. Pass their groups explicitly.

    **Centering.** In features that have much in common for all images (early layers, few columns, images of one
    scene), most rows are similar. If more than half of the distinct rows would form one group and the threshold is
    below 1, the mean row is subtracted from all rows first. For the photos, at 0.9 of the network's depth, this finds
    116 of the 126 pairs of the last layer, and 139 instead of all 840 photos are in groups; at half the depth, 122
    pairs and 505 photos.

    **Cost.** All pairs are compared in blocks of 64 MB: 8,000 rows of 1,024 features took 1.7 s on two cores, and the
    time grows with the square of the number of rows. Of more than 20,000 rows or 256 MB, most pairs are excluded by an
    upper bound of their cosine similarity in a few dimensions; the result is the same. 200,000 rows took 52 s and
    0.36 GB of memory (2.8 ns per pair and core); a million need 1.3 GB and half an hour of processor time.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import find_duplicates
    >>> features = np.random.default_rng(0).normal(size=(50, 64))
    >>> features[40] = 1.01 * features[7]
    >>> find_duplicates(features).clusters
    [array([ 7, 40])]
    """
    check_threshold("duplicate_threshold", duplicate_threshold)
    matrix = open_features(features) if isinstance(features, str | os.PathLike) else features
    with reporting(verbose, progress):
        return find_duplicate_rows(matrix, float(duplicate_threshold))


def find_duplicate_rows(
    features: Any,
    threshold: float,
    *,
    limits: DuplicateLimits | None = None,
) -> Duplicates:
    """Return the result of :func:`find_duplicates` for a matrix, with limits that tests can lower."""
    limits = limits or DuplicateLimits()
    n_samples = len(features) if hasattr(features, "shape") and len(features.shape) == 2 else 0
    is_large = n_samples > limits.dense_rows or (n_samples and 4 * n_samples * features.shape[1] > limits.dense_bytes)
    if n_samples > 2 * N_NEIGHBORS and is_large:
        try:
            with stage("find duplicates", n_samples, "rows") as progress:
                labels, cosine, kinds, counts, centered = link_many_rows(features, threshold, limits, progress)
        except ValueError as error:
            raise _not_finite(features.shape) from error
    else:
        rows = np.asarray(features, dtype=np.float32)
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise _not_finite(rows.shape)
        distinct, kinds, counts = _distinct_rows(rows)
        labels, cosine, centered = _link_few_rows(distinct, threshold, limits)
    cosine = np.where(counts > 1, np.float32(1), cosine)
    groups = np.unique(labels[kinds], return_inverse=True)[1].astype(np.int64)
    return Duplicates(groups, cosine[kinds], threshold, centered)


def find_equal_rows(features: Any, limits: DuplicateLimits | None = None) -> Duplicates:
    """Return groups of equal rows, from one pass.

    Parameters
    ----------
    features : FeatureMatrix, SelectedRows or ndarray of shape (n_samples, n_features)
    limits : DuplicateLimits or None, default=None

    Raises
    ------
    ComparisonError
        A row is not finite.
    """
    try:
        _, kinds, counts = distinct_rows(features, limits or DuplicateLimits())
    except ValueError as error:
        raise _not_finite(features.shape) from error
    return Duplicates(kinds, np.where(counts[kinds] > 1, np.float32(1), np.float32(np.nan)), 1.0)


def check_threshold(name: str, value: Any) -> None:
    """Raise :class:`OptionError` if a value is not a valid threshold of a cosine similarity."""
    if not isinstance(value, int | float | np.floating) or not 0 < value <= 1:
        option = f"--{name.replace('_', '-')}"
        raise OptionError(
            f"{name} ({option}) must be a number above 0 and at most 1, got {value!r}. The default is 0.97."
        )


def _link_few_rows(
    distinct: FloatArray, threshold: float, limits: DuplicateLimits
) -> tuple[IntArray, FloatArray, bool]:
    """Return group and highest cosine similarity of each row, and whether the mean row was subtracted."""
    labels, cosine = link_all_pairs(normalize_rows(distinct), threshold, limits)
    is_connected = len(distinct) > 2 * N_NEIGHBORS and 2 * int(np.bincount(labels).max()) > len(distinct)
    if threshold < 1 and is_connected:
        return *link_all_pairs(normalize_rows(distinct - distinct.mean(axis=0)), threshold, limits), True
    return labels, cosine, False


def _distinct_rows(rows: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return the distinct rows, the index of each row among them, and how often each occurs."""
    rows = np.ascontiguousarray(rows + 0)  # -0 becomes 0
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * max(1, rows.shape[1]))))
    _, first, kinds, counts = np.unique(as_bytes[:, 0], return_index=True, return_inverse=True, return_counts=True)
    return rows[first], kinds, counts


def _not_finite(shape: tuple[int, ...]) -> ComparisonError:
    values = " with NaN or infinite values" if len(shape) == 2 else ""
    return ComparisonError(
        f"features must be finite numbers of shape (n_samples, n_features), got shape {shape}{values}. Remove "
        "such rows."
    )
