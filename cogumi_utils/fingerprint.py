"""What a stage does, as one hash: its code cells, the modules that they import, and the tables that those read.

Comments, docstrings, formatting, text cells and stored outputs do not count: a better sentence never costs a run.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cogumi_utils.artifacts import digest_of
from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import notebooks_dir, params_dir
from cogumi_utils.yaml_lines import read_yaml

PACKAGE = Path(__file__).resolve().parent
# These decide whether a stage runs and how it is shown to be fresh, never what it makes.
FRAME = ("cogumi_utils.stages", "cogumi_utils.fingerprint")


class NotebookError(CogumiError):
    """A notebook's file can't be read."""


def notebook_of(stage: str) -> Path:
    """`02_qlora` or `10_modifiers/code` → the notebook's path."""
    return notebooks_dir() / f"{stage.partition('/')[0]}.ipynb"


def code_hash(stage: str) -> str:
    """SHA-256 of the stage's code cells, of the code they import from this package, and of the tables it reads."""
    cells = code_cells(notebook_of(stage))
    modules = imported_modules(node for cell in cells for node in cell_nodes(cell))
    known = [_module(path, path.stat().st_mtime_ns) for path in modules.values()]
    return digest_of(
        {
            "cells": [_normal(cell) for cell in cells],
            "modules": {name: code for name, (code, _, _) in zip(modules, known, strict=True)},
            "tables": {name: _table(name, stage) for name in sorted({name for _, _, names in known for name in names})},
        }
    )


def notebook_hash(stage: str) -> str:
    """SHA-256 of all the notebook's sources, text cells too; outputs and metadata do not count."""
    path = notebook_of(stage)
    return digest_of([[kind, source] for kind, source, _ in _cells(path, path.stat().st_mtime_ns)])


def code_cells(notebook: Path) -> list[str]:
    """Sources of the code cells but the parameters cell (its values are hashed as the stage's parameters)."""
    cells = _cells(notebook, notebook.stat().st_mtime_ns)
    return [source for kind, source, is_parameters in cells if kind == "code" and not is_parameters]


@functools.lru_cache
def _cells(path: Path, modified_ns: int) -> tuple[tuple[str, str, bool], ...]:
    """(type, source, whether it is the parameters cell) of each cell."""
    try:
        return tuple(
            (cell["cell_type"], "".join(cell["source"]), "parameters" in cell.get("metadata", {}).get("tags", []))
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise NotebookError(
            expected=f"a notebook in {path}",
            found=f"{type(error).__name__}: {error}",
            why="its code decides what the stage reads and when it is stale",
            fix=f"open it in Jupyter and save it again, or: git checkout notebooks/{path.name}",
        ) from None


def cell_nodes(cell: str) -> list[ast.AST]:
    """All syntax nodes of a cell, its `!` and `%` lines left out; none where it is not Python."""
    lines = ["pass" if line.startswith(("!", "%")) else line for line in cell.splitlines()]
    try:
        return list(ast.walk(ast.parse("\n".join(lines))))
    except SyntaxError:
        return []


def imported_modules(nodes: Iterable[ast.AST]) -> dict[str, Path]:
    """{module: file} of every module of this package that the nodes import, however indirectly, sorted."""
    found: dict[str, Path] = {}
    waiting = [name for node in nodes for name in _imports(node, "")]
    while waiting:
        name = waiting.pop()
        path = _module_file(name)
        if path is None or name in found or name in FRAME:
            continue
        found[name] = path
        waiting += _module(path, path.stat().st_mtime_ns)[1]
    return dict(sorted(found.items()))


@functools.cache
def _module(path: Path, modified_ns: int) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(hash of the module's code, the modules it imports, the tables of params/ that it names)."""
    tree = ast.parse(path.read_bytes())
    package = ".".join(("cogumi_utils", *path.relative_to(PACKAGE).parent.parts))
    imports = {name for node in ast.walk(tree) for name in _imports(node, package)}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    tables = {text for text in texts if text.endswith(".yaml") and "/" not in text and (params_dir() / text).is_file()}
    return digest_of(ast.dump(_without_docstrings(tree))), tuple(sorted(imports)), tuple(sorted(tables))


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Dotted names in this package that an import brings in; `from a import b` gives `a` and perhaps a module `a.b`."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        parts = package.split(".")
        above = parts[: len(parts) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        names = [f"{base}.{alias.name}" for alias in node.names]
    else:
        return
    for parts in (name.split(".") for name in names):
        if parts[0] == "cogumi_utils":  # importing a.b.c runs a and a.b too
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _module_file(name: str) -> Path | None:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    files = [path / "__init__.py"] if path == PACKAGE else [path.with_suffix(".py"), path / "__init__.py"]
    return next((file for file in files if file.is_file()), None)


def _without_docstrings(tree: ast.AST) -> ast.AST:
    """The same tree, changed in place."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _normal(cell: str) -> str:
    """A cell's code without comments and formatting; the text itself where it is not plain Python."""
    try:
        return ast.dump(ast.parse(cell))
    except SyntaxError:
        return cell.strip()


def _table(name: str, stage: str) -> Any:
    """The values of `params/<name>`; of the gates only those that this stage judges."""
    values = read_yaml(params_dir() / name)[0]
    if name != "gates.yaml":
        return values
    return {gate: entry for gate, entry in values.items() if entry.get("stage") == stage.partition("/")[0]}
