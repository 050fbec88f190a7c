"""A miniature repository of its own: this checkout's package and workflow over three notebooks that run in seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = """
profile = "smoke"  # profile, not empty
seed = 7           # seed of every generator, 0..4294967295
{name} = 3         # how many, 1..1000
"""
BEGIN = """
from cogumi_utils.run import start
from cogumi_utils.toy import mark
run = start("{stage}", globals())
mark("{stage}")
"""
FINISH = 'run.finish(headline="{name} " + run.output("{name}.txt").read_text())'
WORK = {  # notebook: (the name of its parameter and of its output, its work)
    "01_numbers": ("rows", 'run.output("rows.txt").write_text(" ".join(map(str, range(run.params.rows))))'),
    "02_sum": (
        "factor",
        'numbers = run.input("01_numbers/rows.txt").read_text().split()\n'
        'run.output("factor.txt").write_text(str(run.params.factor * sum(map(int, numbers))))',
    ),
    "03_words": ("words", 'run.output("words.txt").write_text("cogumi " * run.params.words)'),
}
TOY = '''
"""Counts the notebooks that really ran."""

import os


def mark(stage):
    with open(os.environ["TOY_RUNS"], "a") as runs:
        runs.write(stage + "\\n")
'''
GATES = """
enough:
  stage: 02_sum
  claim: The sum is large enough.
  kind: exact
  direction: at_least
  threshold: 1
  required: [tiny]
"""
JUDGE = 'run.gate("enough", value=float(run.output("factor.txt").read_text()))'


@dataclass
class Checkout:
    """The miniature repository, with the words that a user types there."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run_all(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["./run_all.sh", *words], **self.process(environment), capture_output=True, text=True)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """The same in the background, in a process group of its own."""
        settings = self.process({})
        return subprocess.Popen(
            ["./run_all.sh", *words], **settings, start_new_session=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def process(self, environment: dict[str, str]) -> dict:
        return {"cwd": self.root, "env": {**self.environment, **environment}, "stdin": subprocess.DEVNULL}

    def python(self, code: str) -> str:
        """Run Python with this checkout's package; its output."""
        settings = self.process({"PYTHONPATH": str(self.root)})
        done = subprocess.run([sys.executable, "-c", code], **settings, capture_output=True, text=True, check=True)
        return done.stdout

    def ran(self) -> list[str]:
        """The stages whose kernels ran since the last call, in order."""
        runs = Path(self.environment["TOY_RUNS"])
        names = runs.read_text().split() if runs.exists() else []
        runs.unlink(missing_ok=True)
        return names

    def out(self, path: str, profile: str = "tiny") -> Path:
        return self.root / "outputs" / profile / path

    def manifest(self, stage: str, profile: str = "tiny") -> dict:
        return json.loads(self.out(f"{stage}/manifest.json", profile).read_text())

    def set(self, stage: str, **values: object) -> None:
        """Write the stage's parameter file of `tiny`."""
        lines = [f"{name}: {value}" for name, value in values.items()]
        (self.root / f"params/tiny/{stage}.yaml").write_text("\n".join(lines) + "\n")

    def cells(self, stage: str, *cells: str, parameters: str | None = None) -> None:
        """Write a notebook: a title, the parameters cell, and these code cells."""
        name = WORK[stage][0] if stage in WORK else "count"
        sources = [("markdown", f"# {stage}", []), ("code", parameters or PARAMETERS.format(name=name), ["parameters"])]
        sources += [("code", cell, []) for cell in cells]
        write_notebook(self.root / f"notebooks/{stage}.ipynb", sources)

    def add(self, stage: str, *cells: str) -> None:
        """A notebook whose cells come after the usual beginning; with a parameter file if it is a new one."""
        self.cells(stage, BEGIN.format(stage=stage), *cells)
        if stage not in WORK:
            self.set(stage, count=1)


def write_notebook(path: Path, sources: list[tuple[str, str, list[str]]]) -> None:
    cells = []
    for number, (kind, source, tags) in enumerate(sources):
        lines = textwrap.dedent(source).strip().splitlines(True)
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}, "source": lines}
        cells.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}, indent=1))


def make_checkout(folder: Path) -> Checkout:
    root = folder / "checkout"
    shutil.copytree(ROOT / "cogumi_utils", root / "cogumi_utils", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "cogumi_utils/toy.py").write_text(TOY.lstrip())
    for name in ("run_all.sh", "Snakefile", "pyproject.toml", "requirements.lock", "requirements-cuda.lock"):
        shutil.copy2(ROOT / name, root / name)
    (root / "notebooks").mkdir()
    (root / "params/tiny").mkdir(parents=True)
    checkout = Checkout(root, make_environment(folder, root))
    for stage, (name, work) in WORK.items():
        judge = [JUDGE] if stage == "02_sum" else []
        checkout.cells(stage, BEGIN.format(stage=stage), work, *judge, FINISH.format(name=name))
        checkout.set(stage, **{name: 5})
    (root / "params/gates.yaml").write_text(GATES)
    (root / "params/tiny/profile.yaml").write_text("usd_per_hour: 3.6\nminutes: {01_numbers: 0.5}\n")
    return checkout


def make_environment(folder: Path, root: Path) -> dict[str, str]:
    """Variables under which run_all.sh finds this interpreter as an active environment that is set up already."""
    venv = folder / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    shutil.copy2(ROOT / "requirements-cuda.lock", venv / ".cogumi-lock")
    (venv / ".cogumi-root").write_text(f"{root}\n")
    unset = ("COGUMI_DATA", "COGUMI_OUTPUTS", "CONDA_PREFIX", "PYTHONPATH", "SNAKEMAKE_PROFILE")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return {**inherited, "VIRTUAL_ENV": str(venv), "WANDB_MODE": "disabled", "TOY_RUNS": str(folder / "runs.txt")}


@pytest.fixture(scope="session")
def new_checkout():
    """Makes a miniature repository in a folder."""
    return make_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A miniature repository in which nothing has run yet."""
    return make_checkout(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A miniature repository whose three stages are finished; shared by a module, which leaves it so."""
    made = make_checkout(tmp_path_factory.mktemp("finished"))
    done = made.run_all()
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.ran() == list(WORK)
    return made
