"""GGUF: quantising beside raw ggml, and tokens per second of every type beside what memory allows.

    python benchmarks/gguf_types.py [--student outputs/tiny/04_distillation/model] [--rounds 5] [--threads 1]
                                    [--only quantising] [--clock cpu]

Quantising: a file of 68 MB of random weights through `gguf_types.quantise`, with reading, checking, writing and
flushing; in turn with it the bare call of llama.cpp, `llama_model_quantize`, which checks and flushes nothing, and
ggml's kernel, `ggml_quantize_chunk`, on the same matrices, which lie in memory as float32 already. The bytes are
compared too. Speed: the student, which a cache holds, and the random model, which it
does not, in transformers and in llama.cpp at each type.
"""

from __future__ import annotations

import argparse
import ctypes
import operator
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median

import gguf
import numpy as np
import pandas as pd
import report
from gguf.quants import dequantize

# Modules that load torch are imported where they are used: the processes whose memory is measured import this file too.

KINDS = ("Q8_0", "Q5_K_M", "Q4_K_M")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--student", type=Path, default=Path("outputs/tiny/04_distillation/model"))
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("quantising", "speed"))
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of one thread, where others are busy")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if options.only != "speed":
            quantising(random_llama(Path(place) / "8", 8), Path(place), options.rounds, options.threads)
        if options.only != "quantising":
            big = random_llama(Path(place) / "random", options.layers)
            speeds({"student": options.student, "random": big}, Path(place), options)


def random_llama(folder: Path, layers: int) -> Path:
    """4.2M parameters a layer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from cogumi_utils.data import corpus
    from cogumi_utils.model import student

    torch.manual_seed(1)
    tokenizer = student.train_tokenizer(corpus.sample(1, 400), 400)
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_key_value_heads": 8}
    config = LlamaConfig(
        vocab_size=1024, num_hidden_layers=layers, max_position_embeddings=512, tie_word_embeddings=True, **shape
    )
    return student.save(LlamaForCausalLM(config), tokenizer, folder)


def quantising(model: Path, place: Path, rounds: int, threads: int) -> None:
    from cogumi_utils.compress.gguf import export as gguf_export
    from cogumi_utils.compress.gguf import read as gguf_read
    from cogumi_utils.compress.gguf import types as gguf_types

    f16 = gguf_export.export(model, place / "f16.gguf")
    reader = gguf_read.read(f16)
    matrices = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors if len(t.shape) > 1}
    weights, rows, raw = sum(values.size for values in matrices.values()), [], {}
    for kind in KINDS:
        types, file = gguf_types.planned_types(reader, kind), place / f"{kind}.gguf"
        check(by_ggml(matrices, types, threads), gguf_types.quantise(f16, file, kind, threads=threads))
        ways = {
            "ours": partial(gguf_types.quantise, f16, file, kind, threads=threads),
            "llama.cpp": partial(by_llama_cpp, f16, place / "bare.gguf", kind, threads),
            "ggml": partial(by_ggml, matrices, types, threads),
        }
        raw[kind] = in_turn(ways, rounds)
        for clock in CLOCKS:
            seconds = {way: raw[kind][way][clock] for way in ways}
            ours = seconds.pop("ours")
            ratios = {f"to {way}": median(map(operator.truediv, other, ours)) for way, other in seconds.items()}
            rows.append({"type": kind, "clock": clock, "M weights/s": weights / median(ours) / 1e6, **ratios})
    notes = [
        f"{f16.stat().st_size / 1e6:.0f} MB of F16, {rounds} rounds in turn, {threads} thread(s), one process."
        " Ratios of speeds, medians of the rounds: above 1, ours is faster.",
        "Ours reads, checks, quantises, writes and flushes; bare llama.cpp does not flush; ggml's kernel neither reads"
        " nor writes. Codes are equal, byte for byte. The processor's clock does not count waiting for disk or others.",
    ]
    report.keep("gguf_quantise", pd.DataFrame(rows), notes, raw)


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, list[float]]]:
    found = {way: {name: [] for name in CLOCKS} for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            begun = {name: clock() for name, clock in CLOCKS.items()}
            work()
            for name, clock in CLOCKS.items():
                found[way][name].append(clock() - begun[name])
    return found


def by_llama_cpp(f16: Path, target: Path, kind: str, threads: int) -> None:
    from cogumi_utils.model.llama_cpp_library import library

    parameters = library().llama_model_quantize_default_params()
    parameters.nthread, parameters.ftype = threads, gguf.LlamaFileType[f"MOSTLY_{kind}"]
    assert library().llama_model_quantize(bytes(f16), bytes(target), ctypes.byref(parameters)) == 0


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
    from cogumi_utils.compress.gguf import read as gguf_read

    for tensor in gguf_read.read(file).tensors:
        assert tensor.name not in codes or (tensor.data == codes[tensor.name]).all(), tensor.name


def speeds(models: Mapping[str, Path], place: Path, options: argparse.Namespace) -> None:
    from cogumi_utils.compress.gguf import speed as gguf_speed

    tables, raw, threads = [], {}, options.threads
    timing = {"rounds": options.rounds, "clock": CLOCKS[options.clock], "memory": True}
    for name, folder in models.items():
        openers = gguf_speed.openers(folder, types_of(folder, place / name), threads=threads)
        rows, table = gguf_speed.timed(openers, bandwidth=gguf_speed.bandwidth_of("cpu", threads), **timing)
        tables.append(table.assign(model=[f"{name}: {kind}" for kind in table.model]))
        raw[name] = {row.name: {"prompt": row.prompt_seconds, "new": row.new_seconds} for row in rows}
    notes = [
        f"128 prompt tokens, then 64 generated one by one, {options.rounds} rounds in turn after one to warm up,"
        f" {threads} thread(s), medians by the {options.clock} clock.",
        "GB/s: by the wall clock, the best of many reads at each model's own size with the same threads, so that a"
        " small model's is its cache's.",
        "Memory: all of a process of its own for each, torch or llama.cpp and numpy among them.",
    ]
    report.keep("gguf_speed", pd.concat(tables, ignore_index=True), notes, raw)


def types_of(folder: Path, place: Path) -> dict[str, Path]:
    """{type: the folder's model in a GGUF file of it}."""
    from cogumi_utils.compress.gguf import export as gguf_export
    from cogumi_utils.compress.gguf import types as gguf_types

    f16 = gguf_export.export(folder, place / "F16.gguf")
    return {"F16": f16} | {kind: gguf_types.quantise(f16, place / f"{kind}.gguf", kind) for kind in gguf_types.KINDS}


if __name__ == "__main__":
    main()
