"""A region holds its own prompts and no others; its rate is counted, tested and corrected."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import regions

AXES = np.eye(4, dtype=np.float32)


def around(axis: int, n: int, seed: int = 0) -> np.ndarray:
    near = AXES[axis] + 0.1 * np.random.default_rng(seed).normal(size=(n, 4))
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


NOBODY = np.zeros((0, 4), dtype=np.float32)


@pytest.fixture
def two() -> pd.DataFrame:
    failed = np.concatenate([around(0, 40), around(1, 20)])
    return regions.fit(failed, np.repeat([0, 1], [40, 20]), 2, around(2, 30)).assign(pattern=[0, 1])


def test_a_region_ends_half_way_to_the_tasks_that_passed(two):
    away = np.linalg.norm(around(2, 30) - np.float32(two["centre"][0]), axis=1).min()
    far = np.linalg.norm(around(0, 40) - np.float32(two["centre"][0]), axis=1).max()
    assert two["radius"][0] == pytest.approx((away + far) / 2, abs=1e-6)
    assert set(regions.assign(around(0, 200, seed=3), two)) == {0} and set(regions.assign(around(1, 9, 4), two)) == {1}
    assert set(regions.assign(around(2, 50, seed=5), two)) == {-1}
    assert np.linalg.norm(two["centre"][0]) == pytest.approx(1)


def test_a_stray_failure_among_passed_tasks_stays_outside():
    failed = np.concatenate([around(0, 40), around(2, 1, seed=9)])
    strayed = regions.fit(failed, np.zeros(41, dtype=int), 1, around(2, 30)).assign(pattern=[0])
    assert regions.assign(failed, strayed).tolist() == [0] * 40 + [-1]


def test_where_nothing_passed_a_region_holds_95_percent_of_its_own():
    alone = regions.fit(around(0, 40), np.zeros(40, dtype=int), 1, NOBODY).assign(pattern=[0])
    assert (regions.assign(around(0, 40), alone) == 0).sum() == 38


def test_where_regions_overlap_the_nearer_centre_has_the_task():
    wide = pd.DataFrame({"pattern": [7, 3], "centre": [AXES[0].tolist(), AXES[1].tolist()], "radius": [2.0, 2.0]})
    assert regions.assign(np.concatenate([around(1, 5), around(0, 5)]), wide).tolist() == [3] * 5 + [7] * 5


def test_one_failure_is_a_region_of_its_own():
    alone = regions.fit(AXES[:1], np.array([0]), 1, NOBODY).assign(pattern=[0])
    assert alone["radius"][0] == pytest.approx(0, abs=1e-6)
    assert regions.assign(AXES[1:2], alone).tolist() == [-1]


def test_vectors_of_another_model_are_refused(two):
    with pytest.raises(CogumiError, match="prompt vectors of 4 numbers"):
        regions.assign(np.zeros((1, 5), dtype=np.float32), two)


def test_rates_are_those_of_fisher_and_benjamini_hochberg():
    found = regions.rates(
        [0] * 10 + [1] * 10 + [-1] * 30, [1] * 9 + [0] + [1] + [0] * 9 + [1] * 3 + [0] * 27, [0, 1, 2]
    )
    first, second, empty = (found.loc[row] for row in range(3))
    p = fisher_exact([[9, 1], [4, 36]], alternative="greater").pvalue
    assert (first.region_n, first.region_failed, first.rate, first.rest_rate) == (10, 9, 0.9, 0.1)
    assert first.p == pytest.approx(p) and first.q == pytest.approx(3 * p) and first.low < 0.9 < first.high
    assert first.significant and not second.significant
    assert (empty.region_n, empty.p, empty.significant) == (0, 1, False) and np.isnan(empty.rate)


def test_a_whole_battery_in_one_region_has_nothing_to_be_compared_with():
    only = regions.rates([0, 0], [True, False], [0]).loc[0]
    assert only.p == 1 and np.isnan(only.rest_rate) and not only.significant


def test_another_file_is_refused(tmp_path):
    pd.DataFrame({"pattern": [0]}).to_parquet(tmp_path / "patterns.parquet")
    with pytest.raises(CogumiError, match="03_failure_clusters"):
        regions.read_patterns(tmp_path / "patterns.parquet")
