"""The arithmetic behind `params/claims.yaml`: one named function for each number that a claim is checked with.

`claims.recompute` calls them by name with the arguments that the file gives. Sizes are of the brief's student,
Llama-3.1-8B, unless a function takes parameters; MB and GB are powers of ten, GiB of two.
"""

from __future__ import annotations

from collections.abc import Sequence

from cogumi_utils import stats
from cogumi_utils.judge import costs, sizes, speed
from cogumi_utils.judge.sizes import LLAMA_3_1_8B

Number = float | int


def ratio(part: Number, whole: Number) -> float:
    return part / whole


def difference(more: Number, less: Number) -> float:
    return more - less


def total(parts: Sequence[Number]) -> float:
    return float(sum(parts))


def product(factors: Sequence[Number]) -> float:
    result = 1.0
    for factor in factors:
        result *= factor
    return result


def saving(before: Number, after: Number) -> float:
    """Share saved: 1 - after / before."""
    return 1 - after / before


def parameters_billion() -> float:
    return sizes.shape_counts(LLAMA_3_1_8B).total / 1e9


def bits_available(megabytes: Number, parameters: Number | None = None) -> float:
    """Bits for each parameter, of the 8B unless `parameters` is given."""
    return sizes.bits_per_weight(megabytes * 1e6, parameters or sizes.shape_counts(LLAMA_3_1_8B).total)


def parameters_held(megabytes: Number, file_type: str, nearest_million: int = 10) -> float:
    """Millions of parameters that fit at the bits a weight of the 8B's mixture, to the nearest `nearest_million`."""
    held = 8 * megabytes / gguf_bits(file_type)
    return nearest_million * round(held / nearest_million)


def mask_bits(sparsity: float) -> float:
    """H(sparsity): bits a weight that telling the kept weights apart costs at least."""
    return sizes.entropy(sparsity)


def bound_megabytes(sparsity: float, bits: float, parameters: Number | None = None) -> float:
    """The entropy bound of (sparsity, bits) in MB; bits 0 is the mask alone."""
    count = parameters or sizes.shape_counts(LLAMA_3_1_8B).total
    return sizes.bound_bytes(count, sparsity, bits) / 1e6


def embeddings_megabytes(bits: float) -> float:
    return sizes.shape_counts(LLAMA_3_1_8B).embeddings * bits / 8e6


def dense_gigabytes(bits: float = 16) -> float:
    return sizes.shape_counts(LLAMA_3_1_8B).total * bits / 8e9


def bitmask_gigabytes(sparsity: float) -> float:
    """Kept weights in 16 bits and a mask of one bit a weight: what sparse formats wrote."""
    return dense_gigabytes((1 - sparsity) * 16 + 1)


def gguf_gigabytes(file_type: str, read_per_token: bool = False) -> float:
    """The file's tensors; read_per_token: without the input embedding, of which a token reads one row."""
    size = sizes.gguf_bytes(LLAMA_3_1_8B, file_type)
    if read_per_token:
        looked_up = sizes.tensors(LLAMA_3_1_8B)[0]
        weights, width = sizes.GGML_BLOCKS[sizes.gguf_type(looked_up, LLAMA_3_1_8B, file_type)]
        size -= looked_up.count // weights * width
    return size / 1e9


def gguf_gibibytes(file_type: str) -> float:
    return gguf_gigabytes(file_type) * 1e9 / 2**30


def gguf_bits(file_type: str) -> float:
    return bits_available(gguf_gigabytes(file_type) * 1e3)


def group_bits(bits: float, group: int, zero_bits: float) -> float:
    return sizes.group_bits(bits, group, zero_bits=zero_bits)


def adapter_parameters(rank: int, targets: Sequence[str] = sizes.LINEAR) -> float:
    """Millions of parameters of a LoRA adapter on the 8B."""
    return sizes.lora_parameters(LLAMA_3_1_8B, rank, tuple(targets)) / 1e6


