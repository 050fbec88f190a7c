"""Python functions of more than one idea: defaults, two statements, nested conditions, dicts, sorting, formatting."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task
from cogumi_utils.data.skills.code import _constant, _function, _lead

REGISTRY = Registry("code")
skill = REGISTRY.skill
VERBS = (("plus", "+"), ("minus", "-"), ("times", "*"))


@skill()
def default_value(rng: Random, level: int) -> Task:
    name, k, (verb, sign) = rng.choice(words.FUNCTIONS), _constant(rng, level), rng.choice(VERBS)
    question = f"{_lead(rng, name, 'x, n')} x {verb} n, where n is {k} if not given."
    return _function(question, f"{name}(x, n={k})", f"x {sign} n", ("5", "5, 2", "-3", "0, 4"))


@skill()
def two_steps(rng: Random, level: int) -> Task:
    """Two statements; the tests are those of the same work in one expression."""
    name, j, k = rng.choice(words.FUNCTIONS), _constant(rng, level), _constant(rng, level)
    (verb, sign), (then_verb, then_sign) = rng.sample(VERBS, 2)
    question = f"{_lead(rng, name, 'x')} x {verb} {j}, then all of it {then_verb} {k}."
    task = _function(question, f"{name}(x)", f"(x {sign} {j}) {then_sign} {k}", ("0", "7", "-3", "1"))
    return replace(task, answer=f"def {name}(x):\n    y = x {sign} {j}\n    return y {then_sign} {k}")


@skill()
def three_way(rng: Random, level: int) -> Task:
    name, low = rng.choice(words.FUNCTIONS), _constant(rng, level)
    high = low + rng.randint(2, 9)
    a, b, c = rng.sample(words.LABELS, 3)
    question = f"{_lead(rng, name, 'x')} {a} if x is below {low}, {b} if x is above {high}, else {c}."
    body = f"'{a}' if x < {low} else '{b}' if x > {high} else '{c}'"
    return _function(question, f"{name}(x)", body, (str(low - 1), str(low), str(high), str(high + 1)))


@skill()
def make_dict(rng: Random, level: int) -> Task:
    name, pair, (key, other) = rng.choice(words.FUNCTIONS), rng.choice(words.PAIRS), rng.sample(words.TAGS, 2)
    a, b = rng.sample(pair, 2)
    question = f"{_lead(rng, name, ', '.join(pair))} a dict with {a} under {key} and {b} under {other}."
    body = f"{{'{key}': {a}, '{other}': {b}}}"
    return _function(question, f"{name}({', '.join(pair)})", body, ("1, 2", "'x', [3]"))


@skill()
def sort_by(rng: Random, level: int) -> Task:
    name, v, tag = rng.choice(words.FUNCTIONS), rng.choice(words.LISTS), rng.choice(words.TAGS)
    phrase, more = rng.choice((("", ""), (", largest first", ", reverse=True")))
    question = f"{_lead(rng, name, v)} the dicts of {v} in the order of {tag}{phrase}."
    calls = (f"[{{'{tag}': 3, 'q': 1}}, {{'{tag}': 9, 'q': 0}}, {{'{tag}': 1, 'q': 2}}]", "[]")
    return _function(question, f"{name}({v})", f"sorted({v}, key=lambda e: e['{tag}']{more})", calls)


@skill()
def template(rng: Random, level: int) -> Task:
    """A formatted string with the argument at its head, in its middle or at its end."""
    name, parts = rng.choice(words.FUNCTIONS), rng.sample(words.TAGS, 2)
    parts.insert(rng.randint(0, 2), "x")
    question = f"{_lead(rng, name, 'x')} {parts[0]}, {parts[1]} and {parts[2]} in one line of text."
    body = " ".join("{x}" if part == "x" else part for part in parts)
    return _function(question, f"{name}(x)", f"f'{body}'", ("5", "'zzz'", "-1"))
