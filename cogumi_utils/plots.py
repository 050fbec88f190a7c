"""Figures in one house style: small, colour-blind safe, each with its reference lines. All return a matplotlib Figure.

Nothing here touches pyplot, so no figure is shown twice in a notebook and none stays in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cogumi_utils.stats import Interval, Paired

# Okabe and Ito (2008): told apart under every common kind of colour blindness, and in print
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "^", "s")
GREY = "#777777"
WIDTH = 6.4  # inches
STYLE = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#E5E5E5", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.5,
    "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def _axes(height: float, title: str, x_label: str, y_label: str):
    """(figure, axes) in the house style; `height` in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.subplots()
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        yield figure, axes


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str, title: str = "",
    references: Mapping[str, float] | None = None, log_y: bool = False,
) -> Figure:  # fmt: skip
    """Named curves, {name: (x, y)}, over horizontal reference lines, {name: y}."""
    with _axes(3.0, title, x_label, y_label) as (figure, axes):
        for number, (name, (x, y)) in enumerate(lines.items()):
            few = MARKERS[number // len(COLOURS) % len(MARKERS)] if len(x) <= 20 else None
            axes.plot(x, y, label=name, color=COLOURS[number % len(COLOURS)], marker=few, markersize=3.5)
        _reference_lines(axes, references or {}, horizontal=True)
        if log_y:
            axes.set_yscale("log")
        named = len(lines) + len(references or {})
        if named > len(COLOURS):  # they would hide what they name
            figure.legend(loc="outside lower center", ncols=4)
        elif named > 1:
            axes.legend()
    return figure


def estimates(
    lines: Mapping[str, Sequence[tuple[float, Interval]]], x_label: str, y_label: str, title: str = "",
    references: Mapping[str, float] | None = None, diagonal: bool = False,
) -> Figure:  # fmt: skip
    """Named lines of estimates with their 95% intervals, {name: [(x, Interval), ...]}: quality against size, or
    reliability, where `diagonal` draws what would be perfect."""
    with _axes(3.6, title, x_label, y_label) as (figure, axes):
        for number, (name, points) in enumerate(lines.items()):
            colour = COLOURS[number % len(COLOURS)]
            x, items = [place for place, _ in points], [item for _, item in points]
            marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
            axes.plot(x, [item.value for item in items], color=colour, marker=marker, markersize=4, label=name)
            axes.vlines(x, [item.low for item in items], [item.high for item in items], color=colour, linewidth=1.0)
        if diagonal:
            axes.axline((0, 0), slope=1, color=GREY, linestyle="--", linewidth=1.0, label="perfect")
        _reference_lines(axes, references or {}, horizontal=True)
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def bars(
    values: Mapping[str, Interval], x_label: str, title: str = "", references: Mapping[str, float] | None = None
) -> Figure:
    """Horizontal bars with 95% intervals, {name: Interval}, beside vertical reference lines (random, parent, ...)."""
    items = list(values.values())
    with _axes(_height(len(items)), title, x_label, "") as (figure, axes):
        places = range(len(items))
        axes.barh(places, [item.value for item in items], color=COLOURS[5], height=0.7)
        _whiskers(axes, items, places, "#333333")
        _names(axes, list(values))
        _reference_lines(axes, references or {}, horizontal=False)
        if references:
            figure.legend(loc="outside lower center", ncols=4)
    return figure


def forest(
    differences: Mapping[str, Paired], x_label: str = "difference, points", title: str = "", margin: float = 0.0
) -> Figure:
    """One line a skill: paired difference with its 95% interval in points; blue: better, orange: worse, grey: open.

    margin: the share that may be lost (non-inferiority), drawn as a dashed line; 0 for none.
    """
    with _axes(_height(len(differences)), title, x_label, "") as (figure, axes):
        for place, item in enumerate(differences.values()):
            colour = COLOURS[0] if item.low > 0 else COLOURS[1] if item.high < 0 else GREY
            axes.plot([100 * item.low, 100 * item.high], [place, place], color=colour)
            axes.plot([100 * item.value], [place], "o", color=colour, markersize=4.5)
        axes.axvline(0, color="#333333", linewidth=0.8)
        if margin:
            axes.axvline(-100 * margin, color=GREY, linestyle="--", linewidth=0.8)
        _names(axes, [f"{name} (n={item.n})" for name, item in differences.items()])
    return figure


def dumbbell(
    before: Mapping[str, float], after: Mapping[str, float], x_label: str, title: str = "",
    labels: tuple[str, str] = ("before", "after"),
) -> Figure:  # fmt: skip
    """Before and after, joined by a line, per name that both have; ordered by what comes after."""
    names = sorted((name for name in before if name in after), key=lambda name: (after[name], before[name]))
    places = range(len(names))
    with _axes(_height(len(names)), title, x_label, "") as (figure, axes):
        for place, name in zip(places, names, strict=True):
            axes.plot([before[name], after[name]], [place, place], color="#BBBBBB", zorder=1)
        for values, colour, label in ((before, GREY, labels[0]), (after, COLOURS[0], labels[1])):
            axes.scatter([values[name] for name in names], places, s=24, color=colour, label=label, zorder=2)
        _names(axes, names, first_on_top=False)
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def dots(series: Mapping[str, Mapping[str, float]], x_label: str, title: str = "") -> Figure:
    """One line a row, one mark a series, {series: {row: value}}; rows as in the first series, from the top down."""
    rows = list(next(iter(series.values())))
    with _axes(_height(len(rows)), title, x_label, "") as (figure, axes):
        for number, (name, values) in enumerate(series.items()):
            marker, colour = MARKERS[number % len(MARKERS)], COLOURS[number % len(COLOURS)]
            x, order = [values[row] for row in rows], 2 + len(series) - number  # the first lies on top
            axes.scatter(x, range(len(rows)), s=24, color=colour, marker=marker, label=name, alpha=0.8, zorder=order)
        _names(axes, rows)
        axes.set_xlim(left=0)
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def scatter(groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str = "") -> Figure:
    """Named groups of points, {name: (x, y)}, told apart by colour and, beyond seven, by sign too; no scales.

    For maps whose axes mean nothing, such as UMAP's.
    """
    with _axes(4.6, title, "", "") as (figure, axes):
        for number, (name, (x, y)) in enumerate(groups.items()):
            turn, colour = divmod(number, len(COLOURS))
            axes.scatter(x, y, s=10, color=COLOURS[colour], marker=MARKERS[turn % len(MARKERS)], label=name, alpha=0.8)
        axes.set(xticks=[], yticks=[])
        figure.legend(loc="outside lower center", ncols=2, markerscale=1.8)
    return figure


def _height(rows: int) -> float:
    """Inches for so many horizontal rows, axis and title included."""
    return 1.1 + 0.22 * max(rows, 3)


def _names(axes: Axes, names: list[str], first_on_top: bool = True) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False, axis="y")
    axes.set_ylim((len(names) - 0.4, -0.6) if first_on_top else (-0.6, len(names) - 0.4))


def _whiskers(axes: Axes, items: list[Interval], places: Any, colour: str) -> None:
    for place, item in zip(places, items, strict=True):
        axes.plot([item.low, item.high], [place, place], color=colour, linewidth=1.2)


def _reference_lines(axes: Axes, references: Mapping[str, float], horizontal: bool) -> None:
    draw = axes.axhline if horizontal else axes.axvline
    styles = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
    for number, (name, value) in enumerate(references.items()):
        draw(value, color="#333333", linewidth=1.0, linestyle=styles[number % len(styles)], label=name)
