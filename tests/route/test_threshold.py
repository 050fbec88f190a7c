"""Thresholds: counted by hand, chosen on one half and confirmed on the other; the number of queries by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import threshold
from cogumi_utils.route.threshold import Traffic
from cogumi_utils.stats import wilson

SMALL = Traffic(np.array([0.5, 0.7, 0.78, 0.82, 0.9]), np.array([0, 1, 0, 1, 1]), np.array([1, 1, 1, 0, 1]), 1.0, 11.0)


def traffic(n: int, seed: int) -> Traffic:
    """Calibrated confidences from 0.5 to 1 and a fallback that is right in 90%."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.5, 1, n)
    return Traffic(confidence, random.random(n) < confidence, random.random(n) < 0.9)


def test_five_queries_by_hand():
    done = threshold.at(0.80, SMALL)
    assert done.sent_on == wilson(3, 5) and done.quality == wilson(5, 5)
    assert done.cost.value == pytest.approx(1 + 10 * 3 / 5) and done.cost.low == pytest.approx(
        1 + 10 * wilson(3, 5).low
    )
    at_it = threshold.at(0.82, SMALL)
    assert at_it.sent_on == wilson(3, 5) and at_it.quality == wilson(5, 5), "a query at the threshold stays"


def test_lines_for_a_figure_start_and_end_together():
    lines = threshold.lines(SMALL)
    sent, quality = lines["by confidence"]
    assert sent == lines["by lot"][0] and (sent[0], sent[-1]) == (0.0, 1.0)
    assert quality[0] == lines["by lot"][1][0] == 0.6 and quality[-1] == lines["by lot"][1][-1] == 0.8
    assert max(quality) == 1.0  # three sent on: the two that were wrong among them


def test_the_curve_goes_from_nothing_to_everything_with_the_marks_of_the_brief_on_it():
    frame = threshold.curve(SMALL, points=3)
    assert frame["sent_on"].tolist() == [0.0, 0.4, 0.4, 0.6, 0.8, 0.8, 1.0]
    assert frame["threshold"][frame["marked"]].tolist() == [0.75, 0.80, 0.85]
    assert frame["quality"].iloc[0] == pytest.approx(0.6) and frame["quality"].iloc[-1] == pytest.approx(0.8)
    assert frame["by_lot"].iloc[3] == pytest.approx(0.4 * 0.6 + 0.6 * 0.8)
    assert frame["cost"].iloc[[0, -1]].tolist() == [1, 11]
    table = threshold.table(SMALL)
    assert table["threshold"].tolist() == ["0.75", "0.8", "0.85"]
    needed = [str(threshold.queries_to_tell(1 / 5, 0))] * 2
    assert table["queries to tell them apart"].tolist() == ["", *needed]


@pytest.mark.parametrize(
    ("share", "level", "sent"), [(0.0, 0.5, 0), (0.2, 0.7, 1), (0.39, 0.7, 1), (0.6, 0.82, 3), (0.99, 0.9, 4)]
)
def test_a_share_of_traffic(share, level, sent):
    found = threshold.for_share(share, SMALL.confidence)
    assert found == level and (SMALL.confidence < found).sum() == sent


def test_all_of_the_traffic_and_ties():
    assert (SMALL.confidence < threshold.for_share(1.0, SMALL.confidence)).all()
    ties = [0.5, 0.5, 0.5, 0.9]
    assert threshold.for_share(0.5, ties) == 0.5, "sends nothing on rather than more than was asked for"


def test_a_cost():
    assert threshold.for_cost(1.0 + 10 * 0.4, SMALL) == 0.78
    for cost in (0.5, 11.5):
        with pytest.raises(CogumiError, match="no threshold costs less or more"):
            threshold.for_cost(cost, SMALL)


def test_chosen_on_one_half_and_confirmed_on_the_other():
    whole = traffic(4000, 1)
    found = threshold.choose(whole, seed=3, share=0.3)
    planning, fresh = threshold.halves(4000, 3)
    assert len(planning) == len(fresh) == 2000 and not set(planning) & set(fresh)
    level = threshold.for_share(0.3, whole.confidence[planning])
    assert found.confirmed == threshold.at(level, whole.take(fresh)) and found.planned.sent_on.value <= 0.3
    assert found.met and found.kept.low > 0 and found.confirmed.sent_on.n == 2000
    assert found.strong.value == pytest.approx(found.confirmed.quality.value - whole.fallback[fresh].mean())
    assert found.table()["estimate"][0] == "at most 30% to the fallback"


