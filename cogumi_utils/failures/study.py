"""The study of failure-aware data: what the teacher wrote, and which rows each arm is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.data.pairs import bidirectional
from cogumi_utils.data.staff import Post
from cogumi_utils.data.teachers import Verified, verified
from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import orders
from cogumi_utils.failures.embed import load_embedder
from cogumi_utils.failures.orders import mixture
from cogumi_utils.failures.regions import assign
from cogumi_utils.failures.texts import prompt_vectors
from cogumi_utils.model.distill import Arm
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

SPARE = 1.3  # pairs ordered for each that is needed
SHOWN = 2000  # tasks of the battery that the control's teacher sees samples of
FORWARD, BIDIRECTIONAL, RANDOM = "failure-aware", "both ways", "random"
ARMS = (FORWARD, BIDIRECTIONAL, RANDOM)
PAIRS = ((FORWARD, RANDOM), (BIDIRECTIONAL, FORWARD), (FORWARD, "nothing"), (RANDOM, "nothing"))


@dataclass(frozen=True)
class Written:
    """What one teacher wrote for one seed: told of the failures, and not told."""

    seed: int
    aware: Verified
    random: Verified


def place(answers: pd.DataFrame, tasks: Sequence[Example], patterns: pd.DataFrame, embedder: str) -> pd.DataFrame:
    """Graded answers (rows as `tasks`) with their `pattern`, -1 outside all: by the prompts alone.

    Raises CogumiError for answers to other tasks.
    """
    if list(answers["id"]) != [task.id for task in tasks]:
        raise CogumiError(
            expected=f"answers to the {len(tasks)} tasks, in their order",
            found=f"{len(answers)} answers, others or in another order",
            why="an answer gets the pattern of its task's prompt",
            fix="run the stage that graded them again, from the same tasks",
        )
    vectors = prompt_vectors(load_embedder(embedder), tasks)
    return answers.assign(pattern=assign(vectors, patterns))


def write(
    post: Post,
    patterns: pd.DataFrame,
    battery: pd.DataFrame,
    tasks: Sequence[Example],
    *,
    aware: int,
    random: int,
    original: Sequence[Example] = (),
) -> Written:
    """Have `aware` pairs written that the teacher was told the failures for, and `random` ones without a word of them.

    `SPARE` times as many are ordered, since what its verifier refuses is not used. original: rows that no new one may
    repeat. Raises what the author raises.
    """
    author, taken = post.author(), [row.prompt[-1]["content"] for row in original]
    told = orders.aware(patterns, battery, tasks, round(SPARE * aware))
    control = orders.at_random(battery, tasks, round(SPARE * random), shown=SHOWN, seed=post.seed)
    return Written(post.seed, verified(author.write(told, taken=taken)), verified(author.write(control, taken=taken)))


def pairs_needed(n: int, replay: float, shares: Sequence[float], seeds: int) -> list[dict[str, int]]:
    """{"aware", "random"}: new pairs of each seed's arms; the first seed's serve the study of replay shares too."""
    new, most = (n - round(n * share) for share in (replay, min([replay, *shares])))
    return [{"aware": most if number == 0 else new, "random": new} for number in range(seeds)]


def arms(
    written: Sequence[Written], original: Sequence[Example], n: int, *, replay: float, shares: Sequence[float]
) -> list[Arm]:
    """Three arms a seed, and for the first seed one more for each further replay share: `n` rows each.

    The arms of a seed replay the same number of original rows and differ in the new ones alone.
    """
    found = [arm for one in written for arm in _of_seed(one, original, n, replay)]
    first = written[0]
    return found + [
        Arm(replay_name(share), first.seed, mixture(first.aware.examples, original, n, replay=share, seed=first.seed))
        for share in shares
    ]


def _of_seed(one: Written, original: Sequence[Example], n: int, replay: float) -> list[Arm]:
    wanted = n - round(n * replay)
    new = {
        FORWARD: one.aware.examples,
        BIDIRECTIONAL: bidirectional(one.aware.examples, wanted, one.seed),
        RANDOM: one.random.examples,
    }
    return [Arm(name, one.seed, mixture(rows, original, n, replay=replay, seed=one.seed)) for name, rows in new.items()]


def replay_name(share: float) -> str:
    return f"replay {100 * share:g}%"


def replays(share: float, others: Sequence[float]) -> dict[str, float]:
    """{arm: its replay share} of the failure-aware arms that differ in it alone."""
    return {FORWARD: share, **{replay_name(other): other for other in others}}


def bills(written: Sequence[Written], n: int, replay: float) -> dict[str, tuple[float, float]]:
    """{arm: (teacher's tokens, dollars)} of the pairs that it uses, all seeds together.

    What was written to spare costs too, so each pair bears its share of all that its teacher wrote and was refused.
    """
    wanted = n - round(n * replay)
    used = {FORWARD: wanted, BIDIRECTIONAL: (wanted + 1) // 2, RANDOM: wanted}
    total: dict[str, tuple[float, float]] = {}
    for name, pairs in used.items():
        sides = [one.random if name == RANDOM else one.aware for one in written]
        shares = [pairs / len(side.examples) for side in sides]
        tokens = sum(share * sum(side.tokens.values()) for share, side in zip(shares, sides, strict=True))
        usd = sum(share * sum(side.costs_usd.values()) for share, side in zip(shares, sides, strict=True))
        total[name] = (tokens, usd)
    return total


def rejections(written: Sequence[Written]) -> pd.DataFrame:
    """A row a seed and kind of order: `Verified.table` of what the teacher wrote."""
    import pandas as pd

    sides = [(one.seed, name, side) for one in written for name, side in ((FORWARD, one.aware), (RANDOM, one.random))]
    tables = [side.table().assign(seed=seed, order=name) for seed, name, side in sides]
    found = pd.concat(tables, ignore_index=True)
    return found[["order", "seed", *(column for column in found if column not in ("order", "seed"))]]


def rows_of(arms: Sequence[Arm], original: Sequence[Example]) -> pd.DataFrame:
    """A row an arm: rows, of these new and original, and skills among the new ones."""
    import pandas as pd

    known, lines = {row.id for row in original}, []
    for arm in arms:
        new = [row for row in arm.examples if row.id not in known]
        skills = len({row.skill for row in new})
        lines.append((arm.name, arm.seed, len(arm.examples), len(new), len(arm.examples) - len(new), skills))
    return pd.DataFrame(lines, columns=["arm", "seed", "rows", "new", "original", "skills among the new"])
