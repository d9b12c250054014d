# %% [markdown]
# # TinyTorch 12: Attention
#
# One layer of GPT-2, on 8 sequences of 1024 tokens, makes 25 MB of output. On the way there, written as in the paper, it
# makes 403 MB of scores that nobody asked for, and keeps them for the backward pass, in each of 12 layers. The same
# output can be had without ever holding more than a small tile of them, exactly, by a rearrangement of sums that fits on
# half a page. A second fact is about masks. A common program hides a position by adding −10⁹ to its score. In float16
# that is −∞; and a query that is not allowed to see anything then answers, without an error, with the average of
# everything it was not allowed to see. In this notebook you build attention that does neither.
#
# **Where it sits.** What you write is exported as `tinytorch/attention.py`.
#
# | module | what it takes from here |
# |---|---|
# | 13 transformers | `MultiHeadAttention` in each block; `attention_weights` for its probes |
# | 14 profiling | two programs for one result, on two sides of the roofline's ridge |
# | 18 memoization | `cache` and `offset`: keys and values of earlier tokens are kept, and the queries are few |
#
# **Afterwards you can**
# 1. compute attention with causal and padding masks, and say what a query gets that sees nothing;
# 2. write the gradient of a softmax from its result alone;
# 3. share keys and values among heads without copying them, and say what that saves;
# 4. compute a softmax in one pass over tiles, and attention and its gradients without a T × T array;
# 5. predict bytes and time of both programs, then measure them.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. A check
# shows worked examples and explains the first that fails. Grading runs hidden cases besides. Every exercise is judged by
# itself, except that the layer in section 4 needs its own way of cutting heads. Modules 01, 03, 06 and 11 are all you
# need. Three to four hours are typical.

# %%
#| export
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

# %%
import contextlib

from mlsysbook import answer, case, check, predict, reveal
from tinytorch import Softmax, Storage, Tensor
from tinytorch.embeddings import Rotary


@contextlib.contextmanager
def swapped(**stand_ins):
    """Other functions in the place of some of this notebook, while a check runs: each exercise is judged by itself."""
    before = {name: globals()[name] for name in stand_ins}
    globals().update(stand_ins)
    try:
        yield
    finally:
        globals().update(before)


def followed(compute, *sources):
    """For each source whether the result of compute() comes from it by operations that autograd can follow."""
    steps, before = [], Function.record
    Function.record = lambda function, tensors, output: steps.append((tensors, output))
    try:
        reached = {id(compute())}
    finally:
        Function.record = before
    for tensors, output in reversed(steps):
        reached |= {id(t) for t in tensors} if id(output) in reached else set()
    return [id(source) in reached for source in sources]

# %% [markdown]
# ## 1. Who may see whom
#
# A mask is an array of bools with an entry for each pair of a query and a key: `True`, may see. It stretches to the
# shape of the scores, (B, H, T, S).
#
# **Causal.** A model that predicts the next token must not see it. Queries and keys are positions of one text, and the
# queries are its last T: query i stands at position S − T + i and sees keys 0 to S − T + i. For T = 2 new tokens after
# 2 old ones:
#
# ```
#           key 0  1  2  3
# query 0     [ 1  1  1  0 ]       stands at position 2
# query 1     [ 1  1  1  1 ]       stands at position 3
# ```
#
# **Padding.** Sequences of a batch are filled up to one length S. Of a sequence of length n, keys 0 to n − 1 may be
# seen, by all heads and all queries. The mask has shape (B, 1, 1, S), and S bools a sequence are all that it takes.
#
# **Exercise 1.1** Both masks. More queries than keys have no positions, and lengths are from 0 to S. The messages name
# both numbers, or the wrong length and S.

# %% solution="masks"
#| export
def causal_mask(queries, keys=None):
    """True where query i, at position keys - queries + i, may see a key -> bool array (queries, keys).

    keys: as many as queries unless given. Raises ShapeError, with both, if queries are more than keys.
    """
    ### BEGIN SOLUTION
    keys = queries if keys is None else keys
    if queries > keys:
        raise ShapeError(f"{queries} queries are the last positions of a text, which has {keys}")
    return np.arange(keys) <= np.arange(keys - queries, keys)[:, None]
    ### END SOLUTION


def padding_mask(lengths, keys):
    """True for the first lengths[b] keys of sequence b -> bool array (B, 1, 1, keys).

    lengths: integers (B,), an array or a list. Raises ValueError, with the length and keys, for one below 0 or above keys.
    """
    ### BEGIN SOLUTION
    lengths = np.asarray(lengths, np.int64)
    wrong = (lengths < 0) | (lengths > keys)
    if wrong.any():
        raise ValueError(f"length {lengths[wrong][0]} is not from 0 to {keys}, the number of keys")
    return (np.arange(keys) < lengths[:, None])[:, None, None]
    ### END SOLUTION

# %% check="masks" points=4
def masked(kind, first, keys=None):
    """A mask, or what the message of a refusal names."""
    try:
        return np.asarray(causal_mask(first, keys) if kind == "causal" else padding_mask(first, keys))
    except (ShapeError, ValueError) as error:
        named = first if kind == "causal" else next(n for n in np.asarray(first) if not 0 <= n <= keys)
        return {"refused": type(error).__name__, "named": [str(named) in str(error), str(keys) in str(error)]}

check("masks", [
    case("causal", 2, 4),
    case("causal", 3),
    case("padding", [1, 3], 3),
    case("causal", 7, 5),
], call=masked)

# %% hidden="masks"
def cases(rng):
    for _ in range(2):
        T = int(rng.integers(2, 6))
        yield case("causal", T, behaviour="a query sees itself and what is before it")
        yield case("causal", T, T, behaviour="a query sees itself and what is before it")
    for T in (1, 3, 5):
        yield case("causal", T, T + int(rng.integers(1, 6)), behaviour="queries are the last positions")
    for B, S in ((1, 4), (3, 5), (4, 7)):
        yield case("padding", rng.integers(0, S + 1, B), S, behaviour="the first keys of each sequence")
    yield case("padding", [0, 5, 5], 5, behaviour="the first keys of each sequence")
    for T, S in ((3, 2), (11, 4), (1, 0)):
        yield case("causal", T, S, behaviour="numbers that do not fit are refused and named")
    for lengths in ([2, 17, 1], [0, -3], [9]):
        yield case("padding", lengths, 8, behaviour="numbers that do not fit are refused and named")
    yield case("causal", 0, 3, behaviour="nothing at all")
    yield case("padding", np.zeros(0, "int64"), 3, behaviour="nothing at all")

