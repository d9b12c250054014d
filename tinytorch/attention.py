# Exported from modules/tinytorch/12_attention by `mlsys build`; edit the module's source, not this file.

"""Attention: each position takes a weighted average of the values of those that it may see.

    causal_mask, padding_mask                        who may see whom
    attention_weights, scaled_dot_product_attention  with all scores in memory
    TiledAttention                                   the same, a tile of scores at a time, forward and backward
    MultiHeadAttention                               the layer

q has shape (B, H, T, D): batch, heads, positions, width of a head. k and v have (B, G, S, D), and H / G neighbouring heads
of q share one of k and v. Query i stands at position S - T + i: with a cache of earlier keys, the queries are the last.

Errors, each one line that says what it got and what it wanted:

    ShapeError, DTypeError     from tinytorch.tensor
    ValueError                 heads or lengths that do not fit
"""

import math
from typing import NamedTuple

import numpy as np

import tinytorch.autograd  # noqa: F401 -- gives tensors their backward
from tinytorch.layers import Linear, Module
from tinytorch.tensor import DTypeError, Function, ShapeError, float32

BLOCK = 128  # positions in a tile: its scores, 64 KiB in float32, stay in a cache


def check_heads(q, k, v):
    """Raise ShapeError unless q (B, H, T, D), k and v (B, G, S, D) fit, with H a multiple of G and S at least 1."""
    fits = len(q.shape) == len(k.shape) == 4 and k.shape == v.shape and q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3]
    if not fits or k.shape[2] < 1 or k.shape[1] < 1 or q.shape[1] % k.shape[1]:
        raise ShapeError(f"q {q.shape}, k {k.shape} and v {v.shape} do not fit: wants (B, H, T, D) and twice (B, G, S, D), "
                         "H a multiple of G, S at least 1")


def causal_mask(queries, keys=None):
    """True where query i, at position keys - queries + i, may see a key -> bool array (queries, keys).

    keys: as many as queries unless given. Raises ShapeError, with both, if queries are more than keys.
    """
    keys = queries if keys is None else keys
    if queries > keys:
        raise ShapeError(f"{queries} queries are the last positions of a text, which has {keys}")
    return np.arange(keys) <= np.arange(keys - queries, keys)[:, None]


def padding_mask(lengths, keys):
    """True for the first lengths[b] keys of sequence b -> bool array (B, 1, 1, keys).

    lengths: integers (B,), an array or a list. Raises ValueError, with the length and keys, for one below 0 or above keys.
    """
    lengths = np.asarray(lengths, np.int64)
    wrong = (lengths < 0) | (lengths > keys)
    if wrong.any():
        raise ValueError(f"length {lengths[wrong][0]} is not from 0 to {keys}, the number of keys")
    return (np.arange(keys) < lengths[:, None])[:, None, None]


def masked_softmax(scores, mask=None):
    """Softmax over the last axis, of the scores where mask is True; 0 elsewhere, and in rows with nothing to see.

    mask: bool array that stretches to the shape of scores, or None. The result has the dtype of scores.
    """
    seen = scores if mask is None else np.where(mask, scores, -np.inf)
    top = seen.max(-1, keepdims=True, initial=-np.inf)
    weights = np.exp(seen - np.where(np.isneginf(top), 0, top))
    total = weights.sum(-1, keepdims=True)
    weights /= np.where(total == 0, 1, total)
    return weights


def masked_softmax_backward(weights, grad):
    """The gradient for the scores, given the weights and their gradient: arrays of one shape -> array of that shape."""
    return weights * (grad - (weights * grad).sum(-1, keepdims=True))


