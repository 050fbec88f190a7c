"""The reference lines share the router's face, and each knows what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import minilm, references

PIECES = 4_000
ROUTES = ("base", "code", "automation")
TEXTS = [
    *(f"Tell me a story about a {word}" for word in ("king", "dragon", "forest", "sailor", "thief", "clock")),
    *(f"Write a Python function that sorts a {word}" for word in ("list", "tuple", "dict", "tree", "queue", "string")),
    *(f"Set an alarm for {hour} o'clock" for hour in ("one", "two", "three", "four", "five", "six")),
]
TARGETS = np.repeat(np.eye(3), 6, axis=0)
NEW = ["A story of a wizard", "A Python function that adds two numbers", "Set a timer for nine o'clock"]


@pytest.fixture(autouse=True)
def few_pieces(monkeypatch):
    """All 30,522 word pieces take half a minute; these are the frequent ones."""
    whole = minilm.static_model
    monkeypatch.setattr(minilm, "static_model", lambda: whole(PIECES))


def test_a_static_model_knows_what_words_mean():
    king, queen, alarm = minilm.static_model().encode(["king", "queen", "alarm"])
    assert king @ queen > 0.2 + king @ alarm
    assert np.linalg.norm(king) == pytest.approx(1, abs=1e-4)
    longer = minilm.static_model().encode(["the king"])[0]
    assert longer @ king > 0.8  # a frequent word weighs little


@pytest.mark.parametrize("name", references.REFERENCES)
def test_all_share_one_face(name):
    fitted = references.REFERENCES[name](TEXTS, TARGETS, ROUTES, 0)
    found = fitted.probabilities(NEW)
    assert found.shape == (3, 3) and found.sum(1) == pytest.approx(1)
    assert fitted.probabilities([]).shape == (0, 3)
    assert np.array_equal(found, references.REFERENCES[name](TEXTS, TARGETS, ROUTES, 0).probabilities(NEW))
    if name not in ("random", "best single route"):
        assert found.argmax(1).tolist() == [0, 1, 2]


def test_best_single_is_the_route_that_is_right_most_often():
    correct = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]])
    found = references.best_single(TEXTS[:4], correct, ROUTES, 0).probabilities(["anything"])
    assert found.tolist() == [[0.2, 0.6, 0.2]]


def test_chance_depends_on_its_seed_alone():
    one, same, other = (references.chance(TEXTS, TARGETS, ROUTES, seed).probabilities(TEXTS * 50) for seed in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert one.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.06)


def test_an_oracle_knows_what_it_was_told_and_nothing_else():
    known = references.oracle(["a", "b", "c"], np.array([[0, 1, 0], [0, 1, 1], [0, 0, 0]]))
    assert known.probabilities(["b", "a"]).tolist() == [[0, 0.5, 0.5], [0, 1, 0]]
    assert known.probabilities(["c"])[0] == pytest.approx(1 / 3)
    with pytest.raises(CogumiError, match="'d'"):
        known.probabilities(["a", "d"])


def test_a_route_that_was_never_right_is_never_likely():
    found = references.tfidf(TEXTS[:12], TARGETS[:12], ROUTES, 0).probabilities(NEW)
    assert (found[:, 2] == 0).all() and found.sum(1) == pytest.approx(1)
    one = references.tfidf(TEXTS[:6], TARGETS[:6], ROUTES, 0).probabilities(NEW)
    assert one.argmax(1).tolist() == [0, 0, 0]


def test_weights_count():
    texts = ["same words"] * 4
    targets = np.eye(3)[[0, 0, 1, 1]]
    for heavy, weights in ((0, [9, 9, 1, 1]), (1, [1, 1, 9, 9])):
        assert references.tfidf(texts, targets, ROUTES, 0, weights=weights).probabilities(texts)[0].argmax() == heavy
