"""Streams of a packed adapter: masks, codes and scales, each arranged and compressed in the way that came out smallest.

Zstandard's entropy coder is Huffman's, with one table per block. A table fits only what is alike, so tensors are
bundled by their share of kept weights; it codes no symbol below one bit, so very sparse masks are written as gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zstandard

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.sizes import bound_bytes

TABLE_BYTES = 110  # what a further bundle costs: Huffman's table and a frame's head
MAX_WINDOW = 1 << 27  # zstd's own limit; level 22 uses all of it
ARRANGEMENTS = {"mask": ("bits", "gaps"), "codes": ("two", "one"), "scales": ("split", "plain")}
CODINGS = ("raw", "zstd")
_ESCAPE = 255


@dataclass(frozen=True, slots=True)
class Frame:
    """A stream as stored. arrangement: a name in `ARRANGEMENTS`; coding: one of `CODINGS`."""

    arrangement: str
    coding: str
    data: bytes


def bundles(counts: Sequence[int], kept: Sequence[int]) -> list[int]:
    """Sizes of runs of tensors, ordered by share, such that shared tables and tables themselves cost least.

    Exact by dynamic programming on the entropy of the pooled shares; counts and kept are weights per tensor.
    """
    total, ones = np.cumsum([0, *counts]), np.cumsum([0, *kept])
    best, start = np.zeros(len(total)), [0] * len(total)
    for stop in range(1, len(total)):
        sizes, shares = total[stop] - total[:stop], ones[stop] - ones[:stop]
        costs = best[:stop] + [bound_bytes(n, k / n, 0) for n, k in zip(sizes, shares, strict=True)] + TABLE_BYTES
        start[stop] = int(np.argmin(costs))
        best[stop] = costs[start[stop]]
    sizes, stop = [], len(counts)
    while stop:
        sizes.append(stop - start[stop])
        stop = start[stop]
    return sizes[::-1]


def smallest(arranged: dict[str, bytes], level: int, known: bytes = b"") -> Frame:
    """The arrangement and coding with the fewest bytes; the earlier of equals. Never more than the plain bytes.

    known: text that the reader has too.
    """
    frames = []
    for name, plain in arranged.items():
        frames.append(Frame(name, "raw", plain))
        frames += [Frame(name, "zstd", packed) for packed in _compressed(plain, level, known)]
    return min(frames, key=lambda frame: len(frame.data))


def _compressed(plain: bytes, level: int, known: bytes) -> list[bytes]:
    """With the level's own settings, and with long matches only: short ones in noise cost more than they save.

    Frames carry no content size: zstandard's one-shot reader would allocate whatever a forged one says.
    """
    sizes = {"source_size": len(plain), "write_content_size": False}
    settings = [sizes, {**sizes, "min_match": zstandard.MINMATCH_MAX}]
    chosen = [zstandard.ZstdCompressionParameters.from_level(level, **each) for each in settings]
    dictionary = _dictionary(known)
    # by place: these constructors are C and publish no names; the first 3 is the level, overruled by the settings
    return [zstandard.ZstdCompressor(3, dictionary, each).compress(plain) for each in chosen]


def _dictionary(known: bytes) -> zstandard.ZstdCompressionDict | None:
    return zstandard.ZstdCompressionDict(known, zstandard.DICT_TYPE_RAWCONTENT) if known else None


def expand(frame: Frame, most: int, known: bytes = b"") -> bytes:
    """The arranged bytes of a frame, at most `most`. Raises CogumiError for anything else, before it takes memory."""
    if frame.coding == "raw":
        plain = frame.data
    else:
        try:
            if zstandard.frame_content_size(frame.data) != -1:
                raise inconsistent("a compressed stream that states its own size")
            reader = zstandard.ZstdDecompressor(_dictionary(known), MAX_WINDOW)
            plain = reader.decompress(frame.data, max_output_size=max(most, 1))
        except zstandard.ZstdError as error:
            raise inconsistent(f"a compressed stream that does not unpack into {most} bytes ({error})") from None
    if len(plain) > most:
        raise inconsistent(f"a stream of {len(plain)} bytes where at most {most} belong")
    return plain


def inconsistent(found: str) -> CogumiError:
    return CogumiError(
        expected="a packed adapter whose streams have the sizes in its header",
        found=found,
        why="the file was not written by pack_adapter, and nothing beyond the stated sizes is unpacked",
        fix="get the file again from where it was made, or pack the adapter again",
    )


def mask_arrangements(kept: np.ndarray) -> dict[str, bytes]:
    """kept: bool [n]. bits: eight a byte; gaps: zeros before each kept weight, one byte, 255 = 255 more to come."""
    gaps = np.diff(np.flatnonzero(kept), prepend=-1) - 1
    escapes = gaps // _ESCAPE
    written = np.full(gaps.size + int(escapes.sum()), _ESCAPE, np.uint8)
    written[np.arange(gaps.size) + np.cumsum(escapes)] = gaps % _ESCAPE
    return {"bits": np.packbits(kept).tobytes(), "gaps": written.tobytes()}


def read_mask(frame: Frame, count: int, kept: int) -> np.ndarray:
    """bool [count] with `kept` true."""
    most = (count + 7) // 8 if frame.arrangement == "bits" else kept + count // _ESCAPE
    data = np.frombuffer(expand(frame, most), np.uint8)
    if frame.arrangement == "bits":
        mask = np.unpackbits(_exactly(data, most), count=count).astype(bool)
    else:
        mask = _from_gaps(data, count)
    if int(mask.sum()) != kept:
        raise inconsistent(f"a mask that keeps {int(mask.sum())} weights where the header says {kept}")
    return mask


def _from_gaps(data: np.ndarray, count: int) -> np.ndarray:
    ends = np.cumsum(np.where(data == _ESCAPE, _ESCAPE, data.astype(np.int64) + 1))
    places = ends[data != _ESCAPE] - 1
    if places.size and places[-1] >= count:
        raise inconsistent(f"a mask of {places[-1] + 1} weights where {count} belong")
    mask = np.zeros(count, bool)
    mask[places] = True
    return mask


def code_arrangements(codes: np.ndarray) -> dict[str, bytes]:
    """codes: uint8 [n] below 16. two: two a byte, the first one in the high half; one: one a byte."""
    even = np.append(codes, np.zeros(codes.size % 2, np.uint8))
    return {"two": (even[::2] << 4 | even[1::2]).tobytes(), "one": codes.tobytes()}


def read_codes(frame: Frame, count: int) -> np.ndarray:
    """uint8 [count], all below 16."""
    most = count if frame.arrangement == "one" else (count + 1) // 2
    data = _exactly(np.frombuffer(expand(frame, most), np.uint8), most)
    if frame.arrangement == "two":
        return np.stack([data >> 4, data & 15], axis=1).ravel()[:count]
    if data.size and data.max() > 15:
        raise inconsistent("a code above 15")
    return data


def scale_arrangements(scales: np.ndarray) -> dict[str, bytes]:
    """scales: float16 [n]. split: all low bytes, then all high bytes, which repeat; plain: as they are."""
    halves = scales.astype("<f2").view(np.uint8).reshape(-1, 2)
    return {"split": halves.T.tobytes(), "plain": halves.tobytes()}


def read_scales(frame: Frame, count: int) -> np.ndarray:
    """float16 [count], finite and not negative."""
    data = _exactly(np.frombuffer(expand(frame, 2 * count), np.uint8), 2 * count)
    halves = data.reshape(2, -1).T if frame.arrangement == "split" else data.reshape(-1, 2)
    scales = np.ascontiguousarray(halves).view("<f2").ravel()
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise inconsistent("a scale that is negative or not finite")
    return scales


def _exactly(data: np.ndarray, size: int) -> np.ndarray:
    if data.size != size:
        raise inconsistent(f"a stream of {data.size} bytes where {size} belong")
    return data
