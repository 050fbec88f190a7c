"""Packed chats: whole, apart from each other, with loss on their answers alone."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from trl import pack_dataset

from cogumi_utils.data import chat, corpus, skills
from cogumi_utils.model import packing, sft, student


@pytest.fixture(scope="module")
def trainer(base, rows, validation, tmp_path_factory):
    """TRL's trainer as `train` makes it, on the plain base, before its first step."""
    model, tokenizer = student.load(base)
    recipe = sft.Recipe(steps=6, batch=4, max_length=96, rank=4, learning_rate=3e-3, seed=1, save_every=9, eval_every=9)
    return sft._trainer(model, tokenizer, rows, recipe, tmp_path_factory.mktemp("trainer"), validation, [])


@pytest.fixture(scope="module")
def batch(trainer) -> dict[str, torch.Tensor]:
    """The first batch of the real pipeline: [4, 96] of several chats a row."""
    return next(iter(trainer.get_train_dataloader()))


def segments(batch: dict[str, torch.Tensor], row: int) -> list[slice]:
    """Where the chats of a row lie; padding is a run of zero positions at its end."""
    positions = batch["position_ids"][row]
    starts = [*(positions == 0).nonzero().flatten().tolist(), len(positions)]
    return [slice(start, end) for start, end in zip(starts, starts[1:], strict=False) if end - start > 1]


def test_a_row_holds_whole_chats_and_only_answers_carry_loss(trainer, batch, tokenizer, rows):
    chats = {tokenizer.apply_chat_template(row.messages, tokenize=False): row for row in rows}
    assert set(batch) == {"input_ids", "labels", "position_ids"} and batch["input_ids"].shape == (4, 96)
    found = 0
    for row in range(4):
        for part in segments(batch, row):
            ids, labels = batch["input_ids"][row, part], batch["labels"][row, part]
            example = chats[tokenizer.decode(ids)]
            assert tokenizer.decode(labels[labels != -100]) == example.answer + chat.END
            assert torch.equal(labels[labels != -100], ids[-int((labels != -100).sum()) :])
            found += 1
    assert found >= 8
    covered = sum(part.stop - part.start for row in range(4) for part in segments(batch, row))
    assert (batch["labels"] != -100).sum() < covered
    padding = batch["input_ids"] == tokenizer.pad_token_id
    assert (batch["labels"][padding] == -100).all()


def test_a_chat_does_not_learn_its_first_token_from_the_chat_before():
    """Even where every token carries loss: what would predict a first token is the end of another chat."""
    collate = packing.RowCollator(pad_token_id=1, return_position_ids=True)
    rows = [{"input_ids": [7, 8, 9, 7, 8], "labels": [7, 8, 9, 7, 8], "seq_lengths": [3, 2]}]
    rows += [{"input_ids": [6, 9], "labels": [6, 9], "seq_lengths": [2]}]
    made = {name: value.tolist() for name, value in collate(rows).items()}
    assert made["input_ids"] == [[7, 8, 9, 7, 8], [6, 9, 1, 1, 1]]
    assert made["position_ids"] == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert made["labels"] == [[-100, 8, 9, -100, 8], [-100, 9, -100, -100, -100]]


def hidden_states(trainer, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """[rows, length, hidden] before the output layer, in the forward pass of the trainer's own loss."""
    caught = []
    norm = trainer.model.get_base_model().model.norm
    hook = norm.register_forward_hook(lambda module, given, result: caught.append(result.detach().clone()))
    trainer.compute_loss(trainer.model, dict(batch))
    hook.remove()
    (states,) = caught
    return states


def test_packed_chats_do_not_see_each_other(trainer, batch):
    """The first chat of a row is changed: what the model makes of all others stays the same to the last bit."""
    trainer.model.train()
    first, rest = segments(batch, 0)[0], slice(segments(batch, 0)[0].stop, None)
    changed = {name: value.clone() for name, value in batch.items()}
    changed["input_ids"][0, first] = (batch["input_ids"][0, first] + 50) % 700 + 6
    before, after = (hidden_states(trainer, one) for one in (batch, changed))
    assert not torch.allclose(before[0, first], after[0, first], atol=1e-3)
    assert torch.equal(before[0, rest], after[0, rest]) and torch.equal(before[1:], after[1:])


def test_the_packed_loss_is_the_loss_of_the_chats_one_by_one(trainer, batch):
    """What the trainer minimises, against a forward pass of each chat alone that knows nothing of packing."""
    trainer.model.eval()
    total = count = 0.0
    with torch.no_grad():
        packed = trainer.compute_loss(trainer.model, dict(batch)).item()
        for row in range(4):
            for part in segments(batch, row):
                ids, labels = batch["input_ids"][row : row + 1, part], batch["labels"][row, part][1:]
                logs = trainer.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
                kept = labels != -100
                total -= logs[kept].gather(-1, labels[kept, None]).sum().item()
                count += int(kept.sum())
    assert packed == pytest.approx(total / count, abs=1e-4)


def test_the_gap_that_the_notebook_shows_is_small_and_sees_a_leak(base, rows, monkeypatch):
    model, tokenizer = student.load(base)
    assert packing.packing_gap(model, tokenizer, rows[:24], max_length=96) < 1e-5
    keep = packing.RowCollator.torch_call

    def running_on(self, examples):
        batch = keep(self, examples)
        batch["position_ids"] = torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])
        return batch

    monkeypatch.setattr(packing.RowCollator, "torch_call", running_on)
    assert packing.packing_gap(model, tokenizer, rows[:24], max_length=96) > 1e-2


def test_packed_rows_are_full():
    """2,000 skill tasks in rows of 256, best fit first, with the tokenizer of the default profile."""
    tokenizer = student.train_tokenizer(corpus.sample(1, 20_000), 1024)
    some = skills.mixed(skills.trained_skills(), 60, split="train", seed=1)[:2000]
    rows = [packing.labelled(tokenizer, row) for row in some]
    packed = pack_dataset(Dataset.from_list(rows), 256, "bfd")
    tokens = sum(len(row["input_ids"]) for row in rows)
    assert len(some) == 2000 and sum(map(len, packed["input_ids"])) == tokens, "no chat is cut or lost"
    assert (tokens, len(packed)) == (59845, 238)
    assert tokens / (256 * len(packed)) >= 0.98
