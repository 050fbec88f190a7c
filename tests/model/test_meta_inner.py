"""The inner loop against one written in another way: one task at a time, unrolled, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from cogumi_utils.data.skills import families
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import meta_batches, meta_inner, student
from cogumi_utils.model.meta_adapters import Learner, stacked

TASKS, STEPS, RATE = 3, 3, 0.7


@pytest.fixture(scope="module")
def learner(tokenizer, small_shape):
    torch.manual_seed(1)
    made = Learner(student.small_llama(len(tokenizer), seed=1, **small_shape), 4, ["q_proj", "v_proj", "down_proj"])
    return made.double()


@pytest.fixture(scope="module")
def weights(learner):
    """Neither side is zero, so that every gradient says something."""
    generator = torch.Generator().manual_seed(2)
    return {n: 0.2 * torch.randn(w.shape, generator=generator, dtype=w.dtype) for n, w in learner.weights().items()}


@pytest.fixture(scope="module")
def sides(tokenizer):
    episodes = families.episodes(families.families("train", TASKS), 4, 2, seed=1)
    return [[meta_batches.rows_of(tokenizer, rows) for rows in side] for side in
            ([e.support for e in episodes], [e.queries for e in episodes])]  # fmt: skip


@pytest.fixture(scope="module")
def batches(sides, tokenizer):
    return [meta_batches.batch_of(side, tokenizer.pad_token_id) for side in sides]


@pytest.fixture(scope="module")
def rates(weights):
    """Each matrix and step has its own, so that a rate in the wrong place is seen."""
    return {n: RATE * (1 + torch.arange(STEPS) / 5 + i / 20).double() for i, n in enumerate(weights)}


def transformers_loss(learner, weights, rows):
    """The library's own loss of one task's rows, each alone: mean over the answer tokens of all of them."""
    total, count = 0.0, 0
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        tokens = int((labels[:, 1:] != -100).sum())
        inner = {name.removeprefix("adapted."): value for name, value in weights.items()}
        total = (
            total + tokens * functional_call(learner.adapted, inner, kwargs={"input_ids": ids, "labels": labels}).loss
        )
        count += tokens
    return total / count


def unrolled(learner, weights, rates, support, queries):
    """Gradients of the mean query loss through the unrolled inner steps, the inner gradients taken as constants."""
    start = {n: w.clone().requires_grad_() for n, w in weights.items()}
    steps = {n: r.clone().requires_grad_() for n, r in rates.items()}
    total = 0.0
    for rows, asked in zip(support, queries, strict=True):
        current = dict(start)
        for step in range(STEPS):
            loss = transformers_loss(learner, current, rows)
            found = torch.autograd.grad(loss, list(current.values()), retain_graph=True)
            pairs = zip(current.items(), found, strict=True)
            current = {n: w - steps[n][step] * gradient.detach() for (n, w), gradient in pairs}
        total = total + transformers_loss(learner, current, asked) / TASKS
    total.backward()
    return {n: w.grad for n, w in start.items()}, {n: r.grad for n, r in steps.items()}, total.item()


def test_the_outer_gradient_is_that_of_an_unrolled_reference(learner, weights, rates, sides, batches):
    support, queries = batches
    adapted = meta_inner.adapt(learner, weights, rates, support, steps=STEPS, keep=True)
    shared, moved, loss = meta_inner.outer_gradient(learner, adapted, queries)
    wanted, wanted_rates, wanted_loss = unrolled(learner, weights, rates, *sides)
    assert loss == pytest.approx(wanted_loss, abs=1e-6)
    for name in weights:
        assert wanted[name].norm() > 1e-3
        assert (shared[name] - wanted[name]).norm() <= 1e-5 * wanted[name].norm()
        assert (moved[name] - wanted_rates[name]).norm() <= 1e-5 * wanted_rates[name].norm()


def test_a_task_in_a_stack_adapts_as_it_does_alone(learner, weights, rates, sides, batches, tokenizer):
    together = meta_inner.adapt(learner, weights, rates, batches[0], steps=2)
    for task, rows in enumerate(sides[0]):
        batch = meta_batches.batch_of([rows], tokenizer.pad_token_id)
        alone = meta_inner.adapt(learner, weights, rates, batch, steps=2)
        for name, value in alone.weights.items():
            torch.testing.assert_close(together.weights[name][task], value[0], rtol=1e-6, atol=1e-9)


def test_adapting_lowers_the_loss_and_leaves_the_shared_weights(learner, weights, rates, batches):
    before = {name: value.clone() for name, value in weights.items()}
    losses = meta_inner.adapt(learner, weights, rates, batches[0], steps=4).losses
    assert losses == sorted(losses, reverse=True) and len(losses) == 4
    assert all(torch.equal(weights[name], before[name]) for name in weights)


def test_a_rate_of_zero_keeps_a_matrix(learner, weights, batches):
    rates = meta_inner.fixed_rates(weights, 0.5, 1, "lora_B")
    adapted = meta_inner.adapt(learner, weights, rates, batches[0], steps=2).weights
    same = {name for name in weights if torch.equal(adapted[name], stacked(weights, TASKS)[name])}
    assert same == {name for name in weights if "lora_A" in name}


def test_exact_is_what_generating_gives(learner, weights, tokenizer):
    """A row counts where the greedy tokens, generated one by one, are the reference and its end."""
    from cogumi_utils.data.chat import prompt_text
    from cogumi_utils.model import generate

    e = families.episode(families.families("train", 3)[2], 6, 1, seed=1)  # two labels
    rows = meta_batches.rows_of(tokenizer, e.support)
    batch = meta_batches.batch_of([rows], tokenizer.pad_token_id)
    rates = meta_inner.fixed_rates(weights, 1.0, 1)
    learned = meta_inner.adapt(learner, weights, rates, batch, steps=100).weights
    exact = learner.exact(learned, batch).tolist()
    model = learner.put({name: value[0] for name, value in learned.items()})
    prompts = [prompt_text(tokenizer, row.prompt) for row in e.support]
    answers = generate.complete(model, tokenizer, prompts, max_new_tokens=40, stop=tokenizer.eos_token)
    assert exact == [answer == row.answer for answer, row in zip(answers, e.support, strict=True)]
    assert any(exact)


def test_groups_of_unequal_size_are_refused(sides, tokenizer):
    with pytest.raises(CogumiError, match="groups of 3, 4 rows"):
        meta_batches.batch_of([sides[0][0], sides[0][1][:3]], tokenizer.pad_token_id)
    with pytest.raises(CogumiError, match="groups of nothing rows"):
        meta_batches.batch_of([], tokenizer.pad_token_id)
