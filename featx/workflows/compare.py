"""Labelled images → baselines on the features of one or several networks, split so that nothing leaks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from featx.baselines.comparison import Comparison
from featx.baselines.cross_validate import compare_baselines
from featx.baselines.estimators import EstimatorsLike, TaskOption
from featx.baselines.folds.make_split import make_split
from featx.baselines.folds.split import Split
from featx.baselines.metrics import METRICS, best_row
from featx.datasets.image_table import ImageTable, LabelsLike, PathsLike
from featx.datasets.labels import validate_labels
from featx.errors import ComparisonError
from featx.extraction.options import ExtractionOptions, resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD
from featx.system.array_types import FloatArray
from featx.workflows.duplicate_groups import (
    MANY,
    N_FOLDS_OF_MANY,
    duplicate_detector,
    duplicate_notes,
    split_with_groups,
    ungrouped_settings,
)
from featx.workflows.image_duplicates import ImageDuplicates
from featx.workflows.image_estimators import bind_images, check_image_estimators, feature_estimators
from featx.workflows.networks import as_extraction_options, backbone_names, extract_readable, unique_recipes
from featx.workflows.prepare import as_array, as_table, prepare_table
from featx.workflows.request import ComparisonConfig, Task, given_groups, validate_request
from featx.workflows.result import ImageComparison, Network, join_tables


def compare_images(
    paths: PathsLike,
    y: LabelsLike | None = None,
    *,
    backbones: Sequence[Any] = ("mobilenet",),
    groups: Any = "auto",
    test_mask: Sequence[bool] | None = None,
    duplicate_threshold: float = DUPLICATE_THRESHOLD,
    estimators: EstimatorsLike | None = None,
    task: TaskOption = "auto",
    cv: int | None = None,
    repeats: int = 1,
    tune: bool = False,
    diagnostics: bool = True,
    cache: str | os.PathLike[str] | None = "auto",
    random_state: int = 0,
    n_jobs: int | None = -1,
) -> ImageComparison:
    """Compare baselines on the features of image files: what ``featx compare`` does, from Python.

    Parameters
    ----------
    paths : list, ndarray, Series, ImageTable or iterable of str or Path
        Paths of images. Unreadable images are dropped, with a note. Pass the result of :func:`featx.find_images` to
        use its labels, splits and groups.
    y : array-like of shape (n_images,), Series, iterable or None, default=None
        Class or continuous target of each image. Images without a label (None or NaN) are dropped, with a note. None:
        the labels of `paths`, which must be an ImageTable.
    backbones : sequence of str or FeatureExtractor, default=("mobilenet",)
        Names of backbones, or extractors with other settings.
    groups : {"auto", "none"} or sequence, the same length, default="auto"
        ``"auto"`` keeps duplicates and near-duplicates on one side of every split; a sequence says what is to be kept
        together besides. ``"none"`` switches both off.
    test_mask : sequence of bool, the same length, or None, default=None
        Which images to score; None is cross-validation.
    duplicate_threshold : float, default=0.97
        Cosine from which images are near-duplicates; see :func:`featx.find_duplicates`.
    cv : int or None, default=None
        Number of folds, where there is no test set; None is 5.
    estimators, task, repeats, tune, random_state, n_jobs
        As for :func:`compare_baselines`. ``"fine-tune"`` is each network tuned to the images, see
        :class:`FineTunedClassifier`, which takes minutes for every fold.
    diagnostics : bool, default=True
        Compute a learning curve, and look for labels in doubt.
    cache : str, Path or None, default="auto"
        As for :class:`FeatureExtractor`.

    Returns
    -------
    ImageComparison

    Raises
    ------
    ComparisonError
        Labels or groups that cannot be split into folds.
    OptionError
        An unknown network or estimator, or another option that cannot be.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     paths = sorted(Path(folder).glob("[0-2]/*.png"))[::20]
    ...     y = [path.parent.name for path in paths]
    ...     comparison = compare_images(paths, y, estimators=["dummy", "knn"], cv=3, cache=None)
    >>> comparison.best
    'knn'
    """
    given = None if isinstance(groups, str) else list(groups)
    table = as_table(paths, y, groups=given, test_mask=test_mask)
    config = ComparisonConfig(
        estimators=estimators,
        task=task,
        cv=cv,
        repeats=repeats,
        groups=groups if given is None else "auto",
        duplicate_threshold=duplicate_threshold,
        tune=tune,
        diagnostics=diagnostics,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    return compare_tables(
        table, [as_extraction_options(network) for network in backbones], config, cache=resolve_cache(cache)
    )


def compare_tables(
    table: ImageTable,
    options: Sequence[ExtractionOptions],
    config: ComparisonConfig | None = None,
    *,
    test: ImageTable | None = None,
    cache: Path | None,
    on_error: str = "skip",
    show_progress: bool = False,
    progress: Callable[[str], object] | None = None,
) -> ImageComparison:
    """Extract labelled images with each network, and compare baselines on the features.

    Parameters
    ----------
    table : ImageTable
        Images without a label are left out. Its splits, if it has some, decide what is scored.
    options : sequence of ExtractionOptions
        One for each network.
    config : ComparisonConfig or None, default=None
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
    config, say = config or ComparisonConfig(), progress or (lambda text: None)
    notes: list[str] = []
    table = prepare_table(table, test, notes)
    config = validate_request(table, config)
    notes += check_image_estimators(config, options)
    all_resolved = [wanted.resolve() for wanted in options]
    options_of_each = dict(zip(all_resolved, options, strict=True))
    resolved = unique_recipes(all_resolved, notes)
    teller = duplicate_detector(options).resolve()
    found = extract_readable(
        table, resolved, teller, notes, cache=cache, on_error=on_error, show_progress=show_progress
    )
    table = found.table
    task = _Task(table, validate_labels(as_array(table.labels), config.task), config, say)
    duplicates, groups, split = split_with_groups(task, found.duplicate_features, found.digests, notes)
    networks = []
    for name, network, rows, one in zip(backbone_names(resolved), resolved, found.rows, found.each, strict=True):
        estimators = bind_images(config, table, options_of_each[network], cache)
        comparison = task.compare(
            rows, groups, split, lambda estimator: say(f"Comparing: {estimator} …"), estimators=estimators
        )
        networks.append(Network(name, network, rows, comparison, one.n_computed, one.seconds))
    notes += _notes_of(networks)
    whole = join_tables(networks)
    at = best_row(whole, config.task)
    best_estimator = str(whole["estimator"].iloc[at])
    best = next(one for one in networks if (at := at - len(one.comparison.table)) < 0)
    misleads = any(note.startswith("Accuracy is misleading") for note in notes)
    if "dummy" in whole["estimator"][whole["verdict"] != "worse"].tolist() and not misleads:
        notes.append("The dummy, which guesses, is not told from the best: nothing that was learned is beyond chance.")
    ungrouped_scores = task.ungrouped_scores(best, duplicates, groups)
    notes += duplicate_notes(table, config, duplicates, ungrouped_scores, best_estimator)
    return ImageComparison(
        table=whole,
        backbones=networks,
        paths=list(table.paths),
        y=task.y,
        failures=found.failures,
        duplicates=duplicates,
        ungrouped_scores=ungrouped_scores,
        ungrouped_settings=ungrouped_settings(config, len(table)),
        label_issues=task.label_issues(best, groups, split, notes),
        learning_curve=task.learning_curve(best),
        notes=notes,
        groups=groups,
    )


