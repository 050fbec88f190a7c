"""School mathematics in one to three steps, each a fact about small numbers."""

from __future__ import annotations

from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task
from cogumi_utils.data.skills.specialist.forms import solved

REGISTRY = Registry("math")
skill = REGISTRY.skill
LETTERS = ("x", "y", "n", "p", "u", "w")


def _ask(rng: Random, wanted: str) -> str:
    return rng.choice((f"What is {wanted}?", f"Find {wanted}.", f"Give me {wanted}."))


@skill()
def fraction_of(rng: Random, level: int) -> Task:
    """Level 1: parts of up to 4, 2: up to 9, 3: several such parts."""
    what, part = rng.choice(words.THINGS), rng.randint(1, 9)
    lower = rng.randint(*((2, 4), (2, 9), (3, 5))[level - 1])
    upper = rng.randint(2, lower - 1) if level == 3 else 1
    whole = lower * part
    chain = f"{whole}/{lower}={part}."
    if upper > 1:
        chain += f" {part}*{upper}={part * upper}."
    return solved(_ask(rng, f"{upper}/{lower} of {whole} {what}"), chain, part * upper)


@skill()
def percent_of(rng: Random, level: int) -> Task:
    """Level 1: 10 percent, 2: 50 percent, 3: 20 to 90 percent."""
    what, n, tens = rng.choice(words.THINGS), rng.randint(1, (99, 20, 9)[level - 1]), rng.randint(2, 9)
    share, whole, chain, part = (
        (10, 10 * n, f"{10 * n}/10={n}.", n),
        (50, 2 * n, f"{2 * n}/2={n}.", n),
        (10 * tens, 10 * n, f"{10 * n}/10={n}. {n}*{tens}={n * tens}.", n * tens),
    )[level - 1]
    return solved(_ask(rng, f"{share} percent of {whole} {what}"), chain, part)


@skill()
def remainder(rng: Random, level: int) -> Task:
    """The level bounds how often the divisor goes into the number: 3, 6, 9 times."""
    what, place, by = rng.choice(words.THINGS), rng.choice(words.PLACES), rng.randint(2, 9)
    times, rest = rng.randint(1, (3, 6, 9)[level - 1]), rng.randrange(by)
    whole = by * times + rest
    question = f"{whole} {what}, {by} in each {place}. How many {what} are left over?"
    return solved(question, f"{by}*{times}={by * times}. {whole}-{by * times}={rest}.", rest)


@skill()
def precedence(rng: Random, level: int) -> Task:
    """Level 1 and 2: a product before a sum, 3: brackets first."""
    most = (3, 5, 5)[level - 1]
    a, b, c = rng.randint(1, 9), rng.randint(2, most), rng.randint(2, most)
    if level == 3:
        a = rng.randint(1, 9 - b)
        return solved(
            _ask(rng, f"({a}+{b})*{c}"), f"{a}+{b}={a + b}. {a + b}*{c}={(a + b) * c}.", (a + b) * c
        )  # fmt: skip
    text = rng.choice((f"{a}+{b}*{c}", f"{b}*{c}+{a}"))
    return solved(_ask(rng, text), f"{b}*{c}={b * c}. {b * c}+{a}={b * c + a}.", b * c + a)


@skill()
def equation(rng: Random, level: int) -> Task:
    """Level 1: x+a=b, 2: x-a=b, 3: a*x=b."""
    x, a, value = rng.choice(LETTERS), rng.randint(2, 9), rng.randint(1, 9)
    left, right, undone = (
        (f"{x}+{a}", value + a, f"{value + a}-{a}"),
        (f"{x}-{a}", value, f"{value}+{a}"),
        (f"{a}*{x}", a * value, f"{a * value}/{a}"),
    )[level - 1]
    value = value + a if level == 2 else value
    return solved(f"{rng.choice(('Solve', 'Find'))} {x} in {left}={right}.", f"{x}={undone}={value}.", value)


@skill()
def mean_of_three(rng: Random, level: int) -> Task:
    """The level bounds the three numbers: 3, 6, 9."""
    (p, q, r), what, most = rng.sample(words.PEOPLE, 3), rng.choice(words.THINGS), (3, 6, 9)[level - 1]
    a, b = rng.randint(1, most), rng.randint(1, most)
    c = rng.choice([c for c in range(1, most + 1) if (a + b + c) % 3 == 0])
    total = a + b + c
    question = f"{p} has {a} {what}, {q} has {b}, {r} has {c}. What is the mean?"
    return solved(question, f"{a}+{b}={a + b}. {a + b}+{c}={total}. {total}/3={total // 3}.", total // 3)


@skill()
def perimeter(rng: Random, level: int) -> Task:
    """The level bounds the sides: 3, 6, 9."""
    room, most = rng.choice(words.ROOMS), (3, 6, 9)[level - 1]
    a, b, colour = rng.randint(1, most), rng.randint(1, most), rng.choice(words.COLOURS)
    question = f"The {colour} {room} is {a} by {b} steps. How many steps is it all around?"
    return solved(question, f"{a}+{b}={a + b}. {a + b}*2={2 * (a + b)}.", 2 * (a + b))
