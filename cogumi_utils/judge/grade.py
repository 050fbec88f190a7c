"""Answers to verdicts, verdicts to tables: accuracy with intervals, paired comparisons, the worst samples.

This module knows Examples and a function that answers prompts; it knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.benchmarks import helpers
from cogumi_utils.judge.sandbox import Program, run_tests
from cogumi_utils.judge.tool_calls import fenced_blocks
from cogumi_utils.judge.verifiers import Verdict, verify
from cogumi_utils.schema import Example
from cogumi_utils.stats import holm, paired_difference, wilson

if TYPE_CHECKING:
    import pandas as pd

OVERALL = "overall"
AnswerFn = Callable[[list[list[dict[str, str]]]], Sequence[str]]


def verdicts(examples: Sequence[Example], answers: Sequence[str], *, workers: int | None = None) -> list[Verdict]:
    """One Verdict per answer, in order. Code runs in the sandbox, all of it in one batch.

    Raises CogumiError for an Example that cannot be graded (kind "none") and where no sandbox works.
    """
    _check_gradable(examples, answers)
    found: list[Verdict | None] = [None] * len(examples)
    code = [i for i, example in enumerate(examples) if example.verifier["kind"] == "python_tests"]
    programs = [python_program(examples[i], answers[i] or "") for i in code]
    for i, ran in zip(code, run_tests(programs, workers=workers), strict=True):
        found[i] = Verdict(ran.passed, ran.reason)
    for i, example in enumerate(examples):
        found[i] = found[i] or verify(answers[i] or "", example.verifier)
    return found


def verdict(example: Example, answer: str) -> Verdict:
    """One answer. For many, `verdicts`: it starts the sandbox once."""
    return verdicts([example], [answer])[0]


def _check_gradable(examples: Sequence[Example], answers: Sequence[str]) -> None:
    if len(examples) != len(answers):
        raise CogumiError(
            expected=f"one answer for each of {len(examples)} Examples",
            found=f"{len(answers)} answers",
            why="answers are matched to Examples by their position",
            fix="return one string per prompt, an empty one where there is no answer",
        )
    open_ended = sum(example.verifier["kind"] == "none" for example in examples)
    if open_ended:
        raise CogumiError(
            expected="Examples with a verifier",
            found=f"{open_ended} of {len(examples)} whose verifier is `none`",
            why="whether an answer to them is right cannot be checked by program",
            fix='leave them out: [e for e in examples if e.verifier["kind"] != "none"]',
        )


def python_program(example: Example, answer: str) -> Program:
    """The answer's code after the Example's setup, and its tests.

    Functions of the setup that the tests use come from the setup itself: an answer cannot redefine them.
    """
    payload = example.verifier["payload"]
    name, setup = payload.get("entry_point", ""), payload.get("setup", "")
    code = "\n\n".join(filter(None, [setup, answer_code(answer, name)]))
    return Program(code, "\n\n".join(filter(None, [helpers(setup, name), payload["tests"]])), name)


def answer_code(answer: str, entry_point: str = "") -> str:
    """The fenced block that defines `entry_point`, else the first block, else the whole answer."""
    blocks = fenced_blocks(answer)
    definition = re.compile(rf"^\s*(async\s+def|def|class)\s+{re.escape(entry_point)}\b", re.MULTILINE)
    return next((block for block in blocks if entry_point and definition.search(block)), (*blocks, answer)[0])


def grade(examples: Sequence[Example], answers: Sequence[str], *, workers: int | None = None) -> pd.DataFrame:
    """One row per answer, in order: id, domain, skill, difficulty, prompt, reference, answer, passed, reason."""
    import pandas as pd

    rows = [
        (e.id, e.domain, e.skill, e.difficulty, prompt_text(e), e.answer, answer, found.passed, found.reason)
        for e, answer, found in zip(examples, answers, verdicts(examples, answers, workers=workers), strict=True)
    ]
    columns = ["id", "domain", "skill", "difficulty", "prompt", "reference", "answer", "passed", "reason"]
    return pd.DataFrame(rows, columns=columns)


def prompt_text(example: Example) -> str:
    """The question as a reader wants it: the user's words alone where there is just one turn."""
    if len(example.prompt) == 1:
        return example.prompt[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in example.prompt)


def evaluate(examples: Sequence[Example], answer_fn: AnswerFn, *, workers: int | None = None) -> pd.DataFrame:
    """Ask for answers to all prompts (each a list of messages) in one call and grade them."""
    return grade(examples, list(answer_fn([example.prompt for example in examples])), workers=workers)


def accuracy(frame: pd.DataFrame, by: str = "skill") -> pd.DataFrame:
    """group, n, passed, accuracy, low, high (Wilson, 95%): the overall row first, then by name."""
    import pandas as pd

    groups = [(OVERALL, frame), *frame.groupby(by, sort=True)]
    rows = []
    for name, group in groups:
        share = wilson(int(group.passed.sum()), len(group))
        rows.append((name, len(group), int(group.passed.sum()), share.value, share.low, share.high))
    return pd.DataFrame(rows, columns=[by, "n", "passed", "accuracy", "low", "high"])


def compare(before: pd.DataFrame, after: pd.DataFrame, by: str = "skill", seed: int = 0) -> pd.DataFrame:
    """Paired by example: group, n, before, after, difference, low, high, gained, lost, p_value, p_holm.

    The overall row comes first and stands alone; p_holm corrects for the number of groups below it.
    """
    import pandas as pd

    both = _aligned(before, after)
    rows = [_comparison(name, group, seed) for name, group in [(OVERALL, both), *both.groupby(by, sort=True)]]
    table = pd.DataFrame(rows).rename(columns={"group": by})
    return table.assign(p_holm=[table.p_value.iloc[0], *holm(list(table.p_value.iloc[1:]))])


def _aligned(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """`before` with the column `passed_after`, by example id."""
    same = before.id.is_unique and after.id.is_unique and set(before.id) == set(after.id)
    if not same:
        only = len(set(before.id) ^ set(after.id))
        raise CogumiError(
            expected="the same Examples in both tables, each once",
            found=f"{len(before)} and {len(after)} rows; {only} ids are in one of them only",
            why="a paired comparison needs both results of every item",
            fix="grade both models on the same list of Examples",
        )
    return before.assign(passed_after=after.set_index("id").passed.reindex(before.id).to_numpy())


def _comparison(name: str, group: pd.DataFrame, seed: int) -> dict:
    paired = paired_difference(group.passed.to_numpy(), group.passed_after.to_numpy(), seed)
    return {
        "group": name, "n": paired.n, "before": group.passed.mean(), "after": group.passed_after.mean(),
        "difference": paired.value, "low": paired.low, "high": paired.high, "gained": paired.gained,
        "lost": paired.lost, "p_value": paired.p_value,
    }  # fmt: skip


def worst(frame: pd.DataFrame, n: int, by: str = "skill") -> pd.DataFrame:
    """`n` wrong answers to look at: one of each group in turn, weakest group first, its easiest failure first."""
    shares = frame.groupby(by).passed.mean()
    wrong = frame[~frame.passed].sort_values(["difficulty", "id"], kind="stable")
    order = wrong.assign(_turn=wrong.groupby(by).cumcount(), _share=wrong[by].map(shares))
    order = order.sort_values(["_turn", "_share", by], kind="stable")
    return order.head(n).drop(columns=["_turn", "_share"]).reset_index(drop=True)
