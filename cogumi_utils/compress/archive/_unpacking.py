"""From an archive to the file again: each chunk checked before and after, going on where an unpacking was stopped."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cogumi_utils import hardware
from cogumi_utils.artifacts import fsync_path
from cogumi_utils.compress.archive import _index as _archive_index
from cogumi_utils.compress.archive._frames import Decoder
from cogumi_utils.compress.archive._index import HEAD_BYTES, Chunk, Index, damaged
from cogumi_utils.compress.archive._planes import restore, scatter
from cogumi_utils.errors import CogumiError


def unpack_file(path: Path, target: Path) -> Path:
    """Write the original to `target` and return it; bit for bit, or not at all.

    It grows beside the target, as `.<name>.<digest>.part`. An unpacking that was killed, or ran out of disk, goes on
    with the first chunk that is not there or does not match. Memory is a few chunks. Raises CogumiError for an archive
    that is damaged in any bit, too little disk (before the start), a second unpacking into the same place.
    """
    path, target = Path(path), Path(target)
    require_folder(target)
    with opened(path) as stream:
        index, _ = _archive_index.read(stream, path)
        decoder = Decoder(_dictionary(stream, path, index))
        draft = target.with_name(f".{target.name}.{index.sha256[:16]}.part")
        try:
            with _locked(draft) as part:
                _fill(part, draft, stream, path, index, decoder)
                os.replace(draft, target)
            fsync_path(target.parent)
        except OSError as error:
            raise hardware.no_space(target, "room (unpacking goes on where it stopped)", str(error)) from error
    return target


def rebuilt(chunk: Chunk, stored: bytes, layouts: Sequence[Sequence[int]], decoder: Decoder) -> np.ndarray:
    """The chunk's bytes of the original, uint8 [n]."""
    groups, view, place = [], memoryview(stored), 0
    for group, (layout, sizes) in enumerate(chunk.groups):
        blocks = chunk.group_bytes(group) // sum(layouts[layout])
        streams = []
        for width, size in zip(layouts[layout], sizes, strict=True):
            streams.append(decoder.expand(view[place : place + size], width * blocks))
            place += size
        groups.append(restore(streams, layouts[layout]))
    return scatter(groups, chunk.parts, chunk.plain)


def _dictionary(stream: BinaryIO, path: Path, index: Index) -> bytes | None:
    if index.dictionary is None:
        return None
    size, digest = index.dictionary
    stream.seek(HEAD_BYTES + sum(chunk.stored for chunk in index.chunks))
    known = stream.read(size)
    if hashlib.sha256(known).hexdigest() != digest:
        raise damaged(path, "a dictionary that does not match its digest")
    return known


def _fill(part: BinaryIO, draft: Path, stream: BinaryIO, path: Path, index: Index, decoder: Decoder) -> None:
    """Write what is missing. A damaged archive leaves nothing behind."""
    done, running = _there(part, index)
    part.truncate(part.tell())
    try:
        hardware.require_disk(draft, index.plain - part.tell())
        stream.seek(HEAD_BYTES + sum(chunk.stored for chunk in index.chunks[:done]))
        for number in range(done, len(index.chunks)):
            chunk = index.chunks[number]
            plain = _verified(stream.read(chunk.stored), chunk, path, number, index.layouts, decoder)
            running.update(plain)
            if running.copy().hexdigest() != chunk.until:
                raise damaged(path, f"chunk {number}, which does not unpack into the original")
            part.write(plain)
        if running.hexdigest() != index.sha256:
            raise damaged(path, "chunks that do not make up the original")
    except CogumiError as error:
        if not (isinstance(error, hardware.HardwareError) and done):
            draft.unlink()
        raise
    part.flush()
    os.fsync(part.fileno())


def _verified(stored: bytes, chunk: Chunk, path: Path, number: int, layouts: list, decoder: Decoder) -> np.ndarray:
    if hashlib.sha256(stored).hexdigest() != chunk.sha256:
        raise damaged(path, f"chunk {number}, which does not match its digest")
    return rebuilt(chunk, stored, layouts, decoder)


def _there(part: BinaryIO, index: Index) -> tuple[int, Any]:
    """(chunks that are there and right, the digest so far); the file is left at their end."""
    running, place = hashlib.sha256(), 0
    for number, chunk in enumerate(index.chunks):
        longer = running.copy()
        longer.update(part.read(chunk.plain))
        if longer.copy().hexdigest() != chunk.until:
            part.seek(place)
            return number, running
        running, place = longer, place + chunk.plain
    part.seek(place)
    return len(index.chunks), running


@contextmanager
def _locked(draft: Path) -> Iterator[BinaryIO]:
    """The file that grows, this process's alone."""
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with open(handle, "r+b") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = draft.exists() and os.path.samestat(draft.stat(), os.fstat(part.fileno()))
        except BlockingIOError:
            ours = False
        if not ours:
            raise CogumiError(
                expected=f"{draft} for this process alone",
                found="another process that unpacks the same archive to the same place",
                why="two writers would spoil each other's chunks",
                fix="wait for the other one, or give another target",
            )
        yield part


def require_folder(target: Path) -> None:
    """Raise CogumiError unless a file can be made at `target`."""
    if not target.parent.is_dir() or target.is_dir():
        raise CogumiError(
            expected=f"a file's path in an existing folder, instead of {target}",
            found="a folder" if target.is_dir() else f"no folder {target.parent}",
            why="the file is written beside its place first and then moved there whole",
            fix="make the folder, or give another target",
        )


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read. Raises CogumiError where there is none."""
    try:
        stream = open(path, "rb")
    except OSError as error:
        raise no_file(path, str(error)) from None
    with stream:
        yield stream


def no_file(path: Path, found: str) -> CogumiError:
    return CogumiError(
        expected=f"a file at {path}",
        found=found,
        why="one file is packed into another, or back",
        fix="check the path",
    )
