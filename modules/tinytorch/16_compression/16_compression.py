# %% [markdown]
# # TinyTorch 16: Compression
#
# Set nine weights out of ten to zero, and the network on the digits still reads them. Its file is as large as before, and
# it is exactly as slow: zeros are stored and multiplied like all other numbers. To gain anything, the zeros must leave
# memory, and then somebody has to remember where they were. This notebook prunes, factorises and distils; after each
# step it asks `nbytes` and a clock what came of it, and more than once the answer is: nothing.
#
# **Where it sits.** What you write is exported as `tinytorch/compression.py`.
#
# | module | what it has to do with compression |
# |---|---|
# | 03 layers, 09 convolutions | what is pruned; removing a channel touches two layers |
# | 04 losses | the loss of distillation is made of two that you know |
# | 14 profiling | says which layer is worth it |
# | 15 quantization | fewer bits for each number; here there are fewer numbers |
#
# **Afterwards you can**
# 1. prune by magnitude, in a layer or over a network, and by patterns that hardware can use;
# 2. store a sparse matrix so that it is smaller, and say from which sparsity on;
# 3. remove channels, so that everything becomes smaller and faster;
# 4. replace a matrix by two thin ones, and choose the rank;
# 5. train a small network on what a large one says.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Hidden
# cases bring ties, empty rows, other shapes and dtypes. Every function is judged by itself. You need modules 06 to 09, and
# `size_of` of module 15. Three hours are typical.

# %%
#| export
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

# %%
import time

from mlsysbook import answer, case, check, predict, reveal
from tinytorch import Adam, Sequential, autograd, datasets, relu
from tinytorch.quantization import size_of

# %% [markdown]
# ## 1. What may go
#
# The simplest rule is also hard to beat: weights near zero matter least (Han et al. 2015). For the row
# (0.5, −0.1, 0.3, −0.9) and a sparsity of 1/2, two of four go: −0.1 and 0.3. A mask says what stays: (1, 0, 0, 1).
#
# How many go is the sparsity times the number of weights, rounded (Python's `round`). Of equal magnitudes the one with the
# smaller index goes first.
#
# Layers differ. Half of the weights of a layer with two thousand may be noise, while a layer with a hundred needs all of
# its own. A **global** mask ranks all layers together and lets each lose what it can spare. Ties are broken by the order
# of the layers, then by index.
#
# **Exercise 1.1** The mask of one layer. **Exercise 1.2** The masks of several layers, ranked together. Refuse
# sparsities outside of 0 to 1, with their value.

# %% solution="magnitude_mask"
#| export
def magnitude_mask(weight, sparsity):
    """A bool array of weight's shape: False for the round(sparsity * size) numbers of smallest magnitude, the first of equals.

    Raises ValueError for a sparsity that is not from 0 to 1.
    """
    ### BEGIN SOLUTION
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is from 0 to 1, got {sparsity}")
    mask = np.ones(weight.size, bool)
    mask[np.argsort(np.abs(weight).ravel(), kind="stable")[:round(sparsity * weight.size)]] = False
    return mask.reshape(weight.shape)
    ### END SOLUTION


# %% solution="global_masks"
#| export
def global_masks(weights, sparsity):
    """Bool arrays for a list of arrays: False for the round(sparsity * all) numbers of smallest magnitude over all of them.

    Raises ValueError for a sparsity that is not from 0 to 1.
    """
    ### BEGIN SOLUTION
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is from 0 to 1, got {sparsity}")
    everything = np.concatenate([np.abs(w).ravel() for w in weights]) if weights else np.zeros(0)
    mask = np.ones(everything.size, bool)
    mask[np.argsort(everything, kind="stable")[:round(sparsity * everything.size)]] = False
    ends = np.cumsum([w.size for w in weights])
    return [part.reshape(w.shape) for part, w in zip(np.split(mask, ends[:-1]), weights, strict=True)] if weights else []
    ### END SOLUTION


# %% check="magnitude_mask" points=4
def masked(weight, sparsity):
    try:
        return magnitude_mask(weight, sparsity)
    except ValueError as error:
        return {"the message names": str(sparsity) in str(error)}

check("magnitude_mask", [
    case(np.array([0.5, -0.1, 0.3, -0.9]), 0.5),
    case(np.array([[1.0, -1.0], [1.0, 2.0]]), 0.5),
    case(np.ones(3), 1.5),
], call=masked)

# %% hidden="magnitude_mask"
def cases(rng):
    for shape in ((17,), (5, 7), (4, 3, 3, 2)):
        for sparsity in (0.3, 0.75):
            yield case(rng.normal(size=shape).astype("float32"), sparsity, behaviour="the smallest magnitudes go")
    for sparsity in (0.25, 0.6):
        yield case(rng.integers(-2, 3, (6, 5)).astype("float64"), sparsity, behaviour="exactly so many, the first of equals")
    yield case(np.zeros((3, 3)), 0.5, behaviour="exactly so many, the first of equals")
    for sparsity in (0.0, 1.0, 0.04):
        yield case(rng.normal(size=(3, 4)), sparsity, behaviour="nothing, everything, no elements")
    yield case(np.zeros((0, 4)), 0.5, behaviour="nothing, everything, no elements")
    for sparsity in (-0.1, 1.01, float("nan"), 90):
        yield case(np.ones(4), sparsity, behaviour="other sparsities are refused")


# %% check="global_masks" points=4
def masked_together(weights, sparsity):
    try:
        return list(global_masks(list(weights), sparsity))
    except ValueError as error:
        return {"the message names": str(sparsity) in str(error)}

