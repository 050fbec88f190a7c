"""All weights of a student trained on its parent's logits (knowledge distillation, Hinton et al. 2015).

This is how a pruned model recovers. The parent gives its whole distribution at each token, which tells far more than
the one token that was written. Minitron (Muralidharan et al. 2024, arXiv 2407.14679) recovers pruned models with the
parent's logits alone; a small student that was cut to 58% in the same seconds did better with a little of the written
token's cross-entropy beside them (one seed, temperature 1, rate of Muon 0.01, 300 steps of 1,024 tokens, 490 tasks:
70% right without, 76% at weight 0.2, 74% at 1). Temperature 2 ended farther from the parent than 1.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import pack_dataset

from cogumi_utils.errors import CogumiError
from cogumi_utils.model.packing import RowCollator, labelled
from cogumi_utils.model.pretrain import PretrainResult, linear_decay, optimizers
from cogumi_utils.schema import Example


class Packed(NamedTuple):
    """Chats in rows, each tensor [rows, length]. positions: int64, restart at each chat, 0 in the padding at a row's
    end. answers: bool, the tokens of an answer and the one that ends it.
    """

    ids: Tensor
    positions: Tensor
    answers: Tensor

    def part(self, step: int, batch: int) -> Packed:
        """The rows of one step; after the last row comes the first again."""
        chosen = torch.arange(step * batch, (step + 1) * batch) % len(self.ids)
        return Packed(*(tensor[chosen] for tensor in self))


class TransferResult(PretrainResult):
    """losses: what was minimised, nats per weighted token, one a step. tokens: read by the student. seconds: of the
    steps alone.
    """


def packed(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, length: int, rows: int, seed: int
) -> Packed:
    """`rows` rows of `length` tokens out of the examples in an order of `seed`; as often over again as it takes.

    Whole chats only; one longer than a row loses its end. Chats do not see each other (see `packing.RowCollator`).
    """
    if not examples or rows < 1 or length < 2:
        raise CogumiError(
            expected="at least one example, one row and rows of two tokens",
            found=f"{len(examples)} examples, {rows} rows of {length} tokens",
            why="there would be nothing to train on",
            fix="pass training examples, and whole numbers above that",
        )
    disable_progress_bar()
    chats = _enough(tokenizer, examples, rows * length, random.Random(seed))
    collate = RowCollator(pad_token_id=tokenizer.pad_token_id, return_position_ids=True, pad_to_multiple_of=length)
    found = collate(list(pack_dataset(Dataset.from_list(chats), length, "bfd")))
    generator = torch.Generator().manual_seed(seed)
    rounds = -(-rows // len(found["input_ids"]))
    order = torch.cat([torch.randperm(len(found["input_ids"]), generator=generator) for _ in range(rounds)])[:rows]
    return Packed(found["input_ids"][order], found["position_ids"][order], (found["labels"] != -100)[order])


def _enough(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], tokens: int, draw: random.Random
) -> list[dict[str, list[int]]]:
    """Labelled chats in random order until they hold `tokens` tokens, or all of them."""
    chosen, count = [], 0
    for example in draw.sample(list(examples), len(examples)):
        chosen.append(labelled(tokenizer, example))
        count += len(chosen[-1]["input_ids"])
        if count >= tokens:
            break
    return chosen


def transfer(
    model: PreTrainedModel, parent: PreTrainedModel, rows: Packed, *, steps: int, batch: int, muon_lr: float = 0.005,
    adam_lr: float = 1e-3, temperature: float = 1.0, written_weight: float = 0.0, prompt_weight: float = 0.0,
    masks: Mapping[str, Tensor] | None = None, log: Callable[[dict[str, float], int], None] | None = None,
) -> TransferResult:  # fmt: skip
    """Train all of `model` in place, `steps` steps of `batch` rows, bf16 autocast, rates falling over the second half.

    The loss of a token is temperature² · KL(parent ‖ student), both at `temperature`, and `written_weight` · the cross-
    entropy of the token that was written. Tokens of answers have weight 1, those of prompts `prompt_weight`.

    masks: {parameter name: bool, True = kept}, shapes of the parameters: pruned weights are 0 from the start and after
    every step. log: called with ({"transfer/loss": nats}, step) after each step. No steps, no training.
    Raises CogumiError for masks that do not fit the model and for a parent with another vocabulary.
    """
    _check_vocabulary(model, parent)
    pruned = _pruned(model, masks or {})
    parts = optimizers(model, muon_lr=muon_lr, adam_lr=adam_lr)
    rate = partial(linear_decay, steps=max(steps, 1))
    schedules = [torch.optim.lr_scheduler.LambdaLR(part, rate) for part in parts]
    losses: list[float] = []
    parent.eval()
    model.train()
    started = time.perf_counter()
    for step in range(steps):
        some = Packed(*(tensor.to(model.device) for tensor in rows.part(step, batch)))
        loss = _loss(model, parent, some, temperature, written_weight, prompt_weight)
        loss.backward()
        _update(parts, schedules, pruned)
        losses.append(loss.item())
        if log:
            log({"transfer/loss": losses[-1]}, step)
    model.eval()
    return TransferResult(losses, steps * batch * rows.ids.shape[1], time.perf_counter() - started)


def _loss(
    model: PreTrainedModel, parent: PreTrainedModel, some: Packed, temperature: float, written_weight: float,
    prompt_weight: float,
) -> Tensor:  # fmt: skip
    """Weighted mean over the tokens that have weight; the others' logits are not computed."""
    answers = some.answers[:, 1:]
    weights = torch.where(answers, 1.0, prompt_weight) * (some.positions[:, 1:] > 0)  # a chat's first has no past
    chosen = weights > 0
    weights, written = weights[chosen], some.ids[:, 1:][chosen]
    with torch.no_grad():
        wanted = _logits(parent, some, chosen)
    logits = _logits(model, some, chosen)
    wanted, found = ((part / temperature).log_softmax(-1) for part in (wanted, logits))
    costs = temperature**2 * F.kl_div(found, wanted, reduction="none", log_target=True).sum(-1)
    if written_weight:
        costs = costs + written_weight * F.cross_entropy(logits, written, reduction="none")
    return (costs * weights).sum() / weights.sum().clamp(min=1e-9)


