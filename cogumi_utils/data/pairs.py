"""Verified pairs the other way round: from the answer to the question.

A model that has read "A is B" does not know "B is A" (the reversal curse, Berglund et al. 2023); reading facts in both
directions mends it (reverse training, Golovneva et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

REVERSED = "Which question has this answer?\n"


def reversed_pair(example: Example) -> Example:
    """The task to find the question of an answer; its reference is the example's own question.

    Whatever stood before the question stays before it. Domain, skill, split and source are the example's; no verifier
    decides (`none`), as many questions have one answer. Raises CogumiError where question or answer is missing.
    """
    prompt = example.prompt
    if not example.answer or not prompt or prompt[-1]["role"] != "user":
        raise CogumiError(
            expected="an example that ends with a user's question and its answer",
            found=f"example {example.id} with the roles {', '.join(m['role'] for m in example.messages)}",
            why="the pair is turned round",
            fix="leave out examples without an answer",
        )
    asked = {"role": "user", "content": f"{REVERSED}{example.answer}"}
    messages = [*prompt[:-1], asked, {"role": "assistant", "content": prompt[-1]["content"]}]
    return Example(
        example.domain, example.skill, messages, difficulty=example.difficulty, teacher=example.teacher,
        source=example.source, licence=example.licence, quality=example.quality, language=example.language,
        split=example.split, parents=(example.id,),
    )  # fmt: skip


def bidirectional(examples: Sequence[Example], n: int, seed: int) -> list[Example]:
    """`n` rows, shuffled: pairs drawn without repetition, each forward and reversed (the last one only forward if `n`
    is odd). As many rows as `n` pairs forward only, so that the two can be compared at equal numbers.

    Raises CogumiError where there are fewer than n / 2 pairs.
    """
    half = (n + 1) // 2
    if n < 1 or len(examples) < half:
        raise CogumiError(
            expected=f"n of 1 or more and n / 2 pairs ({half} for n = {n})",
            found=f"{len(examples)} pairs",
            why="a pair that is drawn twice would be counted twice",
            fix=f"ask for at most {2 * len(examples)} rows",
        )
    rng = Random(f"{seed}/bidirectional")
    drawn = rng.sample(list(examples), half)
    rows = [*drawn, *(reversed_pair(example) for example in drawn[: n // 2])]
    rng.shuffle(rows)
    return rows
