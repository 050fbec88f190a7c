"""What sending questions to a strong model gains: quality against its share of calls, APGR, the share that is enough.

Questions go to the strong model by falling score. PGR is the share of the strong model's lead over the weak one that
is recovered; APGR its mean over all shares, the area under the curve (RouteLLM, Ong et al. 2024, arXiv 2406.18665, who
take it by the trapezoid rule over ten points). A score drawn by lot has an APGR of 0.5 and needs 95% of the calls for
95% of the lead. Equal scores count as in random order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece
from cogumi_utils.stats import CONFIDENCE, Interval

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 1000
BATCH = 100  # resamples at once: 100 × 15,000 questions are 12 MB
BY_LOT = 0.5  # APGR
NEARLY_ALL = 0.95  # of the strong model's lead


def checked(score: Sequence[float], weak: Sequence[float], strong: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(score, strong - weak), float [n]. Raises CogumiError where they don't match or the strong model doesn't lead."""
    import numpy as np

    given, below, above = (np.asarray(one, dtype=float) for one in (score, weak, strong))
    fault = ""
    if given.ndim != 1 or not given.size or not given.shape == below.shape == above.shape:
        fault = f"shapes {given.shape}, {below.shape} and {above.shape}"
    elif not np.isfinite(given).all():
        fault = f"{int((~np.isfinite(given)).sum())} of {given.size} scores not finite"
    elif above.sum() <= below.sum():
        fault = f"{above.mean():.1%} right by the strong model, {below.mean():.1%} by the weak one"
    if fault:
        raise CogumiError(
            expected="a score and two verdicts for each question, and a strong model that is right more often",
            found=fault,
            why="what is measured is the share of its lead that is recovered",
            fix="pass scores and verdicts of the same questions, in the same order, the weaker model first",
        )
    return given, above - below


def curve(
    score: Sequence[float], weak: Sequence[float], strong: Sequence[float], points: int = 101
) -> tuple[list[float], list[float]]:
    """(share sent to the strong model, share answered right), at even shares from 0 to 1, for `plots.curves`."""
    import numpy as np

    given, gain = checked(score, weak, strong)
    sent, gained = _curves(np.ones((1, len(given))), *_ordered(given, gain))
    shares = np.linspace(0, 1, points)
    quality = np.mean(np.asarray(weak, dtype=float)) + np.interp(shares, sent[0], gained[0])
    return shares.tolist(), quality.tolist()


def area(score: Sequence[float], weak: Sequence[float], strong: Sequence[float]) -> float:
    """Average performance gap recovered, without an interval."""
    import numpy as np

    return float(_areas(*_curves(np.ones((1, len(score))), *_ordered(*checked(score, weak, strong))))[0])


def apgr(
    score: Sequence[float], weak: Sequence[float], strong: Sequence[float], *, seed: int = 0,
    clusters: Sequence | None = None,
) -> Interval:  # fmt: skip
    """Average performance gap recovered, with a bootstrap interval over questions (whole clusters where given)."""
    return _estimate(_areas, checked(score, weak, strong), seed, clusters)


def share_needed(
    score: Sequence[float], weak: Sequence[float], strong: Sequence[float], part: float = NEARLY_ALL, *, seed: int = 0,
    clusters: Sequence | None = None,
) -> Interval:  # fmt: skip
    """The smallest share of calls to the strong model that recovers `part` of its lead (the paper's CPT)."""
    return _estimate(lambda sent, gained: _crossing(sent, gained, part), checked(score, weak, strong), seed, clusters)


def apgr_difference(
    before: Sequence[float], after: Sequence[float], weak: Sequence[float], strong: Sequence[float], *, seed: int = 0,
    clusters: Sequence | None = None,
) -> Interval:  # fmt: skip
    """APGR by the scores `after` less that by `before`, on the same questions: a paired bootstrap interval."""
    pairs = [_ordered(*checked(score, weak, strong)) for score in (before, after)]
    n = len(pairs[0][0])

    def measured(weights: np.ndarray) -> np.ndarray:
        old, new = (_areas(*_curves(weights, *one)) for one in pairs)
        return new - old

    return _interval(measured, n, seed, clusters)


def _estimate(measure, given: tuple[np.ndarray, np.ndarray], seed: int, clusters: Sequence | None) -> Interval:
    ordered = _ordered(*given)
    return _interval(lambda weights: measure(*_curves(weights, *ordered)), len(given[0]), seed, clusters)


def _interval(measured, n: int, seed: int, clusters: Sequence | None) -> Interval:
    """measured: weights [resamples, n] to values [resamples]; resamples in which the strong model does not lead are NaN
    and left out."""
    import numpy as np

    value = float(measured(np.ones((1, n)))[0])
    weights = ece.resampled(n, seed, clusters, RESAMPLES)
    repeats = np.concatenate([measured(weights[first : first + BATCH]) for first in range(0, RESAMPLES, BATCH)])
    low, high = np.nanquantile(repeats, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high), n, "")


def _ordered(score: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(order by falling score, gain in that order, where each group of equal scores begins)."""
    import numpy as np

    order = np.argsort(-score, kind="stable")
    return order, gain[order], np.unique(-score[order], return_index=True)[1]


def _curves(
    weights: np.ndarray, order: np.ndarray, gain: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(share sent, gain so far a question), each [resamples, groups + 1], both from 0."""
    import numpy as np

    drawn = weights[:, order].astype(float)
    total = drawn.sum(axis=1, keepdims=True)
    sums = [np.add.reduceat(each, starts, axis=1).cumsum(axis=1) / total for each in (drawn, drawn * gain)]
    return tuple(np.pad(each, ((0, 0), (1, 0))) for each in sums)


def _areas(sent: np.ndarray, gained: np.ndarray) -> np.ndarray:
    import numpy as np

    lead = gained[:, -1]
    area = np.trapezoid(gained, sent, axis=1)
    return np.where(lead > 0, area / np.where(lead > 0, lead, 1), np.nan)


def _crossing(sent: np.ndarray, gained: np.ndarray, part: float) -> np.ndarray:
    """Where the curve first reaches `part` of its end, on the straight line between two points."""
    import numpy as np

    goal = part * gained[:, -1:]
    at = (gained >= goal).argmax(axis=1).clip(1)
    rows = np.arange(len(sent))
    (x0, y0), (x1, y1) = ((sent[rows, i], gained[rows, i]) for i in (at - 1, at))
    rise = np.where(y1 > y0, y1 - y0, 1)
    return np.where(gained[:, -1] > 0, x0 + (x1 - x0) * np.clip((goal[:, 0] - y0) / rise, 0, 1), np.nan)
