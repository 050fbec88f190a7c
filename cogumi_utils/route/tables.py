"""What a router's choices look like: confusion, groups, how far its confidence is right, what it sends to the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece
from cogumi_utils.route.evaluate import checked, choices, of_chosen, share
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MACRO = "mean of the groups"
ABSTENTION = ["threshold", "of no domain, to the base", "of a domain, to the base"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far the probability of the chosen route is from how often it is right.

    ece: debiased (what a gate judges); plain: with its bias, beside `floor`, which a perfect router measures. auroc:
    None where all choices are right or all wrong. points: reliability, as `plots.estimates` takes it.
    """

    ece: Interval
    plain: Interval
    floor: Interval
    brier: Interval
    auroc: Interval | None
    points: list[tuple[float, Interval]]

    def table(self) -> pd.DataFrame:
        """measure, estimate."""
        import pandas as pd

        rows = [
            ("ECE, debiased", str(self.ece)), ("ECE, plain", str(self.plain)),
            ("a perfect router measures", str(self.floor)), ("Brier", str(self.brier)),
            ("AUROC of right against wrong", "all of one kind" if self.auroc is None else str(self.auroc)),
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["measure", "estimate"])


def calibration(probabilities: np.ndarray, right: np.ndarray, bins: int = ece.BINS, seed: int = 0) -> Calibration:
    """Of the chosen route's probability. right: [n, routes]; with `evaluate.one_hot`, of the domain's own route."""
    given = checked(probabilities)
    confidence, hit = given.max(axis=1), of_chosen(choices(given), right)
    return Calibration(
        ece.ece(confidence, hit, bins=bins, seed=seed), ece.ece(confidence, hit, bins=bins, debiased=False, seed=seed),
        ece.noise_floor(confidence, bins=bins, seed=seed), ece.brier(confidence, hit, seed),
        ece.auroc(confidence, hit, seed=seed) if 0 < hit.mean() < 1 else None, ece.reliability(confidence, hit, bins),
    )  # fmt: skip


def confusion(chosen: np.ndarray, domain: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
    """A row a domain (its own route's name), a column a route chosen, in the order of `names`: numbers of queries.

    Then `n` and `right`, the share sent to its own route with its interval. Domains without a query have no row.
    """
    import numpy as np
    import pandas as pd

    truth, chosen = np.asarray(domain, dtype=int), np.asarray(chosen)
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (truth, chosen), 1)
    rows = [
        (names[one], *counts[one], counts[one].sum(), str(share((chosen == one)[truth == one]))) for one in set(truth)
    ]
    return pd.DataFrame(rows, columns=["domain", *names, "n", "right"])


def by_group(verdicts: np.ndarray, groups: Sequence[str]) -> dict[str, Interval]:
    """{group: share right}, worst first: a data set, a skill or a domain each."""
    import numpy as np

    names, verdicts = np.asarray(groups), np.asarray(verdicts, dtype=float)
    found = {str(name): share(verdicts[names == name]) for name in np.unique(names)}
    return dict(sorted(found.items(), key=lambda item: item[1].value))


def group_table(verdicts: np.ndarray, groups: Sequence[str], by: str = "set", seed: int = 0) -> pd.DataFrame:
    """A row a group, worst first, then their unweighted mean: by, n, right. The mean's interval: queries are drawn anew
    within each group, the groups stay.
    """
    import pandas as pd

    rows = [(name, one.n, str(one)) for name, one in by_group(verdicts, groups).items()]
    macro = macro_mean(verdicts, groups, seed)
    return pd.DataFrame([*rows, (MACRO, macro.n, str(macro))], columns=[by, "n", "right"])


def macro_mean(verdicts: np.ndarray, groups: Sequence[str], seed: int = 0) -> Interval:
    """Unweighted mean of the groups' shares, bootstrap interval (2,000 draws within each group)."""
    import numpy as np

    names, verdicts, generator = np.asarray(groups), np.asarray(verdicts, dtype=float), np.random.default_rng(seed)
    sizes = {name: (int((names == name).sum()), verdicts[names == name].mean()) for name in np.unique(names)}
    draws = [generator.binomial(n, mean, 2000) / n for n, mean in sizes.values()]  # a bootstrap of 0/1 is binomial
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    return Interval(float(np.mean([mean for _, mean in sizes.values()])), float(low), float(high), len(verdicts))


def abstention(
    probabilities: np.ndarray, foreign: Sequence[bool], base: int, thresholds: Sequence[float]
) -> pd.DataFrame:
    """A row a threshold: how many queries of no domain fall to the base, as they should, and how many of the domains.

    A query falls to the base where that is the choice, or where the choice is less probable than `threshold`.
    foreign: whether a query belongs to no domain. Raises CogumiError where all or none do.
    """
    import numpy as np
    import pandas as pd

    given, foreign = checked(probabilities), np.asarray(foreign, dtype=bool)
    if foreign.shape != given.shape[:1] or foreign.all() or not foreign.any():
        raise CogumiError(
            expected="queries of the domains and queries of no domain, each marked",
            found=f"{int(foreign.sum())} of {len(foreign)} marked as of no domain, {len(given)} probabilities",
            why="abstaining is good on one kind and bad on the other",
            fix="add plain chat to the queries of the domains",
        )
    rows = []
    for threshold in thresholds:
        falls = ((given.argmax(axis=1) == base) | (given.max(axis=1) < threshold)).astype(float)
        rows.append((threshold, str(share(falls[foreign])), str(share(falls[~foreign]))))
    return pd.DataFrame(rows, columns=ABSTENTION)


def worst(
    probabilities: np.ndarray, domain: Sequence[int], texts: Sequence[str], names: Sequence[str], n: int = 6
) -> pd.DataFrame:
    """The `n` surest wrong choices, one a pair of (domain, route) as long as there are others: to look at."""
    import pandas as pd

    given = checked(probabilities, len(names))
    frame = pd.DataFrame({
        "query": list(texts), "domain": [names[one] for one in domain],
        "sent to": [names[one] for one in given.argmax(axis=1)], "confidence": given.max(axis=1),
    })  # fmt: skip
    wrong = frame[frame["domain"] != frame["sent to"]].sort_values("confidence", ascending=False, kind="stable")
    turn = wrong.groupby(["domain", "sent to"]).cumcount()
    return wrong.assign(_turn=turn).sort_values("_turn", kind="stable").head(n)[list(frame)].reset_index(drop=True)
