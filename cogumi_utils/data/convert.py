"""From rows of public sets to Examples: one small rule a set, declared under the set's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

from cogumi_utils.data._readers import Row
from cogumi_utils.data.sources import Source
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

Rule = Callable[[Source, list[Row]], Iterable[Example]]
RULES: dict[str, Rule] = {}
RULE_MODULES = ("code", "reasoning", "choice", "automation", "chat")  # cogumi_utils.data._convert_<name>
NONE: dict[str, Any] = {"kind": "none", "payload": {}}


def rule(name: str) -> Callable[[Rule], Rule]:
    """Declare how the rows of the set `name` become Examples, when rows belong together."""

    def declare(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return declare


def each(name: str) -> Callable:
    """Declare how one row of the set `name` becomes one Example, or None where it has no chat form."""

    def declare(function: Callable[[Source, Row], Example | None]) -> Callable:
        RULES[name] = lambda source, rows: (e for row in rows if (e := function(source, row)) is not None)
        return function

    return declare


def examples(source: Source, rows: list[Row]) -> list[Example]:
    """All Examples that the rows of a set give, in their order. Raises CogumiError on a row that does not fit."""
    for module in RULE_MODULES:
        import_module(f"cogumi_utils.data._convert_{module}")
    try:
        return list(RULES[source.name](source, rows))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CogumiError(
            expected=f"rows of {source.name} laid out as in the pinned copy",
            found=f"{type(error).__name__}: {error}; columns {sorted(rows[0])}",
            why="a row that is read wrongly would become a wrong question",
            fix="read the set from COGUMI_DATA with HF_HUB_OFFLINE=1, and report the hub's new layout",
        ) from error


def example(
    source: Source,
    row: Row,
    question: str | list[dict[str, str]],
    answer: str | None,
    *,
    skill: str,
    verifier: dict[str, Any] = NONE,
    domain: str = "",
    difficulty: int = 1,
    system: str = "",
) -> Example:
    """One Example of `row`, with its source, licence, split, language and the raw row as its parent."""
    turns = [{"role": "user", "content": question.strip()}] if isinstance(question, str) else question
    messages = ([{"role": "system", "content": system.strip()}] if system else []) + turns
    messages = messages + ([{"role": "assistant", "content": answer.strip()}] if answer and answer.strip() else [])
    return Example(
        domain=domain or source.domain, skill=skill, difficulty=difficulty, messages=messages, verifier=verifier,
        source=source.name, licence=source.licence, split=row["_split"], parents=(f"{row['_file']}#{row['_row']}",),
        language="zh" if is_chinese(turns[-1]["content"]) else "en",
    )  # fmt: skip


def is_chinese(text: str) -> bool:
    """More than a tenth of the characters are Han; the sets here are English but for some Chinese prompts."""
    return len(re.findall(r"[\u4e00-\u9fff]", text)) > 0.1 * len(text)


def exact(answer: str) -> dict[str, Any]:
    return {"kind": "exact", "payload": {"answer": answer}}


def final(answer: str) -> dict[str, Any]:
    return {"kind": "final", "payload": {"answer": answer}}


def number(answer: str) -> dict[str, Any]:
    return {"kind": "number", "payload": {"answer": answer}}


def choice(answer: str) -> dict[str, Any]:
    return {"kind": "choice", "payload": {"answer": answer}}


def tool_calls(calls: list[dict[str, Any]], *, ordered: bool, **more: Any) -> dict[str, Any]:
    return {"kind": "tool_calls", "payload": {"calls": calls, "ordered": ordered, **more}}


def fenced(code: str) -> str:
    return f"```python\n{code.strip()}\n```"


def joined(instruction: str, given: str) -> str:
    """An instruction and the text it is about, as one user turn."""
    return f"{instruction.strip()}\n\n{given.strip()}" if given and given.strip() else instruction.strip()


def worked(chain: str, answer: str) -> str:
    """A worked chain and its result, in the form that the skill tasks use."""
    return f"{chain.strip()}\nAnswer: {answer}"


def is_plain_number(text: str) -> bool:
    """12, -3.5 or 1,000; not -2,1, which is a list of two."""
    return re.fullmatch(r"-?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?", text.strip()) is not None


def lines_of(rows: list[Row], key: str) -> Iterator[tuple[str, list[Row]]]:
    """Consecutive rows with an equal `key`, together."""
    group: list[Row] = []
    for row in rows:
        if group and group[-1][key] != row[key]:
            yield group[-1][key], group
            group = []
        group.append(row)
    if group:
        yield group[-1][key], group
