"""scikit-learn baselines compared by cross-validation on a feature matrix: arrays only, no images."""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines import kernel_cache as kernels
from featx.baselines import plots
from featx.baselines.estimators import TASKS, Baseline, EstimatorsLike, as_baselines
from featx.baselines.fitting import Dataset, FoldResult, collecting_warnings, score_fold
from featx.baselines.kernel_cache import SharedKernel
from featx.baselines.label_issues import find_label_issues
from featx.baselines.learning_curve import FIT_FOR_A_CURVE, learning_curve
from featx.baselines.metrics import (
    METRICS,
    add_verdicts,
    best_row,
    corrected_interval,
    misleading_accuracy,
    per_class,
    single_test_interval,
)
from featx.baselines.splits import Split, check_split_options, group_codes, make_split, validate_row_indices
from featx.datasets.labels import as_label_array, as_series, infer_task, validate_data, validate_labels
from featx.errors import ComparisonError, FeatxError, OptionError
from featx.features.duplicates.find import Duplicates, find_duplicates
from featx.system.array_types import IntArray
from featx.system.formatting import format_count, shorten

if TYPE_CHECKING:
    import pandas as pd


#: Estimators that take the columns as they are, which is best for features of a network; and from where it is not.
_BY_DISTANCE = ("svm", "linear-svm", "knn", "centroid", "svr")
_UNEVEN = 30


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Baselines and their scores.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each estimator: ``estimator``; for classification ``accuracy``, ``balanced_accuracy`` and
        ``f1_macro``, for regression ``r2``, ``mae`` and ``rmse``, each with ``_mean`` and ``_std`` (standard deviation
        over folds, with n − 1); ``low`` and ``high``, a 95 % interval for the first of them; ``p_value`` of no
        difference to the best estimator; ``verdict``: ``best``, ``tie`` or ``worse``; ``fit_seconds`` and
        ``predict_seconds``, the mean of a fold; if tuned, ``chosen`` parameters.
    fold_scores : pandas.DataFrame
        One row for each estimator and fold: ``estimator, fold``, the scores, ``fit_seconds, predict_seconds``.
    predictions : pandas.DataFrame
        What each estimator, by name of column, said of a row when it was not fitted on it (in the first repetition);
        the index are rows of `X`, those that were scored.
    probabilities : dict of str to ndarray of float32, shape (n_scored, n_classes)
        Of the same rows, for estimators that give any; columns as `classes`.
    margins : dict of str to ndarray of float32, shape (n_scored,)
        Of the same rows, how far the predicted class is ahead of the next, in probability or decision value.
    y : ndarray, shape (n_scored,)
        Labels of the same rows.
    classes : ndarray, shape (n_classes,)
        The classes that were fitted on or scored, sorted.
    task : {"classification", "regression"}
    split : Split
        The folds, in rows of `X`.
    notes : list of str
        What was done that was not asked for, and what to beware of.
    duplicates : Duplicates or None
        What ``groups="auto"`` found among the rows of `X` that have a label.
    """

    table: pd.DataFrame
    fold_scores: pd.DataFrame
    predictions: pd.DataFrame
    probabilities: dict[str, np.ndarray[Any, np.dtype[np.float32]]]
    margins: dict[str, np.ndarray[Any, np.dtype[np.float32]]]
    y: np.ndarray[Any, Any]
    classes: np.ndarray[Any, Any]
    task: str
    split: Split
    notes: list[str]
    duplicates: Duplicates | None
    _curve: functools.partial[pd.DataFrame] = dataclasses.field(repr=False, compare=False)
    _own: frozenset[str] = dataclasses.field(repr=False, compare=False)

    @property
    def best(self) -> str:
        """Name of the estimator with the highest mean accuracy, or R²."""
        return str(self.table["estimator"].iloc[best_row(self.table, self.task)])

    @property
    def ties(self) -> list[str]:
        """Estimators whose distance to the best may be chance."""
        return self.table["estimator"][self.table["verdict"] == "tie"].tolist()

    def per_class(self, estimator: str | None = None) -> pd.DataFrame:
        """Return ``label, images, recall, precision, f1`` for each class; of the best estimator if none is named."""
        return per_class(self.y, self.predictions[estimator or self.best].to_numpy())

    @functools.cached_property
    def label_issues(self) -> pd.DataFrame:
        """As :func:`featx.find_label_issues`, in rows of `X`; by logistic regression, if it is there."""
        usable = {name: found for name, found in self.probabilities.items() if name != "dummy"}
        if self.task != "classification" or not usable:
            raise ComparisonError(
                "Labels in doubt need classes, and an estimator with probabilities: compare logreg, too."
            )
        issues = find_label_issues(self.y, usable.get("logreg", next(iter(usable.values()))), classes=self.classes)
        issues["row"] = self.predictions.index.to_numpy()[issues["row"]]
        return issues

    @functools.cached_property
    def learning_curve(self) -> pd.DataFrame:
        """As :func:`featx.learning_curve`, of the quickest of featx's own that may be as good as the best.

        It is computed once, and not tuned, also where the comparison was.
        """
        good = self.table["estimator"][self.table["verdict"] != "worse"].tolist()
        default = "logreg" if self.task == "classification" else "ridge"
        chosen = next((name for name in FIT_FOR_A_CURVE if name in good and name in self._own), default)
        was_tuned = "best_params" in self.table and self.table.set_index("estimator")["best_params"].get(chosen)
        is_known = chosen in self._own and not was_tuned
        return self._curve(estimators=[chosen], fold_scores=self.fold_scores if is_known else None)

    def plot_learning_curve(self, ax: Any = None) -> Any:
        """Draw the learning curve; return matplotlib's axes."""
        return plots.curve(self.learning_curve, self.task, ax)

    def plot_scores(self, ax: Any = None) -> Any:
        """Draw the scores with their intervals; return matplotlib's axes."""
        return plots.scores(self.table, self.table["estimator"].tolist(), METRICS[self.task][0], ax)

    def plot_confusion(self, estimator: str | None = None, ax: Any = None) -> Any:
        """Draw the confusion matrix of an estimator, the best if none is named; return matplotlib's axes."""
        if self.task != "classification":
            raise ComparisonError("A confusion matrix needs classes; these are quantities.")
        return plots.confusion(self.y, self.predictions[estimator or self.best].to_numpy(), ax)

    def __str__(self) -> str:
        return "\n".join([self.table.round(4).to_string(index=False), f"best: {self.best}", *self.notes])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table."""
        return str(self.table.round(4).to_html(index=False))


def check_comparison_options(
    *,
    estimators: EstimatorsLike | None = None,
    task: str = "auto",
    cv: Any = 5,
    repeats: int = 1,
    random_state: int = 0,
    n_jobs: int | None = -1,
) -> None:
    """Raise if baselines cannot be compared with these options, whatever the data.

    Raises
    ------
    OptionError
        An unknown task; no estimator or an unknown one; `cv` or `repeats` too small; `random_state` below 0 or above
        2³² − 1; `n_jobs` of 0.
    """
    if task not in TASKS:
        raise OptionError(f"task={task!r}: expected one of {', '.join(TASKS)}.")
    check_split_options(cv, repeats)
    if not isinstance(random_state, int | np.integer) or not 0 <= random_state < 2**32:
        raise OptionError(f"random_state={random_state!r}: expected a whole number from 0 to 2**32 - 1.")
    if n_jobs is not None and (not isinstance(n_jobs, int | np.integer) or n_jobs == 0):
        raise OptionError(f"n_jobs={n_jobs!r}: expected a number of jobs, or -1 for one on each core.")
    if task != "auto":
        as_baselines(estimators, task, random_state)


def compare_baselines(
    X: Any,
    y: Any,
    *,
    estimators: EstimatorsLike | None = None,
    task: str = "auto",
    cv: Any = 5,
    repeats: int = 1,
    groups: Any = None,
    tune: bool = False,
    random_state: int = 0,
    n_jobs: int | None = -1,
    progress: Callable[[str], object] | None = None,
) -> Comparison:
    """Return the scores of baselines by cross-validation, and which differences are more than chance.

    Every estimator sees the same shuffled folds, in which classes keep their proportions.

    Parameters
    ----------
    X : array-like of float, shape (n_samples, n_features)
    y : array-like, shape (n_samples,)
        A label or number for each row. Rows whose label is missing are left out, and noted.
    estimators : sequence of str or estimator, mapping of str to estimator, or None, default=None
        Names as for :func:`make_baseline`, or any estimators of scikit-learn. None is ``dummy``, ``logreg``, ``svm``
        and ``knn``; for regression ``dummy``, ``ridge``, ``svr`` and ``knn``.
    task : {"auto", "classification", "regression"}, default="auto"
        ``"auto"`` is regression for numbers with fractions, and for whole numbers of more than 20 different values
        of which fewer than five rows have the same on average.
    cv : int, splitter, list of (train, test) or Split, default=5
        Number of folds; fewer are made, and noted, where a class is smaller. Or a splitter of scikit-learn, or the rows
        themselves: ``[(train, test)]`` is one given test set. Or the ``split`` of another comparison.
    repeats : int, default=1
        Repetitions of the folds with other shuffles.
    groups : array-like, shape (n_samples,), "auto" or None, default=None
        Rows of one group (a patient, a place) are all fitted on or all scored. ``"auto"`` does that with
        near-duplicates, as :func:`find_duplicates` tells them.
    tune : bool, default=False
        Choose parameters of the named estimators by an inner cross-validation on the rows that are fitted on, so that
        the score remains one of rows that nothing was chosen by.
    random_state : int, default=0
        Decides the folds, and estimators that are random: the same number gives the same scores.
    n_jobs : int or None, default=-1
        Folds computed at once, in threads; -1 is one for each core. Changes no score.
    progress : callable, default=None
        Called with the name of each estimator before its turn.

    Returns
    -------
    Comparison

    Raises
    ------
    ComparisonError
        One class only, NaN in `X`, lengths that differ, labels that mix numbers and text, one group only.
    OptionError
        As :func:`check_comparison_options`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> comparison = compare_baselines(*load_iris(return_X_y=True), estimators=["dummy", "knn", "lda"])
    >>> comparison.best
    'lda'
    >>> comparison.table["accuracy_mean"].round(2).tolist()
    [0.33, 0.95, 0.98]
    >>> comparison.table["verdict"].tolist()
    ['worse', 'tie', 'best']
    """
    from threadpoolctl import threadpool_limits

    check_comparison_options(
        estimators=estimators, task=task, cv=cv, repeats=repeats, random_state=random_state, n_jobs=n_jobs
    )
    whole = np.asarray(X), as_label_array(y)
    X, y, rows, notes = validate_data(*whole)
    if task == "auto":
        task = infer_task(y)
    y = validate_labels(y, task)
    baselines = as_baselines(estimators, task, random_state)
    for baseline in baselines:
        if baseline.images is not None and len(baseline.images) != len(X):
            baseline.make(len(X))  # says what it is fitted on
    duplicates = None
    if isinstance(groups, str):
        if groups != "auto":
            raise OptionError(f'groups={groups!r}: expected "auto", None, or one for each row.')
        duplicates = find_duplicates(X)
        groups = duplicates.groups if len(duplicates) else None
        if len(duplicates):
            number = format_count(len(duplicates), "group")
            by = ", told by what distinguishes rows from their mean" if duplicates.centered else ""
            notes.append(f"{duplicates.n_rows} near-duplicates in {number} are kept together{by}.")
    elif groups is not None:
        groups = group_codes(groups, len(whole[0]))[rows]
    cv = _among(cv, rows, len(whole[0]))
    split = make_split(y, task=task, cv=cv, repeats=repeats, groups=groups, random_state=random_state)
    data = Dataset(X, y, task, groups, random_state)
    notes += _uneven_columns(X, baselines)
    # A fold to each core and one BLAS thread to a fold: on matrices of this size several BLAS threads
    # mostly wait for each other (measured: logistic regression ten times slower with two).
    with threadpool_limits(limits=1), collecting_warnings(notes):
        scored = _score_all(baselines, data, split, tune=tune, n_jobs=n_jobs, progress=progress, notes=notes)
    found = _parts_of_comparison(scored, data, split, rows, [*notes, *split.notes], tune=tune)
    curve = functools.partial(
        learning_curve, *whole, found["split"], task=task, random_state=random_state, n_jobs=n_jobs
    )
    own = frozenset(baseline.name for baseline in baselines if baseline.is_builtin and not baseline.is_calibrated)
    return Comparison(**found, duplicates=duplicates, _curve=curve, _own=own)


def _score_all(
    baselines: Sequence[Baseline],
    data: Dataset,
    split: Split,
    *,
    tune: bool,
    n_jobs: int | None,
    progress: Callable[[str], object] | None,
    notes: list[str],
) -> dict[str, list[FoldResult]]:
    from joblib import Parallel, delayed

    shared: SharedKernel | None = None
    scored: dict[str, list[FoldResult]] = {}
    for baseline in baselines:
        if progress is not None:
            progress(baseline.name)
        started = time.perf_counter()
        if shared is None and baseline.kernel and len(data.X) <= kernels.MAX_ROWS:
            # Measured on 8,000 × 1,024, 100 classes, 5 folds: 54 s for the SVM by itself, 5 s with this.
            shared = SharedKernel(data.X)
        shared_seconds = (time.perf_counter() - started) / len(split.folds)
        try:
            # What is fitted on images takes all cores by itself.
            jobs = n_jobs if baseline.images is None else 1
            scored[baseline.name] = Parallel(n_jobs=jobs, prefer="threads")(
                delayed(score_fold)(baseline, data, fold, shared, tune=tune) for fold in split.folds
            )
        except FeatxError:
            raise
        except Exception as error:  # whatever an estimator finds wrong with these features or labels
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            notes.append(f"{baseline.name} cannot be fitted here and is left out: {shorten(reason, 200)}")
            continue
        for one in scored[baseline.name]:
            one.scores["fit_seconds"] += shared_seconds
    if not scored:
        raise ComparisonError(f"No estimator could be compared. {' '.join(notes)}")
    return scored


def _uneven_columns(X: np.ndarray[Any, Any], baselines: Sequence[Baseline]) -> list[str]:
    """Return a note if some columns are so much wider than others that estimators by distance see no others."""
    spread = X.std(axis=0, dtype=np.float64)
    spread = spread[spread > 0]
    by_distance = [baseline.name for baseline in baselines if baseline.is_builtin and baseline.name in _BY_DISTANCE]
    if not by_distance or not len(spread) or spread.max() <= _UNEVEN * np.median(spread):
        return []
    times, names = spread.max() / np.median(spread), ", ".join(by_distance)
    return [
        f"Some columns of X vary {times:,.0f} times as much as most: {names} go by these alone. Standardise X if its "
        "columns are in different units."
    ]


def _among(cv: Any, rows: IntArray, n_rows: int) -> Any:
    """Return folds given as rows of `X` as rows of what has labels."""
    if isinstance(cv, Split) and len(rows) == n_rows:
        return cv
    cv = cv.folds if isinstance(cv, Split) else cv
    if not isinstance(cv, list | tuple):
        return cv
    number_of = np.full(n_rows, -1)
    number_of[rows] = np.arange(len(rows))
    found = []
    for number, pair in enumerate(cv):
        parts = (number_of[validate_row_indices(part, n_rows, number)] for part in pair)
        found.append(tuple(part[part >= 0] for part in parts))
    return found


def _parts_of_comparison(
    scored: dict[str, list[FoldResult]], data: Dataset, split: Split, rows: IntArray, notes: list[str], *, tune: bool
) -> dict[str, Any]:
    import pandas as pd

    fold_scores = pd.DataFrame(
        [
            {"estimator": name, "fold": fold, **one.scores}
            for name, found in scored.items()
            for fold, one in enumerate(found)
        ]
    )
    of_first = [(fold, split.folds[fold][1]) for fold in split.first_repeat]
    tested = np.concatenate([test for _, test in of_first])
    order = np.argsort(tested, kind="stable")
    tested = tested[order]
    said = {
        name: as_series(np.concatenate([found[fold].predicted for fold, _ in of_first])[order])
        for name, found in scored.items()
    }
    predictions = pd.DataFrame(said).set_axis(rows[tested], axis=0)
    y = data.y[tested]
    classes = np.unique(data.y[np.concatenate([*split.folds[0], tested])])
    probabilities = {
        name: _joined([found[fold] for fold, _ in of_first], classes)[order]
        for name, found in scored.items()
        if all(one.probabilities is not None for one in found)
    }
    margins = {
        name: np.concatenate([_certainty(found[fold]) for fold, _ in of_first])[order]
        for name, found in scored.items()
        if all(one.margins is not None for one in found)
    }
    table = _summary(fold_scores, data, split, predictions, y)
    if tune:
        table["best_params"] = [_chosen([one.params for one in found]) for found in scored.values()]
    if data.task == "classification" and (warning := misleading_accuracy(table, y)):
        notes = [*notes, warning]
    return {
        "table": table,
        "fold_scores": fold_scores,
        "predictions": predictions,
        "probabilities": probabilities,
        "margins": margins,
        "y": y,
        "classes": classes,
        "task": data.task,
        "split": split.map_rows(rows),
        "notes": notes,
    }


def _certainty(one: FoldResult) -> np.ndarray[Any, np.dtype[np.float32]]:
    assert one.margins is not None
    return one.margins


def _joined(found: Sequence[FoldResult], classes: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the probabilities of all folds under each other, 0 for classes that a fold did not know."""
    parts = []
    for one in found:
        assert one.probabilities is not None
        assert one.classes is not None
        columns = {label: column for column, label in enumerate(one.classes.tolist())}
        part = np.zeros((len(one.predicted), len(classes)), dtype=np.float32)
        for to, label in enumerate(classes.tolist()):
            if label in columns:
                part[:, to] = one.probabilities[:, columns[label]]
        parts.append(part)
    return np.concatenate(parts)


