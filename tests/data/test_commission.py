"""What a teacher reads: the failure where it may know of it, the same tasks as plain samples where it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cogumi_utils.data.commission import MOST_CHARACTERS, Commission, Mistake, apportioned, evenly
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example


def task(i: int, skill: str = "product", kind: str = "number", system: str = "") -> Example:
    lead = [{"role": "system", "content": system}] if system else []
    turns = [{"role": "user", "content": f"What is {i} times 3?"}, {"role": "assistant", "content": f"It is {3 * i}."}]
    return Example("reasoning", skill, [*lead, *turns], verifier={"kind": kind, "payload": {"answer": str(3 * i)}})


def mistakes(n: int, **options) -> tuple[Mistake, ...]:
    return tuple(Mistake(task(i, **options), f"wrong-{i}", f"{i}, expected {3 * i}") for i in range(1, n + 1))


ORDER = Commission("products", ("rows", "in all"), mistakes(8), n=50)


def text(commission: Commission, n: int = 4, shown: int = 6, **options) -> str:
    system, user = commission.messages(n, shown, **options)
    assert (system["role"], user["role"]) == ("system", "user") and "JSON list" in system["content"]
    return user["content"]


def test_an_aware_teacher_is_told_what_fails_and_how():
    told = text(ORDER)
    assert '"products" (typical words: rows, in all)' in told and "Write 4 new tasks of this kind" in told
    for i in range(1, 7):
        assert (
            f"Task {i}: What is {i} times 3?\nRight answer: It is {3 * i}.\nThe model's wrong answer: wrong-{i}\n"
            f"What went wrong: {i}, expected {3 * i}"
        ) in told
    assert "Task 7" not in told


def test_an_unaware_teacher_sees_the_same_tasks_and_no_failure():
    told = text(replace(ORDER, aware=False))
    for i in range(1, 7):
        assert f"Task {i}: What is {i} times 3?\nAnswer: It is {3 * i}." in told
    assert "Write 4 new tasks like these" in told
    for word in ("products", "rows", "wrong", "fail", "expected", "model"):
        assert word not in told


def test_calls_show_other_mistakes_in_turn_and_equal_calls_are_equal():
    assert text(ORDER, shown=3, start=6) == text(ORDER, shown=3, start=6)
    assert [mistake.answer for mistake in ORDER.showing(3, 6)] == ["wrong-7", "wrong-8", "wrong-1"]
    assert [mistake.answer for mistake in ORDER.showing(20)] == [f"wrong-{i}" for i in range(1, 9)]  # each once
    assert "What is 8 times 3?" in text(ORDER, shown=3, start=6) and "times 3" in text(ORDER, shown=1)


def test_a_student_that_babbles_does_not_fill_the_prompt():
    (first, *_) = ORDER.mistakes
    babble = replace(ORDER, mistakes=(replace(first, answer="la " * 9999, reason=""),))
    told = text(babble)
    assert len(told) < 2 * MOST_CHARACTERS + 500 and "la…" in told.replace(" …", "…") and "wrong: (empty)" in told


def test_kinds_share_the_number_in_the_proportion_of_the_mistakes():
    mixed = (*mistakes(2, skill="spend"), *mistakes(5), *mistakes(1, kind="final"), *mistakes(2, system="Be brief."))
    parts = replace(ORDER, mistakes=mixed, n=21).by_kind()
    assert [(part.mistakes[0].example.skill, len(part.mistakes), part.n) for part in parts] == [
        ("spend", 2, 4), ("product", 5, 11), ("product", 1, 2), ("product", 2, 4),
    ]  # fmt: skip
    assert [part.n for part in replace(ORDER, mistakes=mixed, n=2).by_kind()] == [1, 1]  # no room for the others


@pytest.mark.parametrize(
    ("n", "weights", "expected"), [(10, [1, 1, 1], [4, 3, 3]), (7, [3, 1], [5, 2]), (1, [1, 2], [0, 1]), (3, [5], [3])]
)
def test_largest_remainders_add_up(n, weights, expected):
    assert apportioned(n, weights) == expected


@pytest.mark.parametrize(("total", "parts"), [(10, 3), (2, 5), (0, 2), (7, 1)])
def test_shares_add_up_and_differ_by_one_at_most(total, parts):
    shares = evenly(total, parts)
    assert sum(shares) == total and len(shares) == parts and max(shares) - min(shares) <= 1


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_an_order_for_nothing_is_refused(n):
    with pytest.raises(CogumiError, match="whole number of 1 or more"):
        replace(ORDER, n=n)
    with pytest.raises(CogumiError, match="whole number of 1 or more"):
        ORDER.messages(n)


def test_an_order_without_mistakes_is_refused():
    with pytest.raises(CogumiError, match="at least one mistake of the pattern 'products'"):
        replace(ORDER, mistakes=())
    with pytest.raises(CogumiError, match="shown"):
        ORDER.messages(3, shown=0)
