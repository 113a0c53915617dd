"""Feature matrices ordered by how much they tell about labels, without fitting and scoring estimators on each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.estimators import TASKS
from featx.baselines.metrics import CONFIDENCE, METRIC_NAMES, METRICS, paired_test, score
from featx.baselines.ranking.gram import Matrix, Products
from featx.baselines.ranking.leave_one_out import as_labels, neighbours_of, ridge_of
from featx.baselines.ranking.transferability import h_score_of, log_me_of
from featx.baselines.splits import group_codes, usable_rows
from featx.datasets.labels import encode_targets, infer_task, validate_data, validate_labels
from featx.errors import ComparisonError, OptionError
from featx.features.duplicates.find import find_duplicates
from featx.system.array_types import IntArray
from featx.system.formatting import format_count, wrap_text

if TYPE_CHECKING:
    import pandas as pd

#: What features are rank_matrices by. The first decides the order, the next where that is equal.
CRITERIA = ("loo_ridge", "logme", "loo_knn", "h_score")
_CRITERION_NAMES = {"loo_ridge": "ridge", "logme": "LogME", "loo_knn": "kNN", "h_score": "H-score"}


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Features of the same images, ordered by how much they tell about the labels.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each matrix, the best first: ``name``, and of networks ``backbone, layer, pooling``; ``features``,
        the width; ``loo_ridge`` and ``loo_knn``, accuracy (of quantities, R²) of leaving out each row with its group;
        ``logme``; ``h_score`` (NaN for quantities); the rank by each of them, as ``loo_ridge_rank`` and so on, 1 the
        best, equals sharing the lower; ``p_value`` of no difference to the best in what ridge predicts (McNemar's exact
        test; for quantities a paired t-test of squared errors), and ``verdict``: ``best``, ``tie`` or ``worse``.
    task : {"classification", "regression"}
    n_rows, n_classes : int
        Rows that were rank_matrices on, and their classes; 0 of quantities.
    notes : list of str
        What was done that was not asked for, and what to beware of.
    """

    table: pd.DataFrame
    task: str
    n_rows: int
    n_classes: int
    notes: list[str]

    @property
    def best(self) -> str:
        """Name of the features that come first."""
        return str(self.table["name"].iloc[0])

    @property
    def ties(self) -> list[str]:
        """Names of those whose distance to the best may be chance."""
        return self.table["name"][self.table["verdict"] == "tie"].tolist()

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx rank --json`` prints; what is not defined is None."""
        records = self.table.astype(object).where(self.table.notna(), None).to_dict(orient="records")
        return {
            "task": self.task,
            "rows": self.n_rows,
            "classes": self.n_classes,
            "criterion": CRITERIA[0],
            "ranking": records,
            "best": records[0],
            "ties": self.ties,
            "warnings": self.notes,
        }

    def as_text(self) -> str:
        """Return the table for people, the best marked."""
        lines = [
            f"{self._headline()}; in brackets the rank by each",
            "",
            *self._lines(),
            "",
            wrap_text(self._conclusion()),
        ]
        return "\n".join([*lines, *map(wrap_text, self.notes)])

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table."""
        return str(self.table.round(4).to_html(index=False))

    def _headline(self) -> str:
        classes = f", {format_count(self.n_classes, 'class')}" if self.n_classes else ""
        metric = METRIC_NAMES[METRICS[self.task][0]]
        return f"{format_count(self.n_rows, 'image')}{classes}; ridge and kNN: {metric}, each image left out in turn"

    def _lines(self) -> list[str]:
        width = max(len(name) for name in [*self.table["name"], "features of"])
        header = f"  {'features of':<{width}}  {'width':>7}  {_CRITERION_NAMES['loo_ridge']:<11}  {'':<5}"
        lines = [header + "".join(f"  {_CRITERION_NAMES[name]:<12}" for name in CRITERIA[1:]).rstrip()]
        for at, row in enumerate(self.table.to_dict(orient="records")):
            cells = [
                f"{row[name]:.3f} ({row[f'{name}_rank']:.0f})" if np.isfinite(row[name]) else "" for name in CRITERIA
            ]
            line = f"{'*' if at == 0 else ' '} {row['name']:<{width}}  {row['features']:>7,}  {cells[0]:<11}  "
            lines.append((line + f"{row['verdict']:<5}" + "".join(f"  {cell:<12}" for cell in cells[1:])).rstrip())
        return lines

    def _conclusion(self) -> str:
        ties = self.ties
        names = ", ".join(ties) if len(ties) <= 3 else f"{len(ties)} others, the ties of the table,"
        chance = f"; its lead over {names} may be chance" if ties else ""
        return f"* best: {self.best}{chance}"


