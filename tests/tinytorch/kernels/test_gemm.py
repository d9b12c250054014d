"""Products of matrices: against float64, within the forward error bound of a sum of k products."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import array, seeds, strided, unwritten
from tinytorch.activations import gelu, relu, silu
from tinytorch.backend import kernel
from tinytorch.tensor import Tensor

ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": lambda x: gelu(x, "tanh"), "silu": silu}
sides = st.one_of(st.integers(0, 40), st.sampled_from([64, 97]))


def close(out, a, b, start=0):
    """|out - (start + a b)| <= (k + 2) eps (|start| + |a||b|): Higham 2002, (3.13). FMA and any order of the sum keep to it."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    bound = (a.shape[-1] + 2) * np.finfo(out.dtype).eps * (np.abs(start) + np.abs(a) @ np.abs(b)) + np.finfo(out.dtype).tiny
    return bool(np.all(np.abs(out - (start + a @ b)) <= bound))


@settings(max_examples=60)
@given(m=sides, k=sides, n=sides, data=st.data(), dtype=st.sampled_from(["float32", "float32", "float64"]))
def test_product_of_any_two_matrices(form, m, k, n, data, dtype):
    a, b = data.draw(strided((m, k), dtype)), data.draw(strided((k, n), dtype))
    out = unwritten((m, n), dtype)
    kernel("gemm")(a, b, out)
    assert close(out, a, b)


@pytest.mark.parametrize("m, k, n", [(1, 50, 200), (2, 300, 70), (200, 40, 1), (3, 7, 513), (100, 50, 10), (170, 390, 33), (33, 800, 40)])
@pytest.mark.parametrize("layout", ["nn", "tn", "nt", "tt"])
def test_product_at_the_edges_of_blocks(form, rng, m, k, n, layout):
    a = rng.normal(size=(k, m) if layout[0] == "t" else (m, k)).astype(np.float32)
    b = rng.normal(size=(n, k) if layout[1] == "t" else (k, n)).astype(np.float32)
    a, b = a.T if layout[0] == "t" else a, b.T if layout[1] == "t" else b
    room = np.full(m * n + 16, np.nan, np.float32)
    out = room[8:-8].reshape(m, n)
    kernel("gemm")(a, b, out, threads=1)
    assert close(out, a, b)
    assert np.isnan(room[:8]).all() and np.isnan(room[-8:]).all()
    again = unwritten((m, n))
    kernel("gemm")(a, b, again, threads=2)
    np.testing.assert_array_equal(again, out)           # a sum is one thread's, in one order
    start = out.copy()
    kernel("gemm")(a, b, out, add=True)
    assert close(out, a, b, start.astype(np.float64))


@given(
    leading=st.sampled_from([((), (3,)), ((3,), ()), ((2, 3), (2, 3)), ((2, 1), (3,)), ((2, 3), (1, 3)), ((1,), (1,)), ((0,), ()), ((4, 1), (1, 5))]),
    m=st.integers(0, 9), k=st.integers(0, 9), n=st.integers(0, 9), data=st.data(),
)
def test_leading_axes_broadcast(form, leading, m, k, n, data):
    a, b = data.draw(strided((*leading[0], m, k))), data.draw(strided((*leading[1], k, n)))
    out = unwritten((*np.broadcast_shapes(*leading), m, n))
    kernel("gemm")(a, b, out)
    assert close(out, a, b)


@pytest.mark.parametrize("m, n", [(1, 20), (5, 10), (33, 47), (70, 12)])
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_bias_and_activation_on_the_way_out(form, rng, m, n, activation):
    a, b, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((2, m, 21), (21, n), (n,)))
    plain, before, out = unwritten((2, m, n)), unwritten((2, m, n)), unwritten((2, m, n))
    kernel("gemm")(a, b, plain)
    kernel("gemm")(a, b, out, bias=bias, activation=activation, before=before)
    np.testing.assert_array_equal(before, plain + bias)
    expected = ACTIVATIONS[activation](Tensor(before.astype(np.float64))).numpy() if activation else before
    np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-7)


def test_what_is_not_a_number_goes_through(form):
    a, b = np.ones((20, 30), np.float32), np.ones((30, 40), np.float32)
    a[3, 5], b[7, 11], a[9, 0], b[0, 39] = math.nan, math.nan, math.inf, 0
    out = unwritten((20, 40))
    kernel("gemm")(a, b, out)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(out, a @ b)
    assert np.isnan(out[3]).all() and np.isnan(out[:, 11]).all() and np.isnan(out[9, 39]) and np.isfinite(out[0, 0])
    kernel("gemm")(a, b, out, activation="relu")
    assert np.isnan(out[3]).all()


FAULTS = {
    "inner lengths": (lambda a, b, c: ((a, b.T, c), {}), "do not fit"),
    "dtypes": (lambda a, b, c: ((a, b.astype(float), c), {}), "b must be float32"),
    "an axis": (lambda a, b, c: ((a[0], b, c), {}), "two axes or more"),
    "shape of out": (lambda a, b, c: ((a, b, c[:3]), {}), r"out must be .*shape \(4, 6\)"),
    "strides of out": (lambda a, b, c: ((a, b, np.zeros((6, 4), np.float32).T), {}), "out must be .*C-contiguous"),
    "leading axes": (lambda a, b, c: ((np.stack([a] * 2), np.stack([b] * 3), np.stack([c] * 3)), {}), "do not fit"),
    "aliasing": (lambda a, b, c: ((c[:, :5], b, c), {}), "shares memory"),
    "bias": (lambda a, b, c: ((a, b, c), {"bias": np.zeros(5, np.float32)}), r"bias must be .*shape \(6,\)"),
    "activation": (lambda a, b, c: ((a, b, c), {"activation": "swish"}), "activation is one of relu"),
    "before": (lambda a, b, c: ((a, b, c), {"before": c}), "shares memory"),
    "sum": (lambda a, b, c: ((a, b, c), {"add": True, "activation": "relu"}), "add=True takes no"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_gemm_refuses_what_does_not_fit(form, fault):
    arguments, message = FAULTS[fault]
    out = np.zeros((4, 6), np.float32)
    given, options = arguments(np.ones((4, 5), np.float32), np.ones((5, 6), np.float32), out)
    with pytest.raises(ValueError, match=f"^gemm: .*{message}"):
        kernel("gemm")(*given, **options)
    assert not out.any()


def test_gemm_refuses_a_read_only_output(form):
    out = np.zeros((4, 6), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="gemm: out must be writable"):
        kernel("gemm")(array(0, (4, 5)), array(1, (5, 6)), out)


@given(seed=seeds)
def test_backward_is_the_transpose_of_forward(form, seed):
    """<a b, g> = <a, g bᵀ> = <b, aᵀ g>."""
    a, b, g = array(seed, (9, 17)), array(seed + 1, (17, 12)), array(seed + 2, (9, 12))
    out, to_a, to_b = unwritten((9, 12)), unwritten(a.shape), unwritten(b.shape)
    kernel("gemm")(a, b, out)
    kernel("gemm")(g, b.T, to_a)
    kernel("gemm")(a.T, g, to_b)
    exact = np.vdot(out.astype(float), g)
    assert abs(np.vdot(to_a.astype(float), a) - exact) < 1e-3 and abs(np.vdot(to_b.astype(float), b) - exact) < 1e-3
