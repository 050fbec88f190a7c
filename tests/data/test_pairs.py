"""Pairs the other way round, and as many rows of both directions as there would be of one."""

from __future__ import annotations

import pytest

from cogumi_utils.data import skills
from cogumi_utils.data.pairs import REVERSED, bidirectional, reversed_pair
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

ROWS = skills.mixed(skills.all_skills()[:5], 4, split="train", seed=1)


def test_the_answer_asks_and_the_question_answers():
    turns = [("system", "Be brief."), ("user", "Who built it?"), ("assistant", "Ann did.")]
    forward = Example(
        "chat", "who", [{"role": role, "content": content} for role, content in turns], difficulty=3, licence="MIT",
        verifier={"kind": "exact", "payload": {"answer": "Ann did."}}, source="s", teacher="t", split="validation",
    )  # fmt: skip
    back = reversed_pair(forward)
    assert [(m["role"], m["content"]) for m in back.messages] == [
        ("system", "Be brief."), ("user", f"{REVERSED}Ann did."), ("assistant", "Who built it?"),
    ]  # fmt: skip
    assert (back.domain, back.skill, back.difficulty, back.source, back.teacher, back.licence, back.split) == (
        "chat", "who", 3, "s", "t", "MIT", "validation",
    )  # fmt: skip
    assert back.verifier["kind"] == "none" and back.parents == (forward.id,) and back.id != forward.id


@pytest.mark.parametrize("roles", [["user"], ["system", "assistant"], ["user", "tool", "assistant"], ["assistant"]])
def test_half_a_pair_cannot_be_turned_round(roles):
    messages = [{"role": role, "content": "text"} for role in roles]
    with pytest.raises(CogumiError, match="question and its answer"):
        reversed_pair(Example("chat", "s", messages))


@pytest.mark.parametrize(("n", "forward", "back"), [(12, 6, 6), (7, 4, 3), (40, 20, 20), (1, 1, 0)])
def test_both_directions_of_each_pair_in_the_same_number_of_rows(n, forward, back):
    rows = bidirectional(ROWS, n, seed=3)
    kept = {row.id for row in rows if row.verifier["kind"] != "none"}
    parents = [row.parents[0] for row in rows if row.verifier["kind"] == "none"]
    assert len(rows) == n and len(kept) == forward and len(set(parents)) == len(parents) == back
    assert set(parents) <= kept <= {row.id for row in ROWS}


def test_the_seed_decides_the_rows_and_their_order():
    assert bidirectional(ROWS, 10, seed=3) == bidirectional(ROWS, 10, seed=3)
    first, other = bidirectional(ROWS, 10, seed=3), bidirectional(ROWS, 10, seed=4)
    assert {row.id for row in first} != {row.id for row in other}
    assert [row.verifier["kind"] == "none" for row in first] != [False] * 5 + [True] * 5  # shuffled


@pytest.mark.parametrize("n", [0, -2, 41])
def test_more_rows_than_pairs_give_are_refused(n):
    with pytest.raises(CogumiError, match="at most 40 rows"):
        bidirectional(ROWS, n, seed=1)
