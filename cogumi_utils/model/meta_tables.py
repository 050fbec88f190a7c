"""What the arms of the meta-learning study give, with intervals over families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.model.meta_study import MetaOutcome
from cogumi_utils.stats import Interval, Paired, bootstrap_mean_ci, paired_difference

if TYPE_CHECKING:
    import pandas as pd


def scores(outcomes: Sequence[MetaOutcome]) -> pd.DataFrame:
    """family, kind, shots, right, arm, seed: one row a family, number of shots, arm and seed."""
    import pandas as pd

    return pd.concat([one.scores() for one in outcomes], ignore_index=True)


def of_families(table: pd.DataFrame, shots: int) -> pd.DataFrame:
    """[families, arms]: the mean over the seeds, arms in their order; the unit of all intervals."""
    some = table[table["shots"] == shots]
    means = some.pivot_table(index="family", columns="arm", values="right", aggfunc="mean")
    return means[list(dict.fromkeys(some["arm"]))]


def intervals(table: pd.DataFrame, shots: int, seed: int) -> dict[str, Interval]:
    """{arm: mean share right over the families} with bootstrap intervals."""
    means = of_families(table, shots)
    return {str(arm): bootstrap_mean_ci(means[arm].to_numpy(), seed, unit="%") for arm in means}


def by_shots(table: pd.DataFrame, seed: int) -> dict[str, list[tuple[float, Interval]]]:
    """{arm: [(shots, mean share right), ...]}, for a figure."""
    found = {shots: intervals(table, shots, seed) for shots in sorted(table["shots"].unique())}
    return {arm: [(float(shots), each[arm]) for shots, each in found.items()] for arm in next(iter(found.values()))}


def summary(table: pd.DataFrame, outcomes: Sequence[MetaOutcome], seed: int) -> pd.DataFrame:
    """arm, right at each number of shots with its interval, lowest and highest seed at the last, tokens, seconds."""
    import pandas as pd

    most, rows = table["shots"].max(), []
    for arm, points in by_shots(table, seed).items():
        seeds = table[(table["arm"] == arm) & (table["shots"] == most)].groupby("seed")["right"].mean()
        own = [one for one in outcomes if one.arm == arm]
        shares = {
            f"{shots:.0f} shots": f"{100 * i.value:.1f}% [{100 * i.low:.1f}, {100 * i.high:.1f}]" for shots, i in points
        }
        row = {"arm": arm, **shares, "seeds": f"{100 * seeds.min():.1f} to {100 * seeds.max():.1f}%"}
        rows.append(row | {"training tokens": own[0].tokens, "seconds": sum(one.seconds for one in own) / len(own)})
    return pd.DataFrame(rows)


def kinds(table: pd.DataFrame, shots: int) -> pd.DataFrame:
    """kind, families, then one column an arm: share right at `shots`."""
    some = table[table["shots"] == shots]
    shares = some.pivot_table(index="kind", columns="arm", values="right", aggfunc="mean")
    counts = some.groupby("kind")["family"].nunique()
    ordered = shares[list(dict.fromkeys(some["arm"]))]
    ordered.insert(0, "families", counts)
    return ordered.reset_index()


def difference(table: pd.DataFrame, arm: str, other: str, shots: int, seed: int) -> Paired:
    """Share right of `arm` minus that of `other`, paired by family (each the mean over the seeds)."""
    means = of_families(table, shots)
    return paired_difference(means[other].to_numpy(), means[arm].to_numpy(), seed)


def differences(table: pd.DataFrame, arm: str, shots: int, seed: int) -> dict[str, Paired]:
    """{"minus ...": difference to each other arm}, for a figure."""
    others = [other for other in of_families(table, shots) if other != arm]
    return {f"minus {other}": difference(table, arm, other, shots, seed) for other in others}


def curves(outcomes: Sequence[MetaOutcome], seed: int) -> dict[str, tuple[list[float], list[float]]]:
    """{arm: (tokens, nats)} of one seed: a mean over ten outer steps, since each has other families."""
    found = {}
    for one in outcomes:
        if one.seed == seed and one.losses:
            width = max(1, len(one.losses) // 10)
            starts = range(0, len(one.losses) - width + 1, width)
            share = one.tokens / len(one.losses)
            means = [sum(one.losses[start : start + width]) / width for start in starts]
            found[one.arm] = ([share * (start + width) for start in starts], means)
    return found
