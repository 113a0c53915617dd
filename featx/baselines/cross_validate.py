"""Comparison of scikit-learn estimators by cross-validation on a feature matrix.

Half of the lines of `compare_baselines` list, check and pass on its parameters.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.comparison import Comparison
from featx.baselines.estimators import EstimatorsLike, TaskOption, as_baselines, check_task
from featx.baselines.fitting import Dataset, FoldResult
from featx.baselines.fold_results import CombinedResults, prediction_table
from featx.baselines.folds.given_folds import validate_row_indices
from featx.baselines.folds.groups import resolve_groups
from featx.baselines.folds.make_split import check_split_options, make_split
from featx.baselines.folds.split import Split
from featx.baselines.metrics import misleading_accuracy, no_better_than_dummy
from featx.baselines.scaling.approximate import approximate_baselines
from featx.baselines.scaling.column_statistics import column_statistics, row_blocks
from featx.baselines.scaling.limits import ScaleLimits
from featx.baselines.scaling.schedule import Schedule
from featx.baselines.score_folds import check_images_of, score_all
from featx.baselines.streaming.baselines import Streams, stream_baselines
from featx.baselines.streaming.sample import curve_of_estimator
from featx.baselines.streaming.scan import scan_columns, validate_rows
from featx.datasets.labels import (
    as_label_array,
    check_shapes,
    describe_inferred_task,
    infer_task,
    validate_data,
    validate_labels,
)
from featx.datasets.tags import tag_names
from featx.errors import ComparisonError, OptionError
from featx.features.duplicates.find import Duplicates
from featx.features.selected_rows import is_in_memory, is_read_on_demand
from featx.system.array_types import Float64Array, IntArray
from featx.system.formatting import format_count
from featx.system.terminal.progress import ProgressFunction, reporting, stage

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Built-in estimators that depend on distances and do not standardize, which is best for features of a network.
_DISTANCE_BASED = ("svm", "linear-svm", "knn", "centroid", "svr")
#: They get a note if a standard deviation exceeds the median one by this factor.
_MAX_STD_RATIO = 30


def check_comparison_options(
    estimators: EstimatorsLike | None = None,
    task: str = "auto",
    cv: Any = 5,
    repeats: int = 1,
    *,
    random_state: int = 0,
    n_jobs: int | None = -1,
    time_limit: float | None = None,
) -> None:
    """Raise an error if no data can be compared with these options.

    Raises
    ------
    OptionError
        If `task` or an estimator is unknown, `estimators` is empty, `cv` or `repeats` is too small, `random_state` is
        not an integer from 0 to 2³² − 1, `n_jobs` is 0, or `time_limit` is not a positive number.
    """
    check_task(task)
    check_split_options(cv, repeats)
    if not isinstance(random_state, int | np.integer) or not 0 <= random_state < 2**32:
        raise OptionError(
            f"random_state (--random-state) must be an integer from 0 to 2**32 - 1, got {random_state!r}."
        )
    if n_jobs is not None and (not isinstance(n_jobs, int | np.integer) or n_jobs == 0):
        raise OptionError(
            f"n_jobs (--n-jobs) must be an integer other than 0, or None, got {n_jobs!r}. Use -1 for all cores."
        )
    is_number = isinstance(time_limit, int | float | np.integer | np.floating) and not isinstance(time_limit, bool)
    if time_limit is not None and not (is_number and 0 < time_limit < np.inf):
        raise OptionError(
            f"time_limit (--time-limit) must be a positive number of minutes, got {time_limit!r}. Use 10, or None for "
            "no limit."
        )
    if task != "auto":
        as_baselines(estimators, task, random_state)


def compare_baselines(
    X: ArrayLike,
    y: ArrayLike | Iterable[Any],
    *,
    estimators: EstimatorsLike | None = None,
    task: TaskOption = "auto",
    cv: Any = 5,
    repeats: int = 1,
    groups: ArrayLike | Iterable[Any] | None = None,
    tune: bool = False,
    random_state: int = 0,
    n_jobs: int | None = -1,
    time_limit: float | None = None,
    exact: bool = False,
    limits: ScaleLimits | None = None,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> Comparison:
    """Compare estimators by cross-validation, with confidence intervals and significance tests.

    All estimators are scored on the same folds.

    Parameters
    ----------
    X : array-like of float of shape (n_samples, n_features), or FeatureMatrix
        Features.
    y : array-like of shape (n_samples,)
        Labels or continuous targets. Samples without a label are dropped, which is noted.
    estimators : sequence of str or estimator, mapping of str to estimator, or None, default=None
        Estimators to compare: names of baselines (see Notes), names of scikit-learn classes, full names of classes of
        other libraries such as ``"xgboost.XGBClassifier"``, or estimators. None: ``dummy``, ``logreg``,
        ``svm`` and ``knn``; for regression ``dummy``, ``ridge``, ``svr`` and ``knn``.
    task : {"auto", "classification", "regression", "multilabel"}, default="auto"
        Type of the target. "auto" selects multilabel for lists of tags and matrices of 0 and 1; regression for floats
        with a fractional part and for integers with more than 20 distinct values and fewer than five samples per value,
        unless they number classes without gaps; otherwise classification.
    cv : int, splitter, list of (train, test) or Split, default=5
        Number of folds, a scikit-learn splitter, row indices of the folds, or the ``split`` of another comparison. One
        pair ``[(train, test)]`` is a given test set. The number of folds is reduced for small classes, which is noted.
    repeats : int, default=1
        Number of repetitions of the folds with different shuffles.
    groups : array-like of shape (n_samples,), "auto" or None, default=None
        Group of each sample, for example a patient. Samples of one group are never split between training and test set.
        "auto": near-duplicates form groups, see :func:`find_duplicates`. None: no groups.
    tune : bool, default=False
        Whether to tune the parameters of built-in baselines by nested cross-validation.
    random_state : int, default=0
        Seed of the shuffles, and of estimators with ``random_state=None``.
    n_jobs : int or None, default=-1
        Number of folds at the same time. -1: one per core. None: 1. Scores do not depend on it.
    time_limit : float or None, default=None
        Minutes for all estimators. Those that cannot finish are excluded, with a note. None: no limit.
    exact : bool, default=False
        Whether estimators are those of small comparisons for any number of samples. False: beyond 10,000 samples,
        ``svm`` and ``svr`` are approximated, and beyond 100,000 others too, see Notes.
    limits : ScaleLimits or None, default=None
        Sizes above which a comparison works differently. None: the defaults.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    Comparison
        Scores, verdicts and out-of-fold predictions.

    Raises
    ------
    ComparisonError
        If `X` is not a matrix of finite numbers, lengths differ, labels mix numbers and text, there is only one class
        or group, or no estimator can be fitted.
    OptionError
        If an option has an invalid value, or an estimator is unknown.

    See Also
    --------
    compare_images : Extract features of images and compare baselines on them.
    rank_features : Rank feature matrices without fitting estimators to each.
    learning_curve : Score as a function of the number of training samples.

    Notes
    -----
    The baselines for classification are ``dummy``, ``logreg``, ``svm``, ``linear-svm``, ``knn``, ``ridge``, ``lda`` and
    ``centroid``; for regression ``dummy``, ``ridge``, ``svr`` and ``knn``. Their settings suit features of frozen
    networks.

    Beyond 10,000 samples, with a time limit, or if it may take more than half of the available memory, each estimator
    is first fitted on a small part, from which time and memory are estimated. One that does not fit into memory is
    excluded, with a note. Beyond 10,000 samples, ``svm`` and ``svr`` become 1,000 components of Nystroem's method and a
    ridge model, named so in the table.

    Features from :func:`open_features` or a memory map are read in blocks beyond 100,000 samples or 1 GB, an array in
    memory beyond 1 GB. ``ridge`` comes from one pass, which computes the Gram matrix of each fold; ``logreg`` takes
    some passes for all folds, preconditioned by the same matrices; ``svm`` and ``svr`` are components and ridge from
    one pass, with the default ``gamma`` of all rows. All other estimators, and ``logreg`` of many classes, are fitted
    on 20,000 training rows of each fold, stratified by class, and tested on all rows. The table names them so.

    Class probabilities, or values of tags, that take more than 512 MB for an estimator are not kept, with a note.

    Folds are shuffled, stratified by class and keep groups together. Confidence intervals and p-values account for
    overlapping training sets [1]_. If there is a single test set, or folds do not vary, intervals are Wilson's, and
    p-values those of McNemar's exact test (for regression a bootstrap and a paired t-test).

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003), 239–281.

    Examples
    --------
    >>> from featx import compare_baselines
    >>> from sklearn.datasets import load_iris
    >>> comparison = compare_baselines(*load_iris(return_X_y=True), estimators=["dummy", "knn", "lda"])
    >>> comparison.best
    'lda'
    >>> comparison.table["accuracy_mean"].round(2).tolist()
    [0.33, 0.95, 0.98]
    >>> comparison.table["verdict"].tolist()
    ['worse', 'tie', 'best']
    """
    check_comparison_options(
        estimators, task, cv, repeats, random_state=random_state, n_jobs=n_jobs, time_limit=time_limit
    )
    limits = limits or ScaleLimits()
    all_X: Any = X if is_read_on_demand(X) else np.asarray(X)
    all_y = as_label_array(y)
    check_shapes(all_X, all_y)
    is_streamed = not exact and limits.is_out_of_core(
        all_X.shape, in_memory=is_in_memory(all_X), itemsize=all_X.dtype.itemsize
    )
    all_X = all_X if is_streamed else np.asarray(all_X)
    labeled_X, labels, rows, notes = (validate_rows if is_streamed else validate_data)(all_X, all_y)
    resolved_task = infer_task(labels) if task == "auto" else task
    notes += filter(None, [describe_inferred_task(labels)] if task == "auto" else [])
    labels = validate_labels(labels, resolved_task)
    if resolved_task == "multilabel" and is_streamed:
        raise ComparisonError(
            f"Cannot compare several labels for each of {len(labels):,} samples in blocks. Use exact=True (--exact) if "
            "the rows fit into memory, or fewer samples."
        )
    baselines = as_baselines(estimators, resolved_task, random_state)
    check_images_of(baselines, len(labels))
    codes, duplicates = resolve_groups(groups, labeled_X, rows, len(all_X))
    notes += _describe_duplicates(duplicates)
    cv = _select_labeled(cv, rows, len(all_X))
    split = make_split(labels, task=resolved_task, cv=cv, repeats=repeats, groups=codes, random_state=random_state)
    data = Dataset(labeled_X, labels, resolved_task, codes, random_state, limits)
    data = _without_large_probabilities(data, split, notes)
    total = len(baselines) * len(split.folds)
    with reporting(verbose, progress), stage("compare", total, "folds") as advance:
        schedule = Schedule(data, split.folds, tune, n_jobs, time_limit, advance, notes)
        if is_streamed:
            scored, results = _score_streamed(baselines, schedule, rows)
        else:
            scored, results = _score_in_memory(baselines, schedule, exact=exact)
    combined = CombinedResults.combine(results, data, split, tune=tune)
    notes += [*split.notes, *_describe_scores(combined, resolved_task)]
    split = split.map_rows(rows)
    curve: Any = functools.partial(
        curve_of_estimator, limits=limits, exact=exact, n_rows=limits.subset_rows if is_streamed else None
    )
    return Comparison(
        table=combined.table,
        fold_scores=combined.fold_scores,
        predictions=prediction_table(combined.predictions, rows[combined.predictions.rows]),
        probabilities=combined.predictions.probabilities,
        margins=combined.predictions.margins,
        y=combined.predictions.y,
        classes=combined.predictions.classes,
        task=resolved_task,
        split=split,
        notes=notes,
        duplicates=duplicates,
        tag_values=combined.predictions.tag_values,
        _compute_curve=functools.partial(
            curve, all_X, all_y, split, task=resolved_task, random_state=random_state, n_jobs=n_jobs
        ),
        _builtin_names=_names_of_builtin(baselines, scored),
    )


def _score_in_memory(
    baselines: list[Baseline], schedule: Schedule, *, exact: bool
) -> tuple[list[Baseline], dict[str, list[FoldResult]]]:
    """Return the baselines that were scored, some of them approximate, and their results."""
    data = schedule.data
    schedule.notes.extend(_note_different_scales(column_statistics(row_blocks(data.X)).std, baselines))
    if not exact:
        baselines = approximate_baselines(
            baselines,
            len(data.y),
            data.limits,
            schedule.notes,
            random_state=data.random_state,
            n_classes=data.n_classes,
        )
    return baselines, score_all(baselines, schedule)


def _score_streamed(
    baselines: Sequence[Baseline], schedule: Schedule, rows: IntArray
) -> tuple[list[Baseline], dict[str, list[FoldResult]]]:
    """Return what was scored on rows that are read in blocks, and the results; `rows` are indices for messages."""
    data = schedule.data
    statistics = scan_columns(data.X, rows)
    schedule.notes.extend(_note_different_scales(statistics.std, baselines))
    streamed = stream_baselines(baselines, Streams(schedule, statistics), schedule.notes)
    in_blocks = dataclasses.replace(data, limits=dataclasses.replace(data.limits, exact_rows=0))  # all predictions
    sampled = dataclasses.replace(schedule, data=in_blocks, folds=streamed.folds)
    return streamed.baselines, score_all(streamed.baselines, sampled, streamed.direct)


def _names_of_builtin(baselines: Sequence[Baseline], scored: Sequence[Baseline]) -> dict[str, str]:
    """Return the names of built-in baselines, and their names in the table, which differ for many samples."""
    return {
        baseline.name: replaced.name
        for baseline, replaced in zip(baselines, scored, strict=True)
        if baseline.is_builtin and not baseline.is_calibrated
    }


def _without_large_probabilities(data: Dataset, split: Split, notes: list[str]) -> Dataset:
    """Return data whose probabilities, or values of tags, are not kept if they take too much memory, and add a note."""
    if data.task == "regression":
        return data
    has_tags = data.task == "multilabel"
    n_tested, n_classes = (
        sum(len(test) for _, test in split.folds),
        len(tag_names(data.y) if has_tags else np.unique(data.y)),
    )
    if data.limits.keeps_probabilities(n_tested, n_classes):
        return data
    notes.append(
        f"{'Values of tags' if has_tags else 'Class probabilities'} are not kept: those of {n_tested:,} predictions "
        f"and {n_classes:,} {'tags' if has_tags else 'classes'} would take "
        f"{4 * n_tested * n_classes / 1e9:.1f} GB for each estimator."
    )
    return dataclasses.replace(data, keeps_probabilities=False)


def _describe_duplicates(duplicates: Duplicates | None) -> list[str]:
    """Return a note on near-duplicates, if there are any."""
    if duplicates is None or not len(duplicates):
        return []
    groups = format_count(len(duplicates), "group")
    centered = ", detected after subtracting the mean row" if duplicates.centered else ""
    return [
        f"{duplicates.n_rows:,} near-duplicates in {groups} are never split between training and test set{centered}."
    ]


def _describe_scores(combined: CombinedResults, task: str) -> list[str]:
    """Return notes on scores that are easily misread."""
    accuracy = misleading_accuracy(combined.table, combined.predictions.y) if task == "classification" else ""
    return [note for note in (accuracy, no_better_than_dummy(combined.table, task)) if note]


def _note_different_scales(std: Float64Array, baselines: Sequence[Baseline]) -> list[str]:
    """Return a note if some columns dominate all distances."""
    std = std[std > 0]
    names = [baseline.name for baseline in baselines if baseline.is_builtin and baseline.name in _DISTANCE_BASED]
    if not names or not len(std) or std.max() <= _MAX_STD_RATIO * np.median(std):
        return []
    return [
        f"The largest standard deviation of a column of X is {std.max() / np.median(std):,.0f} times the median: such "
        f"columns dominate {', '.join(names)}. Standardize X if its columns have different units."
    ]


def _select_labeled(cv: Any, rows: IntArray, n_samples: int) -> Any:
    """Return given folds of all samples as folds of the labeled ones."""
    if isinstance(cv, Split) and len(rows) == n_samples:
        return cv
    cv = cv.folds if isinstance(cv, Split) else cv
    if not isinstance(cv, list | tuple):
        return cv
    positions = np.full(n_samples, -1)
    positions[rows] = np.arange(len(rows))
    folds = []
    for index, pair in enumerate(cv):
        parts = (positions[validate_row_indices(part, n_samples, index)] for part in pair)
        folds.append(tuple(part[part >= 0] for part in parts))
    return folds
