"""How good a router's choices are: beside one route for all, beside chance, and beside what was possible.

A router's probabilities are [n, routes]; `right` says 0 or 1 for every query and route. Nothing here knows a model:
what is judged is which column was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece
from cogumi_utils.stats import CONFIDENCE, Interval, Paired, bootstrap_mean_ci, paired_difference, wilson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RESAMPLES = 2000
ROUTED, SINGLE, RANDOM, DOMAIN, ORACLE = "routed", "best single route", "random", "domain oracle", "correctness oracle"


def checked(probabilities: np.ndarray, routes: int | None = None) -> np.ndarray:
    """Float array [n, routes]. Raises CogumiError for what is empty, not finite, or has another number of routes."""
    import numpy as np

    given = np.asarray(probabilities, dtype=float)
    fault = ""
    if given.ndim != 2 or not given.size or routes not in (None, given.shape[-1]):
        fault = f"shape {given.shape}"
    elif not ((given >= 0) & (given <= 1)).all():  # NaN is neither
        fault = f"{int((~((given >= 0) & (given <= 1))).sum())} entries outside 0 to 1 or no number"
    if fault:
        raise CogumiError(
            expected=f"probabilities of shape [queries, {routes or 'routes'}]",
            found=fault,
            why="a choice is the most probable route of each query",
            fix="pass what the router answers for the same queries, routes in the same order",
        )
    return given


def choices(probabilities: np.ndarray) -> np.ndarray:
    """The most probable route of each query, int [n]; the first one where several are."""
    return checked(probabilities).argmax(axis=1)


def one_hot(domain: Sequence[int], routes: int) -> np.ndarray:
    """`right` for the question "is it the domain's own route?", [n, routes]."""
    import numpy as np

    return np.eye(routes)[np.asarray(domain, dtype=int)]


def of_chosen(chosen: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether the chosen route of each query is right, float [n]. Raises CogumiError where the two don't match."""
    import numpy as np

    chosen, right = np.asarray(chosen), np.asarray(right, dtype=float)
    if right.ndim != 2 or chosen.shape != right.shape[:1] or not right.size or chosen.max() >= right.shape[1]:
        raise CogumiError(
            expected="a chosen route for each query, and verdicts of shape [queries, routes]",
            found=f"shapes {chosen.shape} and {right.shape}, highest route {chosen.max() if chosen.size else 'none'}",
            why="each choice is looked up among the verdicts on that query",
            fix="grade the answers of every route to the same queries, in the same order",
        )
    if not np.isin(right, (0, 1)).all():
        raise CogumiError(
            expected="verdicts right (1) or wrong (0)",
            found=f"{int((~np.isin(right, (0, 1))).sum())} other entries",
            why="shares of right answers are counted",
            fix="turn scores into verdicts first",
        )
    return right[np.arange(len(chosen)), chosen]


def accuracy(chosen: np.ndarray, right: np.ndarray) -> Interval:
    """Share of queries whose chosen route is right (Wilson). With `one_hot` it is the domain accuracy."""
    return share(of_chosen(chosen, right))


def share(verdicts: np.ndarray) -> Interval:
    """Share of ones with its Wilson interval."""
    return wilson(int(verdicts.sum()), len(verdicts))


def best_single(right: np.ndarray) -> int:
    """The route that answers most of these queries right: the first one where several do.

    Chosen on the queries that it is then judged on it is flattered, so that a router is compared with more than it
    could have known; pass one chosen on other queries to be exact.
    """
    return int(right.sum(axis=0).argmax())


def references(
    chosen: np.ndarray, right: np.ndarray, domain: Sequence[int] | None = None, single: int | None = None,
    names: Sequence[str] | None = None, seed: int = 0,
) -> dict[str, Interval]:  # fmt: skip
    """{routed, best single route (its name), random, domain oracle, correctness oracle: share of right answers}.

    random: each route with the same probability, its expectation (bootstrap interval). domain: the domain's own route
    of each query; without it there is no domain oracle.
    """
    import numpy as np

    routed = of_chosen(chosen, right)
    right = np.asarray(right, dtype=float)
    single = best_single(right) if single is None else single
    found = {ROUTED: share(routed), f"{SINGLE} ({names[single] if names else single})": share(right[:, single])}
    found[RANDOM] = bootstrap_mean_ci(right.mean(axis=1), seed, resamples=RESAMPLES, unit="%")
    if domain is not None:
        found[DOMAIN] = share(of_chosen(np.asarray(domain, dtype=int), right))
    return {**found, ORACLE: share(right.max(axis=1))}


