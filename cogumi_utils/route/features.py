"""A query as rows of a hashed table: words, pairs of words and character n-grams (the hashing trick, Weinberger 2009).

Nothing is learned here and nothing is random: the same text gives the same rows on every machine. Numbers count as
one token each and case, compatibility forms and invisible characters are folded away, so that a typo, shouting or
a pasted no-break space moves few of the rows.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError

if TYPE_CHECKING:
    import numpy as np

ROWS = 25_000
CHARACTERS = (4,)  # lengths of the character n-grams
HEAD, TAIL = 2_000, 1_000  # characters read of a long query: what is asked stands first or last
SCALES = {"words": 1.0, "pairs": 1.0, "characters": 0.5}  # length of each kind's part of the bag, if no n-gram repeats
VERSION = 1  # of the rows that a text gives: a router reads only those that it was trained with

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_NUMBER = re.compile(r"\d+")
_GAPS = re.compile(r"\s+")
_LINES = re.compile(r"\s*\n\s*")
LINE = "\N{PILCROW SIGN}"  # stands for the end of a line: lists, code and pasted passages have many
# Soft hyphens, zero-width characters and marks of direction are deleted, other control characters part words.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd\ue000-\uf8ff]")
_PAIR, _CHARACTER = 0x9E3779B97F4A7C15, 0x100000001B3  # odd multipliers of the hashes
_SALTS = {"words": 0, "pairs": 0x3C6EF372FE94F82A, "characters": 0x78DDE6E5FD29F054}  # a kind's own rows for a hash


def normalise(text: str) -> str:
    """NFKC, casefolded, each number a 0, one blank between words, a `LINE` between lines; bounded in length."""
    text = clipped(text)
    if not text.isascii():  # plain ASCII is its own NFKC
        text = clipped(unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)))
    text = _CONTROL.sub(" ", _LINES.sub(f" {LINE} ", text.strip())).casefold()
    return _GAPS.sub(" ", _NUMBER.sub("0", text)).strip()


def as_text(query: str | bytes) -> str:
    """A query as text: bytes are read as UTF-8, what is none of it as U+FFFD. Raises CogumiError for anything else."""
    if isinstance(query, str):
        return query
    if isinstance(query, bytes):
        ends = query if len(query) <= 4 * (HEAD + TAIL) else query[: 4 * HEAD] + b" " + query[-4 * TAIL :]
        return ends.decode("utf-8", "replace")
    raise CogumiError(
        expected="a query as text, or as bytes of UTF-8",
        found=f"{type(query).__name__}: {query!r:.60}",
        why="a route is chosen by the words of the query",
        fix='pass the user\'s message, "" where there is none',
    )


def clipped(text: str) -> str:
    """The first `HEAD` and the last `TAIL` characters: reading a query takes bounded time, however long it is."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} {text[-TAIL:]}"


def readable(text: str) -> bool:
    """Whether there is something to route by: letters or digits, and few control or replacement characters."""
    text = clipped(text)
    garbled = len(_CONTROL.sub("", text)) + sum(text.count(blank) for blank in "\n\t\r") < 0.9 * len(text)
    return not garbled and any(map(str.isalnum, text))


def rows_of(text: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows [k] int64 below `ROWS`, weights [k] float32) of one query; k is 0 where it has no tokens.

    The bag of a query is the weighted sum of its rows. With 1 / sqrt(n) for the n n-grams of a kind, the bags of short
    and of long queries are about equally long, and `SCALES` says how much each kind counts.
    """
    import numpy as np

    tokens = _TOKEN.findall(normalise(text))
    words = np.array([zlib.crc32(token.encode("utf-8", "surrogatepass")) for token in tokens], dtype=np.uint64)
    pairs = words[:-1] * np.uint64(_PAIR) + words[1:]
    hashes = {"words": words, "pairs": pairs, "characters": _character_hashes(" ".join(tokens))}
    rows = _mixed(np.concatenate([found ^ np.uint64(_SALTS[kind]) for kind, found in hashes.items()]))
    weights = [
        np.full(len(found), SCALES[kind] / max(1, len(found)) ** 0.5, np.float32) for kind, found in hashes.items()
    ]
    return (rows % np.uint64(ROWS)).astype(np.int64), np.concatenate(weights)


def _character_hashes(text: str) -> np.ndarray:
    """Polynomial hashes of all n-grams of ` text `, a length after the other."""
    import numpy as np

    codes = np.frombuffer(f" {text} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    found = []
    for length in CHARACTERS:
        count = max(0, len(codes) - length + 1)
        value = np.full(count, length, dtype=np.uint64)
        for offset in range(length):
            value = value * np.uint64(_CHARACTER) + codes[offset : offset + count]
        found.append(value)
    return np.concatenate(found)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): neighbouring values land far apart."""
    import numpy as np

    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(31))


def padded(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(rows, weights), both [texts, longest]: `rows_of` each text, filled up with row 0 of weight 0."""
    import numpy as np

    found = [rows_of(text) for text in texts]
    longest = max([1, *(len(rows) for rows, _ in found)])
    rows = np.zeros((len(found), longest), dtype=np.int64)
    weights = np.zeros((len(found), longest), dtype=np.float32)
    for place, (some, weight) in enumerate(found):
        rows[place, : len(some)], weights[place, : len(some)] = some, weight
    return rows, weights
