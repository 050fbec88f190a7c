"""The skills that a student fails come back as patterns, without their names being seen; rates are of other tasks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import clusters, patterns, regions, review
from cogumi_utils.failures.texts import prompt_vectors


@pytest.fixture(scope="module")
def found(space):
    return patterns.find(space, lowest=3, highest=6, seed=1)


@pytest.fixture(scope="module")
def labels(space, found):
    return patterns.pattern_of_failures(space, found)


@pytest.fixture(scope="module")
def table(space, battery, labels):
    return patterns.table(space, battery, labels)


def test_six_texts_by_eye(embedder):
    texts = ["Ann has 3 pens. How many?", "Dim the light.", "Tom has 4 cups. How many?", "Set the light."]
    assert patterns.by_eye(embedder, texts).splitlines() == [
        "0  Ann has 3 pens. How many?", "1  Dim the light.", "0  Tom has 4 cups. How many?", "1  Set the light.",
        "cluster 0: how many, has, ann, cups", "cluster 1: light, dim, set",
    ]  # fmt: skip


def test_the_failing_skills_are_the_patterns(space, battery, labels, found, failing):
    truth, own, rows = review.skill_failures(space, battery, labels)
    assert found.k == len(failing) == 4 and set(truth) == failing
    assert clusters.agreement(truth, own, seed=0)["ARI"].value == 1
    assert rows.tolist() == list(range(int(space.failed.sum())))


def test_half_of_the_tasks_are_set_aside(space, labels):
    assert space.finding.sum() == (len(space.finding) + 1) // 2
    assert 0 < space.of_failures.sum() < len(labels) == space.failed.sum()
    assert [n for _, n in sorted(Counter(labels.tolist()).items())] == sorted(Counter(labels.tolist()).values())[::-1]


def test_the_table_counts_all_failures_and_rates_only_tasks_set_aside(space, battery, labels, table):
    assert table["n"].tolist() == np.bincount(labels).tolist() and table["share"].sum() == pytest.approx(1)
    assert table["name"].is_unique and set(table["label_source"]) == {"terms"}
    aside = regions.assign(space.prompts[~space.finding], table)
    assert table["region_n"].tolist() == [(aside == number).sum() for number in table["pattern"]]
    assert table["significant"].all() and (table["rate"] > 0.8).all() and (table["rest_rate"] < 0.1).all()
    wrong = battery[space.failed].reset_index(drop=True)
    for number, ids in zip(table["pattern"], table["examples"], strict=True):
        assert set(ids) <= set(wrong["id"][labels == number]) and len(ids) == min(20, (labels == number).sum())


def test_patterns_come_back_from_their_file_and_sort_new_tasks(table, tmp_path, embedder, tasks, battery, failing):
    back = regions.read_patterns(regions.write_patterns(tmp_path / "patterns.parquet", table))
    assert list(back.columns) == list(regions.COLUMNS)
    inside = regions.assign(prompt_vectors(embedder, tasks), back) >= 0
    skills = np.array([task.skill for task in tasks])
    assert inside[np.isin(skills, list(failing))].mean() > 0.85 > 0.02 > inside[~np.isin(skills, list(failing))].mean()


def test_the_same_patterns_twice(space, battery, table, found):
    again = patterns.table(space, battery, patterns.pattern_of_failures(space, found))
    assert again.drop(columns="centre").equals(table.drop(columns="centre"))


def test_the_battery_says_each_failures_pattern(space, battery, labels):
    other = battery.head(3).assign(id=["x", "y", "z"])
    import pandas as pd

    graded = patterns.with_patterns(pd.concat([battery, other]), battery, space.failed, labels)
    assert (graded["pattern"][: len(battery)] >= 0).tolist() == (~battery["passed"]).tolist()
    assert graded["pattern"].tolist()[-3:] == [-1, -1, -1]


def test_a_student_without_failures_has_no_patterns(embedder, tasks, battery):
    right = battery.assign(passed=True).head(6)
    with pytest.raises(CogumiError, match="without failures there are no patterns"):
        patterns.find(patterns.embed_battery(embedder, tasks[:6], right), lowest=2, highest=3, seed=0)


def test_one_failure_is_one_pattern(embedder, tasks, battery):
    few = battery.head(8).assign(passed=[True, True, False, True, True, True, True, True])
    space = patterns.embed_battery(embedder, tasks[:8], few)
    found = patterns.find(space, lowest=8, highest=12, seed=0)
    table = patterns.table(space, few, patterns.pattern_of_failures(space, found))
    assert table[["pattern", "n", "region_n"]].to_numpy().tolist() == [[0, 1, 0]] and not table["significant"].any()
