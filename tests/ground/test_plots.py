"""Figures hold the numbers they are given, in the same bytes each time, and stay small."""

import random
import subprocess
import sys

import pytest
from matplotlib.colors import to_hex

from cogumi_utils import plots
from cogumi_utils.display import png_bytes
from cogumi_utils.stats import Interval, Paired, wilson


def many() -> dict:
    """One large figure of each kind, freshly made."""
    draw = random.Random(0)
    steps = range(300)
    skills = [f"skill {number}" for number in range(24)]
    pairs = [Paired(x := draw.uniform(-0.2, 0.6), x - 0.1, x + 0.1, 50, 9, 5, 0.1) for _ in skills]
    shares = [{skill: draw.random() for skill in skills} for _ in range(2)]
    losses = {"train": (steps, [3 * 0.99**i + draw.random() / 9 for i in steps]), "test": ([0, 299], [3, 1])}
    return {
        "curves": plots.curves(losses, "step", "loss, nats", "Loss", {"random": 3.2}, log_y=True),
        "bars": plots.bars({s: wilson(draw.randrange(50), 50) for s in skills}, "share", "Skills", {"parent": 0.4}),
        "forest": plots.forest(dict(zip(skills, pairs, strict=True)), margin=0.05),
        "dumbbell": plots.dumbbell(*shares, "share right"),
        "dots": plots.dots(dict.fromkeys("abcd", shares[0]), "error", "Errors"),
        "scatter": plots.scatter({s: ([draw.random() for _ in range(9)],) * 2 for s in skills[:12]}, "Groups"),
    }


def test_equal_data_give_equal_bytes_and_8_figures_fit_a_notebook():
    first, second = ({name: png_bytes(figure) for name, figure in many().items()} for _ in range(2))
    assert first == second
    sizes = {name: len(png) for name, png in first.items()}
    assert max(sizes.values()) < 20_000, sizes  # 8 of them, in base64: under 214 KB
    for png in first.values():
        assert png.startswith(b"\x89PNG") and not any(mark in png for mark in (b"tEXt", b"tIME", b"Software"))


def test_curves_draw_the_points_and_the_reference_lines():
    axes = plots.curves({"a": ([1, 2], [3, 4]), "b": ([1, 2], [5, 6])}, "step", "loss", "T", {"random": 7}).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[3, 4], [5, 6], [7, 7]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "random"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")) == ("step", "loss", "T")


def test_bars_draw_values_and_intervals_from_the_top_down():
    figure = plots.bars({"one": Interval(0.5, 0.4, 0.6, 9), "two": Interval(0.2, 0.1, 0.3, 9)}, "share", "", {"r": 0.1})
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.2]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.4, 0.6], [0.1, 0.3], [0.1, 0.1]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    assert axes.yaxis_inverted() and [text.get_text() for text in figure.legends[0].get_texts()] == ["r"]


@pytest.mark.parametrize("low, high, colour", [(0.1, 0.3, "#0072b2"), (-0.3, -0.1, "#d55e00"), (-0.1, 0.1, "#777777")])
def test_forest_colours_say_what_the_interval_says(low, high, colour):
    axes = plots.forest({"add": Paired((low + high) / 2, low, high, 50, 9, 5, 0.1)}, margin=0.05).axes[0]
    interval, point, zero, margin = axes.lines
    assert list(interval.get_xdata()) == [100 * low, 100 * high] and to_hex(interval.get_color()) == colour
    assert list(point.get_xdata()) == [50 * (low + high)]
    assert (list(zero.get_xdata()), list(margin.get_xdata())) == ([0, 0], [-5, -5])
    assert axes.get_yticklabels()[0].get_text() == "add (n=50)"


def test_dumbbell_joins_what_both_have_ordered_by_the_second():
    axes = plots.dumbbell({"a": 0.5, "b": 0.1, "gone": 1}, {"a": 0.6, "b": 0.9, "new": 1}, "share").axes[0]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.5, 0.6], [0.1, 0.9]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_pyplot_is_never_loaded():
    script = "import sys; from cogumi_utils import plots; from cogumi_utils.display import png_bytes;"
    script += "png_bytes(plots.curves({'a': ([1], [2])}, 'x', 'y')); print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


def test_scatter_tells_groups_apart_by_colour_and_sign():
    figure = plots.scatter({f"group {n}": ([n, n + 1], [n, -n]) for n in range(9)}, "Groups")
    drawn = figure.axes[0].collections
    looks = [(to_hex(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in drawn]
    assert len(set(looks)) == 9 and looks[0][0] == looks[7][0] == plots.COLOURS[0].lower()
    assert drawn[3].get_offsets().tolist() == [[3, 3], [4, -3]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"group {n}" for n in range(9)]


def test_estimates_carry_their_intervals():
    lines = {
        "a": [(1.0, Interval(0.5, 0.4, 0.6)), (2.0, Interval(0.7, 0.6, 0.9))],
        "b": [(1.5, Interval(0.2, 0.1, 0.3))],
    }
    figure = plots.estimates(lines, "MB", "share right", references={"parent": 0.8}, diagonal=True)
    axes = figure.axes[0]
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[1, 2], [1.5]]
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[0.5, 0.7], [0.2]]
    whiskers = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert whiskers == [[[1, 0.4], [1, 0.6]], [[2, 0.6], [2, 0.9]]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "perfect", "parent"]


def test_dots_have_one_line_a_row_and_one_mark_a_series():
    series = {"a": {"q": 0.3, "k": 0.1}, "b": {"k": 0.2, "q": 0.4, "more": 9}}
    figure = plots.dots(series, "error", "Errors")
    axes = figure.axes[0]
    assert [drawn.get_offsets().tolist() for drawn in axes.collections] == [[[0.3, 0], [0.1, 1]], [[0.4, 0], [0.2, 1]]]
    looks = [(to_hex(drawn.get_facecolor()[0]), drawn.get_paths()[0].vertices.tobytes()) for drawn in axes.collections]
    assert looks[0][0] != looks[1][0] and looks[0][1] != looks[1][1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["q", "k"] and axes.yaxis_inverted()
    assert axes.get_xlim()[0] == 0 and axes.get_xlabel() == "error"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
