"""What was mended and what broke: six tasks, checked by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import mending
from cogumi_utils.model.distill import Outcome
from cogumi_utils.stats import fdr, mcnemar_exact, paired_difference

IDS = list("abcdef")
BEFORE = [0, 0, 1, 0, 1, 1]  # a, b and c lie in pattern 0, d in pattern 1, e and f outside
RUNS = {
    ("aware", 1): [1, 1, 1, 0, 1, 0],
    ("aware", 2): [1, 0, 1, 1, 1, 1],
    ("random", 1): [0, 0, 1, 0, 1, 1],
    ("random", 2): [0, 0, 0, 0, 1, 1],
    ("replay 5%", 1): [1, 1, 0, 1, 0, 0],
}
SCORES = {"nothing": BEFORE, "aware": [1, 0.5, 1, 0.5, 1, 0.5], "random": [0, 0, 0.5, 0, 1, 1],
          "replay 5%": [1, 1, 0, 1, 0, 0]}  # fmt: skip
PATTERNS = pd.DataFrame({"pattern": [0, 1, 2], "name": ["low sums", "high sums", "never held out"]})


def frame(passed: list[int], ids: list[str] = IDS) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "passed": [bool(right) for right in passed]})


@pytest.fixture
def before() -> pd.DataFrame:
    return frame(BEFORE).assign(pattern=[0, 0, 0, 1, -1, -1], domain=["x", "x", "y", "x", "y", "z"])


@pytest.fixture
def outcomes(tmp_path) -> list[Outcome]:
    return [outcome(tmp_path, *key, frame(passed)) for key, passed in RUNS.items()]


def outcome(folder: Path, arm: str, seed: int, graded: pd.DataFrame) -> Outcome:
    place = folder / f"{arm}-{seed}"
    place.mkdir()
    graded.to_parquet(place / "graded.parquet")
    return Outcome(arm, seed, place, examples=10, seconds=1.0, tokens=100, losses=[(1, 2.0)])


@pytest.fixture
def table(before, outcomes) -> pd.DataFrame:
    return mending.scores(before, outcomes)


def test_a_score_is_the_share_of_seeds_that_are_right(table):
    assert {name: table[name].tolist() for name in SCORES} == SCORES
    assert list(table["id"]) == IDS and list(table["pattern"]) == [0, 0, 0, 1, -1, -1]


def test_arms_in_the_order_in_which_they_came(outcomes):
    assert mending.arms_of(outcomes) == ["aware", "random", "replay 5%"]


@pytest.mark.parametrize("ids", [list("abcdeg"), list("bacdef"), list("abcde")])
def test_an_arm_graded_on_other_tasks_is_refused(before, tmp_path, ids):
    other = outcome(tmp_path, "aware", 3, frame([1] * len(ids), ids))
    with pytest.raises(CogumiError) as caught:
        mending.scores(before, [other])
    assert caught.value.found == f"aware, seed 3: {len(ids)} other tasks, before 6" and caught.value.fix


def test_per_pattern_before_after_and_the_paired_difference(table):
    rows = mending.by_pattern(table, ["aware", "random"], PATTERNS, seed=1)
    assert rows[["arm", "pattern", "n"]].to_numpy().tolist() == [
        ["aware", "low sums", 3], ["aware", "high sums", 1], ["random", "low sums", 3], ["random", "high sums", 1],
    ]  # fmt: skip
    assert rows["before"].tolist() == pytest.approx([1 / 3, 0, 1 / 3, 0])
    assert rows["after"].tolist() == pytest.approx([2.5 / 3, 0.5, 0.5 / 3, 0])
    assert rows["difference"].tolist() == pytest.approx([0.5, 0.5, -0.5 / 3, 0])
    expected = paired_difference([0, 0, 1], [1, 0.5, 1], 1)
    assert rows.loc[0, ["low", "high", "p"]].tolist() == [expected.low, expected.high, expected.p_value]
    assert set(rows["verdict"]) == {"open"}  # three tasks prove nothing


def many(pairs: dict[int, list[tuple[int, int, int]]]) -> pd.DataFrame:
    """{pattern: [(before, after, how many tasks)]} of an arm `x`."""
    rows = [(p, old, new) for p, groups in pairs.items() for old, new, count in groups for _ in range(count)]
    return pd.DataFrame(rows, columns=["pattern", "nothing", "x"]).astype({"nothing": float, "x": float})


def test_verdicts_hold_after_the_correction_for_many_patterns():
    """Pattern 1's 6 of 6 have p = 0.031, which among three is q = 0.047; among four, with one more open one, 0.063."""
    pairs = {0: [(0, 1, 12)], 1: [(0, 1, 6)], 2: [(1, 0, 9), (0, 0, 3)], 3: [(0, 1, 1), (1, 0, 1), (1, 1, 2)]}
    names = pd.DataFrame({"pattern": range(4), "name": ["mended", "nearly", "broken", "open"]})
    three = mending.by_pattern(many({key: pairs[key] for key in (0, 1, 2)}), ["x"], names, seed=1)
    four = mending.by_pattern(many(pairs), ["x"], names, seed=1)
    p = [mcnemar_exact(12, 0), mcnemar_exact(6, 0), mcnemar_exact(0, 9), 1.0]
    assert p[1] == 0.03125 and four["p"].tolist() == p
    assert three["q"].tolist() == fdr(p[:3]) and four["q"].tolist() == fdr(p)
    assert three["q"][1] == 0.03125 and four["q"][1] == pytest.approx(0.03125 * 4 / 3)
    assert three["verdict"].tolist() == ["better", "better", "worse"]
    assert four["verdict"].tolist() == ["better", "better", "worse", "open"]
    five = many(pairs | {4: pairs[3], 5: pairs[3]})
    more = mending.by_pattern(five, ["x"], pd.DataFrame({"pattern": range(6), "name": list("abcdef")}), seed=1)
    assert more["q"][1] == pytest.approx(0.0625) and more["verdict"].tolist()[:3] == ["better", "open", "worse"]


