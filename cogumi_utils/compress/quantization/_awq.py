"""What AWQ needs from us around llm-compressor's modifier: machines without an accelerator, and its scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

SCALED_OUTPUT = {"v_proj": "o_proj", "up_proj": "down_proj"}  # whose rows are divided by the other's scales


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


@contextmanager
def recorded() -> Iterator[dict[str, Tensor]]:
    """{matrix: float32 [in]}, filled while AWQ runs: what the columns of each matrix are multiplied with.

    AWQ divides what comes before by the same: a norm's weights, or the rows of `v_proj` (before `o_proj`) and of
    `up_proj` (before `down_proj`). llm-compressor forgets the scales; without them a matrix cannot be compared with
    its parent's.
    """
    from compressed_tensors.utils import patch_attr
    from llmcompressor.modifiers.transform.awq import AWQModifier

    original, found = AWQModifier._compute_best_scale, {}

    def keeping(modifier: Any, mapping: Any, *rest: Any) -> Tensor:
        scales = original(modifier, mapping, *rest)
        found.update(dict.fromkeys(mapping.balance_names, scales.float()))
        return scales

    with patch_attr(AWQModifier, "_compute_best_scale", keeping):
        yield found


def undo(name: str, weight: Tensor, scales: Mapping[str, Tensor]) -> Tensor:
    """The matrix [out, in] as it acts on the parent's own inputs: columns divided, rows multiplied back."""
    stem, kind = name.rsplit(".", 1)
    weight = weight / scales[name] if name in scales else weight
    rows = scales.get(f"{stem}.{SCALED_OUTPUT.get(kind)}")
    return weight if rows is None else weight * rows[:, None]