check("global_masks", [
    case([np.array([0.1, 0.2]), np.array([[3.0, -0.15], [5.0, 6.0]])], 0.5),
    case([np.array([1.0]), np.array([1.0, 1.0])], 1 / 3),
], call=masked_together)

# %% hidden="global_masks"
def cases(rng):
    for sparsity in (0.2, 0.5, 0.9):
        weights = [rng.normal(0, s, shape) for s, shape in ((0.1, (4, 5)), (1.0, (7,)), (0.4, (3, 2, 2)))]
        yield case(weights, sparsity, behaviour="ranked over all layers")
    yield case([rng.integers(-2, 3, (4, 4)).astype("float64"), rng.integers(-2, 3, 6).astype("float64")], 0.4,
               behaviour="ties by layer and index")
    yield case([np.ones(3), np.ones((2, 2))], 0.6, behaviour="ties by layer and index")
    yield case([np.zeros((0, 2)), np.array([1.0, 2.0])], 0.5, behaviour="nothing, everything, no layers")
    yield case([rng.normal(size=4), rng.normal(size=3)], 1.0, behaviour="nothing, everything, no layers")
    yield case([], 0.5, behaviour="nothing, everything, no layers")
    yield case([np.ones(2)], -0.5, behaviour="other sparsities are refused")


# %% [markdown]
# **Patterns.** Hardware dislikes surprises. Nvidia's tensor cores (from Ampere on) multiply matrices of which in each
# group of four neighbours in a row two are zero, **2:4**, at twice the rate: which two is said by two bits each, and the
# positions of all others are known. The price is that a group has to give up two even when all four matter.
#
# **Exercise 1.3** The mask that keeps the n largest magnitudes of each m neighbours along the last axis; of equal ones
# the later stays, as above. If m does not divide the row, refuse, and name both.

# %% solution="pattern_mask"
#| export
def pattern_mask(weight, n=2, m=4):
    """A bool array that keeps the n largest magnitudes of each m neighbours along the last axis, the later of equals.

    Raises ShapeError, with the length of the axis and m, if m does not divide it.
    """
    ### BEGIN SOLUTION
    if weight.shape[-1] % m:
        raise ShapeError(f"rows of {weight.shape[-1]} are no whole number of groups of {m}")
    groups = np.abs(weight).reshape(-1, m)
    mask = np.ones(groups.shape, bool)
    np.put_along_axis(mask, np.argsort(groups, axis=-1, kind="stable")[:, :m - n], False, axis=-1)
    return mask.reshape(weight.shape)
    ### END SOLUTION


# %% check="pattern_mask" points=4
def patterned(weight, n=2, m=4):
    try:
        return pattern_mask(weight, n, m)
    except ValueError as error:
        return {"the message names": [str(weight.shape[-1]) in str(error), str(m) in str(error)]}

check("pattern_mask", [
    case(np.array([[0.5, -0.1, 0.3, -0.9, 1.0, 2.0, 3.0, 4.0]])),
    case(np.ones((1, 4))),
    case(np.ones((2, 6))),
], call=patterned)

# %% hidden="pattern_mask"
def cases(rng):
    for shape in ((3, 8), (2, 5, 4), (16,)):
        yield case(rng.normal(size=shape), behaviour="two of four")
    for n, m in ((1, 4), (3, 8), (1, 2), (4, 4)):
        yield case(rng.normal(size=(4, 16)).astype("float32"), n, m, behaviour="other patterns")
    yield case(rng.integers(-1, 2, (5, 12)).astype("float64"), behaviour="of equal ones the later stays")
    yield case(np.zeros((2, 4)), behaviour="of equal ones the later stays")
    for width in (5, 10, 3):
        yield case(np.ones((2, width)), behaviour="a row that does not divide is refused")


# %% [markdown]
# ## 2. Step by step
#
# Nine tenths at once hurt; a little at a time, with training in between, hurts less, because the network can move to its
# other weights what it loses. Zhu and Gupta (2017) prune fast while there is much to spare and slowly at the end:
#
# $$s(t) = s_f + (s_0 - s_f) \left(1 - \frac{t - t_0}{t_1 - t_0}\right)^3$$
#
# from $s_0$ at step $t_0$ to $s_f$ at $t_1$; constant before and after. Half-way, seven eighths of it are done.
#
# **Exercise 2.1** This schedule.

# %% solution="sparsity_at"
#| export
def sparsity_at(step, begin, end, final, initial=0.0):
    """The sparsity at a step of a cubic schedule from `initial` at step `begin` to `final` at step `end`.

    Source: Zhu and Gupta 2017.
    """
    ### BEGIN SOLUTION
    done = min(max((step - begin) / (end - begin), 0.0), 1.0)
    return final + (initial - final) * (1 - done) ** 3
    ### END SOLUTION


# %% check="sparsity_at" points=3
check("sparsity_at", [case(50, 0, 100, 0.8), case(0, 10, 20, 0.9, initial=0.1), case(99, 10, 20, 0.9)], compare="value")

# %% hidden="sparsity_at"
def cases(rng):
    for _ in range(4):
        begin = int(rng.integers(5, 20))
        end = begin + int(rng.integers(5, 60))
        yield case(int(rng.integers(begin + 1, end)), begin, end, float(rng.uniform(0.5, 0.95)), behaviour="cubic in between")
        yield case(int(rng.integers(begin + 1, end)), begin, end, 0.9, initial=float(rng.uniform(0, 0.5)), behaviour="another start")
    for step in (0, 10, 30, 31, 1000):
        yield case(step, 10, 30, 0.75, initial=0.25, behaviour="constant before and after")


