"""Recorded answers of four real models to GSM8K's test questions, with the confidence that their agreement gives.

The set holds one answer a model and no probabilities, so an answer's confidence is how many of the other models end in
the same number. Four answers share each question: intervals must draw whole questions (`question` names them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.data import sources
from cogumi_utils.data._readers import Row
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.verifiers import final_number

if TYPE_CHECKING:
    from fractions import Fraction

    import pandas as pd

NAME = "gsm8k_model_solutions"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def load(fit_share: float = 0.4) -> pd.DataFrame:
    """A row an answer: question (its id), model, answer, final, agreement, passed, split ("fit" or "judge").

    agreement: (1 + others that end in the same number) / (2 + others), never 0 or 1 (Laplace). A question is for
    fitting or for judging by its own hash, with all its answers. Raises SourceError where the set is in neither place.
    """
    return answers(sources.load(NAME, purpose="evaluation"), fit_share)


def answers(rows: Sequence[Row], fit_share: float = 0.4) -> pd.DataFrame:
    """As `load`, from given rows of the set. Raises CogumiError for no rows or a share outside 0 to 1."""
    import pandas as pd

    if not rows or not 0 < fit_share < 1:
        raise CogumiError(
            expected="recorded questions, and a share of them above 0 and below 1 to fit on",
            found=f"{len(rows)} questions, share {fit_share}",
            why="a calibrator is judged on questions that it was not fitted on",
            fix="fit_share=0.4",
        )
    frame = pd.DataFrame([answer for row in rows for answer in _of_question(row)])
    return frame.assign(split=["fit" if _place(one) < fit_share else "judge" for one in frame.question])


def _of_question(row: Row) -> list[dict]:
    finals = [final(row[model]["solution"]) for model in MODELS]
    others = len(MODELS) - 1
    question = hashlib.blake2b(row["question"].encode(), digest_size=8).hexdigest()
    return [
        {
            "question": question, "model": model, "answer": row[model]["solution"],
            "final": "" if own is None else str(own),
            "agreement": (1 + (finals.count(own) - 1 if own is not None else 0)) / (2 + others),
            "passed": bool(row[model]["is_correct"]),
        }
        for model, own in zip(MODELS, finals, strict=True)
    ]  # fmt: skip


def _place(question: str) -> float:
    """Between 0 and 1, by the id alone."""
    return int(question, 16) / 2**64


def final(solution: str) -> Fraction | None:
    """The number of the last line `A: number`, exactly; None where there is none."""
    _, found, tail = solution.rpartition("A:")
    return final_number(tail) if found else None
