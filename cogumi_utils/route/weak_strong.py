"""Which questions need the strong model? Real verdicts on a weak and a strong one, and routers that learn from them.

RouteLLM's records say whether Mixtral-8x7B and GPT-4 were right on each question of MMLU's and GSM8K's test parts;
OpenAI's GSM8K solutions say the same of a 6B and a 175B model. Questions are split, never rows: near copies stay on one
side, and so does a whole subject where subjects are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cogumi_utils.data import sources
from cogumi_utils.errors import CogumiError
from cogumi_utils.route import gain
from cogumi_utils.route.scorers import TARGETS, Scorer
from cogumi_utils.route.threshold import halves
from cogumi_utils.stats import Interval, wilson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
OPEN, CHANCE = "gsm8k", 0.25  # the subject without choices; share right by lot in the others
NEAR = 0.8  # Jaccard similarity of word 3-grams from which two questions are near copies
INNER_FOLDS = 3
LOT, PERFECT = "by lot", "who knew both verdicts"


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """weak, strong: right (1) or wrong (0), float [n]; subject: [n]; group: [n] equal for near copies."""

    texts: list[str]
    weak: np.ndarray
    strong: np.ndarray
    subject: np.ndarray
    group: np.ndarray

    def take(self, rows: np.ndarray) -> Questions:
        texts = [self.texts[i] for i in rows]
        return Questions(texts, self.weak[rows], self.strong[rows], self.subject[rows], self.group[rows])

    def below_chance(self) -> list[str]:
        """Subjects of four choices in which a model is surely right less often than by lot: a fault of the records."""
        import numpy as np

        found = []
        for name in np.unique(self.subject[self.subject != OPEN]):
            own = self.subject == name
            shares = [wilson(int(one[own].sum()), int(own.sum())) for one in (self.weak, self.strong)]
            found += [str(name)] if min(share.high for share in shares) < CHANCE else []
        return found

    def table(self) -> pd.DataFrame:
        """subject, questions, weak, strong, only weak, only strong: counts and shares, the largest lead first."""
        import pandas as pd

        frame = pd.DataFrame({"subject": self.subject, "weak": self.weak, "strong": self.strong})
        frame["only weak"] = frame["weak"] * (1 - frame["strong"])
        frame["only strong"] = frame["strong"] * (1 - frame["weak"])
        shares = frame.groupby("subject").mean()
        shares.insert(0, "questions", frame["subject"].value_counts())
        order = (shares["weak"] - shares["strong"]).sort_values(kind="stable").index
        return shares.loc[order].reset_index()


def routellm(most: int | None = None, faulty: bool = False) -> Questions:
    """15,091 questions of 56 MMLU subjects and of GSM8K. most: so many at even distances, every subject among them.

    faulty: with the 270 of high_school_mathematics too, of which the records count 3% right for GPT-4 and 32% for
    Mixtral: below the 25% of guessing, so that they must be at fault there.
    """
    import numpy as np

    rows = sources.load("routellm", purpose="evaluation")
    names = [PurePosixPath(row["_file"]).name.split(".")[0].removeprefix("mmlu_") for row in rows]
    names = [OPEN if name.startswith(OPEN) else name for name in names]
    verdicts = [(row[WEAK] == "True", row[STRONG] == "True") for row in rows]
    whole = _questions([row["prompt"] for row in rows], verdicts, names)
    if not faulty:
        whole = whole.take(np.flatnonzero(~np.isin(whole.subject, whole.below_chance())))
    return _spread(whole, most)


def gsm8k_solutions(kind: str = "verification", most: int | None = None) -> Questions:
    """1,319 questions answered by a 6B and a 175B model. kind: `verification` or `finetuning`."""
    rows = sources.load("gsm8k_model_solutions", purpose="evaluation")
    verdicts = [tuple(bool(row[f"{size}_{kind}"]["is_correct"]) for size in ("6b", "175b")) for row in rows]
    return _spread(_questions([row["question"] for row in rows], verdicts, [OPEN] * len(rows)), most)


def _spread(whole: Questions, most: int | None) -> Questions:
    import numpy as np

    n = len(whole.texts)
    return whole if most is None or most >= n else whole.take(np.arange(most) * n // most)


def _questions(texts: list[str], verdicts: list, names: list[str]) -> Questions:
    import numpy as np

    from cogumi_utils.data.dedup import deduplicate

    given = np.array(verdicts, dtype=float)
    group = deduplicate(texts, threshold=NEAR).group
    alone = group < 0
    group = np.where(alone, group.max(initial=-1) + 1 + np.cumsum(alone), group)
    return Questions(texts, given[:, 0], given[:, 1], np.array(names), group)


def by_question(questions: Questions, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """One split: half of the questions to learn from, half to judge on, near copies on one side."""
    return [halves(len(questions.texts), seed, questions.group)]


def leaving_subjects_out(questions: Questions, seed: int, folds: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """`folds` splits: each subject is judged by routers that saw no question of it. The few questions of other subjects
    that have a near copy there are not learned from."""
    import numpy as np

    names = np.unique(questions.subject)
    if len(names) < folds:
        raise CogumiError(
            expected=f"at least {folds} subjects",
            found=f"{len(names)}",
            why="whole subjects are left out, fold by fold",
            fix="split by question, or ask for fewer folds",
        )
    part = dict(zip(np.random.default_rng(seed).permutation(names), np.arange(len(names)) % folds, strict=True))
    fold, found = np.array([part[name] for name in questions.subject]), []
    for number in range(folds):
        test = np.flatnonzero(fold == number)
        copied = np.isin(questions.group, questions.group[test])
        found.append((np.flatnonzero((fold != number) & ~copied), test))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """Routers judged on questions they did not learn from. rows: judged questions; scores: {router: ranks in [0, 1]};
    chosen: {router: variant and target, fold by fold}; planned: {router: APGR left out of what it learned from, mean
    over folds}; apgr, needed: {router: Interval}, with routing by lot and with both verdicts known beside them.
    """

    questions: Questions
    rows: np.ndarray
    scores: dict[str, np.ndarray]
    chosen: dict[str, list[str]]
    planned: dict[str, float]
    apgr: dict[str, Interval]
    needed: dict[str, Interval]
    seed: int = 0
    clusters: np.ndarray | None = field(default=None)

    @property
    def verdicts(self) -> tuple[np.ndarray, np.ndarray]:
        return self.questions.weak[self.rows], self.questions.strong[self.rows]

    def table(self) -> pd.DataFrame:
        """router, APGR, calls for 95% of the lead, right at half of the calls, learns: best APGR first."""
        import pandas as pd

        rows = []
        for name, one in sorted(self.apgr.items(), key=lambda item: -item[1].value):
            half = gain.curve(self.scores[name], *self.verdicts, points=3)[1][1]
            learns = "; ".join(dict.fromkeys(self.chosen.get(name, [])))
            rows.append((name, _words(one), _words(self.needed[name]), f"{half:.1%}", learns))
        columns = ["router", "APGR", "calls for 95% of the lead", "right at half of the calls", "learns"]
        return pd.DataFrame(rows, columns=columns)

    def curves(self, points: int = 101) -> dict[str, tuple[list[float], list[float]]]:
        """{router: (share sent to the strong model, share answered right)} for `plots.curves`."""
        return {name: gain.curve(score, *self.verdicts, points) for name, score in self.scores.items()}

    def against(self, reference: str) -> dict[str, Interval]:
        """{router: its APGR less that of `reference`, paired}."""
        return {
            name: gain.apgr_difference(
                self.scores[reference], score, *self.verdicts, seed=self.seed, clusters=self.clusters
            )
            for name, score in self.scores.items() if name not in (reference, LOT, PERFECT)
        }  # fmt: skip

    @property
    def sentence(self) -> str:
        weak, strong = (float(one.mean()) for one in self.verdicts)
        name = max(self.planned, key=self.planned.get)  # the best one of those judged would owe some of it to luck
        best = self.apgr[name]
        verdict = "better than by lot" if best.low > gain.BY_LOT else "not told apart from routing by lot (0.5)"
        return (
            f"Weak {weak:.1%}, strong {strong:.1%} right of {len(self.rows)} questions. Chosen before: {name}, APGR "
            f"{_words(best)}: {verdict}. 95% of the lead takes {_words(self.needed[name])} of the calls (by lot 0.95)."
        )


def _words(one: Interval) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def route(
    questions: Questions, routers: Mapping[str, Mapping[str, Scorer]], splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *, seed: int = 0, clusters: str = "group",
) -> Routing:  # fmt: skip
    """Learn, score, judge. Each router's variant and target are chosen on the rows it learns from, by APGR left out.

    Of each fold the same share goes to the strong model: scores are ranks within it. A router's mean is that of what it
    learned from, and where that is high, what was left out is low: joined as they are, constants would look worse than
    chance. splits: `by_question` or `leaving_subjects_out`. clusters: what a bootstrap draws whole: `group`, `subject`.
    """
    import numpy as np
    from scipy.stats import rankdata

    scores: dict[str, list] = {name: [] for name in routers}
    chosen: dict[str, list[str]] = {name: [] for name in routers}
    planned = dict.fromkeys(routers, 0.0)
    for train, test in splits:
        for name, variants in routers.items():
            variant, target, area = _choose(questions, variants, train, clusters)
            planned[name] += area / len(splits)
            found = variants[variant](questions, train, test, TARGETS[target](questions))
            scores[name].append((rankdata(found) - 0.5) / len(found))
            chosen[name].append(", ".join(filter(None, [variant, target])))
    rows = np.concatenate([test for _, test in splits])
    weak, strong = questions.weak[rows], questions.strong[rows]
    whole = {name: np.concatenate(parts) for name, parts in scores.items()}
    whole |= {LOT: np.zeros(len(rows)), PERFECT: strong - weak}
    member = getattr(questions, clusters)[rows]
    measured = {name: gain.apgr(one, weak, strong, seed=seed, clusters=member) for name, one in whole.items()}
    needed = {name: gain.share_needed(one, weak, strong, seed=seed, clusters=member) for name, one in whole.items()}
    return Routing(questions, rows, whole, chosen, planned, measured, needed, seed, member)


def _choose(
    questions: Questions, variants: Mapping[str, Scorer], train: np.ndarray, clusters: str
) -> tuple[str, str, float]:
    """(variant, target, its APGR), the highest in cross-validation on the rows learned from, whole clusters apart."""
    found = {}
    for variant, scorer in variants.items():
        for name, target in TARGETS.items():
            found[variant, name] = _left_out(questions, scorer, train, target(questions), clusters)
    best = max(found, key=found.get)
    return *best, found[best]


def _left_out(questions: Questions, scorer: Scorer, train: np.ndarray, target: np.ndarray, clusters: str) -> float:
    import numpy as np
    from sklearn.model_selection import GroupKFold

    scores, member = np.zeros(len(train)), getattr(questions, clusters)[train]
    for inner, out in GroupKFold(INNER_FOLDS).split(member, groups=member):
        scores[out] = scorer(questions, train[inner], train[out], target)
    return gain.area(scores, questions.weak[train], questions.strong[train])
