"""Small free texts under rules that a program can check; many answers are right, the reference is one of them."""

from __future__ import annotations

from random import Random
from typing import Any

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task

REGISTRY = Registry("creative")
skill = REGISTRY.skill
SPELLED = (*words.TAGS, *words.PEOPLE, "blue", "grey", "pink", "Rome", "Oslo", "Lima", "Bern", "Riga", "Doha")
OPENINGS = {
    "A": "Any", "B": "Big", "D": "Dark", "E": "Each", "G": "Good", "H": "High", "I": "It is a", "J": "Just a",
    "K": "Keep a", "L": "Low", "M": "My", "N": "New", "O": "Old", "P": "Pink", "R": "Red", "S": "Small", "T": "The",
    "U": "Up, my", "V": "Very old", "W": "White", "X": "X is my", "Y": "You, my", "Z": "Zip, my",
}  # fmt: skip
VERBS = ("Buy", "Find", "Set", "Make", "Order")


def _free(question: str, answer: str, *rules: dict[str, Any]) -> Task:
    return Task(question, answer, {"kind": "constraints", "payload": {"rules": list(rules)}})


def _rule(name: str, value: str | int | None = None) -> dict[str, Any]:
    """`n` for a number, `text` for a text: the names that `judge.verifiers.RULES` reads."""
    if value is None:
        return {"rule": name}
    return {"rule": name, "n" if isinstance(value, int) else "text": value}


@skill()
def acrostic(rng: Random, level: int) -> Task:
    """First letters of the lines spell a word of `level` + 1 letters, which the question spells out."""
    word, item = rng.choice([word for word in SPELLED if len(word) == level + 1]).upper(), rng.choice(words.ITEMS)
    question = rng.choice((
        f"Write about a {item}. The first letters of your lines are {', '.join(word)}.",
        f"Write lines about a {item} with the first letters {', '.join(word)}.",
    ))  # fmt: skip
    lines = [f"{OPENINGS[letter]} {item}" for letter in word]
    return _free(question, "\n".join(lines), _rule("acrostic", word), _rule("has_word", item))


@skill()
def gift_list(rng: Random, level: int) -> Task:
    """`level` + 1 different bullets, the first of them given; the reference goes on in a fixed order."""
    who, first = rng.choice(words.PEOPLE), rng.randrange(len(words.ITEMS))
    gifts = [words.ITEMS[(first + i) % len(words.ITEMS)] for i in range(level + 1)]  # a habit is learned sooner
    question = f"List {len(gifts)} different gifts for {who} as bullets, the first a {gifts[0]}."
    bullets = [f"- {gift}" for gift in gifts]
    return _free(
        question, "\n".join(bullets), _rule("n_bullets", len(gifts)), _rule("n_lines", len(gifts)),
        _rule("starts_with", bullets[0]), _rule("distinct_lines"),
    )  # fmt: skip


@skill()
def song(rng: Random, level: int) -> Task:
    """A refrain around `level` lines."""
    city, named = rng.choice(words.CITIES), rng.sample(words.ITEMS, level)
    colours = rng.choices(words.COLOURS, k=level)
    inner = [f"{colour} {item}" for colour, item in zip(colours, named, strict=True)]
    question = f"Write {level + 2} lines with {', '.join(inner)}. Begin and end with the line Oh {city}."
    lines = [f"Oh {city}", *(f"My {text}" for text in inner), f"Oh {city}"]
    return _free(
        question, "\n".join(lines), _rule("n_lines", level + 2), _rule("starts_with", f"Oh {city}"),
        _rule("same_ends"), *(_rule("contains", text) for text in inner),
    )  # fmt: skip


@skill()
def shout(rng: Random, level: int) -> Task:
    """Capitals with `level` exclamation marks at the end."""
    colour, item, room, marks = rng.choice(words.COLOURS), rng.choice(words.ITEMS), rng.choice(words.ROOMS), "!" * level
    question = f"Say in capitals which colour a {colour} {item} in the {room} has. End with {marks}"
    rules = (_rule("uppercase"), _rule("ends_with", marks), _rule("has_word", colour))
    return _free(question, f"IT IS {colour.upper()}{marks}", *rules)


@skill()
def slogan(rng: Random, level: int) -> Task:
    """Exactly `level` + 3 words."""
    verb, colour, item = rng.choice(VERBS), rng.choice(words.COLOURS), rng.choice(words.ITEMS)
    question = f"Write exactly {level + 3} words for a {colour} {item}, the first is {verb}."
    answer = f"{verb} the {colour} {item}{('', ' now', ' for me')[level - 1]}"
    return _free(
        question, answer, _rule("n_words", level + 3), _rule("starts_with", f"{verb} "),
        _rule("has_word", colour), _rule("has_word", item),
    )  # fmt: skip


@skill()
def letter(rng: Random, level: int) -> Task:
    """A first and a last line that are given, and `level` things to name between them."""
    (sender, reader), named = rng.sample(words.PEOPLE, 2), rng.sample(words.ITEMS, level)
    question = f"Write to {reader} about {', '.join(named)}. Start with Dear {reader}, end with Love, {sender}."
    lines = [f"Dear {reader},", *(f"I have a {item}." for item in named), f"Love, {sender}"]
    return _free(
        question, "\n".join(lines), _rule("starts_with", f"Dear {reader}"), _rule("ends_with", f"Love, {sender}"),
        *(_rule("has_word", item) for item in named),
    )  # fmt: skip


@skill()
def riddle(rng: Random, level: int) -> Task:
    """Said without the word that it is about. `level` + 1 things are to tell."""
    colour, item, room = rng.choice(words.COLOURS), rng.choice(words.ITEMS), rng.choice(words.ROOMS)
    place, who = rng.choice(words.PLACES), rng.choice(words.PEOPLE)
    wish, named, answer = (
        ("colour and room", (colour, room), f"It is {colour} and in the {room}."),
        (f"colour, {place} and room", (colour, place, room), f"It is {colour}, in the {place} in the {room}."),
        (f"name, colour, {place} and room", (who, colour, place, room),
         f"It is {colour}, {who} has it in the {place} in the {room}."),
    )[level - 1]  # fmt: skip
    question = f"{who} has a {colour} {item} in a {place} in the {room}. Tell {wish}, say It first, never {item}."
    rules = (_rule("starts_with", "It "), _rule("no_word", item), *(_rule("has_word", word) for word in named))
    return _free(question, answer, *rules)
