"""Intervals against statsmodels, scipy and counts done by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

from cogumi_utils import stats
from cogumi_utils.errors import CogumiError
from cogumi_utils.stats import Interval, Paired


@given(n=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=200, deadline=None)
def test_wilson_is_that_of_statsmodels(n, share, confidence):
    k = round(share * n)
    found = stats.wilson(k, n, confidence)
    low, high = proportion_confint(k, n, alpha=1 - confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_wilson_pinned_and_written_out():
    interval = stats.wilson(80, 128)
    assert (interval.value, interval.n) == (0.625, 128)
    assert str(interval) == "62.5% [53.9, 70.4] n=128"
    assert (stats.wilson(0, 50).low, stats.wilson(50, 50).high) == (0.0, 1.0)


@pytest.mark.parametrize("k, n", [(0, 0), (3, 2), (-1, 5)])
def test_wilson_of_nothing_is_refused(k, n):
    with pytest.raises(CogumiError) as caught:
        stats.wilson(k, n)
    assert f"{k} successes in {n} trials" in caught.value.found


def test_interval_of_a_measure_that_is_no_share():
    assert str(Interval(12.3456, 11, 13.5, 40, "s")) == "12.35 s [11, 13.5] n=40"


def test_paired_difference_of_right_and_wrong_items():
    before = [0] * 30 + [1] * 70
    after = [1] * 20 + [0] * 10 + [1] * 65 + [0] * 5
    found = stats.paired_difference(before, after, seed=0)
    assert (found.value, found.n, found.gained, found.lost) == (0.15, 100, 20, 5)
    assert found.p_value == pytest.approx(mcnemar([[65, 5], [20, 10]], exact=True).pvalue, rel=1e-12)
    # Bonett and Price by hand: (21-6)/102 ± 1.95996 * sqrt((27/102 - (15/102)**2) / 102)
    assert (found.low, found.high) == pytest.approx((0.051379, 0.242739), abs=1e-6)
    assert str(found) == "+15.0 points [+5.1, +24.3] n=100 (20 gained, 5 lost, p=0.0041)"


def test_no_change_on_few_items_is_no_proof_of_equality():
    found = stats.paired_difference([1] * 50, [1] * 50, seed=0)
    assert found.value == 0 and found.low < -0.03 and found.high > 0.03 and found.p_value == 1


def test_paired_interval_covers_the_truth_95_times_in_100():
    """Exact coverage, by enumerating the counts, of the interval that stands in for the bootstrap."""
    n, up, down = 60, 0.15, 0.05
    changed = np.array([binom.pmf(c, n, up + down) for c in range(n + 1)])
    covered = 0.0
    for c in range(n + 1):
        for gained, weight in enumerate(binom.pmf(range(c + 1), c, up / (up + down))):
            low, high = stats.bonett_price(gained, c - gained, n)
            covered += changed[c] * weight * (low <= up - down <= high)
    assert 0.945 <= covered <= 0.965


def test_interval_and_mcnemar_rarely_disagree_and_then_by_little():
    """Where the interval says "better", the exact test is at worst at p = 0.066."""
    passes = [
        stats.mcnemar_exact(gained, lost)
        for gained, lost in itertools.product(range(60), range(60))
        if gained + lost <= 100 and stats.bonett_price(gained, lost, 100)[0] > 0
    ]
    assert len(passes) == 1051 and max(passes) == pytest.approx(0.0660, abs=1e-4)


def test_paired_scores_use_a_seeded_bootstrap():
    generator = np.random.default_rng(1)
    before = generator.normal(0, 1, 200)
    after = before + generator.normal(0.3, 1, 200)
    found = stats.paired_difference(before, after, seed=3)
    error = (after - before).std() / np.sqrt(200)
    assert found == stats.paired_difference(before, after, seed=3)
    assert found != stats.paired_difference(before, after, seed=4)
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.02)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.02)
    assert 0 < found.p_value < 0.01


@pytest.mark.parametrize("before, after", [([1, 0], [1]), ([], []), ([[1]], [[0]])])
def test_paired_lists_must_match(before, after):
    with pytest.raises(CogumiError) as caught:
        stats.paired_difference(before, after, seed=0)
    assert "same list of examples" in caught.value.fix


def test_bootstrap_does_not_depend_on_its_batches(monkeypatch):
    values = np.arange(37.0)
    whole = stats.bootstrap_mean_ci(values, seed=5)
    monkeypatch.setattr(stats, "_BATCH", 370)
    assert stats.bootstrap_mean_ci(values, seed=5) == whole
    assert whole.value == 18 and 14.2 < whole.low < 14.8 and 21.2 < whole.high < 21.8
    with pytest.raises(CogumiError):
        stats.bootstrap_mean_ci([], seed=0)


def test_holm_and_fdr_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.fdr([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert stats.holm([]) == []


@given(k=st.integers(0, 400), n=st.integers(1, 400), threshold=st.floats(0.01, 0.99))
@settings(max_examples=200, deadline=None)
def test_score_p_is_below_5_percent_just_where_wilson_leaves_the_threshold_out(k, n, threshold):
    k = min(k, n)
    interval, p_value = stats.wilson(k, n), stats.score_p(k, n, threshold)
    if abs(p_value - 0.05) > 1e-9:
        assert (p_value < 0.05) == (threshold < interval.low or threshold > interval.high)
    assert p_value == pytest.approx(proportions_ztest(k, n, threshold, prop_var=threshold)[1], abs=1e-9)


def test_n_to_decide_is_the_first_n_that_decides():
    assert stats.n_to_decide(0.62, 0.60) == 2305
    assert stats.wilson(0.62 * 2305, 2305).low > 0.60 > stats.wilson(0.62 * 2304, 2304).low
    assert stats.n_to_decide(0.6, 0.6) is None
    paired = Paired(0.05, -0.02, 0.12, 100, 15, 10, 0.4)
    n = stats.n_to_decide_paired(paired)
    assert n == 389
    assert (
        stats.bonett_price(0.15 * n, 0.10 * n, n)[0] > 0 > stats.bonett_price(0.15 * (n - 1), 0.10 * (n - 1), n - 1)[0]
    )


def test_n_to_decide_falls_as_the_distance_grows():
    needed = [stats.n_to_decide(value, 0.5) for value in (0.501, 0.51, 0.55, 0.6, 0.8, 1.0)]
    assert needed == sorted(needed, reverse=True) and len(set(needed)) == len(needed)
    values = [stats.n_to_decide_value(Interval(v, v - 1, v + 1, 100), 0) for v in (0.1, 0.2, 0.5, 0.9)]
    assert values == [10001, 2501, 401, 124]


def test_the_effect_too_small_for_any_experiment_has_no_n():
    assert stats.n_to_decide(0.5 + 1e-6, 0.5) is None
