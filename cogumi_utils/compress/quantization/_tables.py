"""What quantised checkpoints lose and weigh, matrix by matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress._calibration import calibration_rows
from cogumi_utils.compress.fourbit import code_entropy
from cogumi_utils.compress.pruning.prune import matrices
from cogumi_utils.compress.quantization._packed import Checkpoint
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

BATCH = 8  # rows at a time


@torch.inference_mode()
def layer_errors(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example],
    children: Mapping[str, Path], *, rows: int = 16, length: int = 256, seed: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """‖(W − Ŵ)X‖ / ‖WX‖ of each matrix on the parent's own inputs X: columns matrix, then one a child.

    Each matrix by itself: what the layers before it lose does not count. AWQ's scales are undone first.
    """
    import pandas as pd

    data = calibration_rows(tokenizer, examples, rows=rows, length=length, seed=seed)
    opened = {name: Checkpoint(folder) for name, folder in children.items()}
    sums = {name: torch.zeros(len(opened) + 1, dtype=torch.float64) for name in matrices(parent)}
    hooks = [
        module.register_forward_pre_hook(_adding(sums[name], module, name, list(opened.values())))
        for name, module in matrices(parent).items()
    ]
    forward = parent.model  # no logits: nothing behind the layers is looked at
    try:
        for start in range(0, rows, BATCH):
            some = slice(start, start + BATCH)
            ids, positions = data.ids[some].to(parent.device), data.positions[some].to(parent.device)
            forward(input_ids=ids, position_ids=positions, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    found = [{"matrix": name, **dict(zip(opened, _relative(total), strict=True))} for name, total in sums.items()]
    return pd.DataFrame(found)


def code_table(folder: str | Path) -> pd.DataFrame:
    """A row a matrix: matrix, weights, bits (of a code), entropy (order-0 of the codes, bits a weight) and stored (bits
    a weight in the file, with scales and zero points).
    """
    import pandas as pd

    checkpoint, rows = Checkpoint(folder), []
    for name in checkpoint.names:
        codes, size = checkpoint.codes(name), checkpoint.matrix_bytes(name)
        bits, weights = checkpoint.bits(name), codes.numel()
        rows.append((name, weights, bits, code_entropy(codes.numpy().ravel()), 8 * sum(size.values()) / weights))
    return pd.DataFrame(rows, columns=["matrix", "weights", "bits", "entropy", "stored"])


def size_table(children: Mapping[str, Path]) -> pd.DataFrame:
    """A row a checkpoint: name, bytes of its file, matrices' bits a weight with scales, their codes' entropy a weight,
    bound (the file's bytes, had every matrix's codes the size of their entropy) and gap, bytes / bound - 1.
    """
    import numpy as np
    import pandas as pd

    rows = []
    for name, folder in children.items():
        table, size = code_table(folder), Checkpoint(folder).file_bytes()
        saved = (table.weights * (table.bits - table.entropy)).sum() / 8
        stored, entropy = (float(np.average(table[part], weights=table.weights)) for part in ("stored", "entropy"))
        rows.append((name, size, stored, entropy, size - saved, size / (size - saved) - 1))
    return pd.DataFrame(rows, columns=["checkpoint", "bytes", "bits a weight", "entropy", "bound", "gap"])


def _adding(total: Tensor, module: nn.Linear, name: str, children: Sequence[Checkpoint]) -> Any:
    """A hook that adds up ‖WX‖² and, for each child, ‖(W − Ŵ)X‖²."""

    def add(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x, weight = inputs[0].flatten(0, -2).float(), module.weight.float()
        others = [weight - child.weight(name).to(weight.device) for child in children]
        for place, matrix in enumerate([weight, *others]):
            total[place] += (x @ matrix.T).double().square().sum().cpu()

    return add


def _relative(total: Tensor) -> list[float]:
    return (total[1:] / total[0]).sqrt().tolist()
