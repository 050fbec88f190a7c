"""Tool calls as trees: read from an answer without evaluating anything, compared with what was expected.

An answer holds calls as Python expressions, one a line or separated by `;` (`set_light(room="hall", level=30)`, calls
may be arguments of calls), or as JSON, `{"name": ..., "arguments": {...}}` or a list of these. A fenced block or
`<tool_call>` tags around them are taken off.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Call = dict[str, Any]
MAX_CHARS, MAX_DEPTH = 20_000, 50
_TAGS = re.compile(r"</?tool_call>")
# A text, or the name of a function or an argument, which need not be a name in Python: `get-weather`, `from`.
_TEXT_OR_NAME = re.compile(
    r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?<![\w$.-])[^\W\d][\w.$-]*(?=\s{0,9}\()|(?<![\w$.-])[^\W\d][\w-]*(?=\s{0,9}=)"""
)
_CONSTANTS = {"true": True, "false": False, "null": None}
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call whose names are still numbered."""

    name: str
    arguments: dict[str, Any]


class Unreadable(Exception):
    """The answer is not a list of calls; the message says why."""


def read_calls(answer: str) -> list[Call]:
    """The calls in the order in which they stand: `{"name": str, "arguments": {str: value}}`. Raises Unreadable."""
    text = _TAGS.sub("\n", unfenced(answer)).strip()
    if not text:
        raise Unreadable("no call")
    if len(text) > MAX_CHARS or _depth(text) > MAX_DEPTH:
        raise Unreadable("too long or too deeply nested")
    try:
        return _from_json(text) if text[0] in "{[" and text[1:].lstrip()[:1] in tuple('"{]}') else _from_python(text)
    except Unreadable:
        raise
    except _UNREADABLE as error:
        raise Unreadable(f"not readable as calls ({type(error).__name__})") from None


def unfenced(answer: str) -> str:
    """The inside of the first fenced block, the whole answer where there is none."""
    blocks = fenced_blocks(answer)
    return blocks[0] if blocks else answer


def fenced_blocks(answer: str) -> list[str]:
    """The insides of all fenced blocks; one that is never closed reaches to the end."""
    blocks: list[list[str]] = []
    inside = False
    for line in answer.splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
            if inside:
                blocks.append([])
        elif inside:
            blocks[-1].append(line)
    return ["\n".join(lines) for lines in blocks]


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _from_json(text: str) -> list[Call]:
    """One JSON value, or one a line."""
    try:
        values = [json.loads(text)]
    except ValueError:
        values = [json.loads(line) for line in text.splitlines() if line.strip()]
    calls = [call for value in values for call in (value if isinstance(value, list) else [value])]
    return [_json_call(call) for call in calls]


def _json_call(call: dict) -> Call:
    call = call.get("function", call)
    arguments = call["arguments"] if "arguments" in call else call["parameters"]
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    return {"name": str(call["name"]), "arguments": dict(arguments)}


def _from_python(text: str) -> list[Call]:
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match[0][0] in "\"'":
            return match[0]
        names.append(match[0])
        return f"_{len(names) - 1}"

    plain = _TEXT_OR_NAME.sub(numbered, text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes and the like are the answer's affair
        statements = ast.parse(plain).body
    return [_renamed(call, names) for statement in statements for call in _calls_of(statement)]


def _renamed(tree: Any, names: list[str]) -> Any:
    """Put the names back for which numbers stood while Python read the text."""
    if isinstance(tree, list):
        return [_renamed(item, names) for item in tree]
    if isinstance(tree, _Call):
        arguments = {names[int(key[1:])]: _renamed(value, names) for key, value in tree.arguments.items()}
        if len(arguments) < len(tree.arguments):
            raise Unreadable("an argument given twice")
        return {"name": names[int(tree.name[1:])], "arguments": arguments}
    return {key: _renamed(value, names) for key, value in tree.items()} if isinstance(tree, dict) else tree


def _calls_of(statement: ast.stmt) -> list[Call]:
    if not isinstance(statement, ast.Expr):
        raise Unreadable("not a call")
    values = statement.value.elts if isinstance(statement.value, ast.List | ast.Tuple) else [statement.value]
    if not all(isinstance(value, ast.Call) for value in values):
        raise Unreadable("not a call")
    return [_tree(value) for value in values]


def _tree(node: ast.expr) -> Any:
    """A literal as its value, a call as `{"name", "arguments"}`; nothing is looked up or computed."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_tree(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_key(key): _tree(value) for key, value in zip(keys, values, strict=True)}
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as value)):
            return -value if isinstance(sign, ast.USub) else value
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Call(args=[], keywords=keywords) if all(keyword.arg for keyword in keywords):
            return _Call(_name(node.func), {k.arg: _tree(k.value) for k in keywords})
        case ast.Call():
            raise Unreadable("arguments without names")
    raise Unreadable(f"{type(node).__name__} where a value should be")


