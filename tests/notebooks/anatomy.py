"""The static rules of a notebook's anatomy: each takes a notebook and the repository's facts, and returns faults."""

from __future__ import annotations

import ast
import importlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbval.plugin import comment_markers, metadata_tags
from notebook_files import Facts, Notebook

from cogumi_utils.artifacts import digest_of
from cogumi_utils.cells import ParameterError, cell_parameters

CODE_CELLS, WORDS = range(12, 17), range(400, 801)
MAX_LINES, MAX_CELL_LINES, MAX_BYTES = 90, 20, 300_000
COLUMNS = ("reads", "writes", "minutes", "h100", "gate")
MACHINES = re.compile(r"/(?:home|root|Users|work|tmp|opt|mnt|private)/\w|site-packages")
CLOCKS = {"papermill", "execution", "widgets"}
SNIFFING = {"os", "sys", "platform", "subprocess", "shutil", "socket", "get_ipython", "exec", "eval", "__import__"}
TRICKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.NamedExpr, ast.If, ast.Try, ast.TryStar)


def _words(text: str) -> list[str]:
    return [word for word in text.split() if re.search(r"\w", word)]


def _lines(source: str) -> int:
    return sum(bool(line.strip()) for line in source.splitlines())


# ---- the story ----


def title(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """`# NN Title`, the question in bold, the table."""
    first = notebook.node.cells[0]
    if first.cell_type != "markdown":
        yield "the first cell is not Markdown"
    heading = first.source.splitlines()[0]
    if heading.casefold() != f"# {notebook.stem.replace('_', ' ')}".casefold():
        yield f"the title is {heading!r}"
    if not re.search(r"^\*\*[^*]+\?\*\*$", first.source, re.MULTILINE):
        yield "no question in bold, on a line of its own"
    for word in COLUMNS:
        if not _words(notebook.column(word)):
            yield f"the table says nothing under {word!r}"


def sizes(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """Numbers of cells, lines and words. The parameters cell may be longer than others: it is a list."""
    counted = [_lines(cell.source) for cell in notebook.code]
    words = sum(len(_words(text)) for text in notebook.markdown)
    if len(counted) not in CODE_CELLS:
        yield f"{len(counted)} code cells"
    if sum(counted) > MAX_LINES:
        yield f"{sum(counted)} code lines"
    if words not in WORDS:
        yield f"{words} words"
    for number, lines in enumerate(counted[1:], 1):
        if lines > MAX_CELL_LINES:
            yield f"code cell {number} has {lines} lines"


def learned(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """One section `What we learned`, dated, in sentences, before the gates are judged."""
    cells = [(number, cell) for number, cell in enumerate(notebook.node.cells) if cell.cell_type == "markdown"]
    found = [(number, cell.source) for number, cell in cells if cell.source.startswith("## What we learned\n")]
    if len(found) != 1:
        yield f"{len(found)} sections `What we learned`"
        return
    number, text = found[0]
    if not re.search(r"^\*20\d\d-(0[1-9]|1[0-2])(-[0-3]\d)?\.\*", text, re.MULTILINE):
        yield "what we learned has no date"
    if len(_words(text)) < 30:
        yield "what we learned is not said"
    if any("run.gate(" in cell.source for cell in notebook.node.cells[:number]):
        yield "a gate is judged before what we learned"


# ---- the code ----


def parameters(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """The first code cell, tagged, flat literals with unit and range, nothing that papermill stumbles over."""
    first = notebook.code[0]
    tagged = [cell for cell in notebook.code if "parameters" in cell.metadata.get("tags", [])]
    if tagged != [first]:
        yield "the first code cell, and it alone, is tagged `parameters`"
    yield from _bad_literals(notebook.trees[0])
    if "Literal" in first.source:
        yield "Literal in the parameters cell"


def _bad_literals(tree: ast.Module) -> Iterator[str]:
    for line in tree.body:
        if not isinstance(line, ast.Assign) or any(isinstance(node, ast.BinOp) for node in ast.walk(line)):
            yield f"line {line.lineno} is not `name = literal`"
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "=" in node.value:
            yield f"a string with `=` in line {node.lineno}"


def schema(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """Every line has a unit and a legal range that the package can read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{notebook.stem}.ipynb"
        path.write_text(notebook.text, encoding="utf-8")
        try:
            cell_parameters(path)
        except ParameterError as error:
            yield error.found


def begins(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """All imports in the second code cell, then `run = start("<stem>", globals())`."""
    for number, tree in enumerate(notebook.trees):
        nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        if nodes and number != 1:
            yield f"code cell {number} imports"
        if number == 1 and not (nodes and isinstance(tree.body[0], (ast.Import, ast.ImportFrom))):
            yield "the second code cell does not begin with the imports"
    starts = [ast.unparse(line) for line in notebook.trees[1].body if "start(" in ast.unparse(line)]
    if starts != [f"run = start('{notebook.stem}', globals())"]:
        yield f"the second code cell starts with {starts}"


def plain(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """A story of calls: nothing defined, nothing tried, nothing asked of the machine."""
    for number, cell in enumerate(notebook.code):
        try:
            tree = ast.parse(cell.source)
        except SyntaxError as error:
            yield f"code cell {number} is not plain Python: {error.text!r}"
            continue
        nodes = list(ast.walk(tree))
        tails = [
            part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values[1:]
        ]  # f"{here}/there"
        nodes = [node for node in nodes if node not in tails]
        yield from (f"code cell {number}: {fault}" for node in nodes for fault in _not_plain(node))
        keys = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "key"]  # sorted(..., key=
        if any(isinstance(node, ast.Lambda) and node not in keys for node in nodes):
            yield f"code cell {number}: a lambda that is no sort key"


def _not_plain(node: ast.AST) -> Iterator[str]:
    if isinstance(node, TRICKS):
        yield f"{type(node).__name__} in line {getattr(node, 'lineno', '?')}"
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"(/|~/|[A-Za-z]:\\)\w", node.value):
        yield f"the absolute path {node.value!r}"
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = {alias.name.partition(".")[0] for alias in node.names} | {getattr(node, "module", "") or ""}
        yield from (f"imports {name}" for name in sorted(names & SNIFFING))
    if isinstance(node, ast.Name) and node.id in SNIFFING:
        yield f"uses {node.id}"
    if isinstance(node, ast.Attribute) and (ast.unparse(node) == "torch.cuda" or node.attr == "environ"):
        yield f"asks the machine: {ast.unparse(node)}"


def ends(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """One `run.finish(...)`, the last statement of the last code cell."""
    last = notebook.trees[-1].body[-1:]
    if len(notebook.calls("finish")) != 1:
        yield f"{len(notebook.calls('finish'))} calls of run.finish"
    if not any(isinstance(line, ast.Expr) and ast.unparse(line).startswith("run.finish(") for line in last):
        yield "run.finish is not the last statement"


# ---- what it says of itself, against what it does ----


def reads(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """The table's `reads` names what run.input names, and nothing else."""
    said = names(notebook.column("reads"))
    done = {text for call in notebook.calls("input") for text in _texts(call.args[0], notebook)}
    for ref in sorted(done - said):
        yield f"reads {ref}, which the table does not name"
    for name in sorted(name for name in said - done if re.match(r"\d\d_\w+/", name)):
        yield f"the table names {name}, which is not read"


def writes(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """The table's `writes` names what run.output names, and nothing else."""
    said = names(notebook.column("writes"))
    done = {text for call in notebook.calls("output") for text in _texts(call.args[0], notebook)}
    fixed, patterns = {text for text in done if "*" not in text}, {text for text in done if "*" in text}
    for name in sorted(fixed - said):
        yield f"writes {name}, which the table does not name"
    for name in sorted(said - fixed):
        if not any(re.fullmatch(pattern.replace(".", r"\.").replace("*", r"\w+"), name) for pattern in patterns):
            yield f"the table names {name}, which is not written"


def names(text: str) -> set[str]:
    """Paths in backticks, `a/{b,c}.x` spelled out, without a slash at the end."""
    found = set()
    for name in re.findall(r"`([^`]+)`", text):
        inner = re.search(r"\{(.*?)\}", name)
        words = inner[1].split(",") if inner else [""]
        found |= {(name.replace(inner[0], word.strip()) if inner else name).rstrip("/") for word in words}
    return found


def gates(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """Every gate registered for this stage is judged here, and no other."""
    judged = [text for call in notebook.calls("gate") for text in _texts(call.args[0], notebook)]
    registered = {name for name, stage in facts.gates.items() if stage == notebook.stem}
    for name in sorted(registered - set(judged)):
        yield f"the registered gate {name} is never judged"
    for name in sorted(set(judged) - registered):
        yield f"judges {name}, which is not registered for it"
    for name in sorted({name for name in judged if judged.count(name) > 1}):
        yield f"judges {name} twice"


def _texts(node: ast.expr, notebook: Notebook) -> list[str]:
    """The strings that an argument can be: a literal, or one made in a loop; `*` where that can't be told."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    known = _loops(notebook)
    if isinstance(node, ast.Name):
        return known.get(node.id, ["*"])
    if isinstance(node, ast.JoinedStr):
        texts = [""]
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            texts = [text + more for text in texts for more in _texts(inner, notebook)]
        return texts
    return ["*"]


def _loops(notebook: Notebook) -> dict[str, list[str]]:
    """{variable: the strings that it takes} of the loops over literals, and over what a suite in the package lists."""
    found: dict[str, list[str]] = {}
    for loop in (node for tree in notebook.trees for node in ast.walk(tree) if isinstance(node, ast.For)):
        name = loop.target.elts[0] if isinstance(loop.target, ast.Tuple) else loop.target
        if isinstance(loop.iter, (ast.Tuple, ast.List)):
            found[name.id] = [item.value for item in loop.iter.elts if isinstance(item, ast.Constant)]
        elif ast.unparse(loop.iter).startswith("suites.measurements("):
            found[name.id] = list(importlib.import_module("cogumi_utils.judge.suites").measurements({}))
    return {name: texts for name, texts in found.items() if texts}


# ---- stored outputs ----


def checked(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """At least one cell must reproduce exactly: marked so that nbval sees it, and with an output to compare with."""
    marked = []
    for cell in notebook.code:
        tags = [tag for tag in cell.metadata.get("tags", []) if "nbval" in tag.casefold()]
        comments = re.findall(r"#\s*(nbval.*)", cell.source, re.IGNORECASE)
        for word in [tag for tag in tags if tag not in metadata_tags] + list({*comments} - {*comment_markers}):
            yield f"cell {cell.id}: nbval does not know {word!r}"
        marked += [cell] * ("nbval-check-output" in tags or "NBVAL_CHECK_OUTPUT" in comments)
    if not marked:
        yield "no cell is marked `nbval-check-output`"
    for cell in marked:
        if not cell.outputs or not cell.execution_count:  # nbval lets both pass
            yield f"cell {cell.id} is to be checked and has no stored output"


def stored(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """The outputs of one whole run, small, and with nothing of the machine in them."""
    if len(notebook.text.encode()) > MAX_BYTES:
        yield f"{len(notebook.text.encode())} bytes"
    counts = [cell.execution_count for cell in notebook.code]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the cells were not run once each, in order: {counts}"
    for cell in notebook.node.cells:
        yield from (f"cell {cell.id} keeps {name}" for name in sorted(CLOCKS & set(cell.metadata)))
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {cell.id} ended in {output.ename}"
            if output.output_type == "execute_result":
                yield f"cell {cell.id} shows the repr of its last line: end it with a semicolon"
            if machine := MACHINES.search(_shown(output)):
                yield f"cell {cell.id} shows {machine[0]!r}"
    yield from (f"the notebook keeps {name}" for name in sorted(CLOCKS & set(notebook.node.metadata)))


def fresh(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """The stored outputs are those of the code cells as they are now."""
    if notebook.node.metadata.get("outputs_of") != digest_of([cell.source for cell in notebook.code]):
        yield "its outputs are those of other cells: ./run_all.sh smoke && python tools/store_outputs.py"


def _shown(output: Any) -> str:
    texts = [text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")]
    return " ".join(map(str, [*texts, output.get("text", "")]))


def valid(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """The format; an id on every cell that begins with the notebook's number, each once."""
    yield from (str(error.message)[:200] for error in nbformat.validator.iter_validate(json.loads(notebook.text)))
    ids = [cell.get("id") for cell in notebook.node.cells]
    number = notebook.stem.partition("_")[0]
    if len(set(ids)) < len(ids) or not all(str(name).startswith(f"{number}-") for name in ids):
        yield f"cell ids are not {number}-00, {number}-01 and so on, each once: {ids}"


# ---- its place in the repository ----


def listed(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """A row of README's table that links to it."""
    rows = [line for line in facts.readme.splitlines() if line.startswith("|")]
    if not any(f"(notebooks/{notebook.stem}.ipynb)" in row for row in rows):
        yield f"no table row of README.md links to notebooks/{notebook.stem}.ipynb"


def staged(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """A stage of every profile that does not leave it out by its own list."""
    for profile, names in facts.graphs.items():
        if notebook.stem not in names | facts.left_out[profile]:
            yield f"no stage of {profile}"


def tuned(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """Every profile says how it runs: by a file (its own, or of the profile that it extends), or not at all."""
    for profile, names in facts.files.items():
        if notebook.stem not in names | facts.left_out[profile]:
            yield f"{profile} has no parameter file for it, so that it would run on the values of smoke"


def estimated(notebook: Notebook, facts: Facts) -> Iterator[str]:
    """Plans know how long it takes."""
    for profile, names in facts.minutes.items():
        if notebook.stem not in names | facts.left_out[profile]:
            yield f"params/{profile}/profile.yaml: no minutes"


Rule = Callable[[Notebook, Facts], Iterator[str]]
RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        title, sizes, learned, parameters, schema, begins, plain, ends, reads, writes, gates, checked, stored, fresh,
        valid, listed, staged, tuned, estimated,
    )
}  # fmt: skip
