"""Below which confidence a query goes to the dear route: quality and cost over the threshold, chosen, then confirmed.

A query whose chosen route is at least as probable as the threshold is answered by it; any other by the fallback, the
strong and dear route. As in RouteLLM (Ong et al. 2024, arXiv 2406.18665) a threshold is chosen for a share of traffic,
or for a cost, and it is confirmed on queries that did not choose it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece
from cogumi_utils.stats import CONFIDENCE, Interval, Paired, paired_difference, wilson, z_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BRIEF = (0.75, 0.80, 0.85)
POWER = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Queries with what either way gives. confidence: of the chosen route [n]; right, fallback: whether the chosen
    route and the fallback answer right, 0 or 1 [n]; cost, fallback_cost: of one query, in any one unit.
    """

    confidence: np.ndarray
    right: np.ndarray
    fallback: np.ndarray
    cost: float = 1.0
    fallback_cost: float = 10.0

    def __post_init__(self):
        import numpy as np

        for name in ("right", "fallback"):
            confidence, verdicts = ece.checked(self.confidence, getattr(self, name))
            object.__setattr__(self, name, verdicts)
        object.__setattr__(self, "confidence", confidence)
        if not (np.isfinite(self.cost) and np.isfinite(self.fallback_cost) and 0 <= self.cost < self.fallback_cost):
            raise CogumiError(
                expected="costs of 0 or more, the fallback's above the route's",
                found=f"{self.cost} and {self.fallback_cost}",
                why="a threshold weighs the fallback's quality against what it costs more",
                fix="give both in one unit, such as dollars for 1,000 queries",
            )

    def take(self, rows: np.ndarray) -> Traffic:
        return Traffic(self.confidence[rows], self.right[rows], self.fallback[rows], self.cost, self.fallback_cost)

    def answered(self, threshold: float) -> np.ndarray:
        """Whether each query is answered right at this threshold, [n]."""
        import numpy as np

        return np.where(self.confidence >= threshold, self.right, self.fallback)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a threshold does. sent_on: share to the fallback; quality: share answered right; cost: of a query."""

    threshold: float
    sent_on: Interval
    quality: Interval
    cost: Interval


def at(threshold: float, traffic: Traffic) -> Outcome:
    """Judge a threshold; on queries that did not choose it the intervals hold."""
    n, sent = len(traffic.confidence), int((traffic.confidence < threshold).sum())
    share = wilson(sent, n)
    low, value, high = (
        traffic.cost + (traffic.fallback_cost - traffic.cost) * part for part in (share.low, share.value, share.high)
    )
    quality = wilson(int(traffic.answered(threshold).sum()), n)
    return Outcome(float(threshold), share, quality, Interval(value, low, high, n, ""))


def curve(traffic: Traffic, points: int = 21, marked: Sequence[float] = BRIEF) -> pd.DataFrame:
    """threshold, sent_on, quality, quality_low, quality_high, by_lot, cost, marked: by rising threshold.

    From nothing sent on to everything: quantiles of the confidences, and the thresholds of `marked`. by_lot: quality
    where as many queries are sent on, whatever their confidence.
    """
    import numpy as np
    import pandas as pd

    spread = np.quantile(traffic.confidence, np.linspace(0, 1, points), method="higher")
    levels = np.unique([*spread, *marked, np.nextafter(traffic.confidence.max(), np.inf)])
    rows = []
    for level in levels:
        done = at(level, traffic)
        quality = (done.quality.value, done.quality.low, done.quality.high)
        sent = done.sent_on.value
        by_lot = (1 - sent) * traffic.right.mean() + sent * traffic.fallback.mean()
        rows.append((float(level), sent, *quality, float(by_lot), done.cost.value, bool(level in marked)))
    columns = ["threshold", "sent_on", "quality", "quality_low", "quality_high", "by_lot", "cost", "marked"]
    return pd.DataFrame(rows, columns=columns)


def lines(traffic: Traffic) -> dict[str, tuple[list[float], list[float]]]:
    """{by confidence, by lot: (share sent to the fallback, share answered right)}, as `plots.curves` takes them."""
    found = curve(traffic)
    sent = found["sent_on"].tolist()
    return {"by confidence": (sent, found["quality"].tolist()), "by lot": (sent, found["by_lot"].tolist())}


def table(traffic: Traffic, thresholds: Sequence[float] = BRIEF, seed: int = 0) -> pd.DataFrame:
    """A row a threshold, in words; beside the one above it, and after how many queries the two could be told apart."""
    import pandas as pd

    outcomes, told = [at(level, traffic) for level in thresholds], to_tell(thresholds, traffic, seed)
    rows = [
        (f"{one.threshold:.6g}", str(one.sent_on), str(one.quality), str(one.cost), *beside)
        for one, beside in zip(
            outcomes, [("", ""), *told[["quality", "queries needed"]].astype(str).to_numpy()], strict=True
        )
    ]
    columns = ["threshold", "sent to the fallback", "answered right", "cost of a query"]
    return pd.DataFrame(rows, columns=[*columns, "beside the one above", "queries to tell them apart"])


def for_share(share: float, confidence: Sequence[float]) -> float:
    """The highest threshold that sends at most `share` of these queries to the fallback."""
    import numpy as np

    given, _ = ece.checked(confidence, np.zeros(len(confidence)))
    if not 0 <= share <= 1:
        raise CogumiError(
            expected="a share of traffic between 0 and 1",
            found=f"{share}",
            why="so much of it may go to the fallback",
            fix="give it as a fraction, 0.2 for 20%",
        )
    allowed, ordered = math.floor(share * len(given) + 1e-9), np.sort(given)
    return float(ordered[allowed]) if allowed < len(given) else float(np.nextafter(ordered[-1], np.inf))


def for_cost(cost: float, traffic: Traffic) -> float:
    """The highest threshold at which a query costs at most `cost` on average."""
    if not traffic.cost <= cost <= traffic.fallback_cost:
        raise CogumiError(
            expected=f"a cost between {traffic.cost:g} (nothing sent on) and {traffic.fallback_cost:g} (everything)",
            found=f"{cost}",
            why="no threshold costs less or more",
            fix="move the target, or use other routes",
        )
    return for_share((cost - traffic.cost) / (traffic.fallback_cost - traffic.cost), traffic.confidence)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A threshold from one half of the queries and what it does on the other.

    target: in words. planned: on the half that chose it; confirmed: on the fresh half. kept: confirmed held against
    answering all by the chosen route (paired, after less before); strong: against sending all to the fallback.
    met: whether the fresh share's interval holds the planned share, and so the target.
    """

    target: str
    planned: Outcome
    confirmed: Outcome
    kept: Paired
    strong: Paired
    met: bool

    def table(self) -> pd.DataFrame:
        """what, estimate."""
        import pandas as pd

        rows = [
            ("target", self.target), ("threshold", f"{self.confirmed.threshold:.6g}"),
            ("sent on, where chosen", str(self.planned.sent_on)), ("sent on, fresh", str(self.confirmed.sent_on)),
            ("answered right, fresh", str(self.confirmed.quality)), ("against no fallback", str(self.kept)),
            ("against the fallback for all", str(self.strong)), ("cost of a query, fresh", str(self.confirmed.cost)),
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["what", "estimate"])


