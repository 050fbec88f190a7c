from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from cogumi_utils import gates
from cogumi_utils.compress.calibration import calibrate, coverage, recorded, trust, trust_tables
from cogumi_utils.data import skills
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece

pinned = pytest.mark.skipif(
    not os.environ.get("COGUMI_DATA"), reason="COGUMI_DATA names no folder with a copy of the public sets"
)
COLUMNS = {"sequence", "mean", "least", "first", "end"}


def answers(n: int = 3000, seed: int = 1, scale: float = 0.5, shift: float = 0.5, more: float = 0.0) -> pd.DataFrame:
    """Too sure by a factor of 1 / scale; `more`: what the column `least` knows beyond that."""
    random = np.random.default_rng(seed)
    own, further = random.normal(0, 2, n), random.normal(0, 2, n)
    passed = random.random(n) < expit(shift + scale * own + more * further)
    frame = pd.DataFrame({name: expit(own) for name in COLUMNS}).assign(least=expit(further), passed=passed)
    split = np.where(np.arange(n) % 3 == 0, "fit", "judge")
    return frame.assign(split=split, id=[f"{i:05d}" for i in range(n)], skill=[f"s{i % 5}" for i in range(n)])


@pytest.fixture(scope="module")
def found() -> trust.Study:
    return trust.study("student", answers(), "sequence", features=("least",), seed=3)


# ---- choosing and fitting ----


def test_all_methods_are_fitted_on_the_one_split_and_judged_on_the_other(found):
    frame = found.frame
    fit, judge = (frame[frame.split == name] for name in ("fit", "judge"))
    assert set(found.fitted) == {*calibrate.METHODS, trust.SEVERAL} == set(found.nll)
    assert found.fitted["platt"] == calibrate.fit("platt", fit.sequence, fit.passed)
    assert found.fitted[trust.SEVERAL].features == ("least",)
    assert list(found.results.method) == [calibrate.UNCALIBRATED, *found.fitted]
    assert (found.results.n == len(judge)).all() and list(found.judged.id) == list(judge.id)
    plain = calibrate.calibrated({"platt": found.fitted["platt"]}, judge.sequence)
    row = calibrate.table(plain, judge.passed, seed=3).iloc[1]
    assert found.interval("nll", "platt").value == pytest.approx(row.nll)


def test_the_choice_is_the_least_nll_of_answers_left_out_and_never_of_those_judged():
    """The verdicts of the fresh answers turned round: the same choice."""
    frame = answers(more=1.5)
    turned = frame.assign(passed=np.where(frame.split == "judge", ~frame.passed, frame.passed))
    one, other = (trust.study("student", some, "sequence", features=("least",), seed=3) for some in (frame, turned))
    assert one.chosen == trust.SEVERAL == other.chosen and one.nll == other.nll
    assert one.fitted == other.fitted and one.threshold(0.8) == other.threshold(0.8)
    fit = frame[frame.split == "fit"]
    in_sample = ece.nll(trust.applied(one.calibrator, "sequence", fit), fit.passed).value
    assert in_sample < one.nll[trust.SEVERAL] < one.nll["platt"]


def test_isotonic_steps_that_follow_single_answers_are_seen_through():
    """On its own answers isotonic is best of all by construction; left out, not on eighty of them."""
    frame = answers(240, seed=7)
    found = trust.study("student", frame, "sequence", seed=1)
    fit = frame[frame.split == "fit"]
    own = {name: ece.nll(one(fit.sequence), fit.passed).value for name, one in found.fitted.items()}
    assert min(own, key=own.get) == "isotonic" and found.chosen != "isotonic"


def test_answers_of_one_question_share_a_fold():
    """Four copies of each answer, noise for confidence: folds that part them would find isotonic best."""
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"agreement": random.random(300), "passed": random.random(300) < 0.5, "question": range(300)})
    frame = pd.concat([frame] * 4).assign(split=lambda one: np.where(one.question % 2, "fit", "judge"))
    together = trust.study("models", frame, "agreement", cluster="question")
    apart = trust.study("models", frame, "agreement")
    assert apart.nll["isotonic"] < apart.nll["platt"] and together.nll["isotonic"] > together.nll["platt"]
    width = [row.nll_high - row.nll_low for row in (one.results.iloc[1] for one in (together, apart))]
    assert width[0] > 1.5 * width[1]


