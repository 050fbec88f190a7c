"""The archive's layout: a fixed head, the chunks, the dictionary if there is one, the index. Every byte has a digest.

    8 bytes  magic          2  version        4  bytes of the index as stored        4  its bytes unpacked
    8        bytes of the whole file         32  SHA-256 of the 26 bytes above and of the stored index
    chunks   their streams, one after the other; each chunk has its own SHA-256 in the index
    dictionary, index (JSON, zstd), which ends the file

Little-endian throughout. Nothing is parsed or unpacked before its digest is right. The digests find damage; they do
not prove who wrote the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from cogumi_utils.compress.archive._segments import MAX_WIDTH
from cogumi_utils.errors import CogumiError

MAGIC, VERSION = b"\x89COGARC\n", 1
MIN_CHUNK, MAX_CHUNK, MAX_INDEX = 1 << 17, 1 << 26, 1 << 28
_HEAD = struct.Struct("<8sHIIQ")
HEAD_BYTES = _HEAD.size + hashlib.sha256().digest_size
_UNSIZED = {"write_content_size": False}  # a forged size would be allocated by zstandard's one-shot reader


@dataclass(frozen=True, slots=True)
class Chunk:
    """sha256: of the chunk as stored; until: of the original file from its first byte to this chunk's last.

    parts: (group, bytes) in the order of the file. groups: (layout, bytes of each stored stream).
    """

    sha256: str
    until: str
    parts: list[tuple[int, int]]
    groups: list[tuple[int, list[int]]]

    @property
    def stored(self) -> int:
        return sum(sum(streams) for _, streams in self.groups)

    @property
    def plain(self) -> int:
        return sum(size for _, size in self.parts)

    def group_bytes(self, group: int) -> int:
        return sum(size for index, size in self.parts if index == group)


@dataclass(frozen=True, slots=True)
class Index:
    """settings: what pack_file was told. layouts: widths of the runs of a block. dictionary: (bytes, SHA-256)."""

    settings: dict[str, Any]
    sha256: str
    layouts: list[list[int]]
    chunks: list[Chunk] = field(default_factory=list)
    dictionary: tuple[int, str] | None = None

    @property
    def plain(self) -> int:
        return sum(chunk.plain for chunk in self.chunks)


def to_bytes(index: Index) -> tuple[bytes, int]:
    """(the stored index, its bytes unpacked)."""
    chunks = [[chunk.sha256, chunk.until, chunk.parts, chunk.groups] for chunk in index.chunks]
    body = {"settings": index.settings, "sha256": index.sha256, "layouts": index.layouts, "chunks": chunks}
    text = json.dumps({**body, "dictionary": index.dictionary}, sort_keys=True, separators=(",", ":")).encode()
    return zstandard.ZstdCompressor(19, **_UNSIZED).compress(text), len(text)


def head(stored: bytes, plain: int, total: int) -> bytes:
    """The head of a file of `total` bytes that ends with the index `stored`."""
    first = _HEAD.pack(MAGIC, VERSION, len(stored), plain, total)
    return first + hashlib.sha256(first + stored).digest()


def read(stream: BinaryIO, path: Path) -> tuple[Index, int]:
    """(the index, bytes that it takes with the head). Raises CogumiError unless head and index are undamaged."""
    start, total = stream.read(HEAD_BYTES), os.fstat(stream.fileno()).st_size
    if not start.startswith(MAGIC):
        found = f"a file of {total} bytes that starts with {start[:8]!r}"
        raise refused(path, found, "archives start otherwise", "check the path")
    if len(start) < HEAD_BYTES:
        raise damaged(path, f"{total} bytes, not even a whole head")
    _, version, stored, plain, whole = _HEAD.unpack_from(start)
    if version != VERSION:
        why = "each version has its own layout"
        raise refused(path, f"version {version}", why, "update cogumi_utils, or pack the original again")
    if total != whole or HEAD_BYTES + stored > whole:
        raise damaged(path, f"{total} bytes where its head says {whole}")
    stream.seek(total - stored)
    text = stream.read(stored)
    if hashlib.sha256(start[: _HEAD.size] + text).digest() != start[_HEAD.size :]:
        raise damaged(path, "an index that does not match its digest")
    index = _believed(path, _unpacked(path, text, plain))
    if HEAD_BYTES + stored + sum(chunk.stored for chunk in index.chunks) + dictionary_bytes(index) != total:
        raise damaged(path, "an index whose sizes do not add up to the file's")
    return index, HEAD_BYTES + stored


def dictionary_bytes(index: Index) -> int:
    return index.dictionary[0] if index.dictionary else 0


def _unpacked(path: Path, stored: bytes, plain: int) -> Any:
    if plain > MAX_INDEX:
        raise damaged(path, f"an index of {plain} bytes")
    try:
        if zstandard.frame_content_size(stored) != -1:
            raise ValueError("a frame that states its size")
        text = zstandard.ZstdDecompressor().decompress(stored, max_output_size=max(plain, 1))
        return json.loads(text)
    except (zstandard.ZstdError, ValueError, RecursionError):
        raise damaged(path, "an index that is no JSON text of its size") from None


def _believed(path: Path, body: Any) -> Index:
    """The index, if what it says is possible: a forged one may lie, but it can't make us take memory or go astray."""
    try:
        layouts = [_positive(layout, MAX_WIDTH) for layout in body["layouts"]]
        chunks = [_chunk(entry, layouts) for entry in body["chunks"]]
        size, digest = body["dictionary"] or (0, "")
        _check(type(size) is int and 0 <= size <= MAX_CHUNK and isinstance(body["settings"], dict))
        _check(not size or _digest(digest))
        whole = _digest(body["sha256"])
        _check(not chunks or chunks[-1].until == whole)
        return Index(body["settings"], whole, layouts, chunks, (size, digest) if size else None)
    except (KeyError, TypeError, ValueError, IndexError):
        raise damaged(path, "an index that contradicts itself") from None


