"""Routers beside each other on one battery: what each learned from, and what came of its choices on fresh tasks."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogumi_utils.judge import summary
from cogumi_utils.judge.grade import prompt_text
from cogumi_utils.route import answers, evaluate, robustness, router, tables
from cogumi_utils.route.references import REFERENCES
from cogumi_utils.route.router import Router
from cogumi_utils.route.settings import Settings
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CHEAPEST, EVERY, DOMAINS, BOTH = "cheapest right route", "every right route", "domains", "cheapest and domains"
DEAR = "teacher"  # the route that is asked where no other is right
# Single words tell skills of one domain apart: the table learns on, and few of a query's rows are left out.
SETTINGS = Settings(steps=200, table_lr=3e-3, row_dropout=0.3)
PASSES = 15  # over a battery
FALLS_BELOW = (0.0, 0.5, 0.75, 0.9, 0.99)  # confidences below which a query goes to the base
Probabilities = Callable[[list[str]], "np.ndarray"]


@dataclass(frozen=True, eq=False)
class Battery:
    """Tasks and which route answers each right: [tasks, routes] of 0 and 1, routes as in `names`."""

    names: list[str]
    rows: Sequence[Example]
    right: np.ndarray

    @functools.cached_property
    def texts(self) -> list[str]:
        """The queries."""
        return [prompt_text(row) for row in self.rows]

    @functools.cached_property
    def own(self) -> list[int]:
        """The column of each task's own domain."""
        return [self.names.index(name) for name in answers.domain_of(self.rows, self.names)]

    @property
    def domains(self) -> list[str]:
        return [row.domain for row in self.rows]

    def targets(self) -> dict[str, np.ndarray]:
        """{what a router can learn from: [queries, routes and then the dear one]}, rows that sum to 1.

        The base is the cheapest route, then come the adapters, which cost the same; the dear one is for queries that
        no other route answers right. Domains have no dear route.
        """
        import numpy as np

        nobody = 1 - self.right.max(1, keepdims=True)
        every = self.right / self.right.sum(1, keepdims=True).clip(min=1)
        cheapest = np.where(self.right[:, :1] > 0, np.eye(len(self.names))[0], every)
        found = {CHEAPEST: np.hstack([cheapest, nobody]), EVERY: np.hstack([every, nobody])}
        found[DOMAINS] = evaluate.one_hot(self.own, len(self.names) + 1)
        return {**found, BOTH: (found[CHEAPEST] + found[DOMAINS]) / 2}

    def shares(self) -> pd.DataFrame:
        """A row a domain and one for all: queries, and the share that each route, and any of them, answers right."""
        import pandas as pd

        columns = {**dict(zip(self.names, self.right.T, strict=True)), "any of them": self.right.max(1)}
        frame = pd.DataFrame(columns).assign(domain=self.domains)
        found = frame.groupby("domain").mean()
        found.loc["all"] = frame[list(columns)].mean()
        found.insert(0, "queries", [*frame["domain"].value_counts().sort_index(), len(frame)])
        return found.reset_index()


def batteries(
    base: Path, ways: Sequence[answers.Route], per_skill: Sequence[int], folder: Path, seed: int, **options: Any
) -> tuple[list[Battery], dict[str, pd.DataFrame]]:
    """A battery to learn from (validation split) and one to judge on (test), and {split: all its answers}.

    per_skill: tasks a skill of either; folder, options: of `answers.answered`.
    """
    found, graded = [], {}
    for split, count in zip(("validation", "test"), per_skill, strict=True):
        rows = answers.tasks([way.name for way in ways if way.adapter], count, split=split, seed=seed)
        frames = answers.answered(base, ways, rows, folder / split, **options)
        found.append(Battery(list(frames), rows, answers.correctness(frames)))
        graded[split] = summary.stacked(frames, "route")
    return found, graded


