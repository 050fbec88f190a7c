"""Settings chosen without seeing what judges them: nested leave-one-set-out (Cawley and Talbot 2010, Varma 2006).

Settings that were tried out on the very sets that report the accuracy flatter it. Here the sets are dealt to folds;
each fold is judged with what does best on the others, where nothing of the fold is trained on either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.held_out import Fit, HeldOut, leave_one_set_out, macro
from cogumi_utils.route.prompts import JUDGED, clean
from cogumi_utils.stats import Interval, Paired, paired_difference

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 3


@dataclass(frozen=True, eq=False)
class Candidate:
    """One choice of settings. frame: the prompts as it wants them, as of `prompts.collect`; made forms or not."""

    frame: pd.DataFrame
    fit: Fit


@dataclass(frozen=True, eq=False)
class Nested:
    """predictions: as of `HeldOut`, each set's by the candidate that its fold chose. flat: by the default throughout.

    scores: set, accuracy, fold, candidate: sets outside the fold, nothing of the fold in training.
    chosen: fold, sets, candidate, inner accuracy (mean over the sets outside, 0 to 1), ahead by (of the next best).
    """

    predictions: pd.DataFrame
    flat: HeldOut
    scores: pd.DataFrame
    chosen: pd.DataFrame
    seed: int

    @property
    def macro(self) -> Interval:
        """Mean over sets, bootstrapped over sets and over the prompts in each."""
        return macro(self.predictions, self.seed)

    @property
    def worst(self) -> float:
        return float(self.table()["nested"].min())

    def table(self) -> pd.DataFrame:
        """set, route, n, default (flat), nested (both shares right), chosen (the candidate)."""
        shares = self.predictions.groupby("source")["right"].mean()
        of = {name: row["candidate"] for _, row in self.chosen.iterrows() for name in row["sets"].split(", ")}
        flat = self.flat.table
        nested = [float(shares[name]) for name in flat["set"]]
        chosen = [of[name] for name in flat["set"]]
        return flat[["set", "route", "n"]].assign(default=flat["accuracy"], nested=nested, chosen=chosen)

    def against_default(self) -> Paired:
        """Nested less flat, over sets: the interval is a paired bootstrap over sets."""
        table = self.table()
        return paired_difference(table["default"].tolist(), table["nested"].tolist(), self.seed)

    def inner(self) -> pd.DataFrame:
        """candidate, and a column a fold: mean accuracy over the sets outside it."""
        means = self.scores.groupby(["candidate", "fold"])["accuracy"].mean().unstack()
        order = list(dict.fromkeys(self.scores["candidate"]))
        return means.loc[order].rename(columns="fold {}".format).reset_index().rename_axis(columns=None)


def choose(
    candidates: Mapping[str, Candidate], *, seed: int, judged: Sequence[str] = JUDGED, folds: int = FOLDS
) -> Nested:
    """Judge each set with the candidate that is best without its fold; the first, the default, where some are equal.

    A candidate is trained once for each set and each fold that the set is not in. Raises CogumiError for no candidate,
    and for folds that leave nothing to choose by.
    """
    import pandas as pd

    _check(candidates, judged, folds)
    default = next(iter(candidates.values()))
    routes = dict(zip(default.frame["source"], default.frame["route"], strict=True))
    dealt = deal(routes, judged, folds, seed)
    scores = pd.concat(
        [_inner(name, one, number, fold, judged, seed)
         for name, one in candidates.items() for number, fold in enumerate(dealt)], ignore_index=True,
    )  # fmt: skip
    chosen = pd.DataFrame([_best(scores, number, fold, list(candidates)) for number, fold in enumerate(dealt)])
    flat = leave_one_set_out(default.frame, default.fit, seed=seed, judged=judged)
    parts = []
    for fold, name in zip(dealt, chosen["candidate"], strict=True):
        one = candidates[name]
        known = flat.predictions[flat.predictions["source"].isin(fold)]
        parts.append(
            known if one is default else leave_one_set_out(one.frame, one.fit, seed=seed, judged=fold).predictions
        )
    return Nested(pd.concat(parts, ignore_index=True), flat, scores, chosen, seed)


def _check(candidates: Mapping[str, Candidate], judged: Sequence[str], folds: int) -> None:
    if not candidates or not 2 <= folds <= len(judged):
        raise CogumiError(
            expected="at least one candidate, and from two folds to one for each set",
            found=f"{len(candidates)} candidates, {folds} folds of {len(judged)} sets",
            why="each fold's settings are chosen by the sets of the other folds",
            fix=f"give candidates, and folds={FOLDS}",
        )


def deal(routes: Mapping[str, str], judged: Sequence[str], folds: int, seed: int) -> list[tuple[str, ...]]:
    """The sets of each fold, at random; a route's sets fall to different folds, as far as there are folds.

    So a route of two sets or more is never left out as a whole. routes: {set: route}.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    mixed = [judged[place] for place in rng.permutation(len(judged))]
    order = sorted(mixed, key=lambda name: _rank(routes, mixed, name))  # stable: random within a route
    return [tuple(order[number::folds]) for number in range(folds)]


def _rank(routes: Mapping[str, str], judged: Sequence[str], name: str) -> tuple[int, str]:
    """Routes of few sets first, then by name."""
    return sum(routes[other] == routes[name] for other in judged), routes[name]


def without(frame: pd.DataFrame, sets: Iterable[str]) -> pd.DataFrame:
    """The prompts of other sets and groups that share no `SHARED_WORDS` words in a row with a prompt of `sets`."""
    import numpy as np

    names = list(sets)
    of = frame["source"].isin(names).to_numpy()
    rest = np.flatnonzero(~of & ~frame["group"].isin(names).to_numpy())
    return frame.iloc[rest[clean(frame["text"].tolist(), rest, np.flatnonzero(of))]]


def _inner(
    name: str, candidate: Candidate, number: int, fold: tuple[str, ...], judged: Sequence[str], seed: int
) -> pd.DataFrame:
    others = [other for other in judged if other not in fold]
    found = leave_one_set_out(without(candidate.frame, fold), candidate.fit, seed=seed, judged=others)
    return found.table[["set", "accuracy"]].assign(fold=number, candidate=name)


def _best(scores: pd.DataFrame, number: int, fold: tuple[str, ...], names: list[str]) -> dict:
    means = scores[scores["fold"] == number].groupby("candidate")["accuracy"].mean()[names]
    name = means.idxmax()
    others = means[means.index != name]
    ahead = float(means[name] - others.max()) if len(others) else 0.0
    return {
        "fold": number, "sets": ", ".join(fold), "candidate": name, "inner accuracy": float(means[name]),
        "ahead by": ahead,
    }  # fmt: skip
