"""The toy block against arithmetic on paper."""

from __future__ import annotations

import pytest

from cogumi_utils.compress.gguf import types as gguf_types
from cogumi_utils.errors import CogumiError


def test_codes_are_rounded_multiples_of_the_scale():
    found = gguf_types.by_eye()
    assert found.codes == {0.0: 0, 0.25: 32, 0.5: 64, 1.0: 127, -1.0: -127}  # weight · 127, halves away from zero
    assert found.scale == pytest.approx(1 / 127, rel=1e-3)
    assert found.back == pytest.approx({0.0: 0, 0.25: 32 / 127, 0.5: 64 / 127, 1.0: 1, -1.0: -1}, rel=1e-3)


def test_entropy_is_that_of_the_counts():
    assert gguf_types.by_eye().code_bits == pytest.approx(16 * 1 + 8 * 2 + 4 * 3 + 2 * 4 + 2 * 4)
    assert gguf_types.by_eye({1.0: 32}).code_bits == 0


def test_what_is_shown():
    text = str(gguf_types.by_eye())
    assert "16·1 + 8·2 + 4·3 + 2·4 + 2·4 = 60 bits; with the scale 9.5 bytes" in text
    assert "34 bytes, 8.5 bits a weight" in text and "0 ×16, 32 ×8, 64 ×4, 127 ×2, -127 ×2" in text


def test_another_number_of_weights_is_no_block():
    with pytest.raises(CogumiError, match="31"):
        gguf_types.by_eye({1.0: 31})
