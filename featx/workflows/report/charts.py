"""Plots of the report, made with Bokeh. The script of the page sets their colors, for light and dark mode."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.output.plots import curve_band, far_dummies, range_with_margin

if TYPE_CHECKING:
    import pandas as pd

#: Colors that color-blind readers can distinguish on white and on black (after M. Okabe and K. Ito, "Color universal
#: design", 2008; without its black and yellow).
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
#: Bokeh's name of each marker, and the filled and hollow character like it. With the colors, 112 styles differ.
MARKERS = (
    ("circle", "●○"),
    ("square", "■□"),
    ("triangle", "▲△"),
    ("diamond", "◆◇"),
    ("inverted_triangle", "▼▽"),
    ("hex", "⬢⬡"),
    ("star", "★☆"),
    ("plus", "✚✛"),
)
_TRANSPARENT = "#00000000"
_CORRECT, _WRONG, _NEUTRAL = COLORS[0], COLORS[5], COLORS[6]
#: Rings around misclassified images are visible at first if they are at most this fraction of the points.
_MAX_FRACTION_RINGED = 0.25
#: Maximum number of classes for which a confusion matrix shows numbers.
_MAX_CLASSES_WITH_COUNTS = 30
#: Recall from which a cell of the confusion matrix has its full color.
_MIN_SOLID_FRACTION = 0.7


@dataclasses.dataclass(frozen=True)
class ClassStyle:
    """Style of the points of a class on the map.

    Attributes
    ----------
    color, fill, marker : str
    character : str
        Character that looks like the marker, for the legend.
    """

    color: str
    fill: str
    marker: str
    character: str


def class_style(index: int) -> ClassStyle:
    """Return the style of a class. Neighbors in the list of classes differ in both color and marker."""
    marker, characters = MARKERS[index % len(MARKERS)]
    color = COLORS[index % len(COLORS)]
    is_hollow = index // (len(MARKERS) * len(COLORS)) % 2
    return ClassStyle(color, _TRANSPARENT if is_hollow else color, marker, characters[is_hollow])


def palette() -> Sequence[str]:
    """Return 256 colors for continuous targets, from low to high."""
    from bokeh.palettes import Cividis256

    return tuple(Cividis256)


def plain(text: str) -> str:
    """Return text that Bokeh does not render as a formula."""
    return text.replace("$$", "$\u200b$").replace("\\(", "\\\u200b(").replace("\\[", "\\\u200b[")


def scores_chart(names: Sequence[str], table: pd.DataFrame, metric: str, metric_name: str) -> Any:
    """Return the plot of scores and intervals, one line for each row of the table."""
    from bokeh.models import ColumnDataSource, Label

    n = len(table)
    positions = np.arange(n)[::-1]
    means = table[f"{metric}_mean"].to_numpy(dtype=float)
    low, high = (table[column].fillna(table[f"{metric}_mean"]).to_numpy(dtype=float) for column in ("low", "high"))
    source = ColumnDataSource(
        {
            "y": positions,
            "x": means,
            "low": low,
            "high": high,
            "name": list(names),
            "verdict": table["verdict"].tolist(),
            "color": [_NEUTRAL if verdict == "worse" else _CORRECT for verdict in table["verdict"]],
        }
    )
    is_outside = far_dummies(table["estimator"], low, high)
    figure = _figure(
        "scores",
        height=70 + 40 * n,
        min_border_left=20,  # of the label of the first tick
        x_range=range_with_margin(low[~is_outside], high[~is_outside]),
        y_range=(-0.5, n - 0.2),
        x_axis_label=f"{metric_name}, mean and 95 % interval",
        tooltips=[("", "@name"), (metric_name, "@x{0.000}"), ("95 %", "@low{0.000} – @high{0.000}"), ("", "@verdict")],
    )
    figure.segment("low", "y", "high", "y", source=source, line_width=3, line_color="color")
    figure.scatter("x", "y", source=source, size=11, color="color")
    # Names are above their lines: next to them, they would leave no room for the lines on a phone.
    for y, name, mean, outside in zip(positions.tolist(), names, means, is_outside, strict=True):
        text = f"{plain(name)}: {mean:.3f}, outside of the plot" if outside else plain(name)
        position = {"x": 2, "x_units": "screen", "y": y + 0.4, "text_baseline": "middle"}
        figure.add_layout(Label(text=text, text_font_size="12px", text_color="grey", **position))
    figure.yaxis.visible = False
    figure.ygrid.grid_line_color = None
    return figure


def confusion_chart(classes: Sequence[str], true: Any, predicted: Any) -> Any:
    """Return the confusion matrix: a row for each class, a column for each predicted class.

    Parameters
    ----------
    classes : sequence of str
    true, predicted : ndarray of int of shape (n_samples,)
        Class indices.
    """
    n = len(classes)
    has_counts = n <= _MAX_CLASSES_WITH_COUNTS
    side = int(np.clip(480 / n, 26, 60)) if has_counts else int(np.clip(880 / n, 8, 24))
    label_height = min(160, 7 * max(map(len, classes)))
    figure = _figure(
        "confusion",
        height=side * n + label_height + 60,
        min_width=side * n + label_height + 80,
        max_width=max(420, int(1.6 * side * n) + label_height + 80),
        x_range=(-0.5, n - 0.5),
        y_range=(-0.5, n - 0.5),
        x_axis_label="predicted",
        y_axis_label="label",
        tools="tap,pan,box_zoom,reset,save",
        tooltips=[("label", "@true_name"), ("predicted", "@predicted_name"), ("images", "@count (@fraction{0 %})")],
    )
    _add_cells(figure, _confusion_cells(classes, true, predicted), has_counts=has_counts)
    for axis, indices in ((figure.xaxis, range(n)), (figure.yaxis, range(n - 1, -1, -1))):
        axis.ticker = list(range(n))
        axis.major_label_overrides = {index: plain(name) for index, name in zip(indices, classes, strict=True)}
        axis.major_label_text_font_size = "11px" if has_counts else f"{min(side, 9)}px"
    figure.xaxis.major_label_orientation = "vertical"
    figure.grid.grid_line_color = None
    return figure


def _confusion_cells(classes: Sequence[str], true: Any, predicted: Any) -> dict[str, Any]:
    """Return the columns of the cells that are not empty."""
    n = len(classes)
    counts = np.zeros((n, n), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    rows, columns = np.nonzero(counts)
    cell_counts = counts[rows, columns]
    fraction = cell_counts / counts.sum(axis=1)[rows]
    return {
        "x": columns,
        "y": n - 1 - rows,
        "true": rows,
        "predicted": columns,
        "count": cell_counts,
        "fraction": fraction,
        "alpha": np.where(fraction < _MIN_SOLID_FRACTION, 0.15 + 0.4 * fraction, 1.0),
        "color": np.where(rows == columns, _CORRECT, _WRONG).tolist(),
        "true_name": [classes[row] for row in rows.tolist()],
        "predicted_name": [classes[column] for column in columns.tolist()],
    }


def _add_cells(figure: Any, cells: dict[str, Any], *, has_counts: bool) -> None:
    """Draw the cells of a confusion matrix; a selected cell is framed, and the others stay as they are."""
    from bokeh.models import CDSView, ColumnDataSource, IndexFilter

    source = ColumnDataSource(cells)
    style = {"fill_color": "color", "fill_alpha": "alpha", "line_color": None}
    selected = {"selection_line_color": "grey", "selection_line_width": 3}
    figure.rect("x", "y", 0.96, 0.96, source=source, nonselection_fill_alpha="alpha", **style, **selected)
    if not has_counts:
        return
    text = {"text": "count", "text_align": "center", "text_baseline": "middle", "text_font_size": "11px"}
    # White on solid blue, black on solid orange, and the page's text color where the background shines through.
    is_weak = cells["fraction"] < _MIN_SOLID_FRACTION
    kinds = np.where(is_weak, "on-weak", np.where(cells["true"] == cells["predicted"], "on-blue", "on-orange"))
    for name, color in (("on-weak", "grey"), ("on-blue", "white"), ("on-orange", "black")):
        view = CDSView(filter=IndexFilter(np.flatnonzero(kinds == name).tolist()))
        figure.text("x", "y", source=source, view=view, name=name, text_color=color, nonselection_text_alpha=1, **text)


def map_chart(points: dict[str, Any], *, side: int, caption: str, scale: tuple[float, float] | None = None) -> Any:
    """Return the feature map: a point for each image, its thumbnail on hover, misclassified images ringed.

    Parameters
    ----------
    points : dict of columns
        ``x``, ``y`` and the other columns of a point.
    side : int
        Side of a thumbnail in pixels.
    caption : str
        HTML caption of a thumbnail, with columns as ``@label``.
    scale : (float, float) or None, default=None
        Lowest and highest target, for the color bar of a regression.
    """
    from bokeh.models import CDSView, ColorBar, ColumnDataSource, IndexFilter, LinearColorMapper

    source = ColumnDataSource(points)
    thumbnail = f"width:{side}px;height:{side}px;background:var(--atlas) @tile"
    figure = _figure(
        "map",
        height=560,
        tools="tap,pan,box_zoom,wheel_zoom,reset,save",
        tooltips=f'<div style="{thumbnail}"></div><div style="max-width:16em;color:#222">{caption}</div>',
    )
    dots = figure.scatter(
        "x",
        "y",
        source=source,
        size=9,
        marker="marker",
        fill_color="fill",
        line_color="color",
        alpha="alpha",
        nonselection_alpha=0.25,
        name="dots",
    )
    wrong = np.flatnonzero(points["wrong"]).tolist()
    are_visible = len(wrong) <= _MAX_FRACTION_RINGED * len(points["wrong"])
    view = CDSView(filter=IndexFilter(wrong))
    ring = {"size": 15, "marker": "circle", "fill_color": None, "line_width": 1.5, "nonselection_line_alpha": 1}
    figure.scatter("x", "y", source=source, view=view, name="rings", visible=are_visible, **ring)
    figure.hover.renderers = [dots]
    figure.hover.limit = 3  # of points on top of each other
    figure.axis.visible = False
    figure.grid.grid_line_color = None
    if scale is not None and scale[0] < scale[1]:
        mapper = LinearColorMapper(palette=palette(), low=scale[0], high=scale[1])
        figure.add_layout(ColorBar(color_mapper=mapper, background_fill_alpha=0, title="label"), "right")
    return figure


def curve_chart(curve: pd.DataFrame, metric_name: str, x_label: str) -> Any:
    """Return the plot of the learning curve."""
    from bokeh.models import ColumnDataSource

    low, high = curve_band(curve)
    source = ColumnDataSource({"x": curve["n_per_class"], "y": curve["score_mean"], "low": low, "high": high})
    figure = _figure(
        "curve",
        height=320,
        x_axis_type="log",
        y_range=range_with_margin(low.to_numpy(), high.to_numpy()),
        x_axis_label=x_label,
        y_axis_label=metric_name,
        tooltips=[(x_label, "@x"), (metric_name, "@y{0.000}")],
    )
    figure.varea("x", "low", "high", source=source, fill_color=_CORRECT, fill_alpha=0.15)
    figure.line("x", "y", source=source, line_width=2, color=_CORRECT)
    figure.scatter("x", "y", source=source, size=8, color=_CORRECT)
    figure.xaxis.ticker = curve["n_per_class"].tolist()
    return figure


def errors_chart(targets: Any, predicted: Any, names: Sequence[str]) -> Any:
    """Return the plot of predicted against true targets."""
    from bokeh.models import ColumnDataSource

    source = ColumnDataSource({"x": targets, "y": predicted, "name": list(names)})
    figure = _figure(
        "errors",
        height=420,
        x_axis_label="true",
        y_axis_label="predicted",
        tools="pan,box_zoom,reset,save",
        tooltips=[("", "@name"), ("true", "@x"), ("predicted", "@y")],
    )
    ends = [float(min(targets.min(), predicted.min())), float(max(targets.max(), predicted.max()))]
    figure.line(ends, ends, line_dash="dashed", color=_NEUTRAL)
    figure.scatter("x", "y", source=source, size=6, color=_CORRECT, alpha=0.6)
    return figure


def _figure(name: str, *, tools: str = "save", tooltips: Any, **options: Any) -> Any:
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    plot = figure(
        name=name,
        sizing_mode="stretch_width",
        tools=tools,
        toolbar_location="above",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        **options,
    )
    plot.toolbar.logo = None
    plot.add_tools(HoverTool(tooltips=tooltips))
    return plot
