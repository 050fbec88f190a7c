"""Physical limits beside measured speed: memory bandwidth bounds generation, arithmetic bounds training."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.sizes import lora_parameters, setting, shape_counts, widths

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Device:
    """bf16_flops: dense (never the doubled "with sparsity" figure), per second; None where the maker gives none."""

    name: str
    bandwidth: float  # bytes/s
    bf16_flops: float | None = None
    source: str = ""


# Makers' data sheets, the longer names first. H200 has the H100's arithmetic with faster memory. 528 tensor cores ·
# 1,024 FLOP a clock · 1.83 GHz = 989.4 TFLOP/s gives the H100's figure again.
DEVICES = (
    Device("H200", 4.8e12, 989e12, "NVIDIA H200 data sheet, SXM"),
    Device("H100 PCIe", 2.0e12, 756e12, "NVIDIA H100 data sheet, PCIe"),
    Device("H100 NVL", 3.9e12, 835e12, "NVIDIA H100 NVL data sheet"),
    Device("H100", 3.35e12, 989e12, "NVIDIA H100 data sheet, SXM"),
    Device("A100", 2.039e12, 312e12, "NVIDIA A100 80GB data sheet, SXM"),
    Device("RTX 4090", 1.008e12, 165e12, "NVIDIA Ada architecture paper (float32 accumulation)"),
    Device("T4", 320e9, None, "NVIDIA T4 data sheet; no bfloat16"),
    Device("M4 Pro", 273e9, None, "Apple, MacBook Pro 2024 specifications"),
)


def device(name: str) -> Device:
    """The data-sheet entry whose name occurs in `name` (as `torch.cuda.get_device_name()` spells it)."""
    for known in DEVICES:
        if re.search(rf"\b{known.name}\b", name, re.IGNORECASE):
            return known
    raise CogumiError(
        expected=f"a device among {', '.join(known.name for known in DEVICES)}",
        found=name,
        why="without its peak there is no share of the peak to report",
        fix="add it to DEVICES in cogumi_utils/judge/speed.py, with the data sheet as source",
    )


def generation_bound(bytes_per_token: float, bandwidth: float) -> float:
    """Most tokens/s of one sequence: every weight is read once a token, so bandwidth ÷ bytes (bytes/s, bytes).

    bytes_per_token: the model's file plus the key-value cache read. Batches share the read, speculation guesses
    several tokens a read; a model that fits a processor's cache is bound by the cache's bandwidth instead.
    """
    return bandwidth / bytes_per_token


def kv_bytes_per_token(config: Mapping[str, Any], bytes_per_value: float = 2) -> float:
    """Bytes of keys and values that one token of context adds, and that every later token reads."""
    return 2 * setting(config, "num_hidden_layers") * widths(config)[2] * bytes_per_value


def training_flops_per_token(
    config: Mapping[str, Any], trainable: str = "lora", context: float = 0, rank: int = 0
) -> float:
    """Model FLOPs of one training token: what the mathematics needs, without recomputed activations.

    Forward: 2 a multiplied weight, and 2 · width · context a layer for causal attention (half of the full
    4 · width · context). Backward: as much again for the gradients of activations and, for weights that train, of
    weights: 6N when all train, 4N when the base is frozen, 6 an adapter parameter. Attention's own products have two
    activations and always cost 3 times the forward. Kaplan et al. 2020, section 2.1; PaLM (2022), appendix B.

    trainable: "all", "lora" (frozen base, adapters of `rank` on all linear layers) or "none" (forward only).
    context: tokens that attend to each other (the packed length, or the mean example where packing keeps them apart).
    """
    passes = {"all": (6, 3), "lora": (4, 3), "none": (2, 1)}
    if trainable not in passes:
        raise CogumiError(
            expected=f"trainable to be one of {', '.join(passes)}",
            found=str(trainable),
            why="the cost of the backward pass depends on what trains",
            fix='pass trainable="lora" for adapters',
        )
    per_weight, attention_passes = passes[trainable]
    attention = 2 * widths(config)[1] * context * setting(config, "num_hidden_layers")
    adapters = 6 * lora_parameters(config, rank) if trainable == "lora" else 0
    return per_weight * shape_counts(config).multiplied + attention_passes * attention + adapters


def mfu(tokens_per_second: float, flops_per_token: float, peak_flops: float) -> float:
    """Model FLOPs utilisation: the share of the peak that went into the model's own arithmetic."""
    return tokens_per_second * flops_per_token / peak_flops


def best_rate(action: Callable[[], object], amount: float, seconds: float, clock: Callable[[], float]) -> float:
    """Highest `amount` per second of repeated calls, for about `seconds` and at least three calls.

    The best call is the one that other programs disturbed least, as STREAM takes it.
    """
    action()  # touches every page once
    best, start, calls = float("inf"), clock(), 0
    while calls < 3 or clock() - start < seconds:
        before = clock()
        action()
        best, calls = min(best, clock() - before), calls + 1
    return amount / best


