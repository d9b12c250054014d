# %% [markdown]
# # TinyTorch 13: Transformers
#
# Shift the causal mask of a language model by one position, so that each token sees the one that it has to predict. The
# loss falls to zero, on training text and on text it has never seen. No error, no NaN, a perfect curve, and a model that
# cannot write a word, since at the moment of writing the next token is not there to be copied. Now leave the positions
# out instead: the loss is a little higher than it could be, and nothing else shows. A number that goes down does not
# say that a model is right. In this notebook you build GPT from the parts of twelve modules, make it write, and write
# the probes that find both mistakes in a second.
#
# **Where it sits.** What you write is exported as `tinytorch/transformers.py`.
#
# | module | what it takes from here |
# |---|---|
# | 14 profiling | a model with known bytes and operations |
# | 15 quantization, 16 compression | `MLP`, where two thirds of the weights are |
# | 18 memoization | `GPT.forward(ids, caches=..., offset=...)`, which a cache makes fast without a change |
# | milestone 2017 | `GPT`, `generate`, the probes |
#
# **Afterwards you can**
# 1. write the forward and backward pass of layer normalisation, and say what RMS normalisation leaves out;
# 2. say why norms stand inside the branches, and what that does to a signal and to its gradient;
# 3. count the parameters of GPT-2 and the bytes of its training;
# 4. turn logits into text by temperature, top-k and top-p, and a loss into perplexity and bits per byte;
# 5. probe a model for causality, for the use of positions, and for what its heads look at.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. A check
# shows worked examples and explains the first that fails. Grading runs hidden cases besides. Every exercise is judged by
# itself. Modules 02 to 07, 11 and 12 are used. Four hours are typical.

# %%
#| export
"""GPT: norms, MLPs and attention in residual blocks; how it writes, how it is measured, how it is probed.

    LayerNorm, RMSNorm, MLP, Block, GPT          layers
    sampling_weights, generate                   from logits to tokens
    perplexity, bits_per_byte                    from losses to numbers that can be compared
    causality_leak, position_sensitivity, attention_entropy      probes

Errors, each one line that says what it got and what it wanted: ShapeError and DTypeError from tinytorch.tensor, ValueError.
"""

import difflib
import math

import numpy as np

from tinytorch.activations import gelu, relu, silu
from tinytorch.attention import MultiHeadAttention
from tinytorch.autograd import no_grad
from tinytorch.embeddings import Embedding, LearnedPositions, Rotary, SinusoidalPositions, tie
from tinytorch.layers import Dropout, Linear, Module, Parameter, Sequential, default_rng, normal_, overwrite
from tinytorch.tensor import Function, ShapeError, Tensor, float32, ones, zeros

STD = 0.02  # of matrices at the start, and the size of waves that are added to them. Source: Radford et al. 2019


def known(what, name, names):
    """name, if it is one of names. Raises ValueError with the nearest otherwise."""
    if name not in names:
        near = difflib.get_close_matches(str(name), names, 1)
        raise ValueError(f"unknown {what} {name!r}: " + (f"the nearest is {near[0]}, " if near else "") + f"all are {', '.join(names)}")
    return name

# %%
import contextlib

from mlsysbook import answer, case, check, predict, prop, reveal
from tinytorch import Storage


@contextlib.contextmanager
def swapped(**stand_ins):
    """Other functions in the place of some of this notebook, while a check runs: each exercise is judged by itself."""
    before = {name: globals()[name] for name in stand_ins}
    globals().update(stand_ins)
    try:
        yield
    finally:
        globals().update(before)


def bare(cls, **members):
    """An object of a module class with these members, made without its __init__."""
    module = object.__new__(cls)
    Module.__init__(module)
    for name, member in members.items():
        setattr(module, name, member)
    return module


class Spy(Module):
    """A layer for the checks: x * scale + shift. It notes the options that it is called with in a list."""

    def __init__(self, scale, shift=0.0, calls=None):
        super().__init__()
        self.scale, self.shift, self.calls = scale, shift, calls

    def forward(self, x, *more, **options):
        if self.calls is not None:
            self.calls.append((list(more), dict(sorted(options.items()))))
        return x * self.scale + self.shift

# %% [markdown]
# ## 1. Layer normalisation
#
# Each row of x, the vector of one position, is shifted to mean 0 and scaled to variance 1. Then a learned weight and
# bias, one number for each column, scale and shift it again (Ba, Kiros and Hinton 2016):
#
# $$n = (x - \mu)\, r, \qquad r = \frac{1}{\sqrt{\sigma^2 + \varepsilon}}, \qquad y = n \cdot w + b.$$
#
# The variance is that of a population, with the divisor D. **Worked example**, x = (0, 0, 3, 3): μ = 1.5, σ² = 2.25,
# n = (−1, −1, 1, 1). And (100, 100, 103, 103) gives the same n, and so does (0, 0, 300, 300). A row of two numbers
# comes out as (−1, 1) or (1, −1) whatever it was.
#
# **Backward.** Since shifting or stretching x changes nothing, the gradient of x can have no part along a shift or a
# stretch. Both parts are taken out. With h = g · w, the gradient that arrives at n:
#
# $$\text{gradient of}\ x = r\,\big(h - \text{mean}(h) - n \cdot \text{mean}(h \cdot n)\big)$$
#
# For the row above, w = 1 and g = (1, 0, 0, 0): mean(h) = 0.25, mean(h · n) = −0.25, the bracket is
# (0.5, −0.5, 0, 0), and the gradient (1/3, −1/3, 0, 0). The gradients of w and b are those of a product and a sum,
# added up over all rows.
#
# **Exercise 1.1** Both directions on arrays, float32 or float64. A row of 10 000.0, 10 000.1, 10 000.2 in float32 must
# keep its digits: subtract the mean before squaring, as mean(x²) − μ² has none left.

