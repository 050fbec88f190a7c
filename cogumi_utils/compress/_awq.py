"""What AWQ needs from us around llm-compressor's modifier: machines without an accelerator, and its scales back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# Whose inputs are scaled together: each of them shares the scales of the first (see `undo`).
SAME_INPUT = {"v_proj": "q_proj", "up_proj": "gate_proj"}
SCALED_OUTPUT = {"v_proj": "o_proj", "up_proj": "down_proj"}


@contextmanager
def unpinned() -> Iterator[None]:
    """Without an accelerator nothing is pinned.

    llm-compressor 0.14 pins the activations that AWQ keeps, whatever the machine, and torch can pin memory only for an
    accelerator: AWQ would end in a RuntimeError on a machine that has none.
    """
    if torch.accelerator.is_available():
        yield
        return
    from compressed_tensors.utils import patch_attr
    from llmcompressor.pipelines.cache import IntermediatesCache

    with patch_attr(IntermediatesCache, "pin_memory", lambda *_: None):
        yield


def column_norms(matrices: Mapping[str, nn.Linear]) -> dict[str, Tensor]:
    """float64 [in] a matrix."""
    return {name: module.weight.detach().double().norm(dim=0).cpu() for name, module in matrices.items()}


def scales(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{matrix: float32 [in]}, what AWQ multiplied the columns of each matrix with, from the norms of its columns.

    AWQ scales a matrix's columns and divides what comes before by the same: a norm's weights, or the rows of `v_proj`
    (before `o_proj`) and `up_proj` (before `down_proj`). The columns of those two therefore take the scales of a
    matrix that reads the same input and has untouched rows.
    """
    found = {}
    for name in before:
        stem, kind = name.rsplit(".", 1)
        source = f"{stem}.{SAME_INPUT.get(kind, kind)}"
        ratio = after[source] / before[source]
        found[name] = torch.where(before[source] > 0, ratio, torch.ones_like(ratio)).float()
    return found


def undo(name: str, weight: Tensor, scaled: Mapping[str, Tensor]) -> Tensor:
    """The matrix [out, in] as it acts on the parent's own inputs: columns divided, rows multiplied back."""
    stem, kind = name.rsplit(".", 1)
    weight = weight / scaled[name]
    rows = scaled.get(f"{stem}.{SCALED_OUTPUT[kind]}") if kind in SCALED_OUTPUT else None
    # with fewer key-value heads than heads AWQ leaves o_proj alone
    return weight if rows is None or len(rows) != len(weight) else weight * rows[:, None]
