"""Training rows that contain an evaluation text, found by shared word n-grams (as in GPT-3's appendix C).

Words are runs of letters and digits, lower-cased and NFC-normalised; punctuation and white space don't count.
An evaluation text of at least n words is found by any of its n-grams, one of `short_n` to n - 1 words by any of its
`short_n`-grams, and a shorter one only as a whole: a training text, or one line of it, that says the same and no more
(there + - * / and their like do count, sentence marks don't: "3 + 4?" is "3 + 4" but not "3 - 4"). An n-gram that
stands in more than `max_shared` texts of one evaluation set is that set's wording, not its content, and is ignored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cogumi_utils.data.shingles import Tokens, batches, ngrams, tokenise
from cogumi_utils.errors import CogumiError

if TYPE_CHECKING:
    import pandas as pd

MIN_WORDS = 3  # a shorter evaluation text ("Yes.") says nothing about contamination
_FILTER_BITS = 24
_TOKEN = re.compile(r"\w+|[^\w\s]")
_SENTENCE_MARKS = re.compile(r"""[\s.,;:!?"'…“”‘’`´()]+""")


@dataclass(frozen=True)
class Contamination:
    """clean: row numbers without a match, ascending. removed: one line for each (row, evaluation set): `row`, `set`,
    `eval_row`, `kind` ("13-gram", "8-gram", "whole"), `match` (the first matched words), `matches` (n-grams matched).
    unchecked: {set: evaluation texts that no rule covers, too short or without an n-gram of their own}.
    """

    clean: list[int]
    removed: pd.DataFrame
    unchecked: dict[str, int]


@dataclass(frozen=True)
class _Index:
    """grams: [entries] sorted hashes with the set's number and the text's row; wholes: {text: (set, row)}."""

    grams: np.ndarray
    owners: np.ndarray  # [entries, 2]
    filter: np.ndarray  # [2^24] whether any hash begins with these bits
    wholes: dict[str, list[tuple[int, int]]]
    longest_whole: int


def decontaminate(
    train_texts: Sequence[str],
    eval_texts: Mapping[str, Sequence[str]],
    *,
    n: int = 13,
    short_n: int = 8,
    max_shared: int | None = 10,
) -> Contamination:
    """Which training texts share an n-gram with an evaluation text. max_shared None: no n-gram is ignored."""
    import pandas as pd

    _check(n, short_n, max_shared)
    names = list(eval_texts)
    index, unchecked = _build(eval_texts, n, short_n, max_shared)
    found: dict[tuple[int, int], dict] = {}
    for row, owner, kind, match in _matches(train_texts, index, n, short_n):
        for number, eval_row in owner:
            line = found.setdefault(
                (row, number),
                {"row": row, "set": names[number], "eval_row": eval_row, "kind": kind, "match": match, "matches": 0},
            )
            line["matches"] += 1
    columns = ["row", "set", "eval_row", "kind", "match", "matches"]
    removed = pd.DataFrame([found[key] for key in sorted(found)], columns=columns)
    dirty = set(removed["row"])
    return Contamination([row for row in range(len(train_texts)) if row not in dirty], removed, unchecked)


def _check(n: int, short_n: int, max_shared: int | None) -> None:
    if not MIN_WORDS <= short_n <= n or (max_shared is not None and max_shared < 1):
        raise CogumiError(
            expected=f"{MIN_WORDS} <= short_n <= n and max_shared of at least 1 (or None)",
            found=f"n={n}, short_n={short_n}, max_shared={max_shared}",
            why="shorter n-grams are everyday phrases, and an n-gram of an evaluation text stands at least in that one",
            fix="use n=13, short_n=8, max_shared=10",
        )


