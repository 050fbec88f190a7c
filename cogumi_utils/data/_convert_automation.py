"""Tool calls and commands: BFCL, API-Bank, ToolAlpaca, NESTFUL, NL2Bash.

A call is written as the skill tasks write it, `name(argument="text", other=3)`, one a line; `none()` when no function
fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from cogumi_utils.data._readers import Row
from cogumi_utils.data.convert import NONE, each, example, lines_of, rule, tool_calls
from cogumi_utils.data.sources import Source
from cogumi_utils.schema import Example

Call = dict[str, Any]
HOW = "Answer with calls alone, one a line, written name(argument=value), or with none() if no function fits."
NO_CALL: Call = {"name": "none", "arguments": {}}
BFCL_LEVELS = {"simple": 1, "multiple": 2, "parallel": 3}
MOST_VARIANTS = 256  # of one argument; the sets have at most a few dozen


def call_text(call: Call) -> str:
    return f"{call['name']}({', '.join(f'{key}={_literal(value)}' for key, value in call['arguments'].items())})"


def _literal(value: Any) -> str:
    """A Python literal, text in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(entry)}" for key, entry in value.items()) + "}"
    return repr(value)


def calls_text(calls: list[Call]) -> str:
    return "\n".join(map(call_text, calls))


def functions_text(functions: Any) -> str:
    return f"Functions:\n{json.dumps(functions, ensure_ascii=False)}\n{HOW}"


@each("bfcl_v4")
def bfcl(source: Source, row: Row) -> Example | None:
    """The single-turn categories. multi_turn, memory and web_search need a running system and are left out."""
    category = row["_part"]
    if not row.get("function") or category.startswith(("multi_turn", "memory", "web_search")):
        return None
    told = [message["content"] for message in row["question"][0] if message["role"] == "system"]
    turns = [message for message in row["question"][0] if message["role"] != "system"]
    answer, verifier = _bfcl_answer(category, row["ground_truth"])
    level = next((level for word, level in BFCL_LEVELS.items() if word in category), 2)
    system = "\n\n".join([*told, functions_text(row["function"])])
    return example(source, row, turns, answer, skill=category, difficulty=level, system=system, verifier=verifier)


def _bfcl_answer(category: str, truth: list[dict[str, Any]] | None) -> tuple[str | None, dict[str, Any]]:
    """Reference and verifier: calls in any order; irrelevance: no call; relevance: any call, so nothing to verify."""
    if "irrelevance" in category:
        return calls_text([NO_CALL]), tool_calls([NO_CALL], ordered=False)
    if truth is None:
        return None, NONE
    accept = [{"name": name, **_accepted(args)} for call in truth for name, args in call.items()]
    calls = [{"name": call["name"], "arguments": _first(call)} for call in accept]
    return calls_text(calls), tool_calls(calls, ordered=False, accept=accept)


def _accepted(arguments: dict[str, list[Any]]) -> dict[str, Any]:
    """The values that each argument may have, and which arguments may be left out."""
    values = {key: _values(allowed) for key, allowed in arguments.items()}
    return {"arguments": values, "optional": sorted(key for key, allowed in arguments.items() if _optional(allowed))}


def _optional(allowed: Any) -> bool:
    """BFCL lists the values allowed; an empty text among them, or none at all, means that it may be left out."""
    return isinstance(allowed, list) and ("" in allowed or not allowed)


def _values(allowed: Any) -> list[Any]:
    allowed = allowed if isinstance(allowed, list) else [allowed]  # a few objects hold bare values
    given = [value for value in allowed if value != ""] or (allowed or [[]])
    return [variant for value in given for variant in _variants(value)]


def _variants(value: Any) -> list[Any]:
    """All values that `value` stands for: inside an object each entry is again a list of allowed ones."""
    if isinstance(value, dict):
        entries = [[(key, v) for v in _values(allowed)] + [None] * _optional(allowed) for key, allowed in value.items()]
        return [dict(filter(None, picked)) for picked in product(*entries)][:MOST_VARIANTS]
    if isinstance(value, list):
        return [list(picked) for picked in product(*map(_variants, value))][:MOST_VARIANTS]
    return [value]


