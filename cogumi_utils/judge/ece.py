"""How far confidences are from the truth: calibration error with its noise, Brier score, NLL, AUROC, reliability.

A binned calibration error is biased upwards: a perfectly calibrated model measures 0.060 at n = 300. So each comes
with the noise floor, and the debiased estimate of Kumar, Liang and Ma (2019, arXiv 1909.10155) is what gates judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.stats import CONFIDENCE, Interval, wilson

if TYPE_CHECKING:
    import numpy as np

BINS = 15
RESAMPLES = 1000
EPSILON = 1e-6  # confidences are kept so far from 0 and 1 where a logarithm is taken: NLL is at most 13.8 nats


def checked(confidence: Sequence[float], right: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays [n]. Raises CogumiError for what is empty, unequal, not finite or no probability."""
    import numpy as np

    given, truth = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    fault = ""
    if given.ndim != 1 or given.shape != truth.shape or not given.size:
        fault = f"shapes {given.shape} and {truth.shape}"
    elif not (given >= 0).all() or not (given <= 1).all():  # NaN is neither
        fault = f"{int((~((given >= 0) & (given <= 1))).sum())} of {given.size} confidences outside 0 to 1 or no number"
    elif not np.isin(truth, (0, 1)).all():
        fault = "verdicts other than right (1) and wrong (0)"
    if fault:
        raise CogumiError(
            expected="a confidence between 0 and 1 and a verdict, right or wrong, for each answer",
            found=fault,
            why="calibration compares the two answer by answer",
            fix="pass both for the same graded answers, in the same order",
        )
    return given, truth


def both_kinds(truth: np.ndarray) -> None:
    """Raise CogumiError where all answers are right or all wrong."""
    if truth.min() == truth.max():
        raise CogumiError(
            expected="right and wrong answers",
            found=f"{truth.size} answers, all {'right' if truth[0] else 'wrong'}",
            why="no confidence can tell apart what is all of one kind",
            fix="use more or harder questions, or easier ones",
        )