def rank_features(
    features: Mapping[str, Any],
    y: Any,
    *,
    groups: Any = "auto",
    task: str = "auto",
    progress: Callable[[str], object] | None = None,
) -> Ranking:
    """Return feature matrices in the order in which they promise to serve a classifier, without fitting one to each.

    The order is that of ``loo_ridge``, the accuracy of ridge regression at each row, fitted without that row and its
    group, which takes one decomposition of a matrix; LogME decides between equals. Kendall's tau with the best
    cross-validated accuracy of logistic regression, SVM, kNN and ridge, measured on 31 layers, poolings and sizes of
    MobileNet, near-duplicates kept together:

    ======================================= ========= ===== === =======
    images                                  loo_ridge LogME kNN H-score
    ======================================= ========= ===== === =======
    840 aerial photos, 21 classes           0.90      0.91  0.69 0.74
    1,797 digits, 10 classes                0.95      0.94  0.72 0.75
    ======================================= ========= ===== === =======

    All 31 took 4 s of the photos and 9 s of the digits on two cores, where comparing those four estimators took 48 and
    49 s; one matrix of 8,000 × 1,024, 100 classes, 5 s, where the default estimators took 39 s.

    Parameters
    ----------
    features : mapping of str to array-like of float, shape (n_samples, n_features)
        Of the same images, in the same order; at least one.
    y : array-like, shape (n_samples,)
        A label or number for each row. Rows whose label is missing are left out, and noted.
    groups : "auto", array-like, shape (n_samples,), or None, default="auto"
        Rows of one group are left out together. ``"auto"`` does that with near-duplicates, as
        :func:`featx.find_duplicates` tells them in the first matrix; of these, LogME and the H-score see one of each
        label.
    task : {"auto", "classification", "regression"}, default="auto"
        As for :func:`featx.compare_baselines`.
    progress : callable, default=None
        Called with the name of each matrix before its turn.

    Returns
    -------
    Ranking

    Raises
    ------
    ComparisonError
        No matrix, one class only, NaN, lengths that differ, one group only.
    OptionError
        Another task, or another word for groups.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> ranking = rank_features({"sepals": X[:, :2], "all": X}, y, groups=None)
    >>> ranking.best
    'all'
    >>> ranking.table["verdict"].tolist()
    ['best', 'tie']
    """
    if task not in TASKS:
        raise OptionError(f"task={task!r}: expected one of {', '.join(TASKS)}.")
    if not features:
        raise ComparisonError("Expected at least one feature matrix to rank, got none.")
    checked = {name: validate_data(matrix, y) for name, matrix in features.items()}
    first, labels, rows, notes = next(iter(checked.values()))
    task = infer_task(labels) if task == "auto" else task
    matrices = {name: found[0] for name, found in checked.items()}
    labels = validate_labels(labels, task)
    once = None
    if isinstance(groups, str):
        if groups != "auto":
            raise OptionError(f'groups={groups!r}: expected "auto", None, or one for each row.')
        duplicates = find_duplicates(first)
        groups = once = duplicates.groups if len(duplicates) else None
        if len(duplicates):
            notes.append(
                f"{duplicates.n_rows} near-duplicates in {format_count(len(duplicates), 'group')} are left out "
                f"together, "
                "and LogME and H-score see one of each."
            )
    elif groups is not None:
        groups = group_codes(groups, len(next(iter(features.values()))))[rows]
    named = [({"name": name}, X) for name, X in matrices.items()]
    try:
        table, kept = rank_matrices(named, labels, task=task, groups=groups, once=once, notes=notes, progress=progress)
    except ComparisonError as error:
        if once is None:
            raise
        raise ComparisonError(
            f"{error} Near-duplicates, told by {next(iter(features))!r}, are left out together: groups=None leaves out "
            "each alone, and scores are then too high; or put features first that tell images apart better."
        ) from error
    n_classes = len(np.unique(labels[kept])) if task == "classification" else 0
    return Ranking(table, task, len(kept), n_classes, notes)


