from __future__ import annotations

import os
from fractions import Fraction

import pytest

from cogumi_utils.compress.calibration import calibrate, recorded
from cogumi_utils.data import sources
from cogumi_utils.errors import CogumiError

pinned = pytest.mark.skipif(
    not os.environ.get("COGUMI_DATA"), reason="COGUMI_DATA names no folder with a copy of the public sets"
)


def row(question: str, *ends: str, right: tuple[bool, ...] = (True, False, False, False)):
    solutions = {
        model: {"solution": f"2 * 3 = <<2*3=6>>6 of A\n{end}", "is_correct": ok}
        for model, end, ok in zip(recorded.MODELS, ends, right, strict=True)
    }
    return {"question": question, **solutions}


@pytest.mark.parametrize(
    ("solution", "number"),
    [
        ("9 * 2 = <<9*2=18>>18 a day.\nA: 70,000", Fraction(70000)),
        ("A: 1 is wrong\nA: 2", Fraction(2)),
        ("A: 1.50", Fraction(3, 2)),
        ("no answer: 7", None),
        ("A: none", None),
    ],
)
def test_the_last_line_holds_the_number(solution, number):
    assert recorded.final(solution) == number


def test_agreement_counts_the_others_that_end_alike():
    frame = recorded.answers([row("q", "A: 1", "A: 1.0", "A: 2", "so 3")])
    assert list(frame.agreement) == [0.4, 0.4, 0.2, 0.2] and list(frame.final) == ["1", "1", "2", ""]
    assert list(frame.passed) == [True, False, False, False] and frame.question.nunique() == 1
    alike = recorded.answers([row("q", *["A: 5"] * 4)])
    assert list(alike.agreement) == [0.8] * 4


def test_zero_is_an_answer_and_two_without_a_number_do_not_agree():
    frame = recorded.answers([row("q", "A: 0", "A: 0", "?", "?")])
    assert list(frame.agreement) == [0.4, 0.4, 0.2, 0.2] and list(frame.final) == ["0", "0", "", ""]


def test_a_question_is_for_fitting_or_for_judging_with_all_its_answers():
    rows = [row(f"question {i}", "A: 1", "A: 1", "A: 1", "A: 1") for i in range(400)]
    small, large = (recorded.answers(rows, share) for share in (0.3, 0.5))
    assert (small.groupby("question").split.nunique() == 1).all()
    assert (small.split == "fit").mean() == pytest.approx(0.3, abs=0.07)
    assert set(small[small.split == "fit"].question) < set(large[large.split == "fit"].question)


@pytest.mark.parametrize(("rows", "share"), [([], 0.4), ([row("q", *["A: 1"] * 4)], 0.0), ([], 1.0)])
def test_nothing_to_fit_or_judge_is_refused(rows, share):
    with pytest.raises(CogumiError, match="recorded questions"):
        recorded.answers(rows, share)


@pinned
def test_every_recorded_verdict_follows_from_the_numbers():
    """5,276 verdicts of the set's authors, from our reading of the last line alone."""
    for entry in sources.load(recorded.NAME, purpose="evaluation"):
        truth = recorded.final(entry["ground_truth"])
        for model in recorded.MODELS:
            assert (recorded.final(entry[model]["solution"]) == truth) == entry[model]["is_correct"]


@pinned
def test_agreement_is_calibrated_on_real_answers():
    frame = recorded.load()
    assert len(frame) == 5276 and frame.split.value_counts().to_dict() == {"judge": 3148, "fit": 2128}
    fit, judge = (frame[frame.split == name] for name in ("fit", "judge"))
    sets = calibrate.calibrated(calibrate.fit_all(fit.agreement, fit.passed), judge.agreement)
    table = calibrate.table(sets, judge.passed, clusters=judge.question).set_index("method")
    assert table.ece_debiased_low["uncalibrated"] > 0.1 and table.ece_debiased_high["platt"] < 0.05
    assert (table.loc[["platt", "isotonic"], ["nll_change_high", "brier_change_high"]] < 0).all(axis=None)
