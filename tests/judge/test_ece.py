from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils import gates
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece as error
from cogumi_utils.judge import recompute
from cogumi_utils.stats import Interval


def perfect(n: int, seed: int):
    """Confidences and outcomes that have exactly these probabilities."""
    random = np.random.default_rng(seed)
    confidence = random.beta(3, 1, n)
    return confidence, random.random(n) < confidence


def surer_than_right(n: int, seed: int):
    """True probability 0.25 + confidence / 2, confidences spread evenly: gaps c/2 - 1/4."""
    random = np.random.default_rng(seed)
    confidence = random.random(n)
    return confidence, random.random(n) < 0.25 + confidence / 2


def test_a_perfect_model_measures_six_points_at_300_and_one_and_a_half_at_5000():
    """What makes "ECE below 0.05" undecidable at n = 300; beside the recomputation of `judge.recompute`."""
    confidence, _ = perfect(100_000, 0)
    wide = {n: error.noise_floor(confidence, n, equal_mass=False, rounds=400).value for n in (300, 5000)}
    assert round(wide[300], 2) == 0.06 and wide[300] == pytest.approx(recompute.perfect_ece(300), rel=0.03)
    assert wide[5000] == pytest.approx(recompute.perfect_ece(5000), abs=1e-3)  # means of 400 and 200 rounds
    assert round(error.noise_floor(confidence, 5000, rounds=400).value, 3) == 0.016  # bins of equal mass


def test_the_floor_is_what_perfect_models_measure():
    confidence, _ = perfect(1000, 0)
    floor = error.noise_floor(confidence)
    random = np.random.default_rng(5)
    measured = [
        error.ece(confidence, random.random(1000) < confidence, debiased=False, weights=np.ones((2, 1000))).value
        for _ in range(200)
    ]
    assert np.mean(measured) == pytest.approx(floor.value, rel=0.05)
    assert 0.9 < np.mean([floor.low < one < floor.high for one in measured]) < 0.99


def test_worked_example():
    """Two bins: 0.2 said, 2 of 4 right; 0.8 said, 3 of 4 right."""
    confidence, right = [0.2] * 4 + [0.8] * 4, [1, 1, 0, 0, 1, 1, 1, 0]
    plain = error.ece(confidence, right, bins=2, debiased=False)
    assert plain.value == pytest.approx((0.3 + 0.05) / 2) and plain.n == 8
    squares = (0.3**2 - 0.25 / 3 + 0.05**2 - 0.1875 / 3) / 2  # each gap's square less its variance y(1 - y)/(n - 1)
    assert squares < 0 and error.ece(confidence, right, bins=2).value == 0
    assert error.ece(confidence * 9, right * 9, bins=2).value == pytest.approx(
        np.sqrt((0.3**2 - 0.25 / 35 + 0.05**2 - 0.1875 / 35) / 2)
    )
    assert error.brier(confidence, right).value == pytest.approx((2 * 0.64 + 2 * 0.04 + 3 * 0.04 + 0.64) / 8)
    assert error.nll(confidence, right).value == pytest.approx(-np.log([0.2, 0.2, 0.8, 0.8, 0.8, 0.8, 0.8, 0.2]).mean())


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """True l2 error of `surer_than_right`: root of E(c/2 - 1/4)² = 1/√48, to within the width of a bin."""
    truth = 1 / np.sqrt(48)
    weights = [error.resampled(800, seed, resamples=400) for seed in range(5)]
    found = [error.ece(*surer_than_right(800, seed), weights=weights[seed % 5]) for seed in range(200)]
    assert 0.91 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99
    assert np.mean([one.value for one in found]) == pytest.approx(truth, rel=0.03)


def test_debiasing_takes_the_noise_away_and_the_bound_holds_for_perfect_models():
    """True error 0: the lower end is always 0, the upper end decides at n = 3,000 and not at 300."""
    large = [error.ece(*perfect(3000, seed), seed=seed) for seed in range(40)]
    small = [error.ece(*perfect(300, seed), seed=seed) for seed in range(40)]
    assert np.mean([one.low == 0 for one in large + small]) > 0.93
    assert np.mean([one.high < 0.05 for one in large]) > 0.9
    assert np.mean([one.high < 0.05 for one in small]) < 0.2
    plain = np.mean([error.ece(*perfect(3000, seed), debiased=False).value for seed in range(40)])
    assert plain > 0.015 and np.median([one.value for one in large]) < plain


