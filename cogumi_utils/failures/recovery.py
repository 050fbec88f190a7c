"""The study of recovery: which rows a compressed model finds hardest, and whether training on them brings more back
than training on as many rows drawn at random.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from cogumi_utils.data.commission import Commission, Mistake
from cogumi_utils.data.staff import Post
from cogumi_utils.data.teachers import Verified, verified
from cogumi_utils.failures.mending import arms_of, in_range
from cogumi_utils.failures.orders import mistakes, mixture
from cogumi_utils.judge.summary import stacked
from cogumi_utils.model.distill import Arm, Outcome
from cogumi_utils.schema import Example
from cogumi_utils.stats import Paired, paired_difference

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

HARDEST, RANDOM, NOTHING = "hardest", "random", "nothing"
PAIRS = ((HARDEST, NOTHING), (RANDOM, NOTHING), (HARDEST, RANDOM))


@dataclass(frozen=True)
class Side:
    """What one arm learns anew: rows that were at hand, and what the teacher wrote like them."""

    rows: list[Example]
    written: Verified

    @property
    def examples(self) -> list[Example]:
        return [*self.rows, *self.written.examples]


@dataclass(frozen=True)
class Written:
    """One seed's sides: the hardest rows, and as many at random."""

    seed: int
    hardest: Side
    random: Side


def gathered(*sources: Sequence[Example]) -> list[Example]:
    """All rows of all sources in their order, each chat once."""
    return list({row.id: row for rows in sources for row in rows}.values())


def perplexities(rows: Sequence[Example], costs: Sequence[np.ndarray]) -> dict[str, float]:
    """{id: perplexity of the reference answer}. costs: as `score.answer_costs` gives them, one array a row."""
    from math import exp

    return {row.id: exp(float(cost.mean())) for row, cost in zip(rows, costs, strict=True)}


def falling(found: Mapping[str, float], points: int = 200) -> tuple[list[float], list[float]]:
    """(share of the rows in per cent, perplexity), the hardest first: `points` places of the whole list."""
    values = sorted(found.values(), reverse=True)
    places = sorted({round(i * (len(values) - 1) / max(1, points - 1)) for i in range(points)})
    return [100 * (place + 1) / len(values) for place in places], [values[place] for place in places]


def kinds(
    pool: Sequence[Example], chosen: pd.DataFrame, found: Mapping[str, float], before: pd.DataFrame
) -> pd.DataFrame:
    """A row a skill among the chosen rows, the most frequent first: how many of them, and of all rows of the pool;
    their median perplexity; the share that the model answers right of them, and of the skill's tests (`before`).

    chosen: their graded answers. found: perplexity of every row of the pool.
    """
    import pandas as pd

    sizes = pd.Series([row.skill for row in pool]).value_counts()
    tests = before.groupby("skill")["passed"].mean()
    rows = [
        (skill, len(group), sizes[skill], group["id"].map(found).median(), group["passed"].mean(), tests.get(skill))
        for skill, group in chosen.groupby("skill")
    ]
    columns = ["skill", "among the hardest", "rows at hand", "median perplexity", "right among them", "right in tests"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["among the hardest", "skill"], ascending=[False, True]).reset_index(drop=True)


def samples(chosen: pd.DataFrame, n: int) -> pd.DataFrame:
    """The first row of each of `n` skills: what the model is asked, what is right, and what it says.

    chosen: graded answers to the hardest rows, hardest first, with their `perplexity`.
    """
    columns = ["skill", "perplexity", "prompt", "reference", "answer", "reason"]
    return chosen.groupby("skill", sort=False).head(1)[columns].head(n)


def write(post: Post, hardest: Sequence[Example], tried: pd.DataFrame, pool: Sequence[Example]) -> Written:
    """Order one task for each of the hardest rows, like those of them that the model gets wrong (`tried`: its graded
    answers); and as many from the same teacher like rows drawn from the pool, with no word about failure.

    None repeats a question of the pool; of kinds with few questions, and of what the verifier refuses, there are fewer.
    Raises what the author raises, and CogumiError where nothing is wrong.
    """
    n, wrong = len(hardest), mistakes(tried[~tried["passed"]], hardest)
    drawn = Random(f"{post.seed}/recovery").sample(list(pool), n)
    told = Commission("what it finds hardest", (), tuple(wrong.values()), n)
    plain = Commission("rows at random", (), tuple(Mistake(row, "", "") for row in drawn), n, aware=False)
    author, taken = post.author(), [row.prompt[-1]["content"] for row in pool]
    sides = ((hardest, told), (drawn, plain))
    return Written(
        post.seed, *(Side(list(rows), verified(author.write([order], taken=taken))) for rows, order in sides)
    )