def adapter_megabytes(rank: int, bits: float, sparsity: float = 0, targets: Sequence[str] = sizes.LINEAR) -> float:
    """The adapter's entropy bound; at sparsity 0 simply its parameters at `bits` each."""
    return bound_megabytes(sparsity, bits, adapter_parameters(rank, targets) * 1e6)


def adapter_bits(rank: int, megabytes: Number, targets: Sequence[str] = sizes.LINEAR) -> float:
    """Bits for each adapter parameter in a file of this size."""
    return bits_available(megabytes, adapter_parameters(rank, targets) * 1e6)


def dense_parameters(widths: Sequence[int]) -> int:
    """Parameters of a feed-forward network with biases."""
    return sum(inputs * outputs + outputs for inputs, outputs in zip(widths, widths[1:], strict=False))


def float32_megabytes(count: Number) -> float:
    return 4 * count / 1e6


def wilson_low(right: int, n: int) -> float:
    """Lower end of the 95% interval, per cent."""
    return 100 * stats.wilson(right, n).low


def wilson_high(right: int, n: int) -> float:
    return 100 * stats.wilson(right, n).high


def half_width_points(share: float, n: int) -> float:
    """Half the width of the 95% interval, in points."""
    interval = stats.wilson(share * n, n)
    return 50 * (interval.high - interval.low)


def right_to_prove(share: float, n: int) -> int:
    """Fewest right answers of n whose 95% interval lies above `share`."""
    return next(right for right in range(round(share * n), n + 1) if stats.wilson(right, n).low >= share)


def effective_n(judgements: int, per_person: int, icc: float) -> float:
    """Judgements of the same person correlate: n / (1 + (per person - 1) · ICC), Kish's design effect (1965)."""
    return judgements / (1 + (per_person - 1) * icc)


def n_for_difference(before: float, after: float, power_z: float = 0.8416, z: float = 1.96) -> float:
    """Items in each of two independent samples that show the difference of two shares with 80% power."""
    return (z + power_z) ** 2 * (before * (1 - before) + after * (1 - after)) / (after - before) ** 2


def perfect_ece(n: int, bins: int = 15, rounds: int = 2000) -> float:
    """Mean expected calibration error of a perfectly calibrated model: pure noise, since its truth is 0.

    Confidences are drawn from Beta(3, 1) (mean 0.75), outcomes with exactly that probability; equal-width bins.
    """
    import numpy as np

    random = np.random.default_rng(0)
    rounds = rounds if n < 1000 else rounds // 10  # the larger n is, the less a round scatters
    noise = 0.0
    for _ in range(rounds):
        confidence = random.beta(3, 1, n)
        gap = confidence - (random.random(n) < confidence)
        noise += np.abs(np.bincount((confidence * bins).astype(int).clip(0, bins - 1), gap, bins)).sum() / n
    return float(noise / rounds)


def tokens_per_second(bandwidth_gb: Number, gigabytes: Number) -> float:
    return speed.generation_bound(gigabytes, bandwidth_gb)


def device_tokens_per_second(device: str, file_type: str, read_per_token: bool = False) -> float:
    """Bandwidth bound of the 8B on a device of `speed.DEVICES`."""
    return speed.device(device).bandwidth / 1e9 / gguf_gigabytes(file_type, read_per_token)


def hours(units: Number, per_second: Number) -> float:
    """Hours for `units` (steps, tokens) at so many per second."""
    return units / per_second / 3600


def share_constant_above(value: float, threshold: float) -> float:
    """Share of answers above the threshold when every answer gets the same value."""
    return float(value > threshold)


def whole_ranges_above(ranges: Sequence[Sequence[Number]], limit: Number) -> int:
    """How many of the [low, high] ranges lie at or above the limit as a whole."""
    return sum(low >= limit for low, _ in ranges)


def monthly_cost(queries: Sequence[Number], prices: Sequence[Number], host: Number) -> float:
    return sum(count * price for count, price in zip(queries, prices, strict=True)) + host


def brief_sum(of_total: str) -> float:
    """The sum of the parts behind a total of the brief, from `params/plan.yaml`."""
    return costs.brief_sum(of_total)
