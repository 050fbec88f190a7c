"""Reading: what is read, that documents are kept apart, and the first losses."""

from __future__ import annotations

import math
import re
from itertools import repeat

import pytest
import torch

from cogumi_utils.data.chat import ASSISTANT, END, SYSTEM, USER
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import pretrain
from cogumi_utils.model.pretrain import PretrainResult

OPTIONS = {"seed": 1, "batch": 4, "length": 64, "repeat_share": 0.3, "fact_share": 0.2}
# SHA-256 of the ids of six steps: a base of this seed has read exactly this.
DIGEST = "a8fd2ea8d7b7f1e8cde1ff7b7079fed697eb8f441b5f8431f840ec20118f6a78"
LOSSES = [6.67345, 6.68904, 6.69112, 6.64637]


@pytest.fixture(scope="module")
def rows(tokenizer):
    return pretrain.reading(tokenizer, steps=6, warm_steps=2, **OPTIONS)


def documents_of(tokenizer, ids: torch.Tensor) -> list[str]:
    """The texts between start tokens, the last one (which is cut) left out."""
    return tokenizer.decode(ids.flatten()).split(tokenizer.bos_token)[1:-1]


def test_rows_are_whole_numbers_in_the_asked_shape(rows):
    ids, positions = rows
    assert ids.shape == positions.shape == (24, 64) and ids.dtype == positions.dtype == torch.long


def test_positions_restart_with_each_document(tokenizer, rows):
    ids, positions = (part.flatten() for part in rows)
    starts = positions == 0
    assert torch.equal(starts[:512], (ids == tokenizer.bos_token_id)[:512]) and starts.sum() > 20
    assert torch.equal(positions[1:][~starts[1:]], positions[:-1][~starts[1:]] + 1)


def test_first_repeats_alone_then_the_corpus(tokenizer, rows):
    ids, _ = rows
    warm, corpus = documents_of(tokenizer, ids[:8]), documents_of(tokenizer, ids[8:])

    def repeats(text: str) -> bool:
        return len(set(text.removesuffix("\n").split("\n"))) == 1 and text.count("\n") in (2, 3)

    assert len(warm) > 3 and all(map(repeats, warm))
    assert 0 < sum(map(repeats, corpus)) < len(corpus)
    assert any(re.search(r"Call:|=>|def |Answer:", text) for text in corpus)


def test_no_chat_token_is_ever_read(tokenizer):
    """Repeats are drawn from the vocabulary, and the chat's own tokens are entries of it."""
    ids, _ = pretrain.reading(tokenizer, **{**OPTIONS, "repeat_share": 1.0}, steps=60, warm_steps=30)
    assert ids.unique().numel() > 400
    special = {tokenizer.convert_tokens_to_ids(token) for token in (USER, ASSISTANT, SYSTEM, END, tokenizer.pad_token)}
    assert len(special) == 5 and special.isdisjoint(ids.unique().tolist())


def test_a_seed_decides_what_is_read(tokenizer, rows):
    assert pretrain.digest(rows) == DIGEST
    other = pretrain.reading(tokenizer, steps=6, warm_steps=2, **{**OPTIONS, "seed": 2})
    assert pretrain.digest(other) != DIGEST


def test_reading_without_warm_steps_or_nothing_at_all(tokenizer, untrained):
    ids, positions = pretrain.reading(tokenizer, steps=2, warm_steps=0, **OPTIONS)
    assert ids.shape == (8, 64) and ids.dtype == positions.dtype == torch.long
    assert len(pretrain.pretrain(untrained, (ids, positions), batch=4).losses) == 2
    none = pretrain.reading(tokenizer, steps=0, warm_steps=0, **OPTIONS)
    assert none[0].shape == (0, 64) and len(pretrain.digest(none)) == 64


@pytest.mark.parametrize("warm_steps", [3, -1])
def test_more_warm_steps_than_steps(tokenizer, warm_steps):
    with pytest.raises(CogumiError) as caught:
        pretrain.reading(tokenizer, steps=2, warm_steps=warm_steps, **OPTIONS)
    error = caught.value
    assert error.found == f"warm_steps = {warm_steps}" and error.expected and error.why and "00_student" in error.fix


def test_packed_rows_carry_documents_over_the_end_of_a_row(tokenizer):
    ids, positions = pretrain.packed_rows(repeat("3+4=7.\n"), tokenizer, rows=3, length=10)
    one = [tokenizer.bos_token_id, *tokenizer("3+4=7.\n", add_special_tokens=False)["input_ids"]]
    whole = (one * 10)[:30]
    assert ids.flatten().tolist() == whole
    assert positions.flatten().tolist() == [place % len(one) for place in range(30)]


