"""What a notebook shows, seen in a real kernel: rich, small, once, and without widgets."""

import json

import numpy as np
import pandas as pd
import papermill
import pytest
from matplotlib.figure import Figure

from cogumi_utils import display

WORK = """
import numpy as np, pandas as pd
import matplotlib.pyplot as plt
from cogumi_utils import plots
from cogumi_utils.run import start
from cogumi_utils.stats import Interval, Paired
run = start("01_data", globals())
draw = np.random.default_rng(0)
for number in range(7):
    pairs = {f"skill {i}": Paired(x := draw.uniform(-.2, .6), x - .1, x + .1, 50, 9, 5, .1) for i in range(24)}
    run.figure(plots.forest(pairs), f"forest{number}", f"Figure *{number}*")
figure, axes = plt.subplots()
axes.plot(draw.normal(size=300).cumsum())
run.figure(figure, "pyplot", "Made with pyplot")
run.table(pd.DataFrame({"skill": ["a<b"] * 60, "share": [1 / 3] * 60}), "skills", "Skills & shares")
run.say("**60** rows")
run.gate("enough_rows", value=60)
run.finish("60 rows")
"""


@pytest.fixture
def rendered(repo, tmp_path, write_notebook, monkeypatch) -> tuple[dict, int]:
    """(the executed notebook, its size in bytes): run by papermill with one changed parameter and W&B offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = repo / "notebooks/01_data.ipynb"
    cell = "".join(json.loads(path.read_text())["cells"][1]["source"])
    write_notebook(path, cell, WORK)
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        path,
        out,
        parameters={"profile": "tiny", "rows": 60},
        cwd=path.parent,
        kernel_name="python3",
        progress_bar=False,
    )
    return json.loads(out.read_text()), out.stat().st_size


def test_a_notebook_of_8_figures(rendered, tmp_path):
    notebook, size = rendered
    outputs = notebook["cells"][-1]["outputs"]
    assert {output["output_type"] for output in outputs} == {"display_data"}  # nothing on stdout or stderr
    assert sum("image/png" in output["data"] for output in outputs) == 8  # the pyplot figure too is shown once
    assert size < 300_000
    assert not {mime for output in outputs for mime in output["data"]} & {"application/javascript"}
    assert not any("widget" in mime for output in outputs for mime in output["data"])
    assert "widgets" not in notebook["metadata"]

    settings, table, gates = (
        "".join(output["data"].get("text/html", "")) for output in (outputs[0], *outputs[-4:-1:2])
    )
    assert "changed, the cell has 20" in settings and "offline: WANDB_MODE=offline" in settings
    assert "Skills &amp; shares" in table and "a&lt;b" in table and "20 more rows in the CSV file" in table
    assert table.count("<tr") == 1 + display.MAX_ROWS
    assert "PASS" in gates and "at least 10" in gates
    assert "".join(outputs[-3]["data"]["text/markdown"]) == "**60** rows"
    assert "".join(outputs[-1]["data"]["text/markdown"]).startswith("**60 rows** (01_data: ")
    assert (tmp_path / "outputs/tiny/01_data/manifest.json").is_file()
    assert list((tmp_path / "outputs/tiny/.wandb/wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.parametrize(
    "number, text",
    [
        (0.123456, "0.1235"),
        (1e-6, "1e-06"),
        (999.94, "999.9"),
        (1234.5, "1,234"),
        (-1e6, "-1,000,000"),
        (1e16, "1e+16"),
    ],
)
def test_numbers_in_tables(number, text):
    assert display.short(number) == text


def test_a_table_outside_a_kernel_is_printed(capsys):
    display.show_table(pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}), "Two rows")
    assert capsys.readouterr().out == "Two rows\n a   b\n 1 0.5\n 2    \n"


def test_a_table_without_rows_says_so(monkeypatch):
    seen = []
    monkeypatch.setattr(display, "show", lambda bundle, plain: seen.append((bundle["text/html"], plain)))
    display.show_table(pd.DataFrame(columns=["a"]), "Wrong & sure")
    assert seen == [("<p><em>Wrong &amp; sure</em> No rows.</p>", "Wrong & sure\nNo rows.")]


def test_equal_figures_are_equal_bytes_whatever_their_dpi():
    def figure(dpi: int) -> Figure:
        made = Figure(figsize=(2, 1), dpi=dpi)
        made.subplots().plot([1, 3, 2])
        return made

    assert display.png_bytes(figure(50)) == display.png_bytes(figure(200))


def test_text_is_read_from_the_left_and_numbers_from_the_right(monkeypatch):
    seen = []
    monkeypatch.setattr(display, "show", lambda bundle, plain: seen.append(bundle["text/html"]))
    display.show_table(pd.DataFrame({"skill": ["<td>", "b"], "share": [0.5, 1.0], "right": [True, False]}))
    cells = seen[0].split("<tbody>")[1]
    assert cells.count('<td style="text-align: left">') == 2 and cells.count("<td>") == 4
    assert '<td style="text-align: left">&lt;td&gt;</td>' in cells