def _summary(
    fold_scores: pd.DataFrame, data: Dataset, split: Split, predictions: pd.DataFrame, y: np.ndarray[Any, Any]
) -> pd.DataFrame:
    first, *_ = metrics = METRICS[data.task]
    groups = fold_scores.groupby("estimator", sort=False)
    columns = {f"{metric}_{stat}": (metric, stat) for metric in metrics for stat in ("mean", "std")}
    table = groups.agg(**columns).reset_index()
    of_each = [scores.to_numpy() for _, scores in groups[first]]
    intervals = []
    for name, scores in zip(table["estimator"], of_each, strict=True):
        if len(scores) > 1 and np.ptp(scores) > 0:
            low, high = corrected_interval(scores, split.test_ratio)
        else:  # a single fold; or folds that all agree, as when all is right: what varies is the sample
            low, high = single_test_interval(data.task, y, predictions[name].to_numpy(), data.random_state)
        intervals.append((max(0.0, low) if data.task == "classification" else low, min(1.0, high)))
    at = list(table.columns).index(f"{first}_std") + 1
    table.insert(at, "low", [low for low, _ in intervals])
    table.insert(at + 1, "high", [high for _, high in intervals])
    add_verdicts(
        table,
        of_each,
        [predictions[name].to_numpy() for name in table["estimator"]],
        y,
        task=data.task,
        test_ratio=split.test_ratio,
    )
    for seconds in ("fit_seconds", "predict_seconds"):
        table[seconds] = groups[seconds].mean().to_numpy()
    return table


def _chosen(params: Sequence[dict[str, Any]]) -> str:
    """Return the parameters that tuning chose, those of most folds first."""
    counts = collections.Counter(
        ", ".join(f"{name.split('__')[-1]}={value:g}" for name, value in sorted(one.items())) for one in params
    )
    return "; ".join(f"{words} ({count} of {len(params)})" for words, count in counts.most_common() if words)
