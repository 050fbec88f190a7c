"""Row by row: is this chat worth training on? Every row that is dropped is listed with its reasons.

Language is judged on the users' words alone (a translation's answer is rightly foreign) and only where there are
enough of them; numbers, code and tool calls say nothing about it. A row's score is its own `quality`, where it has one,
else the heuristic's; a `score` callable (a judge model) replaces both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cogumi_utils.data import defects
from cogumi_utils.data.heuristic import heuristic_score
from cogumi_utils.data.language import probabilities, user_text
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

REASONS = (
    "missing_question", "missing_answer", "too_long", "garbled", "repetition", "truncated", "refusal", "language",
    "wrong_answer", "low_score",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a row is no longer acceptable. Shares lie between 0 and 1."""

    max_characters: int = 40_000  # of the whole chat: about 10,000 tokens
    max_repetition: float = 0.6  # share of repeated 4-word sequences in one message
    max_garble: float = 0.02  # share of unreadable characters, or of long words without a vowel
    max_allowed_probability: float = 0.05  # a row is foreign if the allowed languages together get less than this


@dataclass(frozen=True)
class QualityReport:
    """kept: rows with their score in `quality`. dropped: one line a row: `row` (position), `id`, `reason` (the first in
    the order of REASONS), `reasons` (all), `score`. counts: rows per first reason, every reason named.
    all_counts: the same for all reasons. scored_by: rows per origin of the score ("row", "heuristic" or "judge").
    """

    kept: list[Example]
    dropped: pd.DataFrame
    counts: dict[str, int]
    all_counts: dict[str, int]
    scored_by: dict[str, int]


def judge_rows(
    examples: Sequence[Example],
    *,
    min_quality: float = 7.0,
    languages: Sequence[str] = ("en",),
    limits: Limits | None = None,
    score: Callable[[Example], float] | None = None,
    verify: bool = False,
) -> QualityReport:
    """Keep the rows without a fault whose score exceeds `min_quality` (0 to 10).

    languages: ISO 639-1 codes. verify: answers that fail their row's own verifier are wrong (code runs in the sandbox).
    Raises CogumiError where a code is unknown, or where nothing remains.
    """
    import pandas as pd

    limits, kept, lines, origins = limits or Limits(), [], [], {}
    wrong = wrong_answers(examples) if verify else set()
    for row, example in enumerate(examples):
        value, origin = scored(example, score)
        origins[origin] = origins.get(origin, 0) + 1
        reasons = faults(example, languages, limits)
        if row in wrong:
            reasons.append("wrong_answer")
        if not value > min_quality:
            reasons.append("low_score")
        if reasons:
            lines.append((row, example.id, reasons[0], tuple(reasons), value))
        else:
            kept.append(replace(example, quality=value))
    dropped = pd.DataFrame(lines, columns=["row", "id", "reason", "reasons", "score"])
    counts = {reason: int((dropped["reason"] == reason).sum()) for reason in REASONS}
    every = {reason: sum(reason in line[3] for line in lines) for reason in REASONS}
    if not kept:
        raise _nothing_left(len(examples), counts, min_quality)
    return QualityReport(kept, dropped, counts, every, origins)


def scored(example: Example, score: Callable[[Example], float] | None) -> tuple[float, str]:
    """(score, where it comes from)."""
    if score is not None:
        return float(score(example)), "judge"
    if not math.isnan(example.quality):
        return float(example.quality), "row"
    return heuristic_score(example), "heuristic"


def faults(example: Example, languages: Sequence[str], limits: Limits) -> list[str]:
    """The names of the rules that the row breaks, in the order of REASONS."""
    question, answer = user_text(example), example.answer
    texts = [message["content"] for message in example.messages if message["role"] in ("user", "assistant")]
    checks = {
        "missing_question": lambda: defects.is_blank(question),
        "missing_answer": lambda: defects.is_blank(answer),
        "too_long": lambda: sum(len(message["content"]) for message in example.messages) > limits.max_characters,
        "garbled": lambda: any(defects.garble(text) > limits.max_garble for text in texts),
        "repetition": lambda: any(defects.repetition(text) > limits.max_repetition for text in texts),
        "truncated": lambda: defects.is_truncated(answer),
        "refusal": lambda: defects.is_refusal(answer),
        "language": lambda: is_foreign(question, languages, limits.max_allowed_probability),
    }
    return [name for name, broken in checks.items() if broken()]


def wrong_answers(examples: Sequence[Example]) -> set[int]:
    """Positions of the rows whose answer their own verifier rejects."""
    from cogumi_utils.judge.grade import verdicts

    checked = [row for row, example in enumerate(examples) if example.verifier["kind"] != "none"]
    found = verdicts([examples[row] for row in checked], [examples[row].answer for row in checked])
    return {row for row, verdict in zip(checked, found, strict=True) if not verdict.passed}


def is_foreign(text: str, languages: Sequence[str], max_allowed_probability: float) -> bool:
    """Whether the text is surely in none of `languages`; texts that tell too little are not foreign."""
    found = probabilities(text, languages)
    return found is not None and sum(found.get(code, 0.0) for code in languages) < max_allowed_probability


def _nothing_left(rows: int, counts: dict[str, int], min_quality: float) -> CogumiError:
    shares = ", ".join(f"{reason}: {count}" for reason, count in counts.items() if count)
    return CogumiError(
        expected="at least one row that passes the quality rules",
        found=f"0 of {rows} rows ({shares or 'there were none'})",
        why="an empty data set can't be trained on",
        fix=f"look at the reasons, lower min_quality ({min_quality:g}) or allow more languages",
    )