def trained(fit: Battery, seed: int) -> dict[str, Router]:
    """{what it learned from: a router to the battery's routes and the dear one}."""
    names = [*fit.names, DEAR]
    settings = replace(SETTINGS, steps=PASSES * -(-len(fit.texts) // SETTINGS.batch))
    return {
        one: router.train(fit.texts, wanted, names, settings=settings, seed=seed)
        for one, wanted in fit.targets().items()
    }


def references(fit: Battery, names: Sequence[str], seed: int) -> dict[str, Probabilities]:
    """{name: classifier of `references.REFERENCES`} fitted on the cheapest right routes."""
    wanted, routes = fit.targets()[CHEAPEST], [*fit.names, DEAR]
    return {name: REFERENCES[name](fit.texts, wanted, routes, seed).probabilities for name in names}


def judged(
    routers: Mapping[str, Probabilities], fit: Battery, test: Battery, seed: int = 0
) -> dict[str, evaluate.Study]:
    """{router: Study on `test`} of its choices among the routes that are not the dear one.

    The best single route is the one of `fit`: the test did not choose it.
    """
    single = evaluate.best_single(fit.right)
    options = {"single": single, "names": test.names, "seed": seed}
    found = {name: ask(test.texts)[:, : len(test.names)] for name, ask in routers.items()}
    return {name: evaluate.study(given, test.right, test.own, **options) for name, given in found.items()}


def gap(found: evaluate.Study) -> dict[str, Any]:
    """What a gate takes: the share of the gap that was closed, or why there is none."""
    if found.closed is None:
        return {"not_run": "no task is answered right by another route than the best single one"}
    return {"interval": found.closed}


def table(found: Mapping[str, evaluate.Study]) -> pd.DataFrame:
    """A row a router: share right, gain over the best single route, gap closed, regret, domain accuracy."""
    import pandas as pd

    rows = [
        {
            "router": name, "right answers": str(one.answers[evaluate.ROUTED]), "beside the best single": str(one.gain),
            "gap closed": str(one.closed or "no gap"), "regret": str(one.regret), "domain's route": str(one.domain),
        }
        for name, one in found.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def calibration(probabilities: np.ndarray, test: Battery, seed: int = 0) -> tables.Calibration:
    """How far what a router of right routes says of the cheap route that it takes is how often that one is right."""
    return tables.calibration(probabilities[:, : len(test.names)], test.right, seed=seed)


def abstention(by_domain: Router, test: Battery, per_skill: int, seed: int) -> pd.DataFrame:
    """`tables.abstention` of a router of domains: the queries of `test` that have an adapter of their own beside those
    of domains that have none. No rows where every domain has one."""
    import pandas as pd

    strangers = [prompt_text(row) for row in answers.foreign(test.names, per_skill, split="test", seed=seed)]
    if not strangers:
        return pd.DataFrame(columns=tables.ABSTENTION)
    own = [text for text, route in zip(test.texts, test.own, strict=True) if test.names[route] != answers.BASE]
    foreign = [False] * len(own) + [True] * len(strangers)
    return tables.abstention(
        by_domain.probabilities(own + strangers), foreign, test.names.index(answers.BASE), FALLS_BELOW
    )


def reworded(by_domain: Router, test: Battery, seed: int) -> robustness.Reworded:
    """What becomes of the choices of a router of domains on other wordings of the test's queries."""
    own = evaluate.one_hot(test.own, len(by_domain.routes))
    return robustness.reworded(by_domain.probabilities, test.texts, own, test.domains, seed)


def alike(chosen: Router, test: Battery) -> float:
    """Share of queries that the router and its int8 form send to the same route."""
    decided = (evaluate.choices(one.probabilities(test.texts)) for one in (chosen, chosen.quantised()))
    return float(operator.eq(*decided).mean())


def by_eye() -> str:
    """A router that learned from four queries, on two others and an empty one: small enough to check by reading."""
    told = {"Write a function f(x) that returns x.": 1, "Define g(v) to return the sum.": 1, "Hello, I am Ann.": 0,
            "Hi, I am Tom.": 0}  # fmt: skip
    names = ["base", "code"]
    small = router.train(list(told), evaluate.one_hot(list(told.values()), 2), names, settings=SETTINGS, seed=0)
    asked = ("Define h(x) to retrun x.", "hi! I am Zoe", "")
    lines = [f"learned: {text!r} -> {names[own]}" for text, own in told.items()]
    return "\n".join([*lines, *(f"decided: {text!r} -> {small.decide(text).route}" for text in asked)])


def surprises(test: Battery, probabilities: np.ndarray, n: int = 6) -> pd.DataFrame:
    """The `n` surest choices that were wrong where another route is right: query, skill, route taken, confidence, and
    which routes were right."""
    import numpy as np
    import pandas as pd

    cheap = probabilities[:, : len(test.names)]
    chosen, confidence = cheap.argmax(1), cheap.max(1)
    lost = (evaluate.of_chosen(chosen, test.right) == 0) & (test.right.max(1) == 1)
    order = [place for place in np.argsort(-confidence, kind="stable") if lost[place]][:n]
    rows = [
        {
            "query": test.texts[place], "skill": test.rows[place].skill, "sent to": test.names[chosen[place]],
            "confidence": float(confidence[place]),
            "right": ", ".join(np.array(test.names)[test.right[place] == 1]),
        }
        for place in order
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["query", "skill", "sent to", "confidence", "right"])


def metrics(chosen: Router, found: Mapping[str, evaluate.Study]) -> dict[str, Any]:
    """For the manifest: what the router of the cheapest right routes reaches and weighs, and the domains' accuracy."""
    best, parts = found[CHEAPEST], chosen.sizes().set_index("part")["bytes"]
    shares = {"accuracy": best.answers[evaluate.ROUTED], "domain_accuracy": found[DOMAINS].domain}
    return {**shares, "regret_to_oracle": best.regret, "head_bytes": parts["head"], "table_bytes": parts["table"]}
