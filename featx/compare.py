"""Labelled images → baselines on the features of one or several networks, split so that nothing leaks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines import Comparison, check_comparison_options, compare_baselines
from featx.curves import learning_curve
from featx.duplicates import THRESHOLD
from featx.errors import ComparisonError, OptionError
from featx.estimators import Wanted
from featx.extraction import Extraction
from featx.failures import Failure, readable_positions
from featx.label_issues import find_label_issues
from featx.labels import checked_labels, task_of
from featx.leaks import Leaks, find_leaks
from featx.lookup import DigestArray
from featx.options import ExtractionOptions, Resolved
from featx.progress import progress_bar
from featx.results import BackboneComparison, Network, join_tables
from featx.scores import METRICS, best_row
from featx.segments import FloatArray
from featx.sources import ImageTable
from featx.splits import make_split
from featx.wording import counted

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("auto", "none")
#: Estimators that can be fitted on a single image of each class, the learning curve's first point.
_FIT_FOR_A_CURVE = ("logreg", "svm", "linear-svm", "knn", "ridge", "centroid", "svr")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to compare, and how to split.

    Attributes
    ----------
    estimators, task, cv, repeats, tune, random_state, n_jobs
        As for :func:`featx.compare_baselines`.
    groups : {"auto", "none"}, default="auto"
        ``"auto"`` keeps duplicates and near-duplicates on one side of every split; or, if the table of images names
        groups, these.
    near : float, default=0.97
        Cosine from which images are near-duplicates; see :func:`featx.find_duplicates`.
    curve : bool, default=False
        Compute a learning curve.
    """

    estimators: Wanted | None = None
    task: str = "auto"
    cv: int = 5
    repeats: int = 1
    groups: str = "auto"
    near: float = THRESHOLD
    tune: bool = False
    curve: bool = False
    random_state: int = 0
    n_jobs: int | None = -1

    def __post_init__(self) -> None:
        check_comparison_options(
            estimators=self.estimators,
            task=self.task,
            cv=self.cv,
            repeats=self.repeats,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )
        if self.groups not in GROUPS:
            raise OptionError(f"groups={self.groups!r}: expected one of {', '.join(GROUPS)}.")
        if not 0 < self.near <= 1:
            raise OptionError(f"near={self.near!r}: expected a cosine above 0 and up to 1, 0.97 say.")