# %% [markdown]
# ## 2. Scores to weights
#
# A softmax over the keys that a query may see; all others get weight 0, whatever their score is, NaN included, since
# padding may hold anything. A query that sees nothing gets weights 0, and so an answer of zeros. There is no number that
# could be added to hidden scores to bring this about; `True` and `False` have to be used as such.
#
# **Worked example.** Scores (0, ln 3, 7), of which the first two may be seen: weights (1/4, 3/4, 0).
#
# For the gradient, write w for the weights of one query and g for the gradient that comes in for them. The softmax has
# the derivative $\partial w_i / \partial s_j = w_i (\delta_{ij} - w_j)$, so that what goes back is
#
# $$\text{gradient of}\ s_j = w_j \Big(g_j - \sum_i g_i w_i\Big).$$
#
# With w = (1/4, 3/4, 0) and g = (4, 8, 100) the sum is 7, and the gradient (−0.75, 0.75, 0). It is computed from the
# result alone. The scores need not be kept, and the mask needs no second look: where w is 0, nothing goes back. The
# gradients of one query add up to 0, since a softmax does not change when all scores grow by the same number.
#
# **Exercise 2.1** Both directions, on arrays. Scores are float32 or float64, finite or not; a score of −∞ has weight 0
# as if it were hidden. Nothing overflows for scores of ±1000.

# %% solution="masked_softmax"
#| export
def masked_softmax(scores, mask=None):
    """Softmax over the last axis, of the scores where mask is True; 0 elsewhere, and in rows with nothing to see.

    mask: bool array that stretches to the shape of scores, or None. The result has the dtype of scores.
    """
    ### BEGIN SOLUTION
    seen = scores if mask is None else np.where(mask, scores, -np.inf)
    top = seen.max(-1, keepdims=True, initial=-np.inf)
    weights = np.exp(seen - np.where(np.isneginf(top), 0, top))
    total = weights.sum(-1, keepdims=True)
    weights /= np.where(total == 0, 1, total)
    return weights
    ### END SOLUTION


# %% solution="softmax_backward"
#| export
def masked_softmax_backward(weights, grad):
    """The gradient for the scores, given the weights and their gradient: arrays of one shape -> array of that shape."""
    ### BEGIN SOLUTION
    return weights * (grad - (weights * grad).sum(-1, keepdims=True))
    ### END SOLUTION


# %% check="masked_softmax" points=5
check("masked_softmax", [
    case(np.array([0.0, math.log(3), 7.0]), np.array([True, True, False])),
    case(np.array([[1000.0, 1000.0], [-1000.0, -1000.0]])),
    case(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[False, False], [False, True]])),
])

# %% hidden="masked_softmax"
def cases(rng):
    def seen(*shape):
        mask = rng.random(shape) < 0.6
        mask[..., int(rng.integers(shape[-1]))] = True
        return mask

    for shape in ((5,), (3, 4), (2, 3, 4, 5)):
        yield case(rng.normal(size=shape), seen(*shape), behaviour="weights of what may be seen")
        yield case(rng.normal(size=shape) * 3, behaviour="weights of what may be seen")
    yield case(rng.normal(size=(2, 3, 4, 5)), seen(4, 5), behaviour="masks that stretch")
    yield case(rng.normal(size=(2, 3, 4, 5)), seen(2, 1, 1, 5), behaviour="masks that stretch")
    blind = seen(4, 5)
    blind[1] = False
    yield case(rng.normal(size=(4, 5)), blind, behaviour="a query that sees nothing has weights 0")
    yield case(rng.normal(size=(3, 4, 5)).astype("float32"), np.zeros((4, 5), bool), behaviour="a query that sees nothing has weights 0")
    yield case(np.full((2, 3), -np.inf), behaviour="a query that sees nothing has weights 0")
    wild = rng.normal(size=(4, 6))
    wild[:, 2], wild[:, 4] = np.nan, np.inf
    yield case(wild, np.arange(6) % 2 == 1, behaviour="what is hidden may be anything")
    wild[:, 3] = -np.inf
    yield case(wild, np.isin(np.arange(6), [0, 3, 5]), behaviour="what is hidden may be anything")
    for shift in (900.0, -900.0):
        yield case(rng.normal(size=(3, 5)) + shift, seen(3, 5), behaviour="large scores, float32, no keys")
    yield case((rng.normal(size=(3, 5)) * 80).astype("float32"), seen(3, 5), behaviour="large scores, float32, no keys")
    yield case(np.zeros((3, 0)), behaviour="large scores, float32, no keys")

# %% check="softmax_backward" points=3
def pulled_back(weights, grad):
    return np.asarray(masked_softmax_backward(weights, grad))

check("softmax_backward", [
    case(np.array([0.25, 0.75, 0.0]), np.array([4.0, 8.0, 100.0])),
    case(np.array([[0.5, 0.5], [0.0, 0.0]]), np.array([[1.0, 3.0], [5.0, 6.0]])),
], call=pulled_back)

# %% hidden="softmax_backward"
def cases(rng):
    for shape in ((5,), (3, 4), (2, 3, 4, 5)):
        weights = rng.random(shape)
        weights[..., 1] = 0
        yield case(weights / weights.sum(-1, keepdims=True), rng.normal(size=shape), behaviour="what goes back for each score")
    yield case(np.full((4, 4), 0.25), rng.normal(size=(4, 4)), behaviour="as many queries as keys")
    weights = rng.random((4, 6)).astype("float32")
    yield case(weights / weights.sum(-1, keepdims=True), rng.normal(size=(4, 6)).astype("float32"), behaviour="float32, rows of zeros")
    yield case(np.zeros((2, 3)), rng.normal(size=(2, 3)), behaviour="float32, rows of zeros")

# %%
#| export
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

# %% [markdown]
# ## 3. Attention
#
# The score of a query and a key is their product, over √D. The weights are the softmax of the scores, the answer is the
# average of the values with these weights:
#
# $$\text{softmax}\!\left(\frac{q k^{\mathsf T}}{\sqrt{D}}\right) v$$
#
# **Worked example** with D = 1. One query 2; keys 0 and (ln 3)/2; values 10 and 20. The scores are 0 and ln 3, the
# weights 1/4 and 3/4, the answer 17.5.
#
# Why √D? A product of two vectors of D independent numbers with variance 1 has variance D. With D = 64 the scores would
# lie ±8 apart, and the softmax of such scores is nearly 0 or 1; where w is 0 or 1 the gradient above is 0, and nothing
# is learned. Divided by √D the variance is 1 for every D.
#
# **Heads.** H such averages run side by side, each with queries, keys and values of its own, on axis 1. Each may look
# for something else. **Grouped-query attention** (Ainslie et al. 2023) has fewer heads of keys and values, G, so that
# fewer have to be kept while text is generated. Heads 0 to H/G − 1 of q share head 0 of k and v, the next H/G share
# head 1, and so on. Sharing is a matter of strides: `reshape` makes of q's heads two axes (G, H/G), and `expand` gives
# k and v an axis of length H/G with stride 0. Nothing is copied.
#
# **Exercise 3.1** `attention_weights`, with operations on tensors, so that gradients find their way. `MaskedSoftmax`
# has the mask as a parameter: `MaskedSoftmax.apply(scores, mask=mask)`. `mask` and `causal` may both be given; then a
# key must pass both.
#
# **Exercise 3.2** `scaled_dot_product_attention`: what the weights of 3.1 make of the values.

