"""Texts → hashed tokens and n-grams, a whole batch at a time in numpy.

A token is a run of letters, digits and underscores, or one symbol by itself (so that "3 + 4" and "3 - 4" differ);
with `symbols=False` symbols only separate words. Texts are NFC-normalised and lower-cased, white space does not count.
An n-gram is n neighbouring tokens; a text with fewer than n tokens is one n-gram by itself, an empty one has none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BATCH_BYTES = 200_000  # a batch and its temporaries stay in the processor's cache
_WIDE_SPACES = "\x85\xa0\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_SPACE, _WORD, _SYMBOL = 0, 1, 2
_BASE = np.uint64(0x9E3779B97F4A7C15 | 1)
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a batch. hashes, starts: [tokens], the hash and the first byte in `text`; offsets: [texts + 1]."""

    text: bytes
    hashes: np.ndarray
    starts: np.ndarray
    offsets: np.ndarray

    def words(self, first: int, count: int) -> str:
        """`count` tokens from token `first` on, as normalised text."""
        stop = first + count
        end = int(self.starts[stop]) if stop < len(self.starts) else len(self.text)
        span = self.text[int(self.starts[first]) : end].split(b"\0")[0]
        return " ".join(span.decode("utf-8", "surrogatepass").split())


def batches(texts: Sequence[str], max_bytes: int = BATCH_BYTES) -> Iterator[tuple[int, int]]:
    """Ranges (first, last + 1) of consecutive texts of about `max_bytes` characters together."""
    first, size = 0, 0
    for index, text in enumerate(texts):
        size += len(text) + 1
        if size >= max_bytes:
            yield first, index + 1
            first, size = index + 1, 0
    if first < len(texts):
        yield first, len(texts)


def tokenise(texts: Sequence[str], *, symbols: bool = True) -> Tokens:
    """The tokens of all `texts`, hashed to 64 bits."""
    buffer = np.frombuffer(text := normalise(texts), dtype=np.uint8)
    kinds, inside = _character_kinds(buffer, symbols)
    starts = _token_starts(kinds, inside)
    firsts = np.concatenate(([0], np.flatnonzero(buffer == 0) + 1))[: len(texts)]
    offsets = np.append(np.searchsorted(starts, firsts), len(starts))
    return Tokens(text, _token_hashes(buffer, kinds, starts), starts, offsets)


def normalise(texts: Sequence[str]) -> bytes:
    """All texts lower-cased in UTF-8, one zero byte between neighbours."""
    joined = "\0".join(texts)
    if joined.count("\0") != max(len(texts) - 1, 0):
        joined = "\0".join(text.replace("\0", " ") for text in texts)
    if not joined.isascii():
        joined = unicodedata.normalize("NFC", joined)
        for space in _WIDE_SPACES:
            joined = joined.replace(space, " ")
    return joined.lower().encode("utf-8", "surrogatepass")


def ngrams(tokens: Tokens, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, offsets) of the n-grams of every text, in reading order and with repeats; offsets: [texts + 1]."""
    lengths = np.diff(tokens.offsets)
    counts = np.where(lengths >= n, lengths - n + 1, np.minimum(lengths, 1))
    offsets = np.concatenate(([0], np.cumsum(counts)))
    inner = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    return _window_hashes(tokens, n)[np.repeat(tokens.offsets[:-1], counts) + inner], offsets


def _window_hashes(tokens: Tokens, n: int) -> np.ndarray:
    """The hash of the n tokens from each token on; from the first token of a shorter text, of that whole text."""
    padded = np.concatenate((tokens.hashes, np.zeros(n, dtype=np.uint64)))
    total, lengths = len(tokens.hashes), np.diff(tokens.offsets)
    hashes, short = tokens.hashes.copy(), {}
    for size in range(1, n):
        firsts = tokens.offsets[:-1][lengths == size]
        short[size] = firsts, hashes[firsts]
        hashes = hashes * _BASE + padded[size : size + total]
    for firsts, values in short.values():
        hashes[firsts] = values
    return mix(hashes)


def mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _character_kinds(buffer: np.ndarray, symbols: bool) -> tuple[np.ndarray, np.ndarray]:
    """[bytes] the kind of the character that the byte belongs to, and whether the byte is not its first."""
    kinds, inside = _byte_kinds(symbols)[buffer], np.zeros(len(buffer), dtype=bool)
    if len(buffer) and int(buffer.max()) >= 0x80:
        inside = (buffer & 0xC0) == 0x80
        for _ in range(3):  # a character has up to three further bytes
            kinds[1:] = np.where(inside[1:], kinds[:-1], kinds[1:])
    return kinds, inside


def _token_starts(kinds: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Positions of the first byte of each token."""
    word = kinds == _WORD
    begins = word.copy()
    begins[1:] &= ~word[:-1]
    return np.flatnonzero((begins | (kinds == _SYMBOL)) & ~inside)


@lru_cache(maxsize=2)
def _byte_kinds(symbols: bool) -> np.ndarray:
    """[256] what a character that starts with this byte is: white space, part of a word, or a symbol.

    Beyond ASCII: U+0080-00BF, U+2000-2FFF (signs, dashes, quotes), U+E000-FFFF (private use, presentation forms) and
    emoji are symbols; so is each CJK character (U+3000-9FFF), with `symbols` or without, because CJK text has no spaces
    between words. All else is part of a word.
    """
    kinds = np.full(256, _WORD, dtype=np.uint8)
    for byte in range(128):
        character = chr(byte)
        kinds[byte] = _WORD if character.isalnum() or character == "_" else _SYMBOL if 32 < byte < 127 else _SPACE
    if not symbols:
        kinds[kinds == _SYMBOL] = _SPACE
    kinds[[0xC2, 0xE2, *range(0xEE, 0xF8)]] = _SYMBOL if symbols else _SPACE
    kinds[0xE3:0xEA] = _SYMBOL
    return kinds


def _token_hashes(buffer: np.ndarray, kinds: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Polynomial hash modulo 2^64 over random 64-bit values of the token's bytes; bytes between tokens count as 0."""
    if not len(starts):
        return np.zeros(0, dtype=np.uint64)
    powers, inverses = _powers(1 << max(len(buffer) - 1, 1).bit_length())
    weighted = _byte_values()[buffer]
    weighted *= powers[: len(buffer)]
    weighted[kinds == _SPACE] = 0
    return mix(np.add.reduceat(weighted, starts) * inverses[starts])


@lru_cache(maxsize=1)
def _byte_values() -> np.ndarray:
    return np.random.default_rng(2026).integers(0, 2**64, 256, dtype=np.uint64)


@lru_cache(maxsize=4)
def _powers(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Powers of the base and of its inverse modulo 2^64, [length] each."""
    forward, backward = np.full(length, _BASE), np.full(length, _INVERSE)
    forward[0] = backward[0] = 1
    return np.multiply.accumulate(forward), np.multiply.accumulate(backward)
