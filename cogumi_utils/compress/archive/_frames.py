"""One stream as a zstd frame: the level's own settings against literals alone, whichever is smaller; else as it is.

Quantised weights are noise: what zstd's match finders see in it are chance repeats of four or five bytes, and naming
one costs more than it saves (level 3 leaves 26% to the entropy of a bfloat16 exponent plane, literals alone 1.5%). So
each stream is also coded with a match finder that sees next to nothing. zstd leaves a block as it is unless coding
saves 1/64 of it (1/256 from strategy btultra2 on), so high levels try literals in that strategy too.
"""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from cogumi_utils.errors import CogumiError

LEVELS = range(1, 23)
MAX_WINDOW = 1 << 27
_WINDOW_LOG, _FEW = 17, 6  # a block; the smallest tables that zstd has
_THOROUGH = 16  # the level from which time matters less than 1%
_DICTIONARY_BYTES = (1 << 10, 110 << 10)
_SAMPLE_BYTES = 1 << 12
_TRAINING = {"k": 256, "d": 8}  # of zstd's dictionary builder: length of a segment, bytes that count as a repeat


class Encoder:
    """Frames at one level, with an optional dictionary; equal streams give equal frames.

    dictionary_saved: bytes that the dictionary has saved so far, itself not counted.
    """

    def __init__(self, level: int, chunk_bytes: int, dictionary: bytes | None = None):
        sizes = {"source_size": chunk_bytes, "write_content_size": False}
        own = zstandard.ZstdCompressionParameters.from_level(level, **sizes)
        settings = [own, _literals(zstandard.STRATEGY_FAST)]
        if level >= _THOROUGH:
            settings.append(_literals(zstandard.STRATEGY_BTULTRA2))
        self._plain, self.dictionary_saved = len(settings) + 1, 0
        known = [None] if dictionary is None else [None, _known(dictionary)]
        # by place: these constructors are C and publish no names; the first 3 is the level, overruled by the settings
        self._coders = [zstandard.ZstdCompressor(3, each, setting) for each in known for setting in settings]

    def smallest(self, stream: bytes) -> bytes:
        """The smallest frame, or the stream itself where none is smaller; the earlier of equals."""
        tried = [stream, *(coder.compress(stream) for coder in self._coders)]
        without = min(tried[: self._plain], key=len)
        chosen = min([without, *tried[self._plain :]], key=len)
        self.dictionary_saved += len(without) - len(chosen)
        return chosen


def _literals(strategy: int) -> zstandard.ZstdCompressionParameters:
    """As few matches as zstd can be made to find. A target length of 0: `fast` with any other codes no literals."""
    settings = {
        "strategy": strategy, "window_log": _WINDOW_LOG, "hash_log": _FEW, "chain_log": _FEW, "search_log": 1,
        "min_match": zstandard.MINMATCH_MAX, "target_length": 0, "write_content_size": False,
    }  # fmt: skip
    return zstandard.ZstdCompressionParameters(**settings)


def train_dictionary(streams: Sequence[bytes], most: int) -> bytes | None:
    """A dictionary of at most `most` bytes from these streams; None where that is too little for one."""
    size = min(most, _DICTIONARY_BYTES[1])
    samples = [
        stream[place : place + _SAMPLE_BYTES] for stream in streams for place in range(0, len(stream), _SAMPLE_BYTES)
    ]
    if size < _DICTIONARY_BYTES[0] or len(samples) < 8:
        return None
    try:
        return zstandard.train_dictionary(size, samples, **_TRAINING).as_bytes()
    except zstandard.ZstdError:  # samples without anything in common
        return None


def _known(dictionary: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(dictionary, zstandard.DICT_TYPE_FULLDICT)


class Decoder:
    """Streams of exactly the sizes that the index says; nothing larger is ever unpacked."""

    def __init__(self, dictionary: bytes | None = None):
        try:
            known = None if dictionary is None else _known(dictionary)
            self._reader = zstandard.ZstdDecompressor(known, MAX_WINDOW)
        except zstandard.ZstdError as error:
            raise inconsistent(f"a dictionary that is none ({error})") from None

    def expand(self, frame: bytes, size: int) -> bytes:
        """The stream of `size` bytes. A frame as long as its stream is the stream itself."""
        if len(frame) == size:
            return frame
        try:
            if zstandard.frame_content_size(frame) != -1:  # the reader would take whatever memory a forged one says
                raise inconsistent("a compressed stream that states its own size")
            plain = self._reader.decompress(frame, max_output_size=size)
        except zstandard.ZstdError as error:
            raise inconsistent(f"a compressed stream that does not unpack into {size} bytes ({error})") from None
        if len(plain) != size:
            raise inconsistent(f"a stream of {len(plain)} bytes where {size} belong")
        return plain


def inconsistent(found: str) -> CogumiError:
    return CogumiError(
        expected="an archive whose streams have the sizes in its index",
        found=found,
        why="the file was not written by pack_file, and nothing beyond the stated sizes is unpacked",
        fix="get the file again from where it was made, or pack the original again",
    )