def rank_matrices(
    matrices: Sequence[tuple[dict[str, str], Matrix]],
    y: Matrix,
    *,
    task: str,
    groups: IntArray | None,
    once: IntArray | None,
    notes: list[str],
    progress: Callable[[str], object] | None = None,
) -> tuple[pd.DataFrame, IntArray]:
    """Return the table of a ranking, and the rows that took part.

    Parameters
    ----------
    matrices : sequence of (dict, ndarray of float, shape (n_samples, n_features))
        Each with its first columns of the table, ``name`` among them.
    y : ndarray, shape (n_samples,)
    task : {"classification", "regression"}
    groups : ndarray of int, shape (n_samples,), or None
        Rows that are left out together.
    once : ndarray of int, shape (n_samples,), or None
        Groups of near-duplicates: LogME and H-score see one row of each group and label.
    notes : list of str
        Gets what was left out.
    progress : callable, default=None
    """
    kept = np.arange(len(y))
    if task == "classification":
        kept, left_out = usable_rows(y, groups)
        notes += left_out
    elif len(np.unique(y)) < 2:
        raise ComparisonError(
            f"Expected different quantities, got {len(y)} times the same: there is nothing to rank by."
        )
    y = y[kept]
    codes = np.unique(groups[kept], return_inverse=True)[1] if groups is not None else np.arange(len(y))
    single = None
    if once is not None:
        pairs = np.stack([once[kept], np.unique(y, return_inverse=True)[1]])
        single = np.sort(np.unique(pairs, axis=1, return_index=True)[1])

    def judge(front: dict[str, str], X: Matrix) -> tuple[dict[str, float], Matrix]:
        if progress is not None:
            progress(front["name"])
        return _judged(X if len(kept) == len(X) else X[kept], y, task, codes, single)

    judged = _on_all_cores(judge, matrices)
    records = [
        {**front, "features": X.shape[1], **scores} for (front, X), (scores, _) in zip(matrices, judged, strict=True)
    ]
    predictions = [predicted for _, predicted in judged]
    return _ordered(records, predictions, y, task), kept


def _ordered(records: Sequence[Mapping[str, Any]], predictions: Sequence[Matrix], y: Matrix, task: str) -> pd.DataFrame:
    """Return the table, best first, with the rank by each criterion and verdicts about the best."""
    import pandas as pd

    table = pd.DataFrame(records)
    for criterion in CRITERIA:
        table[f"{criterion}_rank"] = table[criterion].rank(ascending=False, method="min").astype("Int64")
    order = table.sort_values([f"{name}_rank" for name in CRITERIA[:2]], kind="stable").index.to_numpy()
    best = predictions[order[0]]
    p_values = [paired_test(task, y, predictions[at], best) for at in order[1:]]
    table = table.loc[order].reset_index(drop=True)
    at = list(table.columns).index("loo_ridge") + 1
    table.insert(at, "p_value", [np.nan, *p_values])
    table.insert(at + 1, "verdict", ["best", *("worse" if p < 1 - CONFIDENCE else "tie" for p in p_values)])
    return table


def _on_all_cores(judge: Callable[..., Any], matrices: Sequence[tuple[dict[str, str], Matrix]]) -> list[Any]:
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    # A matrix to each core: several BLAS threads mostly wait for each other (measured on a busy machine of two cores,
    # 1,797 rows of 1,024: 1.6 s with two, 0.8 s with one).
    with threadpool_limits(limits=1):
        return list(Parallel(n_jobs=-1, prefer="threads")(delayed(judge)(front, X) for front, X in matrices))


def _judged(
    X: Matrix, y: Matrix, task: str, groups: IntArray, single: IntArray | None
) -> tuple[dict[str, float], Matrix]:
    """Return the criteria for one matrix, and what ridge predicts for each row without its group."""
    targets = encode_targets(y, task)
    metric = METRICS[task][0]
    products = Products.of(X, standardised=True)
    predicted = as_labels(ridge_of(products, targets, groups), y, task)
    neighbours = as_labels(neighbours_of(X, targets, groups), y, task)
    if single is not None and len(single) < len(X):
        X, targets = X[single], encode_targets(y[single], task)
        products = Products.of(X, standardised=True)
    scores = {
        "loo_ridge": score(task, y, predicted)[metric],
        "logme": log_me_of(products, targets),
        "loo_knn": score(task, y, neighbours)[metric],
        "h_score": h_score_of(Products.of(X), targets) if task == "classification" else float("nan"),
    }
    return scores, predicted
