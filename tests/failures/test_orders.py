"""What a teacher is asked for: equal shares, the nearest failures first, and a control that knows of no failure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import orders
from cogumi_utils.schema import Example


def task(i: int, skill: str = "sums") -> Example:
    messages = [{"role": "user", "content": f"{i}+{i}?"}, {"role": "assistant", "content": f"{i + i}"}]
    verifier = {"kind": "number", "payload": {"answer": f"{i + i}"}}
    return Example("math", skill, messages, verifier=verifier, id=f"t{i}")


TASKS = [task(i) for i in range(8)]


@pytest.fixture
def graded() -> pd.DataFrame:
    """Tasks 0 to 5 failed, 0 and 2 to 4 in pattern 0, 1 and 5 in pattern 1; 6 and 7 passed."""
    patterns = [0, 1, 0, 0, 0, 1, -1, -1]
    rows = [(f"t{i}", f"answer {i}", f"reason {i}" if i < 6 else "", pattern) for i, pattern in enumerate(patterns)]
    return pd.DataFrame(rows, columns=["id", "answer", "reason", "pattern"])


@pytest.fixture
def named() -> pd.DataFrame:
    """As read from Parquet, where lists are arrays: the examples nearest to each centre first."""
    examples = [np.array(["t3", "t0"], dtype=object), np.array(["t5", "t1"], dtype=object)]
    terms = [np.array(["plus", "sum"], dtype=object), np.array(["other"], dtype=object)]
    return pd.DataFrame({"pattern": [0, 1], "name": ["low sums", "odd ones"], "terms": terms, "examples": examples})


def ids(commission) -> list[str]:
    return [mistake.example.id for mistake in commission.mistakes]


def test_a_mistake_is_the_task_with_its_own_answer_and_reason(graded):
    found = orders.mistakes(graded, TASKS[:3])
    assert list(found) == ["t0", "t1", "t2"]  # tasks that nobody knows are left out
    assert (found["t1"].example, found["t1"].answer, found["t1"].reason) == (TASKS[1], "answer 1", "reason 1")


@pytest.mark.parametrize(("n", "shares"), [(10, [5, 5]), (7, [3, 4]), (2, [1, 1])])
def test_each_pattern_has_the_same_share_whatever_its_size(graded, named, n, shares):
    told = orders.aware(named, graded, TASKS, n)
    assert [order.n for order in told] == shares and all(order.aware for order in told)
    assert [(order.pattern, order.terms) for order in told] == [("low sums", ("plus", "sum")), ("odd ones", ("other",))]


def test_the_nearest_examples_come_first_and_the_rest_in_the_battery_s_order(graded, named):
    told = orders.aware(named, graded, TASKS, 10)
    assert [ids(order) for order in told] == [["t3", "t0", "t2", "t4"], ["t5", "t1"]]
    prompt = told[0].messages(2, shown=2)[-1]["content"]
    assert prompt.index("3+3?") < prompt.index("0+0?") and "reason 3" in prompt and "4+4?" not in prompt


def test_a_failure_whose_task_is_not_at_hand_is_left_out(graded, named):
    told = orders.aware(named, graded, TASKS[:5], 4)
    assert [ids(order) for order in told] == [["t3", "t0", "t2", "t4"], ["t1"]]


def test_less_than_a_task_a_pattern_is_refused(graded, named):
    with pytest.raises(CogumiError) as caught:
        orders.aware(named, graded, TASKS, 1)
    assert (caught.value.expected, caught.value.found) == ("2 tasks or more, one for each pattern", "1")


def test_the_control_sees_tasks_failed_or_not_and_no_word_of_failure(graded):
    (order,) = orders.at_random(graded, TASKS, 12, shown=8, seed=1)
    assert (order.n, order.aware, order.pattern, order.terms) == (12, False, orders.AT_RANDOM, ())
    assert sorted(ids(order)) == [f"t{i}" for i in range(8)]
    prompt = "\n".join(message["content"] for message in order.messages(12, shown=8))
    for word in ("fail", "wrong", "reason", "answer 1", "random", "student", "model's"):
        assert word not in prompt
    assert "6+6?" in prompt and "Answer: 12" in prompt


def test_the_control_s_sample_is_drawn_without_repetition_by_its_seed(graded):
    drawn = [ids(*orders.at_random(graded, TASKS, 12, shown=4, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == ["t2", "t6", "t7", "t3"] and all(len(set(found)) == 4 for found in drawn)


# --- the rows of an arm

NEW, ORIGINAL = [task(i, "new") for i in range(100, 130)], [task(i, "old") for i in range(200, 260)]


@pytest.mark.parametrize(("replay", "old"), [(0.0, 0), (0.05, 1), (0.5, 10), (0.95, 19)])
def test_a_mixture_has_its_share_of_original_rows_each_once(replay, old):
    rows = orders.mixture(NEW, ORIGINAL, 20, replay=replay, seed=1)
    assert Counter(row.skill for row in rows) == Counter({"old": old, "new": 20 - old})
    assert len({row.id for row in rows}) == 20


def test_a_mixture_is_shuffled_and_drawn_by_its_seed():
    rows, again, other = (orders.mixture(NEW, ORIGINAL, 20, replay=0.5, seed=seed) for seed in (1, 1, 2))
    assert rows == again != other
    skills = [row.skill for row in rows]
    assert skills != sorted(skills) and skills != sorted(skills, reverse=True)
    assert [row.id for row in rows[:6]] == ["t220", "t217", "t113", "t249", "t120", "t208"]


def test_arms_of_one_seed_replay_the_same_rows_in_the_same_places():
    """However many new rows each was drawn from: the new ones are all that differs."""
    arms = [orders.mixture(new, ORIGINAL, 20, replay=0.5, seed=1) for new in (NEW, NEW[:11], NEW[5:10] + NEW[20:])]
    kept = [[(place, row.id) for place, row in enumerate(rows) if row.skill == "old"] for rows in arms]
    assert kept[0] == kept[1] == kept[2] and len(kept[0]) == 10
    assert len({tuple(row.id for row in rows) for rows in arms}) == 3


@pytest.mark.parametrize(
    ("new", "original", "expected", "found"),
    [(9, 60, "10 new", "9"), (30, 9, "10 original", "9"), (0, 0, "10 new", "0")],
)
def test_too_few_rows_are_refused(new, original, expected, found):
    with pytest.raises(CogumiError) as caught:
        orders.mixture(NEW[:new], ORIGINAL[:original], 20, replay=0.5, seed=1)
    assert (caught.value.expected, caught.value.found) == (f"{expected} examples", found)
