"""The exported attention: against a loop over queries, in tiles and on kernels against the plain formula."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch as tt
from tinytorch import DTypeError, MultiHeadAttention, Rotary, ShapeError, Tensor, attention, backend, gradcheck
from tinytorch.attention import (
    MaskedSoftmax,
    TiledAttention,
    attend,
    attention_weights,
    causal_mask,
    fold,
    masked_softmax,
    merge_heads,
    nothing_seen,
    padding_mask,
    scaled_dot_product_attention,
    split_heads,
    tiled_attention,
)
from tinytorch.tensor import Storage

both = pytest.mark.parametrize("which", backend.BACKENDS)
shapes = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 8), st.integers(1, 4))


def operands(sizes, dtype="float64", seed=0, requires_grad=False):
    """q, k and v for (B, G, heads a group, T, S, D)."""
    B, G, R, T, S, D = sizes
    rng = np.random.default_rng(seed)
    return [Tensor(rng.normal(size=s), dtype, requires_grad) for s in ((B, G * R, T, D), (B, G, S, D), (B, G, S, D))]


def one_by_one(q, k, v, mask=None, causal=False):
    """Attention of each query of each head by itself."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    out, (T, S) = np.zeros(q.shape), (q.shape[2], k.shape[2])
    for b, h, t in np.ndindex(q.shape[:3]):
        g = h * k.shape[1] // q.shape[1]
        seen = [s for s in range(S) if (not causal or s <= S - T + t) and (mask is None or mask[b, 0, 0, s])]
        scores = [math.exp(q[b, h, t] @ k[b, g, s] / math.sqrt(q.shape[3])) for s in seen]
        out[b, h, t] = sum((w * v[b, g, s] for w, s in zip(scores, seen, strict=True)), np.zeros(q.shape[3])) / (sum(scores) or 1)
    return out


@both
@settings(max_examples=40)
@given(sizes=shapes, causal=st.booleans(), seed=st.integers(0, 99), block=st.integers(1, 9))
def test_every_program_gives_what_a_loop_over_queries_gives(which, sizes, causal, seed, block):
    q, k, v = operands(sizes, seed=seed)
    mask = padding_mask(np.random.default_rng(seed).integers(0, sizes[4] + 1, sizes[0]), sizes[4])
    with backend.backend(which):
        if causal and sizes[3] > sizes[4]:
            for program in (scaled_dot_product_attention, attend):
                with pytest.raises(ShapeError, match="queries are the last positions"):
                    program(q, k, v, causal=True)
            return
        wanted = one_by_one(q, k, v, causal=causal)
        np.testing.assert_allclose(scaled_dot_product_attention(q, k, v, causal=causal).numpy(), wanted, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(TiledAttention.apply(q, k, v, causal=causal, block=block).numpy(), wanted, rtol=1e-9, atol=1e-12)
        hidden = scaled_dot_product_attention(q, k, v, mask, causal).numpy()
        np.testing.assert_allclose(hidden, one_by_one(q, k, v, mask, causal), rtol=1e-9, atol=1e-12)
        sums = attention_weights(q, k, mask, causal).numpy().sum(-1)
        assert (np.isclose(sums, 1) | (sums == 0)).all()


@both
@pytest.mark.parametrize("sizes, causal", [((2, 1, 2, 3, 5, 2), True), ((1, 2, 1, 4, 4, 3), True), ((2, 2, 2, 3, 2, 2), False)])
def test_gradients_agree_with_differences(which, sizes, causal):
    tensors = operands(sizes, requires_grad=True)
    with backend.backend(which):
        assert gradcheck(lambda *t: TiledAttention.apply(*t, causal=causal, block=2), *tensors)
        mask = padding_mask([sizes[4], 1][:sizes[0]], sizes[4])
        assert gradcheck(lambda *t: scaled_dot_product_attention(*t, mask=mask, causal=causal), *tensors)
        assert gradcheck(lambda s: MaskedSoftmax.apply(s, mask=np.array([[True, False, True], [False] * 3])), Tensor(np.eye(2, 3), requires_grad=True))


@both
@pytest.mark.parametrize("dtype, tolerance", [("float16", 2e-2), ("float32", 1e-5)])
def test_precisions(which, dtype, tolerance):
    tensors = operands((2, 2, 2, 5, 7, 8), dtype, requires_grad=True)
    exact = [Tensor(t, "float64", requires_grad=True) for t in tensors]
    with backend.backend(which):
        y, wanted = (TiledAttention.apply(*t, causal=True) for t in (tensors, exact))
        assert y.dtype == dtype
        for output in (y, wanted):
            output.backward(np.ones(output.shape, output.dtype))
    np.testing.assert_allclose(y.numpy(), wanted.numpy(), rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(tensors, exact, strict=True):
        assert ours.grad.dtype == dtype
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=tolerance, atol=tolerance)


def test_what_is_hidden_reaches_nothing_even_as_nan():
    q, k, v = operands((2, 1, 2, 3, 4, 2))
    k.numpy()[1, :, 2:] = np.nan
    weights = attention_weights(q, k, padding_mask([4, 2], 4))
    assert not weights.numpy()[1, ..., 2:].any() and np.isfinite(weights.numpy()).all()
    blind = scaled_dot_product_attention(q, v, v, padding_mask([0, 4], 4)).numpy()
    assert not blind[0].any() and blind[1].all()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 99))
