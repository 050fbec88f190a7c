"""What a skill is: a rule that makes tasks, each with its answer and the check that decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

LEVELS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Task:
    """One question with its reference answer and its verifier (`{"kind", "payload"}`, see `judge.grade`)."""

    question: str
    answer: str
    verifier: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Skill:
    """A named rule `make(rng, level) -> Task`.

    held_back: kept out of pretraining and training, so that failure analysis has a truth to find.
    lasting: trained on, and yet beyond a student of this size (named as such, never counted as learned).
    """

    domain: str
    name: str
    make: Callable[[Random, int], Task]
    held_back: bool = False
    lasting: bool = False


@dataclass
class Registry:
    """The skills of one domain, in the order in which they were declared."""

    domain: str
    skills: dict[str, Skill] = field(default_factory=dict)

    def skill(self, *, held_back: bool = False, lasting: bool = False) -> Callable:
        """Declare `make` under its own function name."""

        def declare(make: Callable[[Random, int], Task]) -> Callable[[Random, int], Task]:
            name = make.__name__
            self.skills[name] = Skill(self.domain, name, make, held_back, lasting)
            return make

        return declare


def number(value: int) -> dict[str, Any]:
    return {"kind": "number", "payload": {"answer": str(value)}}


def final(text: str) -> dict[str, Any]:
    """The words after the last `Answer:` must be these."""
    return {"kind": "final", "payload": {"answer": text}}


def exact(text: str) -> dict[str, Any]:
    return {"kind": "exact", "payload": {"answer": text}}
