"""The graph of stages, derived from the folder: notebooks, their instances, and what each one reads.

A stage is a notebook (`02_qlora`) or one instance of it (`10_modifiers/code`). Its upstreams are the stages that the
`run.input("STAGE/file")` calls in its code cells name. Nothing here is kept by hand.
"""

from __future__ import annotations

import ast
import difflib
import graphlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from cogumi_utils.artifacts import digest_of
from cogumi_utils.errors import CogumiError
from cogumi_utils.fingerprint import cell_nodes, code_cells, code_hash, notebook_hash, notebook_of
from cogumi_utils.params import domains as domains_of
from cogumi_utils.params import instances, load_profile, parameters_hash, profile_facts
from cogumi_utils.paths import outputs_dir
from cogumi_utils.profiles import unknown

__all__ = ["Stage", "StageError", "code_hash", "find", "graph", "included", "notebook_hash", "stage_key", "upstreams"]

ALL_DOMAINS = ("all",)
REVIEWS = {"review", "lineage"}  # modules and functions that read the manifests of all finished stages


class StageError(CogumiError):
    """The notebooks don't form a graph, or a stage was asked for that there is none of."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One node of the graph. upstreams: names of the stages that it reads, in the order of reading."""

    name: str
    profile: str
    upstreams: tuple[str, ...]

    @property
    def notebook(self) -> Path:
        return notebook_of(self.name)

    @property
    def folder(self) -> Path:
        return outputs_dir(self.profile) / self.name

    @property
    def rendered(self) -> Path:
        """Where the executed notebook is kept: `outputs/<profile>/<stage>.ipynb`."""
        return outputs_dir(self.profile) / f"{self.name.replace('/', '_')}.ipynb"


def included(profile: str, domains: Collection[str] | None = None) -> list[str]:
    """Names of the stages that a run includes: those without a domain, and those of these domains.

    domains: names, or `ALL_DOMAINS`; None means the profile's own choice (`Facts.domains`). An unknown one is refused.
    """
    names = list(load_profile(profile))
    known = domains_of(names)
    for domain in domains or ():
        if domain not in (*ALL_DOMAINS, *known):
            raise unknown("domain", domain, [*ALL_DOMAINS, *known])
    wanted = profile_facts(profile).domains or ALL_DOMAINS if domains is None else domains
    if set(ALL_DOMAINS) <= set(wanted):
        return names
    return [name for name in names if "/" not in name or name.partition("/")[2] in wanted]


def graph(profile: str, domains: Collection[str] | None = None) -> dict[str, Stage]:
    """{name: Stage} of all stages that a run of these domains includes (see `included`), upstreams before readers."""
    names, known = included(profile, domains), list(instances(profile))
    # what a profile or a run leaves out is not waited for: the notebook decides what to do without it
    reads = {name: tuple(source for source in upstreams(name, known) if source in names) for name in names}
    try:
        order = list(graphlib.TopologicalSorter(reads).static_order())
    except graphlib.CycleError as error:
        raise StageError(
            expected="stages that read only from earlier ones",
            found=" is read by ".join(error.args[1]),
            why="a circle has no first stage to run",
            fix="remove one of these run.input calls from its notebook",
        ) from None
    last = dict[str, str]()  # the largest number among a stage and all that it reads: sorts by number, upstreams first
    for name in order:
        last[name] = max([name, *(last[upstream] for upstream in reads[name])])
    ordered = sorted(order, key=lambda name: (last[name], order.index(name)))
    return {name: Stage(name, profile, reads[name]) for name in ordered}


def upstreams(stage: str, names: Iterable[str]) -> tuple[str, ...]:
    """The stages among `names` that this one's notebook reads; where that can't be told beforehand, all before it."""
    names, found = list(names), list[str]()
    earlier = [name for name in names if name.partition("/")[0] < stage.partition("/")[0]]
    for ref in references(notebook_of(stage)):
        matches = (
            [name for name in names if ref.startswith(f"{name}/") or f"{name}/".startswith(ref)] if ref else earlier
        )
        if ref and not matches:
            raise StageError(
                expected="run.input to name a file of a stage, such as 01_dataset/train.parquet",
                found=f"{ref!r} in {notebook_of(stage).name}",
                why="no stage of this profile makes it",
                fix=f"use one of: {', '.join(names)}",
            )
        found += [name for name in matches if name not in found]
    return tuple(found)


def references(notebook: Path) -> list[str]:
    """What the notebook's `run.input(...)` calls name; of an f-string its fixed beginning.

    "" where a call has no fixed beginning, and for a notebook that reviews whatever stages have left (`REVIEWS`).
    """
    nodes = [node for cell in code_cells(notebook) for node in cell_nodes(cell)]
    named = [_leading_text(node.args[0]) for node in nodes if isinstance(node, ast.Call) and _is_read(node)]
    return named + [""] * any(_is_review(node) for node in nodes)


def _is_review(node: ast.AST) -> bool:
    if not isinstance(node, ast.ImportFrom):
        return False
    return bool(REVIEWS & {(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)})


def _is_read(call: ast.Call) -> bool:
    function = call.func
    return bool(
        call.args
        and isinstance(function, ast.Attribute)
        and function.attr == "input"
        and isinstance(function.value, ast.Name)
        and function.value.id == "run"
    )


def _leading_text(argument: ast.expr) -> str:
    if isinstance(argument, ast.JoinedStr) and argument.values:
        argument = argument.values[0]
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else ""


def stage_key(stage: str, profile: str) -> str:
    """SHA-256 of code and parameters: what, with its upstreams' manifests, decides the stage's results."""
    return digest_of({"code": code_hash(stage), "parameters": parameters_hash(load_profile(profile)[stage])})


def find(word: str, names: Iterable[str]) -> list[str]:
    """The stages that `word` means: a name, a notebook with all its instances, or its number ("02").

    Raises StageError, with the nearest right name, where there is none.
    """
    names = list(names)
    found = [name for name in names if word in (name, name.partition("/")[0], name.partition("_")[0])]
    if found:
        return found
    spellings = {spelling: name for name in reversed(names) for spelling in (name, name.partition("_")[2])}
    near = difflib.get_close_matches(word, spellings, 1, 0.4)
    raise StageError(
        expected=f"a stage: {', '.join(names)}",
        found=repr(word),
        why="this profile has no stage of that name",
        fix=f"did you mean {spellings[near[0]]}?" if near else "use one of them",
    )