def _key(node: ast.expr | None) -> str:
    key = _tree(node) if node is not None else None
    if not isinstance(key, str):
        raise Unreadable("an object's key that is no text")
    return key


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    raise Unreadable("a call without a name")


def difference(given: Any, expected: Any, where: str = "") -> str:
    """The first difference of two trees, empty if they are equal. 30 equals 30.0; "30" does not, nor True 1."""
    if isinstance(expected, dict) and isinstance(given, dict):
        return _object_difference(given, expected, where)
    if isinstance(expected, list | tuple) and isinstance(given, list | tuple):
        if len(given) != len(expected):
            return f"{where}: {len(given)} items, expected {len(expected)}"
        pairs = enumerate(zip(given, expected, strict=True))
        return next((found for i, (a, b) in pairs if (found := difference(a, b, f"{where}[{i}]"))), "")
    same_kind = _kind(given) == _kind(expected)
    return "" if same_kind and given == expected else f"{where}: {given!r:.80}, expected {expected!r:.80}"


def _object_difference(given: dict, expected: dict, where: str) -> str:
    for key in expected:
        if key not in given:
            return f"{where}: {key} is missing"
    for key in given:
        if key not in expected:
            return f"{where}: {key} is too much"
    found = (difference(given[key], expected[key], f"{where}.{key}" if where else str(key)) for key in expected)
    return next(filter(None, found), "")


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def compare_calls(given: Sequence[Call], payload: dict[str, Any]) -> str:
    """Why `given` is not what the payload asks for, empty if it is.

    payload: `calls`, `ordered`, and `accept` where a set allows several values: for each call its name, a list of
    values for each argument, and which arguments may be left out.
    """
    expected = payload.get("accept") or payload["calls"]
    mismatch = _unaccepted if payload.get("accept") else _mismatch
    if len(given) != len(expected):
        return f"{len(given)} calls, expected {len(expected)}"
    if payload.get("ordered", True):
        return next((found for a, b in zip(given, expected, strict=True) if (found := mismatch(a, b))), "")
    return _unordered(given, expected, mismatch)


def _mismatch(given: Call, expected: Call) -> str:
    if given["name"] != expected["name"]:
        return f"{given['name']:.80} called, expected {expected['name']}"
    return difference(given["arguments"], expected["arguments"], expected["name"])


def _unaccepted(given: Call, accept: dict[str, Any]) -> str:
    name, allowed = accept["name"], accept["arguments"]
    if given["name"] != name:
        return f"{given['name']:.80} called, expected {name}"
    for key in allowed:
        if key not in given["arguments"] and key not in accept.get("optional", ()):
            return f"{name}: {key} is missing"
    for key, value in given["arguments"].items():
        if key not in allowed:
            return f"{name}: {key:.80} is too much"
        if all(difference(value, option) for option in allowed[key]):
            return f"{name}.{key}: {value!r:.80} is not allowed"
    return ""


def _unordered(given: Sequence[Call], expected: Sequence[Any], mismatch: Any) -> str:
    """Pair each expected call with a given one (Kuhn's augmenting paths: calls with several values may overlap)."""
    fits = [[i for i, call in enumerate(given) if not mismatch(call, wanted)] for wanted in expected]
    taken: dict[int, int] = {}

    def place(wanted: int, tried: set[int]) -> bool:
        for i in fits[wanted]:
            if i not in tried:
                tried.add(i)
                if i not in taken or place(taken[i], tried):
                    taken[i] = wanted
                    return True
        return False

    missing = next((wanted for wanted in range(len(expected)) if not place(wanted, set())), None)
    if missing is None:
        return ""
    spare = [call for i, call in enumerate(given) if i not in taken]
    return mismatch(spare[0], expected[missing]) or f"no call fits {expected[missing]['name']}"
