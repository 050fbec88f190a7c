"""Which calibrated confidence is passed on: chosen on some answers, judged on fresh ones, kept as JSON for a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogumi_utils import artifacts
from cogumi_utils.compress.calibration import calibrate, coverage, recorded
from cogumi_utils.compress.calibration.calibrate import UNCALIBRATED, Calibrator
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FIT, JUDGE = "fit", "judge"  # values of the column `split`
FOLDS = 5
FEWEST = 10  # right answers, and wrong ones, below which nothing is fitted
CONSTANT = "constant"
SEVERAL = "platt, all features"
COLUMNS = ["split", "passed"]


@dataclass(frozen=True, eq=False)
class Study:
    """Answers, a row each: `split`, `passed`, and in `column` a probability. Calibrators are fitted on the split "fit".

    cluster: a column that names answers of one question, or "". nll: {candidate: its NLL in cross-validation on the
    split "fit"}, least of all that of `chosen`. why_not: why nothing could be fitted; then the one candidate is the
    share of right answers itself (Laplace), whatever the answer.
    """

    name: str
    frame: pd.DataFrame
    column: str
    cluster: str
    fitted: dict[str, Calibrator]
    nll: dict[str, float]
    why_not: str = ""
    seed: int = 0

    @property
    def chosen(self) -> str:
        return min(self.nll, key=self.nll.get)

    @property
    def calibrator(self) -> Calibrator:
        return self.fitted[self.chosen]

    @cached_property
    def judged(self) -> pd.DataFrame:
        """The fresh answers, with `calibrated`: their confidence by the chosen calibrator."""
        return self.with_confidence(self.frame[self.frame["split"] == JUDGE])

    def with_confidence(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`frame` with `raw` and `calibrated`."""
        return frame.assign(raw=frame[self.column], calibrated=applied(self.calibrator, self.column, frame))

    @cached_property
    def results(self) -> pd.DataFrame:
        """`calibrate.table` of the raw confidence and of all candidates on the fresh answers."""
        sets = {name: applied(one, self.column, self.judged) for name, one in self.fitted.items()}
        clusters = self.judged[self.cluster] if self.cluster else None
        sets = {UNCALIBRATED: self.judged["raw"], **sets}
        return calibrate.table(sets, self.judged["passed"], seed=self.seed, clusters=clusters)

    def interval(self, measure: str, candidate: str = "") -> Interval:
        """A measure (a column of `results`) of the chosen calibrator, or of another candidate."""
        row = self.results.set_index("method").loc[candidate or self.chosen]
        return Interval(*(float(row[measure + end]) for end in ("", "_low", "_high")), int(row["n"]), "")

    def threshold(self, share: float) -> float:
        """The calibrated confidence that `share` of the answers fitted on reach."""
        fitted_on = self.with_confidence(self.frame[self.frame["split"] == FIT])
        return coverage.threshold_for(share, fitted_on["calibrated"])


