"""Small networks as ONNX: opened for one thread, quantised to int8, sized part by part, read back only if unchanged."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils.artifacts import sha256_file
from cogumi_utils.errors import CogumiError

if TYPE_CHECKING:
    import onnxruntime
    import pandas as pd


def session(model: bytes) -> onnxruntime.InferenceSession:
    """An ONNX model ready to run on the CPU by the calling thread alone: a pool would cost more than it computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def quantised(model: bytes) -> bytes:
    """The same model with its matrices, a table that is gathered from among them, as 8-bit integers.

    Activations are quantised as they come (dynamic quantisation), so that no calibration data is needed.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        plain, prepared, small = (Path(scratch) / name for name in ("plain.onnx", "prepared.onnx", "small.onnx"))
        loaded = onnx.load_from_string(model)
        del loaded.graph.value_info[:]  # the exporter's shapes do not survive the change of Gemm to MatMul
        onnx.save(loaded, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_dynamic(prepared, small, weight_type=QuantType.QUInt8)
        return small.read_bytes()


def part_sizes(model: bytes, parts: dict[str, str]) -> dict[str, tuple[int, int]]:
    """{part: (numbers, bytes)} of a model's stored tensors; parts: {word in the tensor's name: part}, else "head"."""
    import onnx

    sizes: dict[str, tuple[int, int]] = {}
    for tensor in onnx.load_from_string(model).graph.initializer:
        part = next((part for word, part in parts.items() if word in tensor.name), "head")
        numbers, size = sizes.get(part, (0, 0))
        sizes[part] = numbers + math.prod(tensor.dims), size + len(onnx.numpy_helper.to_array(tensor).tobytes())
    return sizes


def size_table(models: dict[str, bytes], parts: dict[str, str]) -> pd.DataFrame:
    """file, part, parameters, bytes: of each model's parts, then the whole file with what the format adds."""
    import pandas as pd

    rows = []
    for name, model in models.items():
        found = part_sizes(model, parts)
        rows += [(name, part, *size) for part, size in sorted(found.items())]
        rows.append((name, "file", sum(numbers for numbers, _ in found.values()), len(model)))
    return pd.DataFrame(rows, columns=["file", "part", "parameters", "bytes"])


def read_checked(path: Path, sha256: str, what: str) -> bytes:
    """The bytes of a model file. Raises CogumiError where it is missing or not the one that was saved."""
    if path.is_file() and sha256_file(path) == sha256:
        return path.read_bytes()
    raise CogumiError(
        expected=f"{path} with sha256 {sha256}",
        found=f"sha256 {sha256_file(path)}" if path.is_file() else "no such file",
        why=f"{what} that was changed or cut after it was saved would decide otherwise, and nobody would know",
        fix="save it again, or copy its whole folder again from where it was made",
    )