def resampled(n: int, seed: int, clusters: Sequence | None = None, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each item was drawn, float32 [resamples, n]; whole clusters at a time where items belong together."""
    import numpy as np

    names, member = np.unique(np.arange(n) if clusters is None else np.asarray(clusters), return_inverse=True)
    size, generator = len(names), np.random.default_rng(seed)
    drawn = generator.integers(0, size, (resamples, size)) + size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
    return counts.astype(np.float32)[:, member]


def bin_of(confidence: np.ndarray, bins: int, equal_mass: bool = True) -> np.ndarray:
    """Number of each item's bin, int [n], without empty bins; equal confidences are never parted."""
    import numpy as np

    edges = np.quantile(confidence, np.arange(1, bins) / bins) if equal_mass else np.arange(1, bins) / bins
    return np.unique(np.searchsorted(np.unique(edges), confidence, side="right"), return_inverse=True)[1]


def ece(
    confidence: Sequence[float], right: Sequence[bool], *, bins: int = BINS, debiased: bool = True, seed: int = 0,
    weights: np.ndarray | None = None,
) -> Interval:  # fmt: skip
    """Expected calibration error over bins of equal mass, with a bootstrap interval (weights: see `resampled`).

    debiased: root mean square of the gaps, each square less its own sampling variance (Kumar et al. 2019, l2), 0 where
    nothing is left. The true l2 error is never below the l1 error, so that a bound on it bounds both. Else the usual
    plug-in l1, bias and all.
    """
    import numpy as np

    given, truth = checked(confidence, right)
    member = np.eye(bins, dtype=np.float32)[bin_of(given, bins)]
    weights = resampled(len(given), seed) if weights is None else weights
    estimate = _debiased_square if debiased else _plug_in
    once = np.ones((1, len(given)))
    point = float(estimate(*_bin_sums(once, member, given, truth))[0])
    repeats = estimate(*_bin_sums(weights, member, given, truth))
    # resampling adds its own noise to every gap and so its own bias: the repeats are moved back by as much
    low, high = np.quantile(repeats - repeats.mean() + point, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value, low, high = (max(0.0, float(one)) for one in (point, low, high))
    if debiased:
        value, low, high = value**0.5, low**0.5, high**0.5
    return Interval(value, low, high, len(given), "")


def _bin_sums(
    weights: np.ndarray, member: np.ndarray, given: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, sum of (confidence - right) and of right, each [resamples, bins]."""
    gaps, hits = (given - truth)[:, None] * member, truth[:, None] * member
    return weights @ member, weights @ gaps, weights @ hits


def _plug_in(items: np.ndarray, gaps: np.ndarray, hits: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.abs(gaps).sum(1) / items.sum(1)


def _debiased_square(items: np.ndarray, gaps: np.ndarray, hits: np.ndarray) -> np.ndarray:
    import numpy as np

    safe = np.maximum(items, 2)  # a bin of one item has no variance: it counts as it is
    share = hits / np.maximum(items, 1)
    variance = np.where(items > 1, share * (1 - share) / (safe - 1), 0)
    return (items * ((gaps / np.maximum(items, 1)) ** 2 - variance)).sum(1) / items.sum(1)


def noise_floor(
    confidence: Sequence[float], n: int | None = None, *, bins: int = BINS, seed: int = 0, rounds: int = 1000,
    equal_mass: bool = True,
) -> Interval:  # fmt: skip
    """Plug-in ECE of a model that is perfectly calibrated, with confidences like these, at `n` items.

    value: the mean of `rounds` such models; low, high: where 95% of them lie. No estimate from n items goes below.
    """
    import numpy as np

    given, _ = checked(confidence, np.zeros(len(confidence)))
    n, generator, found = n or len(given), np.random.default_rng(seed), []
    for _ in range(rounds):
        drawn = given if n == len(given) else generator.choice(given, n)
        gaps = drawn - (generator.random(n) < drawn)
        found.append(np.abs(np.bincount(bin_of(drawn, bins, equal_mass), gaps)).sum() / n)
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(np.mean(found)), float(low), float(high), n, "")


def brier_losses(confidence: Sequence[float], right: Sequence[bool]) -> np.ndarray:
    """(confidence - right)² of each answer, [n]."""
    given, truth = checked(confidence, right)
    return (given - truth) ** 2


def nll_losses(confidence: Sequence[float], right: Sequence[bool]) -> np.ndarray:
    """Nats of each verdict under its confidence, [n]; confidences are clipped to `EPSILON` from 0 and 1."""
    import numpy as np

    given, truth = checked(confidence, right)
    given = given.clip(EPSILON, 1 - EPSILON)
    return -np.log(np.where(truth == 1, given, 1 - given))


def mean_of(losses: Sequence[float], seed: int = 0, weights: np.ndarray | None = None) -> Interval:
    """Mean of per-answer losses, or of their differences, with a bootstrap interval (weights: see `resampled`)."""
    import numpy as np

    values = np.asarray(losses, dtype=float)
    weights = resampled(len(values), seed) if weights is None else weights
    repeats = weights @ values / weights.sum(1)
    low, high = np.quantile(repeats, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values), "")


def brier(confidence: Sequence[float], right: Sequence[bool], seed: int = 0) -> Interval:
    """Mean squared error of the confidences."""
    return mean_of(brier_losses(confidence, right), seed)


def nll(confidence: Sequence[float], right: Sequence[bool], seed: int = 0) -> Interval:
    """Mean negative log-likelihood of the verdicts, nats."""
    return mean_of(nll_losses(confidence, right), seed)


def auroc(
    score: Sequence[float], right: Sequence[bool], *, seed: int = 0, weights: np.ndarray | None = None
) -> Interval:
    """Probability that a right answer has the higher score than a wrong one, ties half; any finite scores will do.

    weights: see `resampled`. Raises CogumiError where all answers are right or all wrong.
    """
    import numpy as np

    values = np.asarray(score, dtype=float)
    _, truth = checked(np.where(np.isfinite(values), 0.5, np.nan), right)
    both_kinds(truth)
    order = np.argsort(values)
    starts = np.unique(values[order], return_index=True)[1]
    weights = resampled(len(values), seed) if weights is None else weights
    point = float(_areas(np.ones((1, len(values))), truth[order], starts)[0])
    repeats = _areas(weights[:, order], truth[order], starts)
    low, high = np.nanquantile(repeats, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(point, float(low), float(high), len(values), "")


def _areas(weights: np.ndarray, truth: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """[resamples]; weights and truth by rising score, starts: where each distinct score begins."""
    import numpy as np

    up, down = (np.add.reduceat(weights * kind, starts, axis=1, dtype=float) for kind in (truth, 1 - truth))
    below = np.cumsum(down, axis=1) - down / 2
    with np.errstate(invalid="ignore"):  # a resample without a wrong answer has no area
        return (up * below).sum(1) / (up.sum(1) * down.sum(1))


def reliability(
    confidence: Sequence[float], right: Sequence[bool], bins: int = BINS
) -> list[tuple[float, Interval]]:  # fmt: skip
    """(mean confidence, share right with Wilson's interval) of each equal-mass bin, as `plots.estimates` takes it."""
    import numpy as np

    given, truth = checked(confidence, right)
    number = bin_of(given, bins)
    items, means = np.bincount(number), np.bincount(number, given)
    hits = np.bincount(number, truth)
    return [(float(m / n), wilson(int(k), int(n))) for n, m, k in zip(items, means, hits, strict=True)]


def by_group(
    measure: Callable[[Sequence[float], Sequence[bool]], Interval], confidence: Sequence[float],
    right: Sequence[bool], groups: Sequence[str],
) -> dict[str, Interval]:  # fmt: skip
    """{group: measure of its answers}, by name: what is calibrated as a whole may not be so in its parts."""
    import numpy as np

    given, truth = checked(confidence, right)
    names = np.asarray(groups)
    return {str(name): measure(given[names == name], truth[names == name]) for name in np.unique(names)}
