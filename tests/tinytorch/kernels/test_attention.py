"""Attention: forward, backward and decoding, in every form of the kernels, against plain float64 and against themselves."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import EPS, array, differences, inner, seeds, strided, unwritten
from tinytorch.autograd import gradcheck
from tinytorch.backend import kernel
from tinytorch.fused import CausalAttention
from tinytorch.tensor import ShapeError, Tensor


@st.composite
def sizes(draw):
    """B, T, S, H, G, D and whether the mask is causal; blocks are 64 wide, so some lengths are about that."""
    causal, shared, group = draw(st.booleans()), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    queries, extra = draw(st.integers(0, 40) | st.sampled_from([63, 64, 65, 130])), draw(st.integers(0, 40))
    keys = queries + extra if causal else draw(st.integers(1, 140))
    assume(keys > 0)
    return draw(st.integers(0, 2)), queries, keys, shared * group, shared, draw(st.integers(1, 40)), causal


def plain(q, k, v, causal):
    """Attention in float64, a query at a time -> (out, lse)."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    (batch, queries, heads, width), (keys, shared) = q.shape, k.shape[1:3]
    out, lse = np.empty(q.shape), np.empty((batch, heads, queries))
    for b, i, h in np.ndindex(batch, queries, heads):
        end = i + keys - queries + 1 if causal else keys
        scores = k[b, :end, h * shared // heads] @ q[b, i, h] / np.sqrt(width)
        weights = np.exp(scores - scores.max())
        out[b, i, h] = weights / weights.sum() @ v[b, :end, h * shared // heads]
        lse[b, h, i] = scores.max() + np.log(weights.sum())
    return out, lse


def views(seed, batch, queries, keys, heads, shared, width):
    """q, k, v as views of one packed array if their lengths are the same, else of three arrays with gaps."""
    if queries == keys:
        x = array(seed, (batch, queries, heads + 2 * shared, width))
        return x[:, :, :heads], x[:, :, heads:heads + shared], x[:, :, heads + shared:]
    shapes = (batch, queries, heads, width), (batch, keys, shared, width), (batch, keys, shared, width)
    return tuple(array(seed + n, (*shape[:3], 2 * width))[..., :width] for n, shape in enumerate(shapes))


def forward(q, k, v, causal, **options):
    out, lse = unwritten(q.shape), unwritten((q.shape[0], q.shape[2], q.shape[1]))
    kernel("attention_forward")(q, k, v, out, lse, causal, **options)
    return out, lse


def backward(q, k, v, grad, causal, **options):
    out, lse = forward(q, k, v, causal)
    grads = unwritten(q.shape), unwritten(k.shape), unwritten(v.shape)
    kernel("attention_backward")(q, k, v, out, lse, grad, *grads, causal, **options)
    return grads


@given(sizes=sizes(), seed=seeds)
def test_forward_is_softmax_of_scores_times_values(form, sizes, seed):
    *lengths, causal = sizes
    q, k, v = views(seed, *lengths)
    out, lse = forward(q, k, v, causal)
    wanted, wanted_lse = plain(q, k, v, causal)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=60 * EPS)
    np.testing.assert_allclose(lse, wanted_lse, rtol=60 * EPS, atol=60 * EPS)


@given(sizes=sizes(), seed=seeds)
@settings(max_examples=40)
def test_backward_is_the_derivative_of_forward(form, sizes, seed):
    """Along a random direction, by central differences of the plain float64 version."""
    *lengths, causal = sizes
    q, k, v = views(seed, *lengths)
    grad = array(seed + 9, q.shape)
    grads = backward(q, k, v, grad, causal)
    for n, (x, slope) in enumerate(zip((q, k, v), grads, strict=True)):
        towards = array(seed + 10 + n, x.shape)

        def moved(y, n=n):
            return plain(*(y if m == n else other for m, other in enumerate((q, k, v))), causal)[0]

        wanted = inner(grad, differences(moved, x, towards)) if x.size else 0.0
        noise = 20 * EPS * np.sqrt(x.size * q.shape[3])  # each element rounds sums of D products of normal numbers
        assert inner(slope, towards) == pytest.approx(wanted, rel=1e-5, abs=noise)


@given(shape=st.tuples(st.integers(1, 2), st.integers(1, 40), st.integers(1, 3), st.integers(1, 20)), data=st.data())
@settings(max_examples=25)
def test_any_strides_are_read_and_written(form, shape, data):
    q, k, v, grad = (data.draw(strided(shape)) for _ in range(4))
    copies = [np.ascontiguousarray(x) for x in (q, k, v, grad)]
    for got, wanted in zip((*forward(q, k, v, True), *backward(q, k, v, grad, True)),
                           (*forward(*copies[:3], True), *backward(*copies, True)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-5)


def test_gradients_go_side_by_side_into_one_packed_array(form):
    x, packed = array(1, (2, 70, 8, 20)), unwritten((2, 70, 8, 20))
    parts = slice(0, 4), slice(4, 6), slice(6, 8)
    q, k, v = (x[:, :, part] for part in parts)
    grad, (out, lse) = array(2, q.shape), forward(q, k, v, True)
    kernel("attention_backward")(q, k, v, out, lse, grad, *(packed[:, :, part] for part in parts))
    np.testing.assert_array_equal(packed, np.concatenate(backward(q, k, v, grad, True), 2))


def test_results_do_not_depend_on_threads(form):
    q, k, v = views(3, 3, 130, 130, 6, 3, 32)
    grad = array(4, q.shape)
    one, two = ([*forward(q, k, v, True, threads=n), *backward(q, k, v, grad, True, threads=n)] for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_scores_do_not_overflow(form):
    q, k, v = views(5, 1, 80, 80, 2, 2, 8)
    q = q * np.float32(1e4)
    out, lse = forward(q, k, v, True)
    wanted, wanted_lse = plain(q, k, v, True)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=0.02)  # scores of 1e4 carry errors of 1e-3
    np.testing.assert_allclose(lse, wanted_lse, rtol=1e-5)
    assert all(np.isfinite(x).all() for x in backward(q, k, v, array(6, q.shape), True))


def test_nan_and_infinity_reach_what_depends_on_them_and_no_other_head(form):
    for poison in (np.nan, np.inf):
        q, k, v = (x.copy() for x in views(7, 2, 100, 100, 2, 2, 8))
        k[0, 70, 1, 3] = poison
        out, lse = forward(q, k, v, True)
        assert np.isnan(out[0, 70:, 1]).any(-1).all() if np.isnan(poison) else np.isnan(out[0, 70:, 1]).any()
        assert np.isfinite(out[1]).all() and np.isfinite(out[0, :, 0]).all() and np.isfinite(lse[0, 1, :70]).all()
        assert np.isfinite(out[0, :70, 1]).all()  # the future is not seen
    out, _ = forward(q, np.full_like(k, -np.inf), v, True)  # every score is -inf or +inf: no weights
    assert np.isnan(out).all()


@given(
    sizes=st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 70), st.integers(1, 4)),
    seed=seeds,
)
def test_decoding_is_attention_of_the_last_position_of_each_sequence(form, sizes, seed):
    batch, shared, group, width, page, columns = sizes
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, page * columns + 1, batch)
    table = rng.permutation(batch * columns + 1)[:batch * columns].reshape(batch, columns)
    q = array(seed, (batch, shared * group, width))
    k, v = (array(seed + n, (batch * columns + 1, page, shared, width)) for n in (1, 2))
    out = unwritten(q.shape)
    kernel("attention_decode")(q, k, v, lengths, out, table)
    k, v = (x[table].reshape(batch, page * columns, shared, width) for x in (k, v))
    for b, length in enumerate(lengths):
        wanted = plain(q[b, None, None], k[b, None, :length], v[b, None, :length], False)[0]
        np.testing.assert_allclose(out[b], wanted[0, 0], rtol=0, atol=60 * EPS)
    for order in ((0, 1, 2, 3), (0, 2, 1, 3)):  # a cache without pages, position by position and head by head
        again = unwritten(q.shape)
        caches = (np.ascontiguousarray(x.transpose(order)).transpose(order) for x in (k, v))
        kernel("attention_decode")(q, *caches, lengths, again, threads=2)
        np.testing.assert_allclose(again, out, rtol=0, atol=60 * EPS)


