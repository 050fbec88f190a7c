"""Public data in one call: what stands in tables and gates, and what is said where none is read."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from cogumi_utils.route import held_out, public_sets
from cogumi_utils.route.prompts import ROUTES


class ByWord:
    """A router that knows the routes' own names and takes the first route for anything else."""

    def __init__(self, texts, targets, routes, seed, weights):
        self.routes = routes

    def probabilities(self, texts):
        return np.array([[1.0 + 9 * (route in text) for route in self.routes] for text in texts]) / 13


@pytest.fixture(scope="module")
def found():
    rows = [("gsm8k", "reasoning", 20, "reasoning"), ("mbpp", "code", 20, "what?"), ("dolly_3k", "base", 20, "base")]
    prompts = [(f"{word} {n}", name, name, route, "") for name, route, size, word in rows for n in range(size)]
    frame = pd.DataFrame(prompts, columns=["text", "source", "group", "route", "detail"])
    sets = ["gsm8k", "mbpp", "dolly_3k"]
    left_out = held_out.leave_one_set_out(frame, ByWord, seed=0, judged=sets)
    ordinary = held_out.ordinary_split(frame, ByWord, seed=0, judged=sets)
    return public_sets.NewSets({public_sets.ROUTER: (ordinary, left_out), "other": (ordinary, left_out)})


def test_a_row_a_set_and_two_means(found):
    table = found.table()
    lost = 0.0 if ROUTES[0] != "code" else 1.0
    assert list(table.columns) == ["set", "route", "n", public_sets.ROUTER, "other"]
    assert list(table["set"]) == ["gsm8k", "mbpp", "dolly_3k", "mean, set left out", "mean, ordinary split"]
    assert list(table["other"])[:3] == [1.0, lost, 1.0] and str(table["other"][3]).startswith("66.7%")


def test_gates_take_the_mean_and_the_worst_of_left_out_sets(found):
    ordinary, left_out = found.found[public_sets.ROUTER]
    assert found.mean() == {"interval": left_out.macro} and found.mean()["interval"].value == pytest.approx(2 / 3)
    assert found.worst() == {"value": 0.0}
    assert "fewest of mbpp, 0.0%" in found.sentence and str(ordinary.macro) in found.sentence


def test_without_public_data_gates_are_not_run_and_tables_are_empty():
    nothing = public_sets.new_sets([], 10, 1)
    assert not len(nothing.table()) and list(nothing.mean()) == list(nothing.worst()) == ["not_run"]
    both = public_sets.weak_and_strong([], 10, 1)
    assert not len(both.table()) and "not run" in both.sentence and "Not run" in nothing.sentence


def test_the_surest_prompts_that_went_elsewhere_two_a_pair(found):
    table = found.at_odds()
    wrong = {
        name for name, route in (("gsm8k", "reasoning"), ("mbpp", "code")) if name == "mbpp" and ROUTES[0] != route
    }
    assert set(table["set"]) == wrong and len(table) == 2 * len(wrong)
    assert set(table["labelled"]) <= {"code"} and set(table["sent to"]) <= {ROUTES[0]}
    assert all(table["prompt"].str.fullmatch(r"what\? \d+"))
    assert len(found.at_odds(1)) == min(1, len(wrong)) and not len(public_sets.new_sets([], 10, 1).at_odds())


@pytest.mark.skipif(not os.environ.get("COGUMI_DATA"), reason="COGUMI_DATA names no folder with the public sets")
def test_weak_and_strong_models_on_a_few_recorded_questions():
    both = public_sets.weak_and_strong([public_sets.RECORDED], 30, 1)
    table = both.table()
    assert list(table["split"].unique()) == ["by question", "subjects left out"]
    assert {"by lot", "TF-IDF + logistic regression", "kNN on MiniLM", public_sets.ROUTER} <= set(table["router"])
    assert len(both.splits["by question"].rows) == pytest.approx(150, abs=15)
    assert len(both.splits["subjects left out"].rows) == 300  # each question once
