"""Labelled images → networks, layers and poolings ordered by what their features tell about the labels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.baselines.estimators import TaskOption
from featx.baselines.ranking.rank_features import rank_matrices
from featx.baselines.ranking.ranking import Ranking
from featx.datasets.failures import Failure
from featx.datasets.image_table import ImageTable, LabelsLike, PathsLike
from featx.datasets.labels import validate_labels
from featx.errors import ComparisonError
from featx.extraction.options import ExtractionOptions, resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD
from featx.system.formatting import format_count
from featx.workflows.duplicate_groups import duplicate_detector, split_with_groups
from featx.workflows.image_duplicates import ImageDuplicates
from featx.workflows.networks import as_extraction_options, backbone_names, extract_readable, unique_recipes
from featx.workflows.prepare import as_array, as_table, prepare_table
from featx.workflows.request import ComparisonConfig, Task, validate_request

_KEPT = "Ridge and kNN leave them out together, and LogME and H-score see one of each."
_NOT_KEPT = "None was left out with another, as asked: scores may be too high."


@dataclasses.dataclass(frozen=True)
class ImageRanking(Ranking):
    """Networks, layers and poolings, ordered by what their features tell about the labels of images.

    Attributes
    ----------
    table, task, n_rows, n_classes, notes
        As of :class:`featx.Ranking`.
    failures : list of Failure
        Images left out because they cannot be read.
    duplicates : ImageDuplicates
        Duplicates and near-duplicates, told by the first network, averaged over its default layer.
    n_computed : int
        Rows that went through a network, and were not in the store.
    """

    failures: list[Failure]
    duplicates: ImageDuplicates
    n_computed: int

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx rank --json`` prints."""
        found = {
            "computed": self.n_computed,
            "duplicates": {"images": self.duplicates.duplicates.n_rows, "groups": len(self.duplicates)},
            "failed": len(self.failures),
            "failures": [{"path": one.image, "error": one.error, "reason": one.reason} for one in self.failures],
        }
        return {**super().as_dict(), **found}


def rank_images(
    paths: PathsLike,
    y: LabelsLike | None = None,
    *,
    backbones: Sequence[Any] = ("mobilenet",),
    groups: Any = "auto",
    duplicate_threshold: float = DUPLICATE_THRESHOLD,
    task: TaskOption = "auto",
    cache: str | os.PathLike[str] | None = "auto",
) -> ImageRanking:
    """Order networks by what their features tell about the labels of images: what ``featx rank`` does, from Python.

    Parameters
    ----------
    paths : list, ndarray, Series, ImageTable or iterable of str or Path
        Paths of images. Unreadable images are dropped, with a note. Pass the result of :func:`featx.find_images` to
        use its labels, splits and groups.
    y : array-like of shape (n_images,), Series, iterable or None, default=None
        Class or continuous target of each image. Images without a label (None or NaN) are dropped, with a note. None:
        the labels of `paths`, which must be an ImageTable.
    backbones : sequence of str or FeatureExtractor, default=("mobilenet",)
        Names of backbones, or extractors with other layers, poolings and settings.
    groups : {"auto", "none"} or sequence, the same length, default="auto"
        ``"auto"`` leaves duplicates and near-duplicates out together; a sequence says what is to be left out together
        besides. ``"none"`` switches both off.
    duplicate_threshold : float, default=0.97
        Cosine from which images are near-duplicates; see :func:`featx.find_duplicates`.
    task : {"auto", "classification", "regression"}, default="auto"
        As for :func:`featx.compare_baselines`.
    cache : str, Path or None, default="auto"
        As for :class:`FeatureExtractor`.

    Returns
    -------
    ImageRanking
        See :func:`featx.rank_features` for what it goes by.

    Raises
    ------
    ComparisonError
        Labels or groups by which nothing can be ranked.
    OptionError
        An unknown network, or another option that cannot be.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import FeatureExtractor
    >>> from featx import write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     paths = sorted(Path(folder).glob("[0-2]/*.png"))[::20]
    ...     y = [path.parent.name for path in paths]
    ...     sizes = [FeatureExtractor("color_histogram", image_size=size) for size in (2, 64)]
    ...     ranking = rank_images(paths, y, backbones=sizes, cache=None)
    >>> ranking.best
    'color_histogram 64×64'
    """
    given = None if isinstance(groups, str) else list(groups)
    config = ComparisonConfig(
        task=task, groups=groups if given is None else "auto", duplicate_threshold=duplicate_threshold
    )
    table = as_table(paths, y, groups=given)
    return rank_tables(
        table, [as_extraction_options(network) for network in backbones], config, cache=resolve_cache(cache)
    )


def rank_tables(
    table: ImageTable,
    options: Sequence[ExtractionOptions],
    config: ComparisonConfig | None = None,
    *,
    cache: Path | None,
    on_error: str = "skip",
    show_progress: bool = False,
    progress: Callable[[str], object] | None = None,
) -> ImageRanking:
    """Extract labelled images with each network, and rank the features.

    Parameters
    ----------
    table : ImageTable
        Images without a label are left out, and so are those to test on, if it has splits.
    options : sequence of ExtractionOptions
        One for each network.
    config : ComparisonConfig or None, default=None
        Its task, groups and near.
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
        Labels or groups by which nothing can be ranked: found before anything is extracted.
    """
    say = progress or (lambda text: None)
    notes: list[str] = []
    table = _without_test(prepare_table(table, None, notes), notes)
    config = validate_request(table, config or ComparisonConfig())
    resolved = unique_recipes([wanted.resolve() for wanted in options], notes)
    teller = duplicate_detector(options).resolve()
    found = extract_readable(
        table, resolved, teller, notes, cache=cache, on_error=on_error, show_progress=show_progress
    )
    task = Task(found.table, validate_labels(as_array(found.table.labels), config.task), config)
    leaks, groups, _ = split_with_groups(task, found.duplicate_features, found.digests, notes)
    fronts = [
        {
            "name": name,
            "backbone": network.backbone.name,
            "layer": network.recipe.layer,
            "pooling": network.recipe.pooling,
        }
        for name, network in zip(backbone_names(resolved), resolved, strict=True)
    ]
    once = leaks.groups if groups is not None and len(leaks) else None
    ranking, kept = rank_matrices(
        list(zip(fronts, found.rows, strict=True)),
        task.y,
        task=config.task,
        groups=groups,
        duplicate_groups=once,
        notes=notes,
        progress=lambda name: say(f"Ranking: {name} …"),
    )
    if len(leaks):
        notes.append(f"{leaks.words}. {_KEPT if groups is not None else _NOT_KEPT}")
    return ImageRanking(
        table=ranking,
        task=config.task,
        n_rows=len(kept),
        n_classes=len(np.unique(task.y[kept])) if config.task == "classification" else 0,
        notes=notes,
        failures=found.failures,
        duplicates=leaks,
        n_computed=sum(one.n_computed for one in found.each),
    )


def _without_test(table: ImageTable, notes: list[str]) -> ImageTable:
    """Return the images to train on: what was chosen by test images is not tested by them any more."""
    if table.splits is None:
        return table
    table = table.select([at for at, split in enumerate(table.splits) if split == "train"])
    if not len(table):
        raise ComparisonError("Expected images to train on, got only images to test on: nothing is chosen by these.")
    notes.append(
        f"Only the {format_count(len(table), 'training image')} take part: nothing is to be chosen by test images."
    )
    return dataclasses.replace(table, splits=None)
