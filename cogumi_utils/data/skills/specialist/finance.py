"""Money in small numbers: interest, profit, exchange, budget, tax, break-even, bills."""

from __future__ import annotations

from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task
from cogumi_utils.data.skills.specialist.forms import decided, solved

REGISTRY = Registry("finance")
skill = REGISTRY.skill


@skill()
def interest(rng: Random, level: int) -> Task:
    """Simple interest. Level 1: rates and hundreds up to 3, 2: up to 9, 3: up to 3 for more than one year."""
    who, most, years = rng.choice(words.PEOPLE), (3, 9, 3)[level - 1], rng.randint(2, 5) if level == 3 else 1
    hundreds, rate = rng.randint(1, most), rng.randint(1, most)
    yearly = hundreds * rate
    chain = f"{hundreds}00/100={hundreds}. {hundreds}*{rate}={yearly}."
    chain += f" {yearly}*{years}={yearly * years}." if years > 1 else ""
    time = f"{years} years" if years > 1 else "a year"
    verb = rng.choice(("lends", "saves"))
    return solved(f"{who} {verb} {hundreds}00 coins at {rate} percent. What does {time} bring?", chain, yearly * years)


@skill()
def profit(rng: Random, level: int) -> Task:
    """Profit or loss, never none. Level 1: prices up to 9, 2: up to 18, 3: a fee comes on top."""
    who, item, fee = rng.choice(words.PEOPLE), rng.choice(words.ITEMS), rng.randint(1, 9) if level == 3 else 0
    paid = rng.randint(1, (9, 18, 9)[level - 1])
    cost, most = paid + fee, (9, 18, 18)[level - 1]
    got = rng.choice([price for price in range(max(1, cost - 9), min(cost + 9, most) + 1) if price != cost])
    chain = f"{paid}+{fee}={cost}. " if fee else ""
    chain += f"{got}-{cost}={got - cost}." if got > cost else f"{cost}-{got}={cost - got}."
    told = f"{who} buys a {item} for {paid}{f', pays {fee} more' if fee else ''} and sells it for {got}."
    return decided(f"{told} Profit or loss?", chain, f"{'profit' if got > cost else 'loss'} {abs(got - cost)}")


@skill()
def exchange(rng: Random, level: int) -> Task:
    """Level 1: rates and amounts up to 3, 2: up to 9, 3: back into the dearer money."""
    (a, b), most = rng.sample(words.CITIES, 2), (3, 9, 9)[level - 1]
    rate, n = rng.randint(2, most), rng.randint(1, most)
    told = f"1 coin from {a} is {rate} from {b}."
    if level == 3:
        return solved(f"{told} How many from {a} are {rate * n} from {b}?", f"{rate * n}/{rate}={n}.", n)
    return solved(f"{told} How many from {b} are {n} from {a}?", f"{n}*{rate}={rate * n}.", rate * n)


@skill()
def budget(rng: Random, level: int) -> Task:
    """What is left after `level` payments."""
    who, bought, most = rng.choice(words.PEOPLE), rng.sample(words.ITEMS, level), (9, 6, 4)[level - 1]
    prices, left = [rng.randint(1, most) for _ in bought], rng.randint(1, 6)
    rest, chain = sum(prices) + left, []
    question = f"{who} may spend {rest} coins: " + ", ".join(
        f"{price} for a {item}" for price, item in zip(prices, bought, strict=True)
    )
    for price in prices:
        chain.append(f"{rest}-{price}={rest - price}.")
        rest -= price
    return solved(f"{question}. What is left?", " ".join(chain), left)


@skill()
def tax(rng: Random, level: int) -> Task:
    """Level 1: 10 percent on top, 2: 10 percent off, 3: 20 percent on top."""
    who, item, tens = rng.choice(words.PEOPLE), rng.choice(words.ITEMS), rng.randint(1, 4 if level == 3 else 9)
    price, share = 10 * tens, (10, 10, 20)[level - 1]
    part = 2 * tens if level == 3 else tens
    chain = f"{price}/10={tens}." + (f" {tens}*2={part}." if level == 3 else "")
    phrase, sign, pays = ("less", "-", price - part) if level == 2 else ("plus", "+", price + part)
    question = f"{who} buys a {item} for {price} coins {phrase} {share} percent. What does {who} pay?"
    return solved(question, f"{chain} {price}{sign}{part}={pays}.", pays)


@skill()
def break_even(rng: Random, level: int) -> Task:
    """Level 1: numbers up to 3, 2: up to 9, 3: each piece has a cost of its own."""
    who, what, most = rng.choice(words.PEOPLE), rng.choice(words.THINGS), (3, 9, 5)[level - 1]
    margin, n = rng.randint(1, most), rng.randint(2, most)
    fixed, each = margin * n, rng.randint(1, 4) if level == 3 else 0
    told = f"{who} pays {fixed} coins to sell {what}"
    told += f", {each} for each of them, at {margin + each}." if each else f" at {margin} each."
    chain = f"{margin + each}-{each}={margin}. " if each else ""
    return solved(f"{told} How many {what} pay for that?", f"{chain}{fixed}/{margin}={n}.", n)


@skill()
def invoice(rng: Random, level: int) -> Task:
    """Level 1: one line, 2: two lines of numbers up to 3, 3: two lines of numbers up to 4."""
    who, bought = rng.choice(words.PEOPLE), rng.sample(words.THINGS, 1 if level == 1 else 2)
    most = (9, 3, 4)[level - 1]
    lines = [(rng.randint(2, most), what, rng.randint(1, most)) for what in bought]
    products = [n * price for n, _, price in lines]
    chain = " ".join(f"{n}*{price}={n * price}." for n, _, price in lines)
    if len(lines) > 1:
        chain += f" {products[0]}+{products[1]}={sum(products)}."
    told = " and ".join(f"{n} {what} at {price}" for n, what, price in lines)
    return solved(f"Bill for {who}: {told}. What is it in all?", chain, sum(products))