def arms(written: Sequence[Written], pool: Sequence[Example], replay: float) -> list[Arm]:
    """Two arms a seed, all of one size: new rows, as many as the smallest side has, and the same rows of the pool as a
    share `replay` of the whole.
    """
    sides = [(name, one.seed, side) for one in written for name, side in ((HARDEST, one.hardest), (RANDOM, one.random))]
    total = int(min(len(side.examples) for *_, side in sides) / (1 - replay))
    return [
        Arm(name, seed, mixture(side.examples, pool, total, replay=replay, seed=seed)) for name, seed, side in sides
    ]


def refused(written: Sequence[Written]) -> pd.DataFrame:
    """A row a seed and arm: `Verified.table` of what the teacher wrote."""
    import pandas as pd

    tables = [
        side.written.table().assign(arm=name, seed=one.seed)
        for one in written
        for name, side in ((HARDEST, one.hardest), (RANDOM, one.random))
    ]
    table = pd.concat(tables, ignore_index=True)
    columns = ["arm", "seed", "asked", "kept", "wrong", "error", "unverifiable", "tokens", "cost_usd"]
    return table[columns].rename(columns={"wrong": "refused: wrong", "cost_usd": "USD"})


def usd(written: Sequence[Written]) -> float:
    """Dollars for all that was written."""
    return sum(sum(side.written.costs_usd.values()) for one in written for side in (one.hardest, one.random))


def changes(table: pd.DataFrame, seed: int, by: str = "domain") -> dict[str, Paired]:
    """Paired differences on all tests, arms against each other and against nothing; then of the first pair by group.

    table: scores of `mending.scores`.
    """
    found = {f"{one} minus {other}": paired_difference(table[other], table[one], seed) for one, other in PAIRS}
    one, other = PAIRS[0]
    groups = {
        f"{one} minus {other}, {name}": paired_difference(group[other], group[one], seed)
        for name, group in table.groupby(by)
    }
    return found | groups


def moved(table: pd.DataFrame, least: float = 0.05) -> pd.DataFrame:
    """Share right of the skills that either arm moved by more than `least`: what the hardest rows moved most, first."""
    shares = table.groupby("skill")[[NOTHING, HARDEST, RANDOM]].mean()
    steps = shares[[HARDEST, RANDOM]].sub(shares[NOTHING], axis=0)
    order = steps[HARDEST].sort_values(ascending=False, kind="stable").index
    return shares.loc[[skill for skill in order if steps.loc[skill].abs().max() > least]].reset_index()


def answers(before: pd.DataFrame, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """All graded answers in one table, the run in its column `arm`, such as `hardest, seed 1`."""
    runs = {f"{one.arm}, seed {one.seed}": one.graded() for one in outcomes}
    return stacked({NOTHING: before} | runs, "arm")


def summary(table: pd.DataFrame, outcomes: Sequence[Outcome], hard_skills: Collection[str], seed: int) -> pd.DataFrame:
    """A row an arm: trainings and rows; share right of all tests and, with the seeds' range, of those of the skills
    among the hardest rows and of all others; points against nothing with their interval.
    """
    import pandas as pd

    inside, rows = table["skill"].isin(hard_skills), []
    for arm in [NOTHING, *arms_of(outcomes)]:
        runs = [one for one in outcomes if one.arm == arm]
        each = [one.graded()["passed"].to_numpy() for one in runs] or [table[arm].to_numpy()]
        masks = (inside | ~inside, inside, ~inside)
        parts = [in_range([run[mask].mean() for run in each]) if mask.any() else "" for mask in masks]
        change = paired_difference(table[NOTHING], table[arm], seed)
        points = f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]" if runs else ""
        rows.append((arm, len(runs), runs[0].examples if runs else 0, *parts, points))
    columns = ["arm", "trainings", "rows", "all tests right", "skills among the hardest", "other skills", "points"]
    return pd.DataFrame(rows, columns=columns)
