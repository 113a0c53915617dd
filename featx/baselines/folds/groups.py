"""Groups of samples that folds must not divide."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.datasets.labels import as_label_array, is_missing
from featx.errors import ComparisonError, OptionError
from featx.features.duplicates.find import Duplicates, find_duplicates
from featx.system.array_types import AnyArray, IntArray


def group_codes(groups: Any, n_samples: int) -> IntArray:
    """Return the group of each sample as an integer. A missing group becomes a group by itself.

    Raises
    ------
    ComparisonError
        If there is not one group per sample, or only one group in all.
    """
    values = as_label_array(groups, "groups")
    if values.shape != (n_samples,):
        raise ComparisonError(
            f"groups must have shape ({n_samples},), got shape {values.shape}. Pass one group per sample."
        )
    code_by_group: dict[Any, int] = {}
    codes = np.empty(n_samples, dtype=np.int64)
    for index, value in enumerate(values):
        group = ("missing", index) if is_missing(value) else value.strip() if isinstance(value, str) else value
        codes[index] = code_by_group.setdefault(group, len(code_by_group))
    if len(code_by_group) < 2:
        raise ComparisonError(
            f"groups must contain at least two groups, got one for all {n_samples:,} samples. Use another column for "
            "groups, or no groups."
        )
    return codes


def resolve_groups(
    groups: Any, X: AnyArray, rows: IntArray, n_samples: int
) -> tuple[IntArray | None, Duplicates | None]:
    """Return the group of each labeled sample, and the near-duplicates that define the groups.

    Parameters
    ----------
    groups : array-like of shape (n_samples,), "auto" or None
        Groups of all samples. "auto": near-duplicates form groups.
    X : ndarray of float of shape (n_labeled, n_features)
        Features of the labeled samples.
    rows : ndarray of int of shape (n_labeled,)
        Indices of the labeled samples.
    n_samples : int
        Number of all samples.

    Returns
    -------
    codes : ndarray of int of shape (n_labeled,) or None
        Group of each sample. None: each sample is a group by itself.
    duplicates : Duplicates or None
        Near-duplicates, if `groups` is "auto".

    Raises
    ------
    ComparisonError
        See :func:`group_codes`.
    OptionError
        If `groups` is another string.
    """
    if groups is None:
        return None, None
    if not isinstance(groups, str):
        return group_codes(groups, n_samples)[rows], None
    if groups != "auto":
        raise OptionError(f'groups must be "auto", None or one group per sample, got {groups!r}.')
    duplicates = find_duplicates(X)
    return (duplicates.groups if len(duplicates) else None), duplicates
