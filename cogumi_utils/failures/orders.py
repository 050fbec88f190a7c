"""From failure patterns to what a teacher is asked for, and from what it wrote to the rows of an arm."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from cogumi_utils.data.commission import Commission, Mistake, evenly
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

AT_RANDOM = "the battery at random"


def mistakes(battery: pd.DataFrame, tasks: Sequence[Example]) -> dict[str, Mistake]:
    """{task id: the task with the student's answer and what the verifier said of it}, for those in both."""
    known = {task.id: task for task in tasks}
    rows = battery[["id", "answer", "reason"]].itertuples(index=False)
    return {row.id: Mistake(known[row.id], row.answer, row.reason) for row in rows if row.id in known}


def aware(patterns: pd.DataFrame, battery: pd.DataFrame, tasks: Sequence[Example], n: int) -> list[Commission]:
    """One commission a pattern, told what fails and how: `n` tasks in all, the same number for each pattern.

    battery: answers with their `pattern` (-1 where passed); tasks: its tasks. Raises CogumiError where `n` is less than
    one a pattern.
    """
    if n < len(patterns):
        raise CogumiError(
            expected=f"{len(patterns)} tasks or more, one for each pattern",
            found=f"{n}",
            why="every pattern has the same share",
            fix="raise `examples`, or lower `replay`",
        )
    found = mistakes(battery, tasks)
    orders = []
    for row, share in zip(patterns.itertuples(), evenly(n, len(patterns)), strict=True):
        members = [found[i] for i in battery.loc[battery["pattern"] == row.pattern, "id"] if i in found]
        nearest = {i: place for place, i in enumerate(row.examples)}
        members.sort(key=lambda mistake: nearest.get(mistake.example.id, len(nearest)))
        orders.append(Commission(row.name, tuple(row.terms), tuple(members), share))
    return orders


def at_random(battery: pd.DataFrame, tasks: Sequence[Example], n: int, *, shown: int, seed: int) -> list[Commission]:
    """The control: as many tasks like `shown` ones drawn from the whole battery, with no word about failure."""
    found = list(mistakes(battery, tasks).values())
    drawn = Random(f"{seed}/at random").sample(found, min(shown, len(found)))
    return [Commission(AT_RANDOM, (), tuple(drawn), n, aware=False)]


def mixture(new: Sequence[Example], original: Sequence[Example], n: int, *, replay: float, seed: int) -> list[Example]:
    """`n` rows, shuffled: a share `replay` of original rows, new ones else, each drawn without repetition.

    The original rows and their places depend on seed, n and replay alone, so that arms differ in nothing but the new
    ones. Raises CogumiError where either has too few: arms are compared at equal numbers.
    """
    old = round(n * replay)
    rows: list[Example] = []
    for name, pool, wanted in (("new", new, n - old), ("original", original, old)):
        if len(pool) < wanted:
            raise CogumiError(
                expected=f"{wanted} {name} examples",
                found=f"{len(pool)}",
                why="the arms of the study are compared at equal numbers of examples",
                fix="train on fewer rows, replay another share, or ask a teacher that errs less",
            )
        rows += Random(f"{seed}/mixture/{name}").sample(list(pool), wanted)
    Random(f"{seed}/mixture").shuffle(rows)
    return rows
