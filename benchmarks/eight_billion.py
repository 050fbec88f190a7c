"""Does compression of an 8B fit one GPU, and how long does it take? SparseGPT, AWQ and GGUF export, then decoding.

    ./run_all.sh h100_dry --to 00
    python benchmarks/eight_billion.py [--student outputs/h100_dry/00_student/model] [--rows 64] [--length 2048]
                                       [--gpu-layers -1]

Random weights in the real shapes: minutes and memory are those of the real model, quality means nothing. Published for
comparison: AWQ of a 7B in 10 to 15 minutes on one A100 (AutoAWQ's documentation); our target is 30 minutes a step.
Each step is a process of its own, so that its peak memory is its own. Decoding runs in llama.cpp with the layers on
the GPU, which takes a llama-cpp-python that was built with CUDA (CMAKE_ARGS="-DGGML_CUDA=on"); with `--gpu-layers 0` on
the CPU. Runs with a small student on the CPU too, to try the script.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import report

from cogumi_utils import hardware
from cogumi_utils.data import skills
from cogumi_utils.judge import speed

TARGET_MINUTES = 30.0  # for each step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--student", type=Path, default=Path("outputs/h100_dry/00_student/model"))
    parser.add_argument("--rows", type=int, default=64, help="calibration rows")
    parser.add_argument("--length", type=int, default=2048, help="tokens of a calibration row")
    parser.add_argument("--gpu-layers", type=int, default=-1, help="layers on the GPU while decoding; -1: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        f16, q5 = Path(folder, "f16.gguf"), Path(folder, "q5_k_m.gguf")
        steps: dict[str, Callable[[], Any]] = {
            "SparseGPT, 65%": partial(sparsegpt, options.student, options.rows, options.length),
            "AWQ, 4 bits": partial(awq, options.student, Path(folder, "awq"), options.rows, options.length),
            "GGUF, 16 bits": partial(export, options.student, f16),
            "GGUF, Q5_K_M": partial(quantise, f16, q5),
        }
        table = pd.DataFrame([{"step": name, **alone(step)} for name, step in steps.items()])
        table["share of 30 minutes"] = table["minutes"] / TARGET_MINUTES
        decoded = decode(q5, options.gpu_layers)
    notes = [f"{options.student.name}, {options.rows} calibration rows of {options.length} tokens, one run each."]
    report.keep("eight_billion", table, notes, table.to_dict("records"))
    report.keep("eight_billion_decoding", decoded, ["Q5_K_M, 128 prompt tokens, then 64 one by one."], {})


def alone(step: Callable[[], Any]) -> dict[str, float]:
    """Minutes and peak memory of a step in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, step).result()


def measured(step: Callable[[], Any]) -> dict[str, float]:
    started = time.perf_counter()
    step()
    minutes = (time.perf_counter() - started) / 60
    memory, device = hardware.peak_memory_bytes(), hardware.peak_device_memory_bytes()
    return {"minutes": minutes, "peak memory, GB": memory / 1e9, "peak GPU memory, GB": device / 1e9}


def opened(student: Path) -> tuple[Any, Any, list]:
    """Model (bfloat16 on a GPU, else float32), tokenizer, and chats to calibrate on."""
    import torch

    from cogumi_utils.model import student as students

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    chats = skills.mixed(skills.all_skills(), 400, split="train", seed=1)
    return *students.load(student, dtype=dtype, device_map=device), chats


def sparsegpt(student: Path, rows: int, length: int) -> None:
    from cogumi_utils.compress.pruning import prune

    model, tokenizer, chats = opened(student)
    prune.one_shot(model, tokenizer, chats, method="sparsegpt", sparsity=0.65, rows=rows, length=length)


def awq(student: Path, target: Path, rows: int, length: int) -> None:
    from cogumi_utils.compress.quantization import quantize

    model, tokenizer, chats = opened(student)
    quantize.quantise(model, tokenizer, chats, target=target, rows=rows, length=length)


def export(student: Path, target: Path) -> None:
    from cogumi_utils.compress.gguf import export as gguf_export

    gguf_export.export(student, target)


def quantise(f16: Path, target: Path) -> None:
    from cogumi_utils.compress.gguf import types as gguf_types

    gguf_types.quantise(f16, target, "Q5_K_M", threads=os.cpu_count() or 1)


def decode(file: Path, gpu_layers: int) -> pd.DataFrame:
    """Tokens per second beside the bound of the memory that the weights lie in."""
    import torch

    from cogumi_utils.compress.gguf import read as gguf_read
    from cogumi_utils.model import llama_cpp_runtime, runners

    on_gpu = gpu_layers != 0 and torch.cuda.is_available()
    threads = os.cpu_count() or 1
    bandwidth = partial(_data_sheet, torch.cuda.get_device_name()) if on_gpu else partial(_read, threads)
    kv_bytes = speed.kv_bytes_per_token(gguf_read.configuration(gguf_read.read(file)))
    options = {"threads": threads, "sequences": 1, "gpu_layers": gpu_layers if on_gpu else 0}
    with llama_cpp_runtime.load(file, **options) as runtime:
        weight_bytes = gguf_read.bytes_per_token(file)
        runner = runners.LlamaCppRunner(runtime, weight_bytes=weight_bytes, kv_bytes=kv_bytes)
        where = "GPU" if on_gpu else "CPU"
        return speed.speed_table(speed.time_runners({f"Q5_K_M, {where}": runner}, bandwidth=bandwidth))


def _data_sheet(name: str, working_set: float) -> float:
    return speed.device(name).bandwidth


def _read(threads: int, working_set: float) -> float:
    return speed.memory_bandwidth(seconds=0.2, working_set=working_set, threads=threads)


if __name__ == "__main__":
    main()
