"""50,000 failures embedded, clustered and named: seconds for each step, and what limits it.

    python benchmarks/clusters.py [--texts 50000] [--real 2500]

Prompts of skill tasks and, where COGUMI_DATA is set, real prompts, masked as notebook 03 does. One core. Embedding is
set beside the measured matrix-multiply peak; what is quadratic (HDBSCAN, UMAP) runs on samples of growing size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import report
import torch
from sentence_transformers import SentenceTransformer

from cogumi_utils.data import skills, sources
from cogumi_utils.failures import clusters, naming, picture
from cogumi_utils.failures.embed import embed, load_embedder
from cogumi_utils.failures.texts import prompt_views, question, together
from cogumi_utils.paths import data_dir

SETS = ("gsm8k", "mmlu", "bbh", "mbpp", "humaneval", "arc")
LOWEST, HIGHEST, SEED = 8, 12, 0
SAMPLES = (1_250, 2_500, 5_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--real", type=int, default=2_500, help="of them real prompts, where COGUMI_DATA is set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    texts = prompts(options.texts, options.real if data_dir() else 0)
    peak = matmul_peak()
    embedder = load_embedder()
    views, embedding = timed(lambda: prompt_views(embedder, texts))
    tokens, window = token_counts(embedder, texts)
    rows, found = steps(together(views), texts)
    rate = tokens / embedding["CPU s"]
    share = rate * flops_per_token(embedder, tokens / len(set(texts))) / peak
    rows = [{"step": "embed", "n": len(texts), **embedding}, *rows]
    table = pd.DataFrame(rows).assign(**{"texts/CPU s": lambda frame: frame["n"] / frame["CPU s"]})
    notes = [
        f"{len(texts):,} texts, {len(set(texts)):,} different ones; equal texts are embedded once.",
        f"Embedding: {tokens:,} tokens (window {window}), {rate:,.0f} tokens/CPU s, {share:.0%} of the float32 "
        f"matmul peak measured, {peak / 1e9:.0f} GFLOP/s: what limits it is arithmetic.",
        precision_note(embedder, texts),
        f"{found.k} clusters of {found.reduced.shape[1]} components.",
    ]
    report.keep("clusters", table, notes, {"tokens": tokens, "peak_flops": peak, "choice": found.table.to_dict("list")})


def prompts(count: int, real: int) -> list[str]:
    """Masked questions: `real` from public sets, spread evenly, the rest skill tasks of all skills."""
    some = [row for name in SETS if real for row in sources.load_examples(name, purpose="evaluation", limit=real // 6)]
    each = (count - len(some)) // len(skills.all_skills()) + 1
    tasks = skills.mixed(skills.all_skills(), each, split="train", seed=SEED)
    while len(tasks) + len(some) < count:  # small skills run out of different questions
        each = int(each * 1.2)
        tasks = skills.mixed(skills.all_skills(), each, split="train", seed=SEED)
    return [question(row) for row in [*some, *tasks][:count]]


def timed(work: Callable) -> tuple:
    """(result, {"s", "CPU s"})."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"s": time.perf_counter() - wall, "CPU s": time.process_time() - cpu}


def matmul_peak(size: int = 1024, repeats: int = 40) -> float:
    """float32 FLOP for each CPU second, so that other load on the machine leaves the ratio alone."""
    square = torch.ones(size, size)
    square @ square
    _, seconds = timed(lambda: [square @ square for _ in range(repeats)])
    return repeats * 2 * size**3 / seconds["CPU s"]


def steps(vectors: np.ndarray, texts: list[str]) -> tuple[list[dict], clusters.Clustering]:
    rows = []

    def step(name: str, n: int, work: Callable):
        result, seconds = timed(work)
        rows.append({"step": name, "n": n, **seconds})
        return result

    n = len(vectors)
    found = step(
        f"PCA, KMeans {LOWEST} to {HIGHEST}, silhouettes", n,
        lambda: clusters.cluster(vectors, lowest=LOWEST, highest=HIGHEST, seed=SEED),
    )  # fmt: skip
    step("c-TF-IDF terms", n, lambda: naming.class_terms(texts, found.labels, found.k))
    step("5 bootstrap refits", n, lambda: clusters.stability(found, resamples=5, seed=SEED))
    picture.coordinates(found.reduced[:100], points=100, seed=SEED)  # numba compiles
    for size in SAMPLES:
        some = np.random.default_rng(SEED).permutation(n)[:size]
        step("HDBSCAN", len(some), lambda some=some: clusters.density_labels(found.reduced[some], len(some) // 40))
        step("UMAP", len(some), lambda size=size: picture.coordinates(found.reduced, points=size, seed=SEED))
    return rows, found


def token_counts(embedder: SentenceTransformer, texts: list[str]) -> tuple[int, int]:
    """(tokens that are embedded, the model's window)."""
    window = embedder.max_seq_length
    lengths = embedder.tokenizer(list(dict.fromkeys(texts)), truncation=True, max_length=window)["input_ids"]
    return sum(map(len, lengths)), window


def flops_per_token(embedder: SentenceTransformer, length: float) -> float:
    """Two for each weight of the encoder's layers, four for each position attended to and hidden number."""
    transformer = embedder[0].auto_model
    weights = sum(weight.numel() for weight in transformer.encoder.parameters() if weight.dim() == 2)
    config = transformer.config
    return 2 * weights + 4 * config.num_hidden_layers * config.hidden_size * length


def precision_note(embedder: SentenceTransformer, texts: list[str], n: int = 1_000) -> str:
    """float32 against bf16 on the same texts: seconds, and how far the vectors move."""
    some = list(dict.fromkeys(texts))[:n]
    full, slow = timed(lambda: embed(embedder, some))
    half = load_embedder().to(torch.bfloat16)
    embed(half, some[:64])
    moved, fast = timed(lambda: embed(half, some))
    cosine = float((full * moved).sum(axis=1).min())
    ratio = slow["CPU s"] / fast["CPU s"]
    return f"bf16 on {len(some):,} of the texts: {ratio:.2f} times as fast, lowest cosine to float32 {cosine:.4f}."


if __name__ == "__main__":
    main()
