from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.compress.calibration import coverage
from cogumi_utils.errors import CogumiError

CONFIDENCE, RIGHT = [0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]


def test_worked_example():
    found = coverage.risk_coverage(CONFIDENCE, RIGHT)
    assert found.coverage == (0.25, 0.5, 0.75, 1.0)
    assert found.risk == pytest.approx((0, 1 / 2, 1 / 3, 1 / 2))
    assert found.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found.area_best == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4) and found.area_random == 0.5


def test_equal_confidences_are_worth_a_draw_by_lot():
    """Whatever the order of the rows."""
    found = [coverage.risk_coverage([0.5] * 4, right) for right in ([1, 1, 0, 0], [0, 1, 0, 1])]
    assert found[0] == found[1] and found[0].area == found[0].area_random
    mixed = coverage.risk_coverage([0.9, 0.5, 0.5], [1, 1, 0])
    assert mixed.risk == pytest.approx((0, 0.25, 1 / 3))


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    random = np.random.default_rng(1)
    confidence = random.random(5000)
    right = random.random(5000) < confidence
    found = coverage.risk_coverage(confidence, right)
    assert len(found.coverage) == coverage.POINTS and found.coverage[-1] == 1
    assert found.risk[-1] == pytest.approx(1 - right.mean()) and found.area == pytest.approx(1 / 4, abs=0.03)
    assert found.area_best < found.area < found.area_random


@pytest.mark.parametrize(("share", "threshold"), [(0.25, 0.9), (0.26, 0.8), (0.5, 0.8), (0.99, 0.6)])
def test_the_threshold_lets_the_share_through(share, threshold):
    assert coverage.threshold_for(share, CONFIDENCE) == threshold
    assert np.mean(np.array(CONFIDENCE) >= threshold) >= share


@pytest.mark.parametrize("n", [100, 300, 1000])
def test_shares_that_are_no_binary_fractions(n):
    confidence = np.arange(n) / n
    for percent in range(1, 100):
        threshold = coverage.threshold_for(percent / 100, confidence)
        assert (confidence >= threshold).sum() == n * percent // 100


def test_a_threshold_is_judged_on_fresh_answers():
    found = coverage.at_threshold(0.7, [0.9, 0.7, 0.6, 0.1], [1, 0, 1, 1])
    assert (found.share.value, found.share.n) == (0.5, 4) and (found.accuracy.value, found.accuracy.n) == (0.5, 2)


def test_a_target_share_right_is_met_on_fresh_answers():
    random = np.random.default_rng(2)
    confidence = random.random((2, 4000))
    right = random.random((2, 4000)) < confidence
    threshold = coverage.threshold_for_accuracy(0.8, confidence[0], right[0])
    assert 0.6 < threshold < 0.68  # right in (1 + t)/2 above t: 0.6 is enough, a little more is sure
    assert coverage.at_threshold(threshold, confidence[1], right[1]).accuracy.high > 0.8


def test_too_high_a_target_is_refused():
    with pytest.raises(CogumiError, match="more than 90.0%"):
        coverage.threshold_for_accuracy(0.9, CONFIDENCE, RIGHT)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_shares_that_need_no_threshold_are_refused(share):
    with pytest.raises(CogumiError, match="0.8 for 80%"):
        coverage.threshold_for(share, CONFIDENCE)
    with pytest.raises(CogumiError, match="0.8 for 80%"):
        coverage.threshold_for_accuracy(share, CONFIDENCE, RIGHT)


def test_a_threshold_that_nothing_reaches_is_refused():
    with pytest.raises(CogumiError, match="has 0.9"):
        coverage.at_threshold(0.95, CONFIDENCE, RIGHT)