@dataclasses.dataclass(frozen=True)
class _Task(Task):
    """What is computed about them."""

    say: Callable[[str], object]

    def compare(
        self, X: FloatArray, groups: Any, split: Split, progress: Callable[[str], object] | None = None, **instead: Any
    ) -> Comparison:
        config = self.config
        wanted: dict[str, Any] = {
            "estimators": config.estimators,
            "tune": config.tune,
            **instead,
        }
        return compare_baselines(
            X,
            self.y,
            task=config.task,
            cv=split,
            groups=groups,
            random_state=config.random_state,
            n_jobs=config.n_jobs,
            progress=progress,
            **wanted,
        )

    def ungrouped_scores(self, best: Network, duplicates: ImageDuplicates, groups: Any) -> pd.DataFrame | None:
        """Return the scores on the best network, had duplicates been ignored; untuned, and in one repetition.

        Of many images, two of the folds are enough. No network is tuned for it.
        """
        on_features = feature_estimators(self.config.estimators)
        if groups is None or not len(duplicates) or (on_features is not None and not len(on_features)):
            return None
        self.say("Comparing once more, duplicates ignored …")
        without = given_groups(self.table)
        metric = METRICS[self.config.task][0]
        split = _first_folds(self.split(without), N_FOLDS_OF_MANY if len(self.y) > MANY else None)
        table = self.compare(best.rows, without, split, tune=False, estimators=on_features).table
        columns = {"estimator": "estimator", f"{metric}_mean": "mean", f"{metric}_std": "std"}
        return table[list(columns)].rename(columns=columns)

    def label_issues(self, best: Network, groups: Any, split: Split, notes: list[str]) -> pd.DataFrame | None:
        """Return the labels most likely wrong, by logistic regression: compared, or fitted for it as an extra."""
        if self.config.task != "classification":
            return None
        comparison = best.comparison
        if self.config.diagnostics and (self.table.splits is not None or "logreg" not in comparison.probabilities):
            self.say("Looking for labels in doubt …")
            try:
                if self.table.splits is not None:  # training images may be labelled wrongly, too
                    split = make_split(
                        self.y, task="classification", groups=groups, random_state=self.config.random_state
                    )
                comparison = self.compare(best.rows, groups, _first_folds(split), estimators=["logreg"], tune=False)
            except ComparisonError as error:  # what was compared is not to be lost for it
                notes.append(f"Labels in doubt were not looked for: {error}")
                return None
        elif "logreg" not in comparison.probabilities:
            return None
        issues = comparison.label_issues.copy()
        paths = pd.Series([self.table.paths[row] for row in issues["row"]], index=issues.index, dtype=object)
        issues.insert(0, "path", paths)
        return issues

    def learning_curve(self, best: Network) -> pd.DataFrame | None:
        """Return the learning curve of the quickest estimator that may be as good as the best."""
        if not self.config.diagnostics:
            return None
        self.say("Comparing: fewer training images …")
        return best.comparison.learning_curve


def _first_folds(split: Split, most: int | None = None) -> Split:
    """Return the first folds of a split: its first repetition, or as many as are wanted."""
    n_folds = min(most or split.n_first_repeat, split.n_first_repeat)
    return dataclasses.replace(split, folds=split.folds[:n_folds], n_first_repeat=n_folds)


def _notes_of(networks: Sequence[Network]) -> list[str]:
    """Return the notes on each network, named, and those on all of them once."""
    notes: dict[str, list[str]] = {}
    for network in networks:
        for note in network.comparison.notes:
            notes.setdefault(note, []).append(network.name)
    return [note if len(names) == len(networks) else f"{', '.join(names)}: {note}" for note, names in notes.items()]
