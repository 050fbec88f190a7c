"""The curve of a strong model's share: by hand, against chance, and its intervals against what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import gain

WEAK, STRONG = np.array([1, 0, 0, 1]), np.array([1, 1, 1, 0])  # gains 0, 1, 1, -1: from 50% to 75%


def questions(n: int, seed: int):
    """Scores that say how probable it is that only the strong model is right; else both are right."""
    random = np.random.default_rng(seed)
    score = random.random(n)
    return score, (random.random(n) >= score).astype(float), np.ones(n)


def test_four_questions_by_hand():
    score = [0.1, 0.9, 0.8, 0.0]  # gains in order: 1, 1, 0, -1 of 4; the lead is 1 of 4
    shares, quality = gain.curve(score, WEAK, STRONG, points=5)
    assert shares == [0, 0.25, 0.5, 0.75, 1] and quality == [0.5, 0.75, 1.0, 1.0, 0.75]
    area = (0.5 + 1.5 + 2.0 + 1.5) / 4  # of pgr, by trapezoids: 0, 1, 2, 2, 1
    assert gain.area(score, WEAK, STRONG) == pytest.approx(area) == gain.apgr(score, WEAK, STRONG).value
    assert gain.share_needed(score, WEAK, STRONG).value == pytest.approx(0.95 * 0.25)
    assert gain.share_needed(score, WEAK, STRONG, part=0.5).value == pytest.approx(0.125)


def test_scores_that_say_nothing_are_routing_by_lot():
    assert gain.area([0.3] * 4, WEAK, STRONG) == 0.5 and gain.share_needed([0.3] * 4, WEAK, STRONG).value == 0.95
    score, weak, strong = questions(4000, 1)
    lot = np.random.default_rng(2).random(4000)
    found = gain.apgr(lot, weak, strong)
    assert found.low < 0.5 < found.high and found.high - found.low < 0.06
    assert gain.area(-score, weak, strong) == pytest.approx(1 - gain.area(score, weak, strong))


def test_ties_count_as_in_random_order():
    score = np.array([1, 1, 1, 0])
    random, areas = np.random.default_rng(0), []
    for _ in range(3000):
        areas.append(gain.area(score + 1e-6 * random.random(4), WEAK, STRONG))
    assert gain.area(score, WEAK, STRONG) == pytest.approx(np.mean(areas), abs=0.02)


def test_the_known_truth_is_found():
    """Gain 1 with probability s, s uniform: pgr at share x is 1 - (1 - x)², its area 2/3, 95% at 1 - √0.05."""
    score, weak, strong = questions(6000, 3)
    found, needed = gain.apgr(score, weak, strong), gain.share_needed(score, weak, strong)
    assert found.value == pytest.approx(2 / 3, abs=0.02) and found.low < 2 / 3 < found.high
    assert needed.value == pytest.approx(1 - 0.05**0.5, abs=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(40):
        score, weak, strong = questions(300, seed)
        area, needed = gain.apgr(score, weak, strong, seed=seed), gain.share_needed(score, weak, strong, seed=seed)
        held.append((area.low <= 2 / 3 <= area.high, needed.low <= 1 - 0.05**0.5 <= needed.high))
    assert (np.mean(held, axis=0) >= 0.87).all() and np.mean(held) < 1


def test_clusters_are_drawn_whole():
    """Each question four times: blind to it the interval is half as wide."""
    score, weak, strong = (np.repeat(one, 4) for one in questions(200, 5))
    blind = gain.apgr(score, weak, strong)
    honest = gain.apgr(score, weak, strong, clusters=np.repeat(np.arange(200), 4))
    assert (blind.high - blind.low) / (honest.high - honest.low) == pytest.approx(0.5, abs=0.1)


def test_two_scores_are_compared_on_the_same_draws():
    score, weak, strong = questions(600, 6)
    same = gain.apgr_difference(score, score * 2, weak, strong)
    assert (same.low, same.value, same.high) == (0, 0, 0), "the same order"
    better = gain.apgr_difference(np.random.default_rng(1).random(600), score, weak, strong)
    assert better.low > 0 and better.value == pytest.approx(gain.area(score, weak, strong) - 0.5, abs=0.05)


@pytest.mark.parametrize(
    ("score", "weak", "strong", "said"),
    [
        ([0.1, 0.2], [0, 1], [1], "shapes"),
        ([], [], [], "shapes"),
        ([0.1, float("nan")], [0, 0], [1, 1], "1 of 2 scores"),
        ([0.1, 0.2], [1, 1], [1, 0], "50.0% right by the strong"),
    ],
)
def test_what_has_no_lead_or_does_not_match_is_refused(score, weak, strong, said):
    with pytest.raises(CogumiError, match=said):
        gain.apgr(score, weak, strong)
