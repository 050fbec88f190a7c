"""Teacher, student and thresholds from one table of texts, and the same with one whole set left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.escalation import judge
from cogumi_utils.route.escalation.detector import Detector
from cogumi_utils.route.escalation.student import StudentSettings, distil
from cogumi_utils.route.escalation.teacher import Teacher, TeacherSettings, fit

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MODELS = ("teacher", "student", "student int8")


@dataclass(frozen=True)
class Trained:
    """The detector has the threshold that its validation texts gave; thresholds: {model: threshold}."""

    teacher: Teacher
    detector: Detector
    thresholds: dict[str, float]

    def scores(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """{model: probabilities [n]}: teacher, student, student int8."""
        return _scores(self.teacher, self.detector, texts)


def train(
    rows: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    base_rate: float,
    teacher: TeacherSettings | None = None,
    student: StudentSettings | None = None,
    seed: int = 0,
) -> Trained:
    """Fine-tune, distil, and choose each model's threshold for the highest F1 on validation texts at `base_rate`.

    rows, validation: as `data.read` gives them; rows whose label is -1 are for distilling only.
    """
    labelled = rows[rows["label"] >= 0]
    taught = fit(labelled["text"].tolist(), labelled["label"].tolist(), teacher, seed)
    texts = rows["text"].tolist()
    detector = distil(taught, taught.probabilities(texts), texts, rows["label"].tolist(), student, seed)
    found = _scores(taught, detector, validation["text"].tolist())
    thresholds = {name: judge.best_threshold(validation["label"], found[name], base_rate) for name in MODELS}
    return Trained(taught, detector.using(threshold=thresholds["student"]), thresholds)


def judged(trained: Trained, rows: pd.DataFrame, *, base_rate: float, by: str = "set", seed: int = 0) -> pd.DataFrame:
    """`judge.compare` of teacher, student and int8 student on rows that none of them has seen."""
    scores = trained.scores(rows["text"].tolist())
    return judge.compare(rows, scores, trained.thresholds, base_rate=base_rate, by=by, seed=seed)


def leave_one_out(train_rows: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame, **options) -> pd.DataFrame:
    """`judged` on each set of `test` by models that saw nothing of that set, not even for their thresholds.

    options: as for `train`. Raises CogumiError where fewer than two sets have labels of both kinds.
    """
    import pandas as pd

    both = [name for name, group in train_rows.groupby("set") if group["label"].clip(0).nunique() == 2]
    if len(both) < 2:
        raise CogumiError(
            expected="at least two sets with dissatisfied and other users",
            found=", ".join(map(str, both)) or "none",
            why="what is left out must leave something to learn from",
            fix='data.read(["dialogues", "go_emotions", "bitext_customer_support_20k"], split)',
        )
    tables = []
    for name in both:
        trained = train(*(rows[rows["set"] != name] for rows in (train_rows, validation)), **options)
        seed, rate = options.get("seed", 0), options["base_rate"]
        tables.append(judged(trained, test[test["set"] == name], base_rate=rate, seed=seed))
    return pd.concat(tables, ignore_index=True)


def _scores(teacher: Teacher, detector: Detector, texts: Sequence[str]) -> dict[str, np.ndarray]:
    found = (
        teacher.probabilities(texts),
        detector.probabilities(texts),
        detector.using(int8=True).probabilities(texts),
    )
    return dict(zip(MODELS, found, strict=True))