# %% [markdown]
# A mask has to be held while training goes on: an optimizer with momentum would bring pruned weights back to life. The
# pruner is given. It multiplies by the masks after each step.

# %%
#| export
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

# %% [markdown]
# The digits, with a network of 64–256–128–10. **How many points of accuracy does it lose** (in percent points) when nine
# tenths of its weights go at once, without any training afterwards?

# %% predict="one_shot_loss" points=1
# predict("one_shot_loss", "number", low="number", high="number")
### BEGIN SOLUTION
predict("one_shot_loss", "15", low="3", high="50")
### END SOLUTION

# %% show
(images, labels), (test_images, test_labels) = datasets.digits()
flat, test_flat = images.reshape(-1, 64), test_images.reshape(-1, 64)


def network(seed, widths=(64, 256, 128, 10)):
    rng, parts = np.random.default_rng(seed), []
    for a, b in zip(widths, widths[1:], strict=False):
        parts += [Linear(a, b, rng=rng), relu]
    return Sequential(*parts[:-1])


def train(model, x, y, epochs, loss=cross_entropy, after=None, rate=2e-3, seed=0):
    optimizer, rng = Adam(model.parameters(), lr=rate), np.random.default_rng(seed)
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for batch in np.split(order, range(64, len(order), 64)):
            optimizer.zero_grad()
            loss(model(Tensor(x[batch])), y[batch]).backward()
            optimizer.step()
            if after is not None:
                after(epoch)
    return model


def accuracy_of(model, x=test_flat):
    with autograd.no_grad():
        return float((model(Tensor(x)).numpy().argmax(1) == test_labels).mean())


def copy_of(model):
    twin = network(0)
    twin.load_state_dict(model.state_dict())
    return twin


dense = train(network(1), flat, labels, 12)
whole = accuracy_of(dense)
print(f"dense: {whole:.1%}, {size_of(dense):,} bytes\n\nsparsity   at once   trained on for 4 epochs   step by step over them   bytes")
for sparsity in (0.5, 0.8, 0.9, 0.95):
    at_once = copy_of(dense)
    pruner = Pruner(at_once)
    pruner.prune(sparsity)
    lost = accuracy_of(at_once)
    if sparsity == 0.9:
        one_shot = 100 * (whole - lost)
    tuned = accuracy_of(train(at_once, flat, labels, 4, after=lambda epoch, p=pruner: p.apply()))
    slowly = copy_of(dense)
    gradual, steps = Pruner(slowly), iter(range(10_000))

    def cut_more(epoch, pruner=gradual, final=sparsity, steps=steps):
        pruner.prune(sparsity_at(next(steps), 0, 60, final))

    slow = accuracy_of(train(slowly, flat, labels, 4, after=cut_more))
    print(f"{sparsity:8.0%}   {lost:7.1%}   {tuned:23.1%}   {slow:22.1%}   {size_of(slowly):,}")
reveal("one_shot_loss", f"{one_shot:.3g}")

# %% [markdown]
# The last column is the point. All these networks are as large as the first.
#
# ## 3. Zeros that leave memory
#
# **Compressed sparse rows** (CSR) keep, of each row, the numbers that are not zero and their columns; `offsets` says where
# each row begins, and has one entry more than there are rows.
#
# $$\begin{pmatrix} 0 & 5 & 0 & 7 \\ 0 & 0 & 0 & 0 \\ 1 & 0 & 0 & 0 \end{pmatrix} \to
# \text{data } (5, 7, 1), \quad \text{columns } (1, 3, 0), \quad \text{offsets } (0, 2, 2, 3)$$
#
# Row i is data[offsets[i]:offsets[i + 1]]. The product with a vector needs of it only those columns.
#
# **Exercise 3.1** To CSR and back; columns and offsets are int32. **Exercise 3.2** Rows X (N, K) times the transposed
# matrix: (N, O). Rows without numbers give 0, also if they are the last; this is where `np.add.reduceat` has surprised
# many. No loop over rows, and no dense matrix: the check weighs what you allocate.

# %% solution="csr"
#| export
def to_csr(weight):
    """(data, columns, offsets) of a matrix (O, K): numbers that are not zero, by rows, and int32 arrays that say where."""
    ### BEGIN SOLUTION
    rows, columns = np.nonzero(weight)
    offsets = np.zeros(len(weight) + 1, INDEX)
    np.cumsum(np.bincount(rows, minlength=len(weight)), out=offsets[1:])
    return weight[rows, columns], columns.astype(INDEX), offsets
    ### END SOLUTION


def from_csr(data, columns, offsets, width):
    """The matrix (O, width) that to_csr took apart."""
    ### BEGIN SOLUTION
    weight = np.zeros((len(offsets) - 1, width), data.dtype)
    weight[np.repeat(np.arange(len(weight)), np.diff(offsets)), columns] = data
    return weight
    ### END SOLUTION


# %% solution="csr_product"
#| export
def csr_product(x, data, columns, offsets):
    """Rows x (N, K) times the transpose of a matrix (O, K) in CSR -> (N, O). Work 2 N times the numbers in data."""
    ### BEGIN SOLUTION
    products = x[:, columns] * data
    filled = np.diff(offsets) > 0
    out = np.zeros((len(x), len(offsets) - 1), products.dtype)
    if filled.any():
        out[:, filled] = np.add.reduceat(products, offsets[:-1][filled], axis=1)
    return out
    ### END SOLUTION


# %% check="csr" points=5
def taken_apart(weight):
    data, columns, offsets = to_csr(weight)
    return {"data": data, "columns": columns, "offsets": offsets, "back": from_csr(data, columns, offsets, weight.shape[1])}

