"""The report's plots, made with Bokeh; the page hands them its colours, so that they suit light and dark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Colours that stay apart for colour-blind readers, on white and on black (after M. Okabe and K. Ito, "Color universal
#: design", 2008; without its black and yellow).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
#: With these, filled and hollow, 7 × 8 × 2 classes look different; Bokeh's name, and the same as characters.
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
_HOLLOW = "#00000000"
_RIGHT, _WRONG = COLOURS[0], COLOURS[5]
#: Mistakes are ringed from the start if they are no more than this share of the points.
_MOST_RINGED = 0.25
#: Counts are written into the cells of a confusion matrix of up to so many classes.
_MOST_WRITTEN = 30


@dataclasses.dataclass(frozen=True)
class Look:
    """What the points of a class look like on the map, and the character that stands for them in the legend."""

    colour: str
    fill: str
    marker: str
    character: str


def look_of(number: int) -> Look:
    """Return the look of a class."""
    # The marker changes with every class, so that neighbours in the list differ twice.
    marker, characters = MARKERS[number % len(MARKERS)]
    colour = COLOURS[number % len(COLOURS)]
    is_hollow = number // (len(MARKERS) * len(COLOURS)) % 2
    return Look(colour, _HOLLOW if is_hollow else colour, marker, characters[is_hollow])


def palette() -> Sequence[str]:
    """Return the 256 colours of quantities, from low to high."""
    from bokeh.palettes import Cividis256

    return tuple(Cividis256)


def plain(text: str) -> str:
    """Return text that Bokeh takes for text: two dollar signs would begin a formula."""
    return text.replace("$$", "$\u200b$").replace("\\(", "\\\u200b(").replace("\\[", "\\\u200b[")


def scores_chart(names: Sequence[str], table: pd.DataFrame, metric: str, metric_name: str) -> Any:
    """Return the scores with their intervals, one line for each estimator."""
    from bokeh.models import ColumnDataSource, Label

    n = len(table)
    at = np.arange(n)[::-1]
    means = table[f"{metric}_mean"].to_numpy(dtype=float)
    low, high = (table[column].fillna(table[f"{metric}_mean"]).to_numpy(dtype=float) for column in ("low", "high"))
    source = ColumnDataSource(
        {
            "y": at,
            "x": means,
            "low": low,
            "high": high,
            "name": list(names),
            "verdict": table["verdict"].tolist(),
            "colour": [_RIGHT if verdict != "worse" else COLOURS[6] for verdict in table["verdict"]],
        }
    )
    figure = _figure(
        "scores",
        height=70 + 40 * n,
        y_range=(-0.5, n - 0.2),
        x_axis_label=f"{metric_name}, mean and 95 % interval",
        tooltips=[("", "@name"), (metric_name, "@x{0.000}"), ("95 %", "@low{0.000} – @high{0.000}"), ("", "@verdict")],
    )
    figure.segment("low", "y", "high", "y", source=source, line_width=3, line_color="colour")
    figure.scatter("x", "y", source=source, size=11, color="colour")
    # Names above their lines rather than beside them: on a phone they would leave no room for the lines.
    for y, name in zip(at.tolist(), names, strict=True):
        place = {"x": 2, "x_units": "screen", "y": y + 0.4, "text_baseline": "middle"}
        figure.add_layout(Label(text=plain(name), text_font_size="12px", text_color="grey", **place))
    figure.yaxis.visible = False
    figure.ygrid.grid_line_color = None
    return figure


def confusion_chart(classes: Sequence[str], true: Any, predicted: Any) -> Any:
    """Return the confusion matrix: a row for each class, a column for each prediction.

    Parameters
    ----------
    classes : sequence of str
    true, predicted : ndarray of int, shape (n_samples,)
        Numbers of classes.
    """
    from bokeh.models import CDSView, ColumnDataSource, IndexFilter

    n = len(classes)
    counts = np.zeros((n, n), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    rows, columns = np.nonzero(counts)
    found = counts[rows, columns]
    share = found / counts.sum(axis=1)[rows]
    source = ColumnDataSource(
        {
            "x": columns,
            "y": n - 1 - rows,
            "true": rows,
            "predicted": columns,
            "count": found,
            "share": share,
            "alpha": np.where(share < 0.7, 0.15 + 0.4 * share, 1.0),
            "colour": np.where(rows == columns, _RIGHT, _WRONG).tolist(),
            "true_name": [classes[row] for row in rows.tolist()],
            "predicted_name": [classes[column] for column in columns.tolist()],
        }
    )
    side = int(np.clip(480 / n, 26, 60)) if n <= _MOST_WRITTEN else int(np.clip(880 / n, 8, 24))
    longest = min(160, 7 * max(map(len, classes)))
    figure = _figure(
        "confusion",
        height=side * n + longest + 60,
        min_width=side * n + longest + 80,
        max_width=max(420, int(1.6 * side * n) + longest + 80),
        x_range=(-0.5, n - 0.5),
        y_range=(-0.5, n - 0.5),
        x_axis_label="predicted",
        y_axis_label="label",
        tools="tap,pan,box_zoom,reset,save",
        tooltips=[("label", "@true_name"), ("predicted", "@predicted_name"), ("images", "@count (@share{0 %})")],
    )
    look = {"fill_color": "colour", "fill_alpha": "alpha", "line_color": None}
    # A cell that was chosen is framed; the others stay as they are.
    chosen = {"selection_line_color": "grey", "selection_line_width": 3}
    figure.rect("x", "y", 0.96, 0.96, source=source, nonselection_fill_alpha="alpha", **look, **chosen)
    if n <= _MOST_WRITTEN:
        written = {"text": "count", "text_align": "center", "text_baseline": "middle", "text_font_size": "11px"}
        # White on the full blue, black on the full orange, and the page's own ink on what its paper shines through.
        kinds = np.where(share < 0.7, "on-weak", np.where(rows == columns, "on-blue", "on-orange"))
        for name, colour in (("on-weak", "grey"), ("on-blue", "white"), ("on-orange", "black")):
            here = CDSView(filter=IndexFilter(np.flatnonzero(kinds == name).tolist()))
            figure.text(
                "x", "y", source=source, view=here, name=name, text_color=colour, nonselection_text_alpha=1, **written
            )
    for axis, numbers in ((figure.xaxis, range(n)), (figure.yaxis, range(n - 1, -1, -1))):
        axis.ticker = list(range(n))
        axis.major_label_overrides = {at: plain(name) for at, name in zip(numbers, classes, strict=True)}
        axis.major_label_text_font_size = "11px" if n <= _MOST_WRITTEN else f"{min(side, 9)}px"
    figure.xaxis.major_label_orientation = "vertical"
    figure.grid.grid_line_color = None
    return figure


def map_chart(points: dict[str, Any], *, side: int, caption: str, scale: tuple[float, float] | None = None) -> Any:
    """Return the map of features: a point for each image, its picture on hover, mistakes ringed.

    Parameters
    ----------
    points : dict of columns
        ``x, y`` and the rest of what a point has.
    side : int
        Of a thumbnail.
    caption : str
        What a point's picture is described by, in columns as ``@label``.
    scale : (float, float) or None, default=None
        The lowest and highest quantity, whose colours are then explained beside the map.
    """
    from bokeh.models import CDSView, ColorBar, ColumnDataSource, IndexFilter, LinearColorMapper

    source = ColumnDataSource(points)
    picture = f"width:{side}px;height:{side}px;background:var(--atlas) @tile"
    figure = _figure(
        "map",
        height=560,
        tools="tap,pan,box_zoom,wheel_zoom,reset,save",
        tooltips=f'<div style="{picture}"></div><div style="max-width:16em;color:#222">{caption}</div>',
    )
    dots = figure.scatter(
        "x",
        "y",
        source=source,
        size=9,
        marker="marker",
        fill_color="fill",
        line_color="colour",
        alpha="alpha",
        nonselection_alpha=0.25,
        name="dots",
    )
    wrong = np.flatnonzero(points["wrong"]).tolist()
    are_few = len(wrong) <= _MOST_RINGED * len(points["wrong"])
    view = CDSView(filter=IndexFilter(wrong))
    ring = {"size": 15, "marker": "circle", "fill_color": None, "line_width": 1.5, "nonselection_line_alpha": 1}
    figure.scatter("x", "y", source=source, view=view, name="rings", visible=are_few, **ring)
    figure.hover.renderers = [dots]
    figure.hover.limit = 3  # of points on top of each other
    figure.axis.visible = False
    figure.grid.grid_line_color = None
    if scale is not None and scale[0] < scale[1]:
        mapper = LinearColorMapper(palette=palette(), low=scale[0], high=scale[1])
        figure.add_layout(ColorBar(color_mapper=mapper, background_fill_alpha=0, title="label"), "right")
    return figure


def curve_chart(curve: pd.DataFrame, metric_name: str, of_what: str) -> Any:
    """Return the learning curve."""
    from bokeh.models import ColumnDataSource

    deviation = curve["score_std"].fillna(0)
    source = ColumnDataSource(
        {
            "x": curve["n_per_class"],
            "y": curve["score_mean"],
            "low": curve["score_mean"] - deviation,
            "high": curve["score_mean"] + deviation,
        }
    )
    figure = _figure(
        "curve",
        height=320,
        x_axis_type="log",
        x_axis_label=of_what,
        y_axis_label=metric_name,
        tooltips=[(of_what, "@x"), (metric_name, "@y{0.000}")],
    )
    figure.varea("x", "low", "high", source=source, fill_color=_RIGHT, fill_alpha=0.15)
    figure.line("x", "y", source=source, line_width=2, color=_RIGHT)
    figure.scatter("x", "y", source=source, size=8, color=_RIGHT)
    figure.xaxis.ticker = curve["n_per_class"].tolist()
    return figure


def errors_chart(y: Any, predicted: Any, names: Sequence[str]) -> Any:
    """Return predicted against true values."""
    from bokeh.models import ColumnDataSource

    source = ColumnDataSource({"x": y, "y": predicted, "name": list(names)})
    figure = _figure(
        "errors",
        height=420,
        x_axis_label="value",
        y_axis_label="predicted",
        tools="pan,box_zoom,reset,save",
        tooltips=[("", "@name"), ("value", "@x"), ("predicted", "@y")],
    )
    ends = [float(min(y.min(), predicted.min())), float(max(y.max(), predicted.max()))]
    figure.line(ends, ends, line_dash="dashed", color=COLOURS[6])
    figure.scatter("x", "y", source=source, size=6, color=_RIGHT, alpha=0.6)
    return figure


def _figure(name: str, *, tools: str = "save", tooltips: Any, **options: Any) -> Any:
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    made = figure(
        name=name,
        sizing_mode="stretch_width",
        tools=tools,
        toolbar_location="above",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        **options,
    )
    made.toolbar.logo = None
    made.add_tools(HoverTool(tooltips=tooltips))
    return made
