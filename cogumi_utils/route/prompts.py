"""Real prompts with the route that each belongs to, and how to leave one whole set out without a trace of it.

What is trained on these prompts is a study of routing: rows that their sets mark for evaluation are among them, so
that nothing trained here may be judged by those sets' answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.data import sources
from cogumi_utils.data.decontaminate import decontaminate
from cogumi_utils.errors import CogumiError
from cogumi_utils.route.features import normalise
from cogumi_utils.route.forms import MADE
from cogumi_utils.route.prompt_rules import AUTOMATION, BASE, CODE, REASONING, ROUTES, RULES, Prompt

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["AUTOMATION", "BASE", "CODE", "JUDGED", "MORE", "REASONING", "ROUTES", "collect", "leave_one_out"]

# The sets that accuracy is reported over, leaving out one at a time.
JUDGED = (
    "humaneval", "mbpp", "gsm8k", "bbh", "mmlu", "aqua_rat", "bfcl_v4", "api_bank", "toolalpaca", "nl2bash",
    "dolly_3k", "gpteacher",
)  # fmt: skip
# Sets that are trained on only: the more sources a route has, the less it is one set's manner of speaking.
MORE = (
    "arc", "clinc150", "convfinqa_dev", "eqbench_creative_writing", "flan_cot", "ifeval", "llms_from_scratch_instruct",
    "longbench_write", "math500", "mt_bench", "nestful", "qasc_dev", "self_instruct", "theoremqa",
)  # fmt: skip
PER_SET = 800
SHARED_WORDS = 8  # a training prompt with so many words in a row of a held-out one is left out with it
COLUMNS = ["text", "source", "group", "route", "detail", "answer"]
# What was taken from another set belongs to that set: it is held out with it, shared questions or not.
FAMILIES = {("flan_cot", "aqua"): "aqua_rat", ("flan_cot", "qasc"): "qasc_dev"}


def collect(names: Sequence[str] = (*JUDGED, *MORE), per_set: int = PER_SET) -> pd.DataFrame:
    """text, source, group, route, detail, answer: prompts of public sets, equal ones (after `normalise`) only once.

    group: the set that a prompt comes from in the end, see `FAMILIES`.
    At most `per_set` of a set, at even distances, so that all its parts are among them. Raises SourceError for a set
    that cannot be read, CogumiError for one that has no rule.
    """
    import pandas as pd

    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise CogumiError(
            expected=f"names among {', '.join(RULES)}",
            found=", ".join(unknown),
            why="a prompt needs the route it belongs to, and each set says that in its own way",
            fix="leave them out, or add a rule to cogumi_utils/route/prompt_rules.py",
        )
    seen: set[str] = set()
    rows = [
        (prompt.text, name, FAMILIES.get((name, prompt.detail), name), prompt.route, prompt.detail, prompt.answer)
        for name in names
        for prompt in _spread(list(_new(RULES[name](_rows(name)), seen)), per_set)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(name: str) -> list[dict]:
    """All rows of a set, those for training first."""
    splits = sources.find(name).splits
    purposes = [purpose for purpose, own in sources.SPLITS_FOR.items() if set(own) & set(splits)]
    return [row for purpose in purposes for row in sources.load(name, purpose=purpose)]


def _new(prompts: Iterator[Prompt], seen: set[str]) -> Iterator[Prompt]:
    for prompt in prompts:
        key = normalise(prompt.text)
        if key and key not in seen:
            seen.add(key)
            yield prompt


def _spread(prompts: list[Prompt], most: int) -> list[Prompt]:
    return prompts if len(prompts) <= most else [prompts[place * len(prompts) // most] for place in range(most)]


def leave_one_out(frame: pd.DataFrame, judged: Sequence[str] = JUDGED) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(set, training rows, rows of the set) for each set of `judged`, as positions in `frame`.

    The training rows are of other groups, and share no `SHARED_WORDS` words in a row with a prompt of the set: some
    sets took questions from others, and a copy would be no new set. Made forms (see `forms`) are for training alone.
    """
    import numpy as np

    texts, made = frame["text"].tolist(), frame["detail"].str.startswith(MADE).to_numpy()
    for name in judged:
        held_out = np.flatnonzero((frame["source"] == name).to_numpy() & ~made)
        if len(held_out):
            rest = np.flatnonzero((frame["group"] != name).to_numpy())
            yield name, rest[clean(texts, rest, held_out)], held_out


def clean(texts: Sequence[str], training: np.ndarray, held_out: np.ndarray) -> list[int]:
    """Places in `training` whose texts share no `SHARED_WORDS` words in a row with a held-out text."""
    questions = {"held out": [texts[place] for place in held_out]}
    chosen = [texts[place] for place in training]
    return decontaminate(chosen, questions, n=SHARED_WORDS, short_n=SHARED_WORDS, max_shared=None).clean
