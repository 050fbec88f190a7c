"""Prompts of public sets: bare words, the right route, and no trace of a set that is left out."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from cogumi_utils.data import sources
from cogumi_utils.errors import CogumiError
from cogumi_utils.route import prompt_rules, prompts
from cogumi_utils.route.prompt_rules import RULES

HERE = pytest.mark.skipif(
    not os.environ.get("COGUMI_DATA"), reason="COGUMI_DATA names no folder with a copy of the public sets"
)


@pytest.mark.parametrize(
    "name, row, wanted",
    [
        ("bbh", {"input": "Q: Is it?\nOptions:\n(A) yes\n(B) no", "_part": "snarks"}, ("Is it?\nyes\nno", "reasoning")),
        ("flan_cot", {"col0": "Is it?\\nOptions:\\n- (A) -5", "_file": "x/aqua_a.tsv"}, ("Is it?\n-5", "reasoning")),
        ("bbh", {"input": "Is it?\nOptions:\n- Yes\n- No", "_part": "navigate"}, ("Is it?\nYes\nNo", "reasoning")),
        ("aqua_rat", {"question": "How many?", "options": ["A)32", "B) -4"]}, ("How many?\n32\n-4", "reasoning")),
        ("mmlu", {"question": "What? ", "choice0": "-5", "choice1": "A", "choice2": "b", "choice3": "c", "subject": ""},
         ("What?\n-5\nA\nb\nc", "reasoning")),
        ("flan_cot", {"col0": "Is it?\\nOptions:\\n- yes", "_file": "x/creak_train.tsv"}, ("Is it?\nyes", "reasoning")),
        ("clinc150", {"text": "set a timer", "intent": "timer"}, ("set a timer", "automation")),
        ("clinc150", {"text": "tell me a joke", "intent": "tell_joke"}, ("tell me a joke", "base")),
        ("mt_bench", {"turns": ["Sort this.", "Faster."], "category": "coding"}, ("Sort this.", "code")),
        ("dolly_3k", {"instruction": "Sum up.", "input": "Text.", "category": "qa"}, ("Sum up.\nText.", "base")),
        ("self_instruct", {"instruction": "Solve it.", "instances": [{"input": ""}], "motivation_app": "Leetcode"},
         ("Solve it.", "code")),
        ("bfcl_v4", {"question": [[{"role": "system", "content": "Be nice."}, {"role": "user", "content": "Book it."}]],
                     "_part": "live_simple"}, ("Book it.", "automation")),
    ],
)  # fmt: skip
def test_bare_words_and_route(name, row, wanted):
    (found,) = RULES[name]([row])
    assert (found.text, found.route) == wanted


def test_what_is_no_query_of_its_route_is_left_out():
    question = [[{"role": "user", "content": "Area?"}]]
    assert not list(RULES["bfcl_v4"]([{"question": question, "_part": "live_irrelevance"}]))
    assert not list(RULES["clinc150"]([{"text": "blue", "intent": "oos"}]))


def test_a_dialogue_gives_its_first_turn():
    turns = [("AI", "Hi."), ("User", "Book a flight."), ("User", "Yes."), ("User", "Delete it.")]
    rows = [{"role": role, "text": text, "_file": "12345"[place // 3], "_part": "level-1"}
            for place, (role, text) in enumerate(turns)]  # fmt: skip
    assert [prompt.text for prompt in RULES["api_bank"](rows)] == ["Book a flight.", "Delete it."]


LONG = "a farmer sells nine of his twelve brown hens at the market for two coins"


def frame():
    rows = [
        (f"How many hens has he? {LONG}", "aqua_rat", "aqua_rat"),
        ("Other question of the set", "aqua_rat", "aqua_rat"),
        (f"Once upon a time {LONG.upper()}.", "gsm8k", "gsm8k"),
        ("Taken from the set", "flan_cot", "aqua_rat"),
        ("Unlike all others", "flan_cot", "flan_cot"),
        ("Seven words the same: at the market for two coins he went", "mbpp", "mbpp"),
    ]
    columns = ["text", "source", "group"]
    return pd.DataFrame(rows, columns=columns).assign(route="reasoning", detail="", answer="")


def test_no_trace_of_the_set_that_is_left_out():
    """Neither what was taken from it, nor a prompt that quotes one of its own."""
    (aqua,) = prompts.leave_one_out(frame(), ["aqua_rat"])
    assert (aqua[0], aqua[1].tolist(), aqua[2].tolist()) == ("aqua_rat", [4, 5], [0, 1])
    gsm, mbpp = prompts.leave_one_out(frame(), ["gsm8k", "mbpp"])
    assert gsm[1].tolist() == [1, 3, 4, 5] and mbpp[1].tolist() == [0, 1, 2, 3, 4]


def test_a_made_form_is_left_out_with_its_set():
    made = frame().iloc[[1]].assign(text="def made(): pass", detail="made: stub")
    (aqua,) = prompts.leave_one_out(pd.concat([frame(), made], ignore_index=True), ["aqua_rat"])
    assert 6 not in aqua[1] and 6 not in aqua[2]
    (mbpp,) = prompts.leave_one_out(pd.concat([frame(), made], ignore_index=True), ["mbpp"])
    assert 6 in mbpp[1]


def test_a_set_without_a_rule_is_named():
    with pytest.raises(CogumiError, match="go_emotions"):
        prompts.collect(["go_emotions"])


def test_every_set_has_a_rule_and_a_place():
    assert set(RULES) == {*prompts.JUDGED, *prompts.MORE} and set(RULES) <= set(sources.sources())
    assert not set(prompts.JUDGED) & set(prompts.MORE)


@HERE
def test_real_prompts_are_counted():
    found = prompts.collect()
    assert found.groupby("source").size()[list(prompts.JUDGED)].to_dict() == {
        "humaneval": 164, "mbpp": 800, "gsm8k": 800, "bbh": 800, "mmlu": 800, "aqua_rat": 508, "bfcl_v4": 800,
        "api_bank": 237, "toolalpaca": 214, "nl2bash": 800, "dolly_3k": 800, "gpteacher": 800,
    }  # fmt: skip
    assert set(found["route"]) == set(prompt_rules.ROUTES)
    choices = found[found["source"].isin(["bbh", "mmlu", "aqua_rat", "arc", "qasc_dev", "flan_cot"])]
    assert not choices["text"].str.contains(r"(?m)^\(?A[).] |^Options:").any()
    assert (found["text"].str.strip() != "").all()


@HERE
def test_no_real_prompt_leaks():
    """Checked otherwise than it is done: no eight words in a row of a held-out prompt stand in a training prompt."""
    found = prompts.collect(["mmlu", "arc", "aqua_rat", "flan_cot"], per_set=200)
    for _, training, held_out in prompts.leave_one_out(found, ["mmlu", "aqua_rat"]):
        grams = set().union(*(eight_words(found["text"][place]) for place in held_out))
        assert not any(eight_words(found["text"][place]) & grams for place in training)
        assert not np.intersect1d(training, held_out).size


def eight_words(text):
    import re

    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[at : at + 8]) for at in range(len(words) - 7)}