@pytest.mark.parametrize("right", [0, 3, 66, 90])
def test_too_few_of_a_kind_leave_the_share_itself_and_no_verdict(right):
    frame = answers(90).assign(passed=lambda one: np.arange(90) < right)
    found = trust.study("student", frame, "sequence", features=("least",))
    n, k = 30, int(frame[frame.split == "fit"].passed.sum())
    assert found.chosen == trust.CONSTANT and f"{k} of the {n} answers" in found.why_not
    assert found.judged.calibrated.to_numpy() == pytest.approx((k + 1) / (n + 2))
    gate = gates.judge("calibrated_ece", "smoke", **trust.measured([found], "ece_debiased"))
    assert gate.verdict == gates.NOT_RUN and "10 right and wrong" in gate.reason
    assert np.isfinite(found.interval("ece_debiased").high) and found.threshold(0.8) == found.judged.calibrated.iloc[0]


def test_answers_of_one_kind_have_no_auroc_and_all_other_measures():
    found = trust.study("student", answers(90).assign(passed=False), "sequence")
    assert found.results.auroc.isna().all() and found.results.nll.notna().all()
    assert list(trust_tables.results([found]).AUROC) == ["", ""]
    bars = trust_tables.separation(found.judged, {"agreement": found.judged["mean"]})
    assert len(bars) == 6 and all(np.isnan(one.value) for one in bars.values())


@pytest.mark.parametrize("change", ["no column sequence", "no column split", "no row of split judge"])
def test_answers_that_cannot_be_parted_are_refused(change):
    frame = answers(90)
    frame = frame[frame.split == "fit"] if "row" in change else frame.drop(columns=change.split()[-1])
    with pytest.raises(CogumiError, match=change):
        trust.study("student", frame, "sequence")


def test_a_gate_takes_the_study_with_the_highest_upper_bound(found):
    worse = trust.study("other", answers(seed=9), "sequence")
    worse.results.loc[worse.results.method == worse.chosen, ["nll_change_low", "nll_change_high"]] = -9, 0.5
    taken = [trust.measured(some, "nll_change")["interval"].high for some in ([found, worse], [worse, found], [found])]
    assert taken == [0.5, 0.5, found.interval("nll_change").high]
    assert found.interval("nll_change").high < 0 and found.interval("nll_change").n == 2000


@pinned
def test_recorded_answers_are_a_study_like_any_other():
    (found,) = trust.of_recorded([recorded.NAME], seed=1)
    assert len(found.judged) == 3148 and found.interval("ece_debiased").high < 0.05
    assert trust.of_recorded([]) == []


def test_sets_without_recorded_answers_are_refused():
    with pytest.raises(CogumiError, match="gsm8k_model_solutions"):
        trust.of_recorded(["mmlu"])


# ---- what is passed on ----


