"""Byte planes: the k-th bytes of all blocks side by side, planes that are alike bundled into one stream.

Zstandard codes literals with one Huffman table for each 128 KiB of a stream. A table fits only what is alike, so the
bytes of a block are cut into runs (a layout: the runs' widths) of which each becomes a stream; a table costs some
hundred bytes, so what is alike stays together. Inside a run the bytes keep their order: it costs no entropy, and
rows of many bytes are moved faster than single ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cogumi_utils.compress.archive._segments import Segment

TABLE_BYTES, TABLE_REACH = 110, 1 << 17  # of a Huffman table and its block's head; bytes that one table serves
STREAM_BYTES = 20  # a frame's head and its size in the index


def gather(chunk: np.ndarray, parts: Sequence[Segment]) -> dict[str, np.ndarray]:
    """uint8 [blocks, width] by kind, in order of first appearance. chunk: uint8 [sum of the parts' sizes]."""
    found: dict[str, list[np.ndarray]] = {}
    place = 0
    for part in parts:
        found.setdefault(part.kind, []).append(chunk[place : place + part.size].reshape(-1, part.width))
        place += part.size
    return {kind: rows[0] if len(rows) == 1 else np.concatenate(rows) for kind, rows in found.items()}


def scatter(groups: Sequence[np.ndarray], parts: Iterable[tuple[int, int]], total: int) -> np.ndarray:
    """The chunk again, uint8 [total]. parts: (index of the group, bytes), in order; they use each group up."""
    flat = [group.reshape(-1) for group in groups]
    if len(flat) == 1:
        return flat[0]
    chunk, places, place = np.empty(total, np.uint8), [0] * len(flat), 0
    for index, size in parts:
        chunk[place : place + size] = flat[index][places[index] : places[index] + size]
        places[index] += size
        place += size
    return chunk


def arrange(blocks: np.ndarray, layout: Sequence[int]) -> list[bytes]:
    """One stream a run. blocks: uint8 [n, sum of layout]."""
    ends = np.cumsum(layout)
    return [blocks[:, end - width : end].tobytes() for width, end in zip(layout, ends, strict=True)]


def restore(streams: Sequence[bytes], layout: Sequence[int]) -> np.ndarray:
    """uint8 [n, sum of layout]; each stream has n times its run's width bytes."""
    runs = [np.frombuffer(stream, np.uint8).reshape(-1, width) for stream, width in zip(streams, layout, strict=True)]
    if len(runs) == 1:
        return runs[0]
    blocks = np.empty((len(runs[0]), sum(layout)), np.uint8)
    place = 0
    for run in runs:
        blocks[:, place : place + run.shape[1]] = run
        place += run.shape[1]
    return blocks


def histograms(blocks: np.ndarray) -> np.ndarray:
    """int64 [width, 256]: how often each value stands at each place of a block. blocks: uint8 [n, width]."""
    width = blocks.shape[1]
    if width == 1:
        return np.bincount(blocks[:, 0], minlength=256)[None]
    numbered = blocks + 256 * np.arange(width, dtype=np.int32)
    return np.bincount(numbered.reshape(-1), minlength=256 * width).reshape(width, 256)


def entropy_bytes(counts: np.ndarray) -> np.ndarray:
    """Bytes that an order-0 code needs at least, one table for each row of counts [..., 256] (Shannon 1948)."""
    counts = np.asarray(counts, np.float64)
    total = counts.sum(axis=-1)
    logs = np.log2(counts, out=np.zeros_like(counts), where=counts > 0)
    whole = np.log2(total, out=np.zeros_like(total), where=total > 0)
    return (total * whole - (counts * logs).sum(axis=-1)) / 8


def bundled(counts: np.ndarray, blocks: float) -> list[int]:
    """The layout of fewest bytes for groups of `blocks` blocks, learnt from a sample's counts [width, 256].

    Exact over runs of neighbouring planes, by dynamic programming on the pooled entropy, what tables cost, and half
    of log2(n) bits for each value in use (Schwarz 1978), without which chance differences of a sample divide a run.
    """
    width, sampled = len(counts), max(1, int(counts[0].sum()))
    sums = np.concatenate([np.zeros((1, 256), np.int64), np.cumsum(counts, axis=0)])
    best, start = np.zeros(width + 1), [0] * (width + 1)
    for stop in range(1, width + 1):
        planes = stop - np.arange(stop)
        pooled, sizes = sums[stop] - sums[:stop], planes * blocks
        chance = (pooled > 0).sum(axis=1) * np.log2(planes * sampled) / 16
        tables = STREAM_BYTES + TABLE_BYTES * np.ceil(sizes / TABLE_REACH)
        coded = (entropy_bytes(pooled) + chance) * blocks / sampled + tables
        costs = best[:stop] + np.minimum(coded, sizes + STREAM_BYTES)
        start[stop] = int(np.argmin(costs))
        best[stop] = costs[start[stop]]
    layout = []
    while width:
        layout.append(width - start[width])
        width = start[width]
    return layout[::-1]
