"""Hashed tokens and n-grams against the same thing done slowly with regular expressions and tuples."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogumi_utils.data.shingles import batches, ngrams, tokenise

PRINTABLE = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


def slow_tokens(text):
    return re.findall(r"[a-z0-9_]+|[^\w\s]", text.lower())


def slow_ngrams(text, n):
    tokens = slow_tokens(text)
    return [tuple(tokens[i : i + n]) for i in range(max(1, len(tokens) - n + 1))] if tokens else []


def tokens_of(texts, **options):
    tokens = tokenise(texts, **options)
    spans = zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    return [[tokens.words(place, 1) for place in range(first, last)] for first, last in spans]


@given(st.lists(PRINTABLE, max_size=6))
@settings(max_examples=200, deadline=None)
def test_tokens_are_those_of_the_regular_expression(texts):
    assert tokens_of(texts) == [slow_tokens(text) for text in texts]


@given(st.lists(st.text(alphabet="ab +\n", max_size=14), min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_hashes_are_equal_exactly_where_ngrams_are(texts, n):
    hashes, offsets = ngrams(tokenise(texts), n)
    expected = [gram for text in texts for gram in slow_ngrams(text, n)]
    assert np.diff(offsets).tolist() == [len(slow_ngrams(text, n)) for text in texts]
    names = {}
    assert [names.setdefault(value, len(names)) for value in hashes.tolist()] == [
        {gram: number for number, gram in enumerate(dict.fromkeys(expected))}[gram] for gram in expected
    ]


def test_hashes_do_not_depend_on_the_neighbours_in_the_batch():
    alone = ngrams(tokenise(["the red hat is here"]), 3)[0]
    beside, offsets = ngrams(tokenise(["x", "the red hat is here", "Ünïcode “quotes”"]), 3)
    assert beside[offsets[1] : offsets[2]].tolist() == alone.tolist()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("3 + 4 - x_1", ["3", "+", "4", "-", "x_1"]),
        ("don’t “stop”", ["don", "’", "t", "“", "stop", "”"]),
        ("日本語です ok", ["日", "本", "語", "で", "す", "ok"]),
        ("a\u00a0b\u2003c\u3000d", ["a", "b", "c", "d"]),
        ("a\0b", ["a", "b"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("h\ufffd\ue000x", ["h", "\ufffd", "\ue000", "x"]),
        ("ok 😀!", ["ok", "😀", "!"]),
        ("\ud800 x", ["\ud800", "x"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_tokens_beyond_ascii(text, tokens):
    assert tokens_of([text]) == [tokens]


def test_without_symbols_only_words_are_left():
    assert len(tokens_of(["Don’t stop, 3.5% (now)!"], symbols=False)[0]) == 6  # don t stop 3 5 now
    with_marks, without = (tokenise([text], symbols=False).hashes for text in ("it’s “so”, yes!", "it s so yes"))
    assert with_marks.tolist() == without.tolist()


def test_swapped_letters_and_words_differ():
    hashes = tokenise(["ab ba aab aba baa abab baba"]).hashes
    assert len(set(hashes.tolist())) == 7
    first, second = (set(ngrams(tokenise([text]), 2)[0].tolist()) for text in ("one two", "two one"))
    assert not first & second


def test_batches_cover_every_text_once():
    texts = ["x" * size for size in (5, 0, 300, 1, 1, 1)]
    assert list(batches(texts, 100)) == [(0, 3), (3, 6)]
    assert list(batches([], 100)) == []
