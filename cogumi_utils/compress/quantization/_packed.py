"""Reading a pack-quantized checkpoint matrix by matrix: its codes, its weights, its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from cogumi_utils.compress.quantization._awq import undo
from cogumi_utils.errors import CogumiError

SCALES = "awq_scales.safetensors"
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_PARTS = ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point")


class Checkpoint:
    """A folder of compressed-tensors in the format pack-quantized. Tensors are read when they are asked for.

    names: the quantised matrices, layer by layer. schemes: what config.json says of them, one a width. Raises
    CogumiError for any other folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.schemes = _groups(self.folder)
        self._files = {name: file for file in sorted(self.folder.glob("model*.safetensors")) for name in _keys(file)}
        found = [name.removesuffix(".weight_packed") for name in self._files if name.endswith(".weight_packed")]
        self.names = sorted(found, key=place)
        path = self.folder / SCALES
        self._scales = load_file(path) if path.exists() else {}

    def scheme(self, name: str) -> Any:
        """The matrix's QuantizationScheme."""
        return next(one for one in self.schemes if name in one.targets or "Linear" in one.targets)

    def bits(self, name: str) -> int:
        return self.scheme(name).weights.num_bits

    def weight(self, name: str) -> Tensor:
        """float32 [out, in]: what the codes stand for, as it acts on the parent's inputs (AWQ's scales undone)."""
        from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor

        parts = self._parts(name)
        parts["weight_scale"] = parts["weight_scale"].float()
        return undo(name, PackedQuantizationCompressor.decompress(parts, self.scheme(name))["weight"], self._scales)

    def codes(self, name: str) -> Tensor:
        """int64 [out, in], 0 … 2^bits - 1."""
        from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

        bits, parts = self.bits(name), self._parts(name)
        shape = torch.Size(parts["weight_shape"].tolist())
        return unpack_from_int32(parts["weight_packed"], bits, shape).long() + (1 << (bits - 1))

    def matrix_bytes(self, name: str) -> dict[str, int]:
        """{"codes": bytes, "scales": bytes}, scales with zero points and the shape."""
        sizes = {part: tensor.nbytes for part, tensor in self._parts(name).items()}
        codes = sizes.pop("weight_packed")
        return {"codes": codes, "scales": sum(sizes.values())}

    def file_bytes(self) -> int:
        """Of the files that hold the weights."""
        return sum(file.stat().st_size for file in set(self._files.values()))

    def _parts(self, name: str) -> dict[str, Tensor]:
        return {part: self._tensor(f"{name}.{part}") for part in _PARTS if f"{name}.{part}" in self._files}

    def _tensor(self, name: str) -> Tensor:
        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name)


def keep_scales(folder: Path, scales: Mapping[str, Tensor]) -> None:
    """Write AWQ's scales beside the model: the model does not need them, comparing it with its parent does."""
    if scales:
        save_file({name: tensor.clone() for name, tensor in scales.items()}, folder / SCALES)  # some share memory
    else:
        (folder / SCALES).unlink(missing_ok=True)


def place(name: str) -> tuple[int, int, str]:
    """Sort key: layer, then the order inside a layer."""
    parts = name.split(".")
    layer = next((int(part) for part in parts if part.isdigit()), -1)
    return layer, KINDS.index(parts[-1]) if parts[-1] in KINDS else len(KINDS), name


def _groups(folder: Path) -> list[Any]:
    from compressed_tensors.quantization import QuantizationScheme

    try:
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        if config["quant_method"] != "compressed-tensors" or config["format"] != "pack-quantized":
            raise _other(folder, f"{config['quant_method']}, format {config['format']}")
        return [QuantizationScheme.model_validate(group) for group in config["config_groups"].values()]
    except OSError as error:
        raise _other(folder, str(error)) from None
    except (KeyError, TypeError, ValueError):
        raise _other(folder, "a config.json that names no such format") from None


def _keys(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except SafetensorError as error:
        raise _other(file.parent, f"{file.name}: {error}") from None


def _other(folder: Path, found: str) -> CogumiError:
    return CogumiError(
        expected=f"a checkpoint of compressed-tensors, format pack-quantized, in {folder}",
        found=found,
        why="codes and scales are read from its tensors",
        fix="pass a folder that quantise(...) wrote with method awq, gptq or rtn",
    )
