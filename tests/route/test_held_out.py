"""Leaving one set out: what is trained on, what is judged, and how sure the mean over sets is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cogumi_utils.route import held_out
from cogumi_utils.route.prompts import ROUTES


def frame():
    rows = [(f"{source} prompt {number}", source, source, route, "") for source, route, size in
            (("gsm8k", "reasoning", 40), ("aqua_rat", "reasoning", 10), ("mbpp", "code", 20), ("dolly_3k", "base", 30))
            for number in range(size)]  # fmt: skip
    rows += [("def mbpp(): made", "mbpp", "mbpp", "code", "made: stub")]
    return pd.DataFrame(rows, columns=["text", "source", "group", "route", "detail"])


class Memory:
    """A router that answers by the first word it saw in training, unsure where it never saw it."""

    def __init__(self, texts, targets, routes, seed, weights):
        self.calls = (len(texts), round(float(weights.mean()), 6))
        self.known = {text.split()[0]: row for text, row in zip(texts, targets, strict=True)}

    def probabilities(self, texts):
        return np.array([self.known.get(text.split()[0], [0.1, 0.4, 0.3, 0.2]) for text in texts])


def test_a_set_that_is_left_out_is_not_known():
    found = held_out.leave_one_set_out(frame(), Memory, seed=0, judged=["gsm8k", "mbpp"])
    assert found.table[["set", "route", "n", "accuracy", "lost to"]].values.tolist() == [
        ["gsm8k", "reasoning", 40, 0.0, "code"], ["mbpp", "code", 20, 1.0, ""],
    ]  # fmt: skip
    assert (found.macro.value, found.worst, found.macro.n) == (0.5, 0.0, 60)
    assert set(found.predictions["predicted"]) == {"code"}
    assert found.predictions[list(ROUTES)].to_numpy()[0].tolist() == [0.1, 0.4, 0.3, 0.2]


def test_below_the_threshold_a_prompt_goes_to_base():
    found = held_out.leave_one_set_out(frame(), Memory, seed=0, judged=["dolly_3k"], threshold=0.5)
    assert found.table["accuracy"].tolist() == [1.0] and set(found.predictions["predicted"]) == {"base"}


def test_an_ordinary_split_knows_all_sets_and_judges_no_made_form():
    found = held_out.ordinary_split(frame(), Memory, seed=0, judged=["gsm8k", "mbpp"], share=0.5)
    assert len(found.predictions) == 30 and found.macro.value == 1.0
    assert not found.predictions["text"].str.contains("made").any()


def test_balance_weighs_routes_and_then_groups_alike():
    some = frame()
    weights = pd.Series(held_out.balance(some))
    assert weights.mean() == pytest.approx(1)
    assert weights.groupby(some["route"]).sum().tolist() == pytest.approx([len(some) / 3] * 3)
    assert weights.groupby(some["group"]).sum()["gsm8k"] == pytest.approx(len(some) / 6)


def test_the_interval_of_the_mean_covers_sets_and_prompts():
    """Against the bootstrap done the long way."""
    rng = np.random.default_rng(1)
    shares = {"a": 0.9, "b": 0.5, "c": 0.75, "d": 0.97}
    rows = [(name, bool(draw < share)) for name, share in shares.items() for draw in rng.random(30)]
    table = pd.DataFrame(rows, columns=["source", "right"])
    found = held_out.macro(table, seed=0)
    sets = [of["right"].to_numpy() for _, of in table.groupby("source")]
    slow = [np.mean([rng.choice(sets[at], 30).mean() for at in rng.integers(0, 4, 4)]) for _ in range(4000)]
    assert (found.low, found.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.02)
    assert found.value == pytest.approx(np.mean([of.mean() for of in sets]))
    assert held_out.macro(table, seed=0) == found


def test_targets_are_columns_of_routes():
    assert held_out.targets(frame()).argmax(1).tolist() == [ROUTES.index(route) for route in frame()["route"]]
