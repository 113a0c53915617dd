"""Labelled images → baselines on the features of one or several backbones."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx import files
from featx.baselines import BASELINES, check_comparison_options, check_labels, compare_baselines
from featx.errors import OutputError
from featx.extraction import Extraction
from featx.failures import Failure, readable_positions
from featx.options import ExtractionOptions, Resolved
from featx.progress import progress_bar
from featx.segments import FloatArray
from featx.sources import ImageTable

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class BackboneComparison:
    """Baselines compared on the features of each backbone.

    Attributes
    ----------
    table : pandas.DataFrame
        As :attr:`featx.Comparison.table`, with the columns ``backbone`` and ``features`` in front.
    n_rows, n_classes : int
    failures : list of Failure
        Images left out because they cannot be read.
    """

    table: pd.DataFrame
    n_rows: int
    n_classes: int
    failures: list[Failure]

    @property
    def best_row(self) -> pd.Series[Any]:
        """The row of the table with the highest mean accuracy."""
        return self.table.iloc[int(self.table["accuracy_mean"].argmax())]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx compare --json`` prints."""
        best = self.best_row
        return {
            "rows": self.n_rows,
            "classes": self.n_classes,
            "features": int(best["features"]),
            "failed": len(self.failures),
            "results": self.table.drop(columns="features").to_dict(orient="records"),
            "best": {"backbone": best["backbone"], "estimator": best["estimator"]},
        }

    def to_csv(self, path: Path) -> None:
        """Write the table as CSV, whole or not at all.

        Raises
        ------
        OutputError
        """
        try:
            files.write_text(path, self.table.to_csv(index=False))
        except OSError as error:
            raise _table_not_written(path, error.strerror or str(error)) from error

    def as_text(self) -> str:
        """Return the table for people, the best marked."""
        best = self.best_row
        lines = [
            f"{self.n_rows} images, {self.n_classes} classes; mean ± sd over folds",
            "",
            f"  {'backbone':<13} {'estimator':<10} {'accuracy':<15} {'macro-F1':<15} {'fit s':>7} {'predict s':>9}",
        ]
        for number, row in self.table.iterrows():
            accuracy = f"{row['accuracy_mean']:.3f} ± {row['accuracy_std']:.3f}"
            f1_macro = f"{row['f1_macro_mean']:.3f} ± {row['f1_macro_std']:.3f}"
            lines.append(
                f"{'*' if number == best.name else ' '} {row['backbone']:<13} {row['estimator']:<10} {accuracy:<15} "
                f"{f1_macro:<15} {row['fit_seconds']:>7.2f} {row['predict_seconds']:>9.3f}"
            )
        lines += ["", f"* best: {best['estimator']} on {best['backbone']}, accuracy {best['accuracy_mean']:.3f}"]
        return "\n".join(lines)


def check_table_path(path: Path) -> None:
    """Raise if a table cannot be written here, before any work is done.

    Raises
    ------
    OutputError
    """
    if os.path.isdir(path) or not os.path.isdir(path.parent) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise _table_not_written(path, "it is a folder, or its folder does not exist or is locked")


def _table_not_written(path: Path, reason: str) -> OutputError:
    return OutputError(f"The table cannot be written to {str(path)!r}: {reason}. Choose another --csv file.")


def compare_backbones(
    table: ImageTable,
    options: Sequence[ExtractionOptions],
    *,
    cache: Path | None,
    on_error: str = "skip",
    estimators: Sequence[str] = BASELINES,
    cv: int = 5,
    random_state: int = 0,
    n_jobs: int | None = -1,
    show_progress: bool = False,
    progress: Callable[[str], object] | None = None,
) -> BackboneComparison:
    """Extract labelled images with each backbone, and compare baselines on the features.

    Parameters
    ----------
    table : ImageTable
        Images without a label are left out.
    options : sequence of ExtractionOptions
        One for each backbone.
    cache : Path or None
    on_error : {"skip", "raise"}, default="skip"
        Leave out an image that cannot be read, or stop at the first.
    estimators, cv, random_state, n_jobs
        As for :func:`featx.compare_baselines`.
    show_progress : bool, default=False
        Show a progress bar for each extraction.
    progress : callable, default=None
        Called with the name of each estimator before its turn.

    Raises
    ------
    ComparisonError
        Labels that cannot be split into folds: found before anything is extracted.
    """
    import pandas as pd

    table = table.labelled()
    check_labels(table.labels, cv)
    check_comparison_options(estimators, random_state, n_jobs)
    resolved = [wanted.resolve() for wanted in options]
    tables = []
    failures: dict[int, Failure] = {}
    for network in resolved:
        rows, failed = _extract(table, network, cache, on_error == "raise", show_progress)
        failures |= {failure.position: failure for failure in failed}
        keep = readable_positions(len(table), failed)
        labels = np.array(table.labels, dtype=object)[keep]
        compared = compare_baselines(
            rows[keep],
            labels,
            estimators=estimators,
            cv=cv,
            random_state=random_state,
            n_jobs=n_jobs,
            progress=progress,
        ).table
        compared.insert(0, "backbone", network.recipe.backbone)
        compared.insert(1, "features", network.n_features)
        tables.append(compared)
    return BackboneComparison(
        table=pd.concat(tables, ignore_index=True),
        n_rows=len(labels),
        n_classes=len(set(labels)),
        failures=[failures[at] for at in sorted(failures)],
    )


def _extract(
    table: ImageTable, resolved: Resolved, cache: Path | None, raise_on_error: bool, show_progress: bool
) -> tuple[FloatArray, list[Failure]]:
    rows = np.empty((len(table), resolved.n_features), dtype=np.float32)
    with progress_bar(len(table), resolved.recipe.backbone, shown=show_progress) as progress:
        extraction = Extraction(
            table.paths, resolved, rows, cache=cache, raise_on_error=raise_on_error, progress=progress
        )
        extraction.run()
    return rows, extraction.failures
