# Exported from modules/tinytorch/13_transformers by `mlsys build`; edit the module's source, not this file.

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


def layer_norm(x, weight, bias, eps=1e-5):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis -> (result, n, r), as in the gradient's formula.

    x (..., D), weight and bias (D,): arrays of one dtype. n has the shape of x, r (..., 1).
    """
    centred = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + x.dtype.type(eps))
    n = centred * r
    return n * weight + bias, n, r


def layer_norm_backward(n, r, weight, grad):
    """The gradients for x (..., D), weight (D,) and bias (D,), given n and r of layer_norm, and grad, that of its result."""
    h = grad * weight
    dx = r * (h - h.mean(-1, keepdims=True) - n * (h * n).mean(-1, keepdims=True))
    rows = tuple(range(grad.ndim - 1))
    return dx, (grad * n).sum(rows), grad.sum(rows)


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
        wide = x.astype("float32") if x.dtype == np.float16 else x
        y = wide * ((wide * wide).mean(-1, keepdims=True) + self.eps) ** -0.5 * self.weight
        return y.astype(x.dtype) if y.dtype != x.dtype else y

    def extra_repr(self):
        return f"{self.weight.numel()}, eps={self.eps:g}"


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": lambda x: gelu(x, "tanh"), "silu": silu, "swiglu": silu}


def hidden_width(width, activation):
    """The usual hidden width: 4 times the width; with a gate 8/3 of it, rounded up to a multiple of 8."""
    return -(-8 * width // 24) * 8 if activation == "swiglu" else 4 * width


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
        shape = ACTIVATIONS[self.activation]
        if self.gate is None:
            return self.down(shape(self.up(x)))
        return self.down(shape(self.gate(x)) * self.up(x))


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
        x = x + self.drop(self.attention(self.norm1(x), mask=mask, cache=cache, offset=offset))
        return x + self.drop(self.mlp(self.norm2(x)))


NORMS = {"layer": LayerNorm, "rms": RMSNorm}


def start_weights(model, depth, std=STD, rng=None):
    """Draw matrices normally with std, those that end a branch with std / sqrt(2 depth), zero biases; in place -> model.

    A matrix that ends a branch has a name that ends in "out.weight" or "down.weight". Source: Radford et al. 2019.
    """
    for name, parameter in model.named_parameters():
        path = name.split(".")
        if parameter.ndim == 2:
            ends = path[-2:] in (["out", "weight"], ["down", "weight"])
            normal_(parameter, 0.0, std / math.sqrt(2 * depth) if ends else std, rng)
        elif path[-1] == "bias":
            overwrite(parameter, 0)
    return model


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
        x = self.tokens(ids)
        if self.positions is not None:
            x = self.positions(x, offset)
        return self.drop(x)

    def forward(self, ids, mask=None, caches=None, offset=0):
        """caches: for each block an object with extend(k, v); offset: how many positions they hold. mask: as in attention."""
        x = self.embed(ids, offset)
        for k, block in enumerate(self.blocks):
            x = block(x, mask=mask, cache=None if caches is None else caches[k], offset=offset)
        return self.head(self.norm(x))

    def attention_maps(self, ids):
        """What the heads of each block look at: a list of arrays (B, H, T, T)."""
        with no_grad():
            x, maps = self.embed(ids), []
            for block in self.blocks:
                maps.append(block.attention.weights(block.norm1(x)).numpy())
                x = block(x)
        return maps


def perplexity(losses, counts):
    """exp of the mean loss of a token: losses are means over batches, in nats, counts their tokens -> float; inf beyond 1e308.

    Raises ValueError if there are no tokens.
    """
    tokens = math.fsum(counts)
    if tokens <= 0:
        raise ValueError(f"a perplexity is that of one token at least, got {tokens:g}")
    mean = math.fsum(loss * count for loss, count in zip(losses, counts, strict=True)) / tokens
    return math.exp(mean) if mean < 709 else math.inf


def bits_per_byte(losses, counts, size):
    """All the loss of a text in bits, over size, its bytes; losses and counts as in perplexity -> float.

    Raises ValueError if there are no bytes.
    """
    if size <= 0:
        raise ValueError(f"the text has one byte at least, got {size}")
    return math.fsum(loss * count for loss, count in zip(losses, counts, strict=True)) / math.log(2) / size


def sampling_weights(logits, temperature=1.0, top_k=None, top_p=None):
    """The probabilities to draw the next token with: an array (..., V) of logits -> float64 array (..., V).

    temperature, then top_k, then top_p; rows add up to 1. Raises ValueError for a knob out of range.
    Source: Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p).
    """
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


def generate(model, ids, count, temperature=1.0, top_k=None, top_p=None, rng=None):
    """Continue texts by count tokens: ids (B, T), integers -> int64 tensor (B, T + count).

    model(ids) gives logits (B, T, V), and model.length is the longest text that it takes. Knobs as in sampling_weights; rng:
    a NumPy Generator, by default that of layers.default_rng().
    """
    ids, rng, was_training = np.asarray(ids, np.int64), rng or default_rng(), model.training
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


def settled(model, ids):
    """Logits (B, T, V) as an array, in evaluation and without a graph; the model is left in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            return model(Tensor(np.asarray(ids))).numpy()
    finally:
        model.train(was_training)


def causality_leak(model, ids, at):
    """The largest change of a logit before position at when each token from at on is replaced: 0.0 for a causal model.

    ids (B, T), 0 < at < T. Raises ValueError for another at.
    """
    ids = np.asarray(ids)
    if not 0 < at < ids.shape[1]:
        raise ValueError(f"at is between 0 and {ids.shape[1]}, the length of the text, got {at}")
    before = settled(model, ids)
    changed = ids.copy()
    changed[:, at:] = (changed[:, at:] + 1) % before.shape[-1]
    return float(abs(settled(model, changed)[:, :at] - before[:, :at]).max())


def position_sensitivity(model, ids):
    """The mean change of the last position's logits when the tokens before it are reversed: ids (B, T) -> float."""
    ids = np.asarray(ids)
    turned = np.concatenate([ids[:, -2::-1], ids[:, -1:]], axis=1)
    return float(abs(settled(model, turned)[:, -1] - settled(model, ids)[:, -1]).mean())


def attention_entropy(weights):
    """The mean entropy of the weights of each head, in nats: an array (B, H, T, S), rows adding up to 1 -> array (H,)."""
    weights = np.asarray(weights)
    logs = np.log(weights, where=weights > 0, out=np.zeros(weights.shape, weights.dtype))
    return -(weights * logs).sum(-1).mean((0, 2))
