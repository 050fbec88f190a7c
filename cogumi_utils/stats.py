"""Estimates with their 95% intervals: proportions, paired comparisons, means, several tests at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cogumi_utils.errors import CogumiError

CONFIDENCE = 0.95
MAX_N = 10**9  # beyond this no experiment decides
_BATCH = 4_000_000  # resampled items held at once: 32 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval. unit "%": shares between 0 and 1, shown as per cent; else shown as they are."""

    value: float
    low: float
    high: float
    n: int | None = None
    unit: str = "%"

    def __str__(self) -> str:
        count = "" if self.n is None else f" n={self.n}"
        if self.unit == "%":
            return f"{100 * self.value:.1f}% [{100 * self.low:.1f}, {100 * self.high:.1f}]{count}"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.value:.4g}{unit} [{self.low:.4g}, {self.high:.4g}]{count}"


@dataclass(frozen=True, slots=True)
class Paired:
    """Mean of (after - before) over the same items, with its interval; p_value is two-sided, for "no difference"."""

    value: float
    low: float
    high: float
    n: int
    gained: int
    lost: int
    p_value: float

    def __str__(self) -> str:
        low, high = 100 * self.low, 100 * self.high
        return (
            f"{100 * self.value:+.1f} points [{low:+.1f}, {high:+.1f}] n={self.n} "
            f"({self.gained} gained, {self.lost} lost, p={self.p_value:.2g})"
        )


def z_of(confidence: float = CONFIDENCE) -> float:
    """The two-sided normal quantile: 1.96 at 0.95."""
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))