def _first(call: dict[str, Any]) -> dict[str, Any]:
    """The first allowed value of each argument that must be given."""
    return {key: allowed[0] for key, allowed in call["arguments"].items() if key not in call["optional"]}


@rule("api_bank")
def api_bank(source: Source, rows: list[Row]) -> Iterable[Example]:
    """One Example a call: what was said and called before it, then the call. Level-3 scripts have no turns."""
    for _, turns in lines_of(rows, "_file"):
        yield from _api_bank_dialogue(source, turns)


def _api_bank_dialogue(source: Source, turns: list[Row]) -> Iterator[Example]:
    said: list[dict[str, str]] = []
    for turn in turns:
        if turn.get("role") == "API":
            call = {"name": turn["api_name"], "arguments": turn["param_dict"]}
            system, skill = functions_text(turn["functions"]), turn["_part"].replace("-", "_")
            yield example(
                source, turn, _asked(said), call_text(call), skill=skill, system=system, difficulty=2,
                verifier=tool_calls([call], ordered=True),
            )  # fmt: skip
            said = [*said, {"role": "assistant", "content": call_text(call)}]
            said = [*said, {"role": "tool", "content": json.dumps(turn["result"]["output"], ensure_ascii=False)}]
        elif "text" in turn and "role" in turn:
            said = [*said, {"role": "user" if turn["role"] == "User" else "assistant", "content": turn["text"]}]


def _asked(said: list[dict[str, str]]) -> list[dict[str, str]]:
    """What was said up to the last user or tool turn: "let me look that up" is part of the answer, not the question."""
    last = max(i for i, message in enumerate(said) if message["role"] != "assistant")
    return said[: last + 1]


@rule("toolalpaca")
def toolalpaca(source: Source, rows: list[Row]) -> Iterable[Example]:
    """One Example an instruction; a chain that passes on an earlier result has no fixed arguments to verify."""
    for row in rows:
        system = functions_text(row["Function_Description"])
        for instruction, steps in zip(row["Instructions"], row["Golden_Answers"], strict=True):
            calls = _parsed(steps)
            verifier = tool_calls(calls, ordered=True) if calls else NONE
            answer = calls_text(calls) if calls else None
            yield example(source, row, instruction, answer, skill=row["_part"], system=system, verifier=verifier)


def _parsed(steps: list[dict[str, str]]) -> list[Call]:
    """The golden calls, or nothing where one has no plain name or no JSON object of arguments."""
    try:
        calls = [{"name": step["Action"], "arguments": json.loads(step["Action_Input"])} for step in steps]
    except ValueError:
        return []
    plain = all(re.fullmatch(r"[\w.-]+", call["name"]) and isinstance(call["arguments"], dict) for call in calls)
    return calls if plain else []


@each("nestful")
def nestful(source: Source, row: Row) -> Example:
    """Calls that use earlier results: the n-th result is called var<n>, `$var1.price$` is a field of the first."""
    calls = [{"name": call["name"], "arguments": call["arguments"]} for call in row["output"]]
    system = (
        f"{functions_text(row['functions'])}\nThe result of the n-th call is var<n>; write $var1.name$ for its field "
        "`name`. End with var_result(...), which names what was asked for."
    )
    verifier = tool_calls(calls, ordered=True)
    answer = calls_text(calls)
    return example(
        source, row, row["input"], answer, skill=row["_part"], system=system, difficulty=3, verifier=verifier
    )


@each("nl2bash")
def nl2bash(source: Source, row: Row) -> Example:
    """Many commands do the same, so that a different one may be right: not verified."""
    question = f"Write a Bash command: {row['text']}"
    return example(source, row, question, row["command"], skill="bash")
