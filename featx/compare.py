"""Labelled images → baselines on the features of one or several backbones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines import BASELINES, check_labels, compare_baselines, make_baseline
from featx.extraction import Extraction, Failure, readable_positions
from featx.options import ExtractionOptions
from featx.progress import progress_bar
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
    n_computed, n_cached : int
        Images that went through a network, and whose row was in the store.
    """

    table: pd.DataFrame
    n_rows: int
    n_classes: int
    failures: list[Failure]
    n_computed: int
    n_cached: int

    @property
    def best(self) -> pd.Series[Any]:
        """The row of the table with the highest mean accuracy."""
        return self.table.iloc[int(self.table["accuracy_mean"].argmax())]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx compare --json`` prints."""
        best = self.best
        return {
            "rows": self.n_rows,
            "classes": self.n_classes,
            "features": int(best["features"]),
            "failed": len(self.failures),
            "results": self.table.to_dict(orient="records"),
            "best": {"backbone": best["backbone"], "estimator": best["estimator"]},
        }

    def as_text(self) -> str:
        """Return the table for people, the best marked."""
        best = self.best
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
    for name in estimators:
        make_baseline(name)
    tables = []
    failures: dict[int, Failure] = {}
    n_computed = n_cached = 0
    for wanted in options:
        rows = np.empty((len(table), wanted.n_features), dtype=np.float32)
        with progress_bar(len(table), wanted.backbone, shown=show_progress) as advance:
            on_bad = "nan" if on_error == "skip" else "raise"
            extraction = Extraction(table.paths, wanted.resolve(), rows, cache=cache, on_error=on_bad, progress=advance)
            extraction.run()
        n_computed += extraction.n_computed
        n_cached += extraction.n_cached
        failures |= {failure.position: failure for failure in extraction.failures}
        keep = readable_positions(len(table), extraction.failures)
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
        compared.insert(0, "backbone", wanted.backbone)
        compared.insert(1, "features", wanted.n_features)
        tables.append(compared)
    return BackboneComparison(
        table=pd.concat(tables, ignore_index=True),
        n_rows=len(labels),
        n_classes=len(set(labels)),
        failures=[failures[at] for at in sorted(failures)],
        n_computed=n_computed,
        n_cached=n_cached,
    )
