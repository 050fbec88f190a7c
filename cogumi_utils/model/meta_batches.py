"""Episodes as tensors: the rows of several tasks, those of one task together, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cogumi_utils.errors import CogumiError
from cogumi_utils.model.packing import labelled
from cogumi_utils.schema import Example

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """ids: [rows, length]. chosen: bool [rows, length - 1], where the next token is part of an answer.

    For each such token: written (its id), row, task, and weight (1 / answer tokens of its task).
    tokens: read, padding not counted.
    """

    ids: Tensor
    chosen: Tensor
    written: Tensor
    row: Tensor
    task: Tensor
    weight: Tensor
    tasks: int
    tokens: int


Row = dict[str, list[int]]  # input_ids and labels, see `packing.labelled`


def in_chat(shown: Sequence[Example], asked: Example) -> Example:
    """`asked` with the examples `shown` as earlier turns of its chat: what a few-shot prompt is."""
    turns = [message for example in shown for message in example.messages]
    return replace(asked, messages=[*turns, *asked.messages], id="") if shown else asked


def rows_of(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[Row]:
    return [labelled(tokenizer, example) for example in examples]


def batch_of(groups: Sequence[Sequence[Row]], pad: int, device: str = "cpu") -> Batch:
    """One task a group. Raises CogumiError where the groups differ in size: a stack of adapters splits rows evenly."""
    sizes = sorted({len(group) for group in groups})
    if len(sizes) != 1 or sizes[0] == 0:
        raise CogumiError(
            expected="tasks with equally many rows, at least one",
            found=f"groups of {', '.join(map(str, sizes)) or 'nothing'} rows",
            why="a stack of adapters gives each task the same share of the batch",
            fix="draw equally many support and query examples for every family",
        )
    rows = [row for group in groups for row in group]
    length = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [pad] * (length - len(row["input_ids"])) for row in rows])
    labels = torch.tensor([row["labels"] + [IGNORED] * (length - len(row["labels"])) for row in rows])[:, 1:]
    return _batch(ids.to(device), labels.to(device), len(groups), sum(len(row["input_ids"]) for row in rows))


def _batch(ids: Tensor, labels: Tensor, tasks: int, tokens: int) -> Batch:
    chosen = labels != IGNORED
    row = chosen.nonzero()[:, 0]
    task = row // (len(ids) // tasks)
    counts = torch.bincount(task, minlength=tasks)
    return Batch(ids, chosen, labels[chosen], row, task, 1 / counts[task], tasks, tokens)
