"""Puzzles over days, directions, lists and lines of people, with a worked chain and a final word or count."""

from __future__ import annotations

from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task
from cogumi_utils.data.skills.specialist.forms import decided, solved

REGISTRY = Registry("reasoning")
skill = REGISTRY.skill
DIRECTIONS = ("north", "east", "south", "west")
TURNS = (("right", 1), ("left", -1), ("back", 2))  # quarter turns, clockwise
KINDS = (words.COLOURS, words.CITIES, words.DAYS, words.PEOPLE, words.ROOMS, words.GENRES)


@skill()
def days_on(rng: Random, level: int) -> Task:
    """As many days before or after a day as the level says, or fewer."""
    who, start, n = rng.choice(words.PEOPLE), rng.randrange(7), rng.randint(1, level)
    phrase, step = rng.choice((("after", 1), ("before", -1)))
    passed = [words.DAYS[(start + step * i) % 7] for i in range(1, n + 1)]
    verb = rng.choice(("comes", "plays"))
    count = f"{n} day{'s' if n > 1 else ''}"
    question = f"{who} {verb} {count} {phrase} {words.DAYS[start]}. Which day is that?"
    return decided(question, f"{', '.join(passed)}.", passed[-1])


@skill()
def turn(rng: Random, level: int) -> Task:
    """`level` turns on the spot."""
    who, at = rng.choice(words.PEOPLE), rng.randrange(4)
    turns = rng.choices(TURNS, k=level)
    seen = [at]
    for _, quarters in turns:
        seen.append((seen[-1] + quarters) % 4)
    path = [DIRECTIONS[i] for i in seen]
    told = ", then ".join(name for name, _ in turns)
    return decided(f"{who} looks {path[0]} and turns {told}. Where does {who} look?", f"{'>'.join(path)}.", path[-1])


@skill()
def truth(rng: Random, level: int) -> Task:
    """A claim about a told fact; from level 2 on it may be denied."""
    colour, item, room = rng.choice(words.COLOURS), rng.choice(words.ITEMS), rng.choice(words.ROOMS)
    fact, kind, link = rng.choice(((colour, words.COLOURS, ""), (room, words.ROOMS, "in the ")))
    claimed = fact if rng.random() < 0.5 else rng.choice([other for other in kind if other != fact])
    denied = level > 1 and rng.random() < 0.5
    claim = f"the {item} is {'not ' if denied else ''}{link}{claimed}"
    answer = "true" if (claimed == fact) != denied else "false"
    chain = f"{fact} is {'' if claimed == fact else 'not '}{claimed}."
    return decided(f"A {colour} {item} is in the {room}. True or false: {claim}?", chain, answer)


@skill()
def tally(rng: Random, level: int) -> Task:
    """How often one word stands in a list of `level` + 3."""
    who, some = rng.choice(words.PEOPLE), rng.sample(words.COLOURS, 3)
    said = rng.choices(some, k=level + 3)
    asked = rng.choice(said)
    question = f"{who} says {', '.join(said)}. How many times does {who} say {asked}?"
    return solved(question, f"{', '.join(word for word in said if word == asked)}.", said.count(asked))


@skill()
def odd_one_out(rng: Random, level: int) -> Task:
    """One word of another kind among `level` + 1 of one kind."""
    kind, other = rng.sample(KINDS, 2)
    alike, odd = rng.sample(kind, level + 1), rng.choice(other)
    shown = list(alike)
    shown.insert(rng.randint(0, len(alike)), odd)
    return decided(f"Which one is not like the others: {', '.join(shown)}?", f"{', '.join(alike)}.", odd)


@skill()
def neighbour(rng: Random, level: int) -> Task:
    """Who stands beside whom in a line of `level` + 2."""
    line = rng.sample(words.PEOPLE, level + 2)
    first = rng.randrange(len(line) - 1)
    before, after = line[first], line[first + 1]
    phrase, asked, answer = rng.choice((("before", after, before), ("after", before, after)))
    question = f"{', '.join(line)} stand in a line. Who is right {phrase} {asked}?"
    return decided(question, f"{before}, {after}.", answer)
