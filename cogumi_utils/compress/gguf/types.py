"""A 16-bit GGUF file in fewer bits: llama.cpp's quantiser, by type, by importance, or tensor by tensor."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from cogumi_utils.artifacts import fsync_path
from cogumi_utils.compress.gguf import read as gguf_read
from cogumi_utils.compress.gguf._by_eye import by_eye
from cogumi_utils.errors import CogumiError
from cogumi_utils.hardware import require_disk
from cogumi_utils.judge import sizes
from cogumi_utils.model.llama_cpp_library import last_error, library

__all__ = ["KINDS", "by_eye", "planned_bytes", "planned_types", "quantise"]

KINDS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M")  # the largest first
UNQUANTISED = ("F32", "F16", "BF16")


def quantise(
    f16: str | Path, target: str | Path, kind: str, *, importance: Mapping[str, np.ndarray] | None = None,
    threads: int = 1, tensor_types: Mapping[str, str] | None = None, fallback: bool = False,
) -> Path:  # fmt: skip
    """Write `f16` (F32, F16 or BF16) quantised to `kind`, one of `KINDS`, to the GGUF file `target`, or nothing at all.

    importance: {tensor: float32 [columns]}, as `imatrix.importance` measures it: errors are weighted with it where
    codes are chosen; Q8_0 has no use for it. tensor_types: {tensor: block type, such as "Q6_K" or "F16"}; all others
    get what `kind` gives them. fallback: allow types with smaller blocks where rows are no multiple of 256 weights.
    Raises CogumiError for what llama.cpp would refuse, or leave out in silence.
    """
    f16, target = Path(f16), Path(target)
    reader = gguf_read.read(f16)
    types = planned_types(reader, kind, tensor_types)
    _check_rows(reader, kind, types, fallback)
    _check_importance(reader, importance or {})
    require_disk(target, planned_bytes(reader, types))
    native = library()
    parameters = native.llama_model_quantize_default_params()
    parameters.nthread, parameters.ftype = threads, gguf.LlamaFileType[f"MOSTLY_{kind}"]
    # What the structures point to must live until the call is over: ctypes keeps addresses, not objects.
    kept = [_importance(native, importance or {}), _overrides(native, types if tensor_types else {})]
    parameters.imatrix, parameters.tt_overrides = (array or None for array, *_ in kept)
    with _draft(target) as draft:
        last_error()
        if native.llama_model_quantize(os.fsencode(f16), os.fsencode(draft), ctypes.byref(parameters)):
            raise _failed(f16, kind)
    del kept
    return target


def planned_types(reader: gguf.GGUFReader, kind: str, tensor_types: Mapping[str, str] | None = None) -> dict[str, str]:
    """{tensor: block type} that a file of `kind` will have, with `tensor_types` for some.

    llama.cpp counts only tensors that it chooses for itself, so that a type given for one would shift those of other
    layers; hence all are given.
    """
    shapes, config = gguf_read.shapes(reader), gguf_read.configuration(reader)
    stored, given = gguf_read.block_types(reader), dict(tensor_types or {})
    _check_kind(kind, stored)
    matrices = {name for name, shape in shapes.items() if len(shape) == 2}
    odd = {name: block for name, block in given.items() if name not in matrices or block not in sizes.GGML_BLOCKS}
    if odd:
        name, block = next(iter(odd.items()))
        raise CogumiError(
            expected=f"matrices of the model, such as {min(matrices)}, with types among {', '.join(sizes.GGML_BLOCKS)}",
            found=f"{name}: {block}",
            why="llama.cpp would leave out a name that it does not find",
            fix="take names and types from gguf_read.block_types",
        )
    usual = {name: sizes.gguf_type(_tensor(name, shapes[name]), config, kind) for name in matrices}
    chosen = {name: sizes.fallback(given.get(name, usual[name]), shapes[name][-1]) for name in matrices}
    return {name: chosen.get(name, block) for name, block in stored.items()}


def planned_bytes(reader: gguf.GGUFReader, types: Mapping[str, str]) -> int:
    """Bytes of the file with its tensors at these block types: the header stays as long as it is."""
    shapes, total = gguf_read.shapes(reader), int(reader.data_offset)
    for name, block in types.items():
        weights, width = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[block]]
        size = int(np.prod(shapes[name])) // weights * width
        total += gguf.GGUFWriter.ggml_pad(size, gguf.GGUF_DEFAULT_ALIGNMENT)
    return total


def _tensor(name: str, shape: tuple[int, ...]) -> sizes.Tensor:
    place = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", name)
    return sizes.Tensor(place[2], "", *shape, layer=int(place[1]) if place[1] else -1)


def _importance(native: Any, importance: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
    """llama.cpp's array of importances, ended by an empty one, and what it points to."""
    if not importance:
        return (None,)
    values = {name: np.ascontiguousarray(found, np.float32) for name, found in importance.items()}
    pointer, entry = ctypes.POINTER(ctypes.c_float), native.llama_model_imatrix_data
    rows = [entry(name.encode(), one.ctypes.data_as(pointer), len(one)) for name, one in values.items()]
    return (entry * (len(rows) + 1))(*rows, entry(None, None, 0)), values


