"""The study of failure-aware data: what is ordered, which rows each arm gets, and what they cost."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from cogumi_utils.data import skills
from cogumi_utils.data.staff import Post
from cogumi_utils.data.teachers import Verified
from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import study
from cogumi_utils.failures.texts import prompt_vectors
from cogumi_utils.schema import Example

FAILING = ("product", "everywhere")


@pytest.fixture(scope="module")
def marked(battery) -> pd.DataFrame:
    """The battery with two patterns, which are two of its failing skills."""
    number = {name: place for place, name in enumerate(FAILING)}
    return battery.assign(pattern=[number.get(skill, -1) for skill in battery["skill"]])


@pytest.fixture(scope="module")
def patterns(marked, tasks, embedder) -> pd.DataFrame:
    rows = []
    for number, name in enumerate(FAILING):
        own = prompt_vectors(embedder, [task for task in tasks if task.skill == name])
        centre = own.mean(axis=0) / np.linalg.norm(own.mean(axis=0))
        radius = float(np.linalg.norm(own - centre, axis=1).max())
        examples = marked.loc[marked["pattern"] == number, "id"].tolist()[:3]
        rows.append((number, f"about {name}", [name], examples, centre.astype(float).tolist(), radius))
    return pd.DataFrame(rows, columns=["pattern", "name", "terms", "examples", "centre", "radius"])


@pytest.fixture(scope="module")
def original() -> list[Example]:
    return skills.mixed(skills.trained_skills(), 4, split="train", seed=1)


def post(folder, seed: int = 1, error_rate: float = 0.1) -> Post:
    return Post("teacher", "oracle", "", error_rate, (1.0, 10.0), 1.0, folder, seed)


@pytest.fixture(scope="module")
def written(patterns, marked, tasks, tmp_path_factory) -> list[study.Written]:
    folder, needed = tmp_path_factory.mktemp("posts"), study.pairs_needed(20, 0.5, [0.1], 2)
    staff = [post(folder, seed=seed) for seed in (1, 2)]
    return [study.write(one, patterns, marked, tasks, **n) for one, n in zip(staff, needed, strict=True)]


# --- what is ordered


def test_no_new_row_repeats_an_original_one(patterns, marked, tasks, written, tmp_path):
    once = [*written[1].aware.examples, *written[1].random.examples]
    again = study.write(post(tmp_path, seed=2), patterns, marked, tasks, aware=10, random=10, original=once)
    questions = {row.prompt[-1]["content"] for row in once}
    new = [row.prompt[-1]["content"] for row in (*again.aware.examples, *again.random.examples)]
    assert new and not questions & set(new)


@pytest.mark.parametrize(
    ("replay", "shares", "first"), [(0.5, [0.1], 18), (0.5, [], 10), (0.1, [0.5], 18), (0.7, [0.05, 0.4], 19)]
)
def test_the_first_seed_needs_pairs_for_the_smallest_replay_share(replay, shares, first):
    new = 20 - round(20 * replay)
    expected = [{"aware": first, "random": new}, {"aware": new, "random": new}, {"aware": new, "random": new}]
    assert study.pairs_needed(20, replay, shares, 3) == expected


def test_more_is_written_than_is_needed_and_only_verified_rows_are_used(written):
    one, two = written
    assert [sum(side.outcomes["teacher"].values()) for side in (one.aware, one.random, two.aware, two.random)] == [
        23, 13, 13, 13,
    ]  # fmt: skip
    assert [len(side.examples) for side in (one.aware, one.random, two.aware, two.random)] == [22, 12, 11, 11]
    assert (one.seed, two.seed) == (1, 2)
    assert {row.split for row in one.aware.examples + one.random.examples} == {"train"}


def test_the_aware_rows_are_of_the_failing_skills_in_equal_shares_and_the_others_of_many(written):
    one = written[0]
    assert set(Counter(row.skill for row in one.aware.examples)) == set(FAILING)
    assert len({row.skill for row in one.random.examples}) > 5


def test_seeds_have_other_rows(written):
    one, two = ({row.id for row in seed.aware.examples} for seed in written)
    assert len(one & two) < 3


# --- where tasks lie


def test_tasks_lie_in_the_pattern_of_their_prompt_right_or_wrong(patterns, tasks, battery, embedder):
    right = battery.assign(passed=True, answer="whatever")
    placed = study.place(right, tasks, patterns, "packaged")
    for number, name in enumerate(FAILING):
        assert set(placed.loc[placed["skill"] == name, "pattern"]) == {number}
    elsewhere = placed.loc[~placed["skill"].isin(FAILING), "pattern"]
    assert (elsewhere == -1).mean() > 0.8
    assert placed.drop(columns="pattern").equals(right)


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(0, 5)])
def test_answers_to_other_tasks_are_refused(patterns, tasks, battery, order):
    with pytest.raises(CogumiError) as caught:
        study.place(battery, tasks[order], patterns, "packaged")
    assert caught.value.expected == f"answers to the {len(tasks[order])} tasks, in their order"


# --- the arms


@pytest.fixture(scope="module")
def arms(written, original):
    return study.arms(written, original, 20, replay=0.5, shares=[0.1])


def test_three_arms_a_seed_and_one_more_for_each_share_of_equal_size(arms):
    keys = [(arm.name, arm.seed) for arm in arms]
    assert keys == [(name, seed) for seed in (1, 2) for name in study.ARMS] + [("replay 10%", 1)]
    assert {len(arm.examples) for arm in arms} == {20} and len({arm.key for arm in arms}) == 7


def test_arms_of_a_seed_replay_the_same_original_rows(arms, original):
    known = {row.id for row in original}
    replayed = {(arm.name, arm.seed): [(i, row.id) for i, row in enumerate(arm.examples) if row.id in known]
                for arm in arms}  # fmt: skip
    assert len(replayed["failure-aware", 1]) == 10 and len(replayed["replay 10%", 1]) == 2
    for seed in (1, 2):
        assert replayed["failure-aware", seed] == replayed["both ways", seed] == replayed["random", seed]
    assert replayed["random", 1] != replayed["random", 2]


def test_the_new_rows_of_each_arm_are_its_own_teacher_s(arms, written, original):
    known = {row.id for row in original}
    first = {arm.name: [row for row in arm.examples if row.id not in known] for arm in arms if arm.seed == 1}
    aware, random = ({row.id for row in side.examples} for side in (written[0].aware, written[0].random))
    assert {row.id for row in first["failure-aware"]} < aware and {row.id for row in first["replay 10%"]} < aware
    assert {row.id for row in first["random"]} <= random
    forward = {row.id for row in first["both ways"] if row.verifier["kind"] != "none"}
    backward = [row for row in first["both ways"] if row.verifier["kind"] == "none"]
    assert forward < aware and len(forward) == len(backward) == 5
    assert {row.parents for row in backward} == {(name,) for name in forward}


def test_what_the_table_of_rows_counts(arms, original):
    rows = study.rows_of(arms, original)
    assert rows[["arm", "seed", "rows", "new", "original"]].to_numpy().tolist() == [
        [arm.name, arm.seed, 20, *((18, 2) if arm.name == "replay 10%" else (10, 10))] for arm in arms
    ]
    assert (rows.set_index("arm")["skills among the new"]["random"] > 2).all()
    assert set(rows.set_index("arm")["skills among the new"]["failure-aware"]) == {2}


@pytest.mark.parametrize(("share", "name"), [(0.05, "replay 5%"), (0.125, "replay 12.5%"), (0.07, "replay 7%")])
def test_an_arm_is_named_by_its_share(share, name):
    assert study.replay_name(share) == name
    assert study.replays(0.7, [share]) == {"failure-aware": 0.7, name: share}


def test_too_few_pairs_are_refused(written, original):
    with pytest.raises(CogumiError, match="new examples"):
        study.arms(written, original, 40, replay=0.25, shares=[])


# --- what it cost


def side(kept: int, tokens: int, usd: float) -> Verified:
    return Verified([None] * kept, costs_usd={"a": usd / 4, "b": 3 * usd / 4}, tokens={"a": 0, "b": tokens})


def test_each_pair_bears_its_share_of_what_was_written_in_vain():
    """10 new rows of 20: 10 pairs forward, 5 both ways. Seed 1 kept 20 aware pairs, seed 2 just 10."""
    both = [
        study.Written(1, side(20, 4000, 8.0), side(10, 500, 1.0)),
        study.Written(2, side(10, 1000, 2.0), side(20, 2000, 4.0)),
    ]
    assert study.bills(both, 20, 0.5) == {
        "failure-aware": pytest.approx((2000 + 1000, 4.0 + 2.0)),
        "both ways": pytest.approx((1000 + 500, 2.0 + 1.0)),
        "random": pytest.approx((500 + 1000, 1.0 + 2.0)),
    }
    assert study.bills(both, 21, 0.5)["both ways"] == pytest.approx((6 * 200 + 6 * 100, 6 * 0.4 + 6 * 0.2))  # 11 rows


def test_rejections_have_a_row_a_seed_and_kind_of_order(written):
    table = study.rejections(written)
    assert list(table.columns[:3]) == ["order", "seed", "teacher"]
    assert table[["order", "seed", "asked", "kept", "wrong"]].to_numpy().tolist() == [
        ["failure-aware", 1, 23, 22, 1], ["random", 1, 13, 12, 1],
        ["failure-aware", 2, 13, 11, 2], ["random", 2, 13, 11, 2],
    ]  # fmt: skip
