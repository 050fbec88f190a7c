"""The study of recovery: what counts as hardest, what is ordered, which rows each arm gets, and what came back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cogumi_utils.data import skills
from cogumi_utils.data.staff import Post
from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import mending, recovery
from cogumi_utils.judge import grade
from cogumi_utils.model.distill import Outcome
from cogumi_utils.schema import Example
from cogumi_utils.stats import paired_difference

HARD = ("product", "swap")


@pytest.fixture(scope="module")
def pool() -> list[Example]:
    return skills.mixed(skills.all_skills(), 8, split="train", seed=1)


@pytest.fixture(scope="module")
def hardest(pool) -> list[Example]:
    return [row for row in pool if row.skill in HARD]


@pytest.fixture(scope="module")
def tried(hardest) -> pd.DataFrame:
    """The model knows how to swap; no product is right."""
    answers = [row.answer if row.skill == "swap" else "no idea" for row in hardest]
    return grade.grade(hardest, answers)


def post(folder: Path, seed: int = 1) -> Post:
    return Post("teacher", "oracle", "", 0.1, (1.0, 10.0), 1.0, folder, seed)


@pytest.fixture(scope="module")
def written(hardest, tried, pool, tmp_path_factory) -> list[recovery.Written]:
    folder = tmp_path_factory.mktemp("posts")
    return [recovery.write(post(folder, seed), hardest, tried, pool) for seed in (1, 2)]


# --- what is hardest


def test_each_chat_is_at_hand_once_in_the_order_of_the_sources(pool):
    assert recovery.gathered(pool[:3], pool[1:5], pool[:1]) == pool[:5]


def test_perplexity_is_that_of_the_mean_token(pool):
    costs = [np.array([0.0, 0.0]), np.log([2.0, 8.0])]
    assert recovery.perplexities(pool[:2], costs) == {pool[0].id: 1.0, pool[1].id: pytest.approx(4.0)}


def test_the_curve_falls_over_the_whole_list():
    found = {str(i): float(i) for i in range(1, 11)}
    assert recovery.falling(found, 2) == ([10.0, 100.0], [10.0, 1.0])
    assert recovery.falling(found, 500) == ([10.0 * i for i in range(1, 11)], [float(i) for i in range(10, 0, -1)])
    assert recovery.falling({"a": 3.0}, 1) == ([100.0], [3.0])


def test_kinds_count_rows_and_shares_of_each_skill(pool, hardest, tried):
    before = pd.DataFrame({"skill": ["swap", "swap", "product", "opposite"], "passed": [True, False, False, True]})
    found = {row.id: 5.0 if row.skill == "swap" else 2.0 for row in pool}
    table = recovery.kinds(pool, tried.iloc[:-1], found, before)
    size = Counter(row.skill for row in hardest[:-1])
    expected = [[skill, size[skill], 8, *rest] for skill, rest in
                (("product", [2.0, 0.0, 0.0]), ("swap", [5.0, 1.0, 0.5]))]  # fmt: skip
    assert table.to_numpy().tolist() == sorted(expected, key=lambda row: -row[1])


def test_samples_are_the_first_of_each_skill(tried):
    table = recovery.samples(tried.assign(perplexity=range(len(tried), 0, -1)), 5)
    assert table["perplexity"].iloc[0] == len(tried) and sorted(table["skill"]) == sorted(HARD)
    assert len(recovery.samples(tried.assign(perplexity=1.0), 1)) == 1


# --- what is ordered, and what each arm gets


def test_the_teacher_is_shown_what_is_wrong_and_writes_that(written, hardest):
    one, _ = written
    assert one.hardest.rows == hardest and one.hardest.examples == [*hardest, *one.hardest.written.examples]
    assert {row.skill for row in one.hardest.written.examples} == {"product"}
    assert sum(one.hardest.written.outcomes["teacher"].values()) == len(hardest) == 16
    shown = {row.id for row in hardest if row.skill == "product"}
    assert {parent for row in one.hardest.written.examples for parent in row.parents} <= shown


def test_the_control_has_as_many_of_many_skills(written, pool):
    for one in written:
        assert sum(one.random.written.outcomes["teacher"].values()) == len(one.random.rows) == 16
        assert {row.id for row in one.random.rows} <= {row.id for row in pool}
        assert len({row.skill for row in one.random.rows}) > 5
        assert {row.skill for row in one.random.written.examples} <= {row.skill for row in one.random.rows}
    assert written[0].random.rows != written[1].random.rows


def test_no_question_of_the_pool_comes_again(written, hardest, tried, pool, tmp_path):
    """The same order again, when what it brought is at hand."""
    once = written[0].hardest.written.examples
    again = recovery.write(post(tmp_path), hardest, tried, [*pool, *once])
    new = [row.prompt[-1]["content"] for row in again.hardest.written.examples]
    assert new and not {row.prompt[-1]["content"] for row in [*pool, *once]} & set(new)


def test_nothing_wrong_is_nothing_to_improve(hardest, pool, tmp_path):
    right = grade.grade(hardest, [row.answer for row in hardest])
    with pytest.raises(CogumiError, match="at least one mistake"):
        recovery.write(post(tmp_path), hardest, right, pool)


def test_arms_of_a_seed_differ_in_their_new_rows_alone(written, pool):
    others = pool[: len(pool) // 2]  # what is replayed is told from what is new
    aside = [row for one in written for side in (one.hardest, one.random) for row in side.examples]
    old = [row for row in others if row.id not in {row.id for row in aside}]
    arms = recovery.arms(written, old, 0.5)
    assert [(arm.name, arm.seed) for arm in arms] == [(name, seed) for seed in (1, 2) for name in ("hardest", "random")]
    smallest = min(len(side.examples) for one in written for side in (one.hardest, one.random))
    places = [[(i, row.id) for i, row in enumerate(arm.examples) if row in old] for arm in arms]
    assert {len(arm.examples) for arm in arms} == {2 * smallest} and {len(rows) for rows in places} == {smallest}
    assert places[0] == places[1] and places[2] == places[3] and places[0] != places[2]
    new = {row.id for row in arms[0].examples} - {row.id for row in old}
    assert new <= {row.id for row in written[0].hardest.examples}


@pytest.mark.parametrize("replay", [0.0, 0.1, 0.3, 0.7, 0.9])
def test_the_smallest_side_is_enough_for_every_share(written, pool, replay):
    sizes = {len(arm.examples) for arm in recovery.arms(written, pool * 3, replay)}
    assert len(sizes) == 1


def test_the_bill_is_for_all_that_was_written(written):
    table = recovery.refused(written)
    assert table[["arm", "seed"]].to_numpy().tolist() == [["hardest", 1], ["random", 1], ["hardest", 2], ["random", 2]]
    assert (table["kept"] + table["refused: wrong"] == table["asked"]).all() and (table["refused: wrong"] > 0).any()
    assert recovery.usd(written) == pytest.approx(table["USD"].sum()) and table["USD"].min() > 0


# --- what came back

IDS, BEFORE = list("abcdef"), [0, 0, 1, 0, 1, 1]
RUNS = {("hardest", 1): [1, 1, 1, 0, 1, 0], ("random", 1): [0, 0, 1, 0, 1, 1],
        ("hardest", 2): [1, 0, 1, 1, 1, 0], ("random", 2): [1, 0, 0, 0, 1, 1]}  # fmt: skip
SKILLS = ["x", "x", "y", "x", "z", "z"]


def frame(passed: list[int]) -> pd.DataFrame:
    names = {"skill": SKILLS, "domain": list("ppqpqq")}
    return pd.DataFrame({"id": IDS, "passed": [bool(right) for right in passed], **names})


@pytest.fixture
def outcomes(tmp_path) -> list[Outcome]:
    found = []
    for (arm, seed), passed in RUNS.items():
        place = tmp_path / f"{arm}-{seed}"
        place.mkdir()
        frame(passed).to_parquet(place / "graded.parquet")
        found.append(Outcome(arm, seed, place, examples=10, seconds=1.0, tokens=100, losses=[(1, 2.0)]))
    return found


@pytest.fixture
def table(outcomes) -> pd.DataFrame:
    return mending.scores(frame(BEFORE), outcomes)


def test_arms_are_compared_on_all_tests_and_the_first_with_nothing_in_each_domain(table):
    found = recovery.changes(table, seed=3)
    assert list(found) == [
        "hardest minus nothing", "random minus nothing", "hardest minus random",
        "hardest minus nothing, p", "hardest minus nothing, q",
    ]  # fmt: skip
    assert found["hardest minus random"] == paired_difference(table["random"], table["hardest"], 3)
    assert found["hardest minus nothing"].value == pytest.approx((1 + 0.5 + 0 + 0.5 + 0 - 1) / 6)
    assert found["hardest minus nothing, p"].value == pytest.approx(2 / 3)
    assert found["hardest minus nothing, q"].value == pytest.approx(-1 / 3)


def test_the_summary_tells_the_skills_of_the_hardest_rows_from_the_others(table, outcomes):
    rows = recovery.summary(table, outcomes, {"x"}, seed=1)
    assert list(rows["arm"]) == ["nothing", "hardest", "random"] and list(rows["trainings"]) == [0, 2, 2]
    assert list(rows["all tests right"]) == ["50.0%", "66.7% (66.7 to 66.7)", "50.0% (50.0 to 50.0)"]
    assert list(rows["skills among the hardest"]) == ["0.0%", "66.7% (66.7 to 66.7)", "16.7% (0.0 to 33.3)"]
    assert list(rows["other skills"]) == ["100.0%", "66.7% (66.7 to 66.7)", "83.3% (66.7 to 100.0)"]
    assert rows["points"].iloc[0] == "" and rows["points"].iloc[1].startswith("+16.7 [")
    assert list(recovery.summary(table, outcomes, set(SKILLS), seed=1)["other skills"]) == ["", "", ""]


def test_skills_that_moved_are_listed_what_rose_most_first(table):
    moved = recovery.moved(table)
    assert moved.to_numpy().tolist() == [["x", 0.0, pytest.approx(2 / 3), pytest.approx(1 / 6)],
                                         ["y", 1.0, 1.0, 0.5], ["z", 1.0, 0.5, 1.0]]  # fmt: skip
    assert list(recovery.moved(table, least=0.6)["skill"]) == ["x"]


def test_all_answers_are_kept_with_their_run(outcomes):
    kept = recovery.answers(frame(BEFORE), outcomes)
    assert list(kept["arm"].unique()) == ["nothing", *(f"{arm}, seed {seed}" for arm, seed in RUNS)]
    assert len(kept) == 5 * len(IDS)
