"""How well dissatisfied users are told from others: PR-AUC, F1 at a base rate, false alarms, teacher against student.

Bootstrap intervals draw whole groups (near copies, calls). All models are compared on the same draws of the same texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.stats import CONFIDENCE, Interval, wilson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RESAMPLES = 1000
OUTCOMES = (
    "dissatisfied and noticed", "dissatisfied and missed", "content and disturbed", "content and left in peace",
)  # fmt: skip


def checked(labels: Sequence[int], scores: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays [n]. Raises CogumiError for unequal lengths, one kind of label only, or no numbers."""
    import numpy as np

    truth, given = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if truth.shape != given.shape or set(np.unique(truth)) != {0.0, 1.0} or not np.isfinite(given).all():
        raise CogumiError(
            expected="a finite score for each label, with both labels, 0 and 1, among them",
            found=f"{len(truth)} labels, of them {int((truth == 1).sum())} ones, and {len(given)} scores",
            why="precision and recall need both kinds",
            fix="for texts that are all calm use judge.false_alarms",
        )
    return truth, given


def draws(groups: Sequence, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each text was drawn, float32 [1 + resamples, n], whole groups at a time; row 0: each once."""
    import numpy as np

    names, member = np.unique(np.asarray(groups), return_inverse=True)
    generator, size = np.random.default_rng(seed), len(names)
    drawn = generator.integers(0, size, (resamples, size)) + size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
    return np.concatenate([np.ones((1, len(member))), counts[:, member]]).astype(np.float32)


def average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[resamples] area under the precision-recall curve, as scikit-learn's: no interpolation, ties count together."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    starts = np.unique(-scores[order], return_index=True)[1]
    ranked = weights[:, order]
    hits = np.add.reduceat(ranked * truth[order].astype(np.float32), starts, axis=1, dtype=np.float64)
    shown = np.cumsum(np.add.reduceat(ranked, starts, axis=1, dtype=np.float64), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(np.cumsum(hits, axis=1) / shown)
        return (hits * precision).sum(1) / hits.sum(1)


def pr_auc(
    labels: Sequence[int], scores: Sequence[float], *, groups: Sequence | None = None, seed: int = 0
) -> Interval:
    """Average precision with its bootstrap interval; a score that knows nothing has the share of ones."""
    truth, given = checked(labels, scores)
    weights = draws(range(len(truth)) if groups is None else groups, seed)
    return _interval(average_precision(truth, given, weights), len(truth))


def best_threshold(labels: Sequence[int], scores: Sequence[float], base_rate: float | None = None) -> float:
    """The score from which on F1 at the base rate is highest (None: the share in `labels`): choose it on validation."""
    import numpy as np

    truth, given = checked(labels, scores)
    candidates = np.unique(given)
    ones, zeros = np.sort(given[truth == 1]), np.sort(given[truth == 0])
    recall = 1 - np.searchsorted(ones, candidates) / len(ones)
    alarms = 1 - np.searchsorted(zeros, candidates) / len(zeros)
    place = int(np.argmax(f1_of(recall, alarms, _rate(truth, base_rate))))
    below = candidates[place - 1] if place else 0.0
    return float((candidates[place] + below) / 2)  # half-way: the last digits of a score must not decide


def f1_of(recall: np.ndarray, alarms: np.ndarray, base_rate: float) -> np.ndarray:
    """F1 from the share of dissatisfied that are noticed and the share of others that are too, at a base rate."""
    import numpy as np

    shown = base_rate * recall + (1 - base_rate) * alarms
    return 2 * base_rate * np.asarray(recall) / (shown + base_rate)


def rates(truth: np.ndarray, flagged: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(recall, share of false alarms among the others), each [resamples]."""
    ones, zeros = weights @ truth, weights @ (1 - truth)
    return (weights @ (truth * flagged)) / ones, (weights @ ((1 - truth) * flagged)) / zeros


def f1(
    labels: Sequence[int], scores: Sequence[float], threshold: float, *, base_rate: float | None = None,
    groups: Sequence | None = None, seed: int = 0,
) -> Interval:  # fmt: skip
    """F1 of "dissatisfied" at a threshold that was chosen elsewhere, as if `base_rate` of all users were."""
    truth, given = checked(labels, scores)
    weights = draws(range(len(truth)) if groups is None else groups, seed)
    recall, alarms = rates(truth, given >= threshold, weights)
    return _interval(f1_of(recall, alarms, _rate(truth, base_rate)), len(truth))


def false_alarms(scores: Sequence[float], threshold: float) -> Interval:
    """The share of calm texts that would be escalated, with Wilson's interval."""
    flagged = sum(score >= threshold for score in scores)
    return wilson(int(flagged), len(scores))


def compare(
    rows: pd.DataFrame, scores: Mapping[str, Sequence[float]], thresholds: Mapping[str, float], *,
    base_rate: float | None = None, by: str = "set", seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """A row a set and model: set, model, n, share dissatisfied, PR-AUC, F1, recall, false alarms, against the first.

    rows: as `data.read` gives them, not used for training or thresholds. scores, thresholds: {model: ...}, the first
    model is what the others are compared with (PR-AUC, paired by text). base_rate: F1 as if so many were dissatisfied.
    A set of calm texts only has false alarms and nothing else.
    """
    import numpy as np
    import pandas as pd

    number, found = np.arange(len(rows)), []
    for name, group in rows.reset_index(drop=True).groupby(by):
        places = number[group.index]
        mine = {model: np.asarray(values, dtype=float)[places] for model, values in scores.items()}
        found += _rows(str(name), group, mine, thresholds, base_rate, seed)
    columns = [by, "model", "n", "dissatisfied", "PR-AUC", "against the first", "F1", "recall", "false alarms"]
    return pd.DataFrame(found, columns=columns)


def _rows(name: str, group: pd.DataFrame, scores: Mapping, thresholds: Mapping, base_rate: float | None, seed: int):
    truth, n, found, first = group["label"].to_numpy(dtype=float), len(group), [], None
    share = float(truth.mean())
    if not 0 < share < 1:
        return [
            (name, model, n, share, None, None, None, None, false_alarms(values, thresholds[model]))
            for model, values in scores.items()
        ]
    weights = draws(group["group"], seed)
    for model, values in scores.items():
        area = average_precision(truth, values, weights)
        recall, alarms = rates(truth, values >= thresholds[model], weights)
        against = None if first is None else _interval(area - first, n, "points")
        first = area if first is None else first
        f_one = _interval(f1_of(recall, alarms, _rate(truth, base_rate)), n)
        calm = false_alarms(values[truth == 0], thresholds[model])
        found.append(
            (name, model, n, share, _interval(area, n), against, f_one, _interval(recall, int(truth.sum())), calm)
        )
    return found


def risk(recall: float, alarms: float, base_rate: float, users: int = 1000) -> dict[str, float]:
    """What happens to so many users: escalated rightly, escalated wrongly, dissatisfied and missed, left in peace."""
    unhappy = users * base_rate
    content = users - unhappy
    found = (unhappy * recall, unhappy * (1 - recall), content * alarms, content * (1 - alarms))
    return dict(zip(OUTCOMES, found, strict=True))


def _rate(truth: np.ndarray, base_rate: float | None) -> float:
    if base_rate is None:
        return float(truth.mean())
    if not 0 < base_rate < 1:
        raise CogumiError(
            expected="a base rate between 0 and 1: the share of users who are dissatisfied",
            found=repr(base_rate),
            why="precision depends on how many there are to find",
            fix="base_rate=0.05, or None for the share in the data",
        )
    return base_rate


def _interval(values: np.ndarray, n: int, unit: str = "%") -> Interval:
    """Row 0 is the estimate, the others are resamples."""
    import numpy as np

    low, high = np.nanquantile(values[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    if unit == "points":
        return Interval(100 * float(values[0]), 100 * float(low), 100 * float(high), n, "points")
    return Interval(float(values[0]), float(low), float(high), n, unit)
