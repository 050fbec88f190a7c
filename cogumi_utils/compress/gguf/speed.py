"""Tokens per second of a model in transformers and of its GGUF files in llama.cpp, beside what memory allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils.compress.gguf import read as gguf_read
from cogumi_utils.judge import speed
from cogumi_utils.model import runners
from cogumi_utils.model.llama_cpp_library import library

if TYPE_CHECKING:
    import pandas as pd

RAW = "transformers"
Openers = dict[str, Callable[[], speed.Runner]]


def openers(
    folder: str | Path, files: Mapping[str, Path], *, threads: int = 1, context: int = 256, gpu_layers: int = 0,
    device: str = "cpu", dtype: str = "float32",
) -> Openers:  # fmt: skip
    """{name: what opens a runner}: the Hugging Face folder as "transformers, <dtype>", then "llama.cpp, <name>" of each
    of `files`. Each can be called in another process too (`runners.peak_memory`).
    """
    raw = partial(runners.open_transformers, str(folder), dtype=dtype, threads=threads, device=device)
    found: Openers = {f"{RAW}, {dtype}": raw}
    for name, file in files.items():
        kv_bytes = speed.kv_bytes_per_token(gguf_read.configuration(gguf_read.read(file)))
        found[f"llama.cpp, {name}"] = partial(
            runners.open_llama_cpp, str(file), weight_bytes=gguf_read.bytes_per_token(file), kv_bytes=kv_bytes,
            threads=threads, context=context, gpu_layers=gpu_layers,
        )  # fmt: skip
    return found


def timed(
    found: Openers, *, bandwidth: Callable[[float], float], memory: bool = False, prompt_tokens: int = 128,
    new_tokens: int = 64, **options,
) -> tuple[list[speed.Timed], pd.DataFrame]:  # fmt: skip
    """What `speed.time_runners` (which takes `options`) measures of all of them in turn, and its table.

    memory: peaks too, each of a process of its own, and Python's part of it; that takes seconds a model.
    """
    tokens = {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    opened = {name: opener() for name, opener in found.items()}
    try:
        rows = speed.time_runners(opened, bandwidth=bandwidth, **tokens, **options)
    finally:
        for runner in opened.values():
            if isinstance(runner, runners.LlamaCppRunner):
                runner.runtime.close()
    if not memory:
        return rows, speed.speed_table(rows).drop(columns="peak memory, MB")
    peaks = {name: runners.peak_memory(opener, **tokens) for name, opener in found.items()}
    table = speed.speed_table(rows, {name: one.peak for name, one in peaks.items()})
    return rows, table.assign(**{"of it Python, MB": [one.before / 1e6 for one in peaks.values()]})


def table(
    folder: str | Path, files: Mapping[str, Path], *, rounds: int, threads: int = 1, gpu_layers: int = 0,
    device: str = "cpu", memory: bool = False, prompt_tokens: int = 128, new_tokens: int = 64,
) -> pd.DataFrame:  # fmt: skip
    """A row a runner, as `speed.speed_table` has it. On a GPU only if llama.cpp was built for it and `gpu_layers` are
    asked for: both runtimes on one device, in 16 bits at most, the bandwidth from its data sheet.
    """
    place = device if gpu_layers and library().llama_supports_gpu_offload() else "cpu"
    found = openers(
        folder, files, threads=threads, context=prompt_tokens + new_tokens, device=place,
        gpu_layers=gpu_layers if place != "cpu" else 0, dtype="float32" if place == "cpu" else "bfloat16",
    )  # fmt: skip
    tokens = {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    return timed(found, bandwidth=bandwidth_of(place, threads), memory=memory, rounds=rounds, **tokens)[1]


def bandwidth_of(device: str, threads: int) -> Callable[[float], float]:
    """Working set in bytes → bytes/s: this machine's, measured with so many threads; a GPU's from its data sheet."""
    if device == "cpu":
        return partial(_measured, threads)
    import torch

    sheet = speed.device(torch.cuda.get_device_name()).bandwidth
    return lambda working_set: sheet


def _measured(threads: int, working_set: float) -> float:
    return speed.memory_bandwidth(seconds=0.2, working_set=working_set, threads=threads)
