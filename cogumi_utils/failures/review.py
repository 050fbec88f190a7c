"""The patterns as a reader looks at them: their rates, their most and least typical failure, the skills behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.data import skills
from cogumi_utils.failures import clusters
from cogumi_utils.failures.clusters import Clustering
from cogumi_utils.failures.patterns import Space, nearest_first
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FEWEST = 5  # failures of a skill below which it has no line of its own
SHOWN = ["prompt", "reference", "answer", "reason"]


def rates(patterns: pd.DataFrame) -> dict[str, Interval]:
    """{name: share failed in the pattern's region}, of the regions that hold a task."""
    shown = patterns[patterns["region_n"] > 0]
    columns = ["name", "rate", "low", "high", "region_n"]
    return {name: Interval(*numbers) for name, *numbers in shown[columns].itertuples(index=False)}


def typical_and_odd(space: Space, battery: pd.DataFrame, labels: np.ndarray, patterns: pd.DataFrame) -> pd.DataFrame:
    """Of each pattern the failure nearest to its centre and the one farthest from it."""
    import pandas as pd

    wrong, prompts = battery[space.failed].reset_index(drop=True), space.prompts[space.failed]
    rows = []
    for number, name, centre in patterns[["pattern", "name", "centre"]].itertuples(index=False):
        order = nearest_first(prompts, labels, number, centre)
        rows += [(name, which, *wrong.loc[order[place], SHOWN]) for which, place in (("nearest", 0), ("farthest", -1))]
    return pd.DataFrame(rows, columns=["pattern", "which", *SHOWN])


def skill_failures(space: Space, battery: pd.DataFrame, labels: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(true skill, pattern, place among the failures) of the failed skill tasks: those whose truth is known."""
    import numpy as np

    wrong = battery[space.failed]
    rows = np.flatnonzero(wrong["source"] == skills.SOURCE)
    return wrong["skill"].iloc[rows].tolist(), labels[rows], rows


def skills_by_pattern(truth: Sequence[str], labels: Sequence[int]) -> pd.DataFrame:
    """A row a skill, a column a pattern: failures. Skills with few are counted together in the last row."""
    import pandas as pd

    named = pd.Series(list(truth), dtype=str)
    counts = named.map(named.value_counts())
    table = pd.crosstab(named.where(counts >= FEWEST, "(others)"), pd.Series(labels))
    order = sorted(table.index, key=lambda name: (name == "(others)", table.loc[name].to_numpy().argmax(), name))
    return table.loc[order].rename_axis("skill").rename(columns=str).reset_index()


def views_compared(
    space: Space, truth: Sequence[str], rows: np.ndarray, found: Clustering, labels: np.ndarray, seed: int
) -> pd.DataFrame:
    """How well the same number of clusters recovers the skills from each view alone, from all, and with HDBSCAN.

    truth, rows: of `skill_failures`; labels: the patterns of all failures.
    """
    import pandas as pd

    measured = {
        f"{name} alone": clusters.relabel(vectors[rows], found.k, seed) for name, vectors in space.views.items()
    }
    measured["all, HDBSCAN"] = clusters.density_labels(clusters.reduce(space.failures[rows], seed)[1], len(rows) // 40)
    measured["all, KMeans"] = labels[rows]
    return pd.DataFrame([_line(name, truth, own, seed) for name, own in measured.items()])


def _line(name: str, truth: Sequence[str], labels: np.ndarray, seed: int) -> dict:
    found = clusters.agreement(truth, labels, seed=seed, resamples=100)
    return {"view": name, "clusters": int(labels.max()) + 1, "noise": f"{(labels < 0).mean():.0%}",
            **{measure: str(item) for measure, item in found.items()}}  # fmt: skip