# %% solution="layer_norm"
#| export
def layer_norm(x, weight, bias, eps=1e-5):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis -> (result, n, r), as in the gradient's formula.

    x (..., D), weight and bias (D,): arrays of one dtype. n has the shape of x, r (..., 1).
    """
    ### BEGIN SOLUTION
    centred = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + x.dtype.type(eps))
    n = centred * r
    return n * weight + bias, n, r
    ### END SOLUTION


# %% solution="layer_norm_backward"
#| export
def layer_norm_backward(n, r, weight, grad):
    """The gradients for x (..., D), weight (D,) and bias (D,), given n and r of layer_norm, and grad, that of its result."""
    ### BEGIN SOLUTION
    h = grad * weight
    dx = r * (h - h.mean(-1, keepdims=True) - n * (h * n).mean(-1, keepdims=True))
    rows = tuple(range(grad.ndim - 1))
    return dx, (grad * n).sum(rows), grad.sum(rows)
    ### END SOLUTION


# %% check="layer_norm" points=4
def normed(x, weight, bias, eps=1e-5):
    return [np.asarray(part) for part in layer_norm(x, weight, bias, eps)]

check("layer_norm", [
    case(np.array([[0.0, 0.0, 3.0, 3.0], [100.0, 100.0, 103.0, 103.0]]), np.ones(4), np.zeros(4), 0.0),
    case(np.array([3.0, 4.0]), np.array([2.0, 1.0]), np.array([10.0, 20.0])),
], call=normed)

# %% hidden="layer_norm"
def cases(rng):
    def weights(D, dtype="float64"):
        return rng.normal(size=D).astype(dtype), rng.normal(size=D).astype(dtype)

    for shape in ((3, 5), (2, 3, 4), (6,), (4, 4)):
        yield case(rng.normal(size=shape) * 3 + 2, *weights(shape[-1]), behaviour="each row is normalised, then scaled and shifted")
    for eps in (0.5, 2.0):
        yield case(rng.normal(size=(3, 4)), *weights(4), eps, behaviour="eps is added to the variance")
    yield case(np.full((2, 3), 7.0), *weights(3), behaviour="eps is added to the variance")
    far = (10_000 + rng.permutation(8) / 8).astype("float32")
    yield case(np.stack([far, far + 5000]), *weights(8, "float32"), behaviour="float32 far from 0 keeps its digits")
    yield case((rng.normal(size=(3, 6)) + 3000).astype("float32"), *weights(6, "float32"), behaviour="float32 far from 0 keeps its digits")
    yield case(rng.normal(size=(5, 4, 3)).transpose(1, 2, 0), *weights(5), behaviour="views, one column, no rows")
    yield case(rng.normal(size=(4, 1)), *weights(1), behaviour="views, one column, no rows")
    yield case(np.zeros((0, 3)), *weights(3), behaviour="views, one column, no rows")

# %% check="layer_norm_backward" points=6
def norm_pulled(n, r, weight, grad):
    return [np.asarray(part) for part in layer_norm_backward(n, r, weight, grad)]

check("layer_norm_backward", [
    case(np.array([[-1.0, -1.0, 1.0, 1.0]]), np.array([[1 / 1.5]]), np.ones(4), np.array([[1.0, 0.0, 0.0, 0.0]])),
    case(np.array([[-1.0, 1.0], [1.0, -1.0]]), np.array([[2.0], [0.5]]), np.array([3.0, 5.0]), np.array([[1.0, 2.0], [3.0, 4.0]])),
], call=norm_pulled)

# %% hidden="layer_norm_backward"
def cases(rng):
    def of(shape, dtype="float64"):
        x = rng.normal(size=shape)
        centred, spread = x - x.mean(-1, keepdims=True), x.std(-1, keepdims=True) + 0.1
        arrays = (centred / spread, 1 / spread, rng.normal(size=shape[-1]), rng.normal(size=shape))
        return [a.astype(dtype) for a in arrays]

    for shape in ((3, 5), (1, 4), (5, 5)):
        yield case(*of(shape), behaviour="rows of a matrix")
    for shape in ((2, 3, 4), (2, 2, 3, 3), (6,)):
        yield case(*of(shape), behaviour="any number of axes: weight and bias add up over all rows")
    yield case(*of((4, 6), "float32"), behaviour="float32, one column, no rows")
    yield case(*of((3, 1)), behaviour="float32, one column, no rows")
    yield case(np.zeros((0, 3)), np.zeros((0, 1)), np.ones(3), np.zeros((0, 3)), behaviour="float32, one column, no rows")

# %%
#| export
class NormalizeRows(Function):
    """layer_norm as an operation on x (..., D), weight and bias (D,). float16 is computed in float32.

    Raises ShapeError for weights of another length.
    """

    needs = ((1,), (), ())

    def forward(self, x, weight, bias, eps=1e-5):
        if x.ndim == 0 or not weight.shape == bias.shape == x.shape[-1:]:
            raise ShapeError(f"x of shape {x.shape} wants weight and bias of its last axis, got {weight.shape} and {bias.shape}")
        wide = (a.astype(float32) if a.dtype == np.float16 else a for a in (x, weight, bias))
        out, self.n, self.r = layer_norm(*wide, eps)
        return out.astype(x.dtype, copy=False)

    def backward(self, grad):
        weight = self.saved[1]
        weight = np.ones(grad.shape[-1:], grad.dtype) if weight is None else weight.astype(grad.dtype, copy=False)
        return layer_norm_backward(self.n, self.r, weight, grad)


class LayerNorm(Module):
    """Each row of x (..., width) at mean 0 and variance 1, times weight, plus bias, both (width,). Source: Ba et al. 2016."""

    def __init__(self, width, eps=1e-5, dtype=float32):
        super().__init__()
        self.eps = eps
        self.weight, self.bias = Parameter(ones(width, dtype)), Parameter(zeros(width, dtype))

    def forward(self, x):
        return NormalizeRows.apply(x, self.weight, self.bias, eps=self.eps)

    def extra_repr(self):
        return f"{self.weight.numel()}, eps={self.eps:g}"

# %% [markdown]
# ## 2. RMS normalisation
#
# Zhang and Sennrich 2019 leave out the mean and the bias: $y = x / \sqrt{\text{mean}(x^2) + \varepsilon} \cdot w$. A row
# (3, 4) has mean square 12.5 and becomes (0.849, 1.131). Llama and most models since 2023 use it; what they lose is one
# of the two parts of the gradient above, and a pass over the row.
#
# **Exercise 2.1** `forward` of `RMSNorm`, with operations on tensors, so that autograd finds the gradient by itself.
# A float16 row is computed in float32 (`astype`) and rounded once, at the end: 300² is not a float16.

# %% solution="rms_norm"
#| export
class RMSNorm(Module):
    """x / sqrt(mean of x² + eps) * weight over the last axis: x (..., width), weight (width,). Source: Zhang and Sennrich 2019.

    float16 is computed in float32. Raises ShapeError for another width.
    """

    def __init__(self, width, eps=1e-6, dtype=float32):
        super().__init__()
        self.eps, self.weight = eps, Parameter(ones(width, dtype))

    def forward(self, x):
        if x.ndim == 0 or x.shape[-1:] != self.weight.shape:
            raise ShapeError(f"x of shape {x.shape} wants a weight of its last axis, got {self.weight.shape}")
        ### BEGIN SOLUTION
        wide = x.astype("float32") if x.dtype == np.float16 else x
        y = wide * ((wide * wide).mean(-1, keepdims=True) + self.eps) ** -0.5 * self.weight
        return y.astype(x.dtype) if y.dtype != x.dtype else y
        ### END SOLUTION

    def extra_repr(self):
        return f"{self.weight.numel()}, eps={self.eps:g}"

# %% check="rms_norm" points=3
def root_mean_squared(x, weight, eps=1e-6):
    """Output, and the gradients for x and weight under one that grows from element to element."""
    layer = bare(RMSNorm, weight=Parameter(weight))
    layer.eps = eps
    x = Tensor(x, requires_grad=True)
    y = layer.forward(x)
    if not y.requires_grad:
        return {"output": y, "can be followed": False}
    y.backward(np.arange(1.0, y.numel() + 1).reshape(y.shape).astype(y.dtype) / max(y.numel(), 1))
    return {"output": y, "for x": x.grad, "for weight": layer.weight.grad}

check("rms_norm", [case(np.array([[3.0, 4.0]]), np.array([1.0, 1.0])), case(np.ones((2, 3)), np.array([1.0, 2.0, 3.0]), 3.0)],
      call=root_mean_squared)

# %% hidden="rms_norm"
def cases(rng):
    for shape in ((3, 5), (2, 3, 4), (6,)):
        yield case(rng.normal(size=shape) + 1, rng.normal(size=shape[-1]), behaviour="rows over their root mean square")
    yield case(rng.normal(size=(3, 4)), rng.normal(size=4), 0.7, behaviour="eps is added to the mean square")
    yield case(np.zeros((2, 3)), rng.normal(size=3), 0.5, behaviour="eps is added to the mean square")
    for scale in (300, 0.001):
        yield case((rng.uniform(1, 2, (2, 4)) * scale).astype("float16"), rng.uniform(1, 2, 4).astype("float16"),
                   behaviour="float16 is computed in float32")
    yield case(rng.normal(size=(3, 4)).astype("float32"), rng.normal(size=4).astype("float32"), behaviour="float32, no rows")
    yield case(np.zeros((0, 4)), rng.normal(size=4), behaviour="float32, no rows")

# %% [markdown]
# ## 3. MLP
#
# Attention moves information between positions. The MLP works on each position alone. It widens the vector, applies
# something that is not linear, and narrows it again: `down(activation(up(x)))`. Its two matrices W × 4W hold two thirds
# of a block's weights.
#
# **SwiGLU** (Shazeer 2020) has a third matrix. One product says what passes, another one how much of it:
#
# $$\text{down}\big(\text{silu}(\text{gate}(x)) \cdot \text{up}(x)\big)$$
#
# **Worked example** with one number and weights 1: x = 2 gives silu(2) · 2 = 1.7616 · 2 = 3.5232; a plain SiLU gives
# 1.7616. To cost as much as the plain MLP, its hidden width is 2/3 of the usual one: 3 · (8/3) W² = 2 · 4 W².
#
# **Exercise 3.1** `forward` of `MLP`. `self.activation` is a name in `ACTIVATIONS`, and "swiglu" has a `gate`.

# %%
#| export
ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": lambda x: gelu(x, "tanh"), "silu": silu, "swiglu": silu}


def hidden_width(width, activation):
    """The usual hidden width: 4 times the width; with a gate 8/3 of it, rounded up to a multiple of 8."""
    return -(-8 * width // 24) * 8 if activation == "swiglu" else 4 * width

# %% solution="mlp"
#| export
class MLP(Module):
    """down(activation(up(x))) on the last axis, or with activation="swiglu" down(silu(gate(x)) * up(x)).

    x (..., width) -> (..., width). hidden: the width between, by default hidden_width(width, activation).
    Raises ValueError for an unknown activation. Source: Vaswani et al. 2017; Shazeer 2020 (swiglu).
    """

    def __init__(self, width, hidden=None, activation="gelu", bias=True, rng=None, dtype=float32):
        super().__init__()
        self.activation = known("activation", activation, list(ACTIVATIONS))
        hidden = hidden_width(width, activation) if hidden is None else hidden
        self.up = Linear(width, hidden, bias, rng, dtype)
        self.gate = Linear(width, hidden, bias, rng, dtype) if activation == "swiglu" else None
        self.down = Linear(hidden, width, bias, rng, dtype)

    def forward(self, x):
        ### BEGIN SOLUTION
        shape = ACTIVATIONS[self.activation]
        if self.gate is None:
            return self.down(shape(self.up(x)))
        return self.down(shape(self.gate(x)) * self.up(x))
        ### END SOLUTION

# %% check="mlp" points=4
def mapped(shape, hidden, activation, seed=0, bias=True):
    """Output of an MLP with weights from a seed, and its gradient for x."""
    rng = np.random.default_rng(seed)
    layer = MLP(shape[-1], hidden, activation, bias, rng, "float64")
    x = Tensor(rng.normal(size=shape), requires_grad=True)
    y = layer.forward(x)
    if y.requires_grad:
        y.sum().backward()
    return {"output": y, "for x": x.grad, "for the weights": [p.grad is not None for p in layer.parameters()]}

check("mlp", [case((1, 2), 3, "gelu"), case((2, 2), 3, "swiglu")], call=mapped)

# %% hidden="mlp"
def cases(rng):
    for activation in ("relu", "gelu", "gelu_tanh", "silu"):
        yield case((3, 4), int(rng.integers(2, 9)), activation, int(rng.integers(1 << 30)), behaviour="up, activation, down")
    for shape in ((3, 4), (2, 3, 5)):
        yield case(shape, int(rng.integers(2, 9)), "swiglu", int(rng.integers(1 << 30)), behaviour="the gate of SwiGLU")
    for activation in ("gelu", "swiglu"):
        yield case((2, 3, 4), 6, activation, int(rng.integers(1 << 30)), bias=False, behaviour="no bias, no rows")
        yield case((0, 4), 6, activation, int(rng.integers(1 << 30)), behaviour="no bias, no rows")

# %% [markdown]
# ## 4. The block
#
# A block has two branches, attention and MLP, and each is **added** to what was there: `x + branch(norm(x))`. The norm
# is inside the branch. So from the first block to the last there is a path of nothing but additions, and a gradient
# comes down it undiminished, whatever the branches do. The paper of 2017 had the norm behind the sum, `norm(x + branch(x))`.
# There, each block multiplies the gradient by the slope of a norm, and training deep stacks needs a careful warm-up
# (Xiong et al. 2020). With the norm inside, the sum grows from block to block, and one last norm stands before the head.
#
# **Worked example.** With norms that double, an attention that adds 1 and an MLP that triples, x = 1 becomes
# 1 + (2 + 1) = 4 and then 4 + 3 · (2 · 4) = 28.
#
# **Exercise 4.1** `forward` of `Block`. What attention is told besides x, `mask`, `cache` and `offset`, is passed on by
# name. `drop` is applied to the output of each branch, before it is added.

# %% solution="block"
#| export
class Block(Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x)): x (B, T, width) -> the same shape. Each branch passes through dropout.

    norm: "layer" or "rms"; kv_heads and rotary as in MultiHeadAttention, activation and hidden as in MLP.
    Source: Xiong et al. 2020 (norms inside the branches).
    """

    def __init__(self, width, heads, kv_heads=None, hidden=None, activation="gelu", norm="layer", dropout=0.0, rotary=None, bias=True,
                 rng=None, dtype=float32):
        super().__init__()
        Norm = NORMS[known("norm", norm, list(NORMS))]
        self.norm1 = Norm(width, dtype=dtype)
        self.attention = MultiHeadAttention(width, heads, kv_heads, True, rotary, bias, rng, dtype)
        self.norm2 = Norm(width, dtype=dtype)
        self.mlp = MLP(width, hidden, activation, bias, rng, dtype)
        self.drop = Dropout(dropout, rng)

    def forward(self, x, mask=None, cache=None, offset=0):
        ### BEGIN SOLUTION
        x = x + self.drop(self.attention(self.norm1(x), mask=mask, cache=cache, offset=offset))
        return x + self.drop(self.mlp(self.norm2(x)))
        ### END SOLUTION


