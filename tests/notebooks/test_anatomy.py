"""Every notebook of the folder keeps every rule of the anatomy, and every rule can be broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from anatomy import RULES
from notebook_files import ROOT, Facts, Notebook

from cogumi_utils import params

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts.read()


def faults(rule: str, notebook: Notebook, facts: Facts) -> list[str]:
    return list(RULES[rule](notebook, facts))


def test_every_file_in_the_folder_is_a_notebook_that_is_run():
    assert [path.stem for path in PATHS] == params.notebooks() != []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_notebook_keeps_the_rule(path: Path, rule: str, facts: Facts):
    assert faults(rule, Notebook.read(path), facts) == []


# ---- each rule, seen failing ----


@pytest.fixture(scope="module")
def sound(facts: Facts) -> tuple[Notebook, Facts]:
    """A real notebook that reads, writes and judges, and the facts of the repository; outputs as a run leaves them."""
    notebook = Notebook.read(ROOT / "notebooks/02_qlora.ipynb")
    return notebook, replace(facts, readme=f"{facts.readme}\n| [02](notebooks/02_qlora.ipynb) | QLoRA |\n")


Nodes = nbformat.NotebookNode


def code(nodes: Nodes, number: int) -> Nodes:
    return [cell for cell in nodes.cells if cell.cell_type == "code"][number]


def swap(old: str, new: str) -> Callable[[Nodes], None]:
    """Replace a text in the one cell that has it first."""

    def change(nodes: Nodes) -> None:
        cell = next(cell for cell in nodes.cells if old in cell.source)
        cell.source = cell.source.replace(old, new)

    return change


def add(number: int, line: str) -> Callable[[Nodes], None]:
    """Add a line of code to a code cell."""

    def change(nodes: Nodes) -> None:
        code(nodes, number).source += f"\n{line}"

    return change


def cut(cells: slice) -> Callable[[Nodes], None]:
    def change(nodes: Nodes) -> None:
        del nodes.cells[cells]

    return change


def first_checked(nodes: Nodes) -> Nodes:
    return next(cell for cell in nodes.cells if "nbval-check-output" in cell.metadata.get("tags", []))


def tag(*tags: str) -> Callable[[Nodes], None]:
    def change(nodes: Nodes) -> None:
        first_checked(nodes).metadata["tags"] = list(tags)

    return change


def assign(find: Callable[[Nodes], Nodes], **values) -> Callable[[Nodes], None]:
    def change(nodes: Nodes) -> None:
        find(nodes).update(values)

    return change


def twice(find: Callable[[Nodes], Nodes]) -> Callable[[Nodes], None]:
    def change(nodes: Nodes) -> None:
        nodes.cells.append(find(nodes).copy())

    return change


def shows(text: str) -> list[Nodes]:
    return [nbformat.v4.new_output("stream", name="stdout", text=text)]


def say_nothing(nodes: Nodes) -> None:
    cell = next(cell for cell in nodes.cells if "What we learned" in cell.source)
    cell.source = cell.source[: cell.source.index(".*") + 2] + " It works."


LONG = "\n".join(f"x{number} = {number}" for number in range(21))
RESULTS = "test = read_examples(run.input("
IN_MEMORY = {  # what is done to 02_qlora: the rule that must object
    "the title of another notebook": ("title", swap("# 02 QLoRA", "# 02 Q-LoRA")),
    "no question": ("title", swap("make a better base?**", "make a better base.**")),
    "no minutes": ("title", swap("| about 2.5 |", "|  |")),
    "a column of the table is missing": ("title", swap("minutes on `tiny` | ", "")),
    "code first": ("title", cut(slice(0, 1))),
    "too few cells": ("sizes", cut(slice(6, 12))),
    "too few words": ("sizes", cut(slice(-2, -1))),
    "too many words": ("sizes", swap("## Packing, by eye", "## Packing, by eye\n" + "and on " * 200)),
    "too many code cells": ("sizes", lambda nodes: [twice(lambda n: code(n, 3))(nodes) for _ in range(4)]),
    "a long cell": ("sizes", add(3, LONG)),
    "nothing learned": ("learned", swap("## What we learned", "## The end")),
    "learned at no date": ("learned", swap("*2026-", "In 2026-")),
    "learned nothing in words": ("learned", say_nothing),
    "judged before it was learned": ("learned", add(5, 'run.gate("qlora_beats_start")')),
    "parameters later": ("parameters", lambda nodes: nodes.cells.insert(1, code(nodes, 2))),
    "parameters not tagged": ("parameters", assign(lambda n: code(n, 0), metadata={})),
    "a derived value": ("parameters", swap("steps = 20 ", "steps = 4 * 5 ")),
    "an annotated parameter": ("parameters", swap("rank = 8", "rank: Literal[8, 16] = 8")),
    "a string with =": ("parameters", add(0, 'extra = "a=b"  # words, not empty')),
    "a parameter without its range": ("schema", swap("rank = 8  # of the adapters, 1..512", "rank = 8")),
    "a parameter out of its range": ("schema", swap("rank = 8 ", "rank = 513 ")),
    "a late import": ("begins", add(4, "import math")),
    "work before the imports": (
        "begins",
        lambda nodes: code(nodes, 1).update(source="x = 1\n" + code(nodes, 1).source),
    ),
    "another stage's name": ("begins", swap('start("02_qlora"', 'start("01_dataset"')),
    "a copy of globals": ("begins", swap("globals())", "dict(globals()))")),
    "no start": ("begins", swap('run = start("02_qlora", globals())', "run = None")),
    "a function": ("plain", add(3, "def f():\n    return 1")),
    "a class": ("plain", add(3, "class C:\n    x = 1")),
    "a lambda": ("plain", add(3, "f = lambda: 1")),
    "a lambda handed on": ("plain", add(3, "x = list(map(lambda y: y, train))")),
    "a walrus": ("plain", add(3, "(x := 1)")),
    "a shell line": ("plain", add(3, "!pip install x")),
    "a magic": ("plain", add(3, "%time x = 1")),
    "a try": ("plain", add(3, "try:\n    x = 1\nexcept Exception:\n    x = 2")),
    "an if": ("plain", add(3, 'if run.device == "cuda":\n    x = 1')),
    "the environment": ("plain", add(3, 'x = os.environ["HOME"]')),
    "the environment by another name": ("plain", add(3, 'x = pd.io.common.os.environ["HOME"]')),
    "the system": ("plain", add(1, "import sys")),
    "part of the system": ("plain", add(1, "from os import getenv")),
    "code in a string": ("plain", add(3, 'exec("x = 1")')),
    "which shell": ("plain", add(3, "x = get_ipython()")),
    "which GPU": ("plain", add(3, "x = torch.cuda.is_available()")),
    "an absolute path": ("plain", add(3, 'x = read_examples("/data/x.parquet")')),
    "a path of home": ("plain", add(3, 'x = read_examples("~/x.parquet")')),
    "no finish": ("ends", swap("run.finish(", "run.end(")),
    "two finishes": ("ends", add(5, 'run.finish("done")')),
    "more after finish": ("ends", add(-1, "print(1)")),
    "reads in silence": ("reads", swap(f'{RESULTS}"01_dataset/test', f'{RESULTS}"01_dataset/public')),
    "reads what can't be told": ("reads", swap(f'{RESULTS}"01_dataset/test.parquet"', f"{RESULTS}p.ref")),
    "says it reads more": ("reads", swap("{train,validation,test}", "{train,validation,test,public}")),
    "writes in silence": ("writes", add(-1, 'run.output("secret.json")')),
    "says it writes more": ("writes", swap("| `adapter/`,", "| `adapter/`, `optimizer/`,")),
    "a gate forgotten": ("gates", swap('run.gate("merge_keeps_logits", value=logit_gap)\n', "")),
    "a gate of nobody": ("gates", add(-1, 'run.gate("new_gate", value=1)')),
    "a gate of another stage": ("gates", add(-1, 'run.gate("verdicts_repeat", value=1)')),
    "a gate judged twice": ("gates", add(-1, 'run.gate("merge_keeps_logits", value=0)')),
    "a gate whose name can't be told": ("gates", add(-1, "run.gate(p.gate, value=1)")),
    "nothing to check": ("checked", tag()),
    "a tag that nbval doesn't see": ("checked", tag("nbval-check-output", "nbval-check-outputs")),
    "a tag in capitals": ("checked", tag("NBVAL_CHECK_OUTPUT")),
    "a comment that nbval doesn't see": ("checked", add(3, "# NBVAL-CHECK-OUTPUT")),
    "a check without an output": ("checked", assign(first_checked, outputs=[])),
    "a check that was never run": ("checked", assign(first_checked, execution_count=None)),
    "not run": ("stored", lambda nodes: code(nodes, 4).update(execution_count=None, outputs=[])),
    "run out of order": ("stored", lambda nodes: code(nodes, 4).update(execution_count=99)),
    "an error": (
        "stored",
        assign(first_checked, outputs=[nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]),
    ),
    "a repr": (
        "stored",
        assign(first_checked, outputs=[nbformat.v4.new_output("execute_result", {"text/plain": "1"})]),
    ),
    "a folder of some machine": ("stored", assign(first_checked, outputs=shows("saved to /home/someone/x"))),
    "much output": ("stored", assign(first_checked, outputs=shows("x" * 300_000))),
    "clocks of papermill": ("stored", lambda nodes: nodes.metadata.update(papermill={"duration": 1})),
    "clocks of Jupyter": ("stored", lambda nodes: code(nodes, 3).metadata.update(execution={"iopub.busy": "1"})),
    "an edit after the run": ("fresh", swap("rank = 8 ", "rank = 16 ")),
    "outputs of nobody knows what": ("fresh", lambda nodes: nodes.metadata.pop("outputs_of")),
    "an id twice": ("valid", lambda nodes: code(nodes, 3).update(id=code(nodes, 2).id)),
    "an id of another notebook": ("valid", lambda nodes: code(nodes, 3).update(id="01-03")),
    "no format": ("valid", lambda nodes: code(nodes, 3).update(execution_count="often")),
}


def test_the_notebook_to_be_mutated_is_sound(sound):
    assert {rule: found for rule in RULES if (found := faults(rule, *sound))} == {}


@pytest.mark.parametrize("what", IN_MEMORY)
def test_the_rule_objects_to(what: str, sound):
    rule, change = IN_MEMORY[what]
    nodes = nbformat.v4.reads(sound[0].text)
    change(nodes)
    mutated = replace(sound[0], text=nbformat.v4.writes(nodes))
    assert faults(rule, mutated, sound[1]) != []


def drop(name: str, stem: str = "02_qlora") -> Callable[[Facts], Facts]:
    """Take the notebook out of a fact of each profile, one at a time."""

    def change(facts: Facts) -> Facts:
        table = getattr(facts, name)
        profile = next(profile for profile in table if stem in table[profile])
        return replace(facts, **{name: {**table, profile: table[profile] - {stem}}})

    return change


IN_THE_HOUSE = {  # what is done to the repository: the rule that must object
    "no row in README": ("listed", lambda facts: replace(facts, readme=facts.readme.replace("02_qlora.ipynb", "02"))),
    "a link outside of the table": ("listed", lambda facts: replace(facts, readme="[02](notebooks/02_qlora.ipynb)")),
    "no stage": ("staged", drop("graphs")),
    "no parameter file": ("tuned", drop("files")),
    "no estimate": ("estimated", drop("minutes")),
    "a gate more": ("gates", lambda facts: replace(facts, gates={**facts.gates, "unheard_of": "02_qlora"})),
    "a gate moved": ("gates", lambda facts: replace(facts, gates={**facts.gates, "heldout_above_60": "14_validation"})),
}  # fmt: skip


@pytest.mark.parametrize("what", IN_THE_HOUSE)
def test_the_rule_objects_to_a_repository_with(what: str, sound):
    rule, change = IN_THE_HOUSE[what]
    assert faults(rule, sound[0], change(sound[1])) != []


def test_every_rule_is_seen_failing():
    assert {rule for rule, _ in [*IN_MEMORY.values(), *IN_THE_HOUSE.values()]} == set(RULES)
