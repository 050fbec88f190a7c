"""Weak and strong models: splits without leaks, scorers that find a planted rule and claim none where there is none."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import scorers, weak_strong
from cogumi_utils.route.weak_strong import Questions

pinned = pytest.mark.skipif(
    not os.environ.get("COGUMI_DATA"), reason="COGUMI_DATA names no folder with a copy of the public sets"
)
THINGS = ("pens", "cups", "nuts", "hats", "keys", "coins", "boxes", "books")


def made(n: int, seed: int, hard_gain: float = 0.8) -> Questions:
    """Hard questions ("prove ...") in two of six subjects' halves: only the strong model is right with `hard_gain`."""
    random = np.random.default_rng(seed)
    hard, subject = random.random(n) < 0.5, random.integers(0, 6, n)
    verbs = np.where(hard, "prove", "name")
    texts = [f"{verb} {random.choice(THINGS)} {random.choice(THINGS)} {k}" for k, verb in enumerate(verbs)]
    weak = np.where(hard, random.random(n) >= hard_gain, True).astype(float)
    subjects = np.array([f"subject {number}" for number in subject])
    return Questions(texts, weak, np.ones(n), subjects, np.arange(n) // 2)


def only_text() -> dict:
    return {name: one for name, one in scorers.scorers().items() if name != "mean of the subject"}


def test_a_planted_rule_is_found_and_judged_apart_from_what_it_was_learned_on():
    questions = made(600, 1)
    found = weak_strong.route(questions, only_text(), weak_strong.by_question(questions, 0))
    best = found.apgr["TF-IDF + logistic regression"]
    # all gain lies in half of the questions: the best curve rises to 1 at 0.5, its area is 0.75
    assert best.value == pytest.approx(0.75, abs=0.02) and best.low > 0.7
    assert found.needed["TF-IDF + logistic regression"].value == pytest.approx(0.475, abs=0.04)
    assert found.apgr[weak_strong.LOT].value == 0.5 and found.apgr[weak_strong.PERFECT].value > best.value
    assert (
        len(found.rows) == 300 and "better than by lot" in found.sentence and "Chosen before: TF-IDF" in found.sentence
    )
    assert found.planned["TF-IDF + logistic regression"] == pytest.approx(0.75, abs=0.03)
    table = found.table()
    assert table["router"].iloc[0] == weak_strong.PERFECT and table["learns"].iloc[1] in scorers.TARGETS
    assert set(found.against("length of the question")) == {"TF-IDF + logistic regression"}
    assert found.against("length of the question")["TF-IDF + logistic regression"].low > 0
    assert set(found.curves(5)) == set(found.scores)


def test_no_rule_no_claim():
    questions = made(600, 2)
    luck = np.random.default_rng(0).permutation(600)
    shuffled = Questions(questions.texts, questions.weak[luck], questions.strong, questions.subject, questions.group)
    found = weak_strong.route(shuffled, only_text(), weak_strong.by_question(shuffled, 0))
    assert found.apgr["TF-IDF + logistic regression"].low < 0.5
    assert "not told apart from routing by lot" in found.sentence


def test_near_copies_stay_on_one_side():
    questions = made(600, 1)
    [(train, test)] = weak_strong.by_question(questions, 4)
    assert sorted([*train, *test]) == list(range(600))
    assert not set(questions.group[train]) & set(questions.group[test])


def test_whole_subjects_are_left_out_with_their_copies():
    questions = made(600, 1)
    splits = weak_strong.leaving_subjects_out(questions, 0, folds=3)
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(600))
    for train, test in splits:
        assert not set(questions.subject[train]) & set(questions.subject[test])
        assert not set(questions.group[train]) & set(questions.group[test])
    with pytest.raises(CogumiError, match="at least 7 subjects"):
        weak_strong.leaving_subjects_out(questions, 0, folds=7)


def test_scores_of_left_out_subjects_are_joined_in_order():
    questions = made(600, 1)
    routers = {"TF-IDF": only_text()["TF-IDF + logistic regression"]}
    found = weak_strong.route(
        questions, routers, weak_strong.leaving_subjects_out(questions, 0, folds=3), clusters="subject"
    )
    assert found.apgr["TF-IDF"].value == pytest.approx(0.75, abs=0.02) and len(found.chosen["TF-IDF"]) == 3
    assert len(np.unique(found.clusters)) == 6


