"""Evaluation texts planted into training rows: found where words are shared, left where they are not."""

import json
import os
import random
import re
from pathlib import Path

import pytest

from cogumi_utils.data.decontaminate import decontaminate
from cogumi_utils.errors import CogumiError

WORDS = [f"word{number}" for number in range(5000)]
DATA = Path(os.environ.get("COGUMI_DATA", "/nowhere"))


def sentence(size, seed):
    return " ".join(random.Random(seed).choices(WORDS, k=size))


def slow(train, texts, n):
    """Rows that share n words in a row with any of the texts, the plain way."""

    def grams(text):
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    known = set().union(*map(grams, texts))
    return [row for row, text in enumerate(train) if grams(text) & known]


def test_rows_are_those_of_the_plain_way():
    rng = random.Random(4)
    texts = [sentence(rng.randint(13, 60), seed) for seed in range(60)]
    train = []
    for seed in range(300):
        own, words = sentence(40, 1000 + seed).split(), rng.choice(texts).split()
        start = rng.randrange(len(words))
        own[20:20] = words[start : start + rng.randint(1, 20)]
        train.append(" ".join(own))
    found = decontaminate(train, {"set": texts})
    expected = slow(train, texts, 13)
    assert sorted(set(found.removed["row"])) == expected and 30 < len(expected) < 150
    assert sorted([*found.clean, *expected]) == list(range(300))


def test_a_match_is_told_with_its_set_row_and_words():
    text = "one two three four five six seven eight nine ten eleven twelve Thirteen, fourteen!"
    found = decontaminate(["nothing here", f"Before. {text.upper()} After"], {"a": ["other", text, text], "b": [text]})
    assert found.removed.to_dict("records") == [
        {"row": 1, "set": name, "eval_row": row, "kind": "13-gram", "matches": 2,
         "match": "one two three four five six seven eight nine ten eleven twelve thirteen,"}
        for name, row in (("a", 1), ("b", 0))
    ]  # fmt: skip
    assert found.clean == [0] and found.unchecked == {"a": 1, "b": 0}


def test_punctuation_case_and_form_do_not_hide_a_text():
    text = sentence(20, 1)
    hidden = "\n".join(f"“{word.upper()}”," for word in text.split())
    assert decontaminate([hidden], {"set": [text]}).clean == []
    accents = "le café est fermé à midi mais la boulangerie près du marché reste ouverte aujourd’hui"
    assert decontaminate([accents.replace("é", "e\u0301").replace("’", "'")], {"set": [accents]}).clean == []


@pytest.mark.parametrize(("shared", "found"), [(13, True), (12, False)])
def test_long_texts_are_found_by_n_words_in_a_row(shared, found):
    words = sentence(30, 1).split()
    train = " ".join([*words[:shared], "other", *words[20:30]])
    assert (decontaminate([train], {"set": [" ".join(words)]}).clean == []) == found


@pytest.mark.parametrize(("size", "shared", "found"), [(12, 8, True), (12, 7, False), (8, 8, True)])
def test_shorter_texts_are_found_by_short_n_words_in_a_row(size, shared, found):
    words = sentence(size, 1).split()
    result = decontaminate([" ".join(["before", *words[:shared], "after"])], {"set": [" ".join(words)]})
    assert (result.clean == []) == found and result.unchecked == {"set": 0}
    assert result.removed["kind"].tolist() == (["8-gram"] if found else [])


def test_the_shortest_texts_are_found_only_as_a_whole_text_or_line():
    train = [
        "What is 3 + 4?", "what is 3+4\n3+4=7", "What is 3 - 4?", "Tell me what is 3 + 4 or more", "WHAT IS (3 + 4)",
        "What is 3 + 4 + 5?",
    ]  # fmt: skip
    found = decontaminate(train, {"sums": ["What is 3 + 4?"]})
    assert found.clean == [2, 3, 5] and set(found.removed["kind"]) == {"whole"}
    assert decontaminate(["Yes.", "yes"], {"set": ["Yes."]}).clean == [0, 1]
    assert decontaminate(["Yes."], {"set": ["Yes."]}).unchecked == {"set": 1}


def test_the_wording_of_a_whole_set_is_ignored():
    wording = "Answer the following question with a single letter and nothing else at all, please, dear student:"
    texts = [f"{wording} {sentence(20, seed)}" for seed in range(11)]
    train = [f"{wording} {sentence(20, 99)}", f"Well: {sentence(20, 3)}"]
    assert decontaminate(train, {"set": texts}).clean == [0]
    assert decontaminate(train, {"set": texts[:10]}).clean == []
    assert decontaminate(train, {"set": texts}, max_shared=None).clean == []
    assert decontaminate(train, {"set": [wording] * 11}).unchecked == {"set": 11}


def test_a_text_that_repeats_itself_is_no_shared_wording():
    assert decontaminate([sentence(13, 1)], {"set": [" ".join([sentence(13, 1)] * 12)]}).clean == []


def test_nothing_to_compare():
    assert decontaminate([], {"set": ["a b c"]}).clean == []
    assert decontaminate(["a b c"], {}).clean == [0]
    assert decontaminate(["", "a b c"], {"set": []}).removed.empty


def test_sizes_are_settings():
    words = sentence(30, 1).split()
    train, texts = [" ".join([*words[:5], "x"])], {"set": [" ".join(words)]}
    assert decontaminate(train, texts, n=5, short_n=5).clean == []
    assert decontaminate(train, texts, n=6, short_n=5).clean == [0]


@pytest.mark.parametrize("sizes", [{"n": 7}, {"short_n": 2}, {"n": 0, "short_n": 0}, {"max_shared": 0}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(CogumiError, match="short_n <= n"):
        decontaminate(["a"], {"set": ["a"]}, **sizes)


@pytest.mark.skipif(not (DATA / "gsm8k" / "test.jsonl").is_file(), reason="COGUMI_DATA has no gsm8k/test.jsonl")
def test_gsm8k_test_questions_planted_into_other_rows():
    questions = [json.loads(line)["question"] for line in (DATA / "gsm8k" / "test.jsonl").read_text().splitlines()]
    solutions = [json.loads(line)["answer"] for line in (DATA / "gsm8k" / "test.jsonl").read_text().splitlines()]
    half, unseen = questions[:600], questions[600:]

    def every(step, text):
        return " ".join("thing" if place % step == step - 1 else word for place, word in enumerate(text.split()))

    def share(rows):
        return 1 - len(decontaminate(rows, {"gsm8k": half}).clean) / len(rows)

    assert share([f"Q: {text.upper()}\nA: {sol}" for text, sol in zip(half, solutions, strict=False)]) == 1.0
    assert share([re.sub(r"[^\w\s]", "", text) for text in half if "-" not in text and "$" not in text]) > 0.95
    assert share([every(20, text) for text in half]) > 0.98  # one word in 20 changed: 19 in a row are left
    assert share([every(8, text) for text in half]) < 0.02  # 7 in a row are left: below 13, known to slip through
    assert share(unseen) < 0.01