FAULTS = {
    "axes": lambda q, k, v, out, lse: (q[0], k, v, out, lse),
    "dtype": lambda q, k, v, out, lse: (q, k.astype(np.float64), v, out, lse),
    "integers": lambda q, k, v, out, lse: tuple(np.zeros(x.shape, int) for x in (q, k, v, out, lse)),
    "width": lambda q, k, v, out, lse: (q, k[..., :3], v[..., :3], out, lse),
    "heads": lambda q, k, v, out, lse: (q[:, :, :3], k, v, out[:, :, :3], lse[:, :3]),
    "future": lambda q, k, v, out, lse: (q, k[:, :4], v[:, :4], out, lse),
    "lse": lambda q, k, v, out, lse: (q, k, v, out, lse[:, :1]),
    "target": lambda q, k, v, out, lse: (q, k, v, np.broadcast_to(out[:1], out.shape), lse),
    "shared": lambda q, k, v, out, lse: (q, k, v, q, lse),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_arrays_that_do_not_fit_are_refused_in_one_line(form, fault):
    q, k, v = views(8, 2, 5, 5, 4, 2, 8)
    out, lse = unwritten(q.shape), unwritten((2, 4, 5))
    arguments = FAULTS[fault](q, k, v, out, lse)
    with pytest.raises(ValueError, match="^attention_forward: [^\n]+$"):
        kernel("attention_forward")(*arguments)
    q, k, v, out, lse = arguments
    with pytest.raises(ValueError, match="^attention_backward: [^\n]+$"):
        kernel("attention_backward")(q, k, v, out, lse, unwritten(q.shape), unwritten(q.shape), k if fault in ("target", "shared")
                                     else unwritten(k.shape), unwritten(v.shape))


def test_decoding_refuses_lengths_and_pages_that_do_not_exist(form):
    q, cache, out = array(1, (2, 4, 8)), array(2, (3, 5, 2, 8)), unwritten((2, 4, 8))
    lengths, table = np.array([1, 10]), np.array([[0, 1], [2, 0]])
    kernel("attention_decode")(q, cache, cache, lengths, out, table)
    for bad, pages, said in ((np.array([1, 11]), table, "lengths must be 1 to 10"), (np.array([0, 1]), table, "got 0 to 1"),
                             (lengths, table + 1, "pages are 0 to 2; the table names 1 to 3"), (lengths, None, "k must be")):
        with pytest.raises(ValueError, match=f"^attention_decode: .*{said}"):
            kernel("attention_decode")(q, cache, cache, bad, out, pages)


def test_the_packed_function_agrees_with_central_differences(backend):
    x = Tensor(array(11, (2, 5, 16)).astype(np.float64), requires_grad=True)
    gradcheck(lambda x: CausalAttention.apply(x, heads=4, kv_heads=2), x)
    gradcheck(lambda x: CausalAttention.apply(x[:, :, :12], heads=2), x)


def test_the_packed_function_in_lower_precision_and_on_nothing(backend):
    x = array(12, (2, 9, 24))
    wanted = CausalAttention.apply(Tensor(x), heads=4).numpy()
    half = Tensor(x.astype(np.float16), requires_grad=True)
    y = CausalAttention.apply(half, heads=4)
    y.backward(np.ones_like(wanted).astype(np.float16))
    assert y.dtype == half.grad.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), wanted, rtol=0, atol=5e-3)
    assert CausalAttention.apply(Tensor(np.empty((0, 3, 6), np.float32)), heads=2).shape == (0, 3, 2)
    with pytest.raises(ShapeError, match="does not hold 5 heads of q and 5 of k and of v"):
        CausalAttention.apply(Tensor(x), heads=5)
