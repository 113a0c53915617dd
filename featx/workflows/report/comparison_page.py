"""The report of a comparison: one HTML page with plots and thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featx.baselines.metrics import METRICS
from featx.errors import missing_dependency
from featx.workflows.report import charts, sections
from featx.workflows.report.attribution import attribution_maps, attribution_problem
from featx.workflows.report.feature_map import Projection, class_columns, project, target_columns
from featx.workflows.report.html_page import read_asset, render, write_page
from featx.workflows.report.image_frame import FrameLimits, ImageFrame, make_image_frame
from featx.workflows.report.inputs import ReportedComparison


def write_report(
    path: Path,
    result: ReportedComparison,
    *,
    command: str = "",
    seconds: float | None = None,
    tsne: bool | None = None,
    cache: Path | None = None,
    limits: FrameLimits | None = None,
) -> None:
    """Write the report of a comparison as one self-contained HTML page, atomically.

    Parameters
    ----------
    path : Path
    result : ReportedComparison
    command : str, default=""
        Command that repeats the comparison.
    seconds : float or None, default=None
        Duration of the comparison.
    tsne : bool or None, default=None
        Whether to draw a t-SNE map next to the PCA map. None: if it is expected to take at most 15 seconds.
    cache : Path or None, default=None
        Path of the feature cache. None: no attribution maps of misclassified images.
    limits : FrameLimits or None, default=None

    Raises
    ------
    OutputError
        If the file cannot be written.
    MissingDependencyError
        If Bokeh or Jinja2 is not installed.
    """
    try:
        import bokeh.embed
        import bokeh.resources
    except ImportError as error:
        raise missing_dependency("The report", "bokeh") from error
    frame = make_image_frame(result, limits or FrameLimits())
    projection = project(frame.backbone.rows[frame.shown.index.to_numpy()], tsne=tsne)
    attributions = _attributions(frame, cache)
    figures = _figures(frame, projection)
    text = render(
        "page.html.jinja",
        **sections.page_content(frame, command, seconds),
        mistakes=sections.mistake_tiles(frame, attributions),
        has_attributions=bool(attributions),
        attribution_problem=attribution_problem(result) if result.task == "classification" and cache else "",
        has_tsne=projection.has_tsne,
        projection=projection.note,
        plots={name: bokeh.embed.json_item(figure, f"plot-{name}") for name, figure in figures.items()},
        bokeh="\n".join(bokeh.resources.Resources(mode="inline", components=["bokeh"]).js_raw),
        script=read_asset("page.js"),
    )
    write_page(path, text)


def _attributions(frame: ImageFrame, cache: Path | None) -> dict[int, str]:
    if frame.result.task != "classification":
        return {}
    return attribution_maps(frame.result, sections.rows_of_mistakes(frame), frame.atlas.side, cache)


def _figures(frame: ImageFrame, projection: Projection) -> dict[str, Any]:
    """Return the plots by name."""
    result = frame.result
    metric = METRICS[result.task][0]
    metric_name = sections.metric_name(frame)
    names = [f"{row['estimator']} · {name}" for name, row in sections.score_rows(frame)]
    figures = {"scores": charts.scores_chart(names, result.table, metric, metric_name)}
    if frame.has_classes:
        figures["confusion"] = charts.confusion_chart(frame.class_names, *frame.codes(frame.scored))
    else:
        targets, predicted = (frame.shown[name].to_numpy(dtype=float) for name in ("label", "predicted"))
        figures["errors"] = charts.errors_chart(targets, predicted, frame.names[: len(frame.shown)])
    figures["map"] = _map(frame, projection)
    if result.learning_curve is not None:
        x_label = "training images per class" if result.task == "classification" else "training images"
        figures["curve"] = charts.curve_chart(result.learning_curve, metric_name, x_label)
    return figures


def _map(frame: ImageFrame, projection: Projection) -> Any:
    shown, points = frame.shown, dict(projection.points)
    corners = map(frame.atlas.corner, range(len(shown)))
    points["tile"] = [f"-{x}px -{y}px" for x, y in corners]  # the script of the page adds the names
    caption = "<b>@label</b>, predicted @predicted<br>@name"
    if frame.has_classes:
        points |= class_columns(frame.class_names, *frame.codes(shown))
        return charts.map_chart(points, side=frame.atlas.side, caption=caption)
    targets, predicted = (shown[name].to_numpy(dtype=float) for name in ("label", "predicted"))
    points |= target_columns(targets, predicted)
    scale = (float(targets.min()), float(targets.max()))
    return charts.map_chart(points, side=frame.atlas.side, caption=caption, scale=scale)
