"""Plain chat whose answers can still be checked word by word."""

from __future__ import annotations

from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task, exact

REGISTRY = Registry("chat")
skill = REGISTRY.skill


def _say(question: str, answer: str) -> Task:
    return Task(question, answer, exact(answer))


@skill()
def greet(rng: Random, level: int) -> Task:
    who, city = rng.choice(words.PEOPLE), rng.choice(words.CITIES)
    question = rng.choice((f"Hello, I am {who} from {city}.", f"Hi! My name is {who}, I live in {city}."))
    return _say(question, f"Hello {who}, how is {city}?")


@skill()
def opposite(rng: Random, level: int) -> Task:
    word, other = rng.choice(words.OPPOSITES)[:: rng.choice((1, -1))]
    item = rng.choice(words.ITEMS)
    return _say(
        rng.choice((f"The {item} is not {word}. What is it?", f"What is a {item} if it is not {word}?")),
        f"The {item} is {other}.",
    )


@skill()
def capital(rng: Random, level: int) -> Task:
    country, city = rng.choice(words.CAPITALS)
    who = rng.choice(words.PEOPLE)
    question = rng.choice((f"{who} asks for the capital of {country}.", f"Tell {who} the capital of {country}."))
    return _say(question, f"{who}, the capital of {country} is {city}.")


@skill()
def quote(rng: Random, level: int) -> Task:
    who, a, item = rng.choice(words.PEOPLE), rng.choice(words.COLOURS), rng.choice(words.ITEMS)
    return _say(
        rng.choice((f"{who} says {a} {item}. Quote {who}.", f"{who} says {a} {item}. What did you hear?")),
        f"{who} says {a} {item}.",
    )


@skill()
def listing(rng: Random, level: int) -> Task:
    things = rng.sample(words.THINGS, min(level + 1, 3))
    return _say(f"Make a list of {', '.join(things)}.", "\n".join(f"- {thing}" for thing in things))


@skill()
def thanks(rng: Random, level: int) -> Task:
    who, item = rng.choice(words.PEOPLE), rng.choice(words.ITEMS)
    question = rng.choice((f"{who} gave me a {item}. Write a thank-you note.", f"Thank {who} for the {item}."))
    return _say(question, f"Dear {who}, thank you for the {item}!")


@skill()
def colour(rng: Random, level: int) -> Task:
    item, a = rng.choice(words.ITEMS), rng.choice(words.COLOURS)
    room = rng.choice(words.ROOMS)
    question = f"There is a {a} {item} in the {room}. Describe it in one sentence."
    return _say(question, f"The {item} in the {room} is {a}.")


@skill()
def polite(rng: Random, level: int) -> Task:
    who, what = rng.choice(words.PEOPLE), rng.choice(words.THINGS)
    question = rng.choice((f"Ask {who} for the {what}, politely.", f"How do I ask {who} for {what}?"))
    return _say(question, f"{who}, may I have the {what}, please?")


@skill(held_back=True)
def swap(rng: Random, level: int) -> Task:
    a, b = rng.sample(words.COLOURS + words.ITEMS, 2)
    return _say(f"Say these two words the other way round: {a} {b}", f"{b} {a}")