def test_blocks_of_any_width_give_the_softmax_of_all(widths, seed):
    rng, total = np.random.default_rng(seed), sum(widths)
    scores, values = rng.normal(size=(3, total)) * 20, rng.normal(size=(total, 2))
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    state, at = nothing_seen((3,), 2, "float64"), 0
    for width in widths:
        state = fold(state, scores[:, at:at + width], values[at:at + width])
        at += width
    answer, lse = attention.finish(state)
    np.testing.assert_allclose(answer, masked_softmax(scores) @ values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(lse, np.logaddexp.reduce(scores, axis=1, initial=-np.inf), rtol=1e-9)


def test_tiles_hold_no_array_of_all_scores():
    arrays = [t.numpy() for t in operands((1, 1, 1, 600, 600, 4), "float32")]
    tracemalloc.start()
    tiled_attention(*arrays, block=50)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 600 * 600 * 4 / 8
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    Storage.peak_bytes = held = Storage.live_bytes
    y = TiledAttention.apply(*tensors, causal=True)
    y.backward(np.ones(y.shape, "float32"))
    assert Storage.peak_bytes - held < 600 * 600 * 4 / 4


class Shelf:
    """A cache that keeps all it was given."""

    def __init__(self):
        self.k = self.v = None

    def extend(self, k, v):
        new = [t.numpy() if old is None else np.concatenate([old, t.numpy()], axis=2) for old, t in ((self.k, k), (self.v, v))]
        self.k, self.v = new
        return Tensor(self.k), Tensor(self.v)


@both
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-10), ("float32", 1e-4)])
def test_a_layer_with_a_cache_computes_what_it_computes_at_once(which, kv_heads, turns, dtype, tolerance):
    layer = MultiHeadAttention(16, 4, kv_heads, rotary=Rotary(4) if turns else None, rng=np.random.default_rng(1), dtype=dtype)
    x = Tensor(np.random.default_rng(2).normal(size=(2, 7, 16)), dtype)
    with backend.backend(which):
        whole, masked = layer(x), layer(x, mask=np.ones((7, 7), bool))
        cache, at, parts = Shelf(), 0, []
        for n in (3, 1, 2, 1):
            parts.append(layer(x[:, at:at + n], cache=cache, offset=at).numpy())
            at += n
    np.testing.assert_allclose(np.concatenate(parts, 1), whole.numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(masked.numpy(), whole.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("turns", [False, True])
def test_a_layer_trains_alike_on_kernels_and_in_numpy(kv_heads, turns):
    found = {}
    for which in backend.BACKENDS:
        with backend.backend(which):
            layer = MultiHeadAttention(16, 4, kv_heads, rotary=Rotary(4) if turns else None, rng=np.random.default_rng(1))
            x = Tensor(np.random.default_rng(2).normal(size=(2, 5, 16)), "float32", requires_grad=True)
            y = layer(x)
            (y * y).sum().backward()
            found[which] = [y.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())]
    for a, b in zip(*found.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_weights_of_a_layer_are_causal_and_add_up_to_one():
    layer = MultiHeadAttention(8, 2, rotary=Rotary(4))
    weights = layer.weights(Tensor(np.random.default_rng(0).normal(size=(1, 5, 8)), "float32")).numpy()
    assert weights.shape == (1, 2, 5, 5) and not np.triu(weights, 1).any()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_heads_are_views_and_come_back():
    packed = Tensor(np.arange(2 * 3 * 16.0).reshape(2, 3, 16))
    q, k, v = split_heads(packed, 4, 2)
    assert [t.shape for t in (q, k, v)] == [(2, 4, 3, 2), (2, 2, 3, 2), (2, 2, 3, 2)] and q.shares_storage(packed)
    np.testing.assert_array_equal(merge_heads(q).numpy(), packed.numpy()[..., :8])
    np.testing.assert_array_equal(merge_heads(v).numpy(), packed.numpy()[..., 12:])


@pytest.mark.parametrize("attempt, error, message", [
    (lambda: causal_mask(5, 3), ShapeError, "5 queries are the last positions of a text, which has 3"),
    (lambda: padding_mask([1, 9], 8), ValueError, "length 9 is not from 0 to 8"),
    (lambda: MaskedSoftmax.apply(tt.zeros((2, 3)), mask=np.ones((2, 3))), DTypeError, "a mask is of bools, True for what may be seen; got float64"),
    (lambda: MaskedSoftmax.apply(tt.zeros((2, 3)), mask=np.ones((2, 2, 3), bool)), ShapeError, r"mask of shape \(2, 2, 3\) does not stretch"),
    (lambda: attend(*operands((1, 1, 1, 2, 0, 2))), ShapeError, "S at least 1"),
    (lambda: attend(*(t[0] for t in operands((1, 1, 1, 2, 2, 2)))), ShapeError, r"wants \(B, H, T, D\)"),
    (lambda: attend(tt.zeros((1, 3, 2, 4)), tt.zeros((1, 2, 2, 4)), tt.zeros((1, 2, 2, 4))), ShapeError, "H a multiple of G"),
    (lambda: MultiHeadAttention(30, 4), ValueError, "width 30 has to be a multiple of heads 4"),
    (lambda: MultiHeadAttention(32, 4, 3), ValueError, "heads one of kv_heads 3"),
    (lambda: MultiHeadAttention(8, 2)(tt.zeros((2, 3, 7))), ShapeError, r"in_features = 8 on the last axis, got shape \(2, 3, 7\)"),
    (lambda: MultiHeadAttention(8, 2)(tt.zeros((3, 8))), ShapeError, r"shape \(3, 24\) does not hold 2 heads of q and 2 of k"),
])
@both
def test_what_is_refused_says_why(which, attempt, error, message):
    with backend.backend(which), pytest.raises(error, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)