NORMS = {"layer": LayerNorm, "rms": RMSNorm}

# %% check="block" points=4
def through_block(x, scales, shifts, drop=1.0, options=None):
    """Output of a block of simple parts norm1, attention, norm2, mlp, and what attention was told."""
    calls, parts = [], dict(zip(("norm1", "attention", "norm2", "mlp"), zip(scales, shifts, strict=True), strict=True))
    spies = {name: Spy(*numbers, calls if name == "attention" else None) for name, numbers in parts.items()}
    block = bare(Block, **spies, drop=Spy(drop))
    x = Tensor(x, requires_grad=True)
    y = block.forward(x, **(options or {}))
    y.sum().backward()
    return {"output": y, "for x": x.grad, "attention was told": [told for _, told in calls], "x itself": x}

check("block", [
    case(np.ones((1, 1, 1)), [2.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 0.0]),
    case(np.ones((1, 1, 2)), [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], options={"mask": [[True]], "cache": "some", "offset": 7}),
], call=through_block)

# %% hidden="block"
def cases(rng):
    def numbers():
        return [float(v) for v in rng.uniform(-2, 2, 4)], [float(v) for v in rng.uniform(-2, 2, 4)]

    for _ in range(4):
        yield case(rng.normal(size=(2, 3, 2)), *numbers(), behaviour="two branches, each with its norm inside")
    for drop in (0.0, 0.5, 3.0):
        yield case(rng.normal(size=(1, 2, 2)), *numbers(), drop=drop, behaviour="both branches pass through drop, the sum does not")
    told = ({"offset": 5}, {"cache": "shelf", "offset": 2}, {"mask": [[True, False]]}, {"mask": [[True]], "cache": "c", "offset": 9})
    for options in told:
        yield case(rng.normal(size=(1, 2, 2)), *numbers(), options=options, behaviour="mask, cache and offset are passed on")

# %% [markdown]
# ## 5. GPT
#
# Tokens become vectors, vectors get positions, blocks follow, a last norm, and a head that makes V logits of each
# position. The logits at position t are for the token at t + 1. One pass over a text of T tokens trains T predictions
# at once, which is what the causal mask is for.
#
# | option | GPT-2 | Llama 3 |
# |---|---|---|
# | `positions` | learned | rotary |
# | `norm` | layer | rms |
# | `activation` | gelu_tanh | swiglu |
# | `kv_heads` | as many as heads | 8 of 32 or more |
# | `bias` | yes | no |
# | `tied` | yes | no, but in small models |
#
# **Starting values.** Each block adds two branches to the sum. If all start alike, the variance of the sum grows by the
# same amount each time. GPT-2 starts the matrices with standard deviation 0.02, and those that end a branch, `out` and
# `down`, with 0.02 / √(2 · depth), so that 2 · depth of them together add as much as one. Biases start at 0, the
# weights of norms at 1. **Worked example**: with 8 blocks, `out.weight` starts with 0.02 / 4 = 0.005.
#
# **Exercise 5.1** `start_weights` for any module. Told by its name and its number of axes, a parameter is: a matrix
# that ends a branch (two axes, and its name ends in `out.weight` or `down.weight`); another matrix (two axes); a bias
# (its last name is `bias`); or something else, which is left as it is.
#
# **Exercise 5.2** `embed` and `forward` of `GPT`. `positions` is a layer, called with x and `offset`, or `None`. `caches`
# has one cache for each block, or is `None`.

# %% solution="start_weights"
#| export
def start_weights(model, depth, std=STD, rng=None):
    """Draw matrices normally with std, those that end a branch with std / sqrt(2 depth), zero biases; in place -> model.

    A matrix that ends a branch has a name that ends in "out.weight" or "down.weight". Source: Radford et al. 2019.
    """
    ### BEGIN SOLUTION
    for name, parameter in model.named_parameters():
        path = name.split(".")
        if parameter.ndim == 2:
            ends = path[-2:] in (["out", "weight"], ["down", "weight"])
            normal_(parameter, 0.0, std / math.sqrt(2 * depth) if ends else std, rng)
        elif path[-1] == "bias":
            overwrite(parameter, 0)
    return model
    ### END SOLUTION


