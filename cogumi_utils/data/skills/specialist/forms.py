"""The two forms of a worked answer: a chain of small steps, then the number or the words that decide."""

from __future__ import annotations

from cogumi_utils.data.skills.base import Task, final, number


def solved(question: str, chain: str, answer: int) -> Task:
    return Task(question, f"{chain} Answer: {answer}", number(answer))


def decided(question: str, chain: str, answer: str) -> Task:
    return Task(question, f"{chain} Answer: {answer}", final(answer))
