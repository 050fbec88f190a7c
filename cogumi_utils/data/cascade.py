"""Cheap teachers first: what a student fails goes up tier by tier, and only the hardest part reaches the dearest.

Each answer is verified before it counts, so "test again" means: does the tier's own answer hold? What it missed goes on
to the next tier. The last tier writes new tasks like the hardest ones, told what goes wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cogumi_utils.data.commission import Commission, Mistake
from cogumi_utils.data.spending import PICO
from cogumi_utils.data.staff import Post
from cogumi_utils.data.teachers import TeacherAnswer, TeacherRequest, Verified, verified
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

SPARE = 1.15  # tasks ordered from the last tier for each that is needed: some are refused


@dataclass(frozen=True)
class Cascade:
    """examples: verified, of all tiers. tiers: a row a tier, as `Verified.table`. hardest: what the last tier saw.

    usd: what was paid (0 for cached answers); usd_alone: what the same texts cost at the last tier's price.
    """

    examples: list[Example]
    tiers: pd.DataFrame
    hardest: list[Mistake]
    usd: float
    usd_alone: float


def climb(
    mistakes: Collection[Mistake], posts: Sequence[Post], *, name: str, hardest_share: float, total: int,
    taken: Collection[str] = (),
) -> Cascade:  # fmt: skip
    """Send what the student failed up the tiers; the last one writes new tasks like the hardest share of it.

    total: verified examples wanted. The last tier writes its share, and more where the lower tiers kept too few.
    name: of the commission, such as the domain. taken: further questions that may not be written; no failed one is.
    Raises CogumiError where there is no mistake or only one tier, and what teachers raise: the same call again, under
    a higher limit, goes on where it ended.
    """
    if not mistakes or len(posts) < 2:
        raise CogumiError(
            expected="tasks that the student failed, and two tiers or more",
            found=f"{len(mistakes)} failed tasks, {len(posts)} tiers",
            why="a cascade sends what one tier misses to the next",
            fix="take harder tasks or more of them (`pool_per_skill`), and name a model for each tier",
        )
    *lower, last = posts
    done, left = list[Verified](), list(mistakes)
    answered = list[TeacherAnswer]()
    for post in lower:
        answers = post.teacher().answer([_question(mistake) for mistake in left])
        done.append(verified(answers))
        answered += answers
        solved = {example.parents[0] for example in done[-1].examples}
        left = [mistake for mistake in left if mistake.example.id not in solved]
    worst = hardest(mistakes, left, hardest_share)
    asked = [mistake.example.prompt[-1]["content"] for mistake in mistakes]  # a lower tier's row would come twice
    kept = sum(len(tier.examples) for tier in done)
    wanted = round(SPARE * max(hardest_share * total, total - kept, 1))
    written = last.author().write([Commission(name, (), tuple(worst), wanted)], taken=[*taken, *asked])
    done.append(verified(written))
    alone = sum(last.price.cost_pico(answer.tokens_in, answer.tokens_out) for answer in [*answered, *written]) / PICO
    return Cascade(
        examples=[example for tier in done for example in tier.examples], tiers=_table(done, [p.name for p in posts]),
        hardest=worst, usd=sum(sum(tier.costs_usd.values()) for tier in done), usd_alone=alone,
    )  # fmt: skip


def hardest(mistakes: Sequence[Mistake], left: Sequence[Mistake], share: float) -> list[Mistake]:
    """The hardest `share` of the mistakes: those that no tier has solved, then the most difficult ones."""
    unsolved = {mistake.example.id for mistake in left}
    order = sorted(mistakes, key=lambda m: (m.example.id not in unsolved, -m.example.difficulty, m.example.id))
    return order[: max(1, round(share * len(mistakes)))]


def _question(mistake: Mistake) -> TeacherRequest:
    """Without parents of its own, so that what is kept names the failed task as its parent."""
    return TeacherRequest.of(replace(mistake.example, parents=()))


def _table(done: Sequence[Verified], names: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    tables = [table for tier in done if len(table := tier.table())]
    table = pd.concat(tables, ignore_index=True).set_index("teacher")
    table = table.reindex(names, fill_value=0).reset_index()  # also the tier that had nothing left to do
    return table.assign(cost_usd_per_kept=table["cost_usd_per_kept"].where(table["kept"] > 0))