class MaskedSoftmax(Function):
    """masked_softmax as an operation on scores; the mask, a bool array that stretches to their shape, or None, is a parameter.

    float16 is computed in float32. Raises DTypeError if the mask is not of bools, ShapeError if it does not stretch.
    """

    needs = (("output",),)

    def forward(self, scores, mask=None):
        if mask is not None:
            if mask.dtype != bool:
                raise DTypeError(f"a mask is of bools, True for what may be seen; got {mask.dtype}")
            added = len(scores.shape) - len(mask.shape)
            if added < 0 or any(n not in (1, wide) for n, wide in zip(mask.shape, scores.shape[added:], strict=True)):
                raise ShapeError(f"a mask of shape {mask.shape} does not stretch to scores of shape {scores.shape}")
        wide = scores.astype(float32) if scores.dtype == np.float16 else scores
        return masked_softmax(wide, mask).astype(scores.dtype, copy=False)

    def backward(self, grad):
        return (masked_softmax_backward(self.output, grad),)


def attention_weights(q, k, mask=None, causal=False):
    """The weight that each query gives to each key: q (B, H, T, D), k (B, G, S, D) -> (B, H, T, S); rows add up to 1 or 0.

    mask: bool array that stretches to (B, H, T, S), True for what may be seen. causal: query i, at position S - T + i, sees
    no later key. Raises ShapeError for shapes that do not fit. Source: Vaswani et al. 2017; Ainslie et al. 2023.
    """
    check_heads(q, k, k)
    mask = None if mask is None else np.asarray(mask)
    (B, H, T, D), (G, S) = q.shape, k.shape[1:3]
    if causal:
        visible = causal_mask(T, S)
        mask = visible if mask is None else mask & visible
    if G < H:
        q, k = q.reshape(B, G, H // G, T, D), k.reshape(B, G, 1, S, D).expand(B, G, H // G, S, D)
    scores = (q @ k.transpose()) * (1 / math.sqrt(D))
    return MaskedSoftmax.apply(scores.reshape(B, H, T, S), mask=mask)


def scaled_dot_product_attention(q, k, v, mask=None, causal=False):
    """The average of v by attention_weights(q, k, mask, causal): q (B, H, T, D), k and v (B, G, S, D) -> (B, H, T, D).

    Holds all scores: B H T S numbers, and several arrays of that size at once. Raises ShapeError for shapes that do not fit.
    """
    check_heads(q, k, v)
    weights = attention_weights(q, k, mask, causal)
    (B, H, T, S), (G, D) = weights.shape, (v.shape[1], v.shape[3])
    if G == H:
        return weights @ v
    shared = v.reshape(B, G, 1, S, D).expand(B, G, H // G, S, D)
    return (weights.reshape(B, G, H // G, T, S) @ shared).reshape(B, H, T, D)


def attend(q, k, v, mask=None, causal=False):
    """Attention by the program that suits: in tiles, or with all scores in memory if there is a mask -> (B, H, T, D)."""
    if mask is None:
        return TiledAttention.apply(q, k, v, causal=causal)
    return scaled_dot_product_attention(q, k, v, mask, causal)


def split_heads(packed, heads, kv_heads):
    """q (B, H, T, D), k and v (B, G, T, D) as views of packed (B, T, (H + 2 G) D), where they lie side by side.

    Raises ShapeError, with the shape and the numbers of heads, if the last axis does not hold them.
    """
    together = heads + 2 * kv_heads
    if packed.ndim != 3 or packed.shape[2] % together:
        raise ShapeError(f"shape {packed.shape} does not hold {heads} heads of q and {kv_heads} of k and of v side by side")
    B, T, width = packed.shape
    all_heads = packed.reshape(B, T, together, width // together).transpose(1, 2)
    return all_heads[:, :heads], all_heads[:, heads:heads + kv_heads], all_heads[:, heads + kv_heads:]


def merge_heads(x):
    """(B, H, T, D) -> (B, T, H D), the heads of each position side by side."""
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)


class MultiHeadAttention(Module):
    """Self-attention: x (B, T, width) -> (B, T, width), by heads of width / heads columns each.

    kv_heads: heads of keys and values, each shared by heads / kv_heads of the queries. causal: no position sees a later one.
    rotary: a layer rotary(x, offset) for queries and keys, such as embeddings.Rotary(width // heads).
    Raises ValueError for heads that do not fit. Source: Vaswani et al. 2017; Ainslie et al. 2023.
    """

    def __init__(self, width, heads, kv_heads=None, causal=True, rotary=None, bias=True, rng=None, dtype=float32):
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if min(heads, kv_heads, width) < 1 or width % heads or heads % kv_heads:
            raise ValueError(f"width {width} has to be a multiple of heads {heads}, and heads one of kv_heads {kv_heads}")
        self.heads, self.kv_heads, self.causal = heads, kv_heads, causal
        self.rotary = rotary
        self.qkv = Linear(width, width + 2 * kv_heads * (width // heads), bias, rng, dtype)
        self.out = Linear(width, width, bias, rng, dtype)

    def project(self, x, offset=0):
        """q (B, H, T, D), k and v (B, G, T, D) of x (B, T, width), whose first row stands at position offset."""
        q, k, v = split_heads(self.qkv(x), self.heads, self.kv_heads)
        if self.rotary is not None:
            q, k = self.rotary(q, offset), self.rotary(k, offset)
        return q, k, v

    def forward(self, x, mask=None, cache=None, offset=0):
        """mask: bool array that stretches to (B, H, T, S). cache: extend(k, v) -> all keys and values; offset: how many before x."""
        q, k, v = self.project(x, offset)
        if cache is not None:
            k, v = cache.extend(k, v)
        return self.out(merge_heads(attend(q, k, v, mask, self.causal)))

    def weights(self, x, mask=None, offset=0):
        """What each position of x looks at: attention_weights (B, H, T, T)."""
        q, k, _ = self.project(x, offset)
        return attention_weights(q, k, mask, self.causal)

    def extra_repr(self):
        return f"heads={self.heads}, kv_heads={self.kv_heads}"


class Running(NamedTuple):
    """What is known of softmax(scores) v after some of the scores: top and total (..., T, 1), mixed (..., T, D)."""

    top: np.ndarray
    total: np.ndarray
    mixed: np.ndarray


def nothing_seen(shape, width, dtype):
    """The state before the first block, for queries of this shape (..., T) and values of this width."""
    return Running(np.full((*shape, 1), -np.inf, dtype), np.zeros((*shape, 1), dtype), np.zeros((*shape, width), dtype))


def finish(state):
    """(the average of the values (..., T, D), the log of the sum of exponentials (..., T)); 0 and -inf where nothing was seen."""
    with np.errstate(divide="ignore"):
        lse = (state.top + np.log(state.total))[..., 0]
    return state.mixed / np.where(state.total == 0, 1, state.total), lse


def fold(state, scores, values):
    """The state after a block more: scores (..., T, S), -inf where hidden, and values (..., S, D) -> Running.

    Source: Milakov and Gimelshein 2018; Dao et al. 2022.
    """
    top = np.maximum(state.top, scores.max(-1, keepdims=True, initial=-np.inf))
    base = np.where(np.isneginf(top), 0, top).astype(top.dtype, copy=False)
    shrink, weights = np.exp(state.top - base), np.exp(scores - base)
    return Running(top, state.total * shrink + weights.sum(-1, keepdims=True), state.mixed * shrink + weights @ values)


def tiled_attention(q, k, v, causal=False, block=BLOCK):
    """softmax(q k' / sqrt(D)) v for arrays q (B, H, T, D), k and v (B, G, S, D) -> out (B, H, T, D), lse (B, H, T).

    lse is the log of the sum of exponentials of each query's scores. Holds block x block scores a head at a time.
    Source: Dao et al. 2022.
    """
    (B, H, T, D), (G, S) = q.shape, k.shape[1:3]
    q, k, v = q.reshape(B, G, H // G, T, D), k[:, :, None], v[:, :, None]
    out, lse = np.empty(q.shape, q.dtype), np.empty(q.shape[:-1], q.dtype)
    for i in range(0, T, block):
        rows = q[..., i:i + block, :] * q.dtype.type(1 / math.sqrt(D))
        places = S - T + np.arange(i, i + rows.shape[-2])
        state = nothing_seen(rows.shape[:-1], D, q.dtype)
        for j in range(0, places[-1] + 1 if causal else S, block):
            scores = rows @ k[..., j:j + block, :].swapaxes(-1, -2)
            if causal and j + scores.shape[-1] - 1 > places[0]:
                scores[..., np.arange(j, j + scores.shape[-1]) > places[:, None]] = -np.inf
            state = fold(state, scores, v[..., j:j + block, :])
        out[..., i:i + block, :], lse[..., i:i + block] = finish(state)
    return out.reshape(B, H, T, D), lse.reshape(B, H, T)


def tiled_backward(q, k, v, out, lse, grad, causal=False, block=BLOCK):
    """The gradients for q, k and v, given that for out, (B, H, T, D); out and lse are those of tiled_attention.

    Holds block x block weights a head at a time, each made once more. Source: Dao et al. 2022.
    """
    (B, H, T, D), (G, S), scale = q.shape, k.shape[1:3], q.dtype.type(1 / math.sqrt(q.shape[3]))
    q, out, grad = (a.reshape(B, G, H // G, T, D) for a in (q, out, grad))
    lse, (dk, dv), dq = lse.reshape(B, G, H // G, T, 1), np.zeros((2, B, G, S, D), k.dtype), np.zeros(q.shape, q.dtype)
    k, v = k[:, :, None], v[:, :, None]
    mean = (grad * out).sum(-1, keepdims=True)
    for i in range(0, T, block):
        these = slice(i, i + block)
        rows, changes = q[..., these, :] * scale, grad[..., these, :]
        places = S - T + np.arange(i, i + rows.shape[-2])
        for j in range(0, places[-1] + 1 if causal else S, block):
            keys, values = k[..., j:j + block, :], v[..., j:j + block, :]
            weights = np.exp(rows @ keys.swapaxes(-1, -2) - lse[..., these, :])
            if causal and j + weights.shape[-1] - 1 > places[0]:
                weights[..., np.arange(j, j + weights.shape[-1]) > places[:, None]] = 0
            slopes = weights * (changes @ values.swapaxes(-1, -2) - mean[..., these, :])
            dq[..., these, :] += slopes @ keys * scale
            dk[..., j:j + block, :] += (slopes.swapaxes(-1, -2) @ rows).sum(2)
            dv[..., j:j + block, :] += (weights.swapaxes(-1, -2) @ changes).sum(2)
    return dq.reshape(B, H, T, D), dk, dv


class TiledAttention(Function):
    """scaled_dot_product_attention without a mask as one operation: q (B, H, T, D), k and v (B, G, S, D) -> (B, H, T, D).

    Neither forward nor backward holds an array of T S numbers. float16 is computed in float32. Raises ShapeError for shapes
    that do not fit, and, if causal, for more queries than keys.
    """

    needs = ((0, 1, 2, "output"),) * 3

    def forward(self, q, k, v, causal=False, block=BLOCK):
        check_heads(q, k, v)
        if causal and q.shape[2] > k.shape[2]:
            raise ShapeError(f"{q.shape[2]} queries are the last positions of a text, which has {k.shape[2]}")
        wide = [a.astype(float32) if a.dtype == np.float16 else a for a in (q, k, v)]
        out, self.lse = tiled_attention(*wide, causal, block)
        return out.astype(q.dtype, copy=False)

    def backward(self, grad):
        q, k, v, out = (a.astype(grad.dtype, copy=False) for a in (*self.saved, self.output))
        return tiled_backward(q, k, v, out, self.lse, grad, **self.params)
