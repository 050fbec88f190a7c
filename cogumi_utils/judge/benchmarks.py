"""HumanEval and MBPP items as programs for the sandbox, made from the rows of their published files.

A name of a test that the prompt defines (HumanEval's `poly`, `encode_cyclic`) is taken from the prompt, never from the
answer under test: an answer that redefines it would otherwise write its own judge.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from cogumi_utils.judge.sandbox import Program


def humaneval_program(row: dict[str, Any], completion: str | None = None) -> Program:
    """`completion` continues the prompt or is a whole function of its name; None stands for the reference solution."""
    name = row["entry_point"]
    completion = row["canonical_solution"] if completion is None else completion
    preamble = helpers(row["prompt"], name)
    whole = re.search(rf"^(async )?def {re.escape(name)}\(", completion, flags=re.MULTILINE)
    code = f"{preamble}\n\n{completion}" if whole else row["prompt"] + completion
    return Program(code=code, tests=f"{preamble}\n\n{row['test']}\n\ncheck({name})\n", entry_point=name)


def mbpp_program(row: dict[str, Any], code: str | None = None) -> Program:
    """A row of `mbpp.jsonl` or of `sanitized-mbpp.json`; None stands for the reference solution."""
    setup = [*row.get("test_imports", []), row.get("test_setup_code", "")]
    tests = "\n".join([*setup, *row["test_list"]]).replace("\r\n", "\n")
    return Program(code=row["code"] if code is None else code, tests=tests, entry_point=_called_function(row))


def helpers(setup: str, entry_point: str) -> str:
    """The imports, constants and functions of `setup` that its tests may use: not the function that is to be written.

    Classes stay out: the tests would make objects in their own process, which cannot be handed to the code.
    """
    left_out = {entry_point, None}
    kept = [node for node in _parse_prompt(setup).body if not isinstance(node, ast.ClassDef)]
    return "\n".join(ast.unparse(node) for node in kept if getattr(node, "name", "") not in left_out)


def _parse_prompt(source: str) -> ast.Module:
    """A prompt may end where the body of its last function should begin; what cannot be read at all is empty."""
    for text in (source, source.rstrip() + "\n    pass\n"):
        try:
            return _parse(text)
        except (SyntaxError, ValueError):
            continue
    return ast.Module(body=[], type_ignores=[])


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the sets' own code
        return ast.parse(source)


def _called_function(row: dict[str, Any]) -> str:
    """The function of the reference that the tests call first: the one that the task asks for."""
    defined = {node.name for node in _parse(row["code"]).body if isinstance(node, ast.FunctionDef)}
    tests = ast.walk(_parse("\n".join(row["test_list"])))
    called = [node.func for node in tests if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    inside = [name.id for name in sorted(called, key=lambda name: (name.lineno, name.col_offset)) if name.id in defined]
    return inside[0] if inside else ""


_SPOIL = """
def _spoiled(value):
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float, complex)):
        wrong = value + 1 + abs(value)
        return wrong if wrong != value == value else 0
    for kind in (str, list, tuple):
        if isinstance(value, kind):
            return kind(value) + kind("?")
    if isinstance(value, (set, frozenset)):
        return value ^ {"?"}
    return {**value, "?": [value.get("?")]} if isinstance(value, dict) else "?"
"""


def broken(program: Program) -> Program:
    """The same program with every answer of its entry point made unequal to what it was, by a fixed rule.

    The code runs in a namespace of its own, so that a recursive function still calls itself unbroken: otherwise the
    errors of an even depth could cancel out.
    """
    name = program.entry_point
    wrapper = f"def {name}(*args, **kwargs):\n    return _spoiled(_space[{name!r}](*args, **kwargs))\n"
    unbroken = f"_space = {{'__name__': 'unbroken'}}\nexec({program.code!r}, _space)\nglobals().update(_space)\n"
    code = f"{unbroken}{_SPOIL}\n{wrapper}"
    return Program(code=code, tests=program.tests, entry_point=name)
