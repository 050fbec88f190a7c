import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cogumi_utils.compress import fourbit
from cogumi_utils.errors import CogumiError

GROUPS = st.sampled_from([1, 2, 3, 64, 128])
VALUES = arrays(
    np.float32, st.integers(0, 300), elements=st.floats(-(2.0**126), 2.0**126, width=32, allow_subnormal=True)
)


def kept(seed: int = 0, count: int = 20_000, share: float = 0.22) -> np.ndarray:
    """What pruning by magnitude leaves of Gaussian weights: nothing near zero."""
    values = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    return values[np.abs(values) >= np.quantile(np.abs(values), 1 - share)]


def error(values: np.ndarray, group_size: int) -> float:
    change = fourbit.decode(fourbit.encode(values, group_size), group_size) - values
    return float(np.sqrt((change.astype(float) ** 2).sum() / (values.astype(float) ** 2).sum()))


def test_one_group_by_hand():
    found = fourbit.encode(np.array([8, -2, 4, -8, 3], np.float32), 4)
    # 8 = 2³, so the scales are kept as 8/8 and 3/8; the values are 1, 1/4, 1/2, 1 and 1 of their scales
    assert (found.exponent, found.scales.tolist()) == (3, [1.0, 0.375])
    assert (found.codes & 8).tolist() == [0, 8, 0, 8, 0]
    assert (found.codes & 7)[[0, 3, 4]].tolist() == [7, 7, 7]
    assert fourbit.decode(found, 4)[[0, 3, 4]].tolist() == [8, -8, 3]


@given(VALUES, GROUPS)
def test_no_value_moves_by_more_than_half_a_step_or_the_floor(values, group_size):
    found = fourbit.encode(values, group_size)
    assert found.codes.dtype == np.uint8 and found.codes.max(initial=0) < 16
    assert found.scales.dtype == np.float16 and found.scales.size == fourbit.scale_count(values.size, group_size)
    decoded = fourbit.decode(found, group_size)
    assert decoded.dtype == np.float32 and decoded.shape == values.shape
    largest = np.ldexp(1.0, found.exponent + 1)
    scales = np.repeat(np.ldexp(found.scales.astype(float), found.exponent), group_size)[: values.size]
    low = found.floor / fourbit.FLOOR_STEPS
    allowed = scales * (max(low, (1 - low) / 14) + 2**-10) + largest * 2.0**-24
    assert (np.abs(decoded.astype(float) - values) <= allowed).all()


@given(VALUES, GROUPS)
def test_decoded_values_encode_to_themselves(values, group_size):
    once = fourbit.decode(fourbit.encode(values, group_size), group_size)
    twice = fourbit.decode(fourbit.encode(once, group_size), group_size)
    np.testing.assert_allclose(twice, once, rtol=1e-5, atol=float(np.abs(once).max(initial=0)) * 1e-6)


@pytest.mark.parametrize("power", [-130, -40, 40, 120])
def test_the_size_of_the_weights_does_not_matter(power):
    values = kept(count=2_000)
    plain, scaled = fourbit.encode(values, 64), fourbit.encode(np.ldexp(values.astype(float), power), 64)
    assert (plain.codes == scaled.codes).all() and (plain.scales == scaled.scales).all()
    assert (plain.floor, plain.exponent + power) == (scaled.floor, scaled.exponent)


def test_levels_with_a_floor_beat_those_around_zero():
    values = kept()
    scales = np.repeat(np.maximum.reduceat(np.abs(values), np.arange(0, values.size, 64)) / 7, 64)[: values.size]
    around_zero = np.rint(values / scales) * scales
    plain = float(np.linalg.norm(around_zero - values) / np.linalg.norm(values))
    assert (round(plain, 4), round(error(values, 64), 4)) == (0.0707, 0.0464)


@pytest.mark.parametrize(
    ("group_size", "expected"), [(16, (0.0385, 3.822)), (64, (0.0464, 3.543)), (128, (0.0507, 3.442))]
)
def test_error_and_entropy_by_group(group_size, expected):
    values = kept()
    bits = fourbit.code_entropy(fourbit.encode(values, group_size).codes)
    assert (round(error(values, group_size), 4), round(bits, 3)) == expected


def test_nothing_and_zeros():
    empty = fourbit.encode(np.zeros(0, np.float32), 64)
    assert (empty.codes.size, empty.scales.size, fourbit.decode(empty, 64).size) == (0, 0, 0)
    assert fourbit.decode(fourbit.encode(np.zeros(65, np.float32), 64), 64).tolist() == [0.0] * 65


def test_entropy_of_known_codes():
    assert fourbit.code_entropy(np.arange(16, dtype=np.uint8)) == 4
    assert fourbit.code_entropy(np.array([3, 3, 3], np.uint8)) == 0
    assert fourbit.code_entropy(np.array([], np.uint8)) == 0
    assert fourbit.code_entropy(np.array([0, 0, 0, 1], np.uint8)) == pytest.approx(0.811278, abs=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2.0**127])
def test_what_has_no_code_is_refused(value):
    with pytest.raises(CogumiError, match="1 others among 3"):
        fourbit.encode(np.array([1.0, value, 2.0]), 64)


@pytest.mark.parametrize("group_size", [0, -64, 1 << 17, 64.0, True])
def test_groups_out_of_range_are_refused(group_size):
    with pytest.raises(CogumiError, match="take 64 or 128"):
        fourbit.encode(np.ones(3), group_size)
