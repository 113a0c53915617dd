"""The page: what it says, and the file it becomes."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS
from featx.errors import MissingDependencyError
from featx.images.thumbnails import MAX_THUMBNAILS, make_atlas
from featx.system.files.atomic import write_text
from featx.system.files.output_paths import as_output_error
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_bytes, format_count, shorten, shorten_middle
from featx.workflows.report import charts
from featx.workflows.report.evidence import evidence_of, why_no_evidence
from featx.workflows.report.feature_map import of_classes, of_quantities, positions
from featx.workflows.report.run_facts import facts, runs

if TYPE_CHECKING:
    import pandas as pd

    from featx.workflows.result import ImageComparison

#: Up to so many images, a t-SNE map is drawn without being asked for: it takes a few seconds.
_FEW_FOR_TSNE = 1000
_MOST_MISTAKES, _MOST_ISSUES, _MOST_CLUSTERS, _MOST_CONFUSIONS, _MOST_OF_CLUSTER = 24, 60, 30, 20, 12


def write_report(
    path: Path,
    result: ImageComparison,
    *,
    command: str = "",
    seconds: float | None = None,
    tsne: bool | None = None,
    cache: Path | None = None,
) -> None:
    """Write a comparison as one self-contained HTML page, whole or not at all.

    Parameters
    ----------
    path : Path
    result : ImageComparison
    command : str, default=""
        What repeats it.
    seconds : float or None, default=None
        What it took.
    tsne : bool or None, default=None
        Draw a t-SNE map beside the PCA one; None: if there are no more than 1,000 images.
    cache : Path or None, default=None
        Where compiled networks are: with it, the most confident mistakes show where the evidence for them lies.

    Raises
    ------
    OutputError
        The file cannot be written.
    MissingDependencyError
        Bokeh or Jinja2 is not installed.
    """
    try:
        import bokeh.embed
        import bokeh.resources
        import jinja2
    except ImportError as error:
        raise MissingDependencyError(f"The report needs {error.name}. Install it: pip install bokeh jinja2.") from error
    page = _Page(result, tsne, cache)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # Bokeh defines a model where it first comes: the order of keys counts.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
    text = environment.get_template("page.html.jinja").render(
        **page.content(command, seconds),
        plots={name: bokeh.embed.json_item(figure, f"plot-{name}") for name, figure in page.figures().items()},
        bokeh="\n".join(bokeh.resources.Resources(mode="inline", components=["bokeh"]).js_raw),
        style=_beside("page.css"),
        script=_beside("page.js"),
    )
    with as_output_error(path):
        write_text(path, text)


def _beside(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


def _below_common_folder(paths: Sequence[str]) -> list[str]:
    """Return paths without the folders that all of them share."""
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # absolute and relative ones
        return list(paths)
    return [os.path.relpath(path, common) for path in paths] if common else list(paths)


class _Page:
    """What the page shows of one comparison.

    Parameters
    ----------
    result : ImageComparison
    tsne : bool or None
    cache : Path or None
    """

    def __init__(self, result: ImageComparison, tsne: bool | None, cache: Path | None) -> None:
        self._result = result
        self._cache = cache
        self._best = result.best_row
        self._network = result.best_backbone
        comparison = self._network.comparison
        self._is_classification = result.task == "classification"
        self._estimator = str(self._best["estimator"])
        self._metric = METRICS[result.task][0]
        self._metric_name = METRIC_NAMES[self._metric]
        # Everything below is about the rows that were scored, in the order of `comparison.y`.
        self._rows = comparison.predictions.index.to_numpy()
        self._y = comparison.y
        self._predicted = comparison.predictions[self._estimator].to_numpy()
        self._certainty = comparison.margins.get(self._estimator)
        self._classes = np.unique(np.concatenate([self._y, self._predicted])) if self._is_classification else None
        self._shown = self._choose_shown()
        pictured = [*(int(self._rows[at]) for at in self._shown), *self._others_pictured()]
        self._number_of_row = {row: number for number, row in enumerate(pictured)}
        paths = [result.paths[row] for row in pictured]
        self._atlas = make_atlas(paths)
        self._names = [shorten(name) for name in _below_common_folder([redact_secrets(path) for path in paths])]
        self._has_tsne = len(self._shown) > 4 and (len(self._shown) <= _FEW_FOR_TSNE if tsne is None else tsne)

    # Which images ------------------------------------------------------------------------------------

    def _mistakes(self) -> list[int]:
        """Return positions of scored images that were told wrong, the most certain first."""
        if not self._is_classification:
            largest = np.argsort(-np.abs(self._predicted - self._y), kind="stable")[:_MOST_MISTAKES]
            return [int(at) for at in largest]
        wrong = np.flatnonzero(self._predicted != self._y)
        if self._certainty is not None:
            wrong = wrong[np.argsort(-self._certainty[wrong], kind="stable")]
        return [int(at) for at in wrong]

    @functools.cached_property
    def _evidence(self) -> dict[int, str]:
        """Pictures of where the evidence for the most confident mistakes lies, by position."""
        if not self._is_classification:
            return {}
        return evidence_of(self._result, self._mistakes()[:_MOST_MISTAKES], self._atlas.side, self._cache)

    def _issues(self) -> list[dict[str, Any]]:
        issues = self._result.label_issues
        return [] if issues is None else _records(issues.head(_MOST_ISSUES))

    def _choose_shown(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return positions of the images that are shown: all, or those that matter and some of the others."""
        n = len(self._y)
        if n <= MAX_THUMBNAILS:
            return np.arange(n)
        of_row = {int(row): at for at, row in enumerate(self._rows)}
        wanted = self._mistakes()
        wanted += [of_row[int(issue["row"])] for issue in self._issues() if int(issue["row"]) in of_row]
        for cluster in self._result.duplicates.clusters[:_MOST_CLUSTERS]:
            wanted += [of_row[int(row)] for row in cluster.rows if int(row) in of_row]
        others = np.random.default_rng(0).permutation(n).tolist()
        chosen = list(dict.fromkeys([*wanted[: MAX_THUMBNAILS // 2], *others]))[:MAX_THUMBNAILS]
        return np.sort(np.array(chosen, dtype=np.int64))

    def _others_pictured(self) -> list[int]:
        """Return rows that are shown although they were not scored: training images, as duplicates or in doubt."""
        scored = set(self._rows.tolist())
        clusters = self._result.duplicates.clusters[:_MOST_CLUSTERS]
        wanted = [int(row) for cluster in clusters for row in cluster.rows[:_MOST_OF_CLUSTER]]
        wanted += [int(issue["row"]) for issue in self._issues()]
        return [row for row in dict.fromkeys(wanted) if row not in scored]

    # Plots -------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """Return the plots by name."""
        result = self._result
        names = [f"{row['estimator']} · {name}" for name, row in self._table_rows()]
        found = {"scores": charts.scores_chart(names, result.table, self._metric, self._metric_name)}
        if self._classes is not None:
            found["confusion"] = charts.confusion_chart(self._class_names(), *self._codes())
        else:
            found["errors"] = charts.errors_chart(
                self._y[self._shown], self._predicted[self._shown].astype(float), self._names
            )
        found["map"] = self._map()
        if result.learning_curve is not None:
            what = "training images per class" if self._is_classification else "training images"
            found["curve"] = charts.curve_chart(result.learning_curve, self._metric_name, what)
        return found

    def _class_names(self) -> list[str]:
        assert self._classes is not None
        return [shorten_middle(str(label), 30) for label in self._classes]

    def _codes(self) -> tuple[Any, Any]:
        assert self._classes is not None
        return np.searchsorted(self._classes, self._y), np.searchsorted(self._classes, self._predicted)

    def _map(self) -> Any:
        shown = self._shown
        points = positions(self._network.rows[self._rows[shown]], tsne=self._has_tsne)
        corners = map(self._atlas.corner, range(len(shown)))
        points["tile"] = [f"-{x}px -{y}px" for x, y in corners]  # the page's script adds the names, which it has
        caption = "<b>@label</b>, predicted @predicted<br>@name"
        if self._classes is not None:
            true, predicted = self._codes()
            points |= of_classes(self._class_names(), true[shown], predicted[shown])
            return charts.map_chart(points, side=self._atlas.side, caption=caption)
        values = self._y[shown].astype(float)
        points |= of_quantities(values, self._predicted[shown].astype(float))
        return charts.map_chart(points, side=self._atlas.side, caption=caption, scale=(values.min(), values.max()))

    # Words and tables --------------------------------------------------------------------------------

    def _table_rows(self) -> list[tuple[str, dict[str, Any]]]:
        result = self._result
        names = [result.backbone_of(row).name for row in range(len(result.table))]
        return list(zip(names, _records(result.table), strict=True))

    def content(self, command: str, seconds: float | None) -> dict[str, Any]:
        """Return everything that the template fills in but the plots."""
        result = self._result
        return {
            "title": f"{self._estimator} on {self._network.name}: {self._metric_name} "
            f"{self._best[f'{self._metric}_mean']:.3f}",
            "summary": self._summary(),
            "notes": [shorten(note, 2000) for note in result.notes],
            "metrics": [(metric, METRIC_NAMES[metric]) for metric in METRICS[result.task]],
            "table": self._table_rows(),
            "best": int(result.table.index.get_loc(self._best.name)),  # type: ignore[arg-type]
            "is_classification": self._is_classification,
            "estimator": self._estimator,
            "network": self._network.name,
            "split": self._network.comparison.split.description,
            "classes": self._class_table(),
            "confusions": self._confusions(),
            "mistakes": self._mistake_tiles(),
            "has_evidence": bool(self._evidence),
            "why_no_evidence": why_no_evidence(self._result) if self._is_classification and self._cache else "",
            "n_mistakes": int((self._predicted != self._y).sum()) if self._is_classification else 0,
            "issues": [issue for issue in map(self._issue_tile, self._issues()) if issue],
            "n_issues": 0 if result.label_issues is None else len(result.label_issues),
            "has_issues": result.label_issues is not None,
            "clusters": self._cluster_tiles(),
            "n_clusters": len(result.duplicates),
            "leaks": result.duplicates,
            "ungrouped_settings": f" ({result.ungrouped_settings})" if result.ungrouped_settings else "",
            "n_images": len(result.paths),
            "ungrouped_scores": None
            if result.ungrouped_scores is None
            else result.ungrouped_scores.set_index("estimator")["mean"].get(self._estimator),
            "curve": [] if result.learning_curve is None else result.learning_curve.to_dict(orient="records"),
            "metric_name": self._metric_name,
            "n_shown": len(self._shown),
            "n_scored": len(self._y),
            "has_tsne": self._has_tsne,
            "failures": [(shorten(one.image), one.reason) for one in result.failures[:50]],
            "n_failures": len(result.failures),
            "runs": runs(result.backbones),
            "facts": facts(command, seconds, self._thumbnails()),
            "data": self._data(),
            "described": self._described(),
            "atlas": self._atlas,
        }

    def _thumbnails(self) -> str:
        return f"{format_count(len(self._shown), 'image')}, {format_bytes(len(self._atlas.data))}"

    def _summary(self) -> str:
        best, result = self._best, self._result
        score = f"{best[f'{self._metric}_mean']:.3f}"
        if self._is_classification:
            what = (
                f"{float(score):.1%} of {format_count(len(self._y), 'image')} right, of "
                f"{len(np.unique(self._y))} classes"
            )
        else:
            what = f"R² of {score} on {format_count(len(self._y), 'image')}"
        low, high = float(best["low"]), float(best["high"])
        interval = f" (95 % interval {low:.3f} – {high:.3f})" if np.isfinite(low) and np.isfinite(high) else ""
        tied = f" Its lead over {result.ties_in_words} may be chance." if result.ties else ""
        return f"The best, {self._estimator} on {self._network.name}, gets {what}{interval}.{tied}"

    def _described(self) -> dict[str, str]:
        """Return in words what the plots show, for those who do not see them."""
        scores = [f"{row['estimator']} on {name} {row[f'{self._metric}_mean']:.3f}" for name, row in self._table_rows()]
        n_right = int((self._predicted == self._y).sum()) if self._is_classification else 0
        mistakes = [
            f"{one['true_name']} taken for {one['predicted_name']} {one['count']} times" for one in self._confusions()
        ]
        curve = [] if self._result.learning_curve is None else _records(self._result.learning_curve)
        return {
            "scores": ", ".join(scores) + ".",
            "confusion": f"{n_right} of {len(self._y)} right. Most frequent mistakes: "
            f"{', '.join(mistakes[:5]) or 'none'}.",
            "map": f"{len(self._shown)} images"
            + (f" of {len(self._class_names())} classes, which are listed below." if self._is_classification else "."),
            "curve": ", ".join(f"{row['n_per_class']} images {row['score_mean']:.3f}" for row in curve) + ".",
        }

    def _class_table(self) -> list[dict[str, Any]]:
        if self._classes is None:
            return []
        looks = {label: charts.look_of(number) for number, label in enumerate(self._classes.tolist())}
        numbers = {label: number for number, label in enumerate(self._classes.tolist())}
        names = self._class_names()
        return [
            {
                **row,
                "number": numbers[row["label"]],
                "name": names[numbers[row["label"]]],
                "colour": looks[row["label"]].colour,
                "character": looks[row["label"]].character,
            }
            for row in _records(self._network.comparison.per_class(self._estimator))
        ]

    def _confusions(self) -> list[dict[str, Any]]:
        if self._classes is None:
            return []
        true, predicted = self._codes()
        wrong = true != predicted
        pairs, counts = np.unique(np.column_stack([true[wrong], predicted[wrong]]), axis=0, return_counts=True)
        names = self._class_names()
        return [
            {
                "true": int(pairs[at][0]),
                "predicted": int(pairs[at][1]),
                "true_name": names[pairs[at][0]],
                "predicted_name": names[pairs[at][1]],
                "count": int(counts[at]),
            }
            for at in np.argsort(-counts, kind="stable")[:_MOST_CONFUSIONS]
        ]

    def _mistake_tiles(self) -> list[dict[str, Any]]:
        found = []
        for position in self._mistakes()[:_MOST_MISTAKES]:
            words = f"{self._said(self._y[position])}, predicted {self._said(self._predicted[position])}"
            tile = self._tile_of(int(self._rows[position]), words)
            if tile:
                found.append({**tile, "evidence": self._evidence.get(position, "")})
        return found

    def _issue_tile(self, issue: dict[str, Any]) -> dict[str, Any] | None:
        words = f"labelled {self._said(issue['given'])}, looks like {self._said(issue['suggested'])}"
        return self._tile_of(int(issue["row"]), words)

    def _cluster_tiles(self) -> list[dict[str, Any]]:
        found = []
        for cluster in self._result.duplicates.clusters[:_MOST_CLUSTERS]:
            rows = cluster.rows[:_MOST_OF_CLUSTER].tolist()
            tiles = [self._tile_of(row, self._said(self._result.y[row])) for row in rows]
            found.append(
                {
                    "kind": cluster.kind,
                    "n": len(cluster.rows),
                    "labels": [self._said(label) for label in cluster.labels],
                    "tiles": [tile for tile in tiles if tile],
                }
            )
        return found

    def _tile_of(self, row: int, words: str) -> dict[str, Any] | None:
        number = self._number_of_row.get(row)
        if number is None:
            return None
        x, y = self._atlas.corner(number)
        return {"x": x, "y": y, "name": self._names[number], "words": words, "evidence": ""}

    def _said(self, label: Any) -> str:
        return shorten_middle(str(label), 30) if self._is_classification else f"{float(label):.4g}"

    def _data(self) -> dict[str, Any]:
        """Return what the script needs to show images of a class, a cell or a point."""
        data: dict[str, Any] = {
            "side": self._atlas.side,
            "columns": self._atlas.n_columns,
            "names": self._names[: len(self._shown)],
            "partial": len(self._shown) < len(self._y),
            "classes": [],
            "true": [self._said(value) for value in self._y[self._shown]] if self._classes is None else [],
            "predicted": [self._said(value) for value in self._predicted[self._shown]] if self._classes is None else [],
        }
        if self._classes is not None:
            true, predicted = self._codes()
            data |= {
                "classes": self._class_names(),
                "true": true[self._shown].tolist(),
                "predicted": predicted[self._shown].tolist(),
            }
        return data


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