def test_documents_do_not_see_each_other(tokenizer, untrained, rows):
    """The first document of a row is changed: what the model makes of the others stays the same to the last bit."""
    ids, positions = (part[8:10].clone() for part in rows)
    end = int((positions[0] == 0).nonzero()[1])
    changed = ids.clone()
    changed[0, 1:end] = (ids[0, 1:end] + 100) % 700 + 6
    untrained.train()
    logits = [untrained(input_ids=one, position_ids=positions, use_cache=False).logits for one in (ids, changed)]
    assert not torch.allclose(logits[0][0, 1:end], logits[1][0, 1:end], atol=1e-3)
    assert torch.equal(logits[0][0, end:], logits[1][0, end:]) and torch.equal(logits[0][1], logits[1][1])
    alone = untrained(input_ids=ids[:1, end:], position_ids=positions[:1, end:], use_cache=False).logits
    torch.testing.assert_close(alone[0], logits[0][0, end:], atol=1e-5, rtol=0)


def test_the_first_losses(tokenizer, untrained, rows):
    """Four steps from a fixed seed. A change of model, data, optimiser or schedule shows here first."""
    trained = pretrain.pretrain(untrained, tuple(part[:16] for part in rows), batch=4)
    assert trained.losses == pytest.approx(LOSSES, abs=5e-4)
    assert trained.tokens == 16 * 64 and trained.tokens_per_second == trained.tokens / trained.seconds
    assert not untrained.training


def test_the_loss_is_that_of_the_next_token(untrained, rows):
    ids, positions = (part[:4] for part in rows)
    untrained.eval()
    with torch.no_grad():
        logs = untrained(input_ids=ids, position_ids=positions, use_cache=False).logits.log_softmax(-1)
    expected = -logs[:, :-1].gather(-1, ids[:, 1:, None]).mean().item()
    assert pretrain.pretrain(untrained, (ids, positions), batch=4).losses[0] == pytest.approx(expected, abs=5e-3)


def test_training_learns_and_reports_each_step(untrained, rows):
    told = []
    ids, positions = (part[:4].repeat(15, 1) for part in rows)
    trained = pretrain.pretrain(untrained, (ids, positions), batch=4, log=lambda *point: told.append(point[::-1]))
    losses = trained.losses
    assert told == [(step, {"pretrain/loss": loss}) for step, loss in enumerate(losses)]
    assert losses[-1] < 0.75 * losses[0]


def test_no_rows_no_training(tokenizer, untrained):
    before = [parameter.clone() for parameter in untrained.parameters()]
    nothing = pretrain.pretrain(untrained, (torch.zeros(0, 64, dtype=torch.long),) * 2, batch=4)
    assert nothing.losses == [] and nothing.tokens == 0 and math.isnan(nothing.tokens_per_second)
    assert all(torch.equal(a, b) for a, b in zip(before, untrained.parameters(), strict=True))
    assert nothing.smoothed() == ([], [])


def test_rows_that_fill_no_step_are_left_out(untrained, rows):
    trained = pretrain.pretrain(untrained, tuple(part[:7] for part in rows), batch=4)
    assert len(trained.losses) == 1 and trained.tokens == 4 * 64


def test_every_parameter_has_one_optimiser(untrained):
    muon, adam = pretrain.optimizers(untrained, muon_lr=0.02, adam_lr=3e-3)
    names = {id(parameter): name for name, parameter in untrained.named_parameters()}
    held = [[names[id(p)] for group in part.param_groups for p in group["params"]] for part in (muon, adam)]
    assert sorted(held[0] + held[1]) == sorted(names.values())
    assert sorted(name.rpartition("layers.0.")[2].removesuffix(".weight") for name in held[0]) == sorted(
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
        + ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    )
    matrices, others = muon.param_groups[0], adam.param_groups[0]
    assert (matrices["lr"], matrices["momentum"], matrices["weight_decay"]) == (0.02, 0.95, 0)
    assert (others["lr"], others["betas"], others["weight_decay"]) == (3e-3, (0.9, 0.95), 0)


def test_the_rate_holds_for_half_of_the_steps_then_falls_to_nothing():
    rates = [pretrain.linear_decay(step, 10) for step in range(11)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0])


@pytest.mark.parametrize(
    ("losses", "window", "ends", "means"),
    [
        ([], 25, [], []),
        ([3.0], 25, [1], [3.0]),
        ([1.0, 2.0, 3.0], 25, [3], [2.0]),
        ([1.0, 2.0, 3.0, 4.0], 2, [2, 3, 4], [1.5, 2.5, 3.5]),
        ([1.0, 2.0, 3.0], 1, [1, 2, 3], [1.0, 2.0, 3.0]),
    ],
)
def test_smoothed_losses(losses, window, ends, means):
    assert PretrainResult(losses, 1, 1.0).smoothed(window) == (ends, pytest.approx(means))


def test_a_long_curve_is_drawn_with_about_a_hundred_points():
    ends, means = PretrainResult([float(step) for step in range(1000)], 1, 1.0).smoothed()
    assert ends == list(range(25, 1001, 10)) and means == pytest.approx([end - 13 for end in ends])
