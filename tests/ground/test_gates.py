"""Three-state verdicts on constructed data, with the exact numbers."""

from pathlib import Path

import pytest

from cogumi_utils import gate_rules, gates, stats
from cogumi_utils.gate_rules import GateRuleError
from cogumi_utils.gates import FAIL, INCONCLUSIVE, NOT_RUN, PASS, Gate, GateError
from cogumi_utils.stats import Interval, Paired

RULES = """
accuracy: {stage: 02_a, claim: More than 60%., kind: proportion, direction: above, threshold: 0.6}
errors: {stage: 02_a, claim: Fewer than 10%., kind: proportion, direction: below, threshold: 0.1}
planned: {stage: 02_a, claim: More than 60%., kind: proportion, direction: above, threshold: 0.6,
          n: {tiny: 400, default: 100}}
better: {stage: 02_a, claim: Better., kind: paired, direction: above, threshold: 0.0, required: [tiny]}
not_worse: {stage: 02_a, claim: At most 5 points lost., kind: non_inferiority, direction: above, margin: 0.05}
loss: {stage: 02_a, claim: At most 0.02 nats lost., kind: non_inferiority, direction: below, margin: 0.02}
speed: {stage: 02_a, claim: Fast., kind: value, direction: above, threshold: {default: 100, h100: 5000}}
count: {stage: 03_b, claim: All 164., kind: exact, direction: equal, threshold: 164}
least: {stage: 03_b, claim: Six or more., kind: exact, direction: at_least, threshold: 6}
most: {stage: 03_b, claim: Close., kind: exact, direction: at_most, threshold: 0.001}
one: {stage: 03_b, claim: One., kind: proportion, direction: above, threshold: 0.5, family: f}
two: {stage: 03_b, claim: Two., kind: proportion, direction: above, threshold: 0.5, family: f}
three: {stage: 03_b, claim: Three., kind: proportion, direction: above, threshold: 0.5, family: f}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def judge(rules):
    return lambda name, profile="tiny", **measurement: gates.judge(name, profile, rules=rules, **measurement)


@pytest.mark.parametrize(
    "name, k, n, verdict, n_needed",
    [
        ("accuracy", 280, 400, PASS, None),  # 70% [65.3, 74.3]
        ("accuracy", 260, 400, PASS, None),  # 65% [60.2, 69.5]
        ("accuracy", 259, 400, INCONCLUSIVE, 409),  # 64.75% [59.95, 69.3]: rounded to 60 it would pass
        ("accuracy", 240, 400, INCONCLUSIVE, None),  # 60%: the bound itself
        ("accuracy", 221, 400, INCONCLUSIVE, 409),
        ("accuracy", 220, 400, FAIL, None),  # 55% [50.1, 59.8]
        ("accuracy", 5, 5, INCONCLUSIVE, 6),  # 100% [56.6, 100]
        ("errors", 27, 400, PASS, None),  # 6.75% [4.7, 9.6]
        ("errors", 30, 400, INCONCLUSIVE, 554),
        ("errors", 60, 400, FAIL, None),  # 15% [11.8, 18.8]
    ],
)
def test_proportions(judge, name, k, n, verdict, n_needed):
    gate = judge(name, k=k, n=n)
    assert (gate.verdict, gate.n_needed, gate.value, gate.n) == (verdict, n_needed, k / n, n)
    assert (gate.low, gate.high) == (stats.wilson(k, n).low, stats.wilson(k, n).high)
    if n_needed:
        assert gate.reason == f"n={n_needed} would decide if the estimate stays"


def test_the_n_that_is_named_does_decide(judge):
    gate = judge("accuracy", k=259, n=400)
    interval = stats.wilson(0.6475 * gate.n_needed, gate.n_needed)
    assert interval.low > 0.6 > stats.wilson(0.6475 * (gate.n_needed - 1), gate.n_needed - 1).low


def test_fewer_items_than_planned_never_pass(judge):
    gate = judge("planned", k=270, n=300)
    assert (gate.verdict, gate.n_needed, gate.n_planned) == (INCONCLUSIVE, 400, 400)
    assert gate.reason == "n=300 of the 400 planned"
    assert judge("planned", k=360, n=400).verdict == PASS
    assert judge("planned", k=30, n=300).verdict == FAIL  # bad news counts at once
    assert judge("planned", "h100", k=90, n=100).verdict == PASS
    assert judge("planned", k=195, n=300).n_needed == 400  # 351 would do, 400 were planned


def test_paired_comparison(judge):
    before, after = [0] * 100, [1] * 20 + [0] * 80
    gate = judge("better", before=before, after=after)
    assert (gate.verdict, gate.value, gate.n, gate.required) == (PASS, 0.2, 100, True)
    assert gate.p_value == pytest.approx(2 * 0.5**20)
    assert judge("better", before=after, after=before).verdict == FAIL
    assert not judge("better", "h100", before=before, after=after).required
    level = judge("better", before=[0] * 52 + [1] * 48, after=[1] * 52 + [0] * 48)
    assert (level.verdict, level.n_needed) == (INCONCLUSIVE, 2400)
    same = judge("better", before=after, after=after)
    assert (same.verdict, same.n_needed) == (INCONCLUSIVE, None)
    assert same.reason == "no n decides while the estimate stays"


def test_non_inferiority_allows_the_margin_and_no_more(judge):
    equal = [1] * 100 + [0] * 100
    assert judge("not_worse", before=equal, after=equal).verdict == PASS
    assert judge("not_worse", before=equal[80:120], after=equal[80:120]).verdict == INCONCLUSIVE  # n = 40
    assert judge("not_worse", before=[1] * 200, after=[1] * 180 + [0] * 20).verdict == FAIL
    worse = judge("not_worse", paired=Paired(-0.03, -0.045, -0.015, 5000, 10, 160, 1e-9))
    assert (worse.verdict, worse.threshold) == (PASS, -0.05)  # surely worse, and surely by less than the margin
    assert judge("loss", paired=Paired(0.01, 0.005, 0.015, 500, 0, 0, 0.01)).verdict == PASS
    assert judge("loss", paired=Paired(0.03, 0.025, 0.035, 500, 0, 0, 0.01)).verdict == FAIL
    assert judge("loss", paired=Paired(0.03, -0.01, 0.07, 500, 0, 0, 0.01)).n_needed == 8001


def test_values_with_their_own_interval_and_a_bound_by_profile(judge):
    assert judge("speed", value=120, low=110, high=130, n=5).verdict == PASS
    assert judge("speed", "h100", value=120, low=110, high=130, n=5).verdict == FAIL
    assert judge("speed", value=90, low=80, high=100.5, n=5).verdict == INCONCLUSIVE
    assert judge("speed", value=100.1, low=100, high=101, n=5).verdict == INCONCLUSIVE  # touching is not clearing
    assert judge("speed", interval=Interval(120, 110, 130, 5)).value == 120


@pytest.mark.parametrize(
    "name, value, verdict",
    [
        ("count", 164, PASS), ("count", 163, FAIL), ("count", 165, FAIL), ("least", 6, PASS), ("least", 5, FAIL),
        ("most", 0.001, PASS), ("most", 0.0010000001, FAIL),
    ],
)  # fmt: skip
def test_exact_counts(judge, name, value, verdict):
    gate = judge(name, value=value)
    assert (gate.verdict, gate.value, gate.low, gate.high, gate.n_needed) == (verdict, value, value, value, None)


def test_not_run_carries_its_reason(judge):
    gate = judge("count", not_run="HumanEval is not at hand")
    assert (gate.verdict, gate.reason, gate.value, gate.threshold) == (NOT_RUN, "HumanEval is not at hand", None, 164)


@pytest.mark.parametrize(
    "name, measurement",
    [
        ("accuracy", {}), ("accuracy", {"k": 3}), ("accuracy", {"value": 0.7, "low": 0.6, "high": 0.8}),
        ("better", {"before": [1]}), ("speed", {"value": 3}), ("speed", {"value": float("nan"), "low": 1, "high": 2}),
        ("count", {"value": None}), ("count", {"k": 1, "n": 2}), ("count", {"value": float("nan")}),
    ],
)  # fmt: skip
def test_a_measurement_of_another_kind_is_refused(judge, name, measurement):
    with pytest.raises(GateError) as caught:
        judge(name, **measurement)
    assert gates.MEASUREMENTS[gate_rules.rule_of(name, judge.__closure__[0].cell_contents).kind] in caught.value.fix


def test_an_unknown_gate_names_the_nearest(judge):
    with pytest.raises(GateRuleError) as caught:
        judge("acuracy", k=1, n=2)
    assert caught.value.found == "'acuracy'" and caught.value.fix == "did you mean 'accuracy'?"
    with pytest.raises(GateRuleError) as caught:
        judge("zzz", k=1, n=2)
    assert caught.value.fix.startswith("add 'zzz' to ")


def test_holm_over_a_family(judge, rules):
    """60, 58 and 55 of 100 against 50%: p = 0.0455, 0.1096, 0.3173. The first passes alone, and not in its family."""
    alone = [judge(name, k=k, n=100) for name, k in (("one", 60), ("two", 58), ("three", 55))]
    assert [gate.verdict for gate in alone] == [PASS, INCONCLUSIVE, INCONCLUSIVE]
    assert alone[0].p_value == pytest.approx(0.0455, abs=1e-4)
    together = gates.apply_families(alone, rules)
    assert [gate.verdict for gate in together] == [INCONCLUSIVE] * 3
    assert together[0].reason == "passes alone; p=0.137 after Holm over the 3 gates of f"
    strong = gates.apply_families([judge("one", k=70, n=100), judge("two", k=61, n=100), *alone[2:]], rules)
    assert [gate.verdict for gate in strong] == [PASS, INCONCLUSIVE, INCONCLUSIVE]  # p = 6e-5 and 0.0278 * 2
    all_three = gates.apply_families([judge(name, k=62, n=100) for name in ("one", "two", "three")], rules)
    assert [gate.verdict for gate in all_three] == [PASS] * 3  # 0.0164 * 3 = 0.0492


def test_a_family_of_which_only_one_gate_ran_keeps_its_size(judge, rules):
    (gate,) = gates.apply_families([judge("one", k=60, n=100)], rules)
    assert gate.verdict == INCONCLUSIVE
    others = [judge("accuracy", k=280, n=400), judge("count", value=164)]
    assert gates.apply_families(others, rules) == others


def test_a_gate_goes_through_the_manifest_and_back(judge):
    gate = judge("better", before=[0] * 50, after=[1] * 50)
    assert Gate.from_dict(gate.to_dict() | {"of another version": 1}) == gate


def test_a_gate_in_words(judge):
    passed, left_out = judge("accuracy", k=280, n=400), judge("count", not_run="no HumanEval")
    assert str(passed) == "PASS accuracy: 0.7 [0.6534, 0.7428] n=400, above 0.6"
    assert str(left_out) == "NOT RUN count: not measured, equal 164 (no HumanEval)"
    assert passed._repr_markdown_() == "**PASS** accuracy: 0.7 [0.6534, 0.7428] n=400, above 0.6. More than 60%."


def test_the_table_shows_what_was_measured_and_against_what(judge):
    frame = gates.table([judge("accuracy", k=280, n=400), judge("count", value=163), judge("least", not_run="no")])
    assert list(frame["verdict"]) == [PASS, FAIL, NOT_RUN]
    assert list(frame["measured"]) == ["0.7 [0.6534, 0.7428]", "163", "not measured"]
    assert list(frame["bound"]) == ["above 0.6", "equal 164", "at least 6"]
    assert list(frame["n"]) == [400, "", ""] and frame["claim"][0] == "More than 60%."
    assert list(gates.table([]).columns) == list(frame.columns)


@pytest.mark.parametrize(
    "entry, fault",
    [
        ("{kind: exact, direction: equal, threshold: 1, claim: c}", "no stage"),
        ("{stage: s, claim: c, kind: exct, direction: equal, threshold: 1}", "kind 'exct' is none of"),
        ("{stage: s, claim: c, kind: exact, direction: above, threshold: 1}", "direction 'above' of kind exact"),
        ("{stage: s, claim: c, kind: proportion, direction: above}", "no threshold"),
        ("{stage: s, claim: c, kind: proportion, direction: above, threshold: x}", "threshold 'x' is not a number"),
        ("{stage: s, claim: c, kind: non_inferiority, direction: above, threshold: 0.1}", "no margin"),
        ("{stage: s, claim: c, kind: non_inferiority, direction: above, margin: 0}", "margin 0 is not above 0"),
        ("{stage: s, claim: c, kind: paired, direction: above, threshold: 0, n: -5}", "n -5 is not above 0"),
        ("{stage: s, claim: c, kind: paired, direction: above, threshold: 0, tresh: 1}", "unknown key 'tresh'"),
        ("{stage: s, claim: c, kind: paired, direction: above, threshold: 0, required: tiny}", "required is a list"),
        ("7", "a gate is a mapping"),
    ],
)
def test_faults_of_the_rules_are_named_with_their_line(rules, entry, fault):
    rules.write_text(RULES + f"broken: {entry}\n")
    with pytest.raises(GateRuleError) as caught:
        gate_rules.load_rules(rules)
    assert f"{rules}:{len(RULES.splitlines()) + 1}: " in caught.value.found and fault in caught.value.found


def test_a_gate_named_twice_is_refused(rules):
    rules.write_text(RULES + RULES.splitlines()[1])
    with pytest.raises(Exception, match="the key 'accuracy' is given twice"):
        gate_rules.load_rules(rules)


def test_a_bound_without_a_value_for_the_profile(rules):
    rules.write_text(RULES.replace("{default: 100, h100: 5000}", "{h100: 5000}"))
    with pytest.raises(GateRuleError) as caught:
        gates.judge("speed", "tiny", rules=rules, value=1, low=0, high=2)
    assert "for the profile 'tiny'" in caught.value.expected and "add `tiny:` or `default:`" in caught.value.fix


def test_the_repositorys_own_gates_are_sound():
    found = gate_rules.load_rules(Path(__file__).resolve().parents[2] / "params/gates.yaml")
    assert {"qlora_beats_start", "dedup_precision", "humaneval_references_pass"} <= set(found)
    assert all(rule.claim.endswith(".") for rule in found.values())
