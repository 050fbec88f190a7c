"""Shares with intervals, and differences paired by example."""

from __future__ import annotations

import pandas as pd
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.summary import differences, share, shares, stacked
from cogumi_utils.stats import paired_difference, wilson


def frame(**marks: str) -> pd.DataFrame:
    """domain → a string of + and -, one example each."""
    rows = [
        (f"{name}{place}", name, f"{name}-skill", mark == "+")
        for name, text in marks.items()
        for place, mark in enumerate(text)
    ]
    return pd.DataFrame(rows, columns=["id", "domain", "skill", "passed"])


def test_a_share_is_counted_with_its_interval():
    assert share(frame(a="++-+")) == wilson(3, 4)


def test_shares_come_best_first():
    found = shares(frame(a="+--", b="++-", c="---", d="+++"))
    assert list(found.items()) == [
        ("d-skill", wilson(3, 3)), ("b-skill", wilson(2, 3)), ("a-skill", wilson(1, 3)), ("c-skill", wilson(0, 3)),
    ]  # fmt: skip
    assert list(shares(frame(a="+--", b="++-"), "domain")) == ["b", "a"]


def test_differences_are_paired_by_id_and_end_with_all():
    before, after = frame(b="+--+", a="--"), frame(b="-+++", a="+-")
    found = differences(before, after.sample(frac=1, random_state=3), seed=5)
    assert list(found) == ["a", "b", "overall"]
    assert (found["b"].gained, found["b"].lost, found["b"].n, found["b"].value) == (2, 1, 4, 0.25)
    assert (found["a"].gained, found["a"].lost, found["a"].n) == (1, 0, 2)
    assert found["overall"] == paired_difference(before["passed"].to_numpy(), after["passed"].to_numpy(), 5)
    assert (found["overall"].gained, found["overall"].lost, found["overall"].n) == (3, 1, 6)


def test_differences_of_other_groups():
    found = differences(frame(a="+-"), frame(a="++"), by="skill")
    assert list(found) == ["a-skill", "overall"] and found["a-skill"] == found["overall"]


@pytest.mark.parametrize("pair", [("+-", "a", "+"), ("+", "a", "+-"), ("+", "b", "+")])
def test_an_example_in_one_table_only_is_refused(pair):
    marks, name, others = pair
    with pytest.raises(CogumiError) as caught:
        differences(frame(a=marks), frame(**{name: others}))
    error = caught.value
    assert "rows" in error.found and error.expected and error.why and error.fix


def test_an_example_that_stands_twice_is_refused():
    twice = pd.concat([frame(a="+"), frame(a="-")])
    with pytest.raises(ValueError, match="not a one-to-one merge"):
        differences(twice, frame(a="+"))


def test_stacked_tables_keep_every_answer_under_its_name():
    before, after = frame(a="+-"), frame(a="++")
    both = stacked({"before": before, "after": after}, "state")
    assert both["state"].tolist() == ["before", "before", "after", "after"]
    assert both["passed"].tolist() == [True, False, True, True] and list(both.index) == [0, 1, 2, 3]
