"""Pack a big model file without loss, chunk by chunk, and unpack it again, going on where an unpacking was stopped.

`_segments` finds the tensors in GGUF and safetensors files, `_planes` arranges their bytes, `_frames` codes them,
`_archive_index` has the layout of the file, `_unpacking` the way back, `_entropies` what no order-0 code can beat.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cogumi_utils import hardware
from cogumi_utils.artifacts import fsync_path
from cogumi_utils.compress.archive import _index as _archive_index
from cogumi_utils.compress.archive import _planes, _segments
from cogumi_utils.compress.archive._entropies import entropies, in_words, study
from cogumi_utils.compress.archive._frames import LEVELS, Encoder
from cogumi_utils.compress.archive._layouts import PLANES, Plan, plan
from cogumi_utils.compress.archive._unpacking import no_file, opened, rebuilt, require_folder, unpack_file
from cogumi_utils.errors import CogumiError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PLANES", "ArchiveReport", "entropies", "in_words", "inspect", "pack_file", "study", "unpack_file"]

_ROOM = 1.001  # what a file that can't be packed takes


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """Sizes in bytes. bytes_plain: the original; bytes_index: head and index; bytes_dictionary: 0 where none helped.

    sha256: of the original. saved: share of the original that the archive does without; below 0 where it is larger.
    """

    planes: str
    level: int
    bytes_plain: int
    bytes_file: int
    bytes_index: int
    bytes_dictionary: int
    chunks: int
    sha256: str

    @property
    def saved(self) -> float:
        return 1 - self.bytes_file / self.bytes_plain if self.bytes_plain else 0.0

    def table(self) -> pd.DataFrame:
        """Columns quantity and value, one row a field."""
        import pandas as pd

        rows = [*asdict(self).items(), ("saved", self.saved)]
        return pd.DataFrame(rows, columns=["quantity", "value"])


def pack_file(
    source: Path, target: Path, *, level: int = 19, planes: str = "best", dictionary: bool = False,
    chunk_bytes: int = 4 << 20,
) -> ArchiveReport:  # fmt: skip
    """Write the archive of `source` to `target`, whole or not at all: equal input gives equal bytes.

    level: zstd's, 1 to 22. planes: "none", the file as it is; "bytes", floats by their bytes; "blocks", quantised
    blocks too; "best", the smallest of these for each tensor type in each chunk. dictionary: train one and use it
    where it helps; one that saves less than its own bytes is left out (the file is then coded twice). Memory is a few
    times chunk_bytes (128 KiB to 64 MiB), whatever the file's size. Every chunk is unpacked again before it is
    written. Raises CogumiError for settings out of range, a missing or changing source, too little disk.
    """
    source, target = Path(source), Path(target)
    _check_settings(level, planes, chunk_bytes)
    total = _source_bytes(source, target)
    require_folder(target)
    hardware.require_disk(target.parent, int(total * _ROOM) + _archive_index.MIN_CHUNK)
    chosen = plan(source, planes, dictionary, chunk_bytes)
    settings = {"level": level, "planes": planes, "dictionary": dictionary, "chunk_bytes": chunk_bytes}
    with opened(source) as original, _whole(target) as draft:
        known = chosen.dictionary
        encoder = Encoder(level, chunk_bytes, known)
        index = _write_chunks(original, draft, chosen, encoder, settings)
        if known is not None and encoder.dictionary_saved <= len(known):  # it does not pay: once more without it
            known = None
            index = _write_chunks(original, draft, chosen, Encoder(level, chunk_bytes), settings)
        if index.plain != total or original.read(1):
            raise _changing(source, total)
        return _finish(draft, index, known)


def inspect(path: Path) -> dict[str, Any]:
    """What an archive says of itself; head and index are checked, nothing else is read."""
    path = Path(path)
    with opened(path) as stream:
        index, bytes_index = _archive_index.read(stream, path)
    sizes = {"bytes_plain": index.plain, "bytes_file": path.stat().st_size, "bytes_index": bytes_index}
    sizes["bytes_dictionary"] = _archive_index.dictionary_bytes(index)
    return {
        "version": _archive_index.VERSION, **index.settings, **sizes, "sha256": index.sha256,
        "chunks": len(index.chunks), "layouts": index.layouts,
    }  # fmt: skip


def _write_chunks(
    original: BinaryIO, draft: BinaryIO, chosen: Plan, encoder: Encoder, settings: dict[str, Any]
) -> _archive_index.Index:
    running, chunks = hashlib.sha256(), []
    original.seek(0)
    draft.seek(_archive_index.HEAD_BYTES)
    draft.truncate()
    for parts in _segments.cut(chosen.segments, settings["chunk_bytes"]):
        plain = original.read(sum(part.size for part in parts))
        if len(plain) != sum(part.size for part in parts):
            break
        running.update(plain)
        groups, frames = _coded(plain, parts, chosen, encoder)
        stored = b"".join(frames)
        names = list(dict.fromkeys(part.kind for part in parts))
        chunk = _archive_index.Chunk(
            hashlib.sha256(stored).hexdigest(), running.copy().hexdigest(),
            [(names.index(part.kind), part.size) for part in parts], groups,
        )  # fmt: skip
        if rebuilt(chunk, stored, chosen.layouts, chosen.decoder).tobytes() != plain:
            raise _not_equal()
        chunks.append(chunk)
        draft.write(stored)
    return _archive_index.Index(settings, running.hexdigest(), chosen.layouts, chunks)


def _coded(plain: bytes, parts: list[_segments.Segment], chosen: Plan, encoder: Encoder) -> tuple[list, list[bytes]]:
    """((layout, sizes of the frames) a group, all frames in order)."""
    groups, frames = [], []
    for kind, blocks in _planes.gather(np.frombuffer(plain, np.uint8), parts).items():
        layout = chosen.smallest_layout(kind, blocks)
        coded = [encoder.smallest(stream) for stream in _planes.arrange(blocks, chosen.layouts[layout])]
        groups.append((layout, [len(frame) for frame in coded]))
        frames += coded
    return groups, frames


def _finish(draft: BinaryIO, index: _archive_index.Index, known: bytes | None) -> ArchiveReport:
    if known is not None:
        draft.write(known)
        index = replace(index, dictionary=(len(known), hashlib.sha256(known).hexdigest()))
    stored, plain = _archive_index.to_bytes(index)
    draft.write(stored)
    total = draft.tell()
    draft.seek(0)
    draft.write(_archive_index.head(stored, plain, total))
    return ArchiveReport(
        planes=index.settings["planes"], level=index.settings["level"], bytes_plain=index.plain, bytes_file=total,
        bytes_index=_archive_index.HEAD_BYTES + len(stored), bytes_dictionary=_archive_index.dictionary_bytes(index),
        chunks=len(index.chunks), sha256=index.sha256,
    )  # fmt: skip


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """A file that appears at `target` when all of it is written, and never otherwise."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        with open(draft, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, target)
        fsync_path(target.parent)
    except OSError as error:
        raise hardware.no_space(target, "room", str(error)) from error
    finally:
        draft.unlink(missing_ok=True)