def _overrides(native: Any, types: Mapping[str, str]) -> tuple[Any, ...]:
    """llama.cpp's array of (pattern, type); its patterns are searched for anywhere in a name."""
    if not types:
        return (None,)
    entry = native.llama_model_tensor_override
    rows = [
        entry(f"^{name.replace('.', chr(92) + '.')}$".encode(), gguf.GGMLQuantizationType[block])
        for name, block in types.items()
    ]
    return ((entry * (len(rows) + 1))(*rows, entry(None, 0)),)


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A file beside `target` that takes its place once it is whole and on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        yield draft
        fsync_path(draft)
        os.replace(draft, target)
        fsync_path(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def _check_kind(kind: str, stored: Mapping[str, str]) -> None:
    if kind not in KINDS:
        raise CogumiError(
            expected=f"one of {', '.join(KINDS)}",
            found=kind,
            why="these are the mixtures whose sizes and tensors are known",
            fix="choose one of them; what is not quantised is written by gguf_export.export",
        )
    if quantised := sorted({block for block in stored.values() if block not in UNQUANTISED}):
        raise CogumiError(
            expected=f"a file in {', '.join(UNQUANTISED)}",
            found=f"one with {', '.join(quantised)}",
            why="quantising twice loses twice",
            fix="quantise the file that gguf_export.export wrote",
        )


def _check_rows(reader: gguf.GGUFReader, kind: str, types: Mapping[str, str], fallback: bool) -> None:
    """Raise CogumiError where K-quants would turn into other types, unless that is allowed."""
    odd = [name for name, shape in gguf_read.shapes(reader).items() if len(shape) == 2 and shape[-1] % 256]
    if kind.endswith(("_K", "_M")) and odd and not fallback:
        columns = gguf_read.shapes(reader)[odd[0]][-1]
        raise CogumiError(
            expected=f"rows of a multiple of 256 weights, for {kind}",
            found=f"{len(odd)} matrices without, such as {odd[0]} with {columns}: they would be {types[odd[0]]}",
            why="a block of a K-quant has 256 weights; the others' blocks of 32 take more bits",
            fix=f"take {'Q8_0' if columns % 32 == 0 else 'F16'}, whose blocks fit, or pass fallback=True",
        )


def _check_importance(reader: gguf.GGUFReader, importance: Mapping[str, np.ndarray]) -> None:
    shapes = gguf_read.shapes(reader)
    for name, values in importance.items():
        shape = shapes.get(name, ())
        if len(shape) != 2 or np.shape(values) != shape[1:] or not (np.isfinite(values) & (values >= 0)).all():
            raise CogumiError(
                expected="importance of the file's matrices, a finite number of at least 0 a column",
                found=f"{name} of shape {np.shape(values)} for {shape or 'no such matrix'}",
                why="llama.cpp would quantise that matrix without it",
                fix="measure it on this model with imatrix.importance",
            )


def _failed(f16: Path, kind: str) -> CogumiError:
    return CogumiError(
        expected=f"llama.cpp to quantise {f16} to {kind}",
        found=last_error(),
        why="there is no smaller file without it",
        fix="export the model again; if that does not help, report this as a bug",
    )