def wilson(k: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of `k` successes in `n` trials (k may be fractional when planning)."""
    if not n > 0 or not 0 <= k <= n:
        raise CogumiError(
            expected="0 <= successes <= trials, and at least one trial",
            found=f"{k} successes in {n} trials",
            why="a share of nothing has no value and no interval",
            fix="check that the evaluation set is not empty after filtering",
        )
    z, share = z_of(confidence), k / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at k = 0 and k = n the bound is exactly 0 or 1; rounding must not push it past
    low, high = (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)
    return Interval(share, low, high, n)


def bonett_price(gained: float, lost: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of the difference of two paired proportions (Bonett and Price 2012, adjusted Wald).

    Unlike the bootstrap it does not collapse to a point when no pair, or every pair, changed.
    """
    centre, error = bonett_price_moments(gained, lost, n)
    half = z_of(confidence) * error
    return max(-1.0, centre - half), min(1.0, centre + half)


def bonett_price_moments(gained: float, lost: float, n: int) -> tuple[float, float]:
    """(centre, standard error) of the adjusted difference: one pair added to each discordant cell."""
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    return up - down, math.sqrt((up + down - (up - down) ** 2) / (n + 2))


def paired_difference(
    before: Sequence[float], after: Sequence[float], seed: int, confidence: float = CONFIDENCE
) -> Paired:
    """Compare two runs over the same items, in the same order.

    Right/wrong items (0/1 or booleans): exact McNemar p and the Bonett-Price interval. Scores: sign-flip p and the
    percentile bootstrap (10,000 resamples drawn with `seed`).
    """
    import numpy as np

    old, new = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    _check_paired(old.shape, new.shape)
    gained, lost, n = int((new > old).sum()), int((new < old).sum()), len(old)
    difference = new - old
    if np.isin(old, (0, 1)).all() and np.isin(new, (0, 1)).all():
        low, high = bonett_price(gained, lost, n, confidence)
        p_value = mcnemar_exact(gained, lost)
    else:
        interval = bootstrap_mean_ci(difference, seed, confidence)
        low, high, p_value = interval.low, interval.high, sign_flip_p(difference, seed)
    return Paired(float(difference.mean()), low, high, n, gained, lost, p_value)


def _check_paired(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    if before != after or len(before) != 1 or before[0] == 0:
        raise CogumiError(
            expected="two equally long, non-empty lists of results, item by item",
            found=f"shapes {before} and {after}",
            why="a paired comparison needs both results of every item",
            fix="grade both models on the same list of examples",
        )


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar p: a sign test on the pairs that changed; 1 where none did."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def score_p(k: float, n: int, threshold: float) -> float:
    """Two-sided p of "the share is `threshold`", score test: below 0.05 just where Wilson's interval leaves it out."""
    from scipy.special import ndtr

    error = math.sqrt(threshold * (1 - threshold) / n)
    if not error:  # at 0 and 1 one item on the other side is proof
        return float(k / n == threshold)
    return float(2 * ndtr(-abs(k / n - threshold) / error))


def normal_p(interval: Interval, threshold: float) -> float:
    """Two-sided p of "the truth is `threshold`" for an estimate whose 95% interval is that of a normal law."""
    from scipy.special import ndtr

    error = (interval.high - interval.low) / (2 * z_of())
    distance = abs((interval.high + interval.low) / 2 - threshold)
    return float(2 * ndtr(-distance / error)) if error else float(distance == 0)


def sign_flip_p(differences: Sequence[float], seed: int, resamples: int = 10_000) -> float:
    """Two-sided p of "the differences are symmetric about 0", by flipping their signs at random."""
    import numpy as np

    values = np.asarray(differences, dtype=float)
    observed, generator, extreme = abs(values.sum()), np.random.default_rng(seed), 0
    batch = max(1, min(resamples, _BATCH // len(values)))
    for start in range(0, resamples, batch):
        signs = generator.integers(0, 2, (min(batch, resamples - start), len(values))) * 2.0 - 1
        extreme += int((np.abs(signs @ values) >= observed * (1 - 1e-12)).sum())
    return (extreme + 1) / (resamples + 1)


def bootstrap_mean_ci(
    values: Sequence[float], seed: int, confidence: float = CONFIDENCE, resamples: int = 10_000, unit: str = ""
) -> Interval:
    """Percentile bootstrap interval of a mean; deterministic in `seed`."""
    import numpy as np

    data = np.asarray(values, dtype=float)
    if data.size == 0:
        _check_paired((0,), (0,))
    generator, means = np.random.default_rng(seed), []
    batch = max(1, min(resamples, _BATCH // data.size))
    for start in range(0, resamples, batch):
        rows = generator.integers(0, data.size, (min(batch, resamples - start), data.size))
        means.append(data[rows].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(data.mean()), float(low), float(high), int(data.size), unit)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: every one below alpha holds together with probability 1 - alpha."""
    return _adjust(p_values, "holm")


def fdr(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values: the share of false finds among those below alpha is alpha."""
    return _adjust(p_values, "fdr_bh")


def _adjust(p_values: Sequence[float], method: str) -> list[float]:
    if not len(p_values):
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method=method)[1]]


def n_to_decide(value: float, threshold: float, confidence: float = CONFIDENCE) -> int | None:
    """The smallest n at which Wilson's interval leaves `threshold` out, if the share stays `value`; None if never."""

    def decides(n: int) -> bool:
        interval = wilson(min(value * n, n), n, confidence)
        return interval.low > threshold or interval.high < threshold

    return smallest(decides) if value != threshold else None


def n_to_decide_paired(paired: Paired, threshold: float = 0.0, confidence: float = CONFIDENCE) -> int | None:
    """As `n_to_decide`, for a paired 0/1 comparison whose shares of gained and lost items stay as they are."""

    def decides(n: int) -> bool:
        low, high = bonett_price(paired.gained / paired.n * n, paired.lost / paired.n * n, n, confidence)
        return low > threshold or high < threshold

    return smallest(decides) if paired.value != threshold else None


def n_to_decide_value(interval: Interval, threshold: float) -> int | None:
    """As `n_to_decide`, for any estimate whose interval shrinks with the square root of n."""
    miss = abs(interval.value - threshold)
    if not interval.n or not miss:
        return None
    half = interval.value - interval.low if interval.value > threshold else interval.high - interval.value
    return min(MAX_N, math.floor(interval.n * (half / miss) ** 2) + 1)


def smallest(decides: Callable[[int], bool]) -> int | None:
    """The smallest n (up to `MAX_N`) for which `decides` holds; it must stay true once true."""
    low, high = 0, 1
    while not decides(high):
        low, high = high, high * 2
        if high > MAX_N:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