def _usable_cpus() -> int:
    """CPUs that this process may run on; containers often give fewer than the machine has."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bandwidth(seconds: float = 0.5, working_set: float = 256e6, threads: int | None = None) -> float:
    """This machine's measured memory bandwidth, bytes/s: the faster of a copy and a sum over `working_set` bytes.

    The copy is counted as read plus written (McCalpin's STREAM); the sum only reads, as generation does. threads:
    default, the CPUs that this process may use. working_set: pass a small model's own size to get the bandwidth of
    the cache that it lives in.
    """
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    threads = threads or _usable_cpus()
    source = np.ones(max(threads, int(working_set) // 16), dtype=np.float64)
    reads, writes = np.array_split(source, threads), np.array_split(np.zeros_like(source), threads)
    with ThreadPoolExecutor(threads) as pool:  # numpy releases the interpreter lock in both kernels

        def copy() -> None:
            list(pool.map(np.copyto, writes, reads))

        def read() -> None:
            list(pool.map(np.dot, reads, reads))

        copied = best_rate(copy, 2 * source.nbytes, seconds / 2, time.perf_counter)
        return max(copied, best_rate(read, source.nbytes, seconds / 2, time.perf_counter))


def matmul_peak(seconds: float = 1.0, size: int = 2048, dtype: str = "bfloat16", where: str = "cpu") -> float:
    """Measured FLOP/s of square matrix products, the peak for machines that have no data sheet (a laptop's CPU)."""
    import torch

    left, right = (torch.randn(size, size, device=where).to(getattr(torch, dtype)) for _ in range(2))

    def multiply() -> None:
        torch.mm(left, right)
        if left.is_cuda:
            torch.cuda.synchronize()

    return best_rate(multiply, 2 * size**3, seconds, time.perf_counter)


class Runner(Protocol):
    """A loaded model that answers one text. weight_bytes: read for each generated token; kv_bytes: read on top for each
    token before it.
    """

    weight_bytes: float
    kv_bytes: float

    def prompt(self, tokens: int) -> object:
        """Forget everything, read a prompt of so many tokens and choose the first token of the answer."""

    def generate(self, tokens: int) -> object:
        """Choose so many more, one after the other."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One runner's seconds, a round each. bandwidth: bytes/s, the best of the rounds at its `working_set` bytes."""

    name: str
    prompt_tokens: int
    new_tokens: int
    prompt_seconds: tuple[float, ...]
    new_seconds: tuple[float, ...]
    bytes_per_token: float
    working_set: float
    bandwidth: float


def time_runners(
    runners: Mapping[str, Runner], *, bandwidth: Callable[[float], float], prompt_tokens: int = 128,
    new_tokens: int = 64, rounds: int = 5, clock: Callable[[], float] = time.perf_counter,
) -> list[Timed]:  # fmt: skip
    """Every runner in turn, round after round, so that a busy minute meets all of them; the first round warms up.

    bandwidth: working set in bytes → bytes/s, as `memory_bandwidth` with the runners' number of threads; it is asked
    for each model's own size, since a small model is read from a cache and not from memory.
    """
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in runners}
    for _ in range(rounds + 1):
        for name, runner in runners.items():
            begun = clock()
            runner.prompt(prompt_tokens)
            first = clock()
            runner.generate(new_tokens)
            seconds[name].append((first - begun, clock() - first, bandwidth(runner.weight_bytes)))
    found = []
    for name, runner in runners.items():
        prompts, news, rates = zip(*seconds[name][1:], strict=True)
        read = runner.weight_bytes + runner.kv_bytes * (prompt_tokens + new_tokens / 2)
        found.append(Timed(name, prompt_tokens, new_tokens, prompts, news, read, runner.weight_bytes, max(rates)))
    return found


def speed_table(rows: Iterable[Timed], peaks: Mapping[str, float] | None = None) -> pd.DataFrame:
    """A row a runner: medians of tokens/s with the slowest and fastest round of generation, milliseconds to the first
    token, bytes that a token reads (keys and values of half the answer among them), the bandwidth at the model's size,
    the bound and the share of it that was reached. peaks: {runner: bytes of memory}.
    """
    import pandas as pd

    table = []
    for row in rows:
        bound, speeds = (
            generation_bound(row.bytes_per_token, row.bandwidth),
            [row.new_tokens / s for s in row.new_seconds],
        )
        measured = row.new_tokens / median(row.new_seconds)
        table.append({
            "model": row.name, "prompt tokens/s": row.prompt_tokens / median(row.prompt_seconds),
            "first token, ms": 1e3 * median(row.prompt_seconds), "generated tokens/s": measured,
            "slowest": min(speeds), "fastest": max(speeds), "MB a token": row.bytes_per_token / 1e6,
            "GB/s": row.bandwidth / 1e9, "bound, tokens/s": bound, "share of bound": measured / bound,
            "peak memory, MB": (peaks or {}).get(row.name, float("nan")) / 1e6,
        })  # fmt: skip
    return pd.DataFrame(table)
