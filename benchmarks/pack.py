"""Packed adapters: bytes against the entropy bound, rules of pruning and of quantising, and how fast they unpack.

python benchmarks/pack.py [--rounds 5] [--steps 120]

The adapter: rank 32 on all linear layers of a Llama (hidden 256, 2 layers, FFN 512), trained for a few seconds on
sequences of a Markov chain; no language, but weights that gradients made. One core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import report
import torch
import zstandard
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from cogumi_utils.compress import _streams, fourbit
from cogumi_utils.compress.lora import pack, sparsity
from cogumi_utils.judge.sizes import bound_bytes
from cogumi_utils.model import sft, student

SHARES, GROUP, LEVEL = (0.78, 0.80, 0.85), 64, 19
COPIES = 32  # of the adapter, side by side, for times that can be measured: 8.4M weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = trained_adapter(Path(scratch) / "adapter", options.steps)
        tensors = load_file(folder / pack.WEIGHTS)
        sizes = pd.DataFrame([row for share in SHARES for row in encoders(folder, tensors, share)])
        tables = {"Pruning": pruning(tensors), "Quantising": quantising(tensors)}
        tables["Unpacking"] = unpacking(folder, tensors, options.rounds)
    notes = [f"## {name}\n\n{table.to_markdown(index=False, floatfmt='.4g')}\n" for name, table in tables.items()]
    report.keep("pack", sizes, notes, {name: table.to_dict("records") for name, table in tables.items()})


def trained_adapter(folder: Path, steps: int) -> Path:
    """Each of 1,024 tokens has three successors; 8 rows of 64 tokens a step, AdamW 3e-3, linear decay."""
    base = student.small_llama(1024, hidden=256, layers=2, heads=4, kv_heads=2, ffn=512, context=256, seed=1)
    adapted = get_peft_model(base, sft.lora(32))
    generator = torch.Generator().manual_seed(0)
    successors = torch.randint(0, 1024, (1024, 3), generator=generator)
    optimiser = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    for _ in range(steps):
        rows = torch.randint(0, 1024, (8, 1), generator=generator)
        for _ in range(63):
            chosen = torch.randint(0, 3, (8,), generator=generator)
            rows = torch.cat([rows, successors[rows[:, -1], chosen][:, None]], dim=1)
        adapted(input_ids=rows, labels=rows).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return sft.save_adapter(adapted, folder, "00_student/model")


def by_rank(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor if "lora_A" in name else tensor.T


def encoders(folder: Path, tensors: dict, share: float) -> list[dict]:
    """The packed file beside simpler arrangements of the same masks, codes and scales, with the same header."""
    found = pack.pack_adapter(folder, folder.parent / "packed", sparsity=share, group_size=GROUP, level=LEVEL)
    masks = sparsity.prune_masks(tensors, share)
    bits = np.concatenate([by_rank(name, masks[name]).flatten().numpy() for name in tensors])
    quantised = [fourbit.encode(by_rank(n, tensors[n])[by_rank(n, masks[n])].numpy(), GROUP) for n in tensors]
    codes = _streams.code_arrangements(np.concatenate([each.codes for each in quantised]))
    scales = _streams.scale_arrangements(np.concatenate([each.scales for each in quantised]))["plain"]
    mask = _streams.mask_arrangements(bits)
    simple = {
        "nothing compressed": [mask["bits"], codes["two"], scales],
        "one zstd stream of all": [zstd(mask["bits"] + codes["two"] + scales)],
        "bits, codes one a byte": [zstd(mask["bits"]), zstd(codes["one"]), zstd(scales)],
        "bits, codes two a byte": [zstd(mask["bits"]), zstd(codes["two"]), zstd(scales)],
        "gaps, codes two a byte": [zstd(mask["gaps"]), zstd(codes["two"]), zstd(scales)],
    }
    sizes = {name: found.bytes_header + sum(map(len, parts)) for name, parts in simple.items()}
    sizes["pack_adapter"] = found.bytes_file
    return [
        {"sparsity": share, "encoder": name, "bytes": size, "bound": round(found.bound_bytes),
         "gap, %": 100 * (size / found.bound_bytes - 1), "of the dense files, %": 100 * size / found.bytes_dense}
        for name, size in sizes.items()
    ]  # fmt: skip


def zstd(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=False).compress(plain)


def pruning(tensors: dict) -> pd.DataFrame:
    """Error of B·A and the entropy of the masks, by score and by what shares a threshold."""
    rows = []
    for score in sparsity.SCORES:
        for scope in sparsity.SCOPES:
            row = {"score": score, "threshold for": scope}
            for share in SHARES:
                masks = sparsity.prune_masks(tensors, share, score=score, scope=scope)
                pruned = {name: tensors[name] * masks[name] for name in tensors}
                row[f"error at {share}"] = sparsity.product_error(tensors, pruned)
                kept = [(mask.numel(), 1 - float(mask.sum()) / mask.numel()) for mask in masks.values()]
                row[f"mask bytes at {share}"] = round(sum(bound_bytes(count, gone, 0) for count, gone in kept))
            rows.append(row)
    return pd.DataFrame(rows)


def quantising(tensors: dict) -> pd.DataFrame:
    """Error of B·A after quantising the pruned weights, and the bytes of codes, scales and codebooks together."""
    rows = []
    for share in SHARES:
        masks = sparsity.prune_masks(tensors, share)
        pruned = {name: tensors[name] * masks[name] for name in tensors}
        for name, quantiser in QUANTISERS.items():
            for group in (32, 64, 128):
                size, values = apply(quantiser, pruned, masks, group)
                error = sparsity.product_error(pruned, values)
                rows.append({"sparsity": share, "levels": name, "group": group, "bytes": size, "error of B·A": error})
    return pd.DataFrame(rows)


def apply(quantiser: Callable, pruned: dict, masks: dict, group: int) -> tuple[int, dict]:
    codes, scales, extra, values = [], [], 0, {}
    for name, tensor in pruned.items():
        mask, target = by_rank(name, masks[name]), torch.zeros_like(by_rank(name, tensor))
        code, scale, decoded, book = quantiser(by_rank(name, tensor)[mask].numpy(), group)
        target[mask] = torch.from_numpy(decoded.astype(np.float32))
        values[name], extra = by_rank(name, target), extra + book
        codes.append(code)
        scales.append(scale)
    streams = _streams.code_arrangements(np.concatenate(codes)), _streams.scale_arrangements(np.concatenate(scales))
    return extra + sum(len(_streams.smallest(choices, LEVEL).data) for choices in streams), values


def with_floor(values: np.ndarray, group: int) -> tuple:
    found = fourbit.encode(values, group)
    return found.codes, found.scales, fourbit.decode(found, group), 1


def around_zero(values: np.ndarray, group: int) -> tuple:
    """−7…7 times the scale."""
    scales, each = maxima(values, group, 7)
    levels = np.clip(np.rint(np.divide(values, each, out=np.zeros(values.size), where=each > 0)), -7, 7)
    return (levels + 7).astype(np.uint8), scales, levels * each, 0


def codebook(values: np.ndarray, group: int) -> tuple:
    """16 levels by k-means over the tensor, times the scale; the book is 16 float16."""
    from sklearn.cluster import KMeans

    scales, each = maxima(values, group, 1)
    ratio = np.divide(values, each, out=np.zeros(values.size), where=each > 0)
    if np.unique(ratio).size < 16:
        return with_floor(values, group)
    start = np.quantile(ratio, (np.arange(16) + 0.5) / 16)[:, None]
    fitted = KMeans(16, init=start, n_init=1).fit(ratio[:, None])
    return fitted.labels_.astype(np.uint8), scales, fitted.cluster_centers_[fitted.labels_, 0] * each, 32


def maxima(values: np.ndarray, group: int, divisor: int) -> tuple[np.ndarray, np.ndarray]:
    starts = np.arange(0, values.size, group)
    found = np.maximum.reduceat(np.abs(values), starts) / divisor if values.size else np.zeros(0)
    scales = found.astype(np.float16)
    return scales, np.repeat(scales.astype(np.float64), group)[: values.size]


QUANTISERS = {"floor, evenly spaced": with_floor, "−7 to 7": around_zero, "k-means, 16": codebook}


def unpacking(folder: Path, tensors: dict, rounds: int) -> pd.DataFrame:
    """MB/s of float32 weights on one core (CPU seconds), contenders in turn; unpacked to files, digests checked."""
    large, scratch = folder.parent / "large", folder.parent
    large.mkdir()
    copies = {
        name.replace(".layers.", f".layers.{copy}"): tensor + 0.0
        for copy in range(10, 10 + COPIES)
        for name, tensor in tensors.items()
    }
    save_file(copies, large / pack.WEIGHTS)
    (large / pack.CONFIG).write_bytes((folder / pack.CONFIG).read_bytes())
    dense = (large / pack.WEIGHTS).read_bytes()
    squeezed = zstd(dense)
    jobs = {}
    for share in SHARES:
        target = scratch / f"{share}.packed"
        pack.pack_adapter(large, target, sparsity=share, group_size=GROUP, level=LEVEL)
        jobs[f"unpack_adapter, {share}"] = lambda target=target: pack.unpack_adapter(target, scratch / "unpacked")
    jobs["zstd of the dense file, to memory"] = lambda: zstandard.ZstdDecompressor().decompress(
        squeezed, max_output_size=len(dense)
    )
    rates = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            rates[name].append(len(dense) / 1e6 / (time.process_time() - start))
    rows = [(name, len(dense) / 1e6, median(each), min(each), max(each)) for name, each in rates.items()]
    return pd.DataFrame(rows, columns=["job", "MB unpacked", "MB/s, median", "lowest", "highest"])


if __name__ == "__main__":
    main()
