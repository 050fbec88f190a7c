"""Pack a LoRA adapter into one small file: pruned, four bits a kept weight, entropy-coded, checked to the last bit.

`_container` has the layout of the file, `_manifest` its header, `_payload` the order of the weights, `_streams` their
coding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cogumi_utils.compress import _streams, fourbit
from cogumi_utils.compress.ledger import File
from cogumi_utils.compress.lora import _container
from cogumi_utils.compress.lora._manifest import Manifest, believed
from cogumi_utils.compress.lora._payload import digest, from_payload, kept_values, placed, to_payload
from cogumi_utils.compress.lora.sparsity import check_pairs, check_sparsity, product_error, prune_masks
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.sizes import bound_bytes

if TYPE_CHECKING:
    import pandas as pd

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True, slots=True)
class PackReport:
    """Sizes in bytes. bytes_dense: the adapter's two files; bytes_header: head, header and digests; sparsity: reached.

    bound_bytes: Σ over tensors n·H(kept share) + kept·H(codes, order 0), and 16 bits a scale; gap: file / bound − 1.
    max_error: the largest change of a kept weight; relative_error: of B·A, unpacked against pruned; pruning_error:
    of B·A, pruned against the input (0 for an adapter trained under its masks). Errors are shares of ‖B·A‖.
    """

    parameters: int
    kept: int
    sparsity: float
    bytes_dense: int
    bytes_mask: int
    bytes_codes: int
    bytes_scales: int
    bytes_header: int
    bytes_file: int
    bound_bytes: float
    gap: float
    max_error: float
    relative_error: float
    pruning_error: float

    def file(self, name: str) -> File:
        """Its line in the ledger."""
        return File(name, self.parameters, self.bound_bytes, self.bytes_file)

    def table(self) -> pd.DataFrame:
        """Columns quantity and value, one row a field."""
        import pandas as pd

        return pd.DataFrame(list(asdict(self).items()), columns=["quantity", "value"])


def pack_adapter(
    folder: Path, target: Path, *, sparsity: float, group_size: int, level: int = 19,
    masks: Mapping[str, Tensor] | None = None, max_bytes: int | None = None,
) -> PackReport:  # fmt: skip
    """Write the adapter in `folder` to the file `target`: equal input gives equal bytes.

    masks: those that it was trained under, of this sparsity; else `prune_masks` makes them. group_size: kept weights
    with one scale; level: zstd's, 1 to 22. max_bytes: refuse to write a larger file, and say so by the bound where no
    encoder could. Raises CogumiError for what is no plain LoRA adapter, NaN, settings out of range, a full disk.
    """
    folder, target = Path(folder), Path(target)
    check_sparsity(sparsity)
    fourbit.check_group(group_size)
    _check_level(level)
    config, tensors, dense = _read_adapter(folder)
    masks = prune_masks(tensors, sparsity) if masks is None else _checked_masks(masks, tensors, sparsity)
    quantised = {name: fourbit.encode(kept_values(name, tensors, masks), group_size) for name in tensors}
    decoded = {name: placed(name, masks[name], quantised[name], group_size) for name in tensors}
    manifest, payload = to_payload(config, sparsity, group_size, masks, quantised, decoded, level)
    data = _container.assemble(manifest.to_header(), payload, level)
    bound = _bound(manifest, quantised)
    _check_size(len(data), bound, max_bytes)
    _container.write(target, data)
    pruned = {name: tensors[name] * masks[name] for name in tensors}
    return _report(manifest, len(data), bound, dense, tensors, pruned, decoded)


def unpack_adapter(path: Path, folder: Path) -> Path:
    """Write the adapter that PEFT loads (float32 weights, configuration) into `folder` and return it.

    Raises CogumiError for a file that is damaged in any bit or whose header contradicts itself; then writes nothing.
    """
    contents, folder = _container.read(Path(path)), Path(folder)
    manifest = believed(contents.header, len(contents.payload))
    tensors = from_payload(manifest, contents.payload)
    if digest(tensors) != manifest.decoded_sha256:
        raise _streams.inconsistent("tensors that do not match their digest")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_adapter(folder, str(error), "give a folder that can be made") from None
    _container.write(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    _container.write(folder / CONFIG, json.dumps(manifest.adapter_config, indent=2, sort_keys=True).encode())
    return folder


def inspect(path: Path) -> dict[str, Any]:
    """What a packed file says of itself, nothing unpacked but the header; its digests are checked."""
    contents = _container.read(Path(path))
    manifest = believed(contents.header, len(contents.payload))
    sizes = {"parameters": manifest.parameters, "kept": manifest.kept, "bytes_header": contents.header_bytes}
    sizes["bytes_file"] = contents.header_bytes + len(contents.payload)
    base = manifest.adapter_config.get("base_model_name_or_path")
    return {"version": _container.VERSION, "base": base, **sizes, **asdict(manifest)}


def _read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], int]:
    """Configuration, tensors by name, bytes of both files."""
    try:
        settings, weights = (folder / CONFIG).read_bytes(), (folder / WEIGHTS).read_bytes()
        config, tensors = json.loads(settings), load(weights)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise _no_adapter(folder, str(error), "save it with cogumi_utils.model.sft.save_adapter") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else "no JSON object"
        raise _no_adapter(folder, f"{CONFIG} of {kind}", "give the folder of a LoRA adapter")
    check_pairs(tensors)
    return config, {name: tensors[name] for name in sorted(tensors)}, len(settings) + len(weights)


def _checked_masks(masks: Mapping[str, Tensor], tensors: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """The given masks, if they fit; each tensor may miss the target by the one weight of its rounding."""
    shapes = {name: (tuple(mask.shape), mask.dtype) for name, mask in masks.items()}
    if shapes != {name: (tuple(tensor.shape), torch.bool) for name, tensor in tensors.items()}:
        raise _wrong_masks("other names, shapes or types")
    gone = sum(int((~mask).sum()) for mask in masks.values())
    total = sum(tensor.numel() for tensor in tensors.values())
    if abs(gone - sparsity * total) > len(tensors):
        raise _wrong_masks(f"masks that take out {gone / total:.2%} where sparsity is {sparsity:.2%}")
    return dict(masks)


def _bound(manifest: Manifest, quantised: Mapping[str, fourbit.Quantised]) -> float:
    total = 0.0
    for name, entry in manifest.tensors.items():
        bits = fourbit.code_entropy(quantised[name].codes)
        total += bound_bytes(entry.count, 1 - entry.kept / entry.count, bits) + 2 * quantised[name].scales.size
    return total


def _report(manifest, size, bound, dense, tensors, pruned, decoded) -> PackReport:
    stored = [frame[2] for frame in manifest.frames]
    errors = [float((decoded[name] - pruned[name].float()).abs().max()) for name in tensors]
    return PackReport(
        parameters=manifest.parameters, kept=manifest.kept, sparsity=1 - manifest.kept / manifest.parameters,
        bytes_dense=dense, bytes_mask=sum(stored[:-2]), bytes_codes=stored[-2], bytes_scales=stored[-1],
        bytes_header=size - sum(stored), bytes_file=size, bound_bytes=bound, gap=size / bound - 1,
        max_error=max(errors), relative_error=product_error(pruned, decoded),
        pruning_error=product_error(tensors, pruned),
    )  # fmt: skip


def _check_level(level: int) -> None:
    if type(level) is not int or not 1 <= level <= 22:
        raise CogumiError(
            expected="a zstd level of 1 to 22", found=str(level), why="zstd has no others", fix="leave it at 19"
        )


def _check_size(size: int, bound: float, max_bytes: int | None) -> None:
    if max_bytes is None or size <= max_bytes:
        return
    raise CogumiError(
        expected=f"a packed file of at most {max_bytes:,} bytes",
        found=f"{size:,} bytes; the bound for this sparsity, these codes and scales is {bound:,.0f}",
        why="a better encoder might reach it" if bound <= max_bytes else "no encoder can get below the bound",
        fix="raise the sparsity or group_size, train with a smaller rank, or raise max_bytes",
    )


def _no_adapter(folder: Path, found: str, fix: str) -> CogumiError:
    return CogumiError(
        expected=f"a LoRA adapter as PEFT saves it, {WEIGHTS} and {CONFIG}, in {folder}",
        found=found,
        why="both are needed to load it",
        fix=fix,
    )


def _wrong_masks(found: str) -> CogumiError:
    return CogumiError(
        expected="a boolean mask for each matrix of the adapter, True where a weight stays",
        found=found,
        why="weights that training moved must not be cut, and those it left out need no room",
        fix="pass the masks that prune_masks gave for this adapter and this sparsity",
    )
