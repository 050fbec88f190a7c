from __future__ import annotations

import numpy as np
import pytest
import torch

from cogumi_utils.errors import CogumiError
from cogumi_utils.model import packing, score, student


@pytest.fixture(scope="module")
def loaded(base):
    return student.load(base)


def test_each_answer_token_has_the_distribution_of_its_chat_alone(loaded, rows):
    """Against a plain forward pass of each chat, without padding."""
    model, tokenizer = loaded
    some = rows[:9]
    found = list(score.answer_log_probs(model, tokenizer, some, batch=4))
    ids = list(score.answer_ids(tokenizer, some))
    for example, log_probs, tokens in zip(some, found, ids, strict=True):
        whole = tokenizer(tokenizer.apply_chat_template(example.messages, tokenize=False), add_special_tokens=False)
        with torch.no_grad():
            logits = model(torch.tensor([whole["input_ids"]])).logits[0]
        alone = logits.log_softmax(-1)[-len(tokens) - 1 : -1].numpy()
        assert log_probs.dtype == np.float32 and np.abs(log_probs - alone).max() < 1e-4
        assert tokenizer.decode(tokens) == example.answer + tokenizer.eos_token


def test_costs_are_the_training_loss(loaded, rows):
    model, tokenizer = loaded
    costs = np.concatenate(list(score.answer_costs(model, tokenizer, rows[:9])))
    collate = packing.RowCollator(pad_token_id=tokenizer.pad_token_id, return_position_ids=True)
    labelled = [packing.labelled(tokenizer, row) for row in rows[:9]]
    with torch.no_grad():
        loss = packing.mean_loss(
            model, [collate([{**row, "seq_lengths": [len(row["input_ids"])]}]) for row in labelled]
        )
    assert costs.mean() == pytest.approx(loss, abs=1e-4)


def test_costs_come_in_the_order_of_the_examples_whatever_shares_a_batch(loaded, rows, monkeypatch):
    """Against the whole distributions; windows and batches that end in the midst of the rows."""
    monkeypatch.setattr(score, "WINDOW", 20)
    some = sorted(rows[:47], key=lambda row: row.id)
    found = list(score.answer_costs(*loaded, some, batch=6))
    ids, log_probs = score.answer_ids(loaded[1], some), score.answer_log_probs(*loaded, some)
    for cost, tokens, values in zip(found, ids, log_probs, strict=True):
        assert cost.dtype == np.float32
        assert np.abs(cost + values[np.arange(len(tokens)), tokens]).max() < 1e-4


def test_in_bf16_costs_are_nearly_the_same(loaded, rows):
    exact, short = (list(score.answer_costs(*loaded, rows[:40], bf16=bf16)) for bf16 in (False, True))
    gaps = [abs(one.mean() - other.mean()) for one, other in zip(exact, short, strict=True)]
    assert 0 < max(gaps) < 0.05
    assert {cost.dtype for cost in short} == {np.dtype("float32")}


def test_the_hardest_are_those_of_the_highest_perplexity(loaded, rows):
    model, tokenizer = loaded
    costs = list(score.answer_costs(model, tokenizer, rows))
    chosen = score.hardest(rows, costs, 0.1)
    mean = dict(zip((row.id for row in rows), (cost.mean() for cost in costs), strict=True))
    assert len(chosen) == round(0.1 * len(rows))
    assert [mean[row.id] for row in chosen] == sorted(mean.values(), reverse=True)[: len(chosen)]
    assert score.hardest(rows[:3], costs[:3], 0.01) == [max(rows[:3], key=lambda row: mean[row.id])]


def test_equally_hard_ones_go_by_their_ids(rows):
    costs = [np.ones(2, np.float32)] * len(rows)
    assert score.hardest(rows, costs, 0.5) == sorted(rows, key=lambda row: row.id)[: round(0.5 * len(rows))]


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_share_that_is_none_is_refused(rows, share):
    with pytest.raises(CogumiError, match="0.02 for 2%"):
        score.hardest(rows, [], share)
