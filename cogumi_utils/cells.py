"""The parameters cell of a notebook is the schema: names, types, units and legal ranges are read from it.

Each line is `name = literal  # what it is and its unit, LEGAL`, where LEGAL is one of

    1..100000            a number from 1 to 100000, both included (1e-5..1.0 and -1..1 too)
    one of: a, b, c      a string (or number) of this list
    true or false        a boolean
    may be empty         any string
    not empty            any string but the empty one

and for a list `each` before it: `levels = [0.16, 0.33]  # share pruned, each 0.0..1.0`. A comment that says
`each domain's own` makes it a line that the parameter file of every domain must give.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import math
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogumi_utils.errors import CogumiError

_NUMBER = r"[-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?"
_LEGAL = re.compile(
    rf"(?P<each>each )?(?:(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})|one of: (?P<choices>.+)"
    r"|(?P<word>true or false|may be empty|not empty))\s*$"
)
_WORDS = {"true or false": bool, "may be empty": str, "not empty": str}


class ParameterError(CogumiError):
    """A parameters cell, a parameter file or a value that breaks the rules of the cell."""


@dataclass(frozen=True, slots=True)
class Param:
    """One line of the cell. type: of the value, or of each item where `is_list`; comment: what it is, with unit."""

    name: str
    value: Any
    type: type
    comment: str
    line: int
    is_list: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    not_empty: bool = False

    @property
    def own(self) -> bool:
        """Whether every instance's file must give it."""
        return "each domain's own" in self.comment

    @property
    def legal(self) -> str:
        """The legal values in words."""
        each = "each " if self.is_list else ""
        if self.choices:
            return f"{each}one of: {', '.join(map(str, self.choices))}"
        if self.low is not None:
            return f"{each}{self.type.__name__}, {self.low}..{self.high}"
        return each + {bool: "true or false", str: "not empty text" if self.not_empty else "text"}[self.type]

    def checked(self, value: Any) -> Any:
        """`value` as this parameter takes it (an int for a float becomes one); ValueError says what is wrong."""
        if not self.is_list:
            return self._checked_item(value)
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{value!r} is no list")
        return [self._checked_item(item) for item in value]

    def _checked_item(self, value: Any) -> Any:
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not self.type:
            raise ValueError(f"{value!r} is of type {type(value).__name__}{_type_hint(value, self.type)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value!r} is not a finite number")
        if self.low is not None and not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is out of range")
        if (self.choices and value not in self.choices) or (self.not_empty and not value):
            raise ValueError(f"{value!r} is not allowed")
        return value


def _type_hint(value: Any, wanted: type) -> str:
    """The traps of YAML, in words."""
    if wanted in (int, float) and isinstance(value, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value):
        digits, power = re.split("[eE]", value)
        better = f"{digits}.0e{int(power):+03d}" if wanted is float else f"{float(value):.0f}"
        return f" (YAML reads {value} as text: write {better})"
    if wanted is int and isinstance(value, float) and value.is_integer():
        return f" (write {int(value)})"
    if wanted is str and isinstance(value, bool):
        return " (YAML reads yes, no, on and off as booleans: put it in quotes)"
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d[\d.eE+-]*" if wanted is not bool else "true|false", value):
        return " (leave the quotes out)"
    return ""


def cell_parameters(notebook: Path) -> dict[str, Param]:
    """{name: Param} of the cell tagged `parameters`, in its order. Raises ParameterError that lists every bad line."""
    return dict(_parsed(Path(notebook), Path(notebook).read_text(encoding="utf-8")))


@functools.lru_cache(maxsize=256)  # keyed by the text: time stamps are too coarse to tell two quick saves apart
def _parsed(notebook: Path, text: str) -> dict[str, Param]:
    source = parameters_source(notebook, text)
    try:
        tree, comments = ast.parse(source), _comments(source)
    except (SyntaxError, tokenize.TokenError) as error:
        raise _bad_cell(notebook, [f"the cell can't be parsed: {error}"]) from None
    found, faults = {}, []
    for statement in tree.body:
        try:
            param = _parse_line(statement, comments.get(statement.end_lineno, ""))
            if param.name in found:
                raise ValueError(f"{param.name} is assigned twice")
            found[param.name] = param
        except ValueError as error:
            faults.append(f"line {statement.lineno}: {error}")
    if faults or not found:
        raise _bad_cell(notebook, faults or ["the cell is empty"])
    return found


def assigned_names(source: str) -> list[str]:
    """Names that a cell of plain assignments sets (what papermill injects)."""
    targets = [target for line in ast.parse(source).body if isinstance(line, ast.Assign) for target in line.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def parameters_source(notebook: Path, text: str) -> str:
    """Source of the one cell tagged `parameters` in a notebook's text."""
    try:
        cells = json.loads(text)["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise _bad_cell(notebook, [f"the file is no notebook: {error}"]) from None
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise _bad_cell(notebook, [f"{len(tagged)} cells are tagged `parameters`"])
    return "".join(tagged[0]["source"])


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if token.type == tokenize.COMMENT}


def _parse_line(statement: ast.stmt, comment: str) -> Param:
    if not isinstance(statement, ast.Assign) or [type(target) for target in statement.targets] != [ast.Name]:
        raise ValueError("not of the form `name = literal`")
    name = statement.targets[0].id
    try:
        value = ast.literal_eval(statement.value)
    except ValueError:
        raise ValueError(f"{name} is no literal (derived values belong in a later cell)") from None
    legal = _LEGAL.search(comment)
    if not legal:
        raise ValueError(f"{name} has no comment that ends with its legal range, such as `# steps, 1..1000`")
    param = _with_legal(name, value, comment[: legal.start()].rstrip(" ,"), statement.lineno, legal)
    param.checked(value)
    return param


def _with_legal(name: str, value: Any, comment: str, line: int, legal: re.Match[str]) -> Param:
    is_list = bool(legal["each"])
    if is_list and not isinstance(value, list):
        raise ValueError(f"{name} is said to be a list (`each`) and is {value!r}")
    if is_list and not value and legal["low"]:
        raise ValueError(f"{name} is empty: `{legal[0].strip()}` does not say whether it holds int or float")
    items = value if is_list else [value]
    kind = type(items[0]) if items else _WORDS.get(legal["word"], str)  # an empty list: of what its legal values are
    if kind not in (bool, int, float, str):
        raise ValueError(f"{name} is of type {kind.__name__}: only bool, int, float, str and lists of them are allowed")
    limits: dict[str, Any] = {"not_empty": legal["word"] == "not empty"}
    if legal["low"]:
        limits |= {"low": kind(legal["low"]), "high": kind(legal["high"])} if kind in (int, float) else {"type": float}
    if legal["choices"]:
        limits["choices"] = tuple(kind(choice.strip()) for choice in legal["choices"].split(","))
    expected = limits.pop("type", None) or _WORDS.get(legal["word"], kind)
    if expected is not kind:
        raise ValueError(f"{name} is {value!r}, which does not fit `{legal[0].strip()}`")
    return Param(name, value, kind, comment, line, is_list, **limits)


def _bad_cell(notebook: Path, faults: list[str]) -> ParameterError:
    return ParameterError(
        expected=f"one cell of {notebook.name} tagged `parameters`, of lines `name = literal  # what, unit, 1..10`",
        found="\n          ".join(f"{notebook.name}: {fault}" for fault in faults),
        why="the parameters cell is the schema that every parameter file is checked against",
        fix=f"mend the parameters cell of {notebook}",
    )
