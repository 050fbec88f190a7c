"""GGUF: quantising beside raw ggml, and tokens per second of every type beside what memory allows.

    python benchmarks/gguf_types.py [--student outputs/tiny/04_distillation/model] [--layers 14] [--rounds 5] [--threads 1]

Quantising: a file of random weights (120 MB at 14 layers) through `gguf_types.quantise`, with reading, writing and
flushing, in turn with llama.cpp's own kernel, `ggml_quantize_chunk`, on the same matrices, which lie in memory as
float32 already; the bytes are compared too. Speed: the student, which a cache holds, and the random model, which it
does not, in transformers and in llama.cpp at each type.
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median

import gguf
import numpy as np
import pandas as pd
import report
import torch
from gguf.quants import dequantize
from transformers import LlamaConfig, LlamaForCausalLM

from cogumi_utils.compress import gguf_export, gguf_read, gguf_types
from cogumi_utils.data import corpus
from cogumi_utils.judge import speed
from cogumi_utils.model import runners, student

KINDS = ("Q8_0", "Q5_K_M", "Q4_K_M")
RAW = "transformers, float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--student", type=Path, default=Path("outputs/tiny/04_distillation/model"))
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place:
        big = random_llama(Path(place) / "random", options.layers)
        quantising(big, Path(place), options.rounds, options.threads)
        speeds({"student": options.student, "random": big}, Path(place), options.rounds, options.threads)


def random_llama(folder: Path, layers: int) -> Path:
    """4.2M parameters a layer."""
    torch.manual_seed(1)
    tokenizer = student.train_tokenizer(corpus.sample(1, 400), 400)
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_key_value_heads": 8}
    config = LlamaConfig(
        vocab_size=1024, num_hidden_layers=layers, max_position_embeddings=512, tie_word_embeddings=True, **shape
    )
    return student.save(LlamaForCausalLM(config), tokenizer, folder)


def quantising(model: Path, place: Path, rounds: int, threads: int) -> None:
    f16 = gguf_export.export(model, place / "f16.gguf")
    reader = gguf_read.read(f16)
    matrices = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors if len(t.shape) > 1}
    rows, raw = [], {}
    for kind in KINDS:
        types, file, seconds = gguf_types.planned_types(reader, kind), place / f"{kind}.gguf", []
        for turn in range(rounds + 1):
            begun = time.perf_counter()
            gguf_types.quantise(f16, file, kind, threads=threads)
            between = time.perf_counter()
            codes = by_ggml(matrices, types, threads)
            seconds.append((between - begun, time.perf_counter() - between))
            if turn == 0:
                check(codes, file)
        ours, theirs = zip(*seconds[1:], strict=True)  # the first round warms up
        ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
        weights = sum(values.size for values in matrices.values())
        rows.append((kind, f16.stat().st_size / 1e6, weights / median(ours) / 1e6, weights / median(theirs) / 1e6,
                     median(ratios), min(ratios), max(ratios)))  # fmt: skip
        raw[kind] = {"ours": ours, "ggml": theirs}
    columns = ["type", "MB of F16", "M weights/s", "ggml, M weights/s", "ratio, median", "lowest", "highest"]
    notes = [
        f"{rounds} rounds in turn, {threads} thread(s), one process. Ours reads, quantises, writes and flushes a file;"
        " ggml's kernel works from float32 in memory to memory. Codes are equal, byte for byte."
    ]
    report.keep("gguf_quantise", pd.DataFrame(rows, columns=columns), notes, raw)


def by_ggml(matrices: Mapping[str, np.ndarray], types: Mapping[str, str], threads: int) -> dict[str, np.ndarray]:
    """Codes of all matrices by ggml's kernel; rows are shared among the threads."""
    from concurrent.futures import ThreadPoolExecutor

    from llama_cpp._ggml import libggml

    kernel = libggml.ggml_quantize_chunk
    kernel.restype, wide, pointer = ctypes.c_size_t, ctypes.c_int64, ctypes.c_void_p
    kernel.argtypes = [ctypes.c_int, pointer, pointer, wide, wide, wide, pointer]
    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, values in matrices.items():
            kind = gguf.GGMLQuantizationType[types[name]]
            rows, columns = values.shape
            weights, width = gguf.GGML_QUANT_SIZES[kind]
            codes = np.empty((rows, columns // weights * width), np.uint8)
            ends = np.linspace(0, rows, threads + 1).astype(int)
            jobs = [
                pool.submit(kernel, kind, values.ctypes.data, codes.ctypes.data, first * columns, last - first, columns,
                            None)
                for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
            ]  # fmt: skip
            assert sum(job.result() for job in jobs) == codes.size
            found[name] = codes
    return found


def check(codes: Mapping[str, np.ndarray], file: Path) -> None:
    for tensor in gguf_read.read(file).tensors:
        assert tensor.name not in codes or (tensor.data == codes[tensor.name]).all(), tensor.name


def speeds(models: Mapping[str, Path], place: Path, rounds: int, threads: int) -> None:
    tables, raw = [], {}
    for name, folder in models.items():
        openers = openers_of(folder, place / name, threads)
        opened = {kind: opener() for kind, opener in openers.items()}
        bandwidth = partial(reached, threads)
        rows = speed.time_runners(opened, bandwidth=bandwidth, rounds=rounds)
        for runner in opened.values():
            if hasattr(runner, "runtime"):
                runner.runtime.close()
        memory = {kind: runners.peak_memory(opener) for kind, opener in openers.items()}
        table = speed.speed_table(rows, {kind: found.peak for kind, found in memory.items()})
        table.insert(len(table.columns), "of it before loading, MB", [memory[kind].before / 1e6 for kind in openers])
        tables.append(table.assign(model=[f"{name}: {kind}" for kind in table.model]))
        raw[name] = {row.name: {"prompt": row.prompt_seconds, "new": row.new_seconds} for row in rows}
    notes = [
        f"128 prompt tokens, then 64 generated one by one, {rounds} rounds in turn after one to warm up,"
        f" {threads} thread(s), medians.",
        "GB/s: measured at each model's own size with the same threads, so a small model's is its cache's.",
        "Memory: a process of its own for each.",
    ]
    report.keep("gguf_speed", pd.concat(tables, ignore_index=True), notes, raw)


def reached(threads: int, working_set: float) -> float:
    return speed.memory_bandwidth(seconds=0.2, working_set=working_set, threads=threads)


def openers_of(folder: Path, place: Path, threads: int) -> dict[str, partial]:
    """{name: what opens a runner}: transformers, and llama.cpp with each type."""
    f16 = gguf_export.export(folder, place / "F16.gguf")
    files = [f16, *(gguf_types.quantise(f16, place / f"{kind}.gguf", kind) for kind in gguf_types.KINDS)]
    kv_bytes = speed.kv_bytes_per_token(gguf_read.configuration(gguf_read.read(f16)))
    found = {RAW: partial(runners.open_transformers, str(folder), threads=threads)}
    for file in files:
        found[f"llama.cpp, {file.stem}"] = partial(
            runners.open_llama_cpp, str(file), weight_bytes=gguf_read.bytes_per_token(file), kv_bytes=kv_bytes,
            threads=threads, context=256,
        )  # fmt: skip
    return found


if __name__ == "__main__":
    main()
