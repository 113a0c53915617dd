"""The result of a ranking: scores of feature matrices by several criteria."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS
from featx.system.formatting import format_count, format_ties
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import table_to_html
from featx.system.terminal.tables import fit_text, format_table, wrap_text

if TYPE_CHECKING:
    import pandas as pd

#: Columns that features are ranked by. The first one decides the order, the second one breaks ties.
CRITERIA = ("loo_ridge", "logme", "loo_knn", "h_score")
_CRITERION_NAMES = {"loo_ridge": "ridge", "logme": "LogME", "loo_knn": "kNN", "h_score": "H-score"}


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Result of :func:`rank_features`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each feature matrix, the best first, with these columns:

        - ``name``, for features of networks also ``backbone``, ``layer`` and ``pooling``;
        - ``features``: number of columns;
        - ``loo_ridge`` and ``loo_knn``: leave-one-out accuracy, R², or mean average precision of tags;
        - ``logme`` and ``h_score`` (NaN for regression and tags);
        - ``loo_ridge_rank`` and so on: rank by each criterion, from 1;
        - ``p_value``: two-sided p-value for equal performance of ridge regression on this and the best matrix
          (McNemar's exact test; for regression a paired t-test of squared errors; for tags of F1 scores of images);
        - ``verdict``: ``best``, ``tie`` or ``worse``.
    task : {"classification", "regression", "multilabel"}
        Type of the target.
    n_rows : int
        Number of samples.
    n_classes : int
        Number of classes or tags. 0 for regression.
    notes : list of str
        Deviations from the request, and warnings.

    See Also
    --------
    rank_features : Rank feature matrices and return this object.

    Examples
    --------
    >>> from featx import rank_features
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> ranking = rank_features({"sepals": X[:, :2], "all": X}, y, groups=None)
    >>> ranking.best, ranking.ties
    ('all', ['sepals'])
    """

    table: pd.DataFrame
    task: str
    n_rows: int
    n_classes: int
    notes: list[str]
    #: What a row is.
    _noun: ClassVar[str] = "row"

    @property
    def best(self) -> str:
        """Name of the first feature matrix."""
        return str(self.table["name"].iloc[0])

    @property
    def ties(self) -> list[str]:
        """Names of the feature matrices that are not significantly worse than the best one."""
        return self.table["name"][self.table["verdict"] == "tie"].tolist()

    def as_dict(self) -> dict[str, Any]:
        """Return the output of ``featx rank --json``. Undefined values are None."""
        records = self.table.astype(object).where(self.table.notna(), None).to_dict(orient="records")
        return {
            "task": self.task,
            "rows": self.n_rows,
            "classes": self.n_classes,
            "criterion": CRITERIA[0],
            "ranking": records,
            "best": records[0],
            "ties": self.ties,
            "notes": self.notes,
        }

    def as_text(self) -> str:
        """Return a human-readable table with a conclusion and notes."""
        headline = f"{self._headline()}; rank by each criterion in parentheses"
        return "\n".join(
            [fit_text(headline), "", *self._lines(), "", wrap_text(self._conclusion()), *map(wrap_text, self.notes)]
        )

    def __repr__(self) -> str:
        tables = format_count(len(self.table), "feature matrix")
        return f"<{type(self).__name__}: {tables}; {format_count(self.n_rows, 'row')}; best: {self.best}>"

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        """Return the best matrix, the table and the notes as HTML, for notebooks."""
        rows = [
            {name: f"{cell:,}" if isinstance(cell, int) else str(cell) for name, cell in row.items()}
            for row in self._rows()
        ]
        facts = {
            "not significantly worse": format_ties(self.ties, "see the ties in the table") or "none",
            "data": self._headline(),
        }
        return card_to_html(str(self.best), facts, table_to_html(rows, marked=[0]), notes=self.notes)

    def _headline(self) -> str:
        kind = "tag" if self.task == "multilabel" else "class"
        classes = f", {format_count(self.n_classes, kind)}" if self.n_classes else ""
        metric = METRIC_NAMES[METRICS[self.task][0]]
        return f"{format_count(self.n_rows, self._noun)}{classes}; ridge and kNN: leave-one-out {metric}"

    def _lines(self) -> list[str]:
        return format_table(self._rows(), marked=[0]).split("\n")

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for row in self.table.to_dict(orient="records"):
            first, *others = [
                f"{row[name]:.3f} ({row[f'{name}_rank']:.0f})" if np.isfinite(row[name]) else "" for name in CRITERIA
            ]
            cells = {"name": row["name"], "features": row["features"], _CRITERION_NAMES[CRITERIA[0]]: first}
            cells |= {"": row["verdict"]}
            rows.append(cells | {_CRITERION_NAMES[name]: cell for name, cell in zip(CRITERIA[1:], others, strict=True)})
        return rows

    def _conclusion(self) -> str:
        if not self.ties:
            return f"* best: {self.best}"
        ties = format_ties(self.ties, "see the ties in the table")
        return f"* best: {self.best}, not significantly better than {ties}"
