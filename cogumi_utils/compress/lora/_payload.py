"""From an adapter's matrices to the streams of a packed file, and back.

Masks, codes and scales are stored apart. Tensors go by their share of kept weights, so that neighbours are alike; each
goes by rank (A as it is, B transposed), since the scores of one rank are alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cogumi_utils.compress import _streams, fourbit
from cogumi_utils.compress.lora._manifest import Entry, Manifest, stream_order


def kept_values(name: str, tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> np.ndarray:
    """float32 [kept], by rank."""
    return _by_rank(name, tensors[name].detach().float())[_by_rank(name, masks[name])].numpy()


def placed(name: str, mask: Tensor, quantised: fourbit.Quantised, group_size: int) -> Tensor:
    """The unpacked matrix, float32, in PEFT's shape, as `mask` is."""
    by_rank = _by_rank(name, mask)
    values = torch.zeros(by_rank.shape)
    values[by_rank] = torch.from_numpy(fourbit.decode(quantised, group_size))
    return _by_rank(name, values).contiguous()


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all names and little-endian float32 weights, by name."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode() + b"\0" + tensors[name].numpy().astype("<f4").tobytes())
    return found.hexdigest()


def to_payload(
    config: dict[str, Any], sparsity: float, group_size: int, masks: Mapping[str, Tensor],
    quantised: Mapping[str, fourbit.Quantised], decoded: Mapping[str, Tensor], level: int,
) -> tuple[Manifest, bytes]:  # fmt: skip
    """The manifest and the streams that it describes: a mask for each bundle, all codes, all scales."""
    entries = {name: Entry(*masks[name].shape, q.codes.size, q.floor, q.exponent) for name, q in quantised.items()}
    order = stream_order(entries)
    sizes = _streams.bundles([entries[name].count for name in order], [entries[name].kept for name in order])
    draft = Manifest(config, sparsity, group_size, entries, sizes, [], digest(decoded))
    flat = {name: _by_rank(name, masks[name]).flatten().numpy() for name in order}
    arranged = [_streams.mask_arrangements(np.concatenate([flat[name] for name in names])) for names in draft.bundled()]
    arranged.append(_streams.code_arrangements(np.concatenate([quantised[name].codes for name in order])))
    arranged.append(_streams.scale_arrangements(np.concatenate([quantised[name].scales for name in order])))
    frames = [_streams.smallest(choices, level) for choices in arranged]
    described = [(frame.arrangement, frame.coding, len(frame.data)) for frame in frames]
    return replace(draft, frames=described), b"".join(frame.data for frame in frames)


def from_payload(manifest: Manifest, payload: bytes) -> dict[str, Tensor]:
    """{name: float32 matrix}. Raises CogumiError unless every stream has the sizes that the manifest gives."""
    frames, order = manifest.split(payload), stream_order(manifest.tensors)
    entries = [manifest.tensors[name] for name in order]
    counts = [fourbit.scale_count(entry.kept, manifest.group_size) for entry in entries]
    codes = _parts(_streams.read_codes(frames[-2], manifest.kept), [entry.kept for entry in entries])
    scales = _parts(_streams.read_scales(frames[-1], sum(counts)), counts)
    masks = _masks(manifest, frames)
    tensors = {}
    for name, entry, mine, own in zip(order, entries, codes, scales, strict=True):
        quantised = fourbit.Quantised(mine, own, entry.floor, entry.exponent)
        tensors[name] = placed(name, masks.pop(name), quantised, manifest.group_size)
    return {name: tensors[name] for name in sorted(tensors)}


def _masks(manifest: Manifest, frames: list[_streams.Frame]) -> dict[str, Tensor]:
    """{name: bool matrix in PEFT's shape}, each with the kept weights that the manifest says."""
    masks = {}
    for names, frame in zip(manifest.bundled(), frames, strict=False):
        entries = [manifest.tensors[name] for name in names]
        counts = [entry.count for entry in entries]
        whole = _streams.read_mask(frame, sum(counts), sum(entry.kept for entry in entries))
        for name, entry, flat in zip(names, entries, _parts(whole, counts), strict=True):
            if int(flat.sum()) != entry.kept:
                raise _streams.inconsistent(f"a mask of {name} that does not keep {entry.kept} weights")
            shape = _by_rank(name, torch.empty((entry.rows, entry.columns), device="meta")).shape
            masks[name] = _by_rank(name, torch.from_numpy(flat).view(shape))
    return masks


def _parts(values: np.ndarray, counts: list[int]) -> list[np.ndarray]:
    return np.split(values, np.cumsum(counts)[:-1])


def _by_rank(name: str, tensor: Tensor) -> Tensor:
    """[r, ·] of either factor, and back."""
    return tensor if name.endswith("lora_A.weight") else tensor.T
