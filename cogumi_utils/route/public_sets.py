"""Routers on public data, in one call each: prompts of sets that they never saw, and two models' recorded verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from cogumi_utils.route import forms, held_out, minilm, prompts, references, router, scorers, weak_strong
from cogumi_utils.route.held_out import Fit, HeldOut
from cogumi_utils.route.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ROUTER = "hashed router"
TFIDF = "TF-IDF + logistic regression"
RECORDED = "routellm"
SHOWN = 240  # characters of a prompt in a table
TWO, STEPS = ("weak", "strong"), 100  # a router for each target and fold is trained: few steps
NOT_RUN = "this profile reads no public data; the profile public does"
MOST_QUESTIONS = 10  # of RouteLLM's for each row of another set


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

    def at_odds(self, most: int = 8) -> pd.DataFrame:
        """The surest prompts of a left-out set that went to another route, two a pair of (set, route): many of them
        could bear either label."""
        import pandas as pd

        columns = ["set", "labelled", "sent to", "confidence", "prompt"]
        if not self.found:
            return pd.DataFrame({name: [] for name in columns})
        wrong = self.found[ROUTER][1].predictions.query("not right").sort_values("confidence", ascending=False)
        pairs = wrong.groupby(["source", "predicted"], sort=False).head(2)
        shown = pairs.rename(columns={"source": "set", "route": "labelled", "predicted": "sent to"})
        shown = shown.assign(prompt=[shorten(text, SHOWN, placeholder=" …") for text in shown["text"]])
        return shown[columns].head(most).reset_index(drop=True)

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


def new_sets(names: Sequence[str], per_set: int, seed: int, also: Sequence[str] = (TFIDF,)) -> NewSets:
    """Up to `per_set` prompts of each named set; those of `prompts.JUDGED` are left out in turn, the others only teach.

    also: of `references.REFERENCES`, beside the router. No names: nothing is read.
    """
    if not names:
        return NewSets({})
    frame = _with_forms(prompts.collect(names, per_set), seed)
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
class Verdicts:
    """splits: {how questions were split: what came of it}; empty where none are read."""

    splits: Mapping[str, weak_strong.Routing]

    def table(self) -> pd.DataFrame:
        """split, then the columns of `weak_strong.Routing.table`: a row a split and router."""
        import pandas as pd

        if not self.splits:
            return pd.DataFrame({"split": [], "router": []})
        tables = pd.concat({name: one.table() for name, one in self.splits.items()}, names=["split", None])
        return tables.reset_index(level="split").reset_index(drop=True)

    @property
    def sentence(self) -> str:
        if not self.splits:
            return f"Weak against strong model: not run, {NOT_RUN}"
        return " ".join(f"Split {name}: {one.sentence}" for name, one in self.splits.items())


def weak_and_strong(names: Sequence[str], per_set: int, seed: int) -> Verdicts:
    """RouteLLM's recorded verdicts where it is among `names`: `MOST_QUESTIONS` times `per_set` of them, at most.

    Split by question, then with whole subjects left out.
    """
    if RECORDED not in names:
        return Verdicts({})
    questions = weak_strong.routellm(MOST_QUESTIONS * per_set)
    routers = scorers.scorers(minilm.embed(questions.texts))
    routers[ROUTER] = {"": scorers.of_router(lambda texts, targets: _two_routes(texts, targets, seed))}
    parts = {
        "by question": (weak_strong.by_question(questions, seed), "group"),
        "subjects left out": (weak_strong.leaving_subjects_out(questions, seed), "subject"),
    }
    return Verdicts({
        name: weak_strong.route(questions, routers, rows, seed=seed, clusters=clusters)
        for name, (rows, clusters) in parts.items()
    })  # fmt: skip


def _two_routes(texts: list[str], targets: np.ndarray, seed: int):
    return router.train(texts, targets, TWO, settings=Settings(steps=STEPS, default=TWO[0]), seed=seed).probabilities