check("csr", [case(np.array([[0.0, 5, 0, 7], [0, 0, 0, 0], [1, 0, 0, 0]]))], call=taken_apart)

# %% hidden="csr"
def sparse(rng, rows, width, share=0.3, dtype="float64"):
    return (rng.integers(1, 9, (rows, width)) * (rng.random((rows, width)) < share)).astype(dtype)


def cases(rng):
    for rows, width in ((5, 7), (9, 4), (1, 12)):
        yield case(sparse(rng, rows, width), behaviour="numbers, columns and offsets, and back")
    yield case(sparse(rng, 6, 6, dtype="float32"), behaviour="numbers, columns and offsets, and back")
    weight = sparse(rng, 6, 5, 0.6)
    weight[[0, 3, 5]] = 0
    yield case(weight, behaviour="rows without numbers")
    yield case(np.zeros((3, 4)), behaviour="rows without numbers")
    yield case(np.ones((3, 4)), behaviour="full, no rows, no columns")
    yield case(np.zeros((0, 4)), behaviour="full, no rows, no columns")
    yield case(np.zeros((3, 0)), behaviour="full, no rows, no columns")


# %% check="csr_product" points=6
def plain_csr(weight):
    """What `to_csr` gives, row by row, so that each function is judged by itself."""
    columns = [np.flatnonzero(row) for row in weight]
    offsets = np.array([0, *np.cumsum([len(c) for c in columns])], "int32")
    data = np.concatenate([row[c] for row, c in zip(weight, columns, strict=True)] or [np.zeros(0, weight.dtype)])
    return data, np.concatenate(columns or [np.zeros(0, int)]).astype("int32"), offsets

def sparse_product(x, weight, weigh=False):
    """The product; to weigh it, also whether it allocated less than half of the dense matrix."""
    import tracemalloc

    parts = plain_csr(weight)
    tracemalloc.start()
    try:
        y = csr_product(x, *parts)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return {"product": y, "light": most < weight.nbytes / 2 if weigh else None}

check("csr_product", [
    case(np.array([[1.0, 2, 3, 4]]), np.array([[0.0, 5, 0, 7], [0, 0, 0, 0], [1, 0, 0, 0]])),
    case(np.ones((2, 3)), np.zeros((2, 3))),
], call=sparse_product)

# %% hidden="csr_product"
def cases(rng):
    for n, rows, width in ((3, 5, 7), (1, 9, 4), (6, 4, 12)):
        yield case(rng.integers(-9, 9, (n, width)).astype("float64"), sparse(rng, rows, width), behaviour="the products that count")
    for gone in ([0], [5], [2, 3], [0, 4, 5]):
        weight = sparse(rng, 6, 5, 0.7)
        weight[gone] = 0
        yield case(rng.integers(-9, 9, (3, 5)).astype("float64"), weight, behaviour="rows without numbers, the first and the last too")
    yield case(rng.normal(size=(2, 400)), sparse(rng, 400, 400, 0.02), weigh=True, behaviour="no dense matrix is made")
    yield case(np.zeros((0, 4)), sparse(rng, 3, 4), behaviour="nothing at all")
    yield case(np.ones((2, 4)), np.zeros((0, 4)), behaviour="nothing at all")
    yield case(np.ones((2, 3), "float32"), sparse(rng, 4, 3, dtype="float32"), behaviour="nothing at all")


# %% [markdown]
# **2:4 in memory.** Of each group two numbers are kept, in order, and for each of them its place in the group, 0 to 3: two
# bits. Four places share a byte, the first in the lowest bits. A row of K numbers needs K / 2 numbers and K / 8 bytes: for
# float32 that is 53 % of the dense bytes, whatever the numbers are.
#
# **Exercise 3.3** Pack a matrix (O, K) that obeys 2:4, K a multiple of 8, into values (O, K / 2) and places
# (O, K / 8) uint8, and unpack. A group with fewer than two nonzero numbers is filled up with zeros at its first free
# places. A group with more than two is refused.

# %% solution="pack_2_4"
#| export
def pack_2_4(weight):
    """(values (O, K / 2), places (O, K / 8) uint8) of a matrix (O, K), K a multiple of 8, with at most two of four not 0.

    Raises ShapeError for another K, ValueError for a group with three numbers or more.
    """
    ### BEGIN SOLUTION
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
    ### END SOLUTION


