"""PR-AUC as scikit-learn's, F1 at a base rate, thresholds, and who is compared with whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.escalation import judge


@pytest.fixture(scope="module")
def scored():
    draw = np.random.default_rng(0)
    labels = (draw.random(400) < 0.3).astype(int)
    return labels, np.round(labels * 0.8 + draw.normal(size=400), 1)  # rounded: ties


def test_average_precision_is_scikit_learns_with_ties_and_weights(scored):
    labels, scores = scored
    weights = judge.draws(range(400), seed=1, resamples=20)
    found = judge.average_precision(labels.astype(float), scores, weights)
    wanted = [average_precision_score(labels, scores, sample_weight=row) for row in weights]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_pr_auc_has_an_interval_that_repeats_and_needs_both_kinds(scored):
    labels, scores = scored
    found = judge.pr_auc(labels, scores, seed=0)
    assert found == judge.pr_auc(labels, scores, seed=0) != judge.pr_auc(labels, scores, seed=1)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(average_precision_score(labels, scores))
    for bad in ([0] * 400, labels[:-1]):
        with pytest.raises(CogumiError, match="both labels"):
            judge.pr_auc(bad, scores)
    with pytest.raises(CogumiError):
        judge.pr_auc(labels, np.where(scores > 0, np.nan, scores))


def test_groups_are_drawn_whole_and_widen_the_interval(scored):
    labels, scores = np.repeat(scored[0], 5), np.repeat(scored[1], 5)
    groups = np.repeat(np.arange(400), 5)
    weights = judge.draws(groups, seed=0, resamples=3).reshape(4, 400, 5)
    assert (weights == weights[:, :, :1]).all() and (weights[0] == 1).all()
    alone, together = judge.pr_auc(labels, scores), judge.pr_auc(labels, scores, groups=groups)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_f1_at_the_share_of_the_data_is_the_usual_one(scored):
    labels, scores = scored
    assert judge.f1(labels, scores, 0.5).value == pytest.approx(f1_score(labels, scores >= 0.5))


def test_a_lower_base_rate_costs_precision_as_if_calm_users_were_added():
    labels, scores = [1] * 10 + [0] * 10, [0.9] * 8 + [0.1] * 2 + [0.9] * 1 + [0.1] * 9
    more = f1_score([1] * 10 + [0] * 90, [1] * 8 + [0] * 2 + [1] * 9 + [0] * 81)
    assert judge.f1(labels, scores, 0.5, base_rate=0.1).value == pytest.approx(more)
    for rate in (0, 1, 2):
        with pytest.raises(CogumiError, match="base rate"):
            judge.f1(labels, scores, 0.5, base_rate=rate)


def test_the_threshold_is_the_best_of_all_and_rises_where_few_are_dissatisfied(scored):
    labels, scores = scored
    best = judge.best_threshold(labels, scores)
    grid = [f1_score(labels, scores >= one) for one in np.arange(-3, 4, 0.05)]
    assert f1_score(labels, scores >= best) == pytest.approx(max(grid))
    assert judge.best_threshold(labels, scores, base_rate=0.02) > best


def test_models_are_compared_on_the_same_draws_set_by_set(scored):
    labels, scores = scored
    rows = pd.DataFrame({"set": ["a"] * 200 + ["b"] * 200 + ["calm"] * 50, "label": [*labels, *[0] * 50]})
    rows = rows.assign(group=[f"g{number}" for number in range(450)])
    first = np.r_[scores, np.linspace(0, 1, 50)]
    table = judge.compare(
        rows, {"one": first, "twin": first, "blind": first * 0}, dict.fromkeys(("one", "twin", "blind"), 0.5)
    )
    assert list(table["set"]) == ["a"] * 3 + ["b"] * 3 + ["calm"] * 3
    twin, blind = table.iloc[1], table.iloc[2]
    assert (twin["against the first"].low, twin["against the first"].high) == (0, 0)
    assert blind["PR-AUC"].value == pytest.approx(blind["dissatisfied"]) and blind["against the first"].high < 0
    assert table.iloc[0]["PR-AUC"].value == pytest.approx(average_precision_score(labels[:200], scores[:200]))
    calm = table.iloc[6]
    assert calm["PR-AUC"] is None and calm["false alarms"].value == 0.5 and calm["false alarms"].n == 50


def test_the_risk_of_a_thousand_users_adds_up():
    found = judge.risk(recall=0.8, alarms=0.1, base_rate=0.05)
    assert found == {"dissatisfied and noticed": 40, "dissatisfied and missed": pytest.approx(10),
                     "content and disturbed": 95, "content and left in peace": 855}  # fmt: skip
