"""Graded answers as figures and sentences take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.stats import Interval, Paired, paired_difference, wilson

if TYPE_CHECKING:
    import pandas as pd


def share(frame: pd.DataFrame) -> Interval:
    """The share of right answers with its Wilson interval."""
    return wilson(int(frame["passed"].sum()), len(frame))


def shares(frame: pd.DataFrame, by: str = "skill") -> dict[str, Interval]:
    """{group: share of right answers}, best first."""
    found = {str(name): share(group) for name, group in frame.groupby(by)}
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def differences(before: pd.DataFrame, after: pd.DataFrame, by: str = "domain", seed: int = 0) -> dict[str, Paired]:
    """{group: paired difference of the two results of each example}, the overall one last.

    Raises CogumiError where an example is in one of the tables only.
    """
    both = before.merge(after[["id", "passed"]], on="id", suffixes=("", "_after"), validate="one_to_one")
    if not len(both) == len(before) == len(after):
        raise CogumiError(
            expected="the same examples in both tables",
            found=f"{len(before)} and {len(after)} rows, {len(both)} of them in both",
            why="a paired comparison needs both results of every example",
            fix="grade both models on the same list of examples",
        )
    groups = [(str(name), group) for name, group in both.groupby(by)]
    return {
        name: paired_difference(group["passed"].to_numpy(), group["passed_after"].to_numpy(), seed)
        for name, group in [*groups, ("overall", both)]
    }


def stacked(frames: Mapping[str, pd.DataFrame], column: str) -> pd.DataFrame:
    """{name: graded answers} in one table with its names in `column`: one row an answer, to remake any table from."""
    import pandas as pd

    return pd.concat([frame.assign(**{column: name}) for name, frame in frames.items()], ignore_index=True)