def _build(eval_texts: Mapping[str, Sequence[str]], n: int, short_n: int, max_shared: int | None):
    """(index, {set: texts that it can't find})."""
    grams, owners, wholes, unchecked = [np.zeros(0, np.uint64)], [np.zeros((0, 2), np.int64)], {}, {}
    for number, (name, texts) in enumerate(eval_texts.items()):
        lengths = _lengths(texts)
        for row in np.flatnonzero((lengths >= MIN_WORDS) & (lengths < short_n)):
            wholes.setdefault(_whole(texts[row]), []).append((number, int(row)))
        hashes, rows = _grams_of(texts, lengths, n, short_n)
        keep = _own(hashes, max_shared)
        grams.append(hashes[keep])
        owners.append(np.stack((np.full(keep.sum(), number), rows[keep]), axis=1))
        covered = set(rows[keep].tolist()) | {row for line in wholes.values() for of, row in line if of == number}
        unchecked[name] = len(texts) - len(covered)
    hashes, order = np.concatenate(grams), np.argsort(np.concatenate(grams), kind="stable")
    seen = np.zeros(1 << _FILTER_BITS, dtype=bool)
    seen[hashes >> np.uint64(64 - _FILTER_BITS)] = True
    longest = max(map(len, wholes), default=0)
    return _Index(hashes[order], np.concatenate(owners)[order], seen, wholes, longest), unchecked


def _lengths(texts: Sequence[str]) -> np.ndarray:
    """[texts] words in each."""
    parts = [np.diff(tokenise(texts[first:stop], symbols=False).offsets) for first, stop in batches(texts)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _grams_of(texts: Sequence[str], lengths: np.ndarray, n: int, short_n: int) -> tuple[np.ndarray, np.ndarray]:
    """(hash, row) of the different n-grams of each text: of n words, or of `short_n` for the shorter texts."""
    longer, shorter = np.flatnonzero(lengths >= n), np.flatnonzero((lengths >= short_n) & (lengths < n))
    hashes, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for size, rows in ((n, longer), (short_n, shorter)):
        chosen = [texts[row] for row in rows]
        for first, stop in batches(chosen):
            grams, offsets = ngrams(tokenise(chosen[first:stop], symbols=False), size)
            hashes.append(grams)
            owners.append(np.repeat(rows[first:stop], np.diff(offsets)))
    return _unrepeated(np.concatenate(hashes), np.concatenate(owners))


def _unrepeated(hashes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs without repeats, sorted by hash."""
    order = np.lexsort((rows, hashes))
    hashes, rows = hashes[order], rows[order]
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    return hashes[new], rows[new]


def _own(hashes: np.ndarray, max_shared: int | None) -> np.ndarray:
    """[entries] whether the n-gram stands in few enough texts of the set."""
    if max_shared is None:
        return np.ones(len(hashes), dtype=bool)
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return counts[inverse] <= max_shared


def _matches(texts: Sequence[str], index: _Index, n: int, short_n: int) -> Iterator[tuple]:
    """(row, [(set, eval row), ...], kind, matched words) in reading order of each row, longer n-grams first."""
    for first, stop in batches(texts):
        tokens = tokenise(texts[first:stop], symbols=False)
        for size in dict.fromkeys((n, short_n)):
            for text, place, owner in _hits(tokens, index, size):
                yield first + text, owner, f"{size}-gram", tokens.words(place, size)
        for row in range(first, stop):
            for whole in _short_parts(texts[row], index.longest_whole):
                if whole in index.wholes:
                    yield row, index.wholes[whole], "whole", whole


def _hits(tokens: Tokens, index: _Index, size: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """(text in the batch, its first token that matches, owners) for every n-gram that the index has."""
    hashes, offsets = ngrams(tokens, size)
    likely = np.flatnonzero(index.filter[hashes >> np.uint64(64 - _FILTER_BITS)])
    low, high = (np.searchsorted(index.grams, hashes[likely], side=side) for side in ("left", "right"))
    for place, begin, end in zip(likely[low < high], low[low < high], high[low < high], strict=True):
        text = int(np.searchsorted(offsets, place, side="right")) - 1
        owner = {int(number): int(row) for number, row in index.owners[begin:end][::-1]}  # the set's first text
        yield text, int(tokens.offsets[text] + place - offsets[text]), list(owner.items())


def _short_parts(text: str, longest: int) -> Iterator[str]:
    """The text and its lines, normalised, as far as they are short enough to be a whole evaluation text."""
    for part in {text, *text.splitlines()} if longest else ():
        if len(part) <= 2 * longest + 20:
            yield _whole(part)


def _whole(text: str) -> str:
    """Lower-cased words and symbols with a space between them, sentence marks left out."""
    plain = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(_TOKEN.findall(_SENTENCE_MARKS.sub(" ", plain.lower())))
