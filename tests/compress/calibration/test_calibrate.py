from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, logit

from cogumi_utils.compress.calibration import calibrate
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece


def distorted(n: int, seed: int, scale: float = 1.0, shift: float = 0.0):
    """Confidences whose true probability is expit(shift + scale · logit(confidence))."""
    random = np.random.default_rng(seed)
    confidence = expit(random.normal(0, 2, n))
    return confidence, random.random(n) < expit(shift + scale * logit(confidence))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(temperature):
    found = calibrate.fit("temperature", *distorted(40_000, 1, 1 / temperature))
    assert found.weights[0] == pytest.approx(temperature, rel=0.05)
    assert found([0.5, 0.9]) == pytest.approx([0.5, expit(logit(0.9) / found.weights[0])])


def test_platt_finds_slope_and_intercept_again():
    found = calibrate.fit("platt", *distorted(40_000, 2, 0.6, -1.0))
    assert found.weights == pytest.approx((-1.0, 0.6), abs=0.05)
    assert found([0.9]) == pytest.approx(expit(found.weights[0] + found.weights[1] * logit([0.9])))


def test_isotonic_is_that_of_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    confidence, right = distorted(500, 3, 0.5)
    found, fresh = calibrate.fit("isotonic", confidence, right), np.linspace(0, 1, 101)
    plain = IsotonicRegression(out_of_bounds="clip").fit(confidence, right).predict(fresh)
    assert found(fresh) == pytest.approx(plain.clip(1 / 502, 501 / 502))
    assert (np.diff(found(fresh)) >= 0).all()


def test_isotonic_is_never_surer_than_its_answers_can_tell():
    found = calibrate.fit("isotonic", [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
    assert found([0.0, 1.0]) == pytest.approx([1 / 6, 5 / 6])
    assert np.isfinite(ece.nll_losses(found([0.0, 1.0]), [1, 0])).all()


def test_further_features_are_used_in_platt():
    """The second feature alone says what is right."""
    random = np.random.default_rng(4)
    useless, useful = random.random(4000), random.random(4000)
    right = random.random(4000) < useful
    found = calibrate.fit("platt", useless, right, {"useful": useful})
    assert found.features == ("useful",)
    assert found.weights == pytest.approx((0, 0, 1), abs=0.1)
    assert ece.auroc(found(useless, {"useful": useful}), right).value > 0.8
    for features in (None, {"other": useful}):
        with pytest.raises(CogumiError, match="the features useful"):
            found(useless, features)


@pytest.mark.parametrize("method", calibrate.METHODS)
def test_a_calibrator_survives_json(method):
    confidence, right = distorted(300, 5, 0.5)
    found = calibrate.fit(method, confidence, right)
    again = calibrate.Calibrator.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found and (again(confidence) == found(confidence)).all()


@pytest.mark.parametrize(
    "change", [{"method": "magic"}, {"weights": []}, {"knots": [[0.1, 0.2]]}, {"weights": ["x"]}, {"n": None}]
)
def test_a_garbled_calibrator_is_refused(change):
    entries = calibrate.fit("platt", *distorted(50, 6)).to_dict()
    with pytest.raises(CogumiError, match="to_dict"):
        calibrate.Calibrator.from_dict({**entries, **change})
    with pytest.raises(CogumiError, match="to_dict"):
        calibrate.Calibrator.from_dict({name: value for name, value in entries.items() if name not in change})


@pytest.mark.parametrize("right", [[1, 1, 1], [0, 0, 0]])
@pytest.mark.parametrize("method", calibrate.METHODS)
def test_answers_of_one_kind_are_refused(method, right):
    with pytest.raises(CogumiError, match="right and wrong answers"):
        calibrate.fit(method, [0.1, 0.5, 0.9], right)


def test_unknown_methods_and_features_out_of_place_are_refused():
    for method, features in (("magic", None), ("isotonic", {"more": [0.5, 0.5]})):
        with pytest.raises(CogumiError, match="temperature, platt, isotonic"):
            calibrate.fit(method, [0.1, 0.9], [0, 1], features)


def judged(n: int = 3000):
    fitted = calibrate.fit_all(*distorted(1500, 7, 0.5, 0.5))
    confidence, right = distorted(n, 8, 0.5, 0.5)
    return calibrate.calibrated(fitted, confidence), right


def test_the_table_shows_what_calibration_mends():
    table = calibrate.table(*judged()).set_index("method")
    assert list(table.index) == ["uncalibrated", *calibrate.METHODS] and (table.n == 3000).all()
    before, after = table.loc["uncalibrated"], table.loc["platt"]
    assert before.ece_debiased_low > 0.08 and after.ece_debiased_high < 0.05
    assert (table.loc[["platt", "isotonic"], ["nll_change_high", "brier_change_high"]] < 0).all(axis=None)
    assert after.ece_high < before.ece_low and after.ece < after.floor_high
    assert before.auroc == after.auroc and (before[["nll_change", "brier_change_low"]] == 0).all()
    assert after.nll == pytest.approx(before.nll + after.nll_change)


def test_the_table_is_the_same_each_time_and_hangs_by_its_seed():
    sets, right = judged(400)
    one, again, other = (calibrate.table(sets, right, seed=seed) for seed in (1, 1, 2))
    assert one.equals(again) and not one.equals(other)


def test_changes_are_paired():
    """Two confidences that differ by next to nothing: their losses scatter, the difference does not."""
    confidence, right = distorted(1000, 9)
    row = calibrate.table({"first": confidence, "second": confidence * 0.999}, right).iloc[1]
    assert row.nll_change_high - row.nll_change_low < 0.02 * (row.nll_high - row.nll_low)


def test_clusters_widen_the_intervals():
    confidence, right = (np.repeat(one, 4) for one in distorted(200, 10))
    widths = [
        table.nll_high[0] - table.nll_low[0]
        for table in (
            calibrate.table({"a": confidence}, right, clusters=clusters) for clusters in (None, np.arange(800) // 4)
        )
    ]
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.15)


def test_the_candidate_of_least_nll_and_the_order_of_features():
    confidence, right = distorted(2000, 11)
    candidates = {"hot": confidence**2, "right": confidence, "noise": np.random.default_rng(1).random(2000)}
    assert calibrate.least_nll(candidates, right) == "right"
    found = calibrate.separation(candidates, right)
    assert list(found)[-1] == "noise" and found["hot"].value == found["right"].value
    for function in (calibrate.least_nll, calibrate.table):
        with pytest.raises(CogumiError, match="at least one candidate"):
            function({}, right)


def test_answers_of_one_kind_keep_every_measure_but_auroc():
    confidence, _ = distorted(200, 12)
    row = calibrate.table({"first": confidence}, np.zeros(200)).iloc[0]
    assert np.isnan([row.auroc, row.auroc_low, row.auroc_high]).all()
    assert row.nll == pytest.approx(-np.log(1 - confidence).mean()) and np.isfinite(row.ece_debiased_high)
    assert np.isnan(calibrate.separation({"first": confidence}, np.ones(200))["first"].value)
