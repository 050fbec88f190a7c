"""Small networks as ONNX: opened for one thread, sized part by part, read back only if unchanged."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogumi_utils.artifacts import DIGEST, atomic_write_bytes, atomic_write_json, digest_of, sha256_file
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


def save(card: Path, body: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Write the files into the card's folder, and last of all the card: `body`, their sha256, and its own digest."""
    card.parent.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        atomic_write_bytes(card.parent / name, content)
    whole = {**body, "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}}
    atomic_write_json(card, {**whole, DIGEST: digest_of(whole)})
    return card.parent


def read_card(card: Path, what: str) -> dict[str, Any]:
    """What `save` wrote into the card. Raises CogumiError where it is missing, altered or none. what: "a router"."""
    try:
        found = json.loads(card.read_bytes())
        body = {key: value for key, value in found.items() if key != DIGEST}
        fault = "" if found[DIGEST] == digest_of(body) else "it does not match its own digest"
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        fault = f"{type(error).__name__}: {error}"
    if fault:
        raise CogumiError(
            expected=f"the card of {what}, {card}",
            found=fault,
            why="it says how the model's numbers are read and what the digests of its files are",
            fix="save it again, or copy its whole folder again from where it was made",
        )
    return body


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
