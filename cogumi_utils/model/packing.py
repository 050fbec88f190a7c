"""Chats in packed rows that do not see each other, and the loss that proves it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from cogumi_utils.data.chat import prompt_text
from cogumi_utils.schema import Example


class RowCollator(DataCollatorForLanguageModeling):
    """Packed rows stay rows: [batch, max_length] with positions that restart at each chat and no padding mask.

    TRL flattens a packed batch into one row for variable-length attention kernels. SDPA has none, so it would
    compute all of (batch * length)² scores; row by row it is `batch` times fewer. transformers derives the
    block-diagonal mask from the restarting positions, so that packed chats do not see each other.
    """

    def torch_call(self, examples: list[dict]) -> dict[str, torch.Tensor]:
        batch = super().torch_call(examples)
        del batch["attention_mask"]
        batch["labels"][batch["position_ids"] == 0] = -100  # a chat's first token has nothing before it
        return batch


@torch.no_grad()
def packing_gap(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, max_length: int
) -> float:
    """|loss packed − loss one chat at a time|, nats per answer token: 0 if packed chats do not see each other."""
    rows = [labelled(tokenizer, example) for example in examples]
    packed = pack_dataset(Dataset.from_list(rows), max_length, "bfd")
    collate = RowCollator(pad_token_id=tokenizer.pad_token_id, return_position_ids=True)
    alone = [collate([{**row, "seq_lengths": [len(row["input_ids"])]}]) for row in rows]
    losses = [mean_loss(model, batches) for batches in ([collate(list(packed))], alone)]
    return abs(losses[0] - losses[1])


def labelled(tokenizer: PreTrainedTokenizerBase, example: Example) -> dict[str, list[int]]:
    """Ids of the whole chat, and labels: the same ids where the answer is, -100 where the prompt is."""
    prompt = tokenizer(prompt_text(tokenizer, example.prompt), add_special_tokens=False)["input_ids"]
    text = tokenizer.apply_chat_template(example.messages, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return {"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]}


def mean_loss(model: PreTrainedModel, batches: Sequence[dict[str, torch.Tensor]]) -> float:
    """Mean cross-entropy over all labelled tokens of the batches."""
    total, count = 0.0, 0
    for batch in batches:
        inputs = {name: value.to(model.device) for name, value in batch.items()}
        labels = inputs.pop("labels")[:, 1:]
        logits = model(**inputs, use_cache=False).logits[:, :-1].float()
        total += F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum").item()
        count += int((labels != -100).sum())
    return total / count
