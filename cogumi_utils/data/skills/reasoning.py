"""Word problems with a worked chain, judged by the final answer."""

from __future__ import annotations

from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task, final, number

REGISTRY = Registry("reasoning")
skill = REGISTRY.skill


def _sum(question: str, chain: str, answer: int) -> Task:
    return Task(question, f"{chain} Answer: {answer}", number(answer))


def _who(question: str, chain: str, answer: str) -> Task:
    return Task(question, f"{chain} Answer: {answer}", final(answer))


@skill()
def gain(rng: Random, level: int) -> Task:
    who, what, a, b = rng.choice(words.PEOPLE), rng.choice(words.THINGS), rng.randint(1, 9), rng.randint(1, 9)
    verb = rng.choice(("gets", "buys", "finds"))
    return _sum(
        f"{who} has {a} {what} and {verb} {b} more. How many {what} does {who} have?", f"{a}+{b}={a + b}.", a + b
    )


@skill()
def loss(rng: Random, level: int) -> Task:
    who, what, a = rng.choice(words.PEOPLE), rng.choice(words.THINGS), rng.randint(2, 18)
    b = rng.randint(max(1, a - 9), min(a, 9))
    verb = rng.choice(("loses", "sells", "gives away"))
    return _sum(f"{who} has {a} {what} and {verb} {b}. How many {what} are left?", f"{a}-{b}={a - b}.", a - b)


@skill()
def double_step(rng: Random, level: int) -> Task:
    who, what, a, b = rng.choice(words.PEOPLE), rng.choice(words.THINGS), rng.randint(1, 9), rng.randint(1, 9)
    c = rng.randint(max(1, a + b - 9), min(a + b, 9))
    question = f"{who} has {a} {what}, gets {b} more, then loses {c}. How many {what} are left?"
    return _sum(question, f"{a}+{b}={a + b}. {a + b}-{c}={a + b - c}.", a + b - c)


@skill()
def where(rng: Random, level: int) -> Task:
    item, place, room = rng.choice(words.ITEMS), rng.choice(words.PLACES), rng.choice(words.ROOMS)
    question = f"The {item} is in the {place}. The {place} is in the {room}. Which room holds the {item}?"
    return _who(question, f"{item} in {place}, {place} in {room}.", room)


@skill()
def tallest(rng: Random, level: int) -> Task:
    a, b, c = rng.sample(words.PEOPLE, 3)
    facts = [f"{a} is taller than {b}.", f"{b} is taller than {c}."]
    asked, answer = rng.choice((("tallest", a), ("shortest", c)))
    return _who(f"{' '.join(facts)} Who is the {asked}?", f"{a}>{b}>{c}.", answer)


@skill()
def parity(rng: Random, level: int) -> Task:
    n = rng.randint(10, (99, 999, 9999)[level - 1])
    kind = "odd" if n % 2 else "even"
    return _who(
        rng.choice((f"Is {n} odd or even?", f"Is the number {n} even or odd?")), f"The last digit is {n % 10}.", kind
    )


@skill()
def age(rng: Random, level: int) -> Task:
    young, old = rng.sample(words.PEOPLE, 2)
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return _sum(f"{young} is {a} and {old} is {b} years older. How old is {old}?", f"{a}+{b}={a + b}.", a + b)


@skill()
def walk(rng: Random, level: int) -> Task:
    who, place, room = rng.choice(words.PEOPLE), rng.choice(words.PLACES), rng.choice(words.ROOMS)
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    question = f"{who} walks {a} steps to the {place} and {b} steps to the {room}. How many steps in all?"
    return _sum(question, f"{a}+{b}={a + b}.", a + b)


@skill()
def arrival(rng: Random, level: int) -> Task:
    a, b = rng.sample(words.PEOPLE, 2)
    told, early, late = rng.choice(((f"{a} comes before {b}", a, b), (f"{a} comes after {b}", b, a)))
    asked, answer = rng.choice((("first", early), ("last", late)))
    return _who(f"{told}. Who comes {asked}?", f"{early}, {late}.", answer)


@skill()
def attribute(rng: Random, level: int) -> Task:
    who, colour = rng.choice(words.PEOPLE), rng.choice(words.COLOURS)
    item, room = rng.choice(words.ITEMS), rng.choice(words.ROOMS)
    question = f"{who} keeps a {colour} {item} in the {room}."
    asked, answer = rng.choice(((f"Which colour has the {item}?", colour), (f"Where is the {item}?", room)))
    return _who(f"{question} {asked}", f"{colour} {item}, {room}.", answer)


@skill(held_back=True)
def product(rng: Random, level: int) -> Task:
    """81 one-digit products."""
    what, place, a, b = rng.choice(words.THINGS), rng.choice(words.PLACES), rng.randint(1, 9), rng.randint(1, 9)
    question = f"There are {a} rows of {b} {what} in the {place}. How many {what} are there in all?"
    return _sum(question, f"{a}*{b}={a * b}.", a * b)


@skill(held_back=True)
def chain_of_four(rng: Random, level: int) -> Task:
    a, b, c, d = rng.sample(words.PEOPLE, 4)
    facts = f"{a} is older than {b}. {b} is older than {c}. {c} is older than {d}."
    asked, answer = rng.choice((("second oldest", b), ("second youngest", c)))
    return _who(f"{facts} Who is the {asked}?", f"{a}>{b}>{c}>{d}.", answer)


@skill(held_back=True)
def spend(rng: Random, level: int) -> Task:
    """Change from a price list: a difference that has to be set up from the words."""
    item, other = rng.sample(words.ITEMS, 2)
    who, a, b = rng.choice(words.PEOPLE), rng.randint(1, 9), rng.randint(1, 9)
    question = f"A {item} costs {a} coins, a {other} costs {b} coins. {who} buys both. What does {who} pay?"
    return _sum(question, f"{a}+{b}={a + b}.", a + b)


@skill(lasting=True)
def big_sum(rng: Random, level: int) -> Task:
    """Two-digit addition: 8,100 sums and a carry, more than a student of this size learns by heart."""
    who, what, a, b = rng.choice(words.PEOPLE), rng.choice(words.THINGS), rng.randint(10, 99), rng.randint(10, 99)
    return _sum(f"{who} has {a} {what} and wins {b} more. How many {what} is that?", f"{a}+{b}={a + b}.", a + b)
