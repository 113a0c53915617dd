"""The result of training: a fitted pipeline with its scores, which can be saved as a model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.builtin_baselines import Baseline
from featx.datasets.tags import tag_names
from featx.errors import ModelFileError
from featx.models.card import format_scores
from featx.models.model_file import save_pipeline
from featx.models.pipeline_file import check_savable
from featx.system.array_types import FloatArray
from featx.system.formatting import format_count, format_list
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import TextResult, table_to_html
from featx.system.terminal.tables import fit_text, wrap_text
from featx.workflows.result import ImageComparison
from featx.workflows.result_output import comparison_cells
from featx.workflows.training.checks import N_ROWS_OF_CHECK

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclasses.dataclass(frozen=True)
class TrainedModel(TextResult):
    """A pipeline that is fitted on labeled images, with its cross-validated scores.

    Classes that are too small for the comparison (a single image or group) are not fitted on either.

    Attributes
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted pipeline that takes images.
    rows : ndarray of float32 of shape (n_samples, n_features)
        Features that the estimator was fitted on.
    y : ndarray of shape (n_samples,)
        Their labels.
    comparison : ImageComparison
        Scores of all candidates.
    scores : dict
        Scores of the selected estimator: ``estimator``, ``metric``, ``mean``, ``std``, ``low``, ``high`` (None for one
        fold), ``split``, and ``best_params`` if it was tuned.
    notes : list of str
        Remarks on data and scores.
    groups : ndarray of int of shape (n_samples,), or None
        Group of each image.

    See Also
    --------
    train_images : Train a model on labeled images.
    load_pipeline : Load the pipeline of a model file.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import find_images, train_images, write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     images = find_images(folder).select(range(0, 500, 20))
    ...     trained = train_images(images, backbone="color_histogram", estimator="knn", cv=2, cache=None)
    >>> trained.scores["estimator"], trained.rows.shape
    ('knn', (25, 512))
    """

    pipeline: Pipeline
    rows: FloatArray
    y: np.ndarray[Any, Any]
    comparison: ImageComparison
    scores: dict[str, Any]
    notes: list[str]
    groups: np.ndarray[Any, Any] | None = None

    def save(self, path: str | os.PathLike[str], *, graph: bool = True, trusted: Sequence[str] | None = None) -> None:
        """Write the pipeline and its scores to a model file. See :func:`featx.save_pipeline`.

        Parameters
        ----------
        path : str or Path
            Path of the model file.
        graph : bool, default=True
            Whether the compiled network becomes part of the model.
        trusted : sequence of str or None, default=None
            Types of other libraries that may be part of the model.

        Raises
        ------
        ModelFileError, OutputError
            If the pipeline cannot be saved, or the file cannot be written.
        """
        save_pipeline(
            self.pipeline,
            path,
            features=self.rows,
            y=self.y,
            groups=self.groups,
            scores=self.scores,
            notes=self.notes,
            graph=graph,
            trusted=trusted,
        )

    def __repr__(self) -> str:
        return f"<TrainedModel: {self.as_text().splitlines()[0]}>"

    def _repr_html_(self) -> str:
        """Return the estimator, its scores and the notes as HTML, for notebooks."""
        facts = {
            "score": format_scores(self.scores),
            "images": f"{len(self.y):,}",
            "tags" if self.comparison.task == "multilabel" else "classes": f"{self._n_classes:,}"
            if self._n_classes
            else "",
            "features": f"{self.rows.shape[1]:,}",
        }
        title = f"{self.scores['estimator']} on {self.comparison.backbones[0].name}"
        rows = comparison_cells(self.comparison)
        best = [number for number, row in enumerate(rows) if row["estimator"] == self.scores["estimator"]]
        return card_to_html(title, facts, table_to_html(rows, marked=best), notes=self.notes)

    @property
    def _n_classes(self) -> int:
        """Number of classes or tags; 0 for regression."""
        if self.comparison.task == "regression":
            return 0
        return len(tag_names(self.y)) if self.comparison.task == "multilabel" else len(np.unique(self.y))

    def as_text(self) -> str:
        """Return the selected estimator, its scores and the notes as text."""
        kind = "tag" if self.comparison.task == "multilabel" else "class"
        classes = f", {format_count(self._n_classes, kind)}" if self._n_classes else ""
        backbone = self.comparison.backbones[0].name
        headline = f"{self.scores['estimator']} on {backbone}, fitted on {format_count(len(self.y), 'image')}{classes}"
        return "\n".join([*map(fit_text, (headline, format_scores(self.scores))), *map(wrap_text, self.notes)])


def note_on_saving(baseline: Baseline, task: str) -> list[str]:
    """Return a note if the fitted pipeline cannot be saved as a model."""
    if baseline.is_builtin or baseline.needs_text or baseline.images is not None:
        return []
    try:
        check_savable(baseline.make(N_ROWS_OF_CHECK), task)
    except ModelFileError as error:
        return [str(error)]
    return []


def training_notes(
    best: Baseline,
    baselines: Sequence[Baseline],
    comparison: ImageComparison,
    y: np.ndarray[Any, Any],
    *,
    has_test: bool,
) -> list[str]:
    """Return notes on how the fitted model differs from the scored one."""
    notes = []
    if len(baselines) > 1:
        names = ", ".join(baseline.name for baseline in baselines)
        notes.append(f"{best.name} was selected from {names} by its score, which is therefore slightly too high.")
    if best.is_calibrated and best.name == "centroid":
        notes.append(
            "Calibration may reduce the accuracy of centroid: predictions are the most probable class, not the nearest "
            "mean. Compare the score with that of a model without calibrate (--calibrate)."
        )
    if has_test:
        notes.append("Scores are those of the test split. The model is fitted on training and test images.")
    if comparison.task == "classification":
        scored = np.unique(comparison.backbones[0].comparison.y)
        if unscored := np.setdiff1d(y, scored).tolist():
            notes.append(
                f"{format_count(len(unscored), 'class')} without test images, so not scored: {format_list(unscored)}."
            )
    return notes
