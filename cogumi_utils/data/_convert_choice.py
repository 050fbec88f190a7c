"""Multiple choice: MMLU, ARC, QASC, AQuA-RAT. One letter is right."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cogumi_utils.data._readers import Row
from cogumi_utils.data.convert import choice, each, example, worked
from cogumi_utils.data.sources import Source
from cogumi_utils.schema import Example

LETTERS = "ABCDEFGHIJ"
ASK = "End with a line `Answer: ` and the letter of the right choice."
_MATH = ("math", "algebra", "statistics", "logic")
_SCIENCE = (
    "anatomy", "astronomy", "biology", "chemistry", "physics", "medic", "clinical", "nutrition", "virology", "aging",
    "genetics", "computer", "machine_learning", "security", "engineering", "psychology",
)  # fmt: skip
_FINANCE = ("account", "econom", "business", "management", "marketing", "public_relations")


def question_text(stem: str, choices: Iterable[str]) -> str:
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    return "\n".join([stem.strip(), *lines, ASK])


def mmlu_domain(subject: str) -> str:
    """Our domain for one of MMLU's 57 subjects; the humanities and law count as reasoning."""
    groups = (("finance", _FINANCE), ("math", _MATH), ("science", _SCIENCE))
    words = subject.replace("security_studies", "politics").replace("logical_fallacies", "fallacies")
    return next((domain for domain, parts in groups if any(part in words for part in parts)), "reasoning")


@each("mmlu")
def mmlu(source: Source, row: Row) -> Example:
    letter = LETTERS[int(row["answer"])]
    question = question_text(row["question"], (row[f"choice{i}"] for i in range(4)))
    domain = mmlu_domain(row["subject"])
    return example(
        source, row, question, f"Answer: {letter}", skill=row["subject"], domain=domain, verifier=choice(letter)
    )


@each("arc")
def arc(source: Source, row: Row) -> Example:
    easy = "easy" in row["_part"].lower()
    return _stem_and_choices(source, row, "arc_easy" if easy else "arc_challenge", difficulty=1 if easy else 2)


@each("qasc_dev")
def qasc(source: Source, row: Row) -> Example:
    return _stem_and_choices(source, row, "qasc", difficulty=2)


def _stem_and_choices(source: Source, row: Row, skill: str, difficulty: int) -> Example:
    """Some of ARC's choices are numbered 1 to 4: letters are given to all, so that one form of answer is asked for."""
    choices = row["question"]["choices"]
    right = next(i for i, option in enumerate(choices) if option["label"] == row["answerKey"])
    question = question_text(row["question"]["stem"], (option["text"] for option in choices))
    letter = LETTERS[right]
    return example(
        source, row, question, f"Answer: {letter}", skill=skill, difficulty=difficulty, verifier=choice(letter)
    )


@each("aqua_rat")
def aqua(source: Source, row: Row) -> Example:
    """Options come as `A)32400`."""
    options = [re.sub(r"^[A-E]\)\s*", "", option) for option in row["options"]]
    letter = row["correct"]
    question = question_text(row["question"], options)
    return example(
        source, row, question, worked(row["rationale"], letter), skill="aqua", difficulty=2, verifier=choice(letter)
    )