# %% solution="gpt"
#| export
class GPT(Module):
    """A language model: ids (B, T), integers below vocabulary -> logits (B, T, vocabulary); those at t are for token t + 1.

    length: the longest text, for generate and for learned positions. positions: "learned", "sinusoidal", "rotary" or "none".
    norm, activation, kv_heads, hidden, dropout, bias as in Block. tied: the head has the matrix of the tokens.
    Raises ValueError for options that do not fit; ShapeError, IndexError for ids, as Embedding and LearnedPositions.
    Source: Radford et al. 2019.
    """

    def __init__(self, vocabulary, width, depth, heads, length=1024, *, kv_heads=None, hidden=None, positions="learned", norm="layer",
                 activation="gelu", dropout=0.0, bias=True, tied=True, rng=None, dtype=float32):
        super().__init__()
        if depth < 1 or width % heads:
            raise ValueError(f"wants a depth of 1 or more, and a width that is a multiple of heads; got {depth}, {width} and {heads}")
        known("positions", positions, ["learned", "sinusoidal", "rotary", "none"])
        self.vocabulary, self.length = vocabulary, length
        self.tokens = Embedding(vocabulary, width, rng=rng, dtype=dtype)
        rotary = Rotary(width // heads) if positions == "rotary" else None
        self.positions = None
        if positions == "learned":
            self.positions = LearnedPositions(length, width, rng=rng, dtype=dtype)
        elif positions == "sinusoidal":
            self.positions = SinusoidalPositions(width, scale=STD)
        self.drop = Dropout(dropout, rng)
        self.blocks = Sequential(*(Block(width, heads, kv_heads, hidden, activation, norm, dropout, rotary, bias, rng, dtype)
                                   for _ in range(depth)))
        self.norm = NORMS[norm](width, dtype=dtype)
        self.head = Linear(width, vocabulary, False, rng, dtype)
        if tied:
            tie(self.tokens, self.head)
        start_weights(self, depth, rng=rng)

    def embed(self, ids, offset=0):
        """Vectors (B, T, width) of tokens with their positions, the first at offset, after dropout."""
        if len(np.shape(ids)) != 2:
            raise ShapeError(f"ids are (B, T), got shape {np.shape(ids)}")
        ### BEGIN SOLUTION
        x = self.tokens(ids)
        if self.positions is not None:
            x = self.positions(x, offset)
        return self.drop(x)
        ### END SOLUTION

    def forward(self, ids, mask=None, caches=None, offset=0):
        """caches: for each block an object with extend(k, v); offset: how many positions they hold. mask: as in attention."""
        ### BEGIN SOLUTION
        x = self.embed(ids, offset)
        for k, block in enumerate(self.blocks):
            x = block(x, mask=mask, cache=None if caches is None else caches[k], offset=offset)
        return self.head(self.norm(x))
        ### END SOLUTION

    def attention_maps(self, ids):
        """What the heads of each block look at: a list of arrays (B, H, T, T)."""
        with no_grad():
            x, maps = self.embed(ids), []
            for block in self.blocks:
                maps.append(block.attention.weights(block.norm1(x)).numpy())
                x = block(x)
        return maps

# %% check="start_weights" points=4
def some_model(sizes):
    """Modules with a matrix and a bias by path; a name without a size has a norm: weight (9,) of ones and a bias of ones."""
    model = Module()
    for path, size in sizes.items():
        *above, last = path.split(".")
        home = model
        for name in above:
            if name not in home._modules:
                home.add_module(name, Module())
            home = home._modules[name]
        part = Module()
        part.weight = Parameter(np.ones(9) if size is None else np.ones(size))
        part.bias = Parameter(np.ones(9 if size is None else size[0]))
        home.add_module(last, part)
    return model


def begun(sizes, depth, std=0.02, seed=0):
    """For each parameter whether it was left, zeroed, or drawn, and then the share of std that fits its statistics."""
    model, again = (some_model(sizes) for _ in range(2))
    returned = start_weights(model, depth, std, np.random.default_rng(seed))
    start_weights(again, depth, std, np.random.default_rng(seed))
    facts = {"returned the model": returned is model}
    for (name, p), (_, q) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        values = p.numpy()
        if (values == 1).all() or not values.any():
            facts[name] = "left" if values.any() else "zeroed"
            continue
        error = 5 / math.sqrt(values.size)
        fits = [text for text, wanted in (("std", std), ("std / sqrt(2 depth)", std / math.sqrt(2 * depth)))
                if abs(values.std() / wanted - 1) < error and abs(values.mean()) < error * wanted]
        facts[name] = [*fits, "the same again" if (values == q.numpy()).all() else "others again"]
    return facts

check("start_weights", [
    case({"tokens": (50, 40), "blocks.0.norm1": None, "blocks.0.attention.out": (40, 40)}, 8),
], call=begun)

# %% hidden="start_weights"
def cases(rng):
    def seed():
        return int(rng.integers(1 << 30))

    for depth in (2, 4, 12):
        sizes = {"tokens": (60, 40), f"blocks.{depth - 1}.attention.qkv": (90, 30), f"blocks.{depth - 1}.attention.out": (30, 40)}
        yield case(sizes | {f"blocks.{depth - 1}.mlp.down": (30, 80)}, depth, seed=seed(), behaviour="ends of branches, and other matrices")
    yield case({"mlp.up": (50, 40), "mlp.down": (40, 50)}, 6, std=float(rng.uniform(0.1, 0.5)), seed=seed(),
               behaviour="ends of branches, and other matrices")
    yield case({"norm": None, "blocks.0.norm2": None, "head": (40, 30)}, 3, seed=seed(), behaviour="norms are left, biases zeroed")
    yield case({"readout": (60, 40), "countdown": (60, 40), "out.up": (40, 60)}, 9, seed=seed(), behaviour="names that only resemble those")

# %% check="gpt" points=5
class Words(Module):
    """Tokens for the checks: row i of a fixed table."""

    def forward(self, ids):
        return Tensor(np.cos(np.asarray(ids)[..., None] * np.array([1.0, 2.0])))


class Places(Module):
    """Positions for the checks, which depend on the offset."""

    def forward(self, x, offset=0):
        return x + Tensor(0.1 * np.arange(offset, offset + x.shape[1])[:, None])


def read(ids, depth=2, positions=True, caches=None, mask=None, offset=0, drop=1.0):
    """Logits of a GPT of simple parts, the vectors it starts from, and what its blocks were told."""
    calls = []
    blocks = Sequential(*(Spy(1.0 + 0.5 * k, 0.25, calls) for k in range(depth)))
    model = bare(GPT, tokens=Words(), drop=Spy(drop), blocks=blocks, norm=Spy(3.0, 1.0), head=Spy(0.5, -2.0))
    model.positions = Places() if positions else None
    logits = model.forward(ids, mask=mask, caches=caches, offset=offset)
    return {"logits": logits, "embedded": model.embed(ids, offset), "blocks were told": [told for _, told in calls]}

check("gpt", [
    case(np.array([[0, 1, 2]])),
    case(np.array([[3], [4]]), caches=["first", "second"], offset=6),
], call=read)

# %% hidden="gpt"
def cases(rng):
    for depth in (1, 2, 3):
        yield case(rng.integers(0, 9, (2, 3)), depth, behaviour="tokens, positions, blocks in order, norm, head")
    for offset in (1, 5):
        yield case(rng.integers(0, 9, (2, 3)), offset=offset, behaviour="positions begin at offset")
    yield case(rng.integers(0, 9, (1, 4)), positions=False, behaviour="no positions")
    yield case(rng.integers(0, 9, (1, 4)), drop=0.5, behaviour="what is embedded passes through drop")
    yield case(rng.integers(0, 9, (2, 1)), 3, caches=["a", "b", "c"], offset=4, behaviour="each block has its own cache, all the mask")
    yield case(rng.integers(0, 9, (1, 2)), 2, mask=[[True, False]], behaviour="each block has its own cache, all the mask")

# %% [markdown]
# ## 6. Numbers that can be compared
#
# The loss of a language model is the mean of −ln p over tokens, in nats. **Perplexity** is its exponential: a model that
# is as unsure as a fair die with 6 sides has perplexity 6. It depends on what a token is. A model of 50 000 tokens has to
# choose among more than one of 256, but less often. **Bits per byte** does not: all the nats of a text, over ln 2, over
# the number of its bytes.
#
# **Worked example.** Two batches: 30 tokens with mean loss 1.0, and a last one of 10 tokens with 3.0. The mean over
# tokens is 60/40 = 1.5, and the perplexity 4.48. The mean of the two means would be 2.0. The text has 160 bytes:
# 60 / ln 2 / 160 = 0.541 bits a byte.
#
# **Exercise 6.1** Both. A total of no tokens, or no bytes, is refused with a `ValueError`. A mean of 800 nats is a
# perplexity of infinity, without a warning or an error.

# %% solution="perplexity"
#| export
def perplexity(losses, counts):
    """exp of the mean loss of a token: losses are means over batches, in nats, counts their tokens -> float; inf beyond 1e308.

    Raises ValueError if there are no tokens.
    """
    ### BEGIN SOLUTION
    tokens = math.fsum(counts)
    if tokens <= 0:
        raise ValueError(f"a perplexity is that of one token at least, got {tokens:g}")
    mean = math.fsum(loss * count for loss, count in zip(losses, counts, strict=True)) / tokens
    return math.exp(mean) if mean < 709 else math.inf
    ### END SOLUTION


def bits_per_byte(losses, counts, size):
    """All the loss of a text in bits, over size, its bytes; losses and counts as in perplexity -> float.

    Raises ValueError if there are no bytes.
    """
    ### BEGIN SOLUTION
    if size <= 0:
        raise ValueError(f"the text has one byte at least, got {size}")
    return math.fsum(loss * count for loss, count in zip(losses, counts, strict=True)) / math.log(2) / size
    ### END SOLUTION

# %% check="perplexity" points=3
def summed_up(losses, counts, size=None):
    try:
        return perplexity(losses, counts) if size is None else bits_per_byte(losses, counts, size)
    except ValueError:
        return "refused"

check("perplexity", [case([1.0, 3.0], [30, 10]), case([1.0, 3.0], [30, 10], 160), case([], [])], call=summed_up)

# %% hidden="perplexity"
def cases(rng):
    for n in (1, 3, 6):
        losses, counts = [float(v) for v in rng.uniform(0.5, 5, n)], [int(v) for v in rng.integers(1, 99, n)]
        yield case(losses, counts, behaviour="each token counts the same")
        yield case(losses, counts, int(rng.integers(100, 999)), behaviour="bits, and bytes")
    yield case([800.0, 900.0], [3, 4], behaviour="beyond the largest float")
    yield case([1.5], [0], behaviour="nothing to divide by")
    yield case([1.5], [4], 0, behaviour="nothing to divide by")

# %% [markdown]
# ## 7. Sampling
#
# From the logits of the last position to a token. Three knobs change the distribution before it is drawn from, in this
# order:
#
# | knob | effect | 0, or none |
# |---|---|---|
# | `temperature` | logits are divided by it; below 1 sharper, above 1 flatter | 0: the likeliest token has weight 1, the first of several |
# | `top_k` | the k likeliest keep their weight, all others get 0 | `None`: all |
# | `top_p` | of the likeliest, as many as it takes to reach a total of p | `None`: all |
#
# What is left adds up to 1 again, also between top-k and top-p. Of equally likely tokens the one with the lower number
# comes first. Top-p (Holtzman et al. 2020, nucleus sampling) adapts: after "the capital of France is" it may keep one
# token, after "I like" hundreds.
#
# **Worked example.** Probabilities 0.5, 0.3, 0.15, 0.05. `top_p=0.8` keeps two, which reach 0.8, as 0.625 and 0.375.
# `top_p=0.81` keeps three. `top_k=3, top_p=0.8`: after top-k they are 0.526, 0.316, 0.158, and the first two reach 0.842.
#
# **Exercise 7.1** `sampling_weights`, on rows of logits. A logit of −∞ has weight 0. Work in float64: a sum of 50 000
# float32 reaches p a token too late or too early. Refused with a `ValueError` that names the number: a negative
# temperature, `top_k` below 1, `top_p` not above 0 or above 1.
#
# **Exercise 7.2** `generate`. Each new token is drawn for each text of the batch by the weights of the last position,
# and becomes part of the text. The model never sees more than its last `model.length` tokens. It runs in evaluation and
# without a graph, and is left in the mode that it was in, even if it raises.

# %% solution="sampling_weights"
#| export
def sampling_weights(logits, temperature=1.0, top_k=None, top_p=None):
    """The probabilities to draw the next token with: an array (..., V) of logits -> float64 array (..., V).

    temperature, then top_k, then top_p; rows add up to 1. Raises ValueError for a knob out of range.
    Source: Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p).
    """
    ### BEGIN SOLUTION
    if temperature < 0:
        raise ValueError(f"temperature is 0 or more, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k keeps 1 token or more, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is above 0 and at most 1, got {top_p}")
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranked = np.exp(np.take_along_axis(shifted, order, -1) / (temperature or 1))
    kept = 1 if temperature == 0 else top_k
    if kept is not None:
        ranked[..., kept:] = 0
    ranked /= ranked.sum(-1, keepdims=True)
    if top_p is not None:
        ranked[np.cumsum(ranked, axis=-1) - ranked >= top_p] = 0
        ranked /= ranked.sum(-1, keepdims=True)
    weights = np.empty_like(ranked)
    np.put_along_axis(weights, order, ranked, -1)
    return weights
    ### END SOLUTION


# %% solution="generate"
#| export
def generate(model, ids, count, temperature=1.0, top_k=None, top_p=None, rng=None):
    """Continue texts by count tokens: ids (B, T), integers -> int64 tensor (B, T + count).

    model(ids) gives logits (B, T, V), and model.length is the longest text that it takes. Knobs as in sampling_weights; rng:
    a NumPy Generator, by default that of layers.default_rng().
    """
    ids, rng, was_training = np.asarray(ids, np.int64), rng or default_rng(), model.training
    ### BEGIN SOLUTION
    model.eval()
    try:
        with no_grad():
            for _ in range(count):
                logits = model(Tensor(ids[:, -model.length:])).numpy()[:, -1]
                weights = sampling_weights(logits, temperature, top_k, top_p)
                drawn = [rng.choice(len(w), p=w) for w in weights]
                ids = np.concatenate([ids, np.array(drawn, np.int64).reshape(-1, 1)], axis=1)
    finally:
        model.train(was_training)
    return Tensor(ids)
    ### END SOLUTION

# %% check="sampling_weights" points=7
def adds_up(out, *arguments, **knobs):
    return isinstance(out, dict) or np.allclose(np.sum(out, axis=-1), 1)


def weights_of(logits, **knobs):
    try:
        return sampling_weights(logits, **knobs)
    except ValueError as error:
        return {"the message names": [str(v) in str(error) for v in knobs.values()]}

FOUR = np.log([0.15, 0.5, 0.05, 0.3])
check("sampling_weights", [
    case(FOUR),
    case(FOUR, temperature=0.5),
    case(FOUR, top_k=2),
    case(FOUR, top_p=0.81),
    case(np.array([2.0, 7.0, 7.0]), temperature=0),
], call=weights_of, properties=[prop("rows add up to 1", adds_up)])

# %% hidden="sampling_weights"
def cases(rng):
    def logits(*shape):
        return rng.normal(size=shape) * 2

    for temperature in (1.0, 0.3, 1.7, 5.0):
        yield case(logits(2, 7), temperature=temperature, behaviour="temperature")
    for k in (1, 2, 5):
        yield case(logits(3, 7), top_k=k, behaviour="top-k")
    yield case(logits(7), top_k=7, behaviour="top-k")
    yield case(logits(7), top_k=50, behaviour="top-k")
    for p in (0.3, 0.6, 0.9, 1.0, 0.01):
        yield case(logits(3, 9), top_p=p, behaviour="top-p: as few as reach p")
    yield case(rng.normal(size=(2, 10)) / 20, top_k=4, top_p=0.4, behaviour="all three, in their order")
    for k, p in ((3, 0.7), (2, 0.9), (5, 0.5)):
        yield case(logits(3, 8), temperature=float(rng.uniform(0.5, 2)), top_k=k, top_p=p, behaviour="all three, in their order")
    for _ in range(2):
        yield case(logits(2, 6), temperature=0, behaviour="temperature 0, and equals")
    yield case(np.array([[3.0, 5.0, 5.0, 1.0]]), temperature=0, behaviour="temperature 0, and equals")
    yield case(np.array([[1.0, 5.0, 5.0, 5.0]]), top_k=2, behaviour="temperature 0, and equals")
    yield case(np.zeros((1, 5)), temperature=0, top_k=3, top_p=0.9, behaviour="temperature 0, and equals")
    yield case(logits(2, 5) + 1000, top_k=3, behaviour="large logits, -inf, float32")
    yield case(np.array([-np.inf, 1.0, -np.inf, 2.0]), top_p=0.999, behaviour="large logits, -inf, float32")
    yield case((logits(2, 3, 6)).astype("float32"), top_p=0.8, behaviour="large logits, -inf, float32")
    for knob in ({"temperature": -0.5}, {"top_k": 0}, {"top_k": -3}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_p": -0.25}):
        yield case(logits(5), **knob, behaviour="knobs out of range are refused")

# %% check="generate" points=5
class Adder(Module):
    """A model for the checks: its logits rise towards the sum of all tokens it sees, modulo 7; fails when there are too many."""

    def __init__(self, length, fails_at=None):
        super().__init__()
        self.length, self.fails_at, self.seen, self.modes = length, fails_at, [], []

    def forward(self, ids):
        ids = np.asarray(ids)
        self.seen.append(ids.shape[1])
        self.modes.append(self.training)
        if ids.shape[1] == self.fails_at:
            raise RuntimeError("the model fails")
        distance = (np.arange(7) - np.cumsum(ids, axis=1)[..., None]) % 7
        return Tensor(-1.0 * distance) * Parameter(np.ones(1))


def written(ids, count, length=99, fails_at=None, training=True, **knobs):
    """Text by weights that put everything on one token, which depends on the knobs; and how the model was called."""
    def one(logits, temperature=1.0, top_k=None, top_p=None):
        rank = (2 if temperature == 0.5 else 0) + (top_k or 0) + (3 if top_p else 0)
        return np.eye(7)[np.argsort(-np.asarray(logits), axis=-1)[..., rank]]

    model = Adder(length, fails_at).train(training)
    recorded = []
    before, Function.record = Function.record, lambda f, t, y, old=Function.record: (old(f, t, y), recorded.append(y.requires_grad))
    try:
        with swapped(sampling_weights=one):
            out = generate(model, ids, count, rng=np.random.default_rng(0), **knobs)
    except RuntimeError:
        out = "failed"
    finally:
        Function.record = before
    return {"text": out, "tokens seen": model.seen, "in training": model.modes, "left in": model.training, "with a graph": any(recorded)}


def frequencies(shares, count, seed):
    """Whether drawn tokens are as frequent as they should be, and the same for the same seed."""
    with swapped(sampling_weights=lambda logits, *knobs, **more: np.tile(shares, (len(logits), 1))):
        texts = [generate(Adder(2), np.zeros((2, 1), "int64"), count, rng=np.random.default_rng(s)).numpy()[:, 1:]
                 for s in (seed, seed, seed + 1)]
    found = np.stack([(texts[0] == token).mean(1) for token in range(7)])
    error = 5 * np.sqrt(shares * (1 - shares) / count)[:, None]
    return {"as frequent as they should be": bool((abs(found - shares[:, None]) <= error).all()),
            "the same seed": bool((texts[0] == texts[1]).all()), "another seed": bool((texts[0] == texts[2]).all()),
            "texts of a batch are drawn apart": bool((texts[0][0] != texts[0][1]).any())}


def either(first, count, *more, **options):
    return frequencies(first, count, *more) if np.asarray(first).dtype.kind == "f" else written(first, count, **options)

check("generate", [
    case(np.array([[1, 2]]), 4),
    case(np.array([[1, 2], [3, 3]]), 3, length=2),
    case(np.array([0.1, 0.2, 0.3, 0.0, 0.0, 0.4, 0.0]), 300, 5),
], call=either)

# %% hidden="generate"
def cases(rng):
    for B, T, count in ((1, 3, 5), (3, 2, 4), (2, 1, 6)):
        yield case(rng.integers(1, 7, (B, T)), count, behaviour="each token becomes part of the text")
    for length in (1, 3, 4):
        yield case(rng.integers(1, 7, (2, 5)), 4, length=length, behaviour="no more than the last tokens are seen")
    for knobs in ({"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.5}, {"temperature": 0.5, "top_k": 1, "top_p": 0.9}):
        yield case(rng.integers(1, 7, (2, 3)), 3, behaviour="knobs are passed on", **knobs)
    for training in (True, False):
        yield case(rng.integers(1, 7, (1, 3)), 2, training=training, behaviour="modes, and a model that fails")
        yield case(rng.integers(1, 7, (1, 3)), 5, fails_at=5, training=training, behaviour="modes, and a model that fails")
    for _ in range(2):
        shares = rng.random(7)
        yield case(shares / shares.sum(), 400, int(rng.integers(1 << 30)), behaviour="tokens are drawn with their weights")
    yield case(rng.integers(1, 7, (2, 3)), 0, behaviour="nothing to write")

# %% [markdown]
# ## 8. Probes
#
# A probe asks a model a question whose answer is known for a correct one.
#
# * **Causality.** Change all tokens from position `at` on. The logits before `at` must not change at all.
# * **Position.** Reverse all tokens before the last. If the logits of the last position stay the same, the model sees a
#   bag of words.
# * **Entropy.** The entropy of a head's weights, $-\sum_i w_i \ln w_i$ in nats, says how many positions it looks at:
#   0 for a single one, ln n for n equally. With weights (1/2, 1/4, 1/4, 0) it is 1.04 nats, as of 2.83 equal ones.
#
# **Exercise 8.1** `causality_leak`. Each changed token becomes the next one, id + 1, and the last of the vocabulary
# becomes 0. **Exercise 8.2** `position_sensitivity`. **Exercise 8.3** `attention_entropy`: 0 · ln 0 is 0. Both probes of
# a model run it in evaluation, as `settled` does, and keep no graph.

# %%
#| export
def settled(model, ids):
    """Logits (B, T, V) as an array, in evaluation and without a graph; the model is left in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            return model(Tensor(np.asarray(ids))).numpy()
    finally:
        model.train(was_training)

# %%
class Peeking(Module):
    """A model for the probes: logits by weights (T, T) of what each position sees. It wants to be in evaluation."""

    def __init__(self, sees, vocabulary, ordered=True):
        super().__init__()
        self.sees, self.vocabulary, self.ordered = sees, vocabulary, ordered

    def forward(self, ids):
        ids = np.asarray(ids)
        one_hot = np.eye(self.vocabulary)[ids] + 0.0
        if self.ordered:
            one_hot = one_hot * np.sqrt(1.0 + np.arange(ids.shape[1]))[:, None]
        return Tensor(self.sees @ one_hot + 100.0 * self.training * np.cos(ids.sum()))


# %% solution="causality_leak"
#| export
def causality_leak(model, ids, at):
    """The largest change of a logit before position at when each token from at on is replaced: 0.0 for a causal model.

    ids (B, T), 0 < at < T. Raises ValueError for another at.
    """
    ids = np.asarray(ids)
    if not 0 < at < ids.shape[1]:
        raise ValueError(f"at is between 0 and {ids.shape[1]}, the length of the text, got {at}")
    ### BEGIN SOLUTION
    before = settled(model, ids)
    changed = ids.copy()
    changed[:, at:] = (changed[:, at:] + 1) % before.shape[-1]
    return float(abs(settled(model, changed)[:, :at] - before[:, :at]).max())
    ### END SOLUTION


# %% solution="position_sensitivity"
#| export
def position_sensitivity(model, ids):
    """The mean change of the last position's logits when the tokens before it are reversed: ids (B, T) -> float."""
    ids = np.asarray(ids)
    ### BEGIN SOLUTION
    turned = np.concatenate([ids[:, -2::-1], ids[:, -1:]], axis=1)
    return float(abs(settled(model, turned)[:, -1] - settled(model, ids)[:, -1]).mean())
    ### END SOLUTION


# %% solution="attention_entropy"
#| export
def attention_entropy(weights):
    """The mean entropy of the weights of each head, in nats: an array (B, H, T, S), rows adding up to 1 -> array (H,)."""
    ### BEGIN SOLUTION
    weights = np.asarray(weights)
    logs = np.log(weights, where=weights > 0, out=np.zeros(weights.shape, weights.dtype))
    return -(weights * logs).sum(-1).mean((0, 2))
    ### END SOLUTION

# %% check="causality_leak" points=3
def leaked(sees, ids, at, vocabulary=5):
    model = Peeking(sees, vocabulary)
    return {"leak": round(causality_leak(model, ids, at), 9), "left in training": model.training}

check("causality_leak", [
    case(np.tri(3), np.array([[1, 2, 3]]), 1),
    case(np.tri(3, 3, 1), np.array([[1, 2, 4]]), 2),
], call=leaked)

# %% hidden="causality_leak"
def cases(rng):
    for T in (4, 6):
        for at in (1, T - 1):
            yield case(np.tril(rng.normal(size=(T, T))), rng.integers(0, 5, (2, T)), at, behaviour="nothing leaks")
            yield case(rng.normal(size=(T, T)), rng.integers(0, 5, (2, T)), at, behaviour="what leaks, of any sign")
            yield case(np.tril(rng.normal(size=(T, T)), 1), rng.integers(0, 5, (2, T)), at, behaviour="what leaks, of any sign")
    only_last = np.eye(4)
    only_last[0, 3] = 2.5
    yield case(only_last, rng.integers(0, 5, (1, 4)), 1, behaviour="a leak from the last token alone")
    yield case(only_last, np.full((2, 4), 4), 2, behaviour="a leak from the last token alone")

# %% check="position_sensitivity" points=2
def sensed(sees, ids, ordered=True):
    model = Peeking(sees, 5, ordered)
    return {"change": round(position_sensitivity(model, ids), 9), "left in training": model.training}

check("position_sensitivity", [
    case(np.ones((3, 3)), np.array([[1, 2, 3]])),
    case(np.ones((3, 3)), np.array([[1, 2, 3]]), ordered=False),
], call=sensed)

# %% hidden="position_sensitivity"
def cases(rng):
    for T in (3, 5, 6):
        yield case(rng.normal(size=(T, T)), rng.integers(0, 5, (2, T)), behaviour="tokens before the last are reversed")
    yield case(np.ones((4, 4)), rng.integers(0, 5, (3, 4)), ordered=False, behaviour="a bag of words, and short texts")
    for T in (1, 2):
        yield case(rng.normal(size=(T, T)), rng.integers(0, 5, (2, T)), behaviour="a bag of words, and short texts")

# %% check="attention_entropy" points=3
def entropies(weights):
    return np.asarray(attention_entropy(weights))

check("attention_entropy", [
    case(np.array([[[[0.5, 0.25, 0.25, 0.0]], [[1.0, 0.0, 0.0, 0.0]]]])),
    case(np.full((2, 1, 3, 4), 0.25)),
], call=entropies)

# %% hidden="attention_entropy"
def cases(rng):
    for shape in ((1, 3, 4, 4), (2, 3, 4, 5), (3, 2, 2, 6)):
        weights = rng.random(shape)
        yield case(weights / weights.sum(-1, keepdims=True), behaviour="each head's mean over texts and queries")
    weights = np.tril(rng.random((2, 2, 4, 4)))
    yield case(weights / weights.sum(-1, keepdims=True), behaviour="weights of 0")
    yield case(np.broadcast_to(np.eye(4), (2, 3, 4, 4)), behaviour="weights of 0")
    weights = rng.random((1, 2, 3, 300)).astype("float32")
    yield case(weights / weights.sum(-1, keepdims=True), behaviour="float32")

# %% [markdown]
# ## 9. A model that writes
#
# A small GPT on a short text, a token being a byte. It will learn the poem by heart, which is all that a thousand
# letters allow. Before you run the cell: what is the loss before the first step, with 128 tokens and logits near 0?

# %% show
import matplotlib.pyplot as plt

from tinytorch import AdamW, clip_grad_norm_, cross_entropy

TEXT = """'Twas brillig, and the slithy toves
Did gyre and gimble in the wabe;
All mimsy were the borogoves,
And the mome raths outgrabe.

"Beware the Jabberwock, my son!
The jaws that bite, the claws that catch!
Beware the Jubjub bird, and shun
The frumious Bandersnatch!"

He took his vorpal sword in hand:
Long time the manxome foe he sought --
So rested he by the Tumtum tree,
And stood awhile in thought.

And as in uffish thought he stood,
The Jabberwock, with eyes of flame,
Came whiffling through the tulgey wood,
And burbled as it came!
"""  # Lewis Carroll 1871
data = np.frombuffer(TEXT.encode(), np.uint8).astype("int64")


def batches(rng, batch=8, length=32):
    """Windows of the text, and the tokens that follow theirs."""
    while True:
        at = rng.integers(0, len(data) - length, (batch, 1)) + np.arange(length)
        yield Tensor(data[at]), Tensor(data[at + 1])


def train(model, steps, seed=0, rate=4e-3):
    """Losses of some steps of AdamW."""
    optimizer, course = AdamW(model.parameters(), rate, weight_decay=0.01), []
    for _, (ids, targets) in zip(range(steps), batches(np.random.default_rng(seed)), strict=False):
        logits = model(ids)
        loss = cross_entropy(logits.reshape(-1, model.vocabulary), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        course.append(loss.item())
    return course


kinds = {"as GPT-2": {}, "as Llama": {"positions": "rotary", "norm": "rms", "activation": "swiglu", "bias": False, "kv_heads": 2},
         "no positions": {"positions": "none"}}
models, courses = {}, {}


def study(name, model=None):
    """Make a model of this kind, train it, and say what it has learned."""
    models[name] = model or GPT(128, 48, 2, 4, length=64, rng=np.random.default_rng(0), **kinds[name])
    courses[name] = train(models[name], 120)
    parameters = sum(p.numel() for p in models[name].parameters())
    print(f"{name}: {parameters:,} parameters, loss {courses[name][0]:.2f} -> {np.mean(courses[name][-10:]):.2f}, "
          f"perplexity {perplexity(courses[name][-10:], [256] * 10):.2f}")


print(f"ln 128 = {math.log(128):.2f}")
study("as GPT-2")

# %% show
study("as Llama")

# %% show
study("no positions")
start = np.frombuffer(b"And as in", np.uint8)[None].astype("int64")
for temperature in (0, 1.0):
    text = generate(models["as Llama"], start, 60, temperature, rng=np.random.default_rng(3))
    print(f"as Llama, temperature {temperature}:", repr(bytes(text.numpy()[0].astype("uint8")).decode()))

# %% [markdown]
# Which of the three does not know positions? The loss of the third is close to that of the first. Now the probes, on
# these three and on one whose mask was shifted by a position.

# %% show
from tinytorch import attention_weights, causal_mask


class Shifted(MultiHeadAttention):
    """Attention with the mistake of the introduction: each position sees the next one too."""

    def forward(self, x, mask=None, cache=None, offset=0):
        q, k, v = self.project(x, offset)
        T = x.shape[1]
        seen = np.tri(T, T, 1, dtype=bool)
        mixed = attention_weights(q, k, mask=seen) @ v
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


wrong = GPT(128, 48, 2, 4, length=64, rng=np.random.default_rng(0))
for block in wrong.blocks:
    block.attention = Shifted(48, 4, rng=np.random.default_rng(1))
study("shifted mask", wrong)

# %% show
ids = data[None, 100:132]
print("model          loss   causality leak   position sensitivity   entropy of heads, first block, in nats")
for name, model in models.items():
    entropy = attention_entropy(model.attention_maps(ids)[0]) if name != "shifted mask" else np.array([math.nan])
    print(f"{name:13} {np.mean(courses[name][-10:]):5.2f} {causality_leak(model, ids, 16):14.3g} {position_sensitivity(model, ids):20.3g}"
          f"        {' '.join(f'{h:.2f}' for h in entropy)}")
text = generate(wrong, start, 40, 0, rng=np.random.default_rng(3)).numpy()[0]
print("shifted mask writes:", repr(bytes(text.astype("uint8")).decode(errors="replace")))
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for name, course in courses.items():
    axes[0].plot(np.convolve(course, np.ones(8) / 8, "valid"), label=name)
axes[0].set(xlabel="step", ylabel="loss in nats, mean of 8 steps", title="What the loss shows", ylim=(0, 5))
axes[0].legend()
letters = list(TEXT[100:132].replace("\n", "¶"))
image = axes[1].imshow(models["as GPT-2"].attention_maps(ids)[1][0].mean(0), cmap="Blues")
axes[1].set(title="GPT-2's second block, mean of its heads", xticks=range(32), yticks=range(32), xticklabels=letters, yticklabels=letters)
axes[1].tick_params(labelsize=7)
figure.colorbar(image, ax=axes[1], label="weight")
plt.show()

# %% [markdown]
# Look into the heads yourself. The framed row is the query; its sentence names the keys that it looks at most.

# %% show
from mlsysbook import explore, pick, slider

maps = {name: models[name].attention_maps(ids) for name in kinds}


def heads_of(model, block, head, query):
    return maps[model][block - 1][0, head - 1]


def heat_map(axes, weights, settings):
    axes.imshow(weights, cmap="Blues", vmin=0)
    axes.add_patch(plt.Rectangle((-0.5, settings["query"] - 0.5), len(weights), 1, fill=False, edgecolor="black"))
    axes.set(xticks=range(32), yticks=range(32), xticklabels=letters, yticklabels=letters, xlabel="key", ylabel="query",
             title=f"{settings['model']}, block {settings['block']}, head {settings['head']}")
    axes.tick_params(labelsize=5)


def looks_at(weights, settings):
    row = weights[settings["query"]]
    most = ", ".join(f"{letters[k]!r} {settings['query'] - k} back with {row[k]:.2f}" for k in np.argsort(-row)[:3])
    entropy = attention_entropy(row[None, None, None])[0]
    return f"from {letters[settings['query']]!r} at {settings['query']} it looks at {most}; entropy {entropy:.2f} nats"


explore(heads_of, {"model": pick(*kinds), "block": pick(1, 2), "head": pick(1, 2, 3, 4), "query": slider(0, 31, start=31, steps=31)},
        draw=heat_map, say=looks_at)

# %% [markdown]
# The shifted mask has by far the best loss, leaks, and writes nonsense. The model without positions is not entirely blind to
# order, since a causal mask shows the first tokens less than the last ones, and two blocks can make something of that.
#
# ## 10. What it costs
#
# Estimate or predict, then measure. A prediction is locked when you run its cell, and the measurement below refuses to
# run before.
#
# ### 10.1 GPT-2
#
# The smallest GPT-2 has V = 50 257, width 768, 12 blocks, 1024 learned positions, MLPs of width 3072, biases in all
# linear layers but the head, and a tied head. How many parameters has it, to a tenth of a percent?

# %% answer="gpt2" points=2
gpt2 = ""  # a number, such as "100e6"
### BEGIN SOLUTION
gpt2 = f"{(50257 + 1024) * 768 + 12 * (12 * 768 * 768 + 13 * 768) + 2 * 768}"
### END SOLUTION

# %% key="gpt2"
from mlsysbook import Key, Mistake


def key(v):
    V, W, L, T = 50257, 768, 12, 1024
    block = 4 * W * W + 4 * W + 8 * W * W + 5 * W + 4 * W  # attention, MLP, two norms
    total = V * W + T * W + L * block + 2 * W
    return Key(total, "", tol=0.001, mistakes=(
        Mistake(total + V * W, 0.5, "the head is tied: its matrix is that of the tokens"),
        Mistake(total - T * W, 0.5, "the learned positions are 1024 rows of 768"),
        Mistake(total - L * 13 * W - 2 * W, 0.5, "biases and norms count too"),
        Mistake(L * block + 2 * W, 0.25, "that is without tokens and positions"),
    ))

# %% [markdown]
# It is trained with AdamW, everything in float32. How many bytes do parameters, gradients and moments take together?

# %% answer="training_bytes" points=2
training_bytes = ""  # a number with its unit, such as "1.5 GB"
### BEGIN SOLUTION
training_bytes = f"{16 * 124_439_808} B"
### END SOLUTION

# %% key="training_bytes"
def key(v):
    V, W, L, T = 50257, 768, 12, 1024
    total = V * W + T * W + L * (12 * W * W + 13 * W) + 2 * W
    return Key(16 * total, "B", tol=0.02, mistakes=(
        Mistake(12 * total, 0.5, "parameter, gradient, first and second moment: four numbers"),
        Mistake(8 * total, 0.25, "AdamW keeps two moments of each parameter as well"),
        Mistake(4 * total, 0.25, "that is the parameters alone"),
    ))

# %% [markdown]
# ### 10.2 Activations
#
# A GPT of width 64 with 2 blocks and 4 heads reads 8 texts of 64 tokens, V = 128, in training. **How many times the bytes
# of its parameters does the graph hold after the forward pass?**

# %% predict="activations" points=1
# predict("activations", "number", low="number", high="number")
### BEGIN SOLUTION
predict("activations", "12", low="6", high="25")
### END SOLUTION

# %% show
import time


def best_of(f, repeat=5):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


held = Storage.live_bytes
model = GPT(128, 64, 2, 4, length=64, rng=np.random.default_rng(0))
parameters = Storage.live_bytes - held
print(f"parameters {parameters:,} B, counted {sum(p.nbytes for p in model.parameters()):,} B")
kept = {}
for batch in (2, 4, 8):
    ids = Tensor(np.random.default_rng(1).integers(0, 128, (batch, 64)))
    before = Storage.live_bytes
    logits = model(ids)
    kept[batch] = Storage.live_bytes - before
    print(f"batch {batch}: {kept[batch]:10,} B in storages, {kept[batch] / batch / 64:,.0f} B a token")
    logits = None
reveal("activations", f"{kept[8] / parameters:.3g}")

# %% [markdown]
# Activations grow with batch and length, parameters do not. For large models the ratio turns around; for long texts it
# turns back. `checkpoint` of module 06 around each block keeps its input only, for the price of another forward pass.
#
# ### 10.3 Writing
#
# `generate` reads the whole text again for each new token. The model above writes 32 tokens after 32 given ones.
# **How many times longer does that take than one forward pass over 64 tokens?** All are of batch 1.

# %% predict="writing" points=1
# predict("writing", "number", low="number", high="number")
### BEGIN SOLUTION
predict("writing", "28", low="15", high="40")
### END SOLUTION

# %% show
ids = np.random.default_rng(2).integers(0, 128, (1, 64))
once = all_of_it = math.inf
for _ in range(4):                          # in turns, so that a disturbance hits both
    once = min(once, best_of(lambda: settled(model, ids), 3))
    all_of_it = min(all_of_it, best_of(lambda: generate(model, ids[:, :32], 32), 1))
reveal("writing", f"{all_of_it / once:.3g}")
print(f"one pass {once * 1e3:.2f} ms, writing 32 tokens {all_of_it * 1e3:.1f} ms, {all_of_it / 32 * 1e3:.2f} ms a token")

# %% [markdown]
# Thirty-two passes, each a little shorter than the last one. Nearly all of it computes keys and values that were
# computed before. Module 18 keeps them; `caches` and `offset` are where they come in.
#
# ### 10.4 A norm in one piece
#
# `NormalizeRows` is one operation with a backward of its own. The same formula can be written with operations on
# tensors: `mean`, `-`, `*`, `**`. On x of shape (1024, 256), forward and backward, **how many times longer does that
# take?**

# %% predict="one_piece" points=1
# predict("one_piece", "number", low="number", high="number")
### BEGIN SOLUTION
predict("one_piece", "2", low="1.2", high="5")
### END SOLUTION

# %% show
norm = LayerNorm(256)
x = Tensor(np.random.default_rng(3).normal(size=(1024, 256)), "float32", requires_grad=True)


def composed():
    shifted = x - x.mean(-1, keepdims=True)
    return shifted * ((shifted * shifted).mean(-1, keepdims=True) + norm.eps) ** -0.5 * norm.weight + norm.bias


ways = {"one operation": lambda: norm(x), "from operations": composed}
seconds, kept = dict.fromkeys(ways, math.inf), {}
grad = np.ones(x.shape, "float32")
for _ in range(7):                          # in turns, so that a disturbance hits both
    for name, way in ways.items():
        seconds[name] = min(seconds[name], best_of(lambda way=way: way().backward(grad), 1))
for name, way in ways.items():
    before = Storage.live_bytes
    y = way()
    kept[name] = Storage.live_bytes - before
    y = None
reveal("one_piece", f"{seconds['from operations'] / seconds['one operation']:.3g}")
for name in ways:
    print(f"{name:16} {seconds[name] * 1e3:6.2f} ms, storages held for backward {kept[name] / x.nbytes:.1f} times those of x")
model = x = grad = None

# %% [markdown]
# Fewer arrays go to memory and back. `NormalizeRows` keeps n in an array of its own as well, which storages do not count.
# A compiled kernel goes one step further: it reads each row once, keeps mean and r, and computes n again.
#
# ## 11. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="too_good" points=4
# A student's language model reaches a validation loss of 0.02 nats a byte after an hour, where others have 1.3. Its text
# is a repetition of one letter. He says that sampling must be wrong, and lowers the temperature. In six to ten
# sentences: say what you suspect, and why validation text does not show it; which probe you run first, on what, and
# which results are possible, with what each would mean; how you tell whether sampling is at fault; and name one other
# mistake with a too good loss that this probe does not find, and how you would find that.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. The model sees the token that it predicts: a shifted or missing causal mask, or targets that are not shifted. On any
#    text, validation included, the answer stands in the input; when writing it does not.
# 2. causality_leak on any text, in evaluation: above 0 means a leak in the model; exactly 0 means the model is causal,
#    and the suspicion moves to the data: targets equal to inputs.
# 3. Sampling is checked apart from the model: greedy text, or the argmax of single positions, against known text; or
#    sampling_weights against known logits. Temperature cannot repair a wrong distribution.
# 4. Another mistake with its test: targets not shifted (compare targets with ids[1:]), validation text contained in
#    the training text (search for it), a loss averaged over padding (count the tokens), bits per byte with a wrong
#    count of bytes.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Norms keep rows at a fixed size and take two directions out of the gradient. Blocks add branches to a sum that nothing
# interrupts. GPT is tokens, positions, blocks, a norm and a head, which may be the tokens' own matrix. Temperature,
# top-k and top-p shape what is drawn; perplexity and bits per byte say how good the distribution is; and probes say
# whether the number can be believed.
#
# | here | PyTorch, and elsewhere |
# |---|---|
# | `LayerNorm`, `RMSNorm` | `torch.nn.LayerNorm`, `torch.nn.RMSNorm` |
# | `Block` | `nn.TransformerEncoderLayer(norm_first=True)` with a causal mask |
# | `GPT` | `GPT2LMHeadModel` and `LlamaForCausalLM` in Hugging Face's transformers |
# | `start_weights` | `_init_weights` there |
# | `sampling_weights` | `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper` |
# | `generate` | `model.generate`, which has a cache |
#
# Module 14 asks where the time of such a model goes, operation by operation.
