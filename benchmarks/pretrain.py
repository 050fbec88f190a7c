"""Pretraining from scratch: tokens/s and the share of the CPU's measured matmul peak; threads and `torch.compile`.

python benchmarks/pretrain.py [--rounds 5] [--steps 40]
"""

from __future__ import annotations

import argparse
from statistics import median

import pandas as pd
import report
import torch

from cogumi_utils.data import corpus
from cogumi_utils.judge import speed
from cogumi_utils.model import pretrain, student

SHAPE = {"hidden": 256, "layers": 2, "heads": 8, "kv_heads": 8, "ffn": 512, "context": 512}
READING = {"warm_steps": 4, "batch": 8, "length": 192, "repeat_share": 0.05, "fact_share": 0.3}
THREADS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    texts = corpus.sample(0, 20_000)
    found: dict[int, list[float]] = {threads: [] for threads in THREADS}
    for _ in range(options.rounds):
        for threads in THREADS:
            found[threads].append(tokens_per_second(texts, options.steps, threads))
    model, _ = student.obtain("scratch", model_id="", texts=texts, vocab_size=1024, shape=SHAPE, seed=0)
    flops = speed.training_flops_per_token(model.config.to_dict(), trainable="all", context=29)
    rows = []
    for threads, rates in found.items():
        torch.set_num_threads(threads)
        peak = speed.matmul_peak(seconds=0.5)
        rows.append((threads, median(rates), min(rates), max(rates), peak / 1e9, speed.mfu(median(rates), flops, peak)))
    columns = ["threads", "tokens/s, median", "lowest", "highest", "bf16 matmul peak, GFLOP/s", "share of the peak"]
    ratio = median(b / a for a, b in zip(*found.values(), strict=True))
    notes = [f"Two threads / one: median ratio {ratio:.3f} of {options.rounds} alternating rounds."]
    report.keep("pretrain", pd.DataFrame(rows, columns=columns), notes, {str(k): v for k, v in found.items()})


def tokens_per_second(texts: list[str], steps: int, threads: int) -> float:
    torch.set_num_threads(threads)
    model, tokenizer = student.obtain("scratch", model_id="", texts=texts, vocab_size=1024, shape=SHAPE, seed=0)
    rows = pretrain.reading(tokenizer, seed=0, steps=steps, **READING)
    return pretrain.pretrain(model, rows, batch=READING["batch"]).tokens_per_second


if __name__ == "__main__":
    main()
