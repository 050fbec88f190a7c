"""Packed chats, what a step minimises, pruned weights that stay pruned, and the first losses."""

from __future__ import annotations

import copy

import pytest
import torch

from cogumi_utils.errors import CogumiError
from cogumi_utils.model import student, transfer

LOSSES = [1.78944, 2.21902, 1.31847, 1.78632]
DIALS = {"steps": 3, "batch": 2}


@pytest.fixture(scope="module")
def chats(tokenizer, rows):
    return transfer.packed(tokenizer, rows, length=96, rows=8, seed=1)


@pytest.fixture
def parent(base):
    return student.load(base)[0]


def spans(packed: transfer.Packed) -> list[list[tuple[int, int]]]:
    """(start, end) of the chats of each row; padding, which is a chat of one token each, left out."""
    found = []
    for positions in packed.positions:
        starts = [*(positions == 0).nonzero().flatten().tolist(), len(positions)]
        found.append([pair for pair in zip(starts, starts[1:], strict=False) if pair[1] - pair[0] > 1])
    return found


def test_rows_hold_whole_chats_and_mark_their_answers(tokenizer, rows, chats):
    assert all(part.shape == (8, 96) for part in chats)
    assert [part.dtype for part in chats] == [torch.long, torch.long, torch.bool]
    known = {tokenizer.apply_chat_template(row.messages, tokenize=False): row.answer for row in rows}
    seen = 0
    for ids, answers, chats_of_row in zip(chats.ids, chats.answers, spans(chats), strict=True):
        for start, end in chats_of_row:
            answer = known[tokenizer.decode(ids[start:end])]  # KeyError for a chat that is cut or glued
            assert tokenizer.decode(ids[start:end][answers[start:end]]) == answer + tokenizer.eos_token
            seen += 1
        last = chats_of_row[-1][1]
        assert (ids[last:] == tokenizer.pad_token_id).all() and not answers[last:].any()
    assert seen > 16


def test_rows_are_well_filled(tokenizer, chats):
    assert (chats.ids != tokenizer.pad_token_id).float().mean() > 0.9


def test_a_seed_decides_the_rows(tokenizer, rows, chats):
    again, other = (transfer.packed(tokenizer, rows, length=96, rows=8, seed=seed) for seed in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(chats, again, strict=True)) and not torch.equal(chats.ids, other.ids)


def test_few_examples_come_again_in_another_order(tokenizer, rows):
    many = transfer.packed(tokenizer, rows[:12], length=96, rows=40, seed=1)
    assert len(many.ids) == 40
    kinds, counts = many.ids.unique(dim=0, return_counts=True)
    assert counts.max() - counts.min() <= 1 and len(kinds) < 12
    first, second = many.ids[: len(kinds)], many.ids[len(kinds) : 2 * len(kinds)]
    assert not torch.equal(first, second) and torch.equal(first.unique(dim=0), second.unique(dim=0))


def test_a_chat_longer_than_a_row_loses_its_end(tokenizer, rows):
    longest = max(rows, key=lambda row: len(row.answer))
    ids = tokenizer(tokenizer.apply_chat_template(longest.messages, tokenize=False))["input_ids"]
    one = transfer.packed(tokenizer, [longest], length=16, rows=1, seed=1)
    assert one.ids[0].tolist() == ids[:16]


@pytest.mark.parametrize(("examples", "dials"), [(0, {}), (1, {"rows": 0}), (1, {"length": 1})])
def test_nothing_to_pack(tokenizer, rows, examples, dials):
    with pytest.raises(CogumiError) as caught:
        transfer.packed(tokenizer, rows[:examples], **{"length": 96, "rows": 8, "seed": 1, **dials})
    assert caught.value.found.startswith(f"{examples} examples")


def test_after_the_last_row_comes_the_first(chats):
    part = chats.part(2, 3)
    assert all(torch.equal(a, b[[6, 7, 0]]) for a, b in zip(part, chats, strict=True))


def test_the_first_losses(untrained, parent, chats):
    """Four steps from a fixed seed. A change of packing, loss, optimiser or schedule shows here first."""
    result = transfer.transfer(untrained, parent, chats, steps=4, batch=2)
    assert result.losses == pytest.approx(LOSSES, abs=1e-2)  # bf16: another kind of CPU is 4e-3 away
    assert result.tokens == 4 * 2 * 96 and result.tokens_per_second == result.tokens / result.seconds
    assert not untrained.training and not parent.training