def test_whole_clusters_are_drawn():
    """Each answer four times over: the interval of a mean is that of the answers that differ."""
    confidence, right = surer_than_right(300, 1)
    alone = error.brier(confidence, right, seed=1)
    losses = np.repeat(error.brier_losses(confidence, right), 4)
    clustered = error.mean_of(losses, weights=error.resampled(1200, 1, np.repeat(np.arange(300), 4)))
    blind = error.mean_of(losses, seed=1)
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    assert (blind.high - blind.low) / (alone.high - alone.low) == pytest.approx(0.5, abs=0.06)


def test_equal_confidences_share_a_bin_and_no_bin_is_empty():
    number = error.bin_of(np.array([0.9] * 50 + [0.1, 0.2, 0.3]), 15)
    assert len(set(number[:50])) == 1 and set(number) == set(range(number.max() + 1))
    even = error.bin_of(np.arange(150) / 150, 15)
    assert (np.bincount(even) == 10).all()


def test_losses_stay_finite_at_full_confidence():
    assert error.nll_losses([1.0, 0.0], [0, 1]).max() == pytest.approx(-np.log(error.EPSILON), rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_auroc_is_that_of_scikit_learn_with_an_interval(scale):
    from sklearn.metrics import roc_auc_score

    confidence, right = surer_than_right(500, 2)
    score = scale * confidence.round(1)  # with ties
    found = error.auroc(score, right)
    assert found.value == pytest.approx(roc_auc_score(right, score))
    # Hanley and McNeil's (1982) standard error, from a formula of its own
    a, up, down = found.value, right.sum(), (~right).sum()
    spread = a * (1 - a) + (up - 1) * (a / (2 - a) - a * a) + (down - 1) * (2 * a * a / (1 + a) - a * a)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(spread / up / down), rel=0.15)


def test_auroc_of_few_wrong_answers_has_an_interval():
    """Some resamples hold none of them."""
    found = error.auroc([0.1, *np.linspace(0.05, 1, 20)], [0] + [1] * 20)
    assert 0 < found.low < found.value < found.high <= 1


def test_reliability_counts_every_answer_once():
    confidence, right = surer_than_right(1000, 3)
    points = error.reliability(confidence, right, bins=10)
    assert [item.n for _, item in points] == [100] * 10
    assert np.mean([item.value for _, item in points]) == pytest.approx(right.mean())
    assert points[0][0] < 0.06 and points[0][1].value > 0.15  # says 5%, is right in 25%


def test_groups_are_measured_apart():
    confidence, right = np.array([0.9] * 4), np.array([1, 1, 0, 0])
    found = error.by_group(error.brier, confidence, right, ["b", "b", "a", "a"])
    assert {name: one.value for name, one in found.items()} == pytest.approx({"a": 0.81, "b": 0.01})
    assert list(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("confidence", "right", "said"),
    [
        ([], [], r"shapes \(0,\)"),
        ([0.5], [1, 0], r"shapes \(1,\) and \(2,\)"),
        ([0.5, float("nan")], [1, 0], "1 of 2 confidences"),
        ([0.5, 1.1], [1, 0], "1 of 2 confidences"),
        ([0.5, 0.5], [1, 2], "other than right"),
    ],
)
def test_what_is_no_confidence_is_refused(confidence, right, said):
    measures = [error.ece, error.brier, error.nll, error.reliability]
    for measure in measures if 1.1 in confidence else [*measures, error.auroc]:  # which takes any finite score
        with pytest.raises(CogumiError, match=said):
            measure(confidence, right)


@pytest.mark.parametrize("right", [[1, 1], [0, 0]])
def test_one_kind_of_answers_has_no_auroc(right):
    with pytest.raises(CogumiError, match="right and wrong answers"):
        error.auroc([0.2, 0.4], right)


RULE = """\
calibration:
  stage: 09_calibration
  claim: calibrated
  kind: value
  direction: below
  threshold: 0.05
  n: 3000
"""


@pytest.mark.parametrize(
    ("n", "bound", "verdict"), [(3000, 0.049, "PASS"), (2999, 0.03, "INCONCLUSIVE"), (3000, 0.06, "INCONCLUSIVE")]
)
def test_the_gate_needs_the_planned_n(tmp_path, n, bound, verdict):
    rules = tmp_path / "gates.yaml"
    rules.write_text(RULE)
    interval = Interval(0.02, 0.0, bound, n, "")
    assert gates.judge("calibration", rules=rules, interval=interval).verdict == verdict
