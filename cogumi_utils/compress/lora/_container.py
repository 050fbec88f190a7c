"""The packed file: a fixed head with its digest, a compressed JSON header, the payload. Every byte is under a digest.

    8 bytes  magic          2  version        4  bytes of the header as stored        4  its bytes unpacked
    8        bytes of the payload            32  SHA-256 of the 26 bytes above and of the stored header
    header   JSON, zstd with the text of `_dictionary`
    payload  as the header's `frames` say; its SHA-256 is in the header

Little-endian throughout. The digests find damage; they do not prove who wrote the file.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogumi_utils.artifacts import atomic_write_bytes
from cogumi_utils.compress._streams import Frame, expand, smallest
from cogumi_utils.compress.lora._dictionary import header_dictionary
from cogumi_utils.errors import CogumiError

MAGIC, VERSION = b"\x89COGUMI\n", 1
MAX_HEADER = 16 << 20
_HEAD = struct.Struct("<8sHIIQ")
HEAD_BYTES = _HEAD.size + hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Contents:
    header: dict[str, Any]
    payload: bytes
    header_bytes: int  # head and stored header


def assemble(header: dict[str, Any], payload: bytes, level: int) -> bytes:
    """The file's bytes; the payload's digest is added to the header."""
    header = {**header, "payload_sha256": hashlib.sha256(payload).hexdigest()}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    stored = smallest({"json": text}, level, header_dictionary()).data
    head = _HEAD.pack(MAGIC, VERSION, len(stored), len(text), len(payload))
    return head + hashlib.sha256(head + stored).digest() + stored + payload


def write(path: Path, data: bytes) -> None:
    """Write the file whole or not at all. Raises CogumiError where the disk does not take it."""
    try:
        atomic_write_bytes(path, data)
    except OSError as error:
        raise CogumiError(
            expected=f"room for {len(data)} bytes in an existing, writable folder at {path.parent}",
            found=str(error),
            why="the file is written beside its place first and then moved there whole",
            fix="free some space, or give another target",
        ) from error


def read(path: Path) -> Contents:
    """Header and payload of an undamaged file. Raises CogumiError for anything else, before anything is unpacked."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise _refused(path, str(error), "there is nothing to unpack", "check the path") from None
    if not data.startswith(MAGIC):
        raise _refused(
            path, f"a file that starts with {data[:8]!r}", "packed adapters start otherwise", "check the path"
        )
    if len(data) < HEAD_BYTES:
        raise _damaged(path, f"{len(data)} bytes, not even a whole head")
    _, version, stored, plain, payload = _HEAD.unpack_from(data)
    if version != VERSION:
        why = "each version has its own layout"
        raise _refused(path, f"version {version}", why, "update cogumi_utils, or pack the adapter again")
    if len(data) != HEAD_BYTES + stored + payload:
        raise _damaged(path, f"{len(data)} bytes where its head says {HEAD_BYTES + stored + payload}")
    first, middle = HEAD_BYTES, HEAD_BYTES + stored
    if hashlib.sha256(data[: _HEAD.size] + data[first:middle]).digest() != data[_HEAD.size : first]:
        raise _damaged(path, "a header that does not match its digest")
    header = _header(path, data[first:middle], plain)
    if hashlib.sha256(data[middle:]).hexdigest() != header.get("payload_sha256"):
        raise _damaged(path, "a payload that does not match its digest")
    return Contents(header, data[middle:], middle)


def _header(path: Path, stored: bytes, plain: int) -> dict[str, Any]:
    if plain > MAX_HEADER:
        raise _damaged(path, f"a header of {plain} bytes")
    text = expand(Frame("json", "raw" if len(stored) == plain else "zstd", stored), plain, header_dictionary())
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or len(text) != plain:
        raise _damaged(path, "a header that is no JSON object")
    return header


def _damaged(path: Path, found: str) -> CogumiError:
    fix = "get the file again from where it was made, or pack the adapter again"
    return _refused(path, found, "it was cut or changed after it was written", fix)


def _refused(path: Path, found: str, why: str, fix: str) -> CogumiError:
    return CogumiError(expected=f"a packed adapter in {path}", found=found, why=why, fix=fix)
