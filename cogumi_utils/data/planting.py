"""Defects planted on purpose, with a truth table, so that each filter's precision and recall can be measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from cogumi_utils.data.dedup import Duplicates, chat_text
from cogumi_utils.data.foreign import CHATS
from cogumi_utils.data.spoiling import DEFECTS
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example
from cogumi_utils.stats import Interval, wilson

if TYPE_CHECKING:
    import pandas as pd

SOURCE, LICENCE = "cogumi/planted", "Apache-2.0"
TRIES = 12  # edited copies made for each near duplicate; the one nearest to its target similarity is planted
NAN = float("nan")

_OPENINGS = ("Please help me.", "Quick question:", "Hello there,", "I wonder about this.", "One more thing:", "Hi!")
_CLOSINGS = ("Thanks!", "Thank you very much.", "Please be brief.", "I am curious.", "That is all.", "Cheers!")
_FILLERS = ("really", "now", "just", "also", "well", "perhaps", "maybe", "again")


@dataclass(frozen=True)
class Planted:
    """examples: the given rows and the planted ones, shuffled. truth: one line for each planted row: `row` (position in
    examples), `id`, `kind` ("exact", "near", "low_quality", "foreign"), `defect` (which one), `origin_row` (-1 without)
    and `jaccard` (exact similarity to the original, NaN without one: a spoiled answer can leave a near duplicate).
    """

    examples: list[Example]
    truth: pd.DataFrame

    def rows(self, kind: str) -> set[int]:
        return set(self.truth.loc[self.truth["kind"] == kind, "row"])


@dataclass(frozen=True, slots=True)
class Agreement:
    """precision: right among found, None if nothing was found; recall: found among planted, None if none was."""

    precision: Interval | None
    recall: Interval | None


def plant_defects(
    examples: Sequence[Example],
    seed: int,
    *,
    exact: float = 0.04,
    near: float = 0.04,
    low_quality: float = 0.04,
    foreign: float = 0.02,
    n_gram: int = 3,
) -> Planted:
    """Add defective rows; each share is of the number of examples. Each row of a kind has an original of its own.

    Near duplicates differ in the user's words and have similarities spread over 0.5 to 1 (in `n_gram`s); their quality
    is one point lower, low-quality and foreign rows have none (NaN), so that a scorer has to judge them.
    """
    random, count = Random(seed), len(examples)
    sizes = [round(count * share) for share in (exact, near, low_quality, foreign)]
    _check(count, sizes)
    lines: list[tuple[Example, str, str, int, float]] = []
    lines += [(examples[row], "exact", "copy", row, 1.0) for row in random.sample(range(count), sizes[0])]
    lines += _near(examples, random.sample(range(count), sizes[1]), random, n_gram)
    lines += _low_quality(examples, random.sample(range(count), sizes[2]), random, n_gram)
    lines += [(row, "foreign", row.language, -1, NAN) for row in _foreign(sizes[3], random)]
    return _shuffled(examples, lines, random)


def _check(count: int, sizes: Sequence[int]) -> None:
    limit = _foreign_count()
    if max(sizes[:3]) > count or min(sizes) < 0 or sizes[3] > limit or not count:
        raise CogumiError(
            expected=f"examples, shares of at most 1 of them, and at most {limit} foreign rows",
            found=f"{count} examples; exact, near, low quality, foreign: {', '.join(map(str, sizes))}",
            why="every planted row has an original of its own, and foreign rows are all different",
            fix="plant smaller shares",
        )


def _shuffled(examples: Sequence[Example], lines: Sequence[tuple], random: Random) -> Planted:
    import pandas as pd

    rows = [*examples, *(line[0] for line in lines)]
    order = list(range(len(rows)))
    random.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    truth = [
        (place[len(examples) + number], row.id, kind, defect, place.get(origin, -1), jaccard)
        for number, (row, kind, defect, origin, jaccard) in enumerate(lines)
    ]
    table = pd.DataFrame(truth, columns=["row", "id", "kind", "defect", "origin_row", "jaccard"])
    return Planted([rows[old] for old in order], table.sort_values("row", ignore_index=True))


# near duplicates


def _near(examples: Sequence[Example], origins: Sequence[int], random: Random, n_gram: int) -> list[tuple]:
    """Copies whose similarities are spread evenly from 0.5 to 1, as far as the lengths allow."""
    copies = [[_reworded(examples[row], random) for _ in range(TRIES)] for row in origins]
    originals = [examples[row] for row in origins for _ in range(TRIES)]
    similarity = _similarity(originals, sum(copies, []), n_gram).reshape(-1, TRIES)
    lines = []
    for row, tries, values in zip(origins, copies, similarity, strict=True):
        best = int(np.abs(values - random.uniform(0.5, 1.0)).argmin())
        lines.append((tries[best], "near", "reworded", row, float(values[best])))
    return lines


def _similarity(left: Sequence[Example], right: Sequence[Example], n_gram: int) -> np.ndarray:
    """[pairs] exact Jaccard similarity of the chats' n-grams."""
    from cogumi_utils.data.neighbours import ShingleSets

    sets = ShingleSets([chat_text(example) for example in (*left, *right)], n_gram)
    return sets.jaccard(np.arange(len(left)), np.arange(len(left)) + len(left))


