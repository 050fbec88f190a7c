"""Any variant of a model as a 4-bit file: the values that it would hold, and its bytes.

So that a dense model with fewer weights and a sparse one with many are compared at equal bits a weight: in the layers 4
for each kept weight and a float16 scale for each 32 of them, 4.5 in all; norms in 16. Embeddings get 6.5 in the same
way, as llama.cpp's 4-bit mixtures give them 6.6: the tokens that a small student never met all have the vector that the
end token had at first, and at 4.5 bits it no longer knows when to stop (0 of 60 answers right, 50 before).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor, nn
from transformers import PreTrainedModel

from cogumi_utils.compress import _streams, fourbit
from cogumi_utils.judge.sizes import bound_bytes, group_bits, shape_counts

GROUP = 32
BITS, WIDE = 4, 6  # of a weight in the layers, in embeddings and head
LEVEL = 10  # of Zstandard
ARRANGE = {
    "mask": _streams.mask_arrangements,
    "codes": _streams.code_arrangements,
    "wide": lambda codes: {"one": codes.tobytes()},
    "scales": _streams.scale_arrangements,
}


@dataclass(frozen=True, slots=True)
class Size:
    """weights: tied ones once; kept: those that are not pruned. counted_bytes: masks at their entropy, codes at their
    width, scales and norms at 16 bits. file_bytes: what Zstandard makes of masks, codes and scales, without names,
    shapes and the two small numbers of each matrix; below the other where codes are used unevenly. dense_bytes: as
    counted_bytes in a format that stores zeros like any other value, as GGUF and AWQ do. bound_bytes: masks and codes
    at their entropy, matrix by matrix, scales and norms at 16 bits.
    """

    weights: int
    kept: int
    counted_bytes: float
    file_bytes: int
    dense_bytes: float
    bound_bytes: float


@torch.no_grad()
def rounded(model: PreTrainedModel, masks: Mapping[str, Tensor] | None = None) -> tuple[PreTrainedModel, Size]:
    """A copy of `model` with 4-bit values, and its size. masks: {parameter: bool, True = kept}; the others are dense.

    Groups are runs of kept weights in the order of a matrix, rounded to the nearest level (see `fourbit`).
    """
    model, masks = copy.deepcopy(model), masks or {}
    streams: dict[str, list[np.ndarray]] = {kind: [] for kind in ARRANGE}
    weights = kept = counted = vectors = 0
    for name, parameter in model.named_parameters():
        mask = masks.get(name)
        weights += parameter.numel()
        kept += parameter.numel() if mask is None else int(mask.sum())
        if parameter.ndim < 2:
            parameter.copy_(parameter.half())
            vectors += parameter.numel()
        else:
            counted += _encode(parameter, mask, streams) if ".layers." in name else _encode_wide(parameter, streams)
    dense = dense_bytes(model.config.to_dict())
    counted, written, bound = (part + 2 * vectors for part in (counted, _written(streams), _bound(streams)))
    return model, Size(weights, kept, counted, written, dense, bound)


def sixteen_bits(model: PreTrainedModel) -> Size:
    """Of the model as it is, in 16 bits a weight."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    return Size(weights, weights, *[2 * weights] * 4)


def dense_bytes(config: Mapping[str, Any]) -> float:
    """What `rounded` would count for a model of this configuration without a zero."""
    shapes = shape_counts(config)
    layers, wide = (group_bits(bits, GROUP, zero_bits=0) for bits in (BITS, WIDE))
    return (shapes.linear * layers + shapes.embeddings * wide + shapes.norms * 16) / 8


def _encode(parameter: nn.Parameter, mask: Tensor | None, streams: Mapping[str, list[np.ndarray]]) -> float:
    """Round a matrix of the layers in place, add its parts to the streams, and count its bytes."""
    chosen = torch.ones_like(parameter, dtype=torch.bool) if mask is None else mask.to(parameter.device)
    coded = fourbit.encode(parameter[chosen].float().cpu().numpy(), GROUP)
    parameter.zero_()
    parameter[chosen] = torch.from_numpy(fourbit.decode(coded, GROUP)).to(parameter)
    streams["codes"].append(coded.codes)
    streams["scales"].append(coded.scales)
    if mask is not None:
        streams["mask"].append(mask.cpu().numpy().ravel())
    return bound_bytes(chosen.numel(), 1 - coded.codes.size / chosen.numel(), group_bits(BITS, GROUP, zero_bits=0))


def _encode_wide(parameter: nn.Parameter, streams: Mapping[str, list[np.ndarray]]) -> float:
    """As `_encode`, for a dense matrix with evenly spaced levels, -31 to 31 times the scale."""
    values = parameter.detach().float().cpu().numpy().ravel()
    most, starts = 2 ** (WIDE - 1) - 1, np.arange(0, values.size, GROUP)
    scales = (np.maximum.reduceat(np.abs(values), starts) / most).astype(np.float16)
    each = np.repeat(scales, GROUP)[: values.size].astype(np.float32)
    codes = np.rint(np.divide(values, each, out=np.zeros_like(values), where=each > 0)).clip(-most, most)
    parameter.copy_(torch.from_numpy(codes * each).reshape(parameter.shape).to(parameter))
    streams["wide"].append((codes + most).astype(np.uint8))
    streams["scales"].append(scales)
    return values.size * group_bits(WIDE, GROUP, zero_bits=0) / 8


def _written(streams: Mapping[str, list[np.ndarray]]) -> int:
    arranged = [ARRANGE[kind](np.concatenate(arrays)) for kind, arrays in streams.items() if arrays]
    return sum(len(_streams.smallest(each, LEVEL).data) for each in arranged)


def _bound(streams: Mapping[str, list[np.ndarray]]) -> float:
    masks = sum(bound_bytes(mask.size, 1 - mask.mean(), 0) for mask in streams["mask"])
    counts = (np.unique(codes, return_counts=True)[1] for codes in (*streams["codes"], *streams["wide"]))
    codes = sum(entropy(count, base=2) * count.sum() / 8 for count in counts)
    return float(masks + codes + sum(scales.nbytes for scales in streams["scales"]))
