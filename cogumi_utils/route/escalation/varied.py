"""Texts that nobody wrote, for the teacher to judge and the student to learn from.

The student lacks text and not room: what a word is worth to the teacher it can only learn where the word stands in a
sentence. So a small grammar (`_frames`) says much that no training text says; and turns of the training texts are mixed
across texts, and their words exchanged for others that the teacher takes for near, or left out. Augmenting for
distillation: Tang et al. (2019, arXiv 1903.12136), with neighbours in a table of vectors as Jiao et al. (2020, arXiv
1909.10351) have it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.route.escalation._frames import FRAMES, SLOTS
from cogumi_utils.route.escalation.turns import LAST_TURNS, SEPARATOR

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

NEAR = 16  # words that may stand in for one
TURNS = (1, 1, 2, 3)  # in a text, one of these
EXCHANGED = (0.0, 0.15, 0.3, 0.5)  # share of words that give way to a neighbour, one of these a turn
ANY, LEFT_OUT = 0.04, 0.08  # share of words that give way to any other, and that go
CROSSED, TRAILED = 0.25, 0.15  # share of turns that end as another turn does, and that any few words follow
GRAMMAR = 2 / 3  # share of the texts whose last word is the grammar's
BEFORE = (0, 0, 1, 2)  # turns that go before it, one of these
HEADED = 0.35  # share of its sentences that begin with such as "well," or "sorry"
SIGNS = (".", ".", ".", "", "!")


@dataclass(frozen=True)
class Words:
    """pre: cuts a turn into words, lower case. any: whole words, most frequent first. near: {word: its neighbours}."""

    tokenizer: Tokenizer
    any: list[str]
    near: dict[str, list[str]]

    def split(self, turn: str) -> list[str]:
        plain = self.tokenizer.normalizer.normalize_str(turn)
        return [word for word, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(plain)]


def words(tokenizer: Tokenizer, vectors: np.ndarray, texts: Sequence[str]) -> Words:
    """vectors: [pieces, width], a row a piece of `tokenizer`; texts: whose words get neighbours, by cosine."""
    import numpy as np

    known = tokenizer.get_vocab()
    whole = [piece for piece in sorted(known, key=known.get) if piece.isalpha() and (len(piece) > 1 or piece in "ai")]
    unit = vectors[[known[piece] for piece in whole]] - vectors.mean(0)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    found = Words(tokenizer, whole, {})
    used = {word for text in texts for turn in text.split(SEPARATOR) for word in found.split(turn)}
    places = [place for place, word in enumerate(whole) if word in used]
    for start in range(0, len(places), 256):
        part = places[start : start + 256]
        for place, row in zip(part, np.argsort(-(unit[part] @ unit.T), axis=1)[:, : NEAR + 1], strict=True):
            found.near[whole[place]] = [whole[other] for other in row.tolist() if other != place][:NEAR]
    return found


def make(texts: Sequence[str], known: Words, n: int, seed: int = 0) -> list[str]:
    """`n` texts of one to three turns, by the grammar and from the turns of `texts`. Deterministic in `seed`."""
    draw = random.Random(f"{seed}/varied")
    said = list(dict.fromkeys(turn for text in texts for turn in text.split(SEPARATOR)))
    split = [words for turn in said if (words := known.split(turn))]
    return [_spoken(draw, said) if draw.random() < GRAMMAR else _mixed(draw, split, known) for _ in range(n)]


def sentence(draw: random.Random) -> str:
    """One of the grammar."""
    frame = draw.choice(FRAMES)
    filled = re.sub(r"{(\w+)}", lambda slot: draw.choice(SLOTS[slot[1]]), frame)
    head = draw.choice(SLOTS["head"]) + draw.choice((" ", ", ")) if draw.random() < HEADED else ""
    plain = " ".join((head + filled).split()).strip(" ,").replace(" ?", "?")
    return plain + ("" if plain.endswith("?") else draw.choice(SIGNS))


def _spoken(draw: random.Random, said: Sequence[str]) -> str:
    """Sentences of the grammar, most often after turns of the training texts and at times before one."""
    before = [draw.choice(said) if draw.random() < 0.8 else sentence(draw) for _ in range(draw.choice(BEFORE))]
    last = " ".join(sentence(draw) for _ in range(1 if draw.random() < 0.75 else 2))
    after = [draw.choice(said)] if draw.random() < 0.15 else []
    return SEPARATOR.join([*before, last, *after][-LAST_TURNS:])


def _mixed(draw: random.Random, turns: list[list[str]], known: Words) -> str:
    return SEPARATOR.join(" ".join(_turn(draw, turns, known)) for _ in range(draw.choice(TURNS)))


def _turn(draw: random.Random, turns: list[list[str]], known: Words) -> list[str]:
    said = draw.choice(turns)
    if draw.random() < CROSSED:
        other = draw.choice(turns)
        said = said[: len(said) // 2] + other[len(other) // 2 :]
    share = draw.choice(EXCHANGED)
    said = [new for word in said if (new := _exchanged(draw, word, share, known))]
    if draw.random() < TRAILED:
        said += [draw.choice(known.any) for _ in range(draw.randint(1, 4))]
    return said or [draw.choice(known.any)]


def _exchanged(draw: random.Random, word: str, share: float, known: Words) -> str:
    """The word, one of its neighbours, any other word, or nothing."""
    place = draw.random()
    if place < share:
        return draw.choice(known.near.get(word, [word]))
    place -= share
    if place < ANY:
        return draw.choice(known.any)
    return "" if place < ANY + LEFT_OUT else word
