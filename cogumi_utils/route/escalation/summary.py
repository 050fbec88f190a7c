"""The numbers of a judged detector that gates and manifests take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogumi_utils.route.escalation import judge
from cogumi_utils.route.escalation.study import MODELS

if TYPE_CHECKING:
    import pandas as pd

    from cogumi_utils.stats import Interval

STUDENT = MODELS[2]  # in int8: the form that decides in a service, and whose size counts


def student_rows(judged: pd.DataFrame) -> pd.DataFrame:
    """The int8 student's rows of `study.judged`, of the sets that have users of both kinds."""
    return judged[judged["model"] == STUDENT].dropna(subset=["against the first"])


def farthest(judged: pd.DataFrame) -> Interval:
    """Points of PR-AUC that the int8 student has more than its teacher, in the set where that may be least."""
    return min(student_rows(judged)["against the first"], key=lambda one: one.low)


def risk(judged: pd.DataFrame, base_rate: float, users: int = 1000) -> pd.DataFrame:
    """A row a set: what happens to so many users, of whom `base_rate` are dissatisfied, at the student's threshold."""
    import pandas as pd

    rows = [
        {"set": row["set"], **judge.risk(row["recall"].value, row["false alarms"].value, base_rate, users)}
        for row in student_rows(judged).to_dict("records")
    ]
    return pd.DataFrame(rows).round(0).astype(dict.fromkeys(judge.OUTCOMES, int))


def metrics(judged: pd.DataFrame) -> dict[str, Interval]:
    """For the manifest: the int8 student's, in the set where its PR-AUC is lowest."""
    worst = min(student_rows(judged).to_dict("records"), key=lambda row: row["PR-AUC"].value)
    return {"escalation_pr_auc": worst["PR-AUC"], "escalation_f1": worst["F1"]}