def compare_backbones(
    table: ImageTable,
    options: Sequence[ExtractionOptions],
    asked: Asked | None = None,
    *,
    test: ImageTable | None = None,
    cache: Path | None,
    on_error: str = "skip",
    show_progress: bool = False,
    progress: Callable[[str], object] | None = None,
) -> BackboneComparison:
    """Extract labelled images with each network, and compare baselines on the features.

    Parameters
    ----------
    table : ImageTable
        Images without a label are left out. Its splits, if it has some, decide what is scored.
    options : sequence of ExtractionOptions
        One for each network.
    asked : Asked or None, default=None
    test : ImageTable or None, default=None
        Images to score on, instead of cross-validation.
    cache : Path or None
    on_error : {"skip", "raise"}, default="skip"
        Leave out an image that cannot be read, or stop at the first.
    show_progress : bool, default=False
        Show a progress bar for each extraction.
    progress : callable, default=None
        Called with what begins.

    Raises
    ------
    ComparisonError
        Labels that cannot be split into folds: found before anything is extracted.
    """
    asked = asked or Asked()
    say = progress or (lambda text: None)
    notes: list[str] = []
    table = _with_test(_labelled(table, notes), None if test is None else _labelled(test, notes))
    asked = _checked_early(table, asked)
    resolved = [wanted.resolve() for wanted in options]
    extracted = [_extract(table, network, cache, on_error == "raise", show_progress) for network in resolved]
    failures = {failure.position: failure for one in extracted for failure in one.failures}
    keep = readable_positions(len(table), list(failures.values()))
    table = table.rows(keep)
    rows = [one.rows[keep] for one in extracted]
    y = checked_labels(_as_array(table.labels), asked.task)
    leaks = _leaks(table, rows[0], extracted[0].digests[keep], asked, notes)
    groups = _groups(table, asked, leaks)
    cv = _cv(table, asked)

    def compare(X: FloatArray, groups: Any, estimators: Wanted | None, announce: Callable[[str], object]) -> Comparison:
        return compare_baselines(
            X,
            y,
            estimators=estimators,
            task=asked.task,
            cv=cv,
            repeats=asked.repeats,
            groups=groups,
            tune=asked.tune,
            random_state=asked.random_state,
            n_jobs=asked.n_jobs,
            progress=announce,
        )

    names = _names(resolved)
    compared = [compare(X, groups, asked.estimators, lambda name: say(f"Comparing: {name} …")) for X in rows]
    networks = [
        Network(name, network, X, one, of.n_computed, of.seconds)
        for name, network, X, one, of in zip(names, resolved, rows, compared, extracted, strict=True)
    ]
    whole = join_tables(networks)
    at = best_row(whole, asked.task)
    best = networks[at // len(compared[0].table)]
    estimator = str(whole["estimator"].iloc[at])
    naive = None
    if asked.groups == "auto" and table.groups is None and len(leaks):
        say("Comparing: the best once more, with duplicates split at random …")
        once_more = compare(best.rows, None, _only(asked.estimators, estimator), lambda name: None).table
        metric = METRICS[asked.task][0]
        naive = {stat: float(once_more[f"{metric}_{stat}"].iloc[0]) for stat in ("mean", "std")}
    curve = None
    if asked.curve:
        say("Comparing: fewer training images …")
        chosen = estimator if estimator in _FIT_FOR_A_CURVE else "logreg" if asked.task == "classification" else "ridge"
        curve = learning_curve(
            best.rows,
            y,
            best.comparison.split,
            task=asked.task,
            estimators=[chosen],
            random_state=asked.random_state,
            n_jobs=asked.n_jobs,
        )
    notes += list(dict.fromkeys(note for one in compared for note in one.notes))
    notes += _group_notes(table, asked, leaks, naive)
    return BackboneComparison(
        table=whole,
        networks=networks,
        paths=list(table.paths),
        y=y,
        failures=[failures[position] for position in sorted(failures)],
        leaks=leaks,
        naive=naive,
        label_issues=_label_issues(best, table.paths),
        curve=curve,
        notes=notes,
    )


# Images and labels -----------------------------------------------------------------------------------


def _labelled(table: ImageTable, notes: list[str]) -> ImageTable:
    labelled = table.labelled()
    missing = [path for path, label in zip(table.paths, table.labels, strict=True) if label is None]
    if missing:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        notes.append(f"{counted(len(missing), 'image')} without a label left out: {', '.join(missing[:3])}{more}.")
    return labelled


def _with_test(table: ImageTable, test: ImageTable | None) -> ImageTable:
    """Return both tables as one that is split."""
    if test is None:
        if table.splits is None:
            return table
        return table.rows([at for at, split in enumerate(table.splits) if split is not None])
    return ImageTable(
        paths=[*table.paths, *test.paths],
        labels=[*table.labels, *test.labels],
        n_ignored=table.n_ignored + test.n_ignored,
        splits=[*["train"] * len(table), *["test"] * len(test)],
        groups=None if table.groups is None or test.groups is None else [*table.groups, *test.groups],
    )


def _checked_early(table: ImageTable, asked: Asked) -> Asked:
    """Raise for what need not wait for the features; return what was asked, the task decided."""
    y = _as_array(table.labels)
    task = task_of(y) if asked.task == "auto" else asked.task
    asked = dataclasses.replace(asked, task=task)  # checks the estimators, now that the task is known
    y = checked_labels(y, task)
    if table.splits is not None and (asked.repeats > 1):
        raise OptionError("repeats: a given test set is scored once. Leave --repeats out.")
    groups = None if table.groups is None or asked.groups == "none" else _group_codes(table)
    make_split(
        y,
        task=task,
        cv=_cv(table, asked),
        repeats=asked.repeats,
        groups=groups,
        random_state=asked.random_state,
    )
    return asked


def _as_array(labels: Sequence[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    if all(isinstance(label, float) for label in labels):
        return array.astype(np.float64)
    return array


def _cv(table: ImageTable, asked: Asked) -> Any:
    if table.splits is None:
        return asked.cv
    parts = np.array(table.splits)
    return [(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test"))]


@dataclasses.dataclass(frozen=True)
class _Extracted:
    rows: FloatArray
    digests: DigestArray
    failures: list[Failure]
    n_computed: int
    seconds: float


def _extract(
    table: ImageTable, resolved: Resolved, cache: Path | None, raise_on_error: bool, show_progress: bool
) -> _Extracted:
    rows = np.empty((len(table), resolved.n_features), dtype=np.float32)
    started = time.perf_counter()
    with progress_bar(len(table), resolved.recipe.backbone, shown=show_progress) as progress:
        extraction = Extraction(
            table.paths, resolved, rows, cache=cache, raise_on_error=raise_on_error, progress=progress
        )
        extraction.run()
    seconds = time.perf_counter() - started
    return _Extracted(rows, extraction.digests, extraction.failures, extraction.n_computed, seconds)


# Groups ----------------------------------------------------------------------------------------------


def _leaks(table: ImageTable, rows: FloatArray, digests: DigestArray, asked: Asked, notes: list[str]) -> Leaks:
    """Return the duplicates; equal images only, and a note, where features are too alike to tell near-duplicates."""
    y = checked_labels(_as_array(table.labels), asked.task)
    leaks = find_leaks(table.paths, rows, digests, y, threshold=asked.near)
    if asked.groups == "none" or table.groups is not None or not len(leaks):
        return leaks
    try:
        make_split(y, task=asked.task, cv=_cv(table, asked), groups=leaks.groups)
        largest = len(leaks.clusters[0].rows)
        if largest <= len(table) / 2:
            return leaks
    except ComparisonError:
        largest = len(leaks.clusters[0].rows)
    notes.append(
        f"By these features {largest:,} of {len(table):,} images are near-duplicates of each other, too many to split: "
        "only equal images are kept on one side."
    )
    return find_leaks(table.paths, rows, digests, y, threshold=1.0)


def _groups(table: ImageTable, asked: Asked, leaks: Leaks) -> Any:
    if asked.groups == "none":
        return None
    if table.groups is not None:
        return _group_codes(table)
    return leaks.groups if len(leaks) else None


def _group_codes(table: ImageTable) -> list[Any]:
    assert table.groups is not None
    return [("alone", at) if group is None else group for at, group in enumerate(table.groups)]


def _group_notes(table: ImageTable, asked: Asked, leaks: Leaks, naive: dict[str, float] | None) -> list[str]:
    notes = []
    if len(leaks):
        if asked.groups == "none":
            kept = "They were split at random, as asked: scores may be too high."
        elif table.groups is not None:
            crossing = leaks.n_crossing(table.groups)
            kept = (
                f"{counted(crossing, 'group')} of them reach across the given groups: scores may be too high."
                if crossing
                else "The given groups keep them together."
            )
        elif table.splits is not None:
            kept = "Training images among them that show what a test image shows were left out."
        else:
            kept = "They are kept on one side of every split."
        notes.append(f"{leaks.words}. {kept}")
    if naive is not None:
        metric = {"accuracy": "accuracy", "r2": "R²"}[METRICS[asked.task][0]]
        notes.append(f"Split at random, the best would have had {metric} {naive['mean']:.3f}.")
    conflicting = leaks.conflicting
    if conflicting:
        notes.append(
            f"{counted(len(conflicting), 'group')} of duplicates with different labels, the first: "
            f"{', '.join(f'{table.paths[at]} ({table.labels[at]})' for at in conflicting[0][:3])}."
        )
    return notes


# Results ---------------------------------------------------------------------------------------------


def _names(resolved: Sequence[Resolved]) -> list[str]:
    """Return a name for each network: its backbone, and whatever of its recipe tells it from the others."""
    recipes = [network.recipe.as_dict() for network in resolved]
    differing = [
        key
        for key in ("layer", "pooling", "image_size", "resize", "precision", "weights")
        if any(one["backbone"] == other["backbone"] and one[key] != other[key] for one in recipes for other in recipes)
    ]
    return [
        " ".join(
            [str(recipe["backbone"])]
            + ["×".join(map(str, recipe[key])) if key == "image_size" else str(recipe[key])[:20] for key in differing]
        )
        for recipe in recipes
    ]


def _only(estimators: Wanted | None, name: str) -> Wanted:
    """Return the one estimator that was compared under this name."""
    if isinstance(estimators, Mapping):
        return {name: estimators[name]}
    for estimator in estimators or [name]:
        if not isinstance(estimator, str) and type(estimator).__name__ == name:
            return {name: estimator}
    return [name]


def _label_issues(network: Network, paths: Sequence[str]) -> pd.DataFrame | None:
    """Return the labels most likely wrong, by logistic regression if it was compared."""
    comparison = network.comparison
    if comparison.task != "classification" or not comparison.probabilities:
        return None
    usable = {name: found for name, found in comparison.probabilities.items() if name != "dummy"}
    if not usable:
        return None
    probabilities = usable.get("logreg", next(iter(usable.values())))
    issues = find_label_issues(comparison.y, probabilities)
    issues["row"] = comparison.predictions.index.to_numpy()[issues["row"]]
    issues.insert(0, "path", [paths[row] for row in issues["row"]])
    return issues
