# Exported from modules/tinytorch/16_compression by `mlsys build`; edit the module's source, not this file.

"""Compression: fewer weights, and storage that shrinks with them.

    magnitude_mask, global_masks, pattern_mask     what to keep, as bool arrays
    Pruner(model)                                  holds masks while a model trains on
    CSRLinear, keep_outputs, keep_inputs, LowRankLinear      layers that are smaller in memory
    distillation_loss                              what a teacher says, beside the labels

Errors, each one line: ValueError (a sparsity, rank or temperature out of range), ShapeError (a pattern that does not divide
a row, layers that do not fit each other).
"""

import numpy as np

from tinytorch.activations import log_softmax, softmax
from tinytorch.convolutions import Conv2d
from tinytorch.layers import Linear, Module, Parameter
from tinytorch.losses import cross_entropy
from tinytorch.tensor import ShapeError, Tensor

INDEX = np.int32


def magnitude_mask(weight, sparsity):
    """A bool array of weight's shape: False for the round(sparsity * size) numbers of smallest magnitude, the first of equals.

    Raises ValueError for a sparsity that is not from 0 to 1.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is from 0 to 1, got {sparsity}")
    mask = np.ones(weight.size, bool)
    mask[np.argsort(np.abs(weight).ravel(), kind="stable")[:round(sparsity * weight.size)]] = False
    return mask.reshape(weight.shape)


def global_masks(weights, sparsity):
    """Bool arrays for a list of arrays: False for the round(sparsity * all) numbers of smallest magnitude over all of them.

    Raises ValueError for a sparsity that is not from 0 to 1.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is from 0 to 1, got {sparsity}")
    everything = np.concatenate([np.abs(w).ravel() for w in weights]) if weights else np.zeros(0)
    mask = np.ones(everything.size, bool)
    mask[np.argsort(everything, kind="stable")[:round(sparsity * everything.size)]] = False
    ends = np.cumsum([w.size for w in weights])
    return [part.reshape(w.shape) for part, w in zip(np.split(mask, ends[:-1]), weights, strict=True)] if weights else []


def pattern_mask(weight, n=2, m=4):
    """A bool array that keeps the n largest magnitudes of each m neighbours along the last axis, the later of equals.

    Raises ShapeError, with the length of the axis and m, if m does not divide it.
    """
    if weight.shape[-1] % m:
        raise ShapeError(f"rows of {weight.shape[-1]} are no whole number of groups of {m}")
    groups = np.abs(weight).reshape(-1, m)
    mask = np.ones(groups.shape, bool)
    np.put_along_axis(mask, np.argsort(groups, axis=-1, kind="stable")[:, :m - n], False, axis=-1)
    return mask.reshape(weight.shape)


def sparsity_at(step, begin, end, final, initial=0.0):
    """The sparsity at a step of a cubic schedule from `initial` at step `begin` to `final` at step `end`.

    Source: Zhu and Gupta 2017.
    """
    done = min(max((step - begin) / (end - begin), 0.0), 1.0)
    return final + (initial - final) * (1 - done) ** 3


class Pruner:
    """Masks for the weights of all Linear and Conv2d layers of a model, and the hand that holds them."""

    def __init__(self, model):
        self.layers = [m for m in model.modules() if isinstance(m, Linear | Conv2d)]
        self.masks = [np.ones(m.weight.shape, bool) for m in self.layers]

    def prune(self, sparsity):
        """Choose masks anew, over all layers, and apply them."""
        self.masks = global_masks([m.weight.numpy() for m in self.layers], sparsity)
        self.apply()

    def apply(self):
        """Set to zero what the masks leave out; to be called after each step of an optimizer."""
        for layer, mask in zip(self.layers, self.masks, strict=True):
            layer.weight.detach().copy_(layer.weight.numpy() * mask)

    def sparsity(self):
        """The share of weights that are zero."""
        return 1 - sum(int((m.weight.numpy() != 0).sum()) for m in self.layers) / sum(m.weight.numel() for m in self.layers)


def to_csr(weight):
    """(data, columns, offsets) of a matrix (O, K): numbers that are not zero, by rows, and int32 arrays that say where."""
    rows, columns = np.nonzero(weight)
    offsets = np.zeros(len(weight) + 1, INDEX)
    np.cumsum(np.bincount(rows, minlength=len(weight)), out=offsets[1:])
    return weight[rows, columns], columns.astype(INDEX), offsets


def from_csr(data, columns, offsets, width):
    """The matrix (O, width) that to_csr took apart."""
    weight = np.zeros((len(offsets) - 1, width), data.dtype)
    weight[np.repeat(np.arange(len(weight)), np.diff(offsets)), columns] = data
    return weight


def csr_product(x, data, columns, offsets):
    """Rows x (N, K) times the transpose of a matrix (O, K) in CSR -> (N, O). Work 2 N times the numbers in data."""
    products = x[:, columns] * data
    filled = np.diff(offsets) > 0
    out = np.zeros((len(x), len(offsets) - 1), products.dtype)
    if filled.any():
        out[:, filled] = np.add.reduceat(products, offsets[:-1][filled], axis=1)
    return out