def _check_settings(level: int, planes: str, chunk_bytes: int) -> None:
    lowest, highest = _archive_index.MIN_CHUNK, _archive_index.MAX_CHUNK
    wrong = [
        text
        for text, fine in (
            (f"level {level!r}", type(level) is int and level in LEVELS),
            (f"planes {planes!r}", planes in PLANES),
            (f"chunks of {chunk_bytes!r} bytes", type(chunk_bytes) is int and lowest <= chunk_bytes <= highest),
        )
        if not fine
    ]
    if wrong:
        raise CogumiError(
            expected=f"a level of 1 to 22, planes among {', '.join(PLANES)}, chunks of {lowest:,} to {highest:,} bytes",
            found=", ".join(wrong),
            why="zstd has no other levels, and chunks are held in memory whole",
            fix="leave them out: level 19, planes best, chunks of 4 MiB",
        )


def _source_bytes(source: Path, target: Path) -> int:
    if not source.is_file():
        raise no_file(source, "a folder" if source.is_dir() else "nothing there")
    if target.exists() and target.samefile(source):
        raise no_file(target, "the original itself, as the archive's place")
    return source.stat().st_size


def _changing(source: Path, total: int) -> CogumiError:
    return CogumiError(
        expected=f"{total} bytes in {source}, as there were at the start",
        found="more or fewer of them",
        why="the file was changed while it was packed",
        fix="pack it when nothing writes to it any more",
    )


def _not_equal() -> CogumiError:
    return CogumiError(
        expected="the bytes that were packed",
        found="other bytes, when they were unpacked to check",
        why="no archive is written that does not give the original back",
        fix="test this machine's memory, and report the file",
    )
