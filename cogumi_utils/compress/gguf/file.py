"""One GGUF file written whole or not at all, one tensor in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch

from cogumi_utils.artifacts import fsync_path
from cogumi_utils.errors import CogumiError
from cogumi_utils.hardware import require_disk

_HEADER_BYTES = 1 << 16  # settings and the tensors' names


@dataclass(frozen=True, slots=True)
class FileType:
    """One of GGUF's unquantised types. Vectors stay float32 in each: llama.cpp adds and scales in float32."""

    torch: torch.dtype
    tensor: gguf.GGMLQuantizationType
    file: gguf.LlamaFileType


FILE_TYPES = {
    "F32": FileType(torch.float32, gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "F16": FileType(torch.float16, gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "BF16": FileType(torch.bfloat16, gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
}


def file_type(dtype: str) -> FileType:
    if dtype not in FILE_TYPES:
        raise CogumiError(
            expected=f"one of {', '.join(FILE_TYPES)}",
            found=dtype,
            why="quantised files are made from one of these by llama.cpp",
            fix="export as F16, then quantise the file",
        )
    return FILE_TYPES[dtype]


def write(
    writer: gguf.GGUFWriter, target: Path, shapes: Mapping[str, tuple[int, ...]], kind: FileType,
    tensors: Iterator[tuple[str, torch.Tensor]], metadata_bytes: int = 0,
) -> None:  # fmt: skip
    """The whole file, or none: it is written beside `target`, flushed, then renamed. `tensors` come as in `shapes`."""
    total = _HEADER_BYTES + metadata_bytes
    for name, shape in shapes.items():
        stored = _stored(shape, kind)
        count = torch.Size(shape).numel()
        total += gguf.GGUFWriter.ggml_pad(count * stored.torch.itemsize, gguf.GGUF_DEFAULT_ALIGNMENT)
        writer.add_tensor_info(name, shape, None, count * stored.torch.itemsize, raw_dtype=stored.tensor)
    require_disk(target, total)
    with _draft(writer, target) as draft:
        writer.write_header_to_file(draft)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, values in tensors:
            writer.write_tensor_data(_converted(name, values, _stored(values.shape, kind)))


def _stored(shape: tuple[int, ...], kind: FileType) -> FileType:
    return FILE_TYPES["F32"] if len(shape) == 1 else kind


def _converted(name: str, values: torch.Tensor, kind: FileType) -> np.ndarray:
    """Bytes of the tensor, [rows, bytes of a row]. Raises CogumiError for what is not finite afterwards."""
    converted = values.to(kind.torch).contiguous()
    if not all(end.isfinite() for end in converted.aminmax()):  # NaN passes through; isfinite() would take 3 copies
        raise CogumiError(
            expected=f"finite weights within the range of {kind.torch}",
            found=f"{name} with values from {values.min():.3g} to {values.max():.3g}",
            why="an infinite weight makes every answer meaningless",
            fix="export as BF16 or F32; if the weights themselves are NaN, train again",
        )
    return converted.view(torch.uint8).numpy()


@contextmanager
def _draft(writer: gguf.GGUFWriter, target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        yield draft
        writer.close()
        fsync_path(draft)
        os.replace(draft, target)
        fsync_path(target.parent)
    finally:
        writer.close()
        draft.unlink(missing_ok=True)
