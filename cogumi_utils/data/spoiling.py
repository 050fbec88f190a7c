"""Ways to make a good answer bad: what a quality filter has to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from cogumi_utils.data.language import user_text
from cogumi_utils.schema import Example

_REFUSALS = (
    "I'm sorry, but I can't help with that request.",
    "As an AI language model, I am not able to do this.",
    "I cannot answer this question.",
    "I am unable to assist with that.",
)
_SHRUGS = ("idk", "no idea lol", "whatever", "Not sure, look it up.", "I don't know.", "google it")
_ADVERTS = (
    "Click here to order today: http://deals.example/now",
    "Limited time offer! Subscribe now and make money from home.",
    "Visit my page www.win.example and buy now, special discount!",
)


def _truncated(example: Example, random: Random, others: Sequence[Example]) -> Example:
    answer = example.answer
    return example.with_answer(answer[: max(1, int(len(answer) * random.uniform(0.3, 0.8)))])


def _garbled(example: Example, random: Random, others: Sequence[Example]) -> Example:
    """One character in five unreadable, two at least."""
    characters = list(example.answer + " ?")
    for place in random.sample(range(len(characters)), max(2, len(characters) // 5)):
        characters[place] = random.choice("\ufffd\x07\x1b\ue000")
    return example.with_answer("".join(characters))


def _mashed(example: Example, random: Random, others: Sequence[Example]) -> Example:
    keys = [random.choice(("asdf", "jkl", "qwrt", "zxcv", "dfgh")) + random.choice("sdfghjkl") * 2 for _ in range(8)]
    return example.with_answer(" ".join(keys))


def _off_topic(example: Example, random: Random, others: Sequence[Example]) -> Example:
    """Another skill's answer: fluent and wrong, which form alone hardly shows."""
    strangers = [other for other in random.choices(others, k=20) if other.skill != example.skill] or list(others[:1])
    return example.with_answer(strangers[0].answer)


DEFECTS: dict[str, Callable[[Example, Random, Sequence[Example]], Example]] = {
    "missing": lambda example, random, others: example.with_answer(""),
    "truncated": _truncated,
    "repeated": lambda example, random, others: example.with_answer(" ".join([example.answer] * 12)),
    "garbled": _garbled,
    "mashed": _mashed,
    "refusal": lambda example, random, others: example.with_answer(random.choice(_REFUSALS)),
    "evasive": lambda example, random, others: example.with_answer(random.choice(_SHRUGS)),
    "shouting": lambda example, random, others: example.with_answer(f"{user_text(example)} {example.answer}!!".upper()),
    "spam": lambda example, random, others: example.with_answer(" ".join(random.sample(_ADVERTS, 2))),
    "off_topic": _off_topic,
}