def pack_2_4(weight):
    """(values (O, K / 2), places (O, K / 8) uint8) of a matrix (O, K), K a multiple of 8, with at most two of four not 0.

    Raises ShapeError for another K, ValueError for a group with three numbers or more.
    """
    rows, width = weight.shape
    if width % 8:
        raise ShapeError(f"rows of {width} are no whole number of groups of 8")
    groups = weight.reshape(rows, width // 4, 4)
    if (np.count_nonzero(groups, axis=-1) > 2).any():
        raise ValueError("a group of four has three nonzero numbers or more: prune by pattern_mask first")
    places = np.sort(np.argsort(groups == 0, axis=-1, kind="stable")[..., :2], axis=-1)
    values = np.take_along_axis(groups, places, axis=-1).reshape(rows, width // 2)
    quads = places.reshape(rows, width // 8, 4).astype(np.uint8)
    return values, quads[..., 0] | quads[..., 1] << 2 | quads[..., 2] << 4 | quads[..., 3] << 6


def unpack_2_4(values, places):
    """The matrix (O, K) that pack_2_4 took apart."""
    rows, half = values.shape
    where = np.stack([places >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1).reshape(rows, half // 2, 2)
    weight = np.zeros((rows, half // 2, 4), values.dtype)
    np.put_along_axis(weight, where.astype(np.int64), values.reshape(rows, half // 2, 2), axis=-1)
    return weight.reshape(rows, 2 * half)


def keep_outputs(layer, keep):
    """A new Linear or Conv2d (groups = 1) with the outputs `keep`, indices in their order."""
    return rebuilt(layer, layer.weight.numpy()[list(keep)], None if layer.bias is None else layer.bias.numpy()[list(keep)])


def keep_inputs(layer, keep, span=1):
    """A new Linear or Conv2d (groups = 1) that reads the inputs `keep`; span columns of a Linear belong to each."""
    columns = [index * span + k for index in keep for k in range(span)]
    return rebuilt(layer, layer.weight.numpy()[:, columns], None if layer.bias is None else layer.bias.numpy())


def rebuilt(layer, weight, bias):
    """A layer of the kind and with the options of another, with this weight and bias."""
    if isinstance(layer, Linear):
        new = Linear(weight.shape[1], len(weight), bias is not None, dtype=weight.dtype)
    else:
        options = {name: layer.options[name] for name in ("stride", "padding", "dilation")}
        new = Conv2d(weight.shape[1], len(weight), layer.kernel, bias=bias is not None, dtype=weight.dtype, **options)
    new.load_state_dict({"weight": weight, **({} if bias is None else {"bias": bias})})
    return new


def low_rank(weight, rank):
    """Two factors (O, rank) and (rank, K) whose product is the nearest of this rank to weight (O, K).

    Raises ValueError, with the rank, unless it is from 1 to min(O, K). Source: Eckart and Young 1936.
    """
    if not 1 <= rank <= min(weight.shape):
        raise ValueError(f"rank is from 1 to {min(weight.shape)} for shape {weight.shape}, got {rank}")
    u, s, vt = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
    root = np.sqrt(s[:rank])
    return (u[:, :rank] * root).astype(weight.dtype), (root[:, None] * vt[:rank]).astype(weight.dtype)


def rank_for(weight, share):
    """The smallest rank whose nearest matrix is off by at most `share` of the norm of weight (root of the sum of squares)."""
    s = np.linalg.svd(weight.astype(np.float64), compute_uv=False)
    left = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0))
    return max(int(np.argmax(left <= share * left[0] + 1e-12 * left[0])), 1)


class CSRLinear(Module):
    """A Linear that holds only the nonzero weights. For evaluation: no gradients. Buffers: data, columns, offsets, bias."""

    def __init__(self, layer):
        super().__init__()
        data, columns, offsets = to_csr(layer.weight.numpy())
        self.inputs = layer.weight.shape[1]
        for name, array in (("data", data), ("columns", columns), ("offsets", offsets)):
            self.register_buffer(name, Tensor(array))
        self.register_buffer("bias", None if layer.bias is None else Tensor(layer.bias.numpy()))

    def forward(self, x):
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"CSRLinear takes rows (N, {self.inputs}), got shape {x.shape}")
        y = csr_product(x.numpy(), self.data.numpy(), self.columns.numpy(), self.offsets.numpy())
        return Tensor.from_numpy(np.ascontiguousarray(y if self.bias is None else y + self.bias.numpy()))


class LowRankLinear(Module):
    """A Linear as two of rank `rank`, which train like any others."""

    def __init__(self, layer, rank):
        super().__init__()
        outer, inner = low_rank(layer.weight.numpy(), rank)
        self.inner = Linear(inner.shape[1], rank, bias=False, dtype=inner.dtype)
        self.outer = Linear(rank, len(outer), bias=layer.bias is not None, dtype=outer.dtype)
        self.inner.weight, self.outer.weight = Parameter(inner), Parameter(outer)
        if layer.bias is not None:
            self.outer.bias = Parameter(layer.bias.numpy().copy())

    def forward(self, x):
        return self.outer(self.inner(x))


def distillation_loss(logits, teacher, labels, temperature=4.0, alpha=0.7):
    """(1 - alpha) cross entropy with labels + alpha T² cross entropy with the teacher's softened probabilities -> a scalar.

    logits (N, C) of the student, teacher (N, C), labels (N,). Raises ValueError for a temperature that is not positive and
    an alpha that is not from 0 to 1. Source: Hinton, Vinyals and Dean 2015.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is positive, got {temperature}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is from 0 to 1, got {alpha}")
    teacher = teacher.numpy() if isinstance(teacher, Tensor) else np.asarray(teacher)
    wanted = softmax(Tensor.from_numpy(teacher / np.asarray(temperature, teacher.dtype)))
    softened = -(wanted * log_softmax(logits / temperature)).sum(axis=1).mean()
    return (1 - alpha) * cross_entropy(logits, labels) + alpha * temperature**2 * softened
