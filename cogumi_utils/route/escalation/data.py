"""Public texts of users, dissatisfied or not, one table for all sets: text, label, set, split, kind, group.

- go_emotions: comments on Reddit; anger, annoyance, disappointment and disapproval against the rest. Official splits.
- bitext_customer_support_20k: requests to a customer service; a complaint or a call for a human against the rest. The
  set has no splits of its own and is made of few patterns, so groups of near copies are dealt out whole, the largest to
  training.
- banking77 and clinc150: requests to a bank and to an assistant, all of them calm: what fires here is a false alarm.
  Some of them are of people with a problem; the sets say what is asked for and not how people feel.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.data import sources
from cogumi_utils.data._readers import Row
from cogumi_utils.errors import CogumiError
from cogumi_utils.route.escalation.dialogues import NAME as DIALOGUES
from cogumi_utils.route.escalation.dialogues import SPLITS, frame, make
from cogumi_utils.route.escalation.turns import cleaned

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["text", "label", "set", "split", "kind", "group"]
# the places of anger, annoyance, disappointment and disapproval among the set's 28 emotions
DISSATISFIED_EMOTIONS = {"2": "anger", "3": "annoyance", "9": "disappointment", "10": "disapproval"}
BITEXT = "bitext_customer_support_20k"
DISSATISFIED_INTENTS = ("complaint", "contact_human_agent")
MOST_TEXTS = 20  # of a set for each prompt of one: they are short
LARGE = 0.01  # share of its set from which a group of near copies is for training


def read(
    sets: Sequence[str], split: str, *, limit: int | None = None, dialogues: int = 3000, seed: int = 0
) -> pd.DataFrame:
    """Rows of the named sets ("dialogues" is the embedded one) in one split; label 1: dissatisfied.

    limit: at most so many rows of each public set, at even distances. dialogues: how many of the embedded ones are
    made (a third of it for validation: a threshold needs fewer than a verdict). A set without such a split gives no
    rows. Raises CogumiError for an unknown set or split, and SourceError where a public set is in neither place.
    """
    import pandas as pd

    unknown = [name for name in sets if name not in (DIALOGUES, *_READERS)]
    if unknown or split not in SPLITS or not sets:
        raise CogumiError(
            expected=f"sets among {', '.join((DIALOGUES, *_READERS))} and a split of {', '.join(SPLITS)}",
            found=f"{', '.join(unknown) or 'sets ' + repr(list(sets))}, split {split!r}",
            why="what counts as dissatisfied is written down for these sets",
            fix=f'data.read(["{DIALOGUES}"], "train")',
        )
    count = max(1, dialogues // 3) if split == "validation" else dialogues
    tables = [
        frame(make(count, split, seed), split) if name == DIALOGUES else _spread(_public(name, split), limit)
        for name in sets
    ]
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def read_splits(sets: Sequence[str], rows: int, **options) -> dict[str, pd.DataFrame]:
    """{split: `read` of the embedded dialogues and of the named public sets}, up to `MOST_TEXTS` times `rows` of each
    set: they are short. To train on there are, without labels, the other texts of sets that have users of both kinds.
    options: of `read`."""
    import pandas as pd

    limit = MOST_TEXTS * rows
    found = {split: read([DIALOGUES, *sets], split, limit=limit, **options) for split in SPLITS}
    others = [beyond(table, limit) for table in (_public(name, "train") for name in sets) if table["label"].any()]
    return found | {"train": pd.concat([found["train"], *others], ignore_index=True)}


def beyond(table: pd.DataFrame, limit: int) -> pd.DataFrame:
    """What a limit leaves out of a set, without the texts that it leaves in; label -1: for distilling only.

    Labels are dear and texts are not. A student of few texts learns where its teacher stands on these, one of many
    what the teacher says of the whole domain.
    """
    kept = _spread(table, limit)
    return table.drop(kept.index)[lambda rest: ~rest["text"].isin(kept["text"])].assign(label=-1)


def _public(name: str, split: str) -> pd.DataFrame:
    import pandas as pd

    rows = [(cleaned(text), label, name, split, kind, group) for text, label, kind, group in _READERS[name](split)]
    return pd.DataFrame([row for row in rows if row[0]], columns=COLUMNS)


def _spread(table: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    if limit is None or limit >= len(table):
        return table
    return table.iloc[[place * len(table) // limit for place in range(limit)]]


def _rows(name: str, split: str) -> list[Row]:
    """Those of a split, none where the set has no such split."""
    if split not in sources.find(name).splits:
        return []
    return sources.load(name, split, purpose="train" if split == "train" else "evaluation")


def _go_emotions(split: str) -> list[tuple]:
    found = []
    for row in _rows("go_emotions", split):
        negative = [DISSATISFIED_EMOTIONS[one] for one in row["col1"].split(",") if one in DISSATISFIED_EMOTIONS]
        found.append((row["col0"], int(bool(negative)), "+".join(negative) or "other", row["col2"]))
    return found


def _bitext(split: str) -> list[tuple]:
    rows = sources.load(BITEXT, purpose="train")
    names = [
        f"{row['intent']}: {words}" for row, words in zip(rows, wordings([r["utterance"] for r in rows]), strict=True)
    ]
    size = Counter(names)
    return [
        (row["utterance"], int(row["intent"] in DISSATISFIED_INTENTS), row["intent"], name)
        for row, name in zip(rows, names, strict=True)
        if dealt(name, size[name] / len(rows)) == split
    ]


def wordings(texts: Sequence[str], rare: int = 10) -> list[str]:
    """What each text is about, the same for its near copies: its words without those of grammar and slips of the pen.

    rare: a word in fewer texts than this is taken for a slip (the set writes them in on purpose).
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = [set(re.findall(r"[a-z]{3,}", text.lower().replace("'", ""))) - ENGLISH_STOP_WORDS for text in texts]
    known = Counter(word for some in words for word in some)
    return [" ".join(sorted(word for word in some if known[word] >= rare)) for some in words]


def dealt(group: str, share: float) -> str:
    """The split of a group, by its name alone: a large one trains, of the others 60, 15 and 25 of 100."""
    if share >= LARGE:
        return "train"
    place = int(hashlib.blake2b(group.encode(), digest_size=8).hexdigest(), 16) % 100
    return "train" if place < 60 else "validation" if place < 75 else "test"


def _calm(name: str, kind: str) -> Callable[[str], list[tuple]]:
    def rows(split: str) -> list[tuple]:
        return [(row["text"], 0, row[kind], f"{row['_file']}#{row['_row']}") for row in _rows(name, split)]

    return rows


_READERS: dict[str, Callable[[str], list[tuple]]] = {
    "go_emotions": _go_emotions,
    BITEXT: _bitext,
    "banking77": _calm("banking77", "category"),
    "clinc150": _calm("clinc150", "intent"),
}
