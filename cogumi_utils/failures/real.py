"""Real prompts beside the skill tasks: which of them a student can be asked, and whether clusters find their sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.data import sources
from cogumi_utils.data.chat import prompt_text
from cogumi_utils.failures import clusters
from cogumi_utils.failures.patterns import embed_battery
from cogumi_utils.schema import Example
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

NONE = "No public sets in this profile."
FEWEST = 8  # failures of a subject from which it counts as a group to be found
COLUMNS = ["true groups", "groups", "n", "k", "ARI", "homogeneity", "completeness", "purity"]


@dataclass(frozen=True)
class RealTasks:
    """examples that can be asked and graded; table: set, rows, too_long, open_ended, asked; sentence: what was left."""

    examples: list[Example]
    table: pd.DataFrame
    sentence: str


def gather(
    names: Sequence[str], rows_per_set: int, tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int
) -> RealTasks:
    """Evaluation rows of public sets that have a verifier and a prompt of at most so many tokens of the student.

    At most `rows_per_set` of each set, at even distances, so that all its subjects are among them.
    """
    import pandas as pd

    examples, rows = [], []
    for name in names:
        read = sources.load_examples(name, purpose="evaluation")
        gradable = [example for example in read if example.verifier["kind"] != "none"]
        short = [example for example in gradable if _tokens(tokenizer, example) <= max_prompt_tokens]
        asked = [short[place * len(short) // rows_per_set] for place in range(rows_per_set)]
        asked = asked if len(short) > rows_per_set else short
        examples += asked
        rows.append((name, len(read), len(gradable) - len(short), len(read) - len(gradable), len(asked)))
    table = pd.DataFrame(rows, columns=["set", "rows", "too_long", "open_ended", "asked"])
    return RealTasks(examples, table, _left_out(table, max_prompt_tokens))


def _tokens(tokenizer: PreTrainedTokenizerBase, example: Example) -> int:
    return len(tokenizer(prompt_text(tokenizer, example.prompt), add_special_tokens=False)["input_ids"])


def _left_out(table: pd.DataFrame, limit: int) -> str:
    if not len(table):
        return NONE
    return (
        f"{int(table['asked'].sum()):,} real prompts are asked; {int(table['too_long'].sum()):,} of "
        f"{int(table['rows'].sum()):,} are longer than {limit} of the student's tokens and are left out."
    )


def recovered(
    embedder: SentenceTransformer, examples: Sequence[Example], graded: pd.DataFrame, *, highest: int, seed: int
) -> tuple[pd.DataFrame, str]:
    """(table, sentence): do clusters of the failed real prompts recover the data sets, and the subjects?

    For the sets k is chosen by silhouette between 2 and `highest`; for the subjects of at least `FEWEST` failures it
    is given, since there are more of them than patterns are wanted. Bootstrap intervals over the failures.
    """
    import numpy as np
    import pandas as pd

    wrong = [example for example, passed in zip(examples, graded["passed"], strict=True) if not passed]
    sets = np.array([example.source for example in wrong])
    if len(set(sets)) < 2:
        return pd.DataFrame(columns=COLUMNS), NONE if not len(examples) else "The failures are of one set only."
    vectors = embed_battery(embedder, examples, graded).failures
    found = clusters.cluster(vectors, lowest=2, highest=highest, seed=seed)
    rows = [_row("data set", sets, found.labels, found.k, seed)]
    subjects = np.array([f"{example.source}/{example.skill}" for example in wrong])
    names, counts = np.unique(subjects, return_counts=True)
    large = np.isin(subjects, names[counts >= FEWEST])
    k = int((counts >= FEWEST).sum())
    if k > 1:
        labels = clusters.cluster(vectors[large], lowest=k, highest=k, seed=seed).labels
        rows.append(_row("subject (k given)", subjects[large], labels, k, seed))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype(dict.fromkeys(COLUMNS[4:], str)), f"Clusters against data sets: ARI {rows[0][4]}."


def _row(
    name: str, truth: np.ndarray, labels: np.ndarray, k: int, seed: int
) -> tuple[str, int, int, int, *tuple[Interval, ...]]:
    found = clusters.agreement(truth, labels, seed=seed)
    return name, len(set(truth)), len(truth), k, *(found[measure] for measure in COLUMNS[4:])
