"""Real calls without their words: can the course of a call say that the caller will give up? (BETOLD)

The set has intents only: who spoke (caller or machine), what was meant, which entities. A call is positive where the
caller hung up late or asked to be put through (Terragni et al. 2022, BETOLD: A Task-Oriented Dialog Dataset for
Breakdown Detection). A record ends where the call did, so its end gives the answer away: a caller who hung up did not
speak last. What can be used while a call goes on is what its first turns say; those rows are the honest ones.

It says nothing about the text detector: there is no text. The set's own training part is not among the public copies
read here, so models are fitted on its validation part and judged on its test part, without calls that are in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.data import sources
from cogumi_utils.data._readers import Row
from cogumi_utils.route.escalation.judge import pr_auc

if TYPE_CHECKING:
    import pandas as pd

NAME, POSITIVE = "betold", "luhf"
CALLER = "nlu"  # the turns that the machine understood; "nlg" are those that it spoke
COLUMNS = ["read", "n", "share positive", "PR-AUC"]
VIEWS: dict[str, Callable[[list[str]], list[str]]] = {
    "first 8 turns": lambda turns: turns[:8],
    "first 12 turns": lambda turns: turns[:12],
    "first 16 turns": lambda turns: turns[:16],
    "all but the last 4 turns": lambda turns: turns[:-4],
    "all turns": lambda turns: turns,
    "only who spoke last": lambda turns: [turns[-1].partition(":")[0]],
}


def read() -> pd.DataFrame:
    """A row a call: turns (list of "caller: intent" or "machine: intent"), label, split. Raises SourceError."""
    return table(sources.load(NAME, purpose="evaluation"))


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """As `read`, from rows of the set; a call of the test part that is in the validation part too is left out."""
    import pandas as pd

    calls = [(tuple(_turns(row)), int(row["LUHF"] == POSITIVE), row["_split"]) for row in rows]
    known = {turns for turns, _, split in calls if split == "validation"}
    kept = [call for call in calls if call[2] == "validation" or call[0] not in known]
    return pd.DataFrame(kept, columns=["turns", "label", "split"])


def study(names: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """`compare` on the set where it is among `names`; else no rows."""
    import pandas as pd

    return compare(read(), seed) if NAME in names else pd.DataFrame(columns=COLUMNS)


def compare(calls: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """A row a view of the call: what is read, n, share positive, PR-AUC of a linear model over its intents.

    A call shorter than a view is read as far as it goes, so the rows of first turns favour nothing but early signs.
    """
    import pandas as pd

    known, asked = (calls[calls["split"] == split] for split in ("validation", "test"))
    share, rows = float(asked["label"].mean()), []
    for name, view in VIEWS.items():
        scores = _scores(
            [view(list(one)) for one in known["turns"]], known["label"], [view(list(one)) for one in asked["turns"]]
        )
        rows.append((name, len(asked), share, pr_auc(asked["label"], scores, seed=seed)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _turns(row: Row) -> list[str]:
    return [
        f"{'caller' if turn['caller_name'] == CALLER else 'machine'}: {turn['intent']}"
        for turn in row["utterances_annotations"]
    ]


def _scores(known: list[list[str]], labels: Sequence[int], asked: list[list[str]]) -> list[float]:
    """Probabilities from a logistic regression on which intents, and which pairs of neighbours, occur."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    counted = CountVectorizer(analyzer=_grams, binary=True)
    model = make_pipeline(counted, LogisticRegression(C=0.1, max_iter=1000)).fit(known, list(labels))
    return model.predict_proba(asked)[:, 1].tolist()


def _grams(turns: list[str]) -> list[str]:
    return [*turns, *(f"{one} > {next_one}" for one, next_one in zip(turns, turns[1:], strict=False))]
