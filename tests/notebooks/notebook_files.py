"""A notebook's file in memory, and what the rest of the repository says of its notebooks."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from cogumi_utils import params, stages
from cogumi_utils.gate_rules import load_rules
from cogumi_utils.profiles import SMOKE, profile_facts, profiles

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Notebook:
    """A notebook's file in memory. text: as it lies on the disk."""

    stem: str
    text: str

    @classmethod
    def read(cls, path: Path) -> Notebook:
        return cls(path.stem, path.read_text(encoding="utf-8"))

    @functools.cached_property
    def node(self) -> nbformat.NotebookNode:
        return nbformat.v4.reads(self.text)  # as it is: `nbformat.read` would mend what a rule must find

    @functools.cached_property
    def code(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.node.cells if cell.cell_type == "code"]

    @functools.cached_property
    def markdown(self) -> list[str]:
        return [cell.source for cell in self.node.cells if cell.cell_type == "markdown"]

    @functools.cached_property
    def trees(self) -> list[ast.Module]:
        """One syntax tree a code cell; empty where the cell is not Python (the rule `plain` says so)."""
        return [_parsed(cell.source) for cell in self.code]

    def calls(self, method: str) -> list[ast.Call]:
        """All calls `run.<method>(...)`, in order."""
        nodes = [node for tree in self.trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
        return [node for node in nodes if ast.unparse(node.func) == f"run.{method}"]

    def table(self) -> dict[str, str]:
        """The first cell's table, by column; empty where there is none."""
        lines = [line.strip("| ") for line in self.markdown[0].splitlines() if line.startswith("|")]
        if len(lines) != 3:
            return {}
        head, _, row = ([cell.strip() for cell in line.split(" | ")] for line in lines)
        return dict(zip(head, row, strict=False)) if len(head) == len(row) else {}

    def column(self, word: str) -> str:
        """The cell of the table below the heading that has this word in it."""
        return next((cell for head, cell in self.table().items() if word in head), "")


@dataclass(frozen=True)
class Facts:
    """What the rest of the repository says of its notebooks."""

    readme: str = ""
    graphs: dict[str, set[str]] = field(default_factory=dict)  # {profile: notebooks in its graph}
    files: dict[str, set[str]] = field(default_factory=dict)  # {profile: notebooks with a parameter file}
    left_out: dict[str, set[str]] = field(default_factory=dict)  # {profile: notebooks that `stages` leaves out}
    minutes: dict[str, set[str]] = field(default_factory=dict)  # {profile: notebooks with an estimate}
    gates: dict[str, str] = field(default_factory=dict)  # {registered gate: its stage}

    @classmethod
    def read(cls) -> Facts:
        names = [name for name in profiles() if name != SMOKE]
        readme = ROOT / "README.md"
        return cls(
            readme=readme.read_text(encoding="utf-8") if readme.exists() else "",
            graphs={name: {_stem(stage) for stage in stages.graph(name)} for name in [SMOKE, *names]},
            files={name: {_stem(stage) for stage, path in params.instances(name).items() if path} for name in names},
            left_out={name: _left_out(name) for name in [SMOKE, *names]},
            minutes={name: {_stem(stage) for stage in profile_facts(name).minutes} for name in names},
            gates={name: rule.stage for name, rule in load_rules().items()},
        )


def _left_out(profile: str) -> set[str]:
    """Notebooks that a profile does not run, by its own list of stages."""
    listed = profile_facts(profile).stages
    return set(params.notebooks()) - set(map(_stem, listed)) if listed else set()


def _stem(stage: str) -> str:
    return stage.partition("/")[0]


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])
