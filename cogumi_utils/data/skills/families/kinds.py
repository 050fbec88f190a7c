"""Seven kinds of task family. Each takes invented words and draws a rule, and gives back what makes its tasks.

What the words mean is nowhere in a question: it has to be learned from other tasks of the family.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Task, exact, final, number

Make = Callable[[Random], Task]
KINDS: dict[str, Callable[..., Make]] = {}
WORDS = 4  # invented words that a family owns
SLOTS = {
    "room": words.ROOMS, "person": words.PEOPLE, "city": words.CITIES, "thing": words.THINGS, "day": words.DAYS,
    "colour": words.COLOURS, "number": tuple(range(1, 10)),
}  # fmt: skip
BRACKETS = (("<", "|", ">"), ("[", "; ", "]"), ("(", " - ", ")"), ("{", " ", "}"))
RULES: dict[str, Callable[[int, int], tuple[str, int]]] = {
    "sum": lambda a, b: (f"{a}+{b}={a + b}. ", a + b),
    "difference": lambda a, b: (f"{a}-{b}={a - b}. ", a - b),
    "larger": lambda a, b: ("", max(a, b)),
    "smaller": lambda a, b: ("", min(a, b)),
    "first": lambda a, b: ("", a),
    "second": lambda a, b: ("", b),
}
MEANINGS = {"+": "+", "-": "-", "*": "*", ">": ">", "<": "<", "==": "=="}


def kind(declared: Callable[..., Make]) -> Callable[..., Make]:
    KINDS[declared.__name__] = declared
    return declared


def _quoted(value: str | int) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@kind
def tool(rng: Random, verb: str, name: str, one: str, two: str, operator: str) -> Make:
    """A tool with invented name and arguments, called in an order of its own."""
    slots, turned = rng.sample(list(SLOTS.values()), 2), rng.random() < 0.5

    def make(draw: Random) -> Task:
        values = [draw.choice(slot) for slot in slots]
        pairs = dict(list(zip((one, two), values, strict=True))[:: -1 if turned else 1])
        text = ", ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())
        payload = {"calls": [{"name": name, "arguments": pairs}], "ordered": True}
        question = f"{verb.capitalize()} {values[0]} with {values[1]}."
        return Task(question, f"{name}({text})", {"kind": "tool_calls", "payload": payload})

    return make


@kind
def notation(rng: Random, tag: str, head: str, _one: str, _two: str, operator: str) -> Make:
    """Two values written in brackets behind an invented head."""
    slots, (left, middle, right) = rng.sample(list(SLOTS.values()), 2), rng.choice(BRACKETS)
    turned = rng.random() < 0.5

    def make(draw: Random) -> Task:
        values = [str(draw.choice(slot)) for slot in slots]
        written = f"{head}{left}{middle.join(reversed(values) if turned else values)}{right}"
        return Task(f"Write in {tag}: {values[0]}, {values[1]}.", written, exact(written))

    return make


@kind
def labels(rng: Random, tag: str, one: str, two: str, _word: str, operator: str) -> Make:
    """Two invented classes, each a kind of thing."""
    slots = dict(zip((one, two), rng.sample(list(SLOTS.values()), 2), strict=True))

    def make(draw: Random) -> Task:
        label = draw.choice((one, two))
        return Task(f"Class in {tag}: {draw.choice(slots[label])}?", f"Answer: {label}", final(label))

    return make


@kind
def lexicon(rng: Random, tag: str, one: str, two: str, three: str, operator: str) -> Make:
    """Three colours with invented names."""
    names = dict(zip(rng.sample(words.COLOURS, 3), (one, two, three), strict=True))

    def make(draw: Random) -> Task:
        colour, item = draw.choice(list(names)), draw.choice(words.ITEMS)
        return Task(
            f"Say in {tag}: {colour} {item}.", f"Answer: {names[colour]} {item}", final(f"{names[colour]} {item}")
        )

    return make


@kind
def units(rng: Random, tag: str, unit: str, _one: str, _two: str, operator: str) -> Make:
    """Sums told in an invented unit."""
    what = rng.choice(words.THINGS)

    def make(draw: Random) -> Task:
        a, b = draw.randint(1, 9), draw.randint(1, 9)
        question = f"Count in {tag}: {a} and {b} {what}."
        return Task(question, f"{a}+{b}={a + b}. Answer: {a + b} {unit}", final(f"{a + b} {unit}"))

    return make


@kind
def operator(rng: Random, _tag: str, _one: str, _two: str, _three: str, operator: str) -> Make:
    """An invented sign between two numbers; larger first, so that differences stay above 0."""
    rule = RULES[rng.choice(list(RULES))]

    def make(draw: Random) -> Task:
        a, b = draw.sample(range(1, 10), 2)
        chain, value = rule(*((max(a, b), min(a, b)) if rule is RULES["difference"] else (a, b)))
        shown = (max(a, b), min(a, b)) if rule is RULES["difference"] else (a, b)
        return Task(f"{shown[0]} {operator} {shown[1]} = ?", f"{chain}Answer: {value}", number(value))

    return make


@kind
def code(rng: Random, verb: str, _one: str, _two: str, _three: str, operator: str) -> Make:
    """A function whose operator has an invented name."""
    sign = rng.choice(list(MEANINGS))

    def make(draw: Random) -> Task:
        name, k = draw.choice(words.FUNCTIONS), draw.randint(2, 9)
        body = f"x {sign} {k}"
        tests = "\n".join(f"assert {name}({x}) == {_value(x, sign, k)!r}" for x in (k - 1, k, k + 1, 0))
        payload = {"entry_point": name, "tests": tests, "setup": ""}
        answer = f"def {name}(x):\n    return {body}"
        return Task(f"Define {name}(x) to return x {verb} {k}.", answer, {"kind": "python_tests", "payload": payload})

    return make


def _value(x: int, sign: str, k: int) -> int | bool:
    return {"+": x + k, "-": x - k, "*": x * k, ">": x > k, "<": x < k, "==": x == k}[sign]
