"""What gates take of a judged detector: the set where it is worst."""

from __future__ import annotations

import pandas as pd

from cogumi_utils.route.escalation import judge, summary
from cogumi_utils.stats import Interval

INT8 = "student int8"  # the form that is deployed


def row(name: str, model: str, area: float, against: Interval | None) -> dict:
    share = Interval(area, area - 0.1, area + 0.1, 100)
    return {"set": name, "model": model, "PR-AUC": share, "against the first": against, "F1": share}


def test_the_set_where_the_student_is_farthest_and_the_one_where_it_is_lowest():
    near, far = Interval(-1.0, -3.0, 1.0, 100, "points"), Interval(-0.5, -4.0, 3.0, 100, "points")
    rows = [row("a", "teacher", 0.9, None), row("a", INT8, 0.8, near), row("b", INT8, 0.6, far)]
    calm = {"set": "c", "model": INT8, "PR-AUC": None, "against the first": None, "F1": None}
    judged = pd.DataFrame([*rows, row("b", "student", 0.1, near), calm])
    assert summary.farthest(judged) == far
    assert {name: one.value for name, one in summary.metrics(judged).items()} == {
        "escalation_pr_auc": 0.6, "escalation_f1": 0.6
    }  # fmt: skip


def test_the_table_of_the_judge_has_these_columns():
    frame = pd.DataFrame({"text": list("abcd"), "label": [0, 1, 0, 1], "set": "s", "group": list("abcd")})
    scores = {name: [0.1, 0.9, 0.2, 0.8] for name in ("teacher", INT8)}
    judged = judge.compare(frame, scores, {"teacher": 0.5, INT8: 0.5}, base_rate=0.1)
    assert summary.farthest(judged).value == 0 and summary.metrics(judged)["escalation_pr_auc"].value == 1


def test_what_becomes_of_a_thousand_users():
    share = Interval(0.8, 0.7, 0.9, 50)
    shown = row("a", "student int8", 0.8, Interval(-1.0, -3.0, 1.0, 100, "points")) | {"recall": share}
    judged = pd.DataFrame([shown | {"false alarms": Interval(0.05, 0.0, 0.1, 50)}])
    table = summary.risk(judged, 0.1)
    assert table.iloc[0].tolist() == ["a", 80, 20, 45, 855]