def test_another_stream_of_queries_does_not_meet_the_plan():
    """Fresh queries of which the router is less sure: more go to the fallback than planned."""
    whole, rows = traffic(4000, 1), threshold.halves(4000, 3)[1]
    lower = whole.confidence.copy()
    lower[rows] = 0.5 + (lower[rows] - 0.5) * 0.8
    found = threshold.choose(Traffic(lower, whole.right, whole.fallback), seed=3, share=0.3)
    assert not found.met and found.confirmed.sent_on.low > 0.3


def test_confirmed_as_often_as_95_percent_says():
    """At n = 400 the planned share itself varies: by both halves' noise, 1.96 / √2 standard errors, 83%."""
    met = [threshold.choose(traffic(800, seed), seed, share=0.3).met for seed in range(150)]
    assert 0.75 < np.mean(met) < 0.92


def test_a_cost_may_be_the_target_and_one_target_is_needed():
    found = threshold.choose(traffic(2000, 2), seed=0, cost=3.0)
    assert found.planned.cost.value <= 3.0 and found.target == "at most 3 a query"
    for targets in ({}, {"share": 0.2, "cost": 3.0}):
        with pytest.raises(CogumiError, match="one threshold meets one target"):
            threshold.choose(SMALL, seed=0, **targets)


def test_halves_keep_groups_together():
    groups = np.repeat([f"s{n}" for n in range(50)], 3)
    first, second = threshold.halves(150, 1, groups)
    assert len(first) == len(second) == 75 and not set(groups[first]) & set(groups[second])
    assert sorted([*first, *second]) == list(range(150))


def test_two_thresholds_differ_only_between_them():
    found = threshold.difference(0.75, 0.80, SMALL)
    assert (found.gained, found.lost, found.n) == (1, 0, 5)
    frame = threshold.to_tell((0.85, 0.75, 0.80), SMALL)
    assert frame["thresholds"].tolist() == ["0.75 → 0.8", "0.8 → 0.85"]
    assert frame["queries that differ"].tolist() == [1, 1]
    assert frame["queries needed"].iloc[0] == threshold.queries_to_tell(1 / 5, 0)
    level = threshold.to_tell((0.75, 0.85), SMALL)
    assert level["queries that differ"].tolist() == [2]
    assert level["queries needed"].isna().all(), "one gained, one lost: no difference to find"


@pytest.mark.parametrize(
    ("gained", "lost", "needed"),
    [(0.45, 0.05, 23), (0.30, 0.15, 155)],  # published calculators of Connor's formula, power 80%
)
def test_published_numbers_of_pairs(gained, lost, needed):
    assert threshold.queries_to_tell(gained, lost) == threshold.queries_to_tell(lost, gained) == needed


@pytest.mark.parametrize(("gained", "lost"), [(0.06, 0.03), (0.02, 0.005), (0.30, 0.22)])
def test_so_many_queries_find_the_difference_in_80_percent(gained, lost):
    """McNemar's test on multinomial draws of the three kinds of pairs."""
    n = threshold.queries_to_tell(gained, lost)
    drawn = np.random.default_rng(0).multinomial(n, [gained, lost, 1 - gained - lost], 4000)
    up, down = drawn[:, 0], drawn[:, 1]
    found = (up - down) ** 2 / np.maximum(up + down, 1) > 1.959964**2
    assert 0.78 < found.mean() < 0.84


def test_power_counts_and_nonsense_is_refused():
    assert threshold.queries_to_tell(0.06, 0.03, power=0.9) > threshold.queries_to_tell(0.06, 0.03)
    for bad in ((0.7, 0.6), (-0.1, 0.2), (float("nan"), 0.1)):
        with pytest.raises(CogumiError, match="together at most 1"):
            threshold.queries_to_tell(*bad)


def test_traffic_that_does_not_match_is_refused():
    with pytest.raises(CogumiError, match=r"shapes \(2,\) and \(3,\)"):
        Traffic(np.array([0.5, 0.6]), np.array([1, 0, 1]), np.array([1, 0]))
    with pytest.raises(CogumiError, match="the fallback's above"):
        Traffic(np.array([0.5]), np.array([1]), np.array([1]), 5.0, 5.0)
    with pytest.raises(CogumiError, match="share of traffic"):
        threshold.for_share(1.2, [0.5])
