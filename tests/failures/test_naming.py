"""Terms are those of c-TF-IDF, names are short and each is there once, a teacher's label is cleaned or left out."""

from __future__ import annotations

import math

import pytest

from cogumi_utils.data.teachers import TeacherAnswer
from cogumi_utils.failures import naming

TEXTS = ["set light light", "dim light", "sum items", "sum rows items"]
LABELS = [0, 0, 1, 1]


def test_the_terms_of_each_cluster():
    assert naming.class_terms(TEXTS, LABELS, 2, n=3) == [["light", "dim", "set"], ["items", "sum", "rows"]]


def test_weights_are_grootendorsts():
    """One word a class: frequency share times log(1 + words a class / frequency)."""
    from sklearn.feature_extraction.text import CountVectorizer

    assert "bb" in CountVectorizer(token_pattern=naming.WORD).fit(["bb a"]).vocabulary_
    # "both" is in 2 of 4 terms of class 0 and in 1 of 3 of class 1; "one" only in class 0, once: 7 terms in 2 classes
    terms = naming.class_terms(["both one both", "both two"], [0, 1], 2, n=1)
    both, one = 2 / 5 * math.log1p(4 / 3), 1 / 5 * math.log1p(4 / 1)
    assert both > one and terms[0] == ["both"]
    assert terms[1] == ["both two"]  # 1/3 log(1 + 4/1), as "two" has: of ties the pair comes first


def test_masked_names_numbers_and_stop_words_are_no_terms():
    assert naming.class_terms(["Sam has 7 of the pens"], [0], 1) == [["has pens"]]


def test_texts_without_words_have_no_terms_and_still_a_name():
    assert naming.class_terms(["7 + 7", ""], [0, 1], 2) == [[], []]
    assert naming.names_of_terms([[], []]) == ["no words", "no words (2)"]


def test_equal_names_are_told_apart():
    terms = [["a", "b", "c", "d"], ["a", "b", "c", "e"], ["a", "b", "c"]]
    assert naming.names_of_terms(terms) == ["a / b / c", "a / b / c (e)", "a / b / c (2)"]
    assert naming.distinct(["x", "x", "x"], [[], [], []]) == ["x", "x (2)", "x (3)"]


@pytest.mark.parametrize(
    ("label", "cleaned"),
    [
        ("\n\n**Two tool calls.**\nBecause...", "Two tool calls"),
        ("one two three four five six seven eight nine", "one two three four five six seven eight"),
        ("<script>alert(1)</script>", "script alert 1 /script"),
        ("!?", ""),
        ("", ""),
    ],
)
def test_a_label_is_a_few_plain_words(label: str, cleaned: str):
    assert naming.cleaned(label) == cleaned


class Labeller:
    """A teacher with three labels: a fine one, none because of an error, and one that is taken already."""

    name = "labeller"

    def __init__(self):
        self.asked = []

    def answer(self, requests):
        self.asked = [request.messages[0]["content"] for request in requests]
        texts = [("Sums of lists.", ""), ("ignored", "status 500"), ("Sums of lists", "")]
        return [TeacherAnswer(r, self.name, text, error=e) for r, (text, e) in zip(requests, texts, strict=True)]


def test_a_teacher_names_and_terms_stand_in_where_it_fails():
    teacher = Labeller()
    names, sources = naming.names_of_teacher(teacher, [["sum"], ["light", "dim"], ["rows"]], [["Sum it"], ["a\nb"], []])
    assert names == ["Sums of lists", "light / dim", "Sums of lists (rows)"]
    assert sources == ["labeller", "terms", "labeller"]
    assert "- Sum it" in teacher.asked[0] and "- a b" in teacher.asked[1] and "light, dim" in teacher.asked[1]


def test_without_an_endpoint_there_is_no_teacher_and_with_one_it_keeps_its_limit(tmp_path):
    dials = {"key_variable": "", "usd_per_million": [0.5, 1.5], "limit_usd": 0.2, "folder": tmp_path}
    assert naming.teacher_of("", "", **dials) is None
    teacher = naming.teacher_of("http://localhost:9/v1", "small", **dials)
    assert (teacher.name, teacher.price.usd_per_million_out) == ("small", 1.5)