@pytest.mark.parametrize(
    ("temperature", "written_weight", "prompt_weight"),
    [(1.0, 0.0, 0.0), (2.0, 0.0, 0.0), (1.0, 0.5, 0.0), (3.0, 1.0, 0.25), (1.0, 0.0, 2.0)],
)
def test_the_loss_is_kl_and_cross_entropy_of_weighted_tokens(
    tokenizer, rows, untrained, parent, temperature, written_weight, prompt_weight
):
    chats = transfer.packed(tokenizer, [min(rows, key=lambda row: len(row.answer))], length=96, rows=2, seed=1)
    some = chats.part(0, 2)  # half of each row is padding, which must not count
    with torch.no_grad():
        logits = [
            m(input_ids=some.ids, position_ids=some.positions, use_cache=False).logits for m in (parent, untrained)
        ]
    wanted, found = ((part[:, :-1] / temperature).log_softmax(-1) for part in logits)
    kl = (wanted.exp() * (wanted - found)).sum(-1) * temperature**2
    written = -logits[1][:, :-1].log_softmax(-1).gather(-1, some.ids[:, 1:, None])[..., 0]
    real = some.positions[:, 1:] > 0
    weights = (some.answers[:, 1:] * 1.0 + ~some.answers[:, 1:] * prompt_weight) * real
    expected = ((kl + written_weight * written) * weights).sum() / weights.sum()
    result = transfer.transfer(
        untrained, parent, chats, steps=1, batch=2, temperature=temperature, written_weight=written_weight,
        prompt_weight=prompt_weight,
    )  # fmt: skip
    assert result.losses[0] == pytest.approx(expected.item(), rel=1e-2)  # bf16 against float32


def test_a_copy_of_the_parent_has_nothing_to_learn(parent, chats):
    child = copy.deepcopy(parent)
    assert transfer.transfer(child, parent, chats, **DIALS).losses[0] == pytest.approx(0, abs=1e-6)


def test_the_student_comes_nearer_and_the_parent_stays(untrained, parent, chats):
    before, told = copy.deepcopy(parent.state_dict()), []
    result = transfer.transfer(
        untrained, parent, chats, steps=30, batch=4, muon_lr=0.02, adam_lr=3e-3,
        log=lambda *point: told.append(point[::-1]),
    )  # fmt: skip
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert told == [(step, {"transfer/loss": loss}) for step, loss in enumerate(result.losses)]
    assert all(torch.equal(value, before[name]) for name, value in parent.state_dict().items())


def test_equal_runs_end_equal(tokenizer, parent, chats):
    students = [copy.deepcopy(parent) for _ in range(2)]
    for one in students:
        with torch.no_grad():
            one.model.layers[0].mlp.up_proj.weight[::2] = 0
        transfer.transfer(one, parent, chats, **DIALS)
    pairs = zip(*(one.parameters() for one in students), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_pruned_weights_stay_zero_and_the_others_learn(parent, chats):
    child = copy.deepcopy(parent)
    generator = torch.Generator().manual_seed(1)
    names = ["model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"]
    weights = dict(child.named_parameters())
    masks = {name: torch.rand(weights[name].shape, generator=generator) < 0.5 for name in names}
    zeros = []

    def count(_, step: int) -> None:
        zeros.append(all((weights[name][~mask] == 0).all() for name, mask in masks.items()))

    result = transfer.transfer(child, parent, chats, masks=masks, log=count, **DIALS)
    assert zeros == [True] * 3 and result.losses[0] > 0.01
    for name, mask in masks.items():
        before, after = dict(parent.named_parameters())[name][mask], weights[name][mask]
        assert (after != 0).float().mean() > 0.99 and not torch.equal(before, after)


def test_pruned_weights_do_not_steer_the_kept_ones(untrained, parent, chats):
    """What lies under a mask does not count: the first step is that of the gradient without it."""
    name = "model.layers.0.mlp.up_proj.weight"
    mask = torch.zeros_like(dict(untrained.named_parameters())[name], dtype=torch.bool)
    mask[0, 0] = True
    before = dict(untrained.named_parameters())[name][0, 0].item()
    transfer.transfer(untrained, parent, chats, steps=1, batch=2, muon_lr=0.01, masks={name: mask})
    moved = abs(dict(untrained.named_parameters())[name][0, 0].item() - before)
    assert moved == pytest.approx(0.01 * 2**0.5, rel=0.5)  # Muon makes one entry's step its whole matrix's: norm 1


@pytest.mark.parametrize(
    ("name", "mask", "found"),
    [
        ("lm_head.weight", torch.ones(800, 64, dtype=torch.bool), "parameter unknown"),
        ("model.norm.weight", torch.ones(63, dtype=torch.bool), "[63], parameter [64]"),
        ("model.norm.weight", torch.ones(64), "torch.float32"),
    ],
)
def test_masks_that_do_not_fit(untrained, parent, chats, name, mask, found):
    with pytest.raises(CogumiError) as caught:
        transfer.transfer(untrained, parent, chats, masks={name: mask}, **DIALS)
    assert found in caught.value.found and "embed_tokens" in caught.value.fix


def test_vocabularies_that_differ(parent, chats):
    small = student.small_llama(700, hidden=64, layers=1, heads=2, kv_heads=2, ffn=128, context=256, seed=2)
    with pytest.raises(CogumiError) as caught:
        transfer.transfer(small, parent, chats, **DIALS)
    assert caught.value.found == "700 words, parent 800" and "shrink" in caught.value.fix


def test_no_steps_no_training(untrained, parent, chats):
    before = copy.deepcopy(untrained.state_dict())
    result = transfer.transfer(untrained, parent, chats, steps=0, batch=2)
    assert result.losses == [] and result.tokens == 0
    assert all(torch.equal(value, before[name]) for name, value in untrained.state_dict().items())
