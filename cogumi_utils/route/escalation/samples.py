"""What the detector noticed, what it missed and where it raised a false alarm, with the words that decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogumi_utils.route.escalation.turns import SEPARATOR

if TYPE_CHECKING:
    import pandas as pd

    from cogumi_utils.route.escalation.detector import Detector

NOTICED, FALSE, MISSED = "noticed", "false alarm", "missed"
COLUMNS = ["what", "the user said", "probability", "reasons"]


def samples(detector: Detector, rows: pd.DataFrame, each: int = 2) -> pd.DataFrame:
    """The surest alarms that were right, the surest that were wrong, and the surest that were missed: `each` of them.

    rows: as `data.read` gives them, not trained on. Reasons say how much lower the probability is without a word or
    turn; a missed user has none.
    """
    import pandas as pd

    scored = rows.assign(p=detector.probabilities(rows["text"].tolist()))
    unhappy, raised = scored["label"] == 1, scored["p"] >= detector.threshold
    groups = {
        NOTICED: scored[unhappy & raised].sort_values("p", ascending=False, kind="stable"),
        FALSE: scored[~unhappy & raised].sort_values("p", ascending=False, kind="stable"),
        MISSED: scored[unhappy & ~raised].sort_values("p", kind="stable"),
    }
    shown = [(what, row) for what, group in groups.items() for row in group.head(each).itertuples()]
    found = [
        (what, row.text.replace(SEPARATOR, " / "), row.p, "" if what == MISSED else _reasons(detector, row.text))
        for what, row in shown
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def _reasons(detector: Detector, text: str) -> str:
    return ", ".join(f"{one.part} {one.text!r} {one.raised:+.2f}" for one in detector.reasons(text))
