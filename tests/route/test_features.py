"""A query as rows of a hashed table: the same everywhere, whatever the query is made of."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.route import features

QUERY = "Write a Python function that adds 12 numbers."
ODD = {
    "empty": "",
    "blank": " \n\t ",
    "binary": bytes(range(256)).decode("latin-1") * 8,
    "lone surrogates": "\ud800\udfff text \ud83d",
    "right to left": "اكتب دالة بلغة بايثون",
    "mixed scripts": "Schreib eine функцию 関数 דוגמה που προσθέτει",
    "expands under NFKC": "\ufdfa" * 5000,
    "combining marks": "e" + "\u0301" * 5000,
    "one megabyte": "all work and no play " * 50_000,
    "one long word": "a" * 1_000_000,
    "emoji": "🙂" * 100,
}


def test_the_rows_of_a_query_are_pinned():
    """A saved table is read by these numbers: whoever changes them has to raise VERSION."""
    rows, weights = features.rows_of(QUERY)
    assert (features.VERSION, len(rows), int(rows.sum())) == (1, 61, 611_346)
    assert rows[:9].tolist() == [3814, 5047, 9591, 6430, 14043, 15501, 1989, 13721, 8998]
    assert np.sqrt(np.square(weights).sum()) == pytest.approx(np.sqrt(sum(np.square(list(features.SCALES.values())))))


@pytest.mark.parametrize("kind", ODD)
def test_any_text_gives_rows_in_bounds(kind):
    rows, weights = features.rows_of(ODD[kind])
    assert len(rows) == len(weights) <= 3 * 2 * (features.HEAD + features.TAIL)
    assert ((0 <= rows) & (rows < features.ROWS)).all()
    assert np.isfinite(weights).all() and np.square(weights).sum() <= 2.25 + 1e-5


def test_a_long_query_is_read_at_both_ends():
    filler = "lorem ipsum " * 100_000
    first, last, neither = (features.rows_of(text)[0] for text in (f"sort {filler}", f"{filler} sort", filler))
    word = features.rows_of("sort")[0][0]
    assert word in first and word in last and word not in neither


@pytest.mark.parametrize(
    "other",
    [
        QUERY.upper(),
        QUERY.replace(" ", "\u00a0\t"),
        QUERY.replace("12", "7"),
        QUERY.replace("Python", "Py\u200bthon"),
        "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in QUERY),
        f"\u202e{QUERY}\u202c",
        f"{QUERY}\x00",
    ],
    ids=["case", "blanks", "number", "zero width", "full width", "direction marks", "control character"],
)
def test_what_a_reader_does_not_see_moves_no_row(other):
    assert np.array_equal(features.rows_of(QUERY)[0], features.rows_of(other)[0])


def test_the_order_of_words_counts():
    one, other = (set(features.rows_of(text)[0].tolist()) for text in ("dog bites man", "man bites dog"))
    assert one != other and len(one & other) >= 3


@pytest.mark.parametrize(
    "text, wanted",
    [("hi", True), ("3+4", True), ("def f():\n\treturn 1\n", True), ("مرحبا", True), ("関数", True),
     ("", False), ("?!...", False), ("🙂", False), (ODD["binary"], False), ("\x00\x01ab", False)],
)  # fmt: skip
def test_readable(text, wanted):
    assert features.readable(text) is wanted


def test_the_end_of_a_line_is_seen():
    lines, words = ({*features.rows_of(text)[0].tolist()} for text in ("one\ntwo", "one two"))
    assert features.normalise(" one \r\n two\n") == "one ¶ two" and lines - words


def test_padding_weighs_nothing():
    rows, weights = features.padded(["", "one", QUERY])
    assert rows.shape == weights.shape == (3, 61)
    assert [np.count_nonzero(line) for line in weights] == [0, 3, 61]
    assert (rows[weights == 0] == 0).all()
    assert np.array_equal(rows[2], features.rows_of(QUERY)[0])
