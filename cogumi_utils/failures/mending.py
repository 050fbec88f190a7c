"""What the arms of a study mended and what they broke: paired with the student before, per pattern and per domain.

An arm's score of a task is the share of its seeds that answer it right, so that tasks are what is resampled and seeds
are taken as they are; their spread is reported beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.model.distill import Outcome
from cogumi_utils.stats import Paired, fdr, paired_difference

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ALPHA = 0.05  # false discovery rate
MENDED = 0.5  # share right from which a pattern counts as mended


def scores(before: pd.DataFrame, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """`before` (graded, with its column `pattern`, -1 outside all) with one column of scores (0 to 1) an arm.

    `before.passed` becomes the column `nothing`: the arm that is not trained. Raises CogumiError for an arm that was
    graded on other tasks.
    """
    table = before.assign(nothing=before["passed"].astype(float))
    graded: dict[str, list[np.ndarray]] = {}
    for outcome in outcomes:
        frame = outcome.graded()
        if list(frame["id"]) != list(before["id"]):
            raise CogumiError(
                expected="every arm graded on the tasks of the student before, in their order",
                found=f"{outcome.arm}, seed {outcome.seed}: {len(frame)} other tasks, before {len(before)}",
                why="the comparison is paired",
                fix="run the study again from its first arm",
            )
        graded.setdefault(outcome.arm, []).append(frame["passed"].to_numpy(dtype=float))
    return table.assign(**{arm: sum(columns) / len(columns) for arm, columns in graded.items()})


def arms_of(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(outcome.arm for outcome in outcomes))


def by_pattern(table: pd.DataFrame, arms: Sequence[str], patterns: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A row an arm and pattern: n, before, after, difference with 95% interval, p, q (FDR over the rows), verdict.

    verdict: `better` or `worse` where q is under 5%, else `open`.
    """
    import pandas as pd

    names, rows = dict(zip(patterns["pattern"], patterns["name"], strict=True)), []
    for arm in arms:
        for pattern, group in table[table["pattern"] >= 0].groupby("pattern"):
            found = paired_difference(group["nothing"], group[arm], seed)
            ends = {"before": group["nothing"].mean(), "after": group[arm].mean(), "difference": found.value}
            bounds = {"low": found.low, "high": found.high, "p": found.p_value}
            rows.append({"arm": arm, "pattern": names[pattern], "n": found.n, **ends, **bounds})
    result = pd.DataFrame(rows)
    result["q"] = fdr(list(result["p"]))
    sure = result["q"] < ALPHA
    result["verdict"] = "open"
    result.loc[sure & (result["difference"] > 0), "verdict"] = "better"
    result.loc[sure & (result["difference"] < 0), "verdict"] = "worse"
    return result


def contrasts(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], seed: int) -> dict[str, Paired]:
    """{"one minus other": paired difference of two arms on the tasks of the failing patterns}."""
    failing = table[table["pattern"] >= 0]
    return {f"{one} minus {other}": paired_difference(failing[other], failing[one], seed) for one, other in pairs}


def elsewhere(table: pd.DataFrame, arm: str, seed: int) -> dict[str, Paired]:
    """{domain: arm minus before} on the tasks outside all patterns: what the training broke, lowest bound first."""
    outside = table[table["pattern"] < 0]
    found = {str(name): paired_difference(g["nothing"], g[arm], seed) for name, g in outside.groupby("domain")}
    return dict(sorted(found.items(), key=lambda item: item[1].low))


def not_mended(patterns: pd.DataFrame, arm: str) -> list[str]:
    """The patterns of which `arm` answers less than half right: what this budget cannot mend."""
    rows = patterns[(patterns["arm"] == arm) & (patterns["after"] < MENDED)]
    return rows.sort_values("after")["pattern"].tolist()


def by_replay(
    table: pd.DataFrame, outcomes: Sequence[Outcome], shares: Mapping[str, float], seed: int
) -> dict[str, tuple[list[float], list[float]]]:
    """{where: (replay shares, shares right)} of the arms' runs of one seed. shares: {arm: its replay share}."""
    runs = [one for one in outcomes if one.arm in shares and one.seed == seed]
    runs.sort(key=lambda one: shares[one.arm])
    places = [shares[one.arm] for one in runs]
    right = [one.graded()["passed"].to_numpy() for one in runs]
    failing = (table["pattern"] >= 0).to_numpy()
    sides = {"failing patterns": failing, "elsewhere": ~failing}
    return {name: (places, [float(run[mask].mean()) for run in right]) for name, mask in sides.items()}


def summary(
    table: pd.DataFrame, outcomes: Sequence[Outcome], bills: Mapping[str, tuple[float, float]], seed: int
) -> pd.DataFrame:
    """A row an arm: failing and other tasks right (with the seeds' range), points gained, tokens and dollars a point.

    bills: {arm: (teacher's tokens, dollars)} of all its seeds together. Without a bill, or a point gained, none has a
    price.
    """
    import pandas as pd

    failing, rows = table["pattern"] >= 0, []
    for arm in ["nothing", *arms_of(outcomes)]:
        runs = [o for o in outcomes if o.arm == arm]
        each = [o.graded()["passed"].to_numpy() for o in runs] or [table[arm].to_numpy()]
        ranges = [in_range([run[mask].mean() for run in each]) for mask in (failing, ~failing)]
        points = 100 * (table.loc[failing, arm].mean() - table.loc[failing, "nothing"].mean())
        bill = bills[arm] if arm in bills and points > 0 else (None, None)
        prices = [None if total is None else total / len(runs) / points for total in bill]
        rows.append((arm, len(runs), *ranges, points, *prices))
    columns = ["arm", "seeds", "failing tasks right", "other tasks right", "points gained", "tokens a point"]
    return pd.DataFrame(rows, columns=[*columns, "USD a point"])


def in_range(values: Sequence[float]) -> str:
    """Shares in per cent: their mean and, of several, the lowest and the highest."""
    middle = f"{100 * sum(values) / len(values):.1f}%"
    return middle if len(values) == 1 else f"{middle} ({100 * min(values):.1f} to {100 * max(values):.1f})"
