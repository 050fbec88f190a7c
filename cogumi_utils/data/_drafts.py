"""Tasks as a model writes them: read from its reply, and given a verifier by its second, independent answer."""

from __future__ import annotations

import ast
import builtins
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cogumi_utils.data import skills
from cogumi_utils.data.commission import MOST_PARENTS, Commission, Mistake, evenly, kind_of, plain
from cogumi_utils.data.teachers import TeacherAnswer, TeacherRequest
from cogumi_utils.judge import tool_calls
from cogumi_utils.judge.grade import answer_code
from cogumi_utils.judge.verifiers import after_marker, chosen_letter, final_number
from cogumi_utils.schema import Example

NONE: dict[str, Any] = {"kind": "none", "payload": {}}
CHECKED = frozenset({"number", "final", "exact", "choice", "tool_calls", "python_tests"})  # kinds that can be so made
MOST_CHARACTERS = 100_000  # of a reply
FEWEST_TESTS, MOST_TESTS = 2, 10
_DECODER = json.JSONDecoder(strict=False)  # line breaks inside of texts are common
_TESTS_WANTED = (
    "For the task below write three lines of Python, each `assert ...`, that tell a right solution from a wrong one by "
    "calling the function under the name that the task gives it. Reply with these three lines alone.\n\nTask: "
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A task as it was written: a question with the author's own answer."""

    question: str
    answer: str


def drafts(reply: str) -> Iterator[Draft]:
    """The whole objects with a question, wherever they stand: in a fence, amid prose, in a list that breaks off."""
    reply = reply[:MOST_CHARACTERS]
    start = reply.find("{")
    while start >= 0:
        end = start + 1
        try:
            value, stop = _DECODER.raw_decode(reply, start)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and "question" in value:  # else it may hold the list that is looked for
            yield Draft(_text(value["question"]), _text(value.get("answer")))
            end = stop
        start = reply.find("{", end)


def _text(value: Any) -> str:
    """Numbers and calls often come unquoted. Half a surrogate pair could not be stored."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode().strip()


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one task. shown: the failed ones it was written after, all of one kind. answer: its author's, with
    the question as an Example and `error` where it is of no use."""

    shown: tuple[Mistake, ...]
    answer: TeacherAnswer

    @property
    def can_be_checked(self) -> bool:
        return not self.answer.error and self.shown[0].example.verifier["kind"] in CHECKED


def read(
    reply: TeacherAnswer, order: Commission, shown: Sequence[Mistake], used: set[str], new: set[str]
) -> list[Written]:
    """The tasks in a reply, each with an even share of its tokens and cost; one with the whole where it holds none.

    used: questions, `plain`, that may not come. new: those that came before, to which the usable ones are added.
    """
    found = list(drafts(reply.text))
    if not found:
        error = reply.error or "no question in the reply"
        nothing = replace(reply, request=TeacherRequest.of(shown[0].example), text="", error=error)
        return [Written(tuple(shown), nothing)]
    tasks: list[Written] = []
    for draft, share in zip(found, _shares(reply, len(found)), strict=True):
        usable = sum(not task.answer.error for task in tasks)
        error = _fault(draft, shown[0].example, used, new) or ("more than asked for" if usable == order.n else "")
        if not error:
            new.add(plain(draft.question))
        request = TeacherRequest.of(_example(draft.question, shown, reply.teacher))
        tasks.append(Written(tuple(shown), replace(share, request=request, text=draft.answer, error=error)))
    return tasks


def _shares(reply: TeacherAnswer, n: int) -> list[TeacherAnswer]:
    tokens = zip(evenly(reply.tokens_in, n), evenly(reply.tokens_out, n), strict=True)
    return [replace(reply, tokens_in=i, tokens_out=o, cost_usd=reply.cost_usd / n) for i, o in tokens]


def _fault(draft: Draft, like: Example, used: set[str], new: set[str]) -> str:
    """Why a task is of no use, or nothing. A model that imitates the embedded tasks well can hit upon one of a held-out
    split, which their questions alone decide."""
    if not draft.question or not draft.answer:
        return "empty"
    if plain(draft.question) in used:
        return "taken"
    if plain(draft.question) in new:
        return "repeated"
    embedded = like.source == skills.SOURCE
    return "held-out split" if embedded and skills.split_of(draft.question) != "train" else ""


def _example(question: str, shown: Sequence[Mistake], author: str) -> Example:
    """The question as an Example of the shown tasks' kind, without a verifier yet."""
    like = shown[0].example
    messages = [*_system(like), {"role": "user", "content": question}]
    parents = tuple(dict.fromkeys(mistake.example.id for mistake in shown))[:MOST_PARENTS]
    return Example(
        like.domain, like.skill, messages, difficulty=like.difficulty, teacher=author, source=f"teacher/{author}",
        language=like.language, parents=parents,
    )  # fmt: skip


def second_request(task: Written, **options: Any) -> TeacherRequest:
    """The question alone, without its author's answer.

    Up to three of the shown tasks with their reference answers go before it as turns, because the form of an answer can
    be seen nowhere else. For code, tests are asked for.
    """
    like, question = task.shown[0].example, task.answer.request.messages[-1]
    if like.verifier["kind"] == "python_tests":
        return TeacherRequest([{"role": "user", "content": _TESTS_WANTED + question["content"]}], **options)
    known = [mistake.example.messages[-2:] for mistake in task.shown if mistake.example.answer][:3]
    return TeacherRequest([*_system(like), *(turn for pair in known for turn in pair), question], **options)


def with_second(task: Written, second: TeacherAnswer) -> TeacherAnswer:
    """The task's answer with the verifier that the second answer makes, and with the price of both."""
    first = task.answer
    example = with_verifier(first.request.example, task.shown[0].example, second.text)
    return replace(
        first, request=TeacherRequest.of(example), tokens_in=first.tokens_in + second.tokens_in,
        tokens_out=first.tokens_out + second.tokens_out, cost_usd=first.cost_usd + second.cost_usd,
        cached=first.cached and second.cached, error=second.error and f"second answer: {second.error}",
    )  # fmt: skip


def _system(example: Example) -> list[dict[str, str]]:
    system = kind_of(example)[-1]
    return [{"role": "system", "content": system}] if system else []


def with_verifier(example: Example, like: Example, second: str) -> Example:
    """The Example with a verifier of the kind of `like`, which accepts what agrees with the second answer."""
    make = {
        "number": _number, "final": _final, "exact": _exact, "choice": _choice, "tool_calls": _calls,
        "python_tests": _tests,
    }  # fmt: skip
    kind = like.verifier["kind"]
    payload = make[kind](second, like.verifier["payload"]) if kind in make else None
    return replace(example, verifier={"kind": kind, "payload": payload} if payload else NONE, id="")


def _number(second: str, like: dict[str, Any]) -> dict[str, Any] | None:
    value = final_number(second)
    return None if value is None else {"answer": str(value)}


def _final(second: str, like: dict[str, Any]) -> dict[str, Any] | None:
    answer = (after_marker(second) or "").strip().partition("\n")[0].strip()
    return {"answer": answer} if answer.strip(" .!*`\"'") else None


def _exact(second: str, like: dict[str, Any]) -> dict[str, Any] | None:
    return {"answer": second.strip()} if second.strip() else None


def _choice(second: str, like: dict[str, Any]) -> dict[str, Any] | None:
    letter = chosen_letter(second)
    return {"answer": letter} if letter else None


def _calls(second: str, like: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return {"calls": tool_calls.read_calls(second), "ordered": like.get("ordered", True)}
    except tool_calls.Unreadable:
        return None


def _tests(second: str, like: dict[str, Any]) -> dict[str, Any] | None:
    """The assert lines that call one function, by whose name the solution is found."""
    lines = [line.strip() for line in answer_code(second).splitlines() if line.strip().startswith("assert ")]
    called = [(line, names) for line in lines if (names := _called(line))]
    if not called:
        return None
    entry_point = called[0][1][0]
    tests = [line for line, names in called if entry_point in names][:MOST_TESTS]
    if len(tests) < FEWEST_TESTS:
        return None
    return {"entry_point": entry_point, "tests": "\n".join(tests), "setup": ""}


def _called(line: str) -> list[str]:
    """Functions called in an assert line that are not Python's own; empty for a line that is none."""
    try:
        nodes = list(ast.walk(ast.parse(line)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [name for name in names if not hasattr(builtins, name)]
