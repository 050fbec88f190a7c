"""Families: held-out ones are really new, every reference passes its verifier, and nothing hangs on chance."""

from __future__ import annotations

from itertools import combinations

import pytest

from cogumi_utils.data.skills import families
from cogumi_utils.data.skills.families import invented, kinds
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import grade

ALL = {split: families.families(split, families.capacity(split)) for split in families.SPLITS}


def test_there_are_hundreds_of_families():
    assert {split: len(some) for split, some in ALL.items()} == {"train": 1030, "validation": 144, "test": 288}


def test_no_word_and_no_operator_is_in_two_splits():
    for one, other in combinations(families.SPLITS, 2):
        assert not {w for f in ALL[one] for w in f.words} & {w for f in ALL[other] for w in f.words}
        assert not {f.operator for f in ALL[one]} & {f.operator for f in ALL[other]}


@pytest.mark.parametrize("split", families.SPLITS)
def test_no_two_families_share_a_word_or_a_name(split):
    words = [word for family in ALL[split] for word in family.words]
    assert len(words) == len(set(words)) == families.capacity(split) * kinds.WORDS
    assert len({family.name for family in ALL[split]}) == len(ALL[split])


def test_invented_words_mean_nothing_in_the_skill_tasks():
    assert not {w for s in families.SPLITS for w in invented.invented_words(s)} & invented._known()
    assert {"ann", "kitchen", "pen", "no", "milk"} <= invented._known()


def test_no_operator_begins_another_one():
    signs = [sign for split in families.SPLITS for sign in invented.invented_operators(split)]
    assert not [(a, b) for a in signs for b in signs if a != b and b.startswith(a)]


@pytest.mark.parametrize("split", families.SPLITS)
def test_every_reference_passes_its_verifier(split):
    rows = [row for e in families.episodes(ALL[split][:35], 3, 1, seed=1) for row in [*e.support, *e.queries]]
    graded = grade.grade(rows, [row.answer for row in rows])
    assert graded["passed"].all(), graded[~graded["passed"]][["prompt", "answer", "reason"]]


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_the_answer_of_another_family_is_wrong(kind):
    """So knowing the kind is not enough: what the words mean has to be learned."""
    some = [family for family in ALL["train"] if family.kind == kind][:30]
    rows = [row for e in families.episodes(some, 2, 2, seed=2) for row in e.queries]
    turned = rows[2:] + rows[:2]
    assert grade.grade(rows, [row.answer for row in turned])["passed"].mean() < 0.2


def test_support_and_queries_share_no_question():
    for e in families.episodes(ALL["test"][:70], 5, 4, seed=3):
        questions = [row.prompt[0]["content"] for row in [*e.support, *e.queries]]
        assert len(set(questions)) == 9 and (len(e.support), len(e.queries)) == (5, 4)
        assert {row.split for row in e.support} == {"test"}


def test_fewer_families_and_fewer_shots_are_the_beginning_of_more():
    assert families.families("test", 10) == ALL["test"][:10]
    few, more = (families.episode(ALL["test"][3], n, 8 - n, seed=1) for n in (1, 5))
    assert few.support == more.support[:1]


def test_another_seed_draws_other_examples_of_the_same_rule():
    one, other = (families.episode(ALL["train"][0], 5, 1, seed=seed) for seed in (1, 2))
    assert one.support != other.support
    assert {row.answer.split("(")[0] for row in one.support} == {row.answer.split("(")[0] for row in other.support}


@pytest.mark.parametrize(("split", "n"), [("train", 0), ("train", 10**6), ("dev", 3)])
def test_families_that_there_are_not(split, n):
    with pytest.raises(CogumiError, match="families"):
        families.families(split, n)


def test_more_questions_than_a_family_has():
    labels = next(family for family in ALL["train"] if family.kind == "labels")
    with pytest.raises(CogumiError, match="repeats in a row"):
        families.episode(labels, 200, 1, seed=1)
