"""Known groups are found, the choice of k is shown, bad input is answered, and measures are what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import clusters


def blobs(groups: int, each: int = 30, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(groups, 40))
    truth = np.repeat(np.arange(groups), each)
    return (centres[truth] + spread * draw.normal(size=(len(truth), 40))).astype(np.float32), truth


def test_the_true_number_of_groups_is_chosen_and_shown():
    vectors, truth = blobs(5)
    found = clusters.cluster(vectors, lowest=3, highest=8, seed=1)
    assert found.k == 5 and len(found.reduced) == len(vectors)
    assert found.table["k"].tolist() == [3, 4, 5, 6, 7, 8]
    assert found.table.loc[found.table["chosen"], "k"].tolist() == [5]
    assert found.table["silhouette"].idxmax() == 2 and found.table["inertia"].is_monotonic_decreasing
    assert clusters.agreement(truth, found.labels, seed=0)["ARI"].value == 1


def test_the_same_seed_gives_the_same_clusters():
    vectors, _ = blobs(4, spread=1.5)
    first, second = (clusters.cluster(vectors, lowest=3, highest=6, seed=7) for _ in range(2))
    assert (first.labels == second.labels).all() and first.table.equals(second.table)


def test_new_vectors_join_the_nearest_cluster():
    vectors, truth = blobs(4)
    found = clusters.cluster(vectors[::2], lowest=2, highest=5, seed=0)
    assert clusters.agreement(truth[1::2], found.assign(vectors[1::2]), seed=0)["ARI"].value == 1
    assert found.assign(vectors[:0]).shape == (0,)


def test_no_failures_is_an_error_that_says_so():
    with pytest.raises(CogumiError, match="every answer of the battery is right"):
        clusters.cluster(np.zeros((0, 4)), lowest=2, highest=3, seed=0)


@pytest.mark.parametrize("bounds", [(1, 3), (5, 4)])
def test_a_range_without_a_choice_is_refused(bounds):
    with pytest.raises(CogumiError, match="min_patterns"):
        clusters.cluster(blobs(3)[0], lowest=bounds[0], highest=bounds[1], seed=0)


@pytest.mark.parametrize("rows", [[0], [0, 0, 0], [0, 1, 1]])
def test_fewer_than_three_different_failures_are_one_cluster_and_the_table_says_so(rows: list[int]):
    vectors = blobs(2, each=1)[0][rows]
    found = clusters.cluster(vectors, lowest=2, highest=3, seed=0)
    assert found.k == 1 and found.labels.tolist() == [0] * len(rows)
    assert found.table["k"].tolist() == [1] and found.table["silhouette"].isna().all()
    assert found.assign(vectors).tolist() == [0] * len(rows)
    stable = clusters.stability(found, resamples=5, seed=0)
    assert (stable.value, stable.n) == (1, 1)


def test_few_different_failures_allow_few_clusters():
    vectors = np.repeat(blobs(4, each=1)[0], 6, axis=0)
    assert clusters.cluster(vectors, lowest=8, highest=12, seed=0).table["k"].tolist() == [3]


def test_clear_groups_are_stable_and_noise_is_not():
    clear = clusters.cluster(blobs(4)[0], lowest=4, highest=4, seed=0)
    noise = clusters.cluster(np.random.default_rng(0).normal(size=(120, 40)), lowest=4, highest=4, seed=0)
    assert clusters.stability(clear, resamples=10, seed=0).low == 1
    assert clusters.stability(noise, resamples=10, seed=0).high < 0.5


def test_agreement_of_the_same_groups_is_1_and_of_chance_0():
    truth = np.repeat(list("abcd"), 50)
    same = clusters.agreement(truth, np.repeat([3, 1, 0, 2], 50), seed=0)
    assert [(item.value, item.low, item.high) for item in same.values()] == [(pytest.approx(1),) * 3] * 4
    chance = clusters.agreement(truth, np.random.default_rng(0).integers(0, 4, 200), seed=0)
    assert chance["ARI"].low < 0 + 0.03 and abs(chance["ARI"].value) < 0.05 and chance["ARI"].n == 200


def test_purity_homogeneity_and_completeness_tell_split_from_merged():
    truth, split, merged = [0, 0, 1, 1], [0, 1, 2, 2], [0, 0, 0, 0]
    found = {name: clusters.agreement(truth, labels, seed=0) for name, labels in (("split", split), ("merged", merged))}
    assert clusters.purity(truth, split) == 1 and clusters.purity(truth, merged) == 0.5
    assert found["split"]["homogeneity"].value == pytest.approx(1) and found["split"]["completeness"].value < 0.9
    assert found["merged"]["completeness"].value == pytest.approx(1) and found["merged"]["homogeneity"].value < 0.1


def test_without_rows_of_known_truth_a_gate_is_not_run():
    assert clusters.agreement([], [], seed=0) == {}
    assert "not_run" in clusters.measured({}, "ARI")
    assert clusters.measured(clusters.agreement([0, 1], [0, 1], seed=0), "ARI")["interval"].value == 1


def test_density_finds_its_own_number_and_leaves_strays_out():
    vectors, truth = blobs(3)
    strays = np.random.default_rng(1).normal(scale=9, size=(4, 40))
    labels = clusters.density_labels(np.concatenate([vectors, strays]), 10)
    assert labels.max() == 2 and (labels[-4:] == -1).all()
    assert clusters.agreement(truth, labels[:-4], seed=0)["ARI"].value > 0.95
    assert clusters.density_labels(vectors[:3], 10).tolist() == [-1, -1, -1]
