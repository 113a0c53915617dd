"""Ranking of feature matrices by leave-one-out scores and transferability measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.estimators import TaskOption, check_task
from featx.baselines.folds.groups import resolve_groups
from featx.baselines.folds.make_split import usable_rows
from featx.baselines.metrics import paired_test, verdict
from featx.baselines.ranking.gram import GramMatrix
from featx.baselines.ranking.leave_one_out import decode_targets, knn_predictions, ridge_predictions, score_targets
from featx.baselines.ranking.ranking import CRITERIA, Ranking
from featx.baselines.ranking.transferability import h_score_from_gram, log_me_from_gram
from featx.datasets.labels import as_label_array, encode_targets, infer_task, validate_data, validate_labels
from featx.datasets.tags import tag_names
from featx.errors import ComparisonError, OptionError
from featx.system.array_types import AnyArray, IntArray
from featx.system.formatting import format_count
from featx.system.terminal.progress import ProgressFunction, counted, reporting, stage
from featx.system.threads import map_in_threads

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike


def rank_features(
    features: Mapping[str, ArrayLike],
    y: ArrayLike | Iterable[Any],
    *,
    groups: ArrayLike | Iterable[Any] | None = "auto",
    task: TaskOption = "auto",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> Ranking:
    """Rank feature matrices of the same samples by how well they suit a classifier or regressor.

    Parameters
    ----------
    features : mapping of str to array-like of float of shape (n_samples, n_features)
        Feature matrices by name.
    y : array-like of shape (n_samples,)
        Labels, tags or continuous targets. Samples without a label are dropped, which is noted.
    groups : array-like of shape (n_samples,), "auto" or None, default="auto"
        Group of each sample. A sample is predicted without its whole group. "auto": near-duplicates in the first
        matrix form groups, see :func:`find_duplicates`, and LogME and H-score use one sample of each group. None: no
        groups.
    task : {"auto", "classification", "regression", "multilabel"}, default="auto"
        Type of the target. See :func:`compare_baselines`.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    Ranking
        Scores and ranks.

    Raises
    ------
    ComparisonError
        If there is no matrix, a matrix does not consist of finite numbers, lengths differ, all labels are equal, or
        there are too few groups.
    OptionError
        If `task` or `groups` has an invalid value.

    See Also
    --------
    rank_images : Extract features of images with several recipes and rank them.
    compare_baselines : Compare estimators by cross-validation, which is slower and more reliable.
    leave_one_out : Compute the first and third criterion.
    log_me : Compute the second criterion.
    h_score : Compute the fourth criterion.

    Notes
    -----
    Matrices are sorted by the leave-one-out score of ridge regression, which needs one matrix decomposition. LogME
    breaks ties. For tags, the leave-one-out scores are mean average precisions, and there is no H-score. The table
    shows Kendall's tau of each criterion with the best cross-validated accuracy of logistic regression, SVM, nearest
    neighbors and ridge, for 31 layers, poolings and sizes of MobileNet with near-duplicates as groups:

    ======================================= ========= ===== ==== =======
    images                                  loo_ridge LogME kNN  H-score
    ======================================= ========= ===== ==== =======
    840 aerial photos, 21 classes           0.90      0.91  0.69 0.74
    1,797 digits, 10 classes                0.95      0.94  0.72 0.75
    ======================================= ========= ===== ==== =======

    Ranking all 31 took 4 s (photos) and 9 s (digits) on two cores; the cross-validation took 48 and 49 s. A matrix of
    8,000 × 1,024 with 100 classes takes 5 s; the default estimators of :func:`compare_baselines` take 39 s.

    Examples
    --------
    >>> from featx import rank_features
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> ranking = rank_features({"sepals": X[:, :2], "petals": X[:, 2:], "all": X}, y, groups=None)
    >>> ranking.best
    'all'
    >>> ranking.table["verdict"].tolist()
    ['best', 'tie', 'worse']
    """
    check_task(task)
    if not isinstance(features, Mapping):
        kind = type(features).__name__
        raise OptionError(f"features must be a mapping of names to matrices, got {kind}. Pass {{'features': X}}.")
    if not features:
        raise ComparisonError("features must contain at least one feature matrix, got none. Add one.")
    all_labels = as_label_array(y)
    validated = {name: validate_data(matrix, all_labels) for name, matrix in features.items()}
    first_name = next(iter(validated))
    first_matrix, labels, rows, notes = validated[first_name]
    resolved_task = infer_task(labels) if task == "auto" else task
    labels = validate_labels(labels, resolved_task)
    codes, duplicates = resolve_groups(groups, first_matrix, rows, len(all_labels))
    duplicate_groups = codes if duplicates is not None else None
    if duplicates is not None and len(duplicates):
        notes.append(
            f"{duplicates.n_rows:,} near-duplicates in {format_count(len(duplicates), 'group')}: each one is predicted "
            "without its group, and LogME and H-score use one sample of each group."
        )
    matrices = [({"name": name}, matrix) for name, (matrix, *_) in validated.items()]
    try:
        with reporting(verbose, progress):
            table, used = rank_matrices(
                matrices,
                labels,
                task=resolved_task,
                groups=codes,
                duplicate_groups=duplicate_groups,
                notes=notes,
            )
    except ComparisonError as error:
        if duplicate_groups is None:
            raise
        raise ComparisonError(
            f"{error} Near-duplicates in {first_name!r} form the groups. Pass groups=None for no groups (scores may be "
            "too high), or list other features first."
        ) from error
    return Ranking(table, resolved_task, len(used), count_classes(labels[used], resolved_task), notes)


def count_classes(y: AnyArray, task: str) -> int:
    """Return the number of classes or tags; 0 for continuous targets."""
    if task == "multilabel":
        return len(tag_names(y))
    return len(np.unique(y)) if task == "classification" else 0


def rank_matrices(
    matrices: Sequence[tuple[dict[str, str], AnyArray]],
    y: AnyArray,
    *,
    task: str,
    groups: IntArray | None,
    duplicate_groups: IntArray | None,
    notes: list[str],
) -> tuple[pd.DataFrame, IntArray]:
    """Return the table of a ranking and the samples that were used.

    Parameters
    ----------
    matrices : sequence of (dict, ndarray of float of shape (n_samples, n_features))
        Feature matrices with their first table columns, which include ``name``.
    y : ndarray of shape (n_samples,)
        Labels, tags or continuous targets.
    task : {"classification", "regression", "multilabel"}
        Type of the target.
    groups : ndarray of int of shape (n_samples,) or None
        Groups of samples. A sample is predicted without its group.
    duplicate_groups : ndarray of int of shape (n_samples,) or None
        Groups of near-duplicates. LogME and H-score use one sample for each group and label.
    notes : list of str
        Notes of dropped classes are appended here.

    Returns
    -------
    table : pandas.DataFrame
        See ``Ranking.table``.
    rows : ndarray of int of shape (n_used,)
        Indices of the samples.

    Raises
    ------
    ComparisonError
        If there are too few classes, groups or different values.
    """
    rows = np.arange(len(y))
    if task == "classification":
        rows, dropped_notes = usable_rows(y, groups)
        notes += dropped_notes
    elif len(set(y.tolist())) < 2:
        raise ComparisonError(f"y must contain at least two different values, got {len(y):,} equal ones. Add samples.")
    scorer = _Scorer.create(y[rows], task, groups, duplicate_groups, rows)

    def score_one(X: AnyArray) -> tuple[dict[str, float], AnyArray]:
        return scorer.score(X if len(rows) == len(X) else X[rows])

    # One matrix per core, with one BLAS thread each: several BLAS threads mostly wait for each other. Measured with
    # 1,797 rows of 1,024 features on two busy cores: 0.8 s with one thread, 1.6 s with two.
    with stage("rank", len(matrices), "matrices") as progress:
        results = list(counted(map_in_threads(score_one, [X for _, X in matrices]), progress))
    records = [
        {**columns, "features": X.shape[1], **scores}
        for (columns, X), (scores, _) in zip(matrices, results, strict=True)
    ]
    return _sorted_table(records, [predicted for _, predicted in results], y[rows], task), rows


@dataclasses.dataclass(frozen=True)
class _Scorer:
    """The criteria for one set of samples.

    ``independent`` are the samples for LogME and H-score: one of each group of near-duplicates and label; None for all.
    """

    y: AnyArray
    task: str
    groups: IntArray
    independent: IntArray | None

    @classmethod
    def create(
        cls, y: AnyArray, task: str, groups: IntArray | None, duplicate_groups: IntArray | None, rows: IntArray
    ) -> _Scorer:
        codes = np.unique(groups[rows], return_inverse=True)[1] if groups is not None else np.arange(len(y))
        independent = None
        if duplicate_groups is not None:
            pairs = np.stack([duplicate_groups[rows], np.unique(y, return_inverse=True)[1]])
            independent = np.sort(np.unique(pairs, axis=1, return_index=True)[1])
        return cls(y, task, codes, independent)

    def score(self, X: AnyArray) -> tuple[dict[str, float], AnyArray]:
        """Return the criteria of a feature matrix, and the leave-one-out predictions of ridge regression."""
        y, task = self.y, self.task
        targets = encode_targets(y, task)
        gram = GramMatrix.from_features(X, standardize=True)
        predicted = ridge_predictions(gram, targets, self.groups)
        scores = {
            "loo_ridge": score_targets(predicted, y, task),
            "logme": 0.0,
            "loo_knn": score_targets(knn_predictions(X, targets, self.groups), y, task),
            "h_score": float("nan"),
        }
        if self.independent is not None and len(self.independent) < len(X):
            X, targets = X[self.independent], encode_targets(y[self.independent], task)
            gram = GramMatrix.from_features(X, standardize=True)
        scores["logme"] = log_me_from_gram(gram, targets)
        if task == "classification":
            scores["h_score"] = h_score_from_gram(GramMatrix.from_features(X), targets)
        return scores, decode_targets(predicted, y, task)


def _sorted_table(
    records: Sequence[Mapping[str, Any]], predictions: Sequence[AnyArray], y: AnyArray, task: str
) -> pd.DataFrame:
    """Return the table with ranks and verdicts, the best matrix first."""
    import pandas as pd

    table = pd.DataFrame(records)
    for criterion in CRITERIA:
        table[f"{criterion}_rank"] = table[criterion].rank(ascending=False, method="min").astype("Int64")
    order = table.sort_values([f"{name}_rank" for name in CRITERIA[:2]], kind="stable").index.to_numpy()
    best_predicted = predictions[order[0]]
    p_values = [paired_test(task, y, predictions[row], best_predicted) for row in order[1:]]
    table = table.loc[order].reset_index(drop=True)
    position = list(table.columns).index("loo_ridge") + 1
    table.insert(position, "p_value", [np.nan, *p_values])
    table.insert(position + 1, "verdict", ["best", *map(verdict, p_values)])
    return table
