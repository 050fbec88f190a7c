"""Mathematics beyond school's first years, cut down to facts about small numbers."""

from __future__ import annotations

from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task
from cogumi_utils.data.skills.specialist.forms import decided, solved

REGISTRY = Registry("hard_math")
skill = REGISTRY.skill
LETTERS = ("x", "y", "t", "u", "w")
BITWISE = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}


def _ask(rng: Random, wanted: str) -> str:
    return rng.choice((f"What is {wanted}?", f"Find {wanted}.", f"Give me {wanted}."))


@skill()
def modular(rng: Random, level: int) -> Task:
    """Level 1: a sum modulo 5 to 9, 2: a product modulo 10, 3: a product modulo 5."""
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    if level == 1:
        m = rng.randint(5, 9)
        a, b = rng.randrange(m), rng.randrange(m)
        chain = f"{a}+{b}={a + b}. " + (f"{a + b}-{m}={a + b - m}." if a + b >= m else f"{a + b}<{m}.")
        return solved(_ask(rng, f"({a}+{b}) mod {m}"), chain, (a + b) % m)
    digit, m = a * b % 10, (10, 5)[level - 2]
    chain = f"{a}*{b}={a * b}. The last digit is {digit}."
    if m == 5:
        chain += f" {digit}-5={digit - 5}." if digit >= 5 else f" {digit}<5."
    return solved(_ask(rng, f"({a}*{b}) mod {m}"), chain, a * b % m)


@skill()
def determinant(rng: Random, level: int) -> Task:
    """Of a 2x2 matrix, never negative; the level bounds its entries: 3, 4, 5."""
    most = (3, 4, 5)[level - 1]
    a, b, c, d = (rng.randint(1, most) for _ in range(4))
    if a * d < b * c:
        a, b, c, d = b, a, d, c  # its columns exchanged: the sign turns
    chain = f"{a}*{d}={a * d}. {b}*{c}={b * c}. {a * d}-{b * c}={a * d - b * c}."
    return solved(_ask(rng, f"det [[{a}, {b}], [{c}, {d}]]"), chain, a * d - b * c)


@skill()
def next_term(rng: Random, level: int) -> Task:
    """Level 1: a sequence that grows by a step, 2: that falls by one, 3: that doubles."""
    who, step = rng.choice(words.PEOPLE), rng.randint(1, 5)
    start = (rng.randint(1, 9), rng.randint(4 * step, 4 * step + 9), rng.randint(1, 6))[level - 1]
    terms = [(start + i * step, start - i * step, start * 2**i)[level - 1] for i in range(5)]
    change = (f"+{step}", f"-{step}", "*2")[level - 1]
    question = f"{who} counts {', '.join(map(str, terms[:4]))}. What is the next number?"
    return solved(question, f"{terms[0]}{change}={terms[1]}. {terms[3]}{change}={terms[4]}.", terms[4])


@skill()
def power_rule(rng: Random, level: int) -> Task:
    """Derivative of a monomial. Level 1: coefficient up to 4, 2: up to 9, 3: with a constant term."""
    x, a, n = rng.choice(LETTERS), rng.randint(2, (4, 9, 9)[level - 1]), rng.randint(2, 9)
    constant = f"+{rng.randint(1, 9)}" if level == 3 else ""
    power = f"{x}^{n - 1}" if n > 2 else x
    chain = f"{a}*{n}={a * n}. {n}-1={n - 1}."
    return decided(_ask(rng, f"the slope of {a}{x}^{n}{constant} by {x}"), chain, f"{a * n}{power}")


@skill()
def bitwise(rng: Random, level: int) -> Task:
    """Two numbers of `level` + 2 binary digits, digit by digit."""
    width, (name, apply) = level + 2, rng.choice(list(BITWISE.items()))
    a, b = rng.getrandbits(width), rng.getrandbits(width)
    left, right, result = (f"{value:0{width}b}" for value in (a, b, apply(a, b)))
    pairs = " ".join(map("".join, zip(left, right, strict=True)))
    return decided(_ask(rng, f"{left} {name} {right}"), f"{pairs}.", result)


@skill()
def choices(rng: Random, level: int) -> Task:
    """Binomial coefficients. Level 1: 1 of n, 2: 2 of n, 3: all but 2 of n."""
    who, what, n = rng.choice(words.PEOPLE), rng.choice(words.THINGS), rng.randint(4 + (level == 3), 9)
    k = (1, 2, n - 2)[level - 1]
    pairs = f"{n}*{n - 1}={n * (n - 1)}. {n * (n - 1)}/2={n * (n - 1) // 2}."
    chain = (f"1 of {n}.", f"2 of {n}. {pairs}", f"{n}-{k}=2. {pairs}")[level - 1]
    question = f"How many ways are there for {who} to pick {k} of {n} {what}?"
    return solved(question, chain, n if level == 1 else n * (n - 1) // 2)


@skill()
def vectors(rng: Random, level: int) -> Task:
    """Level 1: the sum of two vectors, 2: a difference, 3: a multiple."""
    (a, b), (c, d) = ((rng.randint(1, 9), rng.randint(1, 9)) for _ in range(2))
    if level == 1:
        text, sign, left, right = f"({a}, {b}) plus ({c}, {d})", "+", (a, b), (c, d)
        result = (a + c, b + d)
    elif level == 2:
        text, sign, left, right = f"({a + c}, {b + d}) minus ({c}, {d})", "-", (a + c, b + d), (c, d)
        result = (a, b)
    else:
        text, sign, left, right = f"{c} times ({a}, {b})", "*", (c, c), (a, b)
        result = (c * a, c * b)
    steps = (f"{p}{sign}{q}={r}." for p, q, r in zip(left, right, result, strict=True))
    return decided(_ask(rng, text), " ".join(steps), f"({result[0]}, {result[1]})")
