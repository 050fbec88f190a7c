"""Routers on public data, in one call each: prompts of sets that they never saw, and two models' recorded verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogumi_utils.route import forms, held_out, prompts, references, router, scorers, weak_strong
from cogumi_utils.route.held_out import Fit, HeldOut

if TYPE_CHECKING:
    import pandas as pd

ROUTER = "hashed router"
NOT_RUN = "this profile reads no public data; the profile public does"
MOST_QUESTIONS = 5  # of RouteLLM's for each row of another set


@dataclass(frozen=True)
class NewSets:
    """found: {router: (on an ordinary split, with one whole set left out)}; empty where no public data is read."""

    found: Mapping[str, tuple[HeldOut, HeldOut]]

    def table(self) -> pd.DataFrame:
        """A row a left-out set, then their mean and the ordinary split's: set, route, n, and share right by router."""
        import pandas as pd

        if not self.found:
            return pd.DataFrame({"set": [], "route": [], "n": []})
        sets = next(iter(self.found.values()))[1].table[["set", "route", "n"]]
        rows = sets.to_dict("records")
        rows += [{"set": name, "route": "", "n": rest.macro.n} for name, rest in self._means()]
        columns = {name: [*left_out.table["accuracy"], *self._of(name)] for name, (_, left_out) in self.found.items()}
        return pd.DataFrame(rows).assign(**columns)

    def _means(self) -> list[tuple[str, HeldOut]]:
        ordinary, left_out = next(iter(self.found.values()))
        return [("mean, set left out", left_out), ("mean, ordinary split", ordinary)]

    def _of(self, name: str) -> list[str]:
        ordinary, left_out = self.found[name]
        return [str(left_out.macro), str(ordinary.macro)]

    def mean(self) -> dict[str, Any]:
        """What the gate of the mean over left-out sets takes."""
        return {"interval": self.found[ROUTER][1].macro} if self.found else {"not_run": NOT_RUN}

    def worst(self) -> dict[str, Any]:
        """What the gate of the worst left-out set takes."""
        return {"value": self.found[ROUTER][1].worst} if self.found else {"not_run": NOT_RUN}

    @property
    def sentence(self) -> str:
        if not self.found:
            return f"Not run: {NOT_RUN}."
        ordinary, left_out = self.found[ROUTER]
        lowest = left_out.table.loc[left_out.table["accuracy"].idxmin()]
        return (
            f"The hashed router sends {left_out.macro} of a left-out set's prompts to their route, {ordinary.macro} in "
            f"an ordinary split; fewest of {lowest['set']}, {lowest['accuracy']:.1%}, lost to {lowest['lost to']}."
        )


def new_sets(per_set: int, seed: int, also: tuple[str, ...] = ("TF-IDF + logistic regression",)) -> NewSets:
    """`per_set` prompts of each public set, 0 for none at all. also: of `references.REFERENCES`, beside the router."""
    if not per_set:
        return NewSets({})
    frame = prompts.collect(per_set=per_set)
    frame = _with_forms(frame, seed)
    fits: dict[str, Fit] = {ROUTER: _router, **{name: references.REFERENCES[name] for name in also}}
    return NewSets({
        name: (held_out.ordinary_split(frame, fit, seed=seed), held_out.leave_one_set_out(frame, fit, seed=seed))
        for name, fit in fits.items()
    })  # fmt: skip


def _with_forms(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The prompts and, below them, the forms that are made of them for training."""
    import pandas as pd

    return pd.concat([frame, forms.made(frame, seed)], ignore_index=True)


def _router(texts, targets, routes, seed, weights=None) -> router.Router:
    return router.train(texts, targets, routes, seed=seed, weights=weights)


@dataclass(frozen=True)
class NoRouting:
    """In the place of a `weak_strong.Routing` where no public data is read."""

    sentence: str = f"Weak against strong model: not run, {NOT_RUN}"

    def table(self) -> pd.DataFrame:
        """No rows."""
        import pandas as pd

        return pd.DataFrame({"router": []})


def weak_and_strong(rows: int, seed: int) -> weak_strong.Routing | NoRouting:
    """RouteLLM's recorded verdicts, split by question: `MOST_QUESTIONS` times `rows` of them, or none."""
    if not rows:
        return NoRouting()
    questions = weak_strong.routellm(MOST_QUESTIONS * rows)
    return weak_strong.route(questions, scorers.scorers(), weak_strong.by_question(questions, seed), seed=seed)
