"""Noise that keeps the meaning, choices that survive it or not, and routers that learned a template."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import numpy as np
import pytest

from cogumi_utils.data import skills
from cogumi_utils.route import noise, robustness
from cogumi_utils.route.evaluate import one_hot
from cogumi_utils.stats import wilson

WORDS = [["def", "loop"], ["sum", "price"]]  # of the two routes' queries
TEXTS = ["write a def of the loop over all items", "what sum is the price of all the items"] * 10
TRUTH = [0, 1] * 10


def by_words(texts: list[str]) -> np.ndarray:
    """Knows the content: counts each route's words, whatever the case."""
    found = np.array([[1e-3 + sum(word in text.lower() for word in words) for words in WORDS] for text in texts])
    return found / found.sum(1, keepdims=True)


def by_template(texts: list[str]) -> np.ndarray:
    """Knows how each set's queries begin, and nothing else: without the beginning all go to route 1."""
    return np.array([[0.9, 0.1] if text.startswith("write a") else [0.2, 0.8] for text in texts])


def test_a_draw_is_the_text_s_own():
    for name in noise.NOISES:
        whole = noise.noisy(TEXTS[:2], name, seed=3, rate=20)
        assert noise.noisy(TEXTS[1:2], name, seed=3, rate=20) == whole[1:]
    drawn = {noise.noisy(TEXTS[:1], "typing errors", seed=seed, rate=20)[0] for seed in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize("text", ["", " ", "\ud800", "a\0b", "שלום 你好", "x" * 10_000])
def test_any_text_can_be_made_noisy(text):
    for name in noise.NOISES:
        assert isinstance(noise.noisy([text], name, seed=0)[0], str)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("How many pens are there in all?", r"(What|Which) number of pens are there (altogether|all told)\?"),
        (
            "Define f(x) to return x plus 2.",
            r"(Implement f\(x\) so that it returns|Create f\(x\) to return) x plus 2\.",
        ),
        ('Say "How many" and `sum of`.', r'Say "How many" and `sum of`\.'),
        ("Fix this:\n    print('sum of')\nthe sum of v", r"Fix this:\n    print\('sum of'\)\nthe total of v"),
        ("Ann has 3 pens. Which colour has the cup?", r"Ann owns 3 pens\. What colour has the cup\?"),
    ],
)
def test_paraphrases_keep_what_is_quoted_and_what_is_code(text, said):
    for seed in range(5):
        assert re.fullmatch(said, noise.noisy([text], "paraphrase", seed)[0])


def test_the_question_goes_first_unless_it_points_back():
    moved = noise.reordered("Ann has 3 pens. Bob has 4. How many pens has Ann?", Random(0))
    assert moved == "How many pens has Ann? Ann has 3 pens. Bob has 4."
    for text in ("The cup is not hot. What is it?", "One sentence?", "Do it.\nIs it done? Yes.", "Go. Stop."):
        assert noise.reordered(text, Random(0)) == text


def test_typing_errors_are_as_many_as_asked_for_and_spare_digits():
    text = "the quick brown fox jumps over 13 lazy dogs " * 200
    letters = sum(map(str.isalpha, text))
    for rate in (2.0, 10.0):
        drawn = noise.typos(text, Random(1), rate)
        # a third of them drops a letter: the length tells how many there were
        assert 3 * (len(text) - len(drawn)) == pytest.approx(rate / 100 * letters, rel=0.25)
        assert Counter(filter(str.isdigit, drawn)) == Counter("13" * 200)
    assert noise.typos(text, Random(1), 0.0) == text


@pytest.mark.parametrize("name", ["lower case", "upper case", "white space", "politeness", "sentence marks"])
def test_the_words_stay(name):
    """White space, case, marks and politeness leave the query's own words, in order."""
    for row in skills.mixed(skills.trained_skills(), 1, split="test", seed=1):
        text = row.prompt[0]["content"]
        words = re.findall(r"\w+", text.lower())
        assert " ".join(words) in " ".join(re.findall(r"\w+", noise.noisy([text], name, 0)[0].lower()))


def test_marks_leave_numbers_alone():
    assert all("3.14" in noise.marks("pi is 3.14, isn't it?", Random(n)) for n in range(20))


def test_what_survives_is_counted_on_the_changed_queries_alone():
    changed = [text.upper() if n < 6 else text for n, text in enumerate(TEXTS)]
    found = robustness.survive(by_template, "shouting", TEXTS, changed, one_hot(TRUTH, 2))
    assert found.n == 6 and found.flips == wilson(3, 6) and found.before == wilson(6, 6) and found.after == wilson(3, 6)
    assert (found.difference.gained, found.difference.lost) == (0, 3)
    calm = robustness.survive(by_words, "shouting", TEXTS, changed, one_hot(TRUTH, 2))
    assert calm.flips == wilson(0, 6)


def test_nothing_changed_is_said_so():
    found = robustness.survive(by_words, "none", TEXTS, TEXTS, one_hot(TRUTH, 2))
    assert found.n == 0 and found.flips is None
    assert robustness.table([found]).iloc[0].tolist() == ["none", 0, "", "", "", ""]


def test_every_noise_has_its_row():
    found = robustness.robustness(by_words, TEXTS, one_hot(TRUTH, 2), seed=1)
    assert [one.name for one in found] == list(noise.NOISES)
    flips = {one.name: one.flips.value for one in found if one.n}
    assert flips["lower case" if "lower case" in flips else "upper case"] == 0 and flips["politeness"] == 0
    harder = robustness.robustness(by_words, TEXTS, one_hot(TRUTH, 2), seed=1, names=["typing errors"], rate=40)
    assert harder[0].flips.value > flips.get("typing errors", 0)


@pytest.mark.parametrize(
    ("words", "left"),
    [(1, " two  three\nfour five six"), (3, "four five six"), (4, None), (9, None)],
)
def test_first_words_are_cut_as_the_rest_stands_there(words, left):
    text = "one  two  three\nfour five six"
    expected = text if left is None else left.lstrip()
    assert robustness.without_first(text, words) == expected
    assert robustness.without_first("a b c d e f g", 4) == "a b c d e f g", "more cut than left"
    assert robustness.without_first("a b c d e f g h", 4) == "e f g h"


def test_the_router_that_learned_a_template_is_named():
    groups = ["code set" if truth == 0 else "maths set" for truth in TRUTH]
    learned = robustness.prefix_removal(by_template, TEXTS, one_hot(TRUTH, 2), groups)
    assert learned.collapsed == {"code set": 1} and "code set (from 1 cut)" in learned.sentence
    assert learned.cuts["code set", 1].after == wilson(0, 10) and learned.cuts["maths set", 1].flips == wilson(0, 10)
    knows = robustness.prefix_removal(by_words, TEXTS, one_hot(TRUTH, 2), groups, words=(1, 2))
    assert knows.collapsed == {} and knows.sentence.startswith("No set loses more than 20%")
    frame = learned.table()
    assert frame["set"].unique().tolist() == ["code set", "maths set"] and frame["words cut"].max() == 6
    assert set(frame["collapsed"][frame["set"] == "maths set"]) == {""}
    assert frame["collapsed"][(frame["set"] == "code set") & (frame["queries"] > 0)].eq("yes").all()


def test_a_loss_that_chance_explains_names_nobody():
    texts, truth = TEXTS[:4], TRUTH[:4]
    found = robustness.prefix_removal(by_template, texts, one_hot(truth, 2), ["s"] * 4, words=(1,))
    assert found.cuts["s", 1].difference.value == -0.5 and found.collapsed == {}, "two of four lost: -0.5 ± 0.5"
