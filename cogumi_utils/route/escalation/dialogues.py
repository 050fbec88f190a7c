"""Dialogues made by program, for where no public set is: what users say to a service, some of them dissatisfied.

Only the user's own turns are read, so that no apology of the system can raise the alarm. Hard negatives speak badly of
the world and not of the service, cancel politely, correct themselves, mention people, or are content after a complaint.
The wordings are in `params/phrases.yaml`; to add some, add lines.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.escalation import phrases
from cogumi_utils.route.escalation.phrases import SPLITS, Family
from cogumi_utils.route.escalation.turns import joined

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAME", "SPLITS", "Dialogue", "families", "frame", "kinds", "make"]

NAME = "dialogues"
_SLOPPY = 0.3  # share of turns in lower case or without their last sign: people type so, whatever they feel


@dataclass(frozen=True, slots=True)
class Dialogue:
    """turns: the user's, 3 to 6, oldest first. kind: one of `kinds()`. family: the first wording of the one that makes
    the kind."""

    turns: tuple[str, ...]
    dissatisfied: bool
    kind: str
    family: str


def make(n: int, split: str, seed: int = 0, *, dissatisfied_share: float = 0.4) -> list[Dialogue]:
    """`n` dialogues; no wording of one split occurs in another. Deterministic in `seed`.

    Raises CogumiError for an unknown split or numbers that make no sense.
    """
    if split not in SPLITS or n < 1 or not 0 <= dissatisfied_share <= 1:
        raise CogumiError(
            expected=f"at least one dialogue, a split of {', '.join(SPLITS)}, and a share between 0 and 1",
            found=f"n={n}, split={split!r}, dissatisfied_share={dissatisfied_share}",
            why="each of these splits has wordings of its own",
            fix='make(1000, "train", seed=0)',
        )
    draw = random.Random(f"{seed}/{split}")
    return [_dialogue(draw, split, draw.random() < dissatisfied_share) for _ in range(n)]


def frame(dialogues: Sequence[Dialogue], split: str) -> pd.DataFrame:
    """A row a dialogue: text (the last turns joined), label (1: dissatisfied), set, split, kind, group.

    group: the family that makes its kind. Other wordings would be other families, so that an interval draws these.
    """
    import pandas as pd

    rows = [
        (joined(one.turns), int(one.dissatisfied), NAME, split, one.kind, f"{one.kind}/{one.family}")
        for one in dialogues
    ]
    return pd.DataFrame(rows, columns=["text", "label", "set", "split", "kind", "group"])


def kinds() -> dict[str, tuple[str, ...]]:
    """The kinds of dialogue that are "dissatisfied" and those that are "calm"."""
    return dict(phrases.read().kinds)


def families(name: str, split: str) -> tuple[Family, ...]:
    """The wordings of one kind (or of "openers", "middles", "questions", "after") in one split, by family."""
    return phrases.read().ways[name][split]


def _dialogue(draw: random.Random, split: str, dissatisfied: bool) -> Dialogue:
    kind = draw.choice(kinds()["dissatisfied" if dissatisfied else "calm"])
    topic = dict(zip(phrases.TOPIC, draw.choice(phrases.read().topics), strict=True))
    slots = {name: part.format(**_fillers(draw)) for name, part in topic.items()}

    def say(family: tuple[str, ...]) -> str:
        return _typed(draw, draw.choice(family).format(**_fillers(draw) | slots))

    chosen, end = [], []
    for name in _end(draw, kind):
        chosen.append(draw.choice(families(name, split)))
        end.append(say(chosen[-1]))
    start = [say(draw.choice(families("openers", split)))]
    chatter = families("middles", split)
    middle = [say(family) for family in draw.sample(chatter, min(len(chatter), draw.randint(1, 4)))]
    if kind == "repeats":  # what is repeated must have been said a moment ago
        question = say(draw.choice(families("questions", split)))
        middle[-1:] = [question] if len(end) == 2 else [question, middle[-1]]
    deciding = chosen[-1] if kind == "mended" else chosen[0]
    return Dialogue(tuple([*start, *middle, *end][-6:]), dissatisfied, kind, deciding[0])


def _end(draw: random.Random, kind: str) -> list[str]:
    """Names of what the turns that make the kind are drawn from: one or two."""
    if kind == "mended":
        return [draw.choice(kinds()["dissatisfied"]), kind]
    if kind in kinds()["dissatisfied"] and draw.random() < 0.25:
        return [kind, "after"]
    return [kind]


def _fillers(draw: random.Random) -> dict[str, str]:
    return {name: draw.choice(values) for name, values in phrases.read().fillers.items()}


def _typed(draw: random.Random, sentence: str) -> str:
    """As people type: a capital first, or in haste."""
    text = sentence[0].upper() + sentence[1:]
    if draw.random() >= _SLOPPY:
        return text
    return text.lower() if draw.random() < 0.5 else text.rstrip(".")
