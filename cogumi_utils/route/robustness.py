"""Does a router's choice survive another wording of the query, and the loss of its first words?

A router that learned a data set's template instead of its content is right until the template's first words are cut:
the prefix-removal test names the sets where that is so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.route.evaluate import choices, of_chosen, share
from cogumi_utils.route.noise import NOISES, RATE, noisy
from cogumi_utils.stats import Interval, Paired, paired_difference

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Router = Callable[[list[str]], "np.ndarray"]  # texts to probabilities [n, routes]
CUTS = (1, 2, 3, 4, 5, 6)
FEWEST_WORDS = 3  # that must be left of a query for its choice to mean anything
MARGIN = 0.2  # of a set's accuracy: with more lost, its template and not its content was learned


@dataclass(frozen=True, slots=True)
class Survival:
    """Choices before and after a change, on the queries that it changed. flips: share whose choice changed; before,
    after: share of right choices; difference: after less before; None of them where no query was changed.
    """

    name: str
    n: int
    flips: Interval | None = None
    before: Interval | None = None
    after: Interval | None = None
    difference: Paired | None = None


def survive(
    router: Router, name: str, texts: Sequence[str], changed: Sequence[str], right: np.ndarray, seed: int = 0
) -> Survival:
    """Ask for the choices on the texts that differ from `changed` and on what became of them. right: [n, routes]."""
    import numpy as np

    rows = np.array([i for i, (old, new) in enumerate(zip(texts, changed, strict=True)) if old != new], dtype=int)
    if not len(rows):
        return Survival(name, 0)
    old, new = (choices(router([given[i] for i in rows])) for given in (texts, changed))
    before, after = (of_chosen(chosen, np.asarray(right)[rows]) for chosen in (old, new))
    flips = share((old != new).astype(float))
    return Survival(name, len(rows), flips, share(before), share(after), paired_difference(before, after, seed))


def robustness(
    router: Router, texts: Sequence[str], right: np.ndarray, *, seed: int = 0, names: Sequence[str] = tuple(NOISES),
    rate: float = RATE,
) -> list[Survival]:  # fmt: skip
    """One Survival a noise (see `noise.NOISES`). rate: typing errors for 100 characters."""
    return [survive(router, name, texts, noisy(texts, name, seed, rate), right, seed) for name in names]


def table(found: Sequence[Survival]) -> pd.DataFrame:
    """noise, queries changed, choice flipped, right before, right after, difference."""
    import pandas as pd

    rows = []
    for one in found:
        estimates = (one.flips, one.before, one.after, one.difference)
        rows.append((one.name, one.n, *("" if item is None else str(item) for item in estimates)))
    columns = ["change", "queries changed", "choice flipped", "right before", "right after", "difference"]
    return pd.DataFrame(rows, columns=columns)


def without_first(text: str, words: int) -> str:
    """The text from its (words + 1)-th word on, as it stands there.

    Unchanged where fewer than three words would be left, or fewer than were cut: then its content would be gone too.
    """
    found, fewest = re.match(rf"\s*(?:\S+\s+){{{words}}}", text), max(FEWEST_WORDS, words)
    rest = text[found.end() :] if found else ""
    return rest if len(rest.split(None, fewest)) >= fewest else text


@dataclass(frozen=True, slots=True)
class PrefixTest:
    """cuts: {(set, words cut): Survival}; collapsed: sets that lose more than `margin` of their accuracy for sure,
    with the fewest words after which they do."""

    cuts: dict[tuple[str, int], Survival]
    collapsed: dict[str, int]
    margin: float

    def table(self) -> pd.DataFrame:
        """set, words cut, queries, choice flipped, right before, right after, difference, collapsed."""
        frame = table(list(self.cuts.values())).rename(columns={"change": "set", "queries changed": "queries"})
        frame.insert(1, "words cut", [words for _, words in self.cuts])
        marks = ["yes" if words >= self.collapsed.get(name, words + 1) else "" for name, words in self.cuts]
        return frame.assign(collapsed=marks)

    @property
    def sentence(self) -> str:
        if not self.collapsed:
            return f"No set loses more than {self.margin:.0%} of its right choices with its first words."
        named = ", ".join(f"{name} (from {words} cut)" for name, words in self.collapsed.items())
        return f"Learned from the template and not from the content: {named}."


def prefix_removal(
    router: Router, texts: Sequence[str], right: np.ndarray, groups: Sequence[str], *,
    words: Sequence[int] = CUTS, margin: float = MARGIN, seed: int = 0,
) -> PrefixTest:  # fmt: skip
    """Cut the first 1 to 6 words of each query, set by set; queries that would lose more than half don't count.

    A set collapses where the upper bound of its paired difference lies below -margin.
    """
    import numpy as np

    names, right, cuts, collapsed = np.asarray(groups), np.asarray(right, dtype=float), {}, {}
    for name in dict.fromkeys(map(str, groups)):
        rows = np.flatnonzero(names == name)
        own = [texts[i] for i in rows]
        for cut in sorted(words):
            found = survive(router, name, own, [without_first(text, cut) for text in own], right[rows], seed)
            cuts[name, cut] = found
            if found.difference is not None and found.difference.high < -margin:
                collapsed.setdefault(name, cut)
    return PrefixTest(cuts, collapsed, margin)


@dataclass(frozen=True, slots=True)
class Reworded:
    """One router's choices on other wordings, and with the first words cut."""

    changes: list[Survival]
    cut: PrefixTest

    def table(self) -> pd.DataFrame:
        """As `table`, a row a change."""
        return table(self.changes)

    @property
    def sentence(self) -> str:
        return self.cut.sentence


def reworded(router: Router, texts: Sequence[str], right: np.ndarray, groups: Sequence[str], seed: int = 0) -> Reworded:
    """`robustness` and `prefix_removal`, by group, of one router on the same queries."""
    found = robustness(router, texts, right, seed=seed)
    return Reworded(found, prefix_removal(router, texts, right, groups, seed=seed))