def _chunk(entry: list, layouts: list[list[int]]) -> Chunk:
    sha256, until, parts, groups = entry
    chunk = Chunk(_digest(sha256), _digest(until), [tuple(part) for part in parts], [tuple(group) for group in groups])
    sizes = _positive([size for _, size in chunk.parts], MAX_CHUNK)
    _check(all(type(group) is int and 0 <= group < len(chunk.groups) for group, _ in chunk.parts))
    for group, (layout, streams) in enumerate(chunk.groups):
        _check(type(layout) is int and 0 <= layout < len(layouts))
        blocks, rest = divmod(chunk.group_bytes(group), sum(layouts[layout]))
        _check(not rest and blocks > 0 and len(streams) == len(layouts[layout]))
        for width, size in zip(layouts[layout], streams, strict=True):
            _check(type(size) is int and 0 < size <= width * blocks)
    _check(sum(sizes) == sum(chunk.group_bytes(group) for group in range(len(chunk.groups))))
    return chunk


def _positive(numbers: list, most: int) -> list[int]:
    """The numbers, if there are any, all are whole and above 0, and their sum is at most `most`."""
    _check(all(type(number) is int and number > 0 for number in numbers) and 0 < sum(numbers) <= most)
    return list(numbers)


def _digest(text: Any) -> str:
    """SHA-256 in hex: a file is named by it, so nothing else will do."""
    _check(isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None)
    return text


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError


def damaged(path: Path, found: str) -> CogumiError:
    fix = "get the file again from where it was made, or pack the original again"
    return refused(path, found, "it was cut or changed after it was written", fix)


def refused(path: Path, found: str, why: str, fix: str) -> CogumiError:
    return CogumiError(expected=f"an archive in {path}", found=found, why=why, fix=fix)