def _logits(model: PreTrainedModel, some: Packed, chosen: Tensor) -> Tensor:
    """Float32 [chosen tokens, vocabulary]: what `model` expects in the places that are chosen of [rows, length - 1]."""
    forward = model.base_model  # the layers without the output matrix
    with torch.autocast(some.ids.device.type, dtype=torch.bfloat16):
        hidden = forward(input_ids=some.ids, position_ids=some.positions, use_cache=False).last_hidden_state
        return model.get_output_embeddings()(hidden[:, :-1][chosen]).float()


def _update(parts: Sequence[torch.optim.Optimizer], schedules: Sequence, pruned: Sequence[tuple]) -> None:
    for parameter, gone in pruned:
        parameter.grad.masked_fill_(gone, 0)  # or it would turn the step of the kept weights: Muon mixes a matrix
    for part, schedule in zip(parts, schedules, strict=True):
        part.step()
        part.zero_grad(set_to_none=True)
        schedule.step()
    _clear(pruned)


@torch.no_grad()
def _clear(pruned: Sequence[tuple[Tensor, Tensor]]) -> None:
    for parameter, gone in pruned:
        parameter.masked_fill_(gone, 0)


def _pruned(model: PreTrainedModel, masks: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(parameter, bool True = gone) of each mask, their weights already cleared."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        shape = tuple(parameters[name].shape) if name in parameters else None
        if mask.dtype != torch.bool or tuple(mask.shape) != shape:
            raise CogumiError(
                expected="bool masks with the names and shapes of the model's parameters",
                found=f"{name}: {mask.dtype} {list(mask.shape)}, parameter {list(shape) if shape else 'unknown'}",
                why="a mask says for each weight whether it is kept",
                fix="take the names of model.named_parameters(); tied embeddings are model.embed_tokens.weight",
            )
    pruned = [(parameters[name], ~mask.to(parameters[name].device)) for name, mask in masks.items()]
    _clear(pruned)
    return pruned


def _check_vocabulary(model: PreTrainedModel, parent: PreTrainedModel) -> None:
    own, other = (one.get_output_embeddings().weight.shape[0] for one in (model, parent))
    if own != other:
        raise CogumiError(
            expected="student and parent over the same vocabulary",
            found=f"{own} words, parent {other}",
            why="the two distributions are compared word by word",
            fix="cut the parent's vocabulary alone first (compress.shrink), and let that parent teach",
        )
