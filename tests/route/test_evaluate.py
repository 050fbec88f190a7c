"""A router beside its references: every number recomputed by hand or by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import evaluate, tables
from cogumi_utils.stats import wilson

# six queries, three routes (base, code, maths): who answers right
RIGHT = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1]])
DOMAIN = [1, 1, 2, 0, 2, 2]
PROBABILITIES = np.array(
    [[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.1, 0.5, 0.4]]
)
CHOSEN = np.array([1, 1, 0, 0, 2, 1])  # right: 1, 1, 0, 1, 0, 1
NAMES = ["base", "code", "maths"]


def queries_of(n: int, seed: int, skill: float):
    """n queries of two routes, each right half of the time; a router that picks a right one with share `skill`."""
    random = np.random.default_rng(seed)
    right = (random.random((n, 2)) < 0.5).astype(float)
    best = right.argmax(axis=1)
    return np.where(random.random(n) < skill, best, random.integers(0, 2, n)), right


def test_every_reference_of_six_queries():
    found = evaluate.references(CHOSEN, RIGHT, DOMAIN, names=NAMES)
    assert {name: round(6 * one.value) for name, one in found.items() if name != evaluate.RANDOM} == {
        "routed": 4, "best single route (code)": 3, "domain oracle": 5, "correctness oracle": 5,
    }  # fmt: skip
    assert found["random"].value == pytest.approx(RIGHT.mean()) and found["random"].low < RIGHT.mean()
    assert found["routed"] == wilson(4, 6)
    assert evaluate.DOMAIN not in evaluate.references(CHOSEN, RIGHT)


def test_the_best_single_route_may_be_given():
    found = evaluate.references(CHOSEN, RIGHT, single=0, names=NAMES)
    assert found["best single route (base)"] == wilson(2, 6)
    assert evaluate.gap_closed(CHOSEN, RIGHT, single=0).value == pytest.approx((4 - 2) / (5 - 2))


def test_choices_accuracy_and_comparison():
    assert evaluate.choices(PROBABILITIES).tolist() == CHOSEN.tolist()
    assert evaluate.accuracy(CHOSEN, evaluate.one_hot(DOMAIN, 3)) == wilson(4, 6)
    paired = evaluate.compare(np.zeros(6, dtype=int), CHOSEN, RIGHT)
    assert (paired.gained, paired.lost) == (2, 0) and paired.value == pytest.approx(2 / 6)


def test_regret_and_the_gap_that_is_closed():
    regret = evaluate.regret(CHOSEN, RIGHT)
    assert regret.value == pytest.approx(1 / 6) and regret.low == 0 and regret.high > 1 / 6
    assert evaluate.gap_closed(CHOSEN, RIGHT).value == pytest.approx((4 - 3) / (5 - 3))
    perfect = RIGHT.argmax(axis=1)
    assert evaluate.regret(perfect, RIGHT) == wilson(0, 6), "a bootstrap would be sure"
    assert evaluate.gap_closed(perfect, RIGHT).value == 1


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Routes right half of the time each: single 0.5, oracle 0.75, a router of skill 0.6 closes 60% and regrets 0.1."""
    held = []
    for seed in range(40):
        chosen, right = queries_of(300, seed, 0.6)
        regret = evaluate.regret(chosen, right, seed)
        closed = evaluate.gap_closed(chosen, right, single=0, seed=seed)
        held.append((regret.low <= 0.1 <= regret.high, closed.low <= 0.6 <= closed.high))
    assert (np.mean(held, axis=0) >= 0.85).all() and np.mean(held) < 1


def test_no_gap_is_refused_and_a_study_says_so():
    right = np.array([[1, 0], [1, 1], [0, 0]])
    with pytest.raises(CogumiError, match="a share of no gap"):
        evaluate.gap_closed(np.array([0, 1, 0]), right)
    found = evaluate.study(np.array([[0.9, 0.1]] * 3), right)
    assert found.closed is None and "no gap" in found.table()["estimate"].tolist()


def test_a_study_in_one_call():
    found = evaluate.study(PROBABILITIES, RIGHT, DOMAIN, names=NAMES)
    assert found.domain == wilson(4, 6) and found.gain.value == pytest.approx(1 / 6)
    assert found.table()["what"].tolist() == [
        "right answers, routed", "right answers, best single route (code)", "right answers, random",
        "right answers, domain oracle", "right answers, correctness oracle", "gain over the best single route",
        "regret to the oracle", "gap to the oracle closed", "sent to the domain's own route",
    ]  # fmt: skip
    assert evaluate.study(PROBABILITIES, RIGHT, names=NAMES).domain is None


