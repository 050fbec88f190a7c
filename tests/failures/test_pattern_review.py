"""Tables for readers hold what they say: extremes, rates, skills."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cogumi_utils.failures import patterns, review


@pytest.fixture(scope="module")
def found(space):
    return patterns.find(space, lowest=3, highest=6, seed=1)


@pytest.fixture(scope="module")
def labels(space, found):
    return patterns.pattern_of_failures(space, found)


def test_the_nearest_and_the_farthest_failure_of_each_pattern(space, battery, labels):
    table = patterns.table(space, battery, labels)
    shown = review.typical_and_odd(space, battery, labels, table)
    assert shown["pattern"].tolist() == [name for name in table["name"] for _ in range(2)]
    prompts, wrong = space.prompts[space.failed], battery[space.failed].reset_index(drop=True)
    for number, centre in enumerate(table["centre"]):
        away = pd.Series(np.linalg.norm(prompts - np.float32(centre), axis=1), wrong["prompt"])[labels == number]
        near, far = shown["prompt"][2 * number], shown["prompt"][2 * number + 1]
        assert away[near] == pytest.approx(away.min(), abs=1e-5) and away[far] == pytest.approx(away.max(), abs=1e-5)


def test_rates_leave_out_regions_without_tasks():
    table = pd.DataFrame({"name": ["a", "b"], "rate": [0.5, float("nan")], "low": [0.2, 0], "high": [0.8, 1]})
    assert {name: str(item) for name, item in review.rates(table.assign(region_n=[4, 0])).items()} == {
        "a": "50.0% [20.0, 80.0] n=4"
    }


def test_skills_by_pattern_puts_rare_ones_together():
    truth, labels = ["sum"] * 6 + ["join"] * 5 + ["odd", "even"], [1] * 6 + [0] * 5 + [1, 0]
    table = review.skills_by_pattern(truth, labels)
    assert table.to_numpy().tolist() == [["join", 5, 0], ["sum", 0, 6], ["(others)", 1, 1]]
    assert list(table.columns) == ["skill", "0", "1"]


def test_views_are_compared_at_the_same_number_of_clusters(space, battery, found, labels):
    truth, _, rows = review.skill_failures(space, battery, labels)
    table = review.views_compared(space, truth, rows, found, labels, seed=0).set_index("view")
    assert set(table.drop("all, HDBSCAN")["clusters"]) == {4} and table["noise"]["all, KMeans"] == "0%"
    assert table["ARI"]["all, KMeans"].startswith("1 [1, 1]") and not table["ARI"]["answer alone"].startswith("1 ")
