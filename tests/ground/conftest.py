"""A small repository of its own for tests of the ground floor: two notebooks, two profiles, its own outputs folder."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

CELL_01 = """
profile = "smoke"  # profile, not empty
seed = 7           # seed of every generator, 0..4294967295
rows = 20          # rows made, 1..1000
"""
CELL_02 = """
profile = "smoke"    # profile, not empty
seed = 7             # seed of every generator, 0..4294967295
steps = 10           # optimiser steps, 1..100000
rate = 5e-5          # learning rate, 1e-6..1.0
student = "scratch"  # where it comes from, one of: scratch, hub
hub_id = ""          # hub id, may be empty
packed = True        # pack short examples into rows, true or false
levels = [0.1, 0.5]  # share pruned, each 0.0..1.0
"""
GATES = """
enough_rows:
  stage: 01_data
  claim: The data set has rows enough.
  kind: exact
  direction: at_least
  threshold: 10
  required: [tiny]
better:
  stage: 02_train
  claim: The trained student beats the one before.
  kind: paired
  direction: above
  threshold: 0.0
  n: {tiny: 100}
  required: [tiny]
accurate:
  stage: 02_train
  claim: It answers more than six of ten.
  kind: proportion
  direction: above
  threshold: 0.6
"""


def write_notebook(path: Path, cell: str, code: str = "", tags: tuple[str, ...] = ("parameters",)) -> Path:
    """A notebook of a title, a parameters cell and one cell of code."""
    sources = [("markdown", path.stem, ()), ("code", textwrap.dedent(cell).strip(), tags), ("code", code, ())]
    cells = [
        {
            "cell_type": kind,
            "id": f"cell-{len(source)}",
            "source": source.splitlines(True),
            "metadata": {"tags": [*marks]},
        }
        | ({"outputs": [], "execution_count": None} if kind == "code" else {})
        for kind, source, marks in sources
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture(name="write_notebook")
def _write_notebook():
    return write_notebook


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory becomes a checkout with notebooks 01_data and 02_train and the profiles tiny and public."""
    root = tmp_path / "checkout"
    for folder in ("notebooks", "params/tiny", "params/public"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\nname = 'fake'\n")
    write_notebook(root / "notebooks/01_data.ipynb", CELL_01)
    write_notebook(root / "notebooks/02_train.ipynb", CELL_02, 'run.input("01_data/rows.txt")\n')
    (root / "params/gates.yaml").write_text(GATES)
    (root / "params/tiny/profile.yaml").write_text("usd_per_hour: 3.6\n")
    (root / "params/tiny/01_data.yaml").write_text("rows: 50\n")
    (root / "params/tiny/02_train.yaml").write_text("steps: 100\nrate: 3.0e-3\n")
    (root / "params/public/profile.yaml").write_text("extends: tiny\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("COGUMI_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return root
