"""Frames of the sizes that an index states, and of no other."""

from __future__ import annotations

import pytest
import zstandard

from cogumi_utils.compress.archive._frames import Decoder
from cogumi_utils.errors import CogumiError


def frame(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(plain)


def test_a_stream_of_the_stated_size_unpacks():
    assert Decoder().expand(frame(bytes(1000)), 1000) == bytes(1000)


@pytest.mark.parametrize("size", [999, 1001])
def test_a_stream_of_another_size_is_refused(size):
    with pytest.raises(CogumiError, match=f"{size}"):
        Decoder().expand(frame(bytes(1000)), size)
