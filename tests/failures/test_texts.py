"""What is particular to one task is masked; what is said of its kind stays."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.data.cleaning import ASK
from cogumi_utils.failures import texts
from cogumi_utils.schema import Example


def example(question: str) -> Example:
    return Example("chat", "made", [{"role": "user", "content": question}])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Bob has 95 keys and Ann wins 1,071.5 more.", "Bob has 7 keys and Sam wins 7 more."),
        ("A map is old. Is Tom? Yes.\nNo", "A map is old. Is Sam? Yes.\nNo"),
        ("True if x is above 3", "True if x is above 7"),
        ("", ""),
    ],
)
def test_numbers_and_names_inside_a_sentence_are_masked(text: str, masked: str):
    assert texts.masked(text) == masked


@pytest.mark.parametrize(
    ("kind", "reason", "signature"),
    [
        ("number", "100, expected 166", "number: 7"),
        ("choice", "no letter, expected B", "choice: no letter"),
        ("tool_calls", "1 calls, expected 2", "tool_calls: 7 calls"),
        ("final", "'it\\'s ann', expected 'bob'", "final: text"),
        ("python_tests", "wrong in `assert f([5, \"a\"]) == 5`", "python_tests: wrong in `assert f([7, text]) == 7`"),
    ],
)  # fmt: skip
def test_the_signature_names_the_error_and_not_the_task(kind: str, reason: str, signature: str):
    assert texts.signature(kind, reason) == signature


def test_sentences_of_our_own_converters_are_left_out():
    assert texts.question(example(f"Which gas do plants take in?\nA. O\nB. N\n{ASK}")) == (
        "Which gas do plants take in?\nA. O\nB. N"
    )


def test_words_that_two_texts_share_are_their_cosine():
    vectors = texts.word_vectors(["set the light", "dim the light", ""])
    assert vectors.shape == (3, texts.WORD_BUCKETS) and vectors.dtype == np.float32
    assert vectors[0] @ vectors[1] == pytest.approx(2 / 3, abs=1e-6)
    assert not vectors[2].any()


def test_a_prompt_lies_where_it_lies_whatever_is_asked_beside_it(embedder):
    first, second = example("Dim the light in the attic."), example("What is 3 plus 4?")
    alone, beside = texts.prompt_vectors(embedder, [first]), texts.prompt_vectors(embedder, [second, first])
    assert alone[0] == pytest.approx(beside[1], abs=1e-6)
    assert np.linalg.norm(alone[0]) == pytest.approx(1, abs=1e-5)
    names = texts.prompt_vectors(embedder, [example("Has Tom 3 pens?"), example("Has Eva 81 pens?")])
    assert (names[0] == names[1]).all()


def test_weights_are_those_of_all_four_views(embedder):
    views = texts.prompt_views(embedder, ["a"]) | texts.failure_views(embedder, ["number"], ["4"], ["4, expected 5"])
    assert set(views) == set(texts.WEIGHTS)
    assert np.linalg.norm(texts.together(views), axis=1) == pytest.approx([1], abs=1e-5)
