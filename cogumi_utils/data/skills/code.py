"""Short Python functions, judged by running their tests in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task

REGISTRY = Registry("code")
skill = REGISTRY.skill


def _function(question: str, signature: str, body: str, calls: Sequence[str]) -> Task:
    """A task whose tests compare the function with the reference body on `calls` (argument lists as text)."""
    name = signature.split("(")[0]
    code = f"def {signature}:\n    return {body}"
    scope: dict = {}
    exec(compile(code, name, "exec"), scope)  # our own template, never a model's text
    tests = "\n".join(f"assert {name}({args}) == {eval(f'{name}({args})', scope)!r}" for args in calls)
    return Task(question, code, {"kind": "python_tests", "payload": {"entry_point": name, "tests": tests, "setup": ""}})


def _constant(rng: Random, level: int) -> int:
    """Level 1: one digit, 2: up to 50, 3: up to 99."""
    return rng.randint(2, (9, 50, 99)[level - 1])


def _lead(rng: Random, name: str, args: str) -> str:
    return rng.choice((f"Write a function {name}({args}) that returns", f"Define {name}({args}) to return"))


@skill()
def shift(rng: Random, level: int) -> Task:
    name, k = rng.choice(words.FUNCTIONS), _constant(rng, level)
    phrase, body = rng.choice(((f"x plus {k}", f"x + {k}"), (f"x minus {k}", f"x - {k}"), (f"x times {k}", f"x * {k}")))
    return _function(f"{_lead(rng, name, 'x')} {phrase}.", f"{name}(x)", body, ("0", "7", "-3", str(k)))


@skill()
def pair(rng: Random, level: int) -> Task:
    name, (a, b) = rng.choice(words.FUNCTIONS), rng.choice(words.PAIRS)
    phrase, body = rng.choice((
        (f"the sum of {a} and {b}", f"{a} + {b}"), (f"the product of {a} and {b}", f"{a} * {b}"),
        (f"{a} minus {b}", f"{a} - {b}"), (f"the larger of {a} and {b}", f"max({a}, {b})"),
        (f"the smaller of {a} and {b}", f"min({a}, {b})"),
    ))  # fmt: skip
    calls = ("2, 5", "5, 2", "-1, -4")
    return _function(f"{_lead(rng, name, f'{a}, {b}')} {phrase}.", f"{name}({a}, {b})", body, calls)


@skill()
def compare(rng: Random, level: int) -> Task:
    name, k = rng.choice(words.FUNCTIONS), _constant(rng, level)
    phrase, sign = rng.choice((("above", ">"), ("below", "<"), ("equal to", "==")))
    calls = (str(k), str(k + 1), str(k - 1), str(k + 5), str(k - 5))
    return _function(f"{_lead(rng, name, 'x')} True if x is {phrase} {k}.", f"{name}(x)", f"x {sign} {k}", calls)


@skill()
def reduce(rng: Random, level: int) -> Task:
    name, v = rng.choice(words.FUNCTIONS), rng.choice(words.LISTS)
    phrase, body = rng.choice((
        (f"the sum of {v}", f"sum({v})"), (f"the length of {v}", f"len({v})"),
        (f"the largest item of {v}", f"max({v})"), (f"the smallest item of {v}", f"min({v})"),
        (f"the first item of {v}", f"{v}[0]"), (f"the last item of {v}", f"{v}[-1]"),
    ))  # fmt: skip
    return _function(f"{_lead(rng, name, v)} {phrase}.", f"{name}({v})", body, ("[3, 1, 2]", "[5]", "[4, 4, 9, 8]"))


@skill()
def each(rng: Random, level: int) -> Task:
    name, k = rng.choice(words.FUNCTIONS), _constant(rng, level)
    verb, sign = rng.choice((("plus", "+"), ("minus", "-"), ("times", "*")))
    question = f"{_lead(rng, name, 'v')} each item of v {verb} {k}."
    return _function(question, f"{name}(v)", f"[x {sign} {k} for x in v]", ("[1, 2]", "[]", "[9]"))


@skill()
def keep(rng: Random, level: int) -> Task:
    name, k = rng.choice(words.FUNCTIONS), _constant(rng, level)
    phrase, sign = rng.choice((("above", ">"), ("below", "<")))
    question = f"{_lead(rng, name, 'v')} the items of v {phrase} {k}."
    calls = (f"[{k}, {k + 1}, {k - 1}]", "[]", f"[{k + 5}, {k - 5}]")
    return _function(question, f"{name}(v)", f"[x for x in v if x {sign} {k}]", calls)


@skill()
def text(rng: Random, level: int) -> Task:
    name, s = rng.choice(words.FUNCTIONS), rng.choice(words.STRINGS)
    phrase, body = rng.choice((
        (f"{s} in upper case", f"{s}.upper()"), (f"{s} in lower case", f"{s}.lower()"),
        (f"{s} reversed", f"{s}[::-1]"), (f"{s} without outer spaces", f"{s}.strip()"),
        (f"the words of {s}", f"{s}.split()"), (f"{s} twice", f"{s} * 2"),
    ))  # fmt: skip
    return _function(f"{_lead(rng, name, s)} {phrase}.", f"{name}({s})", body, ("' aB c '", "'x'", "'Go on'"))


@skill()
def has(rng: Random, level: int) -> Task:
    name, tag = rng.choice(words.FUNCTIONS), rng.choice(words.TAGS)
    phrase, body = rng.choice((
        (f"starts with {tag}", f"s.startswith('{tag}')"), (f"ends with {tag}", f"s.endswith('{tag}')"),
        (f"contains {tag}", f"'{tag}' in s"),
    ))  # fmt: skip
    calls = (f"'{tag}x'", f"'x{tag}'", f"'x{tag}x'", "'zzz'")
    return _function(f"{_lead(rng, name, 's')} True if s {phrase}.", f"{name}(s)", body, calls)


@skill()
def lookup(rng: Random, level: int) -> Task:
    name, tag, d = rng.choice(words.FUNCTIONS), rng.choice(words.TAGS), rng.choice(words.DICTS)
    phrase, body = rng.choice((
        (f"the value of {tag} in {d}", f"{d}['{tag}']"), (f"the keys of {d}", f"list({d})"),
        (f"the values of {d}", f"list({d}.values())"), (f"the number of keys of {d}", f"len({d})"),
    ))  # fmt: skip
    calls = (f"{{'{tag}': 4, 'q': 1}}", f"{{'{tag}': 0}}")
    return _function(f"{_lead(rng, name, d)} {phrase}.", f"{name}({d})", body, calls)


@skill()
def branch(rng: Random, level: int) -> Task:
    name, k = rng.choice(words.FUNCTIONS), _constant(rng, level)
    yes, no = rng.sample(words.LABELS, 2)
    phrase, sign = rng.choice((("above", ">"), ("below", "<")))
    question = f"{_lead(rng, name, 'x')} {yes} if x is {phrase} {k}, else {no}."
    return _function(question, f"{name}(x)", f"'{yes}' if x {sign} {k} else '{no}'", (str(k), str(k + 1), str(k - 1)))


@skill(held_back=True)
def keep_total(rng: Random, level: int) -> Task:
    """Aggregate of a filtered list."""
    name, k = rng.choice(words.FUNCTIONS), _constant(rng, level)
    phrase, sign = rng.choice((("above", ">"), ("below", "<")))
    question = f"{_lead(rng, name, 'v')} the sum of the items of v {phrase} {k}."
    calls = (f"[{k}, {k + 1}, {k - 1}, {k + 7}, {k - 4}]", f"[{k + 3}, {k - 1}]", "[]")
    return _function(question, f"{name}(v)", f"sum(x for x in v if x {sign} {k})", calls)


@skill(held_back=True)
def between(rng: Random, level: int) -> Task:
    name, low = rng.choice(words.FUNCTIONS), _constant(rng, level)
    high = low + rng.randint(2, 9)
    question = f"{_lead(rng, name, 'x')} True if x is between {low} and {high}."
    calls = (str(low - 1), str(low + 1), str(high - 1), str(high + 1))
    return _function(question, f"{name}(x)", f"{low} < x < {high}", calls)


@skill(held_back=True)
def join(rng: Random, level: int) -> Task:
    name, tag, v = rng.choice(words.FUNCTIONS), rng.choice(words.TAGS), rng.choice(words.LISTS)
    question = f"{_lead(rng, name, v)} the strings of {v} joined by {tag}."
    return _function(question, f"{name}({v})", f"'{tag}'.join({v})", ("['a', 'b', 'c']", "['a']", "[]"))
