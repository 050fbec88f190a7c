"""Task families: a skill with its own invented words, so that a held-out family is really new.

Families of train, validation and test share no invented word and no operator, and no two families of one split do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cogumi_utils.data.skills.base import Task
from cogumi_utils.data.skills.families.invented import invented_operators, invented_words
from cogumi_utils.data.skills.families.kinds import KINDS, WORDS
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

SPLITS = ("train", "validation", "test")
SOURCE, LICENCE = "cogumi/families", "Apache-2.0"
PATIENCE = 1000  # draws without a new question after which a family counts as exhausted


@dataclass(frozen=True, slots=True)
class Family:
    """One rule with its own words. number: its place in the split; words: those that no other family uses."""

    split: str
    number: int
    kind: str
    words: tuple[str, ...]
    operator: str

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.operator if self.kind == 'operator' else self.words[0]}"

    def task(self, rng: Random) -> Task:
        rule = Random(f"rule/{self.split}/{self.number}")
        return KINDS[self.kind](rule, *self.words, operator=self.operator)(rng)


@dataclass(frozen=True, slots=True)
class Episode:
    """A family's examples: `support` to learn from, `queries` to answer; no question is in both."""

    family: Family
    support: list[Example]
    queries: list[Example]


def capacity(split: str) -> int:
    """How many families a split has words and operators for."""
    return min(len(invented_words(split)) // WORDS, len(invented_operators(split)) * len(KINDS))


def families(split: str, n: int) -> list[Family]:
    """The first `n` families of a split, all kinds in turn; always the same ones.

    Raises CogumiError for an unknown split and where there are not words enough.
    """
    if split not in SPLITS or not 1 <= n <= capacity(split):
        raise CogumiError(
            expected=f"a split of {', '.join(SPLITS)}, and families from 1 up to what its words are enough for",
            found=f"{n} families of {split!r}" + (f", which has {capacity(split)}" if split in SPLITS else ""),
            why="families share no invented word, so that held-out ones are new",
            fix="ask for fewer families, or add forms of words to data/skills/families/invented.py",
        )
    names, signs, kinds = invented_words(split), invented_operators(split), list(KINDS)
    return [
        Family(split, i, kinds[i % len(kinds)], names[WORDS * i : WORDS * (i + 1)], signs[i // len(kinds)])
        for i in range(n)
    ]


def episode(family: Family, support: int, queries: int, *, seed: int) -> Episode:
    """`support` and `queries` examples with distinct questions, drawn with `seed`.

    Raises CogumiError where the family has fewer different questions.
    """
    rng, found, idle = Random(f"{seed}/{family.split}/{family.number}"), dict[str, Task](), 0
    while len(found) < support + queries and idle < PATIENCE:
        task = family.task(rng)
        idle = idle + 1 if task.question in found else 0
        found.setdefault(task.question, task)
    if len(found) < support + queries:
        raise CogumiError(
            expected=f"{support + queries} different questions of {family.name}",
            found=f"{len(found)}, then {PATIENCE} repeats in a row",
            why="a question of the support set must not be asked again",
            fix="ask for fewer examples of each family",
        )
    rows = [_example(family, task) for task in found.values()]
    return Episode(family, rows[:support], rows[support:])


def episodes(some: Sequence[Family], support: int, queries: int, *, seed: int) -> list[Episode]:
    return [episode(family, support, queries, seed=seed) for family in some]


def asked(example: Example) -> str:
    """The question."""
    return example.prompt[-1]["content"]


def _example(family: Family, task: Task) -> Example:
    messages = [{"role": "user", "content": task.question}, {"role": "assistant", "content": task.answer}]
    return Example(
        domain=f"families/{family.kind}", skill=family.name, messages=messages, verifier=task.verifier,
        teacher="program", source=SOURCE, licence=LICENCE, quality=10.0, split=family.split,
    )  # fmt: skip
