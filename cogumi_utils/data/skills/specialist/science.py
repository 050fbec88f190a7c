"""Science in closed lists and laws of one product: elements, units, water, current, density, speed, food chains."""

from __future__ import annotations

from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task, exact
from cogumi_utils.data.skills.specialist.forms import decided, solved

REGISTRY = Registry("science")
skill = REGISTRY.skill
ELEMENTS = (
    ("iron", "Fe"), ("gold", "Au"), ("silver", "Ag"), ("tin", "Sn"), ("lead", "Pb"), ("zinc", "Zn"), ("neon", "Ne"),
    ("argon", "Ar"), ("helium", "He"), ("carbon", "C"), ("oxygen", "O"), ("copper", "Cu"), ("sodium", "Na"),
    ("nickel", "Ni"), ("iodine", "I"), ("boron", "B"),
)  # fmt: skip
UNITS = (("km", "m", 1000), ("m", "cm", 100), ("cm", "mm", 10), ("kg", "g", 1000), ("l", "ml", 1000))
EATS = {
    "fox": ("hen", "hare", "mouse"), "hawk": ("hen", "snake", "mouse"), "owl": ("mouse", "frog"),
    "cat": ("mouse", "fish", "bird"), "snake": ("mouse", "frog"), "bear": ("fish",), "hen": ("worm", "fly"),
    "bird": ("worm", "fly"), "frog": ("fly", "worm"), "fish": ("fly", "worm"), "mouse": ("corn", "grass"),
    "hare": ("grass",), "worm": ("leaf",), "fly": ("leaf",),
}  # fmt: skip


def _chains(length: int) -> list[tuple[str, ...]]:
    """All food chains of that many members, eaters first."""
    chains = [(eater,) for eater in EATS]
    for _ in range(length - 1):
        chains = [(*chain, eaten) for chain in chains for eaten in EATS.get(chain[-1], ())]
    return chains


CHAINS = {length: _chains(length) for length in (3, 4)}


@skill()
def symbol(rng: Random, level: int) -> Task:
    """The symbol of an element or the element of a symbol; the level is no harder one."""
    who, (name, sign) = rng.choice(words.PEOPLE), rng.choice(ELEMENTS)
    given, kind, found = rng.choice(((name, "symbol", sign), (sign, "name", name)))
    question = rng.choice((f"{who} asks for the {kind} of {given}.", f"Tell {who} the {kind} of {given}."))
    answer = f"{who}, the {kind} of {given} is {found}."
    return Task(question, answer, exact(answer))


@skill()
def units(rng: Random, level: int) -> Task:
    """Level 1: one digit into the smaller unit, 2: two digits, 3: back into the larger unit."""
    big, small, factor = rng.choice(UNITS)
    n = rng.randint(*((1, 9), (10, 99), (1, 99))[level - 1])
    lead, end = rng.choice((("How many", "?"), ("Tell me how many", ".")))
    if level == 3:
        return solved(f"{lead} {big} are {n * factor} {small}{end}", f"{n * factor}/{factor}={n}.", n)
    return solved(f"{lead} {small} are {n} {big}{end}", f"{n}*{factor}={n * factor}.", n * factor)


@skill()
def state(rng: Random, level: int) -> Task:
    """Ice, water or steam. The level brings the temperature nearer to the borders: by 30, 10, 1 degrees."""
    room, place, margin = rng.choice(words.ROOMS), rng.choice(words.PLACES), (30, 10, 1)[level - 1]
    kind = rng.choice(("ice", "water", "steam"))
    low, high = {"ice": (-50, -margin), "water": (margin, 100 - margin), "steam": (100 + margin, 199)}[kind]
    degrees = rng.randint(low, high)
    chain = {"ice": f"{degrees}<0.", "water": f"0<{degrees}<100.", "steam": f"100<{degrees}."}[kind]
    question = f"The {place} in the {room} holds H2O at {degrees} degrees. Is it ice, water or steam?"
    return decided(question, chain, kind)


@skill()
def ohm(rng: Random, level: int) -> Task:
    """Ohm's law. Level 1: volts, 2: amperes, 3: ohms are asked for."""
    item, amps, ohms = rng.choice(words.ITEMS), rng.randint(1, 9), rng.randint(1, 9)
    volts = amps * ohms
    told, asked, chain, answer = (
        (f"{amps} amp and {ohms} ohm", "volt", f"{amps}*{ohms}={volts}.", volts),
        (f"{volts} volt and {ohms} ohm", "amp", f"{volts}/{ohms}={amps}.", amps),
        (f"{volts} volt and {amps} amp", "ohm", f"{volts}/{amps}={ohms}.", ohms),
    )[level - 1]
    return solved(f"The {item} has {told}. How many {asked} is that?", chain, answer)


@skill()
def density(rng: Random, level: int) -> Task:
    """Mass by volume; the level bounds both: 3, 6, 9."""
    item, colour, most = rng.choice(words.ITEMS), rng.choice(words.COLOURS), (3, 6, 9)[level - 1]
    volume, result = rng.randint(1, most), rng.randint(1, most)
    question = f"A {colour} {item} of {volume} ml has a mass of {volume * result} g. How many g is 1 ml?"
    return solved(question, f"{volume * result}/{volume}={result}.", result)


@skill()
def speed(rng: Random, level: int) -> Task:
    """Level 1: the speed, 2: the way, 3: the time is asked for."""
    who, hours, fast = rng.choice(words.PEOPLE), rng.randint(1, 9), rng.randint(1, 9)
    km = hours * fast
    question, chain, answer = (
        (f"{who} walks {km} km in {hours} hours. How many km an hour is that?", f"{km}/{hours}={fast}.", fast),
        (f"{who} walks {fast} km an hour for {hours} hours. How many km is that?", f"{fast}*{hours}={km}.", km),
        (f"{who} walks {km} km at {fast} km an hour. How many hours is that?", f"{km}/{fast}={hours}.", hours),
    )[level - 1]
    return solved(question, chain, answer)


@skill()
def food_chain(rng: Random, level: int) -> Task:
    """Level 1: a chain of three in order, 2: of three in any order, 3: of four in any order."""
    who, chain = rng.choice(words.PEOPLE), rng.choice(CHAINS[4 if level == 3 else 3])
    links = [f"the {a} eats the {b}" for a, b in zip(chain, chain[1:], strict=False)]
    if level > 1:
        rng.shuffle(links)
    asked, answer = rng.choice((("first", chain[0]), ("last", chain[-1])))
    return decided(f"{who} says: {', '.join(links)}. Who is {asked}?", f"{'>'.join(chain)}.", answer)