def halves(n: int, seed: int, groups: Sequence | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of two halves, ascending; rows of one group (near copies, a session) stay together."""
    import numpy as np

    names = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(names.max() + 1)
    first = order[names] < (names.max() + 1) / 2
    return np.flatnonzero(first), np.flatnonzero(~first)


def choose(
    traffic: Traffic, seed: int, *, share: float | None = None, cost: float | None = None,
    groups: Sequence | None = None,
) -> Chosen:  # fmt: skip
    """Choose for a share of traffic or for a cost on one half, confirm on the other. Give one of the two."""
    if (share is None) == (cost is None):
        raise CogumiError(
            expected="a target share or a target cost",
            found=f"share={share}, cost={cost}",
            why="one threshold meets one target",
            fix="give one of them",
        )
    planning, fresh = (traffic.take(rows) for rows in halves(len(traffic.confidence), seed, groups))
    level = for_cost(cost, planning) if share is None else for_share(share, planning.confidence)
    target = f"at most {cost:g} a query" if share is None else f"at most {share:.0%} to the fallback"
    planned, confirmed = at(level, planning), at(level, fresh)
    done = fresh.answered(level)
    kept, strong = paired_difference(fresh.right, done, seed), paired_difference(fresh.fallback, done, seed)
    met = confirmed.sent_on.low <= planned.sent_on.value <= confirmed.sent_on.high
    return Chosen(target, planned, confirmed, kept, strong, met)


def difference(low: float, high: float, traffic: Traffic, seed: int = 0) -> Paired:
    """Quality at the higher threshold less that at the lower, on the same queries: only those between them can tell."""
    return paired_difference(traffic.answered(low), traffic.answered(high), seed)


def queries_to_tell(gained: float, lost: float, power: float = POWER, confidence: float = CONFIDENCE) -> int | None:
    """Queries after which a paired test finds the difference with probability `power`; None where there is none.

    gained, lost: shares of queries that only the one, and only the other threshold answers right. n = (z_a √ψ +
    z_b √(ψ - δ²))² / δ² with ψ = gained + lost and δ = gained - lost (Connor 1987, Biometrics 43, 207-211), for
    McNemar's test; the exact one needs a little more.
    """
    if not (gained >= 0 and lost >= 0 and gained + lost <= 1 and 0.5 <= power < 1):
        raise CogumiError(
            expected="shares of queries gained and lost, together at most 1, and a power from 0.5 to below 1",
            found=f"{gained}, {lost}, power {power}",
            why="the number of queries follows from how often two thresholds differ",
            fix="take the two shares from `difference`: gained / n and lost / n",
        )
    discordant, effect = gained + lost, abs(gained - lost)
    if not effect:
        return None
    spread = z_of(confidence) * math.sqrt(discordant) + z_of(2 * power - 1) * math.sqrt(discordant - effect**2)
    return math.ceil((spread / effect) ** 2)


def to_tell(thresholds: Sequence[float], traffic: Traffic, seed: int = 0, power: float = POWER) -> pd.DataFrame:
    """A row a neighbouring pair: difference in quality, queries that differ, queries needed to tell the two apart."""
    import itertools

    import pandas as pd

    rows = []
    for low, high in itertools.pairwise(sorted(thresholds)):
        found = difference(low, high, traffic, seed)
        needed = queries_to_tell(found.gained / found.n, found.lost / found.n, power)
        rows.append((f"{low:g} → {high:g}", str(found), found.gained + found.lost, needed))
    return pd.DataFrame(rows, columns=["thresholds", "quality", "queries that differ", "queries needed"])
