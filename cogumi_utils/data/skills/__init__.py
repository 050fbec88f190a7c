"""The embedded data set: chat tasks made by program, each with a verifier, so that correctness is a fact.

A task belongs to exactly one split, decided by the hash of its question: whatever the seed and however many are
drawn, no question of one split can turn up in another, and the pretraining text contains no test question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random

from cogumi_utils.data.skills import automation, chat, code, reasoning
from cogumi_utils.data.skills.base import LEVELS, Skill, Task
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

REGISTRIES = {module.REGISTRY.domain: module.REGISTRY for module in (code, reasoning, automation, chat)}
DOMAINS = tuple(REGISTRIES)
SPLIT_SHARES = (("train", 70), ("validation", 80), ("test", 100))  # cumulative percent of the hash
SOURCE, LICENCE = "cogumi/skills", "Apache-2.0"
PATIENCE = 200  # draws without a new question after which a skill counts as exhausted


def all_skills() -> list[Skill]:
    return [skill for registry in REGISTRIES.values() for skill in registry.skills.values()]


def trained_skills() -> list[Skill]:
    """The skills that pretraining and training may see."""
    return [skill for skill in all_skills() if not skill.held_back]


def held_back_skills() -> list[Skill]:
    return [skill for skill in all_skills() if skill.held_back]


def names(some: list[Skill]) -> list[str]:
    return [skill.name for skill in some]


def split_of(question: str) -> str:
    """train, validation or test, by the hash of the question alone."""
    percent = int.from_bytes(hashlib.blake2b(question.encode(), digest_size=4).digest(), "big") % 100
    return next(name for name, limit in SPLIT_SHARES if percent < limit)


def tasks(skill: Skill, rng: Random, split: str) -> Iterator[tuple[int, Task]]:
    """Endless (level, task) pairs of one split, questions may repeat."""
    while True:
        level = rng.choice(LEVELS)
        task = skill.make(rng, level)
        if split_of(task.question) == split:
            yield level, task


def examples(skill: Skill, n: int, *, split: str, seed: int) -> list[Example]:
    """`n` Examples with distinct questions.

    Raises CogumiError when the skill has fewer distinct questions in that split.
    """
    found = at_most(skill, n, split=split, seed=seed)
    if len(found) < n:
        raise CogumiError(
            expected=f"{n} different questions of {skill.domain}/{skill.name} in split {split}",
            found=f"{len(found)}, then {PATIENCE} repeats in a row",
            why="a repeated question would be counted twice",
            fix="ask for fewer examples of each skill",
        )
    return found


def to_example(skill: Skill, level: int, task: Task, split: str) -> Example:
    messages = [{"role": "user", "content": task.question}, {"role": "assistant", "content": task.answer}]
    return Example(
        domain=skill.domain, skill=skill.name, difficulty=level, messages=messages, verifier=task.verifier,
        teacher="program", source=SOURCE, licence=LICENCE, quality=10.0, split=split,
    )  # fmt: skip


def at_most(skill: Skill, n: int, *, split: str, seed: int) -> list[Example]:
    """Up to `n` Examples: all there are where the split of a skill has fewer different questions."""
    found: dict[str, Example] = {}
    stream, idle = tasks(skill, Random(f"{seed}/{split}/{skill.domain}/{skill.name}"), split), 0
    while len(found) < n and idle < PATIENCE:
        level, task = next(stream)
        idle = 0 if task.question not in found else idle + 1
        found.setdefault(task.question, to_example(skill, level, task, split))
    return list(found.values())


def mixed(some: list[Skill], per_skill: int, *, split: str, seed: int) -> list[Example]:
    """Up to `per_skill` Examples of each skill, shuffled with `seed`."""
    rows = [row for skill in some for row in at_most(skill, per_skill, split=split, seed=seed)]
    Random(seed).shuffle(rows)
    return rows
