"""Answer only when sure enough: risk against coverage, and thresholds for a share of answers or a share right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.ece import checked
from cogumi_utils.stats import Interval, wilson

POINTS = 200  # of a curve: more are not seen


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """coverage: shares answered, the surest first; risk: shares wrong among them. Areas are mean risks over coverage:
    of these confidences, of confidences that put every wrong answer last (best), of confidences drawn by lot (random).
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float
    area_best: float
    area_random: float


def risk_coverage(confidence: Sequence[float], right: Sequence[bool]) -> RiskCoverage:
    """The curve and its area (AURC, Geifman and El-Yaniv 2017); answers of equal confidence come in random order."""
    import numpy as np

    given, truth = checked(confidence, right)
    _, group, size = np.unique(-given, return_inverse=True, return_counts=True)
    wrong = (np.bincount(group, 1 - truth) / size)[group]  # ties: what is expected of a random order
    risk = _running_mean(wrong[np.argsort(-given, kind="stable")])
    n = len(given)
    places = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))
    best = _running_mean(np.sort(1 - truth)).mean()
    return RiskCoverage(
        tuple(map(float, (places + 1) / n)), tuple(map(float, risk[places])), float(risk.mean()), float(best),
        float((1 - truth).mean()),
    )  # fmt: skip


def _running_mean(values):
    import numpy as np

    return np.cumsum(values) / np.arange(1, len(values) + 1)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a threshold does: the share of questions answered, and the share of those answers that is right."""

    threshold: float
    share: Interval
    accuracy: Interval


def at_threshold(threshold: float, confidence: Sequence[float], right: Sequence[bool]) -> Answered:
    """Judge on fresh answers. Raises CogumiError where not one reaches the threshold."""
    given, truth = checked(confidence, right)
    kept = given >= threshold
    if not kept.any():
        raise CogumiError(
            expected="a threshold that at least one answer reaches",
            found=f"{threshold:.6g}; the surest of {len(given)} answers has {given.max():.6g}",
            why="no answers, no share of right ones",
            fix="lower the threshold, or set it on confidences of the same kind",
        )
    k = int(kept.sum())
    return Answered(float(threshold), wilson(k, len(given)), wilson(int(truth[kept].sum()), k))


def threshold_for(share: float, confidence: Sequence[float]) -> float:
    """The highest threshold that lets at least `share` of these answers through (those at it included)."""
    import math

    import numpy as np

    _check_share(share)
    given, _ = checked(confidence, np.zeros(len(confidence)))
    return float(np.sort(given)[::-1][math.ceil(share * len(given) - 1e-9) - 1])


def threshold_for_accuracy(target: float, confidence: Sequence[float], right: Sequence[bool]) -> float:
    """The lowest threshold above which these answers are right more often than `target`, by Wilson's lower bound.

    The bound and not the share itself: the threshold is chosen among many, and a share that is chosen flatters.
    Raises CogumiError where no threshold gets there.
    """
    import numpy as np

    _check_share(target)
    given, truth = checked(confidence, right)
    for threshold in np.unique(given):
        kept = given >= threshold
        if wilson(int(truth[kept].sum()), int(kept.sum())).low > target:
            return float(threshold)
    raise CogumiError(
        expected=f"answers among which more than {target:.1%} are right, with confidence",
        found=f"none in {len(given)} answers, {truth.mean():.1%} of them right",
        why="a threshold that promises more than was seen would be a guess",
        fix="ask for less, or fit on more answers",
    )


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise CogumiError(
            expected="a share above 0 and below 1", found=f"{share}",
            why="all or none of the answers need no threshold", fix="give it as a fraction, 0.8 for 80%",
        )  # fmt: skip