def applied(calibrator: Calibrator, column: str, frame: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Calibrated confidences, [n]; further features are columns too."""
    return calibrator(frame[column], {name: frame[name] for name in calibrator.features} or None)


def study(
    name: str, frame: pd.DataFrame, column: str, *, features: Sequence[str] = (), cluster: str = "", seed: int = 0
) -> Study:
    """Fit temperature, Platt and isotonic, with `features` Platt over all of them too, and choose by cross-validation.

    Raises CogumiError where a column or one of the two splits is missing.
    """
    _require(frame, [*COLUMNS, column, *features, *filter(None, [cluster])])
    fit = frame[frame["split"] == FIT].reset_index(drop=True)
    rarer = int(min(fit["passed"].sum(), (~fit["passed"].astype(bool)).sum()))
    if rarer < FEWEST:
        right = int(fit["passed"].sum())
        why = (
            f"{right} of the {len(fit)} answers to fit on are right: at least {FEWEST} right and wrong ones are needed"
        )
        return Study(name, frame, column, cluster, {CONSTANT: constant(right, len(fit))}, {CONSTANT: 0.0}, why, seed)
    candidates = {method: (method, ()) for method in calibrate.METHODS}
    candidates |= {SEVERAL: ("platt", tuple(features))} if features else {}
    fitted = {which: _fit(*one, column, fit) for which, one in candidates.items()}
    nll = _left_out(candidates, column, fit, cluster, seed)
    return Study(name, frame, column, cluster, fitted, nll, seed=seed)


def constant(right: int, n: int) -> Calibrator:
    """The share of right answers after one more of each kind, as a Platt scaling of slope 0."""
    from scipy.special import logit

    return Calibrator("platt", n, (float(logit((right + 1) / (n + 2))), 0.0))


def _fit(method: str, features: Sequence[str], column: str, frame: pd.DataFrame) -> Calibrator:
    return calibrate.fit(method, frame[column], frame["passed"], {name: frame[name] for name in features} or None)


def _left_out(
    candidates: Mapping[str, tuple[str, tuple[str, ...]]], column: str, frame: pd.DataFrame, cluster: str, seed: int
) -> dict[str, float]:
    """{candidate: nats an answer, each answer judged by a fit without its fold}; a question's answers share a fold."""
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    losses = {name: np.zeros(len(frame)) for name in candidates}
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, held in folds.split(frame, frame["passed"], frame[cluster] if cluster else frame.index):
        fit, out = frame.iloc[train], frame.iloc[held]
        for name, one in candidates.items():
            losses[name][held] = ece.nll_losses(applied(_fit(*one, column, fit), column, out), out["passed"])
    return {name: float(values.mean()) for name, values in losses.items()}


def of_recorded(names: Sequence[str], seed: int = 0) -> list[Study]:
    """A study of each set of recorded answers, by the agreement of its models; intervals draw whole questions.

    Raises CogumiError for a set that is not one of recorded answers.
    """
    unknown = [name for name in names if name != recorded.NAME]
    if unknown:
        raise CogumiError(
            expected=f"sets of recorded answers: {recorded.NAME}",
            found=", ".join(unknown),
            why="only answers whose verdicts and models are recorded can be calibrated without asking",
            fix=f"recorded_sets: [{recorded.NAME}]",
        )
    return [study(name, recorded.load(), "agreement", cluster="question", seed=seed) for name in names]


def measured(studies: Sequence[Study], measure: str) -> dict[str, Any]:
    """What `run.gate` takes: of several studies the one with the highest upper bound; or why it was not measured."""
    stuck = [one for one in studies if one.why_not]
    if stuck:
        return {"not_run": f"{stuck[0].name}: {stuck[0].why_not}"}
    return {"interval": max((one.interval(measure) for one in studies), key=lambda found: found.high)}


@dataclass(frozen=True, slots=True)
class Gauge:
    """What a server needs to say how sure it is. confidence: the feature that is calibrated (`model.confidence`).
    threshold: the calibrated confidence from which it answers, reached by `answer_share` of the answers fitted on.
    model_sha256: of the model's folder; another model needs another gauge.
    """

    confidence: str
    calibrator: Calibrator
    threshold: float
    answer_share: float
    model_sha256: str

    def __call__(self, features: Mapping[str, Sequence[float]]) -> np.ndarray:
        """Calibrated confidences, [n], of {feature: [n]}."""
        return applied(self.calibrator, self.confidence, features)

    def write(self, path: Path) -> Path:
        plain = {name: getattr(self, name) for name in self.__slots__}
        return artifacts.atomic_write_json(path, {**plain, "calibrator": self.calibrator.to_dict()})

    @classmethod
    def read(cls, path: Path) -> Gauge:
        """What `write` wrote. Raises CogumiError for anything else."""
        try:
            entries = json.loads(Path(path).read_text(encoding="utf-8"))
            texts = [str(entries[name]) for name in ("confidence", "model_sha256")]
            numbers = [float(entries[name]) for name in ("threshold", "answer_share")]
            calibrator = Calibrator.from_dict(entries["calibrator"])
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise CogumiError(
                expected="a calibration.json of 09_calibration",
                found=f"{path}: {fault!r}",
                why="a confidence that is read wrongly means nothing",
                fix="run 09_calibration again",
            ) from None
        return cls(texts[0], calibrator, *numbers, texts[1])


def gauge(found: Study, share: float, model: Path) -> Gauge:
    """The chosen calibrator of a study with its threshold for `share` of the answers."""
    return Gauge(found.column, found.calibrator, found.threshold(share), share, artifacts.sha256_tree(model))


def _require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in frame]
    splits = [] if missing else [name for name in (FIT, JUDGE) if name not in set(frame["split"])]
    if missing or splits:
        raise CogumiError(
            expected=f"answers with the columns {', '.join(columns)}, some to fit on and some to judge",
            found=f"no column {', '.join(missing)}" if missing else f"no row of split {', '.join(splits)}",
            why="a calibrator is judged on answers that it was not fitted on",
            fix=f'give every answer a split, "{FIT}" or "{JUDGE}"',
        )