def test_a_constant_is_routing_by_lot_whatever_the_folds():
    """Unknown subjects have one mean; means of what was learned from fall where what was left out rises."""
    questions = made(600, 1)
    easy = np.isin(questions.subject, ["subject 0", "subject 3"])
    questions = Questions(questions.texts, np.where(easy, 1.0, questions.weak), questions.strong, questions.subject,
                          questions.group)  # fmt: skip
    routers = {"mean": scorers.scorers()["mean of the subject"]}
    splits = weak_strong.leaving_subjects_out(questions, 0, folds=3)
    assert weak_strong.route(questions, routers, splits).apgr["mean"].value == pytest.approx(0.5, abs=1e-9)


def test_a_scorer_sees_no_verdict_on_what_it_scores():
    questions = made(200, 3)
    [(train, test)] = weak_strong.by_question(questions, 0)
    vectors = np.random.default_rng(0).normal(size=(200, 8))
    target = scorers.TARGETS["the weak one wrong"](questions)
    spoiled = target.copy()
    spoiled[test] = 1 - spoiled[test]
    for variants in scorers.scorers(vectors).values():
        for scorer in variants.values():
            assert (scorer(questions, train, test, target) == scorer(questions, train, test, spoiled)).all()


def test_a_router_of_two_routes_is_a_scorer():
    """One that learns the mean target of each first word."""
    seen = []

    def learn(texts, targets):
        seen.append(targets)
        verbs = np.array([text.split()[0] for text in texts])
        means = {verb: targets[verbs == verb].mean(axis=0) for verb in set(verbs)}
        return lambda others: np.array([means[text.split()[0]] for text in others])

    questions = made(600, 1)
    routers = {"words": {"": scorers.of_router(learn)}}
    found = weak_strong.route(questions, routers, weak_strong.by_question(questions, 0))
    assert found.apgr["words"].value == pytest.approx(0.75, abs=0.02)
    assert all((targets.sum(axis=1) == 1).all() and set(np.unique(targets)) <= {0, 0.5, 1} for targets in seen)


def test_the_mean_of_an_unknown_subject_is_that_of_all():
    questions = made(200, 3)
    known = questions.subject != "subject 5"
    target = scorers.TARGETS["strong less weak"](questions)
    train, test = np.flatnonzero(known), np.flatnonzero(~known)
    assert scorers.by_subject(questions, train, test, target) == pytest.approx(target[train].mean())
    own = scorers.by_subject(questions, train, train[:1], target)[0]
    assert own == pytest.approx(target[train][questions.subject[train] == questions.subject[train[0]]].mean())


def test_targets():
    questions = Questions(
        ["a"] * 4, np.array([0.0, 0, 1, 1]), np.array([0.0, 1, 0, 1]), np.array(["s"] * 4), np.arange(4)
    )
    assert [target(questions).tolist() for target in scorers.TARGETS.values()] == [
        [0, 1, 0, 0], [1, 1, 0, 0], [0, 1, -1, 0],
    ]  # fmt: skip


def test_a_subject_below_chance_is_named():
    questions = made(600, 1, hard_gain=0.3)
    assert questions.below_chance() == []
    own = questions.subject == "subject 2"
    strong = np.where(own, np.arange(600) % 8 == 0, 1.0)
    assert Questions(questions.texts, questions.weak, strong, questions.subject, questions.group).below_chance() == [
        "subject 2"
    ]
    few = Questions(["q"] * 4, np.zeros(4), np.zeros(4), np.array(["s"] * 4), np.arange(4))
    assert few.below_chance() == [], "four wrong answers are no proof"


@pinned
def test_the_subject_whose_records_are_faulty_is_left_out():
    whole = weak_strong.routellm(faulty=True)
    assert (len(whole.texts), whole.below_chance()) == (15361, ["high_school_mathematics"])
    assert whole.strong[whole.subject == "high_school_mathematics"].sum() == 8
    assert len(weak_strong.routellm().texts) == 15361 - 270


@pinned
def test_the_records_are_counted():
    questions = weak_strong.routellm(most=600)
    assert len(questions.texts) == 600 and len(set(questions.subject)) == 57 and "gsm8k" in questions.subject
    whole = weak_strong.gsm8k_solutions()
    assert [len(whole.texts), int(whole.weak.sum()), int(whole.strong.sum())] == [1319, 515, 742]
    frame = questions.table()
    assert frame["questions"].sum() == 600 and (frame["strong"] - frame["weak"]).is_monotonic_decreasing
    assert (frame["only strong"] - frame["only weak"]).to_numpy() == pytest.approx(frame["strong"] - frame["weak"])
