"""Nested choice: what is trained on, what chooses, and what is judged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import held_out, nested
from cogumi_utils.route.prompts import ROUTES

SETS = {"gsm8k": "reasoning", "bbh": "reasoning", "mbpp": "code", "humaneval": "code", "dolly_3k": "base",
        "gpteacher": "base"}  # fmt: skip
COPY = "two trains leave the same station at nine and meet at noon"


def frame():
    rows = [(f"{name} prompt {n}", name, name, route, "") for name, route in SETS.items() for n in range(10)]
    rows += [(f"{COPY} {name}", name, name, SETS[name], "") for name in ("gsm8k", "mbpp")]
    rows += [("flan prompt", "flan_cot", "gsm8k", "reasoning", ""), ("mbpp stub", "mbpp", "mbpp", "code", "made: stub")]
    return pd.DataFrame(rows, columns=["text", "source", "group", "route", "detail"])


class Knows:
    """Right on the sets that it was told of, whatever it is trained on; writes down what that was."""

    def __init__(self, *names):
        self.names, self.seen = names, []

    def __call__(self, texts, targets, routes, seed, weights):
        self.seen.append(texts)
        return self

    def probabilities(self, texts):
        right = [SETS.get(text.split()[-1], SETS.get(text.split()[0])) for text in texts]
        known = [any(name in text for name in self.names) for text in texts]
        places = [(ROUTES.index(route) + (not sure)) % len(ROUTES) for route, sure in zip(right, known, strict=True)]
        return np.eye(len(ROUTES))[places]


def chosen(*fits, **options):
    some = {f"candidate {number}": nested.Candidate(frame(), fit) for number, fit in enumerate(fits)}
    return nested.choose(some, seed=0, judged=tuple(SETS), **options)


def test_a_fold_is_judged_by_what_is_best_on_the_others():
    """The second candidate knows one fold and nothing else: that fold must not choose it, all others do."""
    own = nested.deal(SETS, tuple(SETS), 3, seed=0)[1]
    found = chosen(Knows(), Knows(*own))
    assert list(found.chosen["candidate"]) == ["candidate 1", "candidate 0", "candidate 1"]
    assert list(found.chosen["inner accuracy"]) == [0.5, 0.0, 0.5] and list(found.chosen["ahead by"]) == [0.5, 0, 0.5]
    assert found.macro.value == found.worst == 0.0
    assert found.inner().values.tolist() == [["candidate 0", 0, 0, 0], ["candidate 1", 0.5, 0, 0.5]]


def test_a_candidate_that_is_better_everywhere_is_chosen_and_judged():
    found = chosen(Knows("gsm8k"), Knows("gsm8k", "bbh", "mbpp", "humaneval"))
    assert set(found.chosen["candidate"]) == {"candidate 1"}
    table = found.table().set_index("set")
    assert table["nested"].to_dict() == {name: float(route != "base") for name, route in SETS.items()}
    assert table["default"].to_dict() == {name: float(name == "gsm8k") for name in SETS}
    assert set(table["chosen"]) == {"candidate 1"} and len(found.predictions) == 62
    difference = found.against_default()
    assert (difference.value, difference.n, difference.gained, difference.lost) == (0.5, 6, 3, 0)


def test_the_default_keeps_what_is_equal_and_equals_leaving_one_set_out():
    default = Knows("mbpp", "bbh")
    found = chosen(default, Knows("mbpp", "bbh"))
    assert set(found.chosen["candidate"]) == {"candidate 0"} and set(found.chosen["ahead by"]) == {0.0}
    flat = held_out.leave_one_set_out(frame(), default, seed=0, judged=tuple(SETS))
    assert found.macro.value == found.flat.macro.value == flat.macro.value == pytest.approx(1 / 3)
    assert found.against_default().value == 0


def test_choosing_trains_on_nothing_of_the_fold():
    fit = Knows()
    chosen(fit)
    inner = [set(texts) for texts in fit.seen[: 3 * 4]]  # 3 folds, 4 sets outside each
    for number, fold in enumerate(nested.deal(SETS, tuple(SETS), 3, seed=0)):
        for texts in inner[4 * number : 4 * number + 4]:
            assert len(texts) >= 30 and not any(text.startswith(fold) for text in texts)
    assert len(fit.seen) == 12 + len(SETS)


def test_without_leaves_out_groups_made_forms_and_copies():
    left = nested.without(frame(), ["gsm8k"])
    assert set(left["group"]) == set(SETS) - {"gsm8k"} and len(left) == 51
    assert not left["text"].str.contains(COPY).any()  # mbpp's row shares its words
    assert not nested.without(frame(), ["mbpp"])["text"].str.contains("stub").any()


@pytest.mark.parametrize("seed", range(5))
def test_folds_hold_every_set_once_and_leave_a_set_of_every_route(seed):
    dealt = nested.deal(SETS, tuple(SETS), 3, seed)
    assert sorted(name for fold in dealt for name in fold) == sorted(SETS) and [len(fold) for fold in dealt] == [2] * 3
    for fold in dealt:
        assert {SETS[name] for name in SETS if name not in fold} == {"reasoning", "code", "base"}
    assert dealt == nested.deal(SETS, tuple(SETS), 3, seed)


def test_folds_differ_by_seed():
    assert len({tuple(nested.deal(SETS, tuple(SETS), 3, seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize(("fits", "folds"), [((), 3), ((Knows(),), 1), ((Knows(),), 7)])
def test_nothing_to_choose_is_an_error(fits, folds):
    with pytest.raises(CogumiError, match="folds"):
        chosen(*fits, folds=folds)
