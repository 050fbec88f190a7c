"""AutoAWQ's own format: 4-bit codes, eight to an integer in an interleaved order, with the columns' roles exchanged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # which of an integer's eight codes belongs to each of eight columns
PARTS = ("qweight", "qzeros", "scales")


def is_gemm(folder: Path) -> bool:
    """Whether `folder` holds a checkpoint that AutoAWQ wrote."""
    try:
        config = json.loads((folder / "config.json").read_text()).get("quantization_config") or {}
    except (OSError, ValueError):
        return False
    return (config.get("quant_method"), config.get("version")) == ("awq", "gemm")


@contextmanager
def unpacked(folder: Path) -> Iterator[Path]:
    """A copy of the checkpoint for as long as it is needed, weights in place of codes, that any program loads."""
    with TemporaryDirectory() as name:
        target = Path(name)
        for file in folder.iterdir():
            if file.is_file() and not file.name.startswith(("config", "model")):
                shutil.copy(file, target)
        config = json.loads((folder / "config.json").read_text())
        del config["quantization_config"]
        (target / "config.json").write_text(json.dumps(config))
        shards = [load_file(file) for file in sorted(folder.glob("model*.safetensors"))]
        save_file(weights({name: part[name] for part in shards for name in part}), target / "model.safetensors",
                  {"format": "pt"})  # fmt: skip
        yield target


def weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's tensors with {matrix}.weight, float16 [out, in], in place of each matrix's three parts."""
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith(PARTS)}
    for name in (name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")):
        found[f"{name}.weight"] = _weight(*(tensors[f"{name}.{part}"] for part in PARTS))
    return found


def _weight(codes: Tensor, zeros: Tensor, scales: Tensor) -> Tensor:
    """codes: int32 [in, out / 8]; zeros: int32 [in / group, out / 8]; scales: float16 [in / group, out]."""
    group = len(codes) // len(scales)
    each = [values.repeat_interleave(group, 0) for values in (_spread(zeros), scales)]
    return ((_spread(codes) - each[0]) * each[1]).T.contiguous()


def _spread(packed: Tensor) -> Tensor:
    """int32 [rows, 8 · columns] out of int32 [rows, columns], 0 to 15."""
    shifts = 4 * torch.tensor(ORDER, dtype=torch.int32)
    return (packed[:, :, None] >> shifts & 15).flatten(1)
