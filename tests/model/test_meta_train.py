"""Meta-training: equal compute for all arms, the same run twice, and each algorithm does what its name says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cogumi_utils.data.skills import families
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import meta_train, student
from cogumi_utils.model.meta_adapters import Learner
from cogumi_utils.model.meta_train import ALGORITHMS, MetaRecipe

RECIPE = MetaRecipe(
    "fomaml", tokens=2500, tasks=2, shots=2, inner_steps=3, inner_rate=0.3, outer_rate=0.01, rate_rate=0.05, seed=1,
    families=14, longest=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def learner(tokenizer, small_shape):
    torch.manual_seed(1)
    return Learner(student.small_llama(len(tokenizer), seed=1, **{**small_shape, "layers": 2}), 4)


@pytest.fixture(scope="module")
def trained(learner, tokenizer):
    return {name: meta_train.train(learner, tokenizer, replace(RECIPE, algorithm=name)) for name in ALGORITHMS}


def test_every_algorithm_reads_as_many_tokens(trained):
    """Up to the last step, which is not cut short."""
    for name, one in trained.items():
        assert RECIPE.tokens <= one.tokens < RECIPE.tokens + 2 * one.tokens / len(one.losses), name


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_weights(learner, tokenizer, trained, name):
    again = meta_train.train(learner, tokenizer, replace(RECIPE, algorithm=name))
    assert again.losses == trained[name].losses
    assert all(torch.equal(again.weights[n], w) for n, w in trained[name].weights.items())
    other = meta_train.train(learner, tokenizer, replace(RECIPE, algorithm=name, seed=2, tokens=500))
    assert other.losses[0] != again.losses[0]


def test_every_matrix_moves(learner, trained):
    for name, one in trained.items():
        assert not [n for n, w in learner.weights().items() if torch.equal(w, one.weights[n])], name


def test_rates_are_learned_where_they_should_be(trained):
    """FOMAML's differ by matrix and step; ANIL's are zero outside the last block; Reptile's stay."""
    assert len({round(float(rate), 5) for rates in trained["fomaml"].rates.values() for rate in rates}) > 50
    still = {n for n, rates in trained["anil"].rates.items() if not rates.any()}
    assert still == {n for n in trained["anil"].rates if ".layers.0." in n}
    assert {round(float(rate), 5) for rates in trained["reptile"].rates.values() for rate in rates} == {0.3}


def test_a_warm_start_is_multitask(learner, tokenizer):
    warm = meta_train.train(learner, tokenizer, replace(RECIPE, warm=0.5, tokens=1200))
    plain = meta_train.train(learner, tokenizer, replace(RECIPE, algorithm="multitask", tokens=1200))
    assert warm.losses[0] == plain.losses[0] and warm.losses[-1] != plain.losses[-1]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("warm", [0.0, 0.5])
def test_going_on_from_a_shared_warm_start_is_the_whole_training(learner, tokenizer, name, warm):
    recipe = replace(RECIPE, algorithm=name, warm=warm, tokens=1200)
    whole = meta_train.train(learner, tokenizer, recipe)
    start = meta_train.warm_up(learner, tokenizer, recipe)
    parted = meta_train.train(learner, tokenizer, recipe, start=start)
    assert (parted.losses, parted.tokens) == (whole.losses, whole.tokens)
    assert start.tokens >= warm * recipe.tokens and len(start.losses) < len(whole.losses)
    for kind in ("weights", "rates"):
        ours, theirs = getattr(parted, kind), getattr(whole, kind)
        assert all(torch.equal(ours[n], value) for n, value in theirs.items()), kind
    assert parted.seconds > start.seconds


def test_reptile_moves_towards_the_adapted_weights(learner, tokenizer):
    """With one task the shared gradient is the way there, over the rate: here against steps taken by hand."""
    training = meta_train._Training(learner, tokenizer, replace(RECIPE, algorithm="reptile", longest=float("inf")))
    moved = {}
    training._move = lambda shared, rates: moved.update(shared)
    some = families.episodes(families.families("train", 1), 2, 2, seed=1)
    training.reptile(some)
    current = {n: w.clone().requires_grad_() for n, w in learner.weights().items()}
    for side in (some[0].support, some[0].support, some[0].queries, some[0].queries):
        loss = learner.losses(current, training._batch([side])).sum()
        found = torch.autograd.grad(loss, list(current.values()))
        current = {n: (w - 0.3 * g).detach().requires_grad_() for (n, w), g in zip(current.items(), found, strict=True)}
    for name, start in learner.weights().items():
        torch.testing.assert_close(moved[name], (start - current[name].detach()) / 0.3, rtol=1e-3, atol=1e-5)


def test_an_unknown_algorithm_is_refused(learner, tokenizer):
    with pytest.raises(CogumiError, match="fomaml, anil, reptile"):
        meta_train.train(learner, tokenizer, replace(RECIPE, algorithm="maml"))
