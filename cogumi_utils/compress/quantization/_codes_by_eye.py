"""Three ways to find 4-bit codes, on one matrix that is small enough to follow with a pencil."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cogumi_utils.compress._oneshot import quiet
from cogumi_utils.compress.pruning._by_eye import ByEye

# Each row goes from -0.7 to 0.8: 16 levels, a tenth apart. The second input is large, and the last one follows it.
WEIGHT = ((0.8, 0.24, -0.7, 0.31), (-0.7, 0.36, 0.8, -0.12))
INPUTS = ((1.0, 8.0, 0.5, 2.0), (-0.6, -7.0, 1.0, -1.6), (0.4, 9.0, -1.0, 2.3), (-0.9, -8.0, -0.5, -2.1))
RATIOS = 20  # powers of the mean input that AWQ tries, as llm-compressor does


def codes_by_eye(
    weight: Sequence[Sequence[float]] = WEIGHT, inputs: Sequence[Sequence[float]] = INPUTS, *, bits: int = 4
) -> ByEye:
    """What the codes of `weight` [out, in] stand for by each method, given `inputs` [tokens, in]; a row has one scale.

    Levels, rounding and GPTQ are the functions that quantise a model; AWQ's search over scales is that of its paper.
    """
    from compressed_tensors.quantization import QuantizationArgs

    matrix, seen = torch.tensor(weight), torch.tensor(inputs)
    args = QuantizationArgs(num_bits=bits, strategy="channel", symmetric=False)
    rules = {"nearest": _nearest, "AWQ": _awq, "GPTQ": _gptq}
    with quiet():
        after = {method: rule(matrix, seen, args) for method, rule in rules.items()}
    return ByEye(matrix, seen, after, {method: _error(matrix, one, seen) for method, one in after.items()})


def _nearest(weight: Tensor, _inputs: Tensor, args: Any) -> Tensor:
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize

    return fake_quantize(weight, *_levels(weight, args), args)


def _awq(weight: Tensor, inputs: Tensor, args: Any) -> Tensor:
    """Columns times a power of their inputs' mean size, rounded, divided again: the power with the least error."""
    size = inputs.abs().mean(0)
    scales = [size ** (ratio / RATIOS) for ratio in range(RATIOS)]
    tried = [_nearest(weight * scale, inputs, args) / scale for scale in scales]
    return min(tried, key=lambda one: _error(weight, one, inputs))


def _gptq(weight: Tensor, inputs: Tensor, args: Any) -> Tensor:
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    hessian, (scale, zero) = inputs.T @ inputs / len(inputs), _levels(weight, args)
    return quantize_weight(weight[None].clone(), hessian[None], scale[None], zero[None], None, args)[0][0]


def _levels(weight: Tensor, args: Any) -> tuple[Tensor, Tensor]:
    """Scale and zero point of each row, [out, 1]."""
    from compressed_tensors.quantization.utils import calculate_qparams

    return calculate_qparams(weight.amin(1, keepdim=True), weight.amax(1, keepdim=True), args)


def _error(weight: Tensor, other: Tensor, inputs: Tensor) -> float:
    """‖X·(W' − W)ᵀ‖ / ‖X·Wᵀ‖"""
    return float((inputs @ (other - weight).T).norm() / (inputs @ weight.T).norm())