def unpack_2_4(values, places):
    """The matrix (O, K) that pack_2_4 took apart."""
    ### BEGIN SOLUTION
    rows, half = values.shape
    where = np.stack([places >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1).reshape(rows, half // 2, 2)
    weight = np.zeros((rows, half // 2, 4), values.dtype)
    np.put_along_axis(weight, where.astype(np.int64), values.reshape(rows, half // 2, 2), axis=-1)
    return weight.reshape(rows, 2 * half)
    ### END SOLUTION


# %% check="pack_2_4" points=5
def packed(weight):
    try:
        values, places = pack_2_4(weight)
    except ValueError as error:
        return {"refused, with the width": str(weight.shape[1]) in str(error)} if weight.shape[1] % 8 else "three of four refused"
    return {"values": values, "places": places, "back": unpack_2_4(values, places)}

check("pack_2_4", [
    case(np.array([[0.5, 0, 0, -0.9, 0, 0, 3.0, 4.0]])),
    case(np.array([[0.0, 0, 0, 7.0, 0, 0, 0, 0]])),
    case(np.array([[1.0, 2, 3, 0, 0, 0, 0, 0]])),
], call=packed)

# %% hidden="pack_2_4"
def two_of_four(rng, rows, width, dtype="float64"):
    weight = rng.integers(1, 99, (rows, width // 4, 4))
    keep = rng.random(weight.shape).argsort(axis=-1) < 2
    return (weight * keep).reshape(rows, width).astype(dtype)


def cases(rng):
    for rows, width in ((3, 8), (2, 24), (5, 16)):
        yield case(two_of_four(rng, rows, width), behaviour="values, two bits each, and back")
    yield case(two_of_four(rng, 2, 8, "float32"), behaviour="values, two bits each, and back")
    weight = two_of_four(rng, 4, 16)
    weight[rng.random(weight.shape) < 0.5] = 0
    yield case(weight, behaviour="groups with fewer numbers")
    yield case(np.zeros((2, 8)), behaviour="groups with fewer numbers")
    weight = two_of_four(rng, 2, 16)
    weight[1, 8:11] = 1
    yield case(weight, behaviour="what does not fit is refused")
    yield case(np.zeros((2, 12)), behaviour="what does not fit is refused")


# %% [markdown]
# ## 4. Channels that leave
#
# A neuron whose weights are all small can go as a whole: its row in this layer, and its column in the next. What is left
# are smaller dense matrices, which need no index and no special product. The same holds for the filters of a
# convolution; behind a `Flatten`, each channel of H × W places is H·W columns of the next `Linear`.
#
# **Exercise 4.1** New layers with some of the outputs, in the given order, and with some of the inputs. `keep` is a list of
# indices. Linear and Conv2d (groups = 1), bias or not; options stay, dtypes stay, and the old layers are left alone. For
# `keep_inputs` a `span` says how many neighbouring columns belong to one index.

# %% solution="keep_channels"
#| export
def keep_outputs(layer, keep):
    """A new Linear or Conv2d (groups = 1) with the outputs `keep`, indices in their order."""
    ### BEGIN SOLUTION
    return rebuilt(layer, layer.weight.numpy()[list(keep)], None if layer.bias is None else layer.bias.numpy()[list(keep)])
    ### END SOLUTION


def keep_inputs(layer, keep, span=1):
    """A new Linear or Conv2d (groups = 1) that reads the inputs `keep`; span columns of a Linear belong to each."""
    ### BEGIN SOLUTION
    columns = [index * span + k for index in keep for k in range(span)]
    return rebuilt(layer, layer.weight.numpy()[:, columns], None if layer.bias is None else layer.bias.numpy())
    ### END SOLUTION


def rebuilt(layer, weight, bias):
    """A layer of the kind and with the options of another, with this weight and bias."""
    if isinstance(layer, Linear):
        new = Linear(weight.shape[1], len(weight), bias is not None, dtype=weight.dtype)
    else:
        options = {name: layer.options[name] for name in ("stride", "padding", "dilation")}
        new = Conv2d(weight.shape[1], len(weight), layer.kernel, bias=bias is not None, dtype=weight.dtype, **options)
    new.load_state_dict({"weight": weight, **({} if bias is None else {"bias": bias})})
    return new


# %% check="keep_channels" points=5
def narrowed(kind, seed, keep, span=1, bias=True):
    """Two layers before and after the channels `keep` are all that is left between them: weights and outputs."""
    rng, c = np.random.default_rng(seed), 5
    if kind == "linear":
        first, second, x = Linear(4, c, bias, rng, "float64"), Linear(c, 3, bias, rng, "float64"), rng.normal(size=(2, 4))
    elif kind == "conv":
        first, second = (Conv2d(a, b, 3, stride=2, padding=1, bias=bias, rng=rng, dtype="float64") for a, b in ((2, c), (c, 3)))
        x = rng.normal(size=(2, 2, 8, 8))
    else:
        first, second = Conv2d(2, c, 3, bias=bias, rng=rng, dtype="float64"), Linear(c * span, 3, bias, rng, "float64")
        x = rng.normal(size=(2, 2, 4, 4))
    before = first.weight.numpy().copy()
    a, b = keep_outputs(first, keep), keep_inputs(second, keep, span)
    y = relu(a(Tensor(x)))
    y = b(y.reshape(2, -1) if kind == "flat" else y)
    return {"first": a.weight, "second": b.weight, "output": y, "no bias": a.bias is None,
            "left alone": bool((first.weight.numpy() == before).all() and len(first.weight) == c)}

check("keep_channels", [case("linear", 0, [0, 3]), case("conv", 1, [4, 1, 2])], call=narrowed)

# %% hidden="keep_channels"
def cases(rng):
    for kind in ("linear", "conv", "linear", "conv"):
        keep = [int(k) for k in rng.permutation(5)[:int(rng.integers(2, 5))]]
        yield case(kind, int(rng.integers(999)), keep, behaviour="rows here, columns there, in the given order")
    for kind in ("linear", "conv"):
        yield case(kind, int(rng.integers(999)), [2, 0], bias=False, behaviour="without a bias")
    for _ in range(2):
        yield case("flat", int(rng.integers(999)), [int(k) for k in rng.permutation(5)[:3]], span=4,
                   behaviour="a channel that is several columns")


# %% [markdown]
# ## 5. Two thin matrices
#
# A matrix (O, K) of rank r is a product of (O, r) and (r, K): r (O + K) numbers in place of O·K. No trained matrix has a
# small rank, but many are near one that has. The singular value decomposition $W = U S V^{\mathsf T}$ gives the nearest of
# each rank: keep the r largest singular values, and the error, as a root of the sum of squares, is that of those left out
# (Eckart and Young 1936).
#
# **Exercise 5.1** The two factors, with the singular values shared evenly, √S to each side, so that neither is much larger
# than the other. **Exercise 5.2** The smallest rank that leaves an error of at most a share of the norm of W.

# %% solution="low_rank"
#| export
def low_rank(weight, rank):
    """Two factors (O, rank) and (rank, K) whose product is the nearest of this rank to weight (O, K).

    Raises ValueError, with the rank, unless it is from 1 to min(O, K). Source: Eckart and Young 1936.
    """
    ### BEGIN SOLUTION
    if not 1 <= rank <= min(weight.shape):
        raise ValueError(f"rank is from 1 to {min(weight.shape)} for shape {weight.shape}, got {rank}")
    u, s, vt = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
    root = np.sqrt(s[:rank])
    return (u[:, :rank] * root).astype(weight.dtype), (root[:, None] * vt[:rank]).astype(weight.dtype)
    ### END SOLUTION


def rank_for(weight, share):
    """The smallest rank whose nearest matrix is off by at most `share` of the norm of weight (root of the sum of squares)."""
    ### BEGIN SOLUTION
    s = np.linalg.svd(weight.astype(np.float64), compute_uv=False)
    left = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0))
    return max(int(np.argmax(left <= share * left[0] + 1e-12 * left[0])), 1)
    ### END SOLUTION


# %% check="low_rank" points=5
def factored(weight, rank=None, share=None):
    """The product of the factors, their shapes and how evenly they are balanced; or the rank for a share."""
    if share is not None:
        return {"rank": rank_for(weight, share)}
    try:
        a, b = low_rank(weight, rank)
    except ValueError as error:
        return {"the message names": str(rank) in str(error)}
    return {"product": a @ b, "shapes": [a.shape, b.shape], "norms are equal": bool(np.allclose(np.linalg.norm(a), np.linalg.norm(b)))}

check("low_rank", [
    case(np.array([[2.0, 0, 0], [0, 1, 0]]), rank=1),
    case(np.diag([4.0, 3.0, 0.0]), share=0.7),
    case(np.ones((2, 3)), rank=3),
], call=factored, rtol=1e-6, atol=1e-6)

# %% hidden="low_rank"
def cases(rng):
    for shape, rank in (((6, 9), 2), ((8, 5), 3), ((7, 7), 7)):
        yield case(rng.normal(size=shape), rank=rank, behaviour="the nearest of its rank, balanced")
    yield case((rng.normal(size=(9, 2)) @ rng.normal(size=(2, 6))), rank=2, behaviour="the nearest of its rank, balanced")
    for share in (0.05, 0.3, 0.6):
        yield case(rng.normal(size=(8, 6)) * np.logspace(0, -2, 6), share=share, behaviour="the smallest rank that is near enough")
    yield case(rng.normal(size=(7, 2)) @ rng.normal(size=(2, 9)), share=1e-6, behaviour="the smallest rank that is near enough")
    yield case(rng.normal(size=(4, 5)), share=0.0, behaviour="the smallest rank that is near enough")
    yield case(np.linalg.qr(rng.normal(size=(6, 6)))[0], share=0.6, behaviour="the smallest rank that is near enough")
    for rank in (0, 6, -1):
        yield case(np.ones((5, 7)), rank=rank, behaviour="ranks that do not exist are refused")


# %%
#| export
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

# %% [markdown]
# ## 6. What the large one knows
#
# A trained network says more than the label: this 7 is a 7, a little like a 1, nothing like an 8. Hinton, Vinyals and Dean
# (2015) train a small network on that. Logits are divided by a **temperature** T, which makes probabilities softer and
# shows the small ones, and the loss mixes two parts:
#
# $$L = (1 - \alpha) \cdot \text{cross entropy}(z_s, \text{labels}) + \alpha \, T^2 \cdot
# \text{mean}\Big({-\sum_c} \; p_c \ln q_c \Big), \qquad p = \text{softmax}(z_t / T), \; q = \text{softmax}(z_s / T)$$
#
# with z_t from the teacher and z_s from the student. Why T²? The gradient of the second part with respect to z_s is
# (q − p) / T, and for large T the difference q − p shrinks with 1 / T again. Without the factor a higher temperature would
# quietly turn off the teacher.
#
# **Exercise 6.1** This loss, from operations on tensors, so that gradients reach the student's logits, and only them: what
# the teacher says is a constant. A temperature that is not positive, or an α outside of 0 to 1, is refused with its
# value.

# %% solution="distillation_loss"
#| export
def distillation_loss(logits, teacher, labels, temperature=4.0, alpha=0.7):
    """(1 - alpha) cross entropy with labels + alpha T² cross entropy with the teacher's softened probabilities -> a scalar.

    logits (N, C) of the student, teacher (N, C), labels (N,). Raises ValueError for a temperature that is not positive and
    an alpha that is not from 0 to 1. Source: Hinton, Vinyals and Dean 2015.
    """
    ### BEGIN SOLUTION
    if not temperature > 0:
        raise ValueError(f"temperature is positive, got {temperature}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is from 0 to 1, got {alpha}")
    teacher = teacher.numpy() if isinstance(teacher, Tensor) else np.asarray(teacher)
    wanted = softmax(Tensor.from_numpy(teacher / np.asarray(temperature, teacher.dtype)))
    softened = -(wanted * log_softmax(logits / temperature)).sum(axis=1).mean()
    return (1 - alpha) * cross_entropy(logits, labels) + alpha * temperature**2 * softened
    ### END SOLUTION


# %% check="distillation_loss" points=5
def distilled(logits, teacher, labels, **options):
    student, teacher_ = Tensor(logits, requires_grad=True), Tensor(teacher, requires_grad=True)
    try:
        loss = distillation_loss(student, teacher_, labels, **options)
    except ValueError as error:
        return {"the message names": any(str(value) in str(error) for value in options.values())}
    loss.backward()
    return {"loss": loss, "gradient": student.grad, "the teacher stays": teacher_.grad is None}

check("distillation_loss", [
    case(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[4.0, 0.0], [3.0, 1.0]]), np.array([0, 1])),
    case(np.array([[2.0, 0.0]]), np.array([[4.0, 0.0]]), np.array([0]), temperature=0.0),
], call=distilled)

# %% hidden="distillation_loss"
def cases(rng):
    def some(n, c):
        return rng.normal(0, 3, (n, c)), rng.normal(0, 3, (n, c)), rng.integers(0, c, n)

    for temperature, alpha in ((4.0, 0.7), (1.0, 0.5), (20.0, 0.9)):
        yield case(*some(5, 4), temperature=temperature, alpha=alpha, behaviour="both parts, weighted")
    for alpha in (0.0, 1.0):
        yield case(*some(3, 6), alpha=alpha, behaviour="one part alone")
    yield case(*some(4, 3), temperature=50.0, alpha=1.0, behaviour="the teacher's weight at any temperature")
    yield case(*some(4, 3), temperature=0.5, alpha=1.0, behaviour="the teacher's weight at any temperature")
    logits, teacher, labels = some(2, 3)
    yield case(logits * 400, teacher * 400, labels, temperature=1.0, behaviour="large logits, float32")
    yield case(logits.astype("float32"), teacher.astype("float32"), labels, behaviour="large logits, float32")
    for options in ({"temperature": -1.5}, {"alpha": 1.25}, {"alpha": -0.5}):
        yield case(*some(2, 3), **options, behaviour="options out of range are refused")


# %% [markdown]
# ## 7. What it costs
#
# ### 7.1 From when on is sparse smaller
#
# A float32 matrix of 4096 × 4096 in CSR, with int32 columns and offsets. From which sparsity on, in percent, does it take
# fewer bytes than the dense matrix?

# %% answer="csr_break_even" points=2
csr_break_even = ""  # a share, such as "12 %"
### BEGIN SOLUTION
csr_break_even = f"{100 * (1 - (4 * 4096**2 - 4 * 4097) / (8 * 4096**2))} %"
### END SOLUTION

# %% key="csr_break_even"
from mlsysbook import Key, Mistake


def key(v):
    return Key(1 - (4 * 4096**2 - 4 * 4097) / (8 * 4096**2), "%", tol=0.01, mistakes=[
        Mistake(0.0, 0.0, "each number that stays brings its column along, another four bytes"),
        Mistake(2 / 3, 0.5, "that counts a row index for each number; CSR has one offset for each row"),
        Mistake(0.75, 0.25, "that has columns of eight bytes; int32 has four"),
    ])

# %% [markdown]
# ### 7.2 From when on is thin smaller
#
# The weights of a `Linear(1024, 512)` without a bias are to be replaced by two factors. Below which rank are these
# fewer numbers?

# %% answer="rank_break_even" points=2
rank_break_even = ""  # a number, such as "12.3"
### BEGIN SOLUTION
rank_break_even = f"{1024 * 512 / (1024 + 512):.4f}"
### END SOLUTION

# %% key="rank_break_even"
def key(v):
    return Key(1024 * 512 / (1024 + 512), "", tol=0.01, mistakes=[
        Mistake(512, 0.25, "at the full rank there are 1.5 times as many numbers as before: r (O + K) against O K"),
        Mistake(256, 0.25, "half of the rank is not half of the numbers: both factors have r of them for each row and column"),
    ])

# %% [markdown]
# ### 7.3 The clock
#
# A `Linear(1024, 1024)` on 16 rows, 90 % of it pruned. **How many times as long** as the dense layer does `CSRLinear` take?
# (1 is as long, below 1 is faster.)

# %% predict="csr_time" points=1
# predict("csr_time", "number", low="number", high="number")
### BEGIN SOLUTION
predict("csr_time", "10", low="1", high="60")
### END SOLUTION

# %% show
def best(f, repeat=25):
    """Shortest of several runs, in seconds."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        f()
        times.append(time.perf_counter() - begin)
    return min(times)


def pruned(layer, mask):
    return rebuilt(layer, layer.weight.numpy() * mask, layer.bias.numpy())


rng = np.random.default_rng(4)
layer = Linear(1024, 1024, rng=rng)
weight = layer.weight.numpy()
x = Tensor(rng.normal(size=(16, 1024)), "float32")
half = list(range(0, 1024, 2))
variants = {
    "dense": layer,
    "90 % zeros, stored as before": pruned(layer, magnitude_mask(weight, 0.9)),
    "90 % zeros, CSR": CSRLinear(pruned(layer, magnitude_mask(weight, 0.9))),
    "99 % zeros, CSR": CSRLinear(pruned(layer, magnitude_mask(weight, 0.99))),
    "2:4, stored as before": pruned(layer, pattern_mask(weight)),
    "half of the outputs removed": keep_outputs(layer, half),
    "rank 128": LowRankLinear(layer, 128),
}
with autograd.no_grad():
    times = {name: best(lambda m=m: m(x)) for name, m in variants.items()}
reveal("csr_time", f"{times['90 % zeros, CSR'] / times['dense']:.3g}")
print(f"{'':30} {'bytes':>10}   {'of dense':>8}   {'time':>10}   {'of dense':>8}")
for name, module in variants.items():
    print(f"{name:30} {size_of(module):10,}   {size_of(module) / size_of(layer):8.1%}   {times[name] * 1e6:7.0f} µs   "
          f"{times[name] / times['dense']:8.2f}")
values, places = pack_2_4(weight * pattern_mask(weight))
print(f"{'2:4, packed':30} {values.nbytes + places.nbytes + 4096:10,}   {(values.nbytes + places.nbytes + 4096) / size_of(layer):8.1%}   "
      "no instruction for it in this processor")

# %% [markdown]
# Read the table line by line. Zeros that are stored as before bring nothing. CSR at 90 % takes a fifth of the bytes and
# more time: a dense product reads memory in order and does sixteen numbers at once, a sparse one gathers single numbers
# from everywhere. It needs far more zeros, or a compiled kernel, or a cache that holds one form and not the other. Whole
# channels and thin factors bring in time about what they bring in bytes, because what is left is dense.
#
# ### 7.4 Small by other means
#
# Labels are dear, images are not. A network of 64–12–10 is trained three times, for 20 epochs of 1,438 images: on the first
# 100 labels alone; on what the large network says about all images, without any label; and on all labels. **How many
# points of accuracy does the teacher bring**, compared with the 100 labels, on the average over three starts?

# %% predict="teacher_gain" points=1
# predict("teacher_gain", "number", low="number", high="number")
### BEGIN SOLUTION
predict("teacher_gain", "12", low="3", high="25")
### END SOLUTION

# %% show
with autograd.no_grad():
    said = dense(Tensor(flat)).numpy()


def small(seed, loss, count, epochs):
    """A small network trained on the first `count` images by loss(logits, indices of a batch)."""
    model, rng = network(seed, (64, 12, 10)), np.random.default_rng(seed)
    optimizer = Adam(model.parameters(), lr=5e-3)
    for _ in range(epochs):
        order = rng.permutation(count)
        for batch in np.split(order, range(64, count, 64)):
            optimizer.zero_grad()
            loss(model(Tensor(flat[batch])), batch).backward()
            optimizer.step()
    return accuracy_of(model)


def by_labels(logits, batch):
    return cross_entropy(logits, labels[batch])


def by_teacher(temperature):
    return lambda logits, batch: distillation_loss(logits, said[batch], labels[batch], temperature, alpha=1.0)


rows = {"100 labels": (by_labels, 100, 280), "the teacher, T = 1": (by_teacher(1.0), 1438, 20),
        "the teacher, T = 4": (by_teacher(4.0), 1438, 20), "all 1,438 labels": (by_labels, 1438, 20)}
found = {name: np.mean([small(seed, *row) for seed in range(3)]) for name, row in rows.items()}
reveal("teacher_gain", f"{100 * (found['the teacher, T = 1'] - found['100 labels']):.3g}")
for name, accuracy in found.items():
    print(f"{name:20} {accuracy:.1%}")
print(f"the teacher itself: {whole:.1%} with {size_of(dense):,} bytes; the small one has {size_of(network(0, (64, 12, 10))):,}")

# %% [markdown]
# Without one label the small network comes near its teacher. With all labels it does as well by itself: on this task the
# teacher knows nothing that the labels do not say, and the temperature, which is to show the small probabilities, is of no
# use either. A teacher pays where labels are few, or where it was trained on more than the student will ever see.
#
# ## 8. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="which_compression" points=4
# A keyword spotter has to run on a microcontroller with 256 kB of flash and a multiply-add unit for int8, no cache and no
# sparse instructions. The trained float32 network has 300,000 weights, mostly in two dense layers; it runs 2.5 times too
# slowly even if it fitted. Proposals: (a) prune 90 % of the weights by magnitude; (b) int8 for all weights; (c) remove
# half of the channels of each layer and train on; (d) low rank for the two dense layers. In six to ten sentences: say for
# each what it does to flash and to time on this device; choose a combination and estimate flash and time with numbers;
# name what you would measure before believing it; and say how you would win back lost accuracy.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. (a) zeros stored densely: no gain in flash or time; in CSR with 2-byte columns some 90 kB in float32 (less in int8)
#    but indexed access, time uncertain. (b) 300 kB, a quarter, still above 256 kB alone; time falls with the int8 unit.
#    (c) about a quarter of weights and work between pruned layers; dense, so time falls alike. (d) gain only below the
#    break-even rank, both flash and time.
# 2. For instance (c) + (b): about 75,000 weights, 75 kB, work about a quarter, so faster than needed by 1.6; arithmetic
#    must be shown.
# 3. Flash from the linker map, RAM for activations, cycles on the device or simulator, accuracy of the converted network
#    on held-out data.
# 4. Train on after each step (gradual schedule), distil from the original network, quantization-aware training.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# Small weights can go; their memory goes only if the format knows, and time only if the hardware does. What is left
# should be dense, or follow a pattern that somebody built an instruction for. Train on after each cut. And a small
# network that is taught needs no format at all.
#
# | here | PyTorch and others |
# |---|---|
# | `magnitude_mask`, `global_masks`, `Pruner` | `torch.nn.utils.prune.l1_unstructured`, `global_unstructured`: masks, and dense storage |
# | `pattern_mask`, `pack_2_4` | `torch.sparse.to_sparse_semi_structured`, for tensor cores |
# | `to_csr`, `csr_product` | `Tensor.to_sparse_csr` |
# | `keep_outputs`, `keep_inputs` | structured pruning, e.g. in torch-pruning, which follows the graph |
# | `low_rank`, `LowRankLinear` | the same idea trains adapters: LoRA (Hu et al. 2022) |
# | `distillation_loss` | written by hand there as well, from `kl_div` and `cross_entropy` |
#
# What remains is to make the remaining work fast: module 17.
