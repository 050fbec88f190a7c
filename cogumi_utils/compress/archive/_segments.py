"""What a model file consists of: runs of equally wide blocks, found in the headers of GGUF and safetensors files.

A block is what repeats: one GGML block with its scales and codes, or one number of a float tensor. Files of other
kinds, and files whose headers do not hold together, are one run of single bytes: any file can be packed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PLAIN = "bytes"
NUMBERS = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}
MAX_WIDTH = 4096
_MAX_HEADER = 100 << 20  # safetensors' own limit


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of whole blocks. kind: a name of the blocks' type; width: bytes of a block; start, size: in bytes."""

    kind: str
    width: int
    start: int
    size: int


def segments(path: Path) -> list[Segment]:
    """The file from its first byte to its last, in order, nothing left out."""
    total = Path(path).stat().st_size
    with open(path, "rb") as stream:
        magic = stream.read(4)
    try:
        found = _gguf(path) if magic == b"GGUF" else _safetensors(path, total)
    except Exception:  # a header of another kind, or one that a reader trips over: its bytes are packed all the same
        found = []
    return _whole(found, total)


def plain_segments(total: int) -> list[Segment]:
    """The file as single bytes."""
    return [Segment(PLAIN, 1, 0, total)] if total else []


def _gguf(path: Path) -> list[Segment]:
    from gguf import GGML_QUANT_SIZES, GGUFReader

    tensors = GGUFReader(path).tensors
    return [
        Segment(tensor.tensor_type.name, GGML_QUANT_SIZES[tensor.tensor_type][1], tensor.data_offset, tensor.n_bytes)
        for tensor in tensors
    ]


def _safetensors(path: Path, total: int) -> list[Segment]:
    with open(path, "rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        if size > min(total, _MAX_HEADER):
            return []
        header = json.loads(stream.read(size))
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    return [
        Segment(entry["dtype"], NUMBERS[entry["dtype"]], 8 + size + first, last - first)
        for entry in entries
        for first, last in [entry["data_offsets"]]
        if entry["dtype"] in NUMBERS
    ]


def _whole(found: Iterable[Segment], total: int) -> list[Segment]:
    """Sorted, gaps filled with single bytes, neighbours of one kind joined; overlaps make it all single bytes."""
    whole: list[Segment] = []
    place = 0
    for segment in sorted(found, key=lambda each: each.start):
        if segment.size <= 0 or segment.size % segment.width or segment.width > MAX_WIDTH:
            continue
        if segment.start < place or segment.start + segment.size > total:
            return plain_segments(total)
        if segment.start > place:
            whole.append(Segment(PLAIN, 1, place, segment.start - place))
        place = segment.start + segment.size
        if whole and whole[-1].kind == segment.kind:
            last = whole.pop()
            segment = Segment(last.kind, last.width, last.start, last.size + segment.size)
        whole.append(segment)
    if place < total:
        whole.append(Segment(PLAIN, 1, place, total - place))
    return whole


def cut(found: Iterable[Segment], chunk_bytes: int) -> Iterator[list[Segment]]:
    """Chunks of at most `chunk_bytes`, in order; no block is divided. chunk_bytes: at least MAX_WIDTH."""
    chunk: list[Segment] = []
    room = chunk_bytes
    for segment in found:
        start, left = segment.start, segment.size
        while left:
            size = min(left, room) // segment.width * segment.width
            if size:
                chunk.append(Segment(segment.kind, segment.width, start, size))
                start, left, room = start + size, left - size, room - size
            if left:
                yield chunk
                chunk, room = [], chunk_bytes
    if chunk:
        yield chunk