def regret(chosen: np.ndarray, right: np.ndarray, seed: int = 0) -> Interval:
    """Share of queries answered wrong that some route answers right, with a paired bootstrap interval.

    Where that is none of them, or all, a bootstrap would be sure of it: then the interval is Wilson's.
    """
    import numpy as np

    lost = np.asarray(right, dtype=float).max(axis=1) - of_chosen(chosen, right)
    one_kind = lost.min() == lost.max()
    return share(lost) if one_kind else bootstrap_mean_ci(lost, seed, resamples=RESAMPLES, unit="%")


def gap_closed(chosen: np.ndarray, right: np.ndarray, single: int | None = None, seed: int = 0) -> Interval:
    """(routed - best single route) / (correctness oracle - best single route), with a bootstrap interval over queries.

    single: fixed, or chosen anew in every resample, so that the choice's own luck is in the interval. Resamples without
    a gap are left out. Raises CogumiError where there is no gap to close.
    """
    import numpy as np

    routed, right = of_chosen(chosen, right), np.asarray(right, dtype=float)
    columns = np.column_stack([routed, right.max(axis=1), right if single is None else right[:, [single]]])
    point = float(_closed(np.ones((1, len(routed))), columns)[0])
    if not np.isfinite(point):
        raise CogumiError(
            expected="queries that some route answers right and the best single route does not",
            found=f"none in {len(routed)}",
            why="a share of no gap has no value",
            fix="judge on more queries, or on routes that differ",
        )
    repeats = _closed(ece.resampled(len(routed), seed, resamples=RESAMPLES), columns)
    low, high = np.nanquantile(repeats, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(point, float(low), float(high), len(routed))


def _closed(weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[resamples]; columns: routed, oracle, then the routes that may be the single one; NaN without a gap."""
    import numpy as np

    sums = weights @ columns
    single = sums[:, 2:].max(axis=1)
    gap = sums[:, 1] - single
    return np.where(gap > 0, (sums[:, 0] - single) / np.where(gap > 0, gap, 1), np.nan)


def compare(before: np.ndarray, after: np.ndarray, right: np.ndarray, seed: int = 0) -> Paired:
    """Two routers' choices on the same queries: share right of `after` less that of `before`."""
    return paired_difference(of_chosen(before, right), of_chosen(after, right), seed)


@dataclass(frozen=True, slots=True)
class Study:
    """A router judged on fresh queries; see `study`. gain: routed less the best single route. closed: None without a
    gap. domain: share sent to the domain's own route; None where no domains are given.
    """

    answers: dict[str, Interval]
    gain: Paired
    regret: Interval
    closed: Interval | None
    domain: Interval | None

    def table(self) -> pd.DataFrame:
        """what, estimate: a line each, as a reader takes them."""
        import pandas as pd

        rows = [(f"right answers, {name}", str(one)) for name, one in self.answers.items()]
        rows += [("gain over the best single route", str(self.gain)), ("regret to the oracle", str(self.regret))]
        rows.append(("gap to the oracle closed", "no gap" if self.closed is None else str(self.closed)))
        if self.domain is not None:
            rows.append(("sent to the domain's own route", str(self.domain)))
        return pd.DataFrame(rows, columns=["what", "estimate"])


def study(
    probabilities: np.ndarray, right: np.ndarray, domain: Sequence[int] | None = None, *, single: int | None = None,
    names: Sequence[str] | None = None, seed: int = 0,
) -> Study:  # fmt: skip
    """All of the above for one router. domain: [n] the domain's own route. single: the best route on other queries."""
    import numpy as np

    right = np.asarray(right, dtype=float)
    chosen = choices(checked(probabilities, right.shape[-1]))
    answers = references(chosen, right, domain, single, names, seed)
    alone = best_single(right) if single is None else single
    try:
        closed = gap_closed(chosen, right, single, seed)
    except CogumiError:
        closed = None
    own = None if domain is None else accuracy(chosen, one_hot(domain, right.shape[1]))
    gain = paired_difference(right[:, alone], of_chosen(chosen, right), seed)
    return Study(answers, gain, regret(chosen, right, seed), closed, own)