def test_a_server_reads_what_was_chosen(found, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    made = trust.gauge(found, 0.8, tmp_path / "model")
    again = trust.Gauge.read(made.write(tmp_path / "calibration.json"))
    assert again == made and (again(found.judged) == found.judged.calibrated).all()
    fit = found.with_confidence(found.frame[found.frame.split == "fit"])
    assert again.threshold == coverage.threshold_for(0.8, fit.calibrated)
    fresh = coverage.at_threshold(again.threshold, found.judged.calibrated, found.judged.passed)
    assert fresh.share.low < 0.8 < fresh.share.high
    (tmp_path / "model" / "weights").write_text("2")
    assert trust.gauge(found, 0.8, tmp_path / "model").model_sha256 != made.model_sha256


@pytest.mark.parametrize("lost", ["confidence", "calibrator", "threshold", "answer_share", "model_sha256", "{"])
def test_a_garbled_file_is_refused(found, tmp_path, lost):
    path = trust.gauge(found, 0.8, tmp_path).write(tmp_path / "calibration.json")
    entries = json.loads(path.read_text())
    entries.pop(lost, None)
    path.write_text(lost if lost == "{" else json.dumps(entries))
    with pytest.raises(CogumiError, match="calibration.json of 09_calibration"):
        trust.Gauge.read(path)


# ---- what a reader sees ----


def test_tables_say_what_was_chosen_and_by_how_much(found):
    choice, results = trust_tables.choice([found]), trust_tables.results([found])
    assert list(choice[choice[""] == "chosen"].calibration) == [found.chosen] and (choice["fitted on"] == 1000).all()
    assert list(results.confidence).count(f"{found.chosen} (chosen)") == 1
    assert results["ECE, debiased"].iloc[0].startswith(f"{found.results.ece_debiased.iloc[0]:.3f} [")


def test_the_question_is_answered_by_counting(found):
    close = found.judged[found.judged.calibrated.between(0.75, 0.85)]
    sentence = trust_tables.near(found)
    assert f"n={len(close)} are right" in sentence and f"{100 * close.passed.mean():.1f}%" in sentence
    assert "No fresh answer" in trust_tables.near(found, 0.9999, 1e-9)


def test_reliability_has_two_lines_a_study(found):
    lines = trust_tables.reliability([found], 10)
    assert list(lines) == ["student, raw", "student, calibrated"] and len(lines["student, raw"]) == 10
    raw, mended = ([abs(x - point.value) for x, point in lines[name]] for name in lines)
    assert np.mean(mended) < np.mean(raw) / 2


def test_a_group_that_is_off_comes_first_with_a_small_q(found):
    off = found.frame.assign(passed=np.where(found.frame.skill == "s3", False, found.frame.passed))
    table = trust_tables.gaps(trust.study("student", off, "sequence"))
    assert table.skill[0] == "s3" and table.q[0] < 1e-6
    calm = trust_tables.gaps(found)
    assert (calm.q > 0.01).all() and calm.n.sum() == 2000


def test_q_is_exact_where_answers_are_nearly_certain():
    """One wrong among a hundred that say 99.9% is no surprise (10%); a normal law would call it one in a thousand."""
    group = pd.DataFrame({"calibrated": [0.999] * 100, "passed": [False] + [True] * 99})
    assert trust_tables._p_value(group) == pytest.approx(2 * (1 - 0.999**100), rel=1e-3)
    sure = pd.DataFrame({"calibrated": [0.5] * 4, "passed": [True] * 4})
    assert trust_tables._p_value(sure) == pytest.approx(2 / 16)


def test_risk_falls_with_coverage_and_thresholds_keep_their_share(found):
    lines, references = trust_tables.risk(found)
    raw, mended, best = lines.values()
    assert mended[1][0] <= mended[1][-1] == pytest.approx(references["by lot"]) and best[1][0] == 0
    assert raw[0][-1] == 1
    table = trust_tables.thresholds(found, 0.6)
    assert list(table.wanted) == ["50%", "60%", "70%", "80%", "90%", "95%"]
    assert (table.threshold.diff().dropna() < 0).all() and table["right among the rest"].str.contains("%").all()


def test_other_kinds_are_judged_by_the_same_confidence(found):
    strange = answers(300, seed=5).assign(kind="new", passed=False)
    row, whole = trust_tables.elsewhere(found, strange, found.threshold(0.8)).to_dict("records")
    assert row["right"].startswith("0.0%") and row["n"] == 300 and whole == {**row, "kind": "all of them"}
    assert row["says, calibrated"] == pytest.approx(found.with_confidence(strange).calibrated.mean())


def test_surprises_are_the_surest_wrong_and_the_least_sure_right():
    tasks = skills.mixed(skills.all_skills()[:5], 6, split="test", seed=1)
    frame = answers(60).assign(id=[task.id for task in tasks] * 2, answer="a")
    frame = frame.assign(split=["fit"] * 30 + ["judge"] * 30)
    found = trust.study("student", frame, "sequence")
    table = trust_tables.surprises(found, tasks, 3)
    wrong = found.judged[~found.judged.passed]
    assert table.calibrated[0] == wrong.calibrated.max() and set(table.what) == {"sure and wrong", "unsure and right"}
    assert not table.duplicated(["what", "skill"]).any() and all(table.prompt)


def test_the_share_itself_when_all_kinds_are_few():
    assert trust.constant(1, 8)([0.1, 0.9]) == pytest.approx([0.2, 0.2])
    assert trust.constant(0, 8).weights[0] == pytest.approx(logit(0.1))