def test_contrasts_are_over_the_failing_patterns_alone(table):
    found = mending.contrasts(table, (("aware", "random"), ("random", "nothing")), seed=1)
    assert list(found) == ["aware minus random", "random minus nothing"]
    assert found["aware minus random"].n == 4 and found["aware minus random"].value == pytest.approx(2.5 / 4)
    assert found["random minus nothing"].value == pytest.approx(-0.5 / 4)


def test_elsewhere_by_domain_the_lowest_bound_first(table):
    found = mending.elsewhere(table, "replay 5%", seed=1)
    assert {name: (one.n, one.value) for name, one in found.items()} == {"y": (1, -1.0), "z": (1, -1.0)}
    assert mending.elsewhere(table, "aware", seed=1)["z"].value == -0.5  # e stays, f is lost in one seed of two
    lost = {"few": [(-1, 1, 0)] * 1 + [(-1, 1, 1)] * 19, "many": [(-1, 1, 0)] * 4 + [(-1, 1, 1)] * 16}
    for order in (["few", "many"], ["many", "few"]):
        rows = [(name, *row) for name, domain in zip(("m", "n"), order, strict=True) for row in lost[domain]]
        frame_of_two = pd.DataFrame(rows, columns=["domain", "pattern", "nothing", "x"]).astype({"x": float})
        bounds = [(one.n, one.value) for one in mending.elsewhere(frame_of_two, "x", seed=1).values()]
        assert bounds == [(20, -0.2), (20, -0.05)]


def test_not_mended_is_what_stays_below_half_the_worst_first(table):
    rows = mending.by_pattern(table, ["aware", "random"], PATTERNS, seed=1)
    assert mending.not_mended(rows, "aware") == []  # 0.83 and just 0.5
    assert mending.not_mended(rows, "random") == ["high sums", "low sums"]


def test_by_replay_is_one_seed_s_runs_in_the_order_of_their_shares(table, outcomes):
    found = mending.by_replay(table, outcomes, {"aware": 0.7, "replay 5%": 0.05}, seed=1)
    assert found == {"failing patterns": ([0.05, 0.7], [0.75, 0.75]), "elsewhere": ([0.05, 0.7], [0.0, 0.5])}
    assert mending.by_replay(table, outcomes, {"aware": 0.7}, seed=2) == {
        "failing patterns": ([0.7], [0.75]), "elsewhere": ([0.7], [1.0]),
    }  # fmt: skip


def test_the_summary_has_the_seeds_ranges_and_what_a_point_costs(table, outcomes):
    bills = {"aware": (1000.0, 2.0), "random": (900.0, 1.8)}  # of both seeds together
    rows = mending.summary(table, outcomes, bills, seed=1).set_index("arm")
    assert rows["seeds"].to_dict() == {"nothing": 0, "aware": 2, "random": 2, "replay 5%": 1}
    assert rows["failing tasks right"].to_dict() == {
        "nothing": "25.0%", "aware": "75.0% (75.0 to 75.0)", "random": "12.5% (0.0 to 25.0)", "replay 5%": "75.0%",
    }  # fmt: skip
    assert rows["other tasks right"].to_dict() == {
        "nothing": "100.0%", "aware": "75.0% (50.0 to 100.0)", "random": "100.0% (100.0 to 100.0)", "replay 5%": "0.0%",
    }  # fmt: skip
    assert rows["points gained"].to_dict() == pytest.approx(
        {"nothing": 0.0, "aware": 50.0, "random": -12.5, "replay 5%": 50.0}
    )
    assert rows["tokens a point"]["aware"] == pytest.approx(1000 / 2 / 50)
    assert rows["USD a point"]["aware"] == pytest.approx(2.0 / 2 / 50)


def test_a_point_has_no_price_without_a_bill_or_a_gain(table, outcomes):
    rows = mending.summary(table, outcomes, {"aware": (1000.0, 0.0), "random": (900.0, 1.8)}, seed=1).set_index("arm")
    for column in ("tokens a point", "USD a point"):
        assert rows[column].isna().to_dict() == {"nothing": True, "aware": False, "random": True, "replay 5%": True}
    assert rows["USD a point"]["aware"] == 0.0  # a free teacher's