@pytest.mark.parametrize(
    ("given", "routes", "said"),
    [
        (np.zeros((0, 3)), 3, "shape"),
        (np.array([0.2, 0.8]), None, "shape"),
        (np.array([[0.2, 0.8]]), 3, r"\[queries, 3\]"),
        (np.array([[0.2, np.nan]]), 2, "1 entries"),
        (np.array([[0.2, 1.8]]), 2, "1 entries"),
    ],
)
def test_what_are_no_probabilities_is_refused(given, routes, said):
    with pytest.raises(CogumiError, match=said):
        evaluate.checked(given, routes)


@pytest.mark.parametrize(
    ("chosen", "right", "said"),
    [
        ([0, 1], RIGHT, "shapes"),
        ([3] * 6, RIGHT, "highest route 3"),
        (CHOSEN, RIGHT[:, 0], "shapes"),
        ([], np.zeros((0, 3)), "shapes"),
        (CHOSEN, RIGHT / 2, "other entries"),
    ],
)
def test_what_are_no_choices_is_refused(chosen, right, said):
    with pytest.raises(CogumiError, match=said):
        evaluate.of_chosen(np.array(chosen, dtype=int), right)


def test_calibration_is_that_of_the_chosen_route():
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, 2000)
    probabilities = np.column_stack([sure, 1 - sure])
    truth = np.where(random.random(2000) < sure, 0, 1)
    honest = tables.calibration(probabilities, evaluate.one_hot(truth, 2))
    boasting = tables.calibration(np.column_stack([sure**0.2, 1 - sure**0.2]), evaluate.one_hot(truth, 2))
    assert honest.ece.low == 0 and honest.ece.high < 0.06 and boasting.ece.low > 0.1
    assert honest.floor.low <= honest.plain.value <= honest.floor.high < boasting.plain.low
    assert honest.auroc.low > 0.6 and sum(item.n for _, item in honest.points) == 2000
    assert boasting.auroc.value == honest.auroc.value, "the order is the same"
    same = tables.calibration(PROBABILITIES, np.ones((6, 3)), bins=2)
    assert same.auroc is None and "all of one kind" in same.table()["estimate"].tolist()


def test_confusion_counts_every_query_once():
    frame = tables.confusion(CHOSEN, DOMAIN, NAMES)
    assert frame.iloc[:, :5].to_numpy().tolist() == [["base", 1, 0, 0, 1], ["code", 0, 2, 0, 2], ["maths", 1, 1, 1, 3]]
    assert frame["right"].tolist() == [str(wilson(1, 1)), str(wilson(2, 2)), str(wilson(1, 3))]
    assert tables.confusion(CHOSEN[:2], DOMAIN[:2], NAMES)["domain"].tolist() == ["code"]


def test_groups_worst_first_and_their_mean():
    verdicts, groups = np.array([1, 1, 0, 1, 0, 0]), ["a", "a", "a", "a", "b", "b"]
    found = tables.by_group(verdicts, groups)
    assert list(found) == ["b", "a"] and found["a"] == wilson(3, 4)
    macro = tables.macro_mean(verdicts, groups)
    assert macro.value == pytest.approx((0.75 + 0) / 2) and macro.low < macro.value < macro.high
    assert tables.group_table(verdicts, groups)["set"].tolist() == ["b", "a", tables.MACRO]


def test_the_interval_of_the_mean_of_groups_is_a_bootstrap():
    random = np.random.default_rng(2)
    verdicts, groups = random.random(500) < 0.7, np.array(["a"] * 400 + ["b"] * 100)
    means = [
        np.mean([random.choice(verdicts[groups == name], (groups == name).sum()).mean() for name in "ab"])
        for _ in range(2000)
    ]
    found = tables.macro_mean(verdicts, groups)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_abstention_counts_what_falls_to_the_base():
    foreign = [False, False, False, True, False, True]
    found = tables.abstention(PROBABILITIES, foreign, base=0, thresholds=(0.0, 0.55, 0.75))
    assert found.iloc[:, 1].tolist() == [str(wilson(k, 2)) for k in (1, 2, 2)]
    assert found.iloc[:, 2].tolist() == [str(wilson(k, 4)) for k in (1, 1, 2)]
    with pytest.raises(CogumiError, match="add plain chat"):
        tables.abstention(PROBABILITIES, [False] * 6, base=0, thresholds=(0.5,))


def test_the_surest_mistakes_of_different_kinds_first():
    texts = [f"q{n}" for n in range(6)]
    probabilities = np.vstack([PROBABILITIES, [[0.7, 0.2, 0.1]]])
    found = tables.worst(probabilities, [*DOMAIN, 2], [*texts, "q6"], NAMES)
    assert found["query"].tolist() == ["q6", "q5", "q2"]
    assert found["sent to"].tolist() == ["base", "code", "base"] and set(found["domain"]) == {"maths"}