# %% solution="weights"
#| export
def attention_weights(q, k, mask=None, causal=False):
    """The weight that each query gives to each key: q (B, H, T, D), k (B, G, S, D) -> (B, H, T, S); rows add up to 1 or 0.

    mask: bool array that stretches to (B, H, T, S), True for what may be seen. causal: query i, at position S - T + i, sees
    no later key. Raises ShapeError for shapes that do not fit. Source: Vaswani et al. 2017; Ainslie et al. 2023.
    """
    check_heads(q, k, k)
    mask = None if mask is None else np.asarray(mask)
    ### BEGIN SOLUTION
    (B, H, T, D), (G, S) = q.shape, k.shape[1:3]
    if causal:
        visible = causal_mask(T, S)
        mask = visible if mask is None else mask & visible
    if G < H:
        q, k = q.reshape(B, G, H // G, T, D), k.reshape(B, G, 1, S, D).expand(B, G, H // G, S, D)
    scores = (q @ k.transpose()) * (1 / math.sqrt(D))
    return MaskedSoftmax.apply(scores.reshape(B, H, T, S), mask=mask)
    ### END SOLUTION


# %% solution="attend"
#| export
def scaled_dot_product_attention(q, k, v, mask=None, causal=False):
    """The average of v by attention_weights(q, k, mask, causal): q (B, H, T, D), k and v (B, G, S, D) -> (B, H, T, D).

    Holds all scores: B H T S numbers, and several arrays of that size at once. Raises ShapeError for shapes that do not fit.
    """
    check_heads(q, k, v)
    ### BEGIN SOLUTION
    weights = attention_weights(q, k, mask, causal)
    (B, H, T, S), (G, D) = weights.shape, (v.shape[1], v.shape[3])
    if G == H:
        return weights @ v
    shared = v.reshape(B, G, 1, S, D).expand(B, G, H // G, S, D)
    return (weights.reshape(B, G, H // G, T, S) @ shared).reshape(B, H, T, D)
    ### END SOLUTION

# %%
def by_softmax(scores, mask=None):
    """A softmax for the checks; each query sees something there."""
    return Softmax().forward(scores if mask is None else np.where(mask, scores, np.finfo(scores.dtype).min))


def head_arrays(shape, groups, keys, seed, dtype="float64"):
    """q (B, H, T, D), k and v (B, groups, keys, D) from a seed."""
    rng, (B, _, _, D) = np.random.default_rng(seed), shape
    return [rng.normal(size=s).astype(dtype) for s in (shape, (B, groups, keys, D), (B, groups, keys, D))]

# %% check="weights" points=6
def weighed(shape, groups, keys, seed=0, hidden=None, causal=False, dtype="float64", turned=False):
    """Weights for random q and k; hidden: share of keys that a mask hides; turned: q and k are views of other arrays."""
    q, k, _ = head_arrays(shape, groups, keys, seed, dtype)
    mask = None
    if hidden is not None:
        mask = np.random.default_rng(seed + 1).random((shape[0], 1, 1, keys)) >= hidden
        mask[..., 0] = True
    q, k = (Tensor(a.swapaxes(1, 2)).transpose(1, 2) if turned else Tensor(a) for a in (q, k))
    with swapped(masked_softmax=by_softmax, causal_mask=lambda T, S=None: np.tri(T, S or T, (S or T) - T, dtype=bool)):
        made = []
        trail = followed(lambda: made.append(attention_weights(q, k, mask, causal)) or made[0], q, k)
    return {"weights": made[0], "can be followed to q and k": trail}

check("weights", [
    case((1, 1, 2, 4), 1, 3),
    case((1, 2, 3, 4), 1, 3, causal=True),
    case((2, 2, 2, 3), 2, 5, hidden=0.5),
], call=weighed)

# %% hidden="weights"
def cases(rng):
    def seed():
        return int(rng.integers(1 << 30))

    for _ in range(3):
        B, H, T, D, S = (int(n) for n in rng.integers(2, 6, 5))
        yield case((B, H, T, D), H, S, seed(), behaviour="products over the root of D, and their softmax")
    for H, G in ((4, 2), (6, 2), (6, 3), (3, 1)):
        yield case((2, H, 3, 4), G, 5, seed(), behaviour="heads that share keys")
    for T, S in ((4, 4), (2, 6), (1, 5)):
        yield case((2, 2, T, 3), 2, S, seed(), causal=True, behaviour="causal, with as many keys as queries or more")
    yield case((2, 4, 3, 3), 2, 6, seed(), hidden=0.5, behaviour="a mask, alone and together with causal")
    yield case((3, 2, 6, 3), 2, 6, seed(), hidden=0.4, causal=True, behaviour="a mask, alone and together with causal")
    yield case((3, 4, 4, 3), 1, 7, seed(), hidden=0.4, causal=True, behaviour="a mask, alone and together with causal")
    yield case((2, 4, 3, 6), 2, 4, seed(), turned=True, behaviour="views, float32, no queries")
    yield case((2, 2, 3, 8), 2, 4, seed(), dtype="float32", behaviour="views, float32, no queries")
    yield case((2, 2, 0, 4), 1, 3, seed(), behaviour="views, float32, no queries")

# %% check="attend" points=3
def averaged(shape, groups, keys, seed=0, dtype="float64", **options):
    """What attention makes of random values, with random weights in the place of the right ones; and what these were told."""
    q, k, v = map(Tensor, head_arrays(shape, groups, keys, seed, dtype))
    weights = Tensor(np.random.default_rng(seed + 1).random((*shape[:3], keys)).astype(dtype), requires_grad=True)
    told, made = [], []
    with swapped(attention_weights=lambda q, k, mask=None, causal=False: told.append((mask, causal)) or weights * 1):
        trail = followed(lambda: made.append(scaled_dot_product_attention(q, k, v, **options)) or made[0], weights, v)
    return {"output": made[0], "can be followed to weights and v": trail, "mask and causal": told}

check("attend", [case((1, 1, 2, 3), 1, 4), case((1, 4, 2, 3), 2, 3, causal=True)], call=averaged)

# %% hidden="attend"
def cases(rng):
    def seed():
        return int(rng.integers(1 << 30))

    for _ in range(3):
        B, H, T, D, S = (int(n) for n in rng.integers(2, 6, 5))
        yield case((B, H, T, D), H, S, seed(), behaviour="averages of values")
    for H, G in ((4, 2), (6, 3), (6, 2), (3, 1)):
        yield case((2, H, 3, 4), G, 5, seed(), behaviour="heads that share values")
    yield case((2, 2, 3, 4), 2, 3, seed(), mask=np.ones((2, 1, 1, 3), bool), causal=True, behaviour="mask and causal are passed on")
    yield case((2, 2, 3, 4), 1, 3, seed(), mask=np.ones((3, 3), bool), behaviour="mask and causal are passed on")
    yield case((2, 2, 3, 4), 1, 3, seed(), dtype="float32", behaviour="float32, no queries")
    yield case((2, 2, 0, 4), 1, 3, seed(), behaviour="float32, no queries")

# %% [markdown]
# What the formula does, in pictures. Three heads on the text `to be or not to be`, with vectors made by hand: one looks
# for its own word, one for the position before, one at everything. Rows are queries, columns are keys.

# %% show
import matplotlib.pyplot as plt

words = "to be or not to be".split()
word = np.zeros((6, 6))
word[np.arange(6), [sorted(set(words)).index(w) for w in words]] = 4
place = 5 * np.eye(6)
before = place[[0, 0, 1, 2, 3, 4]]
queries, keys = Tensor(np.stack([word, before, 0 * place])[None]), Tensor(np.stack([word, place, place])[None])
weights = attention_weights(queries, keys, causal=True).numpy()[0]
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained", sharey=True)
for axis, head, title in zip(axes, weights, ("the same word", "the position before", "everything"), strict=True):
    image = axis.imshow(head, vmin=0, vmax=1, cmap="Blues")
    axis.set(title=title, xticks=range(6), yticks=range(6), xticklabels=words, yticklabels=words)
    print(f"{title:20} last query:", " ".join(f"{word} {w:.2f}" for word, w in zip(words, head[-1], strict=True)))
figure.colorbar(image, ax=axes, label="weight")
plt.show()

# %% [markdown]
# The same heads under your hands: make the scores larger or smaller, as if √D were another number, and take the mask away.
# Without widgets the panel is a picture; assigned to a name, `panel.at(sharpness=0.2)` asks for another.

# %% show
from mlsysbook import explore, pick, slider

HEADS = ("the same word", "the position before", "everything")


def looked(head, sharpness, causal):
    h = HEADS.index(head)
    return attention_weights(queries[:, h:h + 1] * sharpness, keys[:, h:h + 1], causal=causal == "yes").numpy()[0, 0]


def heat_map(axes, weights, settings):
    axes.imshow(weights, vmin=0, vmax=1, cmap="Blues")
    axes.set(xticks=range(6), yticks=range(6), xticklabels=words, yticklabels=words, xlabel="key", ylabel="query", title=settings["head"])
    for (i, j), w in np.ndenumerate(weights):
        axes.annotate(f"{w:.2f}", (j, i), ha="center", va="center", color="white" if w > 0.5 else "black", fontsize=7)


def first_and_last_query(weights, settings):
    gives = (", ".join(f"{word} {w:.2f}" for word, w in zip(words, row, strict=True)) for row in weights[[0, -1]])
    return "the first query gives {}; the last one gives {}".format(*gives)


explore(looked, {"head": pick(*HEADS), "sharpness": slider(0.05, 5.0, start=1.0, log=True), "causal": pick("yes", "no")},
        draw=heat_map, say=first_and_last_query)

# %% [markdown]
# ## 4. The layer
#
# `MultiHeadAttention` makes q, k and v of one input x (B, T, width) by a single `Linear` called `qkv`, whose output
# holds all heads of q side by side, then those of k, then those of v: (H + 2 G) · D columns, with D = width / H. One
# product is larger than three, and larger products run closer to the peak.
#
# **Worked example.** H = 2, G = 1, D = 2: a row of `qkv` has 8 columns, `q₀ q₀ q₁ q₁ k₀ k₀ v₀ v₀`. The columns of a head
# are neighbours in memory, and heads are to become axis 1: (B, T, heads, D) comes first, then the axes change places.
# A reshape straight to (B, heads, T, D) has the right shape and mixes positions with heads.
#
# **Exercise 4.1** `split_heads` and its way back. No element is copied by `split_heads`.
#
# **Exercise 4.2** `project` and `forward` of the layer.
#
# * Queries and keys, and not values, are turned by `rotary`, if there is one. The first row of x stands at `offset`.
# * A `cache` has a method `extend(k, v)`. It is given the new keys and values, as they come from `project`, and returns
#   all that are to be seen, the old ones first: what is cached has been turned already.
# * `attend(q, k, v, mask, causal)` below chooses between the two programs of this notebook; `self.causal` says whether
#   later keys are hidden.
# * The heads of each position, side by side again, go through `out`.

# %%
#| export
def attend(q, k, v, mask=None, causal=False):
    """Attention by the program that suits: in tiles, or with all scores in memory if there is a mask -> (B, H, T, D)."""
    if mask is None:
        return TiledAttention.apply(q, k, v, causal=causal)
    return scaled_dot_product_attention(q, k, v, mask, causal)

# %% solution="heads"
#| export
def split_heads(packed, heads, kv_heads):
    """q (B, H, T, D), k and v (B, G, T, D) as views of packed (B, T, (H + 2 G) D), where they lie side by side.

    Raises ShapeError, with the shape and the numbers of heads, if the last axis does not hold them.
    """
    ### BEGIN SOLUTION
    together = heads + 2 * kv_heads
    if packed.ndim != 3 or packed.shape[2] % together:
        raise ShapeError(f"shape {packed.shape} does not hold {heads} heads of q and {kv_heads} of k and of v side by side")
    B, T, width = packed.shape
    all_heads = packed.reshape(B, T, together, width // together).transpose(1, 2)
    return all_heads[:, :heads], all_heads[:, heads:heads + kv_heads], all_heads[:, heads + kv_heads:]
    ### END SOLUTION


def merge_heads(x):
    """(B, H, T, D) -> (B, T, H D), the heads of each position side by side."""
    ### BEGIN SOLUTION
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)
    ### END SOLUTION


# %% solution="multihead"
#| export
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
        ### BEGIN SOLUTION
        q, k, v = split_heads(self.qkv(x), self.heads, self.kv_heads)
        if self.rotary is not None:
            q, k = self.rotary(q, offset), self.rotary(k, offset)
        return q, k, v
        ### END SOLUTION

    def forward(self, x, mask=None, cache=None, offset=0):
        """mask: bool array that stretches to (B, H, T, S). cache: extend(k, v) -> all keys and values; offset: how many before x."""
        ### BEGIN SOLUTION
        q, k, v = self.project(x, offset)
        if cache is not None:
            k, v = cache.extend(k, v)
        return self.out(merge_heads(attend(q, k, v, mask, self.causal)))
        ### END SOLUTION

    def weights(self, x, mask=None, offset=0):
        """What each position of x looks at: attention_weights (B, H, T, T)."""
        q, k, _ = self.project(x, offset)
        return attention_weights(q, k, mask, self.causal)

    def extra_repr(self):
        return f"heads={self.heads}, kv_heads={self.kv_heads}"

# %% check="heads" points=4
def cut(shape, heads, kv_heads, dtype="float64"):
    """The parts of an array of consecutive numbers, whether they are views, and what merging them gives."""
    packed = Tensor(np.arange(math.prod(shape)).reshape(shape).astype(dtype))
    try:
        parts = split_heads(packed, heads, kv_heads)
    except ShapeError as error:
        return {"named": [str(shape) in str(error), str(heads) in str(error), str(kv_heads) in str(error)]}
    merged = [merge_heads(Tensor(part.numpy())) for part in parts]
    return {"parts": list(parts), "views": [part.shares_storage(packed) for part in parts], "merged": merged}

check("heads", [case((1, 2, 8), 2, 1), case((1, 3, 6), 1, 1), case((2, 3, 7), 2, 1)], call=cut)

# %% hidden="heads"
def cases(rng):
    for H, G in ((2, 2), (4, 2), (4, 1), (3, 3)):
        B, T, D = (int(n) for n in rng.integers(2, 5, 3))
        yield case((B, T, (H + 2 * G) * D), H, G, behaviour="heads as axis 1, and back")
    yield case((1, 4, 6), 1, 1, behaviour="one head, one position, float32")
    yield case((2, 1, 16), 4, 2, behaviour="one head, one position, float32")
    yield case((2, 3, 8), 2, 1, "float32", behaviour="one head, one position, float32")
    yield case((0, 3, 8), 2, 1, behaviour="one head, one position, float32")
    for shape, H, G in (((2, 3, 20), 4, 2), ((4, 16), 2, 1), ((2, 3, 13), 11, 3)):
        yield case(shape, H, G, behaviour="a width that does not hold the heads is refused and named")

# %% check="multihead" points=6 covers="heads,multihead"
class Shelf:
    """A cache that holds keys and values from a seed, and puts the new ones behind them."""

    def __init__(self, held, seed):
        self.held, self.rng, self.got = held, np.random.default_rng(seed), None

    def extend(self, k, v):
        self.got = k.numpy().copy(), v.numpy().copy()
        old = [self.rng.normal(size=(*t.shape[:2], self.held, t.shape[3])) for t in (k, v)]
        return tuple(Tensor(np.concatenate([a, t.numpy()], axis=2)) for a, t in zip(old, (k, v), strict=True))


def some_mixture(q, k, v, mask=None, causal=False):
    """In the place of attention: of each operand each number counts, and so do mask and causal."""
    groups = Tensor(np.arange(1.0, k.shape[1] + 1)[:, None, None])
    places = Tensor(np.cos(np.arange(k.shape[2]))[:, None])
    seen = 0.0 if mask is None else float(mask.sum())
    return q * 3 + ((k * 2 + v * v) * groups * places).sum(axis=(1, 2)).reshape(q.shape[0], 1, 1, q.shape[3]) + (0.5 * causal + seen)


def layered(shape, heads, kv_heads, seed=0, causal=True, turns=False, held=None, mask=None, offset=0):
    """Output of a layer whose attention is some_mixture; turns: with rotary, held: keys in a cache."""
    rng = np.random.default_rng(seed)
    width = shape[-1]
    layer = MultiHeadAttention(width, heads, kv_heads, causal, Rotary(width // heads) if turns else None, rng=rng, dtype="float64")
    cache, made = None if held is None else Shelf(held, seed), []
    x = Tensor(rng.normal(size=shape))
    with swapped(attend=some_mixture):
        trail = followed(lambda: made.append(layer.forward(x, mask=mask, cache=cache, offset=offset)) or made[0], x, layer.qkv.weight)
    return {"output": made[0], "followed to x and qkv": trail if cache is None else None, "cached": cache and cache.got}

check("multihead", [
    case((1, 2, 4), 2, 2),
    case((2, 3, 8), 4, 2, turns=True, offset=5),
    case((1, 1, 4), 2, 1, held=3),
], call=layered)

# %% hidden="multihead"
def cases(rng):
    def seed():
        return int(rng.integers(1 << 30))

    for H, G in ((2, 2), (4, 4), (1, 1)):
        yield case((2, 3, H * 3), H, G, seed(), behaviour="heads are made, mixed and put together")
    for H, G in ((4, 2), (4, 1), (6, 3)):
        yield case((2, 3, H * 2), H, G, seed(), behaviour="fewer heads of keys and values")
    for offset in (0, 3, 100):
        yield case((2, 4, 8), 2, 1, seed(), turns=True, offset=offset, behaviour="queries and keys are turned, from offset on")
    yield case((2, 3, 8), 2, 2, seed(), causal=False, behaviour="causal and mask are passed on")
    yield case((2, 3, 8), 2, 2, seed(), mask=rng.random((2, 1, 1, 3)) < 0.5, behaviour="causal and mask are passed on")
    for turns in (False, True):
        yield case((2, 2, 8), 2, 1, seed(), turns=turns, held=3, offset=3, behaviour="a cache gets turned keys and gives all of them")

# %% [markdown]
# ## 5. A softmax that never sees all its scores
#
# The scores of a query arrive in blocks. After each block, keep three things: `top`, the largest score so far; `total`,
# the sum of exp(score − top) so far; `mixed`, the sum of exp(score − top) · value so far. In the end, `mixed / total` is
# the answer.
#
# When a block brings a larger score, `top` changes, and everything that was summed with the old one is too large by
# the factor exp(new − old). One multiplication puts that right (Milakov and Gimelshein 2018).
#
# **Worked example.** Scores ln 1, ln 3 | ln 4 and values 10, 20 | 30.
#
# | after | top | total | mixed |
# |---|---|---|---|
# | nothing | −∞ | 0 | 0 |
# | the first block | ln 3 | 1/3 + 1 = 4/3 | 10/3 + 20 = 70/3 |
# | the second | ln 4 | 4/3 · 3/4 + 1 = 2 | 70/3 · 3/4 + 30 = 47.5 |
#
# The answer is 47.5 / 2 = 23.75, and so is (1 · 10 + 3 · 20 + 4 · 30) / 8. Nothing was approximated.
#
# **Exercise 5.1** `fold` takes one block in. A score of −∞ is hidden. A block, and everything before it, may be hidden
# whole; that adds nothing, and must not make NaN of −∞ − (−∞).

# %%
#| export
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

# %% solution="fold"
#| export
def fold(state, scores, values):
    """The state after a block more: scores (..., T, S), -inf where hidden, and values (..., S, D) -> Running.

    Source: Milakov and Gimelshein 2018; Dao et al. 2022.
    """
    ### BEGIN SOLUTION
    top = np.maximum(state.top, scores.max(-1, keepdims=True, initial=-np.inf))
    base = np.where(np.isneginf(top), 0, top).astype(top.dtype, copy=False)
    shrink, weights = np.exp(state.top - base), np.exp(scores - base)
    return Running(top, state.total * shrink + weights.sum(-1, keepdims=True), state.mixed * shrink + weights @ values)
    ### END SOLUTION

# %% check="fold" points=6
def folded(blocks):
    """The state after blocks (scores, values), and what it comes to."""
    scores, values = blocks[0]
    state = nothing_seen(scores.shape[:-1], values.shape[-1], scores.dtype)
    for scores, values in blocks:
        state = fold(state, scores, values)
    return {"state": tuple(np.asarray(part) for part in state), "answer": finish(state)}

check("fold", [
    case([(np.log([[1.0, 3.0]]), np.array([[10.0], [20.0]])), (np.log([[4.0]]), np.array([[30.0]]))]),
    case([(np.array([[-np.inf, -np.inf]]), np.ones((2, 1))), (np.array([[0.0, -np.inf]]), np.array([[5.0], [7.0]]))]),
], call=folded)

# %% hidden="fold"
def cases(rng):
    def blocks(widths, scale=1.0, shift=0.0, leading=(3,), dtype="float64"):
        return [((rng.normal(size=(*leading, n)) * scale + shift).astype(dtype), rng.normal(size=(*leading[:-1], n, 2)).astype(dtype))
                for n in widths]

    for widths in ((3, 4), (2, 2, 2, 2), (1, 5, 1), (4,)):
        yield case(blocks(widths), behaviour="any cut gives the same")
    for shift in (800.0, -800.0):
        yield case(blocks((3, 2, 4), shift=shift), behaviour="large scores, rising and falling")
    yield case([(s + 100.0 * k, v) for k, (s, v) in enumerate(blocks((2, 2, 2)))], behaviour="large scores, rising and falling")
    yield case([(s - 100.0 * k, v) for k, (s, v) in enumerate(blocks((2, 2, 2)))], behaviour="large scores, rising and falling")
    hidden = blocks((3, 3, 3))
    for at in (0, 2):
        hidden[at][0][1:] = -np.inf
    yield case(hidden, behaviour="blocks that are hidden, in part or whole")
    yield case([(np.full((2, 3), -np.inf), rng.normal(size=(3, 2)))] * 2, behaviour="blocks that are hidden, in part or whole")
    hidden = blocks((2, 3))
    hidden[0][0][:] = -np.inf
    yield case(hidden, behaviour="blocks that are hidden, in part or whole")
    yield case(blocks((2, 3), leading=(2, 2, 3), dtype="float32"), behaviour="batches and heads, float32")

# %% [markdown]
# ## 6. Attention in tiles
#
# Cut the queries into blocks, and for each of them go through the keys block by block. The scores of a block of queries
# and a block of keys are a **tile**. It is made, folded into the state, and forgotten. The arithmetic is that of
# section 3 and a little more. The T × S array is gone (Dao et al. 2022, FlashAttention).
#
# With `causal`, tiles beyond the diagonal hold nothing but hidden scores. Those are not computed at all, which saves
# nearly half of the work.
#
# The backward pass needs the weights again. Instead of keeping them, it makes each tile once more, from q and k. One
# number for each query was kept for that, `lse`, the log of its sum of exponentials: the weights of a tile are
# exp(scores − lse). The softmax's gradient also needs $\sum_i g_i w_i$ over all keys, of which a tile holds a few. But
# $g_i$ is the product of the incoming gradient $G$ with value i, so that
#
# $$\sum_i g_i w_i = \sum_i (G \cdot v_i)\, w_i = G \cdot \sum_i w_i v_i = G \cdot O,$$
#
# where O is the answer, which is there already. **Worked example**, weights (1/4, 3/4), values 10 and 20, answer 17.5,
# G = 2: the sum is 35 either way, and the gradients of the two scores are 1/4 · (20 − 35) and 3/4 · (40 − 35), ∓3.75.
#
# **Exercise 6.1** `tiled_attention` on arrays. No tile is larger than `block` by `block`; states are made by
# `nothing_seen`, `fold` and `finish` alone. Tiles in which nothing is to be seen are not made. Shared heads of k and v
# are not copied.
#
# **Exercise 6.2** `tiled_backward` on arrays, with tiles of the same size.

# %% solution="tiled"
#| export
def tiled_attention(q, k, v, causal=False, block=BLOCK):
    """softmax(q k' / sqrt(D)) v for arrays q (B, H, T, D), k and v (B, G, S, D) -> out (B, H, T, D), lse (B, H, T).

    lse is the log of the sum of exponentials of each query's scores. Holds block x block scores a head at a time.
    Source: Dao et al. 2022.
    """
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% solution="tiled_backward"
#| export
def tiled_backward(q, k, v, out, lse, grad, causal=False, block=BLOCK):
    """The gradients for q, k and v, given that for out, (B, H, T, D); out and lse are those of tiled_attention.

    Holds block x block weights a head at a time, each made once more. Source: Dao et al. 2022.
    """
    ### BEGIN SOLUTION
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
    ### END SOLUTION

# %%
def noted(tiles):
    """Stand-ins for nothing_seen, fold and finish, which put blocks aside, and note the shapes of tiles."""
    def take(state, scores, values):
        tiles.append(scores.shape)
        return [*state, (scores.copy(), values)]

    def combine(state):
        scores = np.concatenate([s for s, _ in state], axis=-1)
        weights, ends = Softmax().forward(scores), np.cumsum([s.shape[-1] for s, _ in state])[:-1]
        out = sum(w @ values for w, (_, values) in zip(np.split(weights, ends, axis=-1), state, strict=True))
        return out, np.logaddexp.reduce(scores, axis=-1)

    return {"nothing_seen": lambda shape, width, dtype: [], "fold": take, "finish": combine}

# %% check="tiled" points=7
def in_tiles(shape, groups, keys, block, seed=0, causal=False, dtype="float64"):
    """Output and lse, whether tiles were as small as asked for, and how many scores were made, by whole tiles."""
    q, k, v = head_arrays(shape, groups, keys, seed, dtype)
    tiles = []
    with swapped(**noted(tiles)):
        out, lse = tiled_attention(q, k, v, causal, block)
    return {"output": np.asarray(out), "lse": np.asarray(lse),
            "tiles are small": all(t[-1] <= block and t[-2] <= block for t in tiles), "scores": sum(math.prod(t) for t in tiles)}

check("tiled", [
    case((1, 1, 4, 2), 1, 4, 2),
    case((1, 2, 4, 2), 1, 4, 2, causal=True),
    case((1, 1, 3, 2), 1, 5, 2, causal=True),
], call=in_tiles)

# %% hidden="tiled"
def cases(rng):
    def seed():
        return int(rng.integers(1 << 30))

    for T, S, block in ((6, 6, 3), (4, 8, 2), (6, 2, 2), (8, 8, 8)):
        yield case((2, 2, T, 3), 2, S, block, seed(), behaviour="blocks that fit")
    for T, S, block in ((7, 7, 3), (5, 9, 4), (1, 5, 2), (3, 2, 5)):
        yield case((2, 2, T, 3), 2, S, block, seed(), behaviour="a last block that is smaller")
    for T, S, block in ((8, 8, 2), (7, 7, 3), (5, 5, 1)):
        yield case((2, 2, T, 3), 2, S, block, seed(), causal=True, behaviour="causal: no tile beyond the diagonal")
    for T, S, block in ((3, 8, 2), (1, 7, 3), (4, 9, 4)):
        yield case((2, 2, T, 3), 2, S, block, seed(), causal=True, behaviour="causal, with more keys than queries")
    for H, G in ((4, 2), (3, 1), (6, 3)):
        yield case((2, H, 5, 3), G, 5, 2, seed(), causal=bool(H % 2), behaviour="heads that share keys and values")
    yield case((2, 2, 6, 8), 1, 6, 4, seed(), dtype="float32", behaviour="float32, no queries")
    yield case((2, 2, 0, 3), 1, 4, 2, seed(), behaviour="float32, no queries")

# %% check="tiled_backward" points=6
def back_in_tiles(shape, groups, keys, block, seed=0, causal=False, dtype="float64"):
    """The gradients for q, k and v of random arrays, given a random one for the output."""
    q, k, v = head_arrays(shape, groups, keys, seed, dtype)
    wide = [np.repeat(a, shape[1] // groups, axis=1) for a in (k, v)]
    scores = q @ wide[0].swapaxes(2, 3) / math.sqrt(shape[3])
    if causal:
        scores = np.where(np.tri(shape[2], keys, keys - shape[2], dtype=bool), scores, -np.inf)
    lse = np.logaddexp.reduce(scores, axis=-1)
    out, grad = Softmax().forward(scores) @ wide[1], np.random.default_rng(seed + 1).normal(size=q.shape)
    parts = tiled_backward(q, k, v, out.astype(dtype), lse.astype(dtype), grad.astype(dtype), causal, block)
    return [np.asarray(part) for part in parts]

check("tiled_backward", [
    case((1, 1, 2, 2), 1, 2, 1),
    case((1, 2, 3, 2), 1, 3, 2, causal=True),
], call=back_in_tiles)

# %% hidden="tiled_backward"
def cases(rng):
    def seed():
        return int(rng.integers(1 << 30))

    for T, S, block in ((6, 6, 3), (4, 8, 2), (8, 8, 8)):
        yield case((2, 2, T, 3), 2, S, block, seed(), behaviour="blocks that fit")
    for T, S, block in ((7, 7, 3), (5, 9, 4), (1, 5, 2)):
        yield case((2, 2, T, 3), 2, S, block, seed(), behaviour="a last block that is smaller")
    for T, S, block in ((8, 8, 2), (7, 7, 3), (3, 8, 2), (1, 7, 3)):
        yield case((2, 2, T, 3), 2, S, block, seed(), causal=True, behaviour="causal, also with more keys than queries")
    for H, G in ((4, 2), (3, 1), (6, 3)):
        yield case((2, H, 5, 3), G, 5, 2, seed(), causal=bool(H % 2), behaviour="gradients of shared heads are added up")
    yield case((2, 2, 6, 8), 1, 6, 4, seed(), dtype="float32", behaviour="float32, no queries")
    yield case((2, 2, 0, 3), 1, 4, 2, seed(), behaviour="float32, no queries")

# %%
#| export
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

# %% [markdown]
# Both programs on the same operands. What differs between them is rounding.

# %% show
rng = np.random.default_rng(0)
arrays = [rng.normal(size=s) for s in ((2, 4, 300, 16), (2, 2, 300, 16), (2, 2, 300, 16))]
results = []
for program in (lambda *qkv: TiledAttention.apply(*qkv, causal=True, block=64),
                lambda *qkv: scaled_dot_product_attention(*qkv, causal=True)):
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = program(*tensors)
    (y * y).sum().backward()
    results.append([y.numpy(), *(t.grad.numpy() for t in tensors)])
for name, tiled, plain in zip(("output", "for q", "for k", "for v"), *results, strict=True):
    print(f"{name:7} largest difference {abs(tiled - plain).max():.1e}, largest number {abs(plain).max():.1f}")
layer = MultiHeadAttention(32, 4, kv_heads=2, rotary=Rotary(8))
print(layer)
for attempt in (lambda: MultiHeadAttention(30, 4), lambda: MultiHeadAttention(32, 4, kv_heads=3),
                lambda: layer(Tensor(np.ones((2, 5, 31)))),
                lambda: attention_weights(tensors[0], tensors[1], mask=np.ones((2, 300))), lambda: causal_mask(5, 3),
                lambda: attention_weights(tensors[0], tensors[1][:, :, :, :8]), lambda: padding_mask([3, 9], 8)):
    try:
        attempt()
    except (ValueError, TypeError) as error:
        print(f"{type(error).__name__:10} {error}")

# %% [markdown]
# ## 7. What it costs
#
# Estimate or predict, then measure. A prediction is locked when you run its cell, and the measurement below refuses to
# run before.

# %% show
import time
import tracemalloc


def best_of(f, repeat=5):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_of(f):
    """The most memory during f() by tracemalloc, and the most in storages, in bytes, over what there was before."""
    tracemalloc.start()
    Storage.peak_bytes = held = Storage.live_bytes
    f()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most, Storage.peak_bytes - held


def operands(T, H=1, D=16):
    return [Tensor(np.random.default_rng(T + n).normal(size=(1, H, T, D)), "float32", requires_grad=True) for n in range(3)]

# %% [markdown]
# ### 7.1 Bytes of scores
#
# A model with 32 heads is trained on texts of 4096 tokens, 4 of them at a time, in float16. The weights of one layer are
# kept for the backward pass. How many bytes are that?

# %% answer="score_bytes" points=2
score_bytes = ""  # a number with its unit, such as "16 MB"
### BEGIN SOLUTION
score_bytes = f"{4 * 32 * 4096**2 * 2} B"
### END SOLUTION

# %% key="score_bytes"
from mlsysbook import Key, Mistake


def key(v):
    batch, heads, length, size = 4, 32, 4096, 2
    return Key(batch * heads * length**2 * size, "B", tol=0.02, mistakes=(
        Mistake(heads * length**2 * size, 0.5, "each of the 4 texts has scores of its own"),
        Mistake(batch * length**2 * size, 0.5, "each head has scores of its own"),
        Mistake(batch * heads * length**2 * 4, 0.5, "a float16 takes 2 bytes"),
        Mistake(batch * heads * length * size, 0.25, "there is a score for each pair of a query and a key"),
    ))

# %% [markdown]
# Forward and backward of `scaled_dot_product_attention` are measured for 512, 1024 and 2048 positions. **By what factor
# does the peak grow from 1024 to 2048 positions?**

# %% predict="growth" points=1
# predict("growth", "number", low="number", high="number")
### BEGIN SOLUTION
predict("growth", "3.9", low="3.3", high="4.2")
### END SOLUTION

# %% [markdown]
# And **how many times less does `TiledAttention` take at 2048 positions**, tiles of 128, forward and backward?

# %% predict="tiles_gain" points=1
# predict("tiles_gain", "number", low="number", high="number")
### BEGIN SOLUTION
predict("tiles_gain", "50", low="20", high="100")
### END SOLUTION

# %% show
programs = {"all scores": lambda q, k, v: scaled_dot_product_attention(q, k, v, causal=True),
            "in tiles": lambda q, k, v: TiledAttention.apply(q, k, v, causal=True)}
peaks, seconds = {}, {}
for T in (512, 1024, 2048):
    for name, program in programs.items():
        tensors = operands(T)

        def step(program=program, tensors=tensors):
            y = program(*tensors)
            y.backward(np.ones(y.shape, y.dtype))

        peaks[name, T], stored = peak_of(step)
        seconds[name, T] = best_of(step, 2)
        print(f"{T:5} positions, {name:10}: peak {peaks[name, T] / 1e6:7.2f} MB, of it in storages {stored / 1e6:6.2f} MB, "
              f"{seconds[name, T] * 1e3:7.1f} ms")
reveal("growth", f"{peaks['all scores', 2048] / peaks['all scores', 1024]:.3g}")
reveal("tiles_gain", f"{peaks['all scores', 2048] / peaks['in tiles', 2048]:.3g}")
figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, marker in zip(programs, "os", strict=True):
    axis.loglog((512, 1024, 2048), [peaks[name, T] / 1e6 for T in (512, 1024, 2048)], marker=marker, label=name, base=2)
axis.set(xlabel="positions", ylabel="peak in MB", title="One head, forward and backward", xticks=(512, 1024, 2048))
axis.xaxis.set_major_formatter("{x:.0f}")
axis.legend()
plt.show()
tensors = None

# %% [markdown]
# One line has slope 2, the other slope 1: q, k, v, their gradients and the output, all linear in T. In time, the tiled
# program pays for making each tile twice and for hundreds of small calls from Python. For short texts that is the larger
# price; for long ones the traffic of the T × T arrays is. And the calls are not in the algorithm: the framework runs the
# reference's `TiledAttention` as one compiled kernel.
#
# ### 7.2 What skipping saves
#
# Tiles beyond the diagonal are skipped. For 2048 positions and tiles of 128, there are 16 × 16 tiles. **How long does
# the causal program take, in percent of the one that sees everything?** Both forward alone.

# %% predict="causal_share" points=1
# predict("causal_share", "number %", low="number %", high="number %")
### BEGIN SOLUTION
predict("causal_share", "58 %", low="50 %", high="80 %")
### END SOLUTION

# %% show
arrays = [t.numpy() for t in operands(2048)]
part = whole = math.inf
for _ in range(12):                         # in turns, so that a disturbance hits both
    whole = min(whole, best_of(lambda: tiled_attention(*arrays), 1))
    part = min(part, best_of(lambda: tiled_attention(*arrays, causal=True), 1))
reveal("causal_share", f"{100 * part / whole:.3g} %")
print(f"tiles: {16 * 17 // 2} of {16 * 16}, {100 * 17 / 32:.1f} %; time: {part * 1e3:.1f} of {whole * 1e3:.1f} ms")
arrays = None

# %% [markdown]
# ### 7.3 Where attention becomes the larger part
#
# A layer of width W multiplies each position by four W × W matrices (q, k, v and out, with G = H), and computes two
# products of T × T scores with vectors of all heads. Count a multiplication and an addition as two operations, and count
# all scores, not half of them. For W = 1024: at how many positions do the scores and averages cost as much as the four
# matrices?

# %% answer="crossover" points=2
crossover = ""  # positions, a number such as "100"
### BEGIN SOLUTION
crossover = f"{2 * 1024}"
### END SOLUTION

# %% key="crossover"
def key(v):
    width = 1024  # 4 matrices: 8 T W² operations; scores and averages: 4 T² W
    return Key(2 * width, "", tol=0.02, mistakes=(
        Mistake(4 * width, 0.5, "there are two products of T² W: the scores, and the averages of the values"),
        Mistake(width, 0.5, "four matrices take 8 T W² operations, the two products 4 T² W"),
        Mistake(width / 2, 0.25, "it is the other way round: 8 T W² = 4 T² W"),
    ))

# %% [markdown]
# Up to some thousand positions, the term that is quadratic in T is not what a model's time goes into; its memory is.
# That is why tiles, which save no operation, changed what lengths can be trained.
#
# ## 8. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="flash" points=4
# A colleague says: "FlashAttention is an approximation, it computes more operations than the standard program, and the
# backward pass recomputes everything, so it can only be slower. And for long texts we should hide padding by adding
# −10⁹ anyway, which the tiles make difficult." In six to ten sentences: say what of it is wrong and what is right, with
# the quantity that limits each program on a roofline; what is kept between forward and backward, and why it suffices;
# when tiles gain little; and what goes wrong with −10⁹, in two cases.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. It is exact up to rounding (rescaled sums); it does compute more operations (tiles made twice). The standard program
#    is limited by memory traffic of T × S arrays, at low intensity; tiles stay in cache, so that more operations with far
#    less traffic take less time.
# 2. q, k, v, the output and one lse a query are kept: exp(score − lse) gives a tile's weights, and the sum in the softmax
#    gradient is the product of incoming gradient and output, so that no pass over all keys is needed.
# 3. Little gain: short texts (scores fit in cache, or projections and MLP dominate), or one query at a time when decoding,
#    where reading keys and values is the limit in either program.
# 4. −10⁹ overflows to −∞ in float16, giving NaN for a row that sees nothing; and in float32 a row that sees nothing gets
#    equal weights over everything hidden. Either two distinct failures or one with its mechanism and a remedy in full.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A query takes the average of the values that it may see, weighted by a softmax of products. Masks are bools and hide
# what they hide, NaN included. A softmax can be summed up in blocks with one correction for each new largest score, and
# so attention and its gradients never need the array of all scores.
#
# | here | PyTorch |
# |---|---|
# | `scaled_dot_product_attention` | `F.scaled_dot_product_attention`, the "math" backend; `enable_gqa=True` for shared heads |
# | `TiledAttention` | the "flash" backend of the same function |
# | `causal=True`, queries last | `is_causal=True` puts queries first; `torch.nn.attention.bias.causal_lower_right` is ours |
# | masks of bools, True sees | the same there; `key_padding_mask` of `nn.MultiheadAttention` has True for hidden |
# | a query that sees nothing: 0 | NaN or 0, by version and backend |
# | `qkv`, `out` | `in_proj_weight`, `out_proj` of `nn.MultiheadAttention` |
#
# Module 13 puts this layer between norms and an MLP, stacks the blocks, and reads text from what comes out.
