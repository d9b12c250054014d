"""Products of int8, exact at every instruction set, and of 4-bit weights with floats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import EPS, array, lengths, seeds, strided, unwritten
from tinytorch._ext._reference.quant import INT4_GROUP, pack_int4, unpack_int4
from tinytorch.backend import kernel


def integers(seed, shape, values=None):
    """int8 numbers: any, or drawn from values."""
    rng = np.random.default_rng(seed)
    return rng.choice(np.array(values, np.int8), shape) if values else rng.integers(-128, 128, shape, np.int8)


# -128 times -128 is the product that unsigned times signed, or sums of 16 bits, get wrong first.
VALUES = st.sampled_from([None, None, [-128], [-128, 127], [0, -1, 127]])


@given(data=st.data(), M=lengths, N=lengths | st.integers(90, 110), K=lengths | st.integers(500, 530), values=VALUES, seed=seeds)
def test_gemm_int8_is_exact(form, data, M, N, K, values, seed):
    a = integers(seed, (M, K), values)
    b = data.draw(strided((K, N), np.int8)) if values is None else integers(seed + 1, (K, N), values)
    if values is None and b.size:
        b[...] = integers(seed + 1, (K, N))
    out = unwritten((M, N), np.int32)
    kernel("gemm_int8")(a, b, out)
    np.testing.assert_array_equal(out, a.astype(np.int64) @ b.astype(np.int64))


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_gemm_int8_in_many_blocks_and_by_two_threads(form, layout):
    a, b = integers(0, (1030, 1100)), integers(1, (1100, 200))
    if layout == "columns":
        b = np.asfortranarray(b)
    wanted = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int32)        # exact: sums are below 2^53
    for threads in (1, 2):
        out = unwritten((1030, 200), np.int32)
        kernel("gemm_int8")(a, b, out, threads)
        np.testing.assert_array_equal(out, wanted)


def test_gemm_int8_at_the_largest_sum(form):
    a, b, out = np.full((1, 131071), -128, np.int8), np.full((131071, 1), -128, np.int8), unwritten((1, 1), np.int32)
    kernel("gemm_int8")(a, b, out)
    assert out[0, 0] == 131071 * 2**14 == 2**31 - 2**14


@given(N=lengths, K=lengths | st.integers(250, 600), values=VALUES, seed=seeds)
def test_gemv_int8_is_exact(form, N, K, values, seed):
    weight, x, out = integers(seed, (N, K), values), integers(seed + 1, K, values), unwritten(N, np.int32)
    kernel("gemv_int8")(weight, x, out)
    np.testing.assert_array_equal(out, weight.astype(np.int64) @ x.astype(np.int64))


@given(N=lengths, K=st.integers(0, 300), seed=seeds)
def test_gemv_int4_is_the_product_with_what_was_packed(form, N, K, seed):
    weight, x = array(seed, (N, K)), array(seed + 1, K)
    packed, scales = pack_int4(weight)
    dense = unpack_int4(packed, scales, K).astype(np.float64)
    for threads in (1, 2):
        out = unwritten(N)
        kernel("gemv_int4")(packed, scales, x, out, threads)
        assert (np.abs(out - dense @ x) <= (K + 4) * EPS * (np.abs(dense) @ np.abs(x))).all()


def test_gemv_int4_lets_nan_through(form):
    packed, scales = pack_int4(array(0, (5, 130)))
    x, out = array(1, 130), unwritten(5)
    x[129] = np.nan
    kernel("gemv_int4")(packed, scales, x, out)
    assert np.isnan(out).all()


@given(N=lengths, K=st.integers(0, 300), seed=seeds)
def test_packing_to_4_bits_rounds_to_a_step_of_the_groups_largest(N, K, seed):
    weight = array(seed, (N, K))
    packed, scales = pack_int4(weight)
    assert packed.nbytes == N * -(-K // 128) * 64 and scales.size == N * -(-K // 128) * 4
    back = unpack_int4(packed, scales, K)
    assert back.shape == weight.shape
    step = np.repeat(np.abs(scales), INT4_GROUP, axis=1)[:, :K]
    # One end of the range is 7 steps, the other 8: a number near the short end may be a whole step away.
    assert (np.abs(back - weight) <= step * (1 + 1e-6)).all()
    inside = np.abs(weight) <= 7 * step
    assert (np.abs(back - weight)[inside] <= step[inside] * (0.5 + 1e-6)).all()
    again, same = pack_int4(back)
    np.testing.assert_array_equal(unpack_int4(again, same, K), back)


def test_what_4_bits_hold_is_packed_without_loss():
    weight = np.tile(np.arange(-8, 8, dtype=np.float32), (3, 6)) * np.float32(0.25)
    weight[1] = 0
    packed, scales = pack_int4(weight)
    np.testing.assert_array_equal(unpack_int4(packed, scales, 96), weight)


def test_products_of_integers_refuse_what_does_not_fit(form):
    a, b, out = integers(0, (3, 4)), integers(1, (4, 5)), np.zeros((3, 5), np.int32)
    for arrays, message in (
        ((a, b[:3], out), r"b must be int8, shape \(4, any\); got int8, shape \(3, 5\)"),
        ((a, b.astype(np.uint8), out), "b must be int8"),
        ((a.astype(float), b, out), "a must be C-contiguous, int8"),
        ((a.T, b, out), "a must be C-contiguous"),
        ((a, b, out.astype(np.int64)), r"out must be writable, C-contiguous, int32, shape \(3, 5\)"),
    ):
        with pytest.raises(ValueError, match=f"^gemm_int8: {message}"):
            kernel("gemm_int8")(*arrays)
    with pytest.raises(ValueError, match=r"^gemv_int8: x must be .*shape \(4,\)"):
        kernel("gemv_int8")(a, b[:, 0][:3].copy(), out[:, 0].copy())
    packed, scales = pack_int4(array(0, (3, 40)))
    with pytest.raises(ValueError, match=r"^gemv_int4: packed must be .*shape \(any, 128\); got uint8, shape \(3, 64\)"):
        kernel("gemv_int4")(packed, scales, array(1, 200), unwritten(3))
    assert not out.any()
