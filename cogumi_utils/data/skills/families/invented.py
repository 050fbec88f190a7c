"""Words and operators that no language model has read, each in one split only."""

from __future__ import annotations

from functools import cache
from itertools import product
from random import Random

from cogumi_utils.data.skills import split_of, words

CONSONANTS, VOWELS, SIGNS = "bdfgklmnprstvz", "aeiou", "#@~^&|$?!;"


@cache
def invented_words(split: str) -> tuple[str, ...]:
    """All invented words of one split (consonant and vowel in turn, three or four letters), in a fixed random order."""
    forms = ((CONSONANTS, VOWELS, CONSONANTS), (CONSONANTS, VOWELS, CONSONANTS, VOWELS))
    return _of_split(["".join(letters) for form in forms for letters in product(*form)], split)


@cache
def invented_operators(split: str) -> tuple[str, ...]:
    """All operators of two or three signs of one split, in a fixed random order; none is the beginning of another.

    A longer one starts with a sign twice, a shorter one never does.
    """
    pairs = ["".join(signs) for signs in product(SIGNS, SIGNS) if signs[0] != signs[1]]
    triples = [first + first + "".join(rest) for first in SIGNS for rest in product(SIGNS, SIGNS)]
    return _of_split(pairs + triples, split)


def _of_split(candidates: list[str], split: str) -> tuple[str, ...]:
    known = _known()
    chosen = [name for name in candidates if split_of(name) == split and name not in known]
    Random(f"invented/{split}").shuffle(chosen)
    return tuple(chosen)


@cache
def _known() -> frozenset[str]:
    """Every word that the skill tasks draw from: an invented one must not mean anything yet."""
    found = set[str]()
    for value in vars(words).values():
        if isinstance(value, tuple):
            flat = (word for entry in value for word in ((entry,) if isinstance(entry, str) else entry))
            found.update(part.lower() for text in flat for part in text.split())
    return frozenset(found)
