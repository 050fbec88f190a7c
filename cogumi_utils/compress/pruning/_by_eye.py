"""The three rules of pruning on one matrix that is small enough to follow with a pencil."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from cogumi_utils.compress._oneshot import quiet

# Weights small and large on inputs small and large; the first two inputs rise and fall together, the last is faint.
WEIGHT = ((0.9, 0.3, -0.5, 0.8), (-0.4, 0.7, 0.2, -0.9), (0.6, -0.5, 0.8, 0.3), (0.2, 0.4, -0.7, 0.5))
INPUTS = ((2.0, 1.8, 1.0, 0.1), (-1.0, -1.2, 2.0, 0.2), (1.5, 1.4, -1.0, -0.2), (-2.0, -1.9, 0.5, 0.1))


@dataclass(frozen=True, slots=True)
class ByEye:
    """weight W [out, in], inputs X [tokens, in]; {method: pruned W'} and {method: ‖X·(W' − W)ᵀ‖ / ‖X·Wᵀ‖} are
    `after` and `error`.
    """

    weight: Tensor
    inputs: Tensor
    after: dict[str, Tensor]
    error: dict[str, float]

    def __str__(self) -> str:
        """The matrices, what each method leaves of the weight (pruned entries as dots), and what it costs."""
        errors = "  ".join(f"{method} {100 * error:.1f}%" for method, error in self.error.items())
        given = _beside({"inputs": self.inputs, "weight": self.weight})
        return "\n".join([*given, "", *_beside(self.after), "", f"error of the output: {errors}"])


def by_eye(
    weight: Sequence[Sequence[float]] = WEIGHT, inputs: Sequence[Sequence[float]] = INPUTS, *, zeros: int = 8
) -> ByEye:
    """Take `zeros` entries out of `weight` [out, in] by each method, given `inputs` [tokens, in].

    The functions are those that prune a model. Wanda takes the same number out of every row, so that `zeros` should be
    a multiple of the rows.
    """
    matrix, seen = torch.tensor(weight), torch.tensor(inputs)
    rules = {"magnitude": _magnitude, "wanda": _wanda, "sparsegpt": _sparsegpt}
    with quiet():
        after = {method: rule(matrix, seen, zeros) for method, rule in rules.items()}
    output = seen @ matrix.T
    error = {method: float((seen @ pruned.T - output).norm() / output.norm()) for method, pruned in after.items()}
    return ByEye(matrix, seen, after, error)


def _magnitude(weight: Tensor, inputs: Tensor, zeros: int) -> Tensor:
    layer = _layer(weight)
    torch_prune.l1_unstructured(layer, "weight", amount=zeros)
    return layer.weight.detach()


def _wanda(weight: Tensor, inputs: Tensor, zeros: int) -> Tensor:
    from llmcompressor.modifiers.pruning.wanda.wanda_sparsify import (
        accumulate_row_scalars,
        make_empty_row_scalars,
        sparsify_weight,
    )

    layer = _layer(weight)
    norms, _ = accumulate_row_scalars(inputs, layer, make_empty_row_scalars(layer), 0)
    return sparsify_weight(layer, {layer: norms}, (zeros + 0.5) / weight.numel(), 0, 0)


def _sparsegpt(weight: Tensor, inputs: Tensor, zeros: int) -> Tensor:
    from llmcompressor.modifiers.pruning.sparsegpt.sgpt_sparsify import (
        accumulate_hessian,
        make_empty_hessian,
        sparsify_weight,
    )

    layer = _layer(weight)
    hessian, _ = accumulate_hessian(inputs, layer, make_empty_hessian(layer), 0)
    share = (zeros - 0.5) / weight.numel()  # it takes the first entry above the share as well
    with torch.no_grad():
        return sparsify_weight(layer, {layer: hessian}, share, 0, 0, weight.shape[1], 0.01, True)[1]


def _layer(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight.clone()
    return layer


def _beside(blocks: Mapping[str, Tensor]) -> list[str]:
    columns = [[name, *_lines(matrix)] for name, matrix in blocks.items()]
    return ["".join(f"{line:34s}" for line in row).rstrip() for row in zip_longest(*columns, fillvalue="")]


def _lines(matrix: Tensor) -> list[str]:
    return ["".join(f"{value:7.2f}" if value else "      ·" for value in row) for row in matrix.tolist()]