def _reworded(example: Example, random: Random) -> Example:
    """A copy with one to four edits of the last user message."""
    messages = [dict(message) for message in example.messages]
    last = max(place for place, message in enumerate(messages) if message["role"] == "user")
    text = messages[last]["content"]
    for edit in random.choices(_EDITS, k=random.choice((1, 1, 2, 3, 4))):
        text = edit(text, random)
    messages[last]["content"] = text if text != messages[last]["content"] else text + " "
    return replace(example, messages=messages, id="", quality=example.quality - 1, parents=(example.id,), source=SOURCE)


def _in_place(change: Callable[[list[str], int, Random], None]) -> Callable[[str, Random], str]:
    def edit(text: str, random: Random) -> str:
        words = text.split(" ")
        change(words, random.randrange(len(words)), random)
        return " ".join(words)

    return edit


def _drop(words: list[str], place: int, random: Random) -> None:
    if len(words) > 3:
        del words[place]


def _insert(words: list[str], place: int, random: Random) -> None:
    words.insert(place, random.choice(_FILLERS))


def _misspell(words: list[str], place: int, random: Random) -> None:
    words[place] = words[place][1:] + words[place][:1]


_EDITS: tuple[Callable[[str, Random], str], ...] = (
    lambda text, random: f"{random.choice(_OPENINGS)} {text}",
    lambda text, random: f"{text} {random.choice(_CLOSINGS)}",
    lambda text, random: text.upper() if text.upper() != text else text + " ",  # the same tokens
    _in_place(_drop), _in_place(_insert), _in_place(_misspell),
)  # fmt: skip


# low quality


def _low_quality(examples: Sequence[Example], origins: Sequence[int], random: Random, n_gram: int) -> list[tuple]:
    names = [list(DEFECTS)[number % len(DEFECTS)] for number in range(len(origins))]
    spoiled = [DEFECTS[name](examples[row], random, examples) for name, row in zip(names, origins, strict=True)]
    spoiled = [replace(example, quality=NAN, source=SOURCE) for example in spoiled]
    similarity = _similarity([examples[row] for row in origins], spoiled, n_gram).tolist()
    kinds = ["low_quality"] * len(names)
    return list(zip(spoiled, kinds, names, origins, similarity, strict=True))


# other languages


def _foreign_count() -> int:
    return sum(len(chats) ** 2 for chats in CHATS.values())


def _foreign(count: int, random: Random) -> list[Example]:
    """Different chats: the single ones first, then two questions of one language in one message."""
    single = [(code, chat) for code, chats in CHATS.items() for chat in chats]
    double = [
        (code, (f"{one[0]} {two[0]}", f"{one[1]} {two[1]}"))
        for code, chats in CHATS.items()
        for one, two in permutations(chats, 2)
    ]
    random.shuffle(single)
    random.shuffle(double)
    return [_foreign_example(code, *chat) for code, chat in (single + double)[:count]]


def _foreign_example(code: str, question: str, answer: str) -> Example:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example("chat", "planted", messages, source=SOURCE, licence=LICENCE, language=code)


# scoring


def precision_recall(found: Collection[Hashable], truth: Collection[Hashable]) -> Agreement:
    """Precision and recall of a set against the truth, with 95% intervals (Wilson)."""
    found, truth = set(found), set(truth)
    return _agreement(len(found & truth), len(found), len(found & truth), len(truth))


def score_duplicates(duplicates: Duplicates, truth: pd.DataFrame, threshold: float) -> Agreement:
    """Precision: removed rows that are an end of a planted pair found. Recall: planted pairs in one group.

    A pair is a planted row and its original, as far as their similarity reaches the threshold. Either of the two may be
    the one that is removed. Duplicates among the given rows count against precision: plant into rows that have none.
    """
    pairs = truth.loc[truth["jaccard"] >= threshold, ["row", "origin_row"]].to_numpy()
    together = duplicates.same_group(pairs)
    ends = set(pairs[together].ravel().tolist())
    removed = duplicates.groups["row"].tolist()
    return _agreement(sum(row in ends for row in removed), len(removed), int(together.sum()), len(pairs))


def _agreement(right: int, found: int, hit: int, planted: int) -> Agreement:
    return Agreement(wilson(right, found) if found else None, wilson(hit, planted) if planted else None)
