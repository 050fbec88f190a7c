"""What counts as right, kind by kind, and that no answer can make a verifier raise, hang or pass by accident."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.verifiers import RULES, VERIFIERS, chosen_letter, final_number, verify


def passes(kind: str, answer: str, expected) -> bool:
    return verify(answer, {"kind": kind, "payload": {"answer": expected}}).passed


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("7", 7), ("The result is 7.", 7), ("a 3, b 4", 4), ("-7", -7), ("−7", -7), ("5-3", 3),
        ("+7", 7), (".5", "1/2"),
        ("0.50", "1/2"), ("1/2", "1/2"), ("-3/4", "-3/4"), (r"\frac{1}{2}", "1/2"), (r"\dfrac{-1}{2}", "-1/2"),
        ("1,234,567.5", "2469135/2"), ("1,2,3", 3), ("$1,000", 1000), ("50%", 50), ("1e3", 1000), ("2.5E-1", "1/4"),
        ("3+4=7. 7-2=5. Answer: 5", 5), ("Answer: 5\nAnswer: 6", 6), ("answer is 9, not 8", 9), ("#### 12", 12),
        (r"so \boxed{42} or 3", 42), ("Answer: 3 + 4 = 7", 7), ("Answer: 5 apples of 10", 5),
        ("Answer:\n\n 4 dozen", 4),
        ("x = 5, she has 3 pears", 5), ("5 = x", 5), ("**Answer:** 8", 8), ("Answer: 0", 0), ("x = 0 of 9", 0),
        ("7kg", 7), ("2024-05-06", 6), ("v1.2", None), ("version 1.2.3", None), ("no number", None),
        ("", None), ("Answer: none", None),
        ("1/0", None), ("1e9999", None), ("1.5e-9999", None), ("12e9999 4", 4), ("٣", None), ("½", None),
    ],
)  # fmt: skip
def test_the_final_number(answer, value):
    assert final_number(answer) == (None if value is None else Fraction(value))


def test_numbers_are_compared_exactly():
    assert passes("number", "0.1", "1/10")
    assert passes("number", "1000.0", "1,000")
    assert not passes("number", "0.3333333333", "1/3")
    assert not passes("number", "100000000000000000001", "100000000000000000000")
    assert not passes("number", "-5", "5")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("**B**", "B"), ("B) because", "B"), ("Answer: B", "B"),
        ("Answer: (C) Paris", "C"), ("The answer is D.", "D"), ("A or B? Answer: C", "C"), ("It must be B", "B"),
        ("Answer: I think (B)", "B"), ("Answer: I think B", "B"), ("Answer: I", "I"),
        ("Answer: B\nA and C are wrong", "B"),
        ("#### D", "D"), ("Paris", ""), ("", ""), ("Answer: Banana", ""), ("A dog barks", ""), ("Answer: B's", ""),
    ],
)  # fmt: skip
def test_the_chosen_letter(answer, letter):
    assert chosen_letter(answer) == letter


def test_choice():
    assert passes("choice", "Answer: B", "B")
    assert passes("choice", "Answer: B", "(b)")
    assert not passes("choice", "Answer: A", "B")
    assert not passes("choice", "", "B")


def test_exact_ignores_white_space_only():
    assert passes("exact", "  two\n words ", "two words")
    assert not passes("exact", "Two words", "two words")
    assert not passes("exact", "two words.", "two words")


def test_final_takes_the_words_after_the_last_marker():
    assert passes("final", "Ann>Ben. Answer: Ann", "Ann")
    assert passes("final", "Answer: no\nAnswer:  The   **kitchen**.\nSo it is.", "the kitchen") is False
    assert passes("final", "Answer: **the  Kitchen**.", "the kitchen")
    assert not passes("final", "Ann", "Ann")
    assert not passes("final", "Answer: Anna", "Ann")
    assert not passes("final", "Answer: Ann or Ben", "Ann")


CONSTRAINTS = [
    ({"rule": "contains", "text": "Sea"}, "the sea", "the lake"),
    ({"rule": "forbids", "text": "sea"}, "the lake", "the SEA"),
    ({"rule": "repeats", "text": "ho", "n": 3}, "ho ho Ho", "ho ho"),
    ({"rule": "min_words", "n": 3}, "a b c", "a b"),
    ({"rule": "max_words", "n": 2}, "a b", "a b c"),
    ({"rule": "max_chars", "n": 3}, " abc ", "abcd"),
    ({"rule": "n_lines", "n": 2}, "a\n\nb", "a"),
    ({"rule": "n_bullets", "n": 2}, "- a\n * b\nc", "- a"),
    ({"rule": "starts_with", "text": "Once"}, " Once more", "once more"),
    ({"rule": "ends_with", "text": "end."}, "the end.\n", "the end. Yes"),
    ({"rule": "lowercase"}, "all small 1", "All small"),
    ({"rule": "uppercase"}, "ALL 1", "ALl"),
    ({"rule": "n_words", "n": 3}, "a  b\nc", "a b"),
    ({"rule": "has_word", "text": "hat"}, "My Hat!", "that hats"),
    ({"rule": "no_word", "text": "hat"}, "that hats, what_hat", "my HAT."),
    ({"rule": "acrostic", "text": "Ann"}, "A hat\n\n  nuts\nNo", "A hat\nNuts"),
    ({"rule": "same_ends"}, "Oh Rome\nmy hat\n Oh Rome ", "Oh Rome\nmy hat\nOh rome"),
    ({"rule": "distinct_lines"}, "hat\nhats", "hat\ncup\nHat"),
]


@pytest.mark.parametrize(("rule", "good", "bad"), CONSTRAINTS, ids=[rule["rule"] for rule, _, _ in CONSTRAINTS])
def test_constraints(rule, good, bad):
    verifier = {"kind": "constraints", "payload": {"rules": [rule]}}
    assert verify(good, verifier).passed
    found = verify(bad, verifier)
    assert not found.passed
    assert found.reason.startswith(rule["rule"])


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"rule": "n_words", "n": 3}, "a b c d"),
        ({"rule": "has_word", "text": "red hat"}, "red, hat"),
        ({"rule": "has_word", "text": "a.b"}, "axb"),
        ({"rule": "acrostic", "text": "Ann"}, "Ann"),
        ({"rule": "acrostic", "text": "Ann"}, "A\nN\nN\nA"),
        ({"rule": "same_ends"}, "Oh Rome"),
        ({"rule": "distinct_lines"}, "hat\n  hat"),
    ],
)
def test_what_nearly_keeps_a_rule_breaks_it(rule, text):
    assert not verify(text, {"kind": "constraints", "payload": {"rules": [rule]}}).passed


def test_every_rule_has_an_example_and_all_rules_must_hold():
    assert {rule["rule"] for rule, _, _ in CONSTRAINTS} == set(RULES)
    both = {"kind": "constraints", "payload": {"rules": [{"rule": "lowercase"}, {"rule": "max_words", "n": 2}]}}
    assert verify("a b", both).passed
    assert verify("a b c", both).reason == "max_words 2"
    assert verify("   ", {"kind": "constraints", "payload": {"rules": []}}).reason == "empty"


def test_reasons_name_both_sides():
    assert verify("12", {"kind": "number", "payload": {"answer": "13"}}).reason == "12, expected 13"
    assert verify("Answer: A", {"kind": "choice", "payload": {"answer": "B"}}).reason == "A, expected B"
    assert verify("x", {"kind": "exact", "payload": {"answer": "y"}}).reason == "'x', expected 'y'"


@pytest.mark.parametrize(
    "verifier", [{"kind": "magic", "payload": {}}, {"kind": "constraints", "payload": {"rules": [{"rule": "magic"}]}}]
)
def test_an_unknown_check_is_an_error_of_the_example(verifier):
    with pytest.raises(CogumiError, match="magic"):
        verify("x", verifier)


CALL = {"name": "f", "arguments": {"x": 918273645}}
UNLIKELY = {  # what no random text contains
    "exact": {"answer": "an answer that chance does not write"},
    "final": {"answer": "an answer that chance does not write"},
    "number": {"answer": "918273645.5463728"},
    "choice": {"answer": "no letter at all"},
    "tool_calls": {"calls": [CALL], "ordered": True},
    "constraints": {"rules": [{"rule": "contains", "text": "an answer that chance does not write"}]},
}


def test_every_verifier_is_fuzzed():
    assert set(UNLIKELY) == set(VERIFIERS)


PIECES = st.sampled_from(
    [
        "answer",
        ":",
        " is ",
        "####",
        "=",
        "\\boxed{",
        "\\frac{1}{",
        "1",
        "-",
        ",",
        ".",
        "/",
        "e9",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
    ]
    + [
        '"',
        "'",
        "\\",
        "f(x=",
        "f",
        "=1",
        ";",
        "\n",
        "```",
        "<tool_call>",
        '{"name":',
        '"arguments":',
        "\0",
        "\ud800",
        "𝟙",
        "A",
    ]
)


@given(answer=st.text() | st.lists(PIECES, max_size=60).map("".join))
def test_no_answer_raises_or_passes_by_chance(answer):
    for kind, payload in UNLIKELY.items():
        found = verify(answer, {"kind": kind, "payload": payload})
        assert not found.passed
        assert found.reason


LONG = [
    "9", "1,", "1/", "answer", "answer is ", "=", "-", ".", "1.1.", "1e9", "\\frac{", "\\frac{1}{", "\\boxed{", "(A",
    "A ",
    "```\n", "\n", " ", "(", "[", "{", '{"a":', "f(", "f(a=", '"', "'", "\\", "1+", "a.", "not ", "f();", "*", "~",
    "\ud800", "\0",
]  # fmt: skip


@pytest.mark.parametrize("piece", LONG, ids=[ascii(piece) for piece in LONG])
def test_work_grows_with_the_length_and_not_with_its_square(piece):
    """Counted, not timed: the pattern engine and the parsers are given 300,000 characters, and one that were
    quadratic would need 10^10 steps, minutes where the whole file takes seconds."""
    for kind, payload in UNLIKELY.items():
        assert not verify(piece * (300_000 // len(piece)), {"kind": kind, "payload": payload}).passed
