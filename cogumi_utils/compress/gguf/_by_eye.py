"""One block of a quantised file that is small enough to follow with a pencil."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

from cogumi_utils.compress.archive._planes import entropy_bytes
from cogumi_utils.errors import CogumiError

WEIGHTS = {0.0: 16, 0.25: 8, 0.5: 4, 1.0: 2, -1.0: 2}  # each code half as often as the one before, so log2 is whole
_KIND = gguf.GGMLQuantizationType.Q8_0
_SIZE, _BYTES = gguf.GGML_QUANT_SIZES[_KIND]
_SCALE = 2  # bytes of a float16


@dataclass(frozen=True, slots=True)
class ByEye:
    """A block of Q8_0. counts: {weight: how often}; codes and back: {weight: its code, what the file gives back}.

    code_bits: order-0 entropy of all codes together, bits.
    """

    counts: dict[float, int]
    scale: float
    codes: dict[float, int]
    back: dict[float, float]
    code_bits: float

    def __str__(self) -> str:
        """The block line by line, and the fewest bytes that an entropy coder could make of it."""
        weights, codes = (", ".join(f"{x:g} ×{n}" for x, n in zip(names, self.counts.values(), strict=True))
                          for names in (self.counts, self.codes.values()))  # fmt: skip
        terms = " + ".join(f"{n}·{np.log2(_SIZE / n):g}" for n in self.counts.values())
        least = _SCALE + self.code_bits / 8
        return "\n".join([
            f"weights    {weights}",
            f"written    scale {self.scale:.6f} in 2 bytes, then a byte a code: {codes}",
            f"read back  {', '.join(f'{value:.3f}' for value in self.back.values())}",
            f"size       {_BYTES} bytes, {8 * _BYTES / _SIZE:g} bits a weight",
            f"entropy    of the codes {terms} = {self.code_bits:g} bits; with the scale {least:g} bytes",
        ])  # fmt: skip


def by_eye(counts: Mapping[float, int] | None = None) -> ByEye:
    """Quantise the weights `counts` ({weight: how often}, 32 in all) with the code that writes files."""
    counts = dict(counts or WEIGHTS)
    if sum(counts.values()) != _SIZE:
        raise CogumiError(
            expected=f"{_SIZE} weights",
            found=f"{sum(counts.values())}",
            why="that is a block of Q8_0",
            fix="change the counts",
        )
    weights = np.repeat(np.array(list(counts), np.float32), list(counts.values()))
    stored = quantize(weights[None], _KIND)
    scale, codes = stored[0, :_SCALE].view(np.float16), stored[0, _SCALE:].view(np.int8)
    first = np.cumsum([0, *list(counts.values())[:-1]])
    named = [dict(zip(counts, values[first].tolist(), strict=True)) for values in (codes, dequantize(stored, _KIND)[0])]
    bits = 8 * float(entropy_bytes(np.bincount(codes.view(np.uint8), minlength=256)))
    return ByEye(counts, float(scale[0]), *named, bits)
