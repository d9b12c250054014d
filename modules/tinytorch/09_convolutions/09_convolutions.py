# %% [markdown]
# # TinyTorch 09: Convolutions
#
# A `Linear` layer from a 224 × 224 colour image to 64 features at each of its places would have
# 150,528 × 3,211,264 weights, 1.9 TB in float32. The first layer of a residual network does that work with 9,408. It
# uses one small filter at every place, because an edge is an edge wherever it stands. Two ideas, a window and shared
# weights, take out eight orders of magnitude; what they leave is arithmetic, a lot of it, and this notebook is about
# where that arithmetic goes.
#
# **Where it sits.** What you write is exported as `tinytorch/convolutions.py`.
#
# | module | what it has to do with convolutions |
# |---|---|
# | 01 tensor | a window over an image is a view: strides say where the next number is |
# | 03 layers | `Module`, buffers, `train()` and `eval()`, which batch normalisation is about |
# | 06 autograd | gives each Function here its place in the graph, once it has a `backward` |
# | 08 training | trains what you build here |
# | 15, 16, 17 | quantise it, prune it, and make it fast |
#
# **Afterwards you can**
# 1. say how large the result of any window is, and compute it by loops, by one matrix product, and without a copy;
# 2. derive both gradients of a convolution, and say what they cost;
# 3. pool, and send gradients back through a maximum;
# 4. normalise a batch, and explain why the same layer computes something else in evaluation;
# 5. count the work and the receptive field of a network before it runs, and measure both.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Hidden
# cases bring other shapes, strides, dilations, groups, dtypes and views. Every function is judged by itself. You need
# modules 01, 03 and 06. Three and a half hours are typical.

# %%
#| export
"""Convolutions: windows over images, their products with filters, pooling, and batch normalisation.

    Conv2d, MaxPool2d, AvgPool2d, BatchNorm2d, Flatten, ResidualBlock     modules on images (N, C, H, W)
    output_size, receptive_field, conv_cost                               what a layer makes, sees and costs

Options kernel, stride, padding and dilation are numbers or pairs (height, width). As everywhere in this field, the
product is a correlation: filters are not turned round.

Errors, each one line: ShapeError (a window that does not fit, channels that do not), ValueError (an option out of
range), TypeError (an option that is no integer).
"""

import math
import operator

import numpy as np

from tinytorch.activations import relu
from tinytorch.layers import Module, Parameter, Sequential, uniform_
from tinytorch.tensor import Function, ShapeError, float32, ones, zeros


def wide(array):
    """array in the precision in which sums are formed: float16 becomes float32."""
    return array.astype(float32) if array.dtype == np.float16 else array

# %%
import time
import tracemalloc

from mlsysbook import answer, case, check, predict, reveal
from tinytorch import Tensor, autograd, manual_seed

# %% [markdown]
# ## 1. A window that moves
#
# A filter of 2 × 2 on an image of 3 × 3. It stands on every place where it fits, and each time its four numbers are
# multiplied with the four below it, and added:
#
# $$\begin{pmatrix} 1 & 2 & 3 \\ 4 & 5 & 6 \\ 7 & 8 & 9 \end{pmatrix} \star
# \begin{pmatrix} 1 & 0 \\ 0 & -1 \end{pmatrix} =
# \begin{pmatrix} 1 - 5 & 2 - 6 \\ 4 - 8 & 5 - 9 \end{pmatrix} =
# \begin{pmatrix} -4 & -4 \\ -4 & -4 \end{pmatrix}$$
#
# Four options change where it stands. **Padding** p puts p zeros on either side. **Stride** s moves by s places at a
# time. **Dilation** d leaves d − 1 gaps between the numbers of the filter, so that K of them reach over
# d (K − 1) + 1 places. **Groups** cut the channels into parts that do not see each other.
#
# **Worked example.** A row of 7, a filter of 3 with dilation 2, padding 1, stride 3. The filter reaches over
# 2 · 2 + 1 = 5; the padded row has 9; it starts at places 0 and 3, and at 6 it would end at 11. Two places.
#
# **Exercise 1.1** How often a window fits along one axis. If it never does, refuse, and name how far the window reaches
# and how long the row is: those are the two numbers that somebody needs who has to find the mistake.

# %% solution="output_size"
#| export
def output_size(length, kernel, stride=1, padding=0, dilation=1):
    """How many places a window of `kernel` numbers has along an axis of `length`, padded by `padding` on either side.

    Raises ShapeError, with the reach of the window and length, if it has none.
    """
    ### BEGIN SOLUTION
    reach = dilation * (kernel - 1) + 1
    if length + 2 * padding < reach:
        raise ShapeError(f"a window that reaches over {reach} does not fit a length of {length} "
                         f"with {padding} of padding on either side")
    return (length + 2 * padding - reach) // stride + 1
    ### END SOLUTION


# %% check="output_size" points=3
def size_of(length, kernel, **options):
    try:
        return output_size(length, kernel, **options)
    except ShapeError as error:
        reach = options.get("dilation", 1) * (kernel - 1) + 1
        return {"the message names": [str(reach) in str(error), str(length) in str(error)]}

check("output_size", [
    case(3, 2),
    case(7, 3, dilation=2, padding=1, stride=3),
    case(224, 7, stride=2, padding=3),
    case(17, 4, dilation=10),
], call=size_of, compare="value")

# %% hidden="output_size"
def cases(rng):
    for _ in range(6):
        length, kernel = int(rng.integers(12, 60)), int(rng.integers(1, 5))
        yield case(length, kernel, stride=int(rng.integers(1, 4)), padding=int(rng.integers(0, 3)),
                   dilation=int(rng.integers(1, 4)), behaviour="any stride, padding and dilation")
    for length in (8, 9, 10, 11):
        yield case(length, 3, stride=3, behaviour="a rest that no window covers")
        yield case(length, 2, stride=5, padding=1, behaviour="a rest that no window covers")
    yield case(5, 5, behaviour="exactly one place")
    yield case(9, 5, dilation=2, behaviour="exactly one place")
    yield case(3, 5, padding=1, stride=9, behaviour="exactly one place")
    for length, options in ((13, {"dilation": 5}), (27, {"dilation": 10, "padding": 1}), (0, {})):
        yield case(length, 4, **options, behaviour="a window that fits nowhere is refused, with its reach")


# %% [markdown]
# Images come as (N, C, H, W): N images of C channels. A layer has O filters, each of shape (C, KH, KW), and every
# filter makes one channel of the result:
#
# $$y_{n,o,i,j} = \sum_{c, u, v} x_{n,\,c,\;s i + d u - p,\;s j + d v - p}\; w_{o,c,u,v}$$
#
# Seven indices, so seven loops. Write them once. It is the only version here whose correctness one can see, and every
# faster one will be held against it.
#
# **Exercise 1.2** The sum, by loops, for stride and padding that are equal along both axes, without dilation and
# groups. Numbers outside of the image are 0. The result has the dtype of x.

# %% solution="conv_loops"
def conv_loops(x, weight, stride=1, padding=0):
    """Correlate images x (N, C, H, W) with filters weight (O, C, KH, KW) -> (N, O, OH, OW), by loops."""
    N, C, H, W = x.shape
    filters, _, KH, KW = weight.shape
    OH, OW = ((n + 2 * padding - k) // stride + 1 for n, k in ((H, KH), (W, KW)))
    y = np.zeros((N, filters, OH, OW), x.dtype)
    ### BEGIN SOLUTION
    for n, o, i, j in np.ndindex(y.shape):
        for c, u, v in np.ndindex(C, KH, KW):
            row, column = stride * i + u - padding, stride * j + v - padding
            if 0 <= row < H and 0 <= column < W:
                y[n, o, i, j] += x[n, c, row, column] * weight[o, c, u, v]
    ### END SOLUTION
    return y


# %% check="conv_loops" points=4
check("conv_loops", [
    case(np.arange(1.0, 10).reshape(1, 1, 3, 3), np.array([[[[1.0, 0.0], [0.0, -1.0]]]])),
    case(np.ones((1, 2, 4, 4), "float32"), np.ones((1, 2, 3, 3), "float32"), stride=1, padding=1),
])

# %% hidden="conv_loops"
def whole(rng, *shape, dtype="float64"):
    """Whole numbers: sums of their products are exact in any order."""
    return rng.integers(-4, 5, shape).astype(dtype)


def cases(rng):
    n, c, o = (int(v) for v in rng.permutation([2, 3, 4]))
    yield case(whole(rng, n, c, 5, 6), whole(rng, o, c, 3, 2), behaviour="several images, channels and filters")
    yield case(whole(rng, 1, c, 4, 7), whole(rng, o, c, 1, 3), behaviour="several images, channels and filters")
    yield case(whole(rng, 2, 1, 6, 5, dtype="float32"), whole(rng, 3, 1, 2, 4, dtype="float32"),
               behaviour="several images, channels and filters")
    for stride in (2, 3):
        yield case(whole(rng, 1, 2, 7, 8), whole(rng, 2, 2, 2, 3), stride=stride, behaviour="stride")
    for padding in (1, 2):
        yield case(whole(rng, 1, 2, 4, 3), whole(rng, 2, 2, 3, 3), padding=padding, behaviour="padding")
        yield case(whole(rng, 1, 1, 5, 4), whole(rng, 2, 1, 3, 2), stride=2, padding=padding, behaviour="padding")
    yield case(whole(rng, 0, 2, 4, 4), whole(rng, 3, 2, 2, 2), behaviour="no images")


# %% [markdown]
# ## 2. Every window at once
#
# The window at place (i, j) is a part of the image; the next one is a part that starts one number further. So the array
# of all windows, (N, C, OH, OW, KH, KW), needs no memory of its own: moving by one window adds the stride of the
# option, moving inside a window adds the dilation, both times the stride of the array. In a row of 5 numbers with
# windows of 3, element [i, u] of the view is element i + u of the row:
#
# $$(a, b, c, d, e) \;\to\; \begin{pmatrix} a & b & c \\ b & c & d \\ c & d & e \end{pmatrix}$$
#
# Nine elements, five numbers. `np.lib.stride_tricks` makes such views; module 01 has shown what they rest on.
#
# **Exercise 2.1** The view of all windows. Options are pairs. Padding makes a copy, since padded images have numbers
# that the image has not; without padding no number may be copied, whatever the strides of x are.

# %%
#| export
def pair(name, value, least):
    """An option for both axes, from one number or two. Raises TypeError or ValueError unless they are integers >= least."""
    values = value if isinstance(value, tuple | list) else (value, value)
    try:
        values = tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(f"{name} is a whole number or a pair of them, got {value!r}") from None
    if len(values) != 2 or min(values) < least:
        raise ValueError(f"{name} is a whole number from {least} up or a pair of them, got {value!r}")
    return values

# %% solution="windows"
#| export
def windows(x, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), fill=0):
    """Every window of images x (N, C, H, W), padded with fill, as a view (N, C, OH, OW, KH, KW). All options are pairs."""
    ### BEGIN SOLUTION
    ph, pw = padding
    if ph or pw:
        x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    return view[:, :, ::stride[0], ::stride[1], ::dilation[0], ::dilation[1]]
    ### END SOLUTION


# %% check="windows" points=4
def viewed(x, kernel, turned=False, **options):
    """The windows, and whether they are a view of x."""
    x = x.swapaxes(2, 3) if turned else x
    result = windows(x, kernel, **options)
    return {"windows": result, "shape": result.shape, "no copy": bool(np.shares_memory(result, x)) if x.size else None}

check("windows", [
    case(np.arange(5.0).reshape(1, 1, 1, 5), (1, 3)),
    case(np.arange(16.0).reshape(1, 1, 4, 4), (2, 2), stride=(2, 2)),
    case(np.arange(4.0).reshape(1, 1, 2, 2), (2, 2), padding=(1, 0)),
], call=viewed)

# %% hidden="windows"
def cases(rng):
    core = "any window and stride, as a view"
    for _ in range(3):
        shape = (2, 3, int(rng.integers(6, 10)), int(rng.integers(6, 10)))
        kernel = tuple(int(k) for k in rng.integers(1, 5, 2))
        yield case(whole(rng, *shape), kernel, stride=tuple(int(s) for s in rng.integers(1, 4, 2)), behaviour=core)
    yield case(whole(rng, 1, 2, 5, 6), (3, 2), turned=True, stride=(1, 2), behaviour=core)
    for padding in ((1, 0), (0, 2), (2, 1)):
        yield case(whole(rng, 2, 1, 4, 5), (3, 2), padding=padding, stride=(2, 1), behaviour="padding on its own axis")
    yield case(whole(rng, 1, 1, 3, 3, dtype="float32"), (2, 2), padding=(1, 1), fill=-np.inf, behaviour="another fill")
    for dilation in ((2, 1), (1, 3), (2, 2)):
        yield case(whole(rng, 1, 2, 8, 8), (3, 2), dilation=dilation, stride=(1, 2), behaviour="dilation")
    yield case(whole(rng, 1, 1, 9, 9), (2, 3), dilation=(3, 2), padding=(1, 2), stride=(2, 3), behaviour="dilation")
    yield case(np.zeros((0, 2, 4, 4)), (2, 2), behaviour="no images, other dtypes")
    yield case(rng.integers(0, 9, (1, 1, 4, 4)), (2, 3), behaviour="no images, other dtypes")
    yield case(rng.integers(0, 9, (1, 1, 4, 4)).astype("int8"), (1, 2), padding=(0, 1), behaviour="no images, other dtypes")


# %% [markdown]
# With the windows in hand the sum over c, u, v is a matrix product. Each window is a row of C·KH·KW numbers, each
# filter a column of as many. The rows are called **im2col**, and this is how convolutions ran on the first GPUs: one
# product that somebody has already made fast.
#
# | matrix | shape | for 32 images of 64 × 56 × 56, 64 filters of 3 × 3, padding 1 |
# |---|---|---|
# | windows | (N OH OW, C KH KW) | 100,352 × 576 |
# | filters | (C KH KW, O) | 576 × 64 |
# | result | (N OH OW, O) | 100,352 × 64, to be turned into (N, O, OH, OW) |
#
# **Groups.** With groups = 2 the first half of the filters sees the first half of the channels, the second half the
# second; filters have shape (O, C / 2, KH, KW). With as many groups as channels each filter sees a single one: a
# **depthwise** convolution. Read as an array of groups, the products are a batch of matrix products.
#
# **Exercise 2.2** The correlation, by products. The result has the dtype of its operands (both have the same).

# %% solution="correlate"
#| export
def correlate(x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Correlate x (N, C, H, W) with weight (O, C / groups, KH, KW) -> (N, O, OH, OW). Work 2 N O OH OW C KH KW / groups.

    Options but groups are pairs. Holds every window as a row of a matrix: KH KW times the images, if the stride is 1.
    """
    ### BEGIN SOLUTION
    view = windows(x, weight.shape[2:], stride, padding, dilation)
    N, C, OH, OW, KH, KW = view.shape
    rows = view.reshape(N, groups, C // groups, OH, OW, KH, KW).transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, N * OH * OW, -1)
    filters = weight.reshape(groups, len(weight) // groups, -1).swapaxes(1, 2)
    return (rows @ filters).reshape(groups, N, OH, OW, -1).transpose(1, 0, 4, 2, 3).reshape(N, len(weight), OH, OW)
    ### END SOLUTION


# %%
def plain_windows(x, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), fill=0):
    """What `windows` gives, gathered window by window: slow, and only here so that each function is judged by itself."""
    (ph, pw), (sh, sw), (dh, dw) = padding, stride, dilation
    padded = np.full((*x.shape[:2], x.shape[2] + 2 * ph, x.shape[3] + 2 * pw), fill, x.dtype)
    padded[:, :, ph:ph + x.shape[2], pw:pw + x.shape[3]] = x
    reach = dh * (kernel[0] - 1) + 1, dw * (kernel[1] - 1) + 1
    tops, lefts = (range(0, n - r + 1, s) for n, r, s in zip(padded.shape[2:], reach, (sh, sw), strict=True))
    out = np.empty((*x.shape[:2], len(tops), len(lefts), *kernel), x.dtype)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            out[:, :, i, j] = padded[:, :, top:top + reach[0]:dh, left:left + reach[1]:dw]
    return out


class Given:
    """Inside, the notebook's own `windows` is the gathered one."""

    def __enter__(self):
        self.own = globals().get("windows")
        globals()["windows"] = plain_windows

    def __exit__(self, *_):
        globals()["windows"] = self.own


# %% check="correlate" points=5
def correlated(x, weight, turned=False, **options):
    with Given(), np.errstate(all="ignore"):
        return correlate(x.swapaxes(2, 3) if turned else x, weight, **options)

check("correlate", [
    case(np.arange(1.0, 10).reshape(1, 1, 3, 3), np.array([[[[1.0, 0.0], [0.0, -1.0]]]])),
    case(np.ones((1, 4, 2, 2)), np.arange(8.0).reshape(4, 2, 1, 1), groups=2),
], call=correlated)

# %% hidden="correlate"
def some_options(rng):
    """Options of every kind, not the same along both axes."""
    stride, dilation = (tuple(int(v) for v in rng.integers(1, 4, 2)) for _ in range(2))
    return {"stride": stride, "padding": tuple(int(v) for v in rng.integers(0, 3, 2)), "dilation": dilation}


def some_products(rng, core):
    """Images, filters and options for anything that takes the three, as (args, options, behaviour)."""
    n, c, o = (int(v) for v in rng.permutation([2, 3, 5]))
    for dtype in ("float64", "float32", "float64"):
        yield (whole(rng, n, c, 9, 8, dtype=dtype), whole(rng, o, c, 2, 3, dtype=dtype)), {}, core
    yield (whole(rng, n, c, 6, 6), whole(rng, o, c, 1, 1)), {}, core
    for _ in range(4):
        yield (whole(rng, 2, c, 11, 12), whole(rng, o, c, 3, 2)), some_options(rng), "stride, padding and dilation"
    for groups in (2, 3):
        arrays = whole(rng, 2, 2 * groups, 7, 6), whole(rng, 3 * groups, 2, 3, 2)
        yield arrays, {"groups": groups}, "groups"
        yield arrays, {"groups": groups, **some_options(rng)}, "groups"
    yield (whole(rng, 2, 4, 6, 7), whole(rng, 4, 1, 3, 3)), {"groups": 4, "padding": (1, 1)}, "a group for each channel"
    yield (whole(rng, 2, 3, 6, 7), whole(rng, 6, 1, 2, 3)), {"groups": 3, "stride": (2, 1)}, "a group for each channel"
    yield (whole(rng, 0, 2, 5, 5), whole(rng, 3, 2, 2, 2)), {}, "no images, one place"
    yield (whole(rng, 2, 2, 3, 4), whole(rng, 3, 2, 3, 4)), {}, "no images, one place"


def cases(rng):
    for arrays, options, behaviour in some_products(rng, "matrices of windows and filters"):
        yield case(*arrays, **options, behaviour=behaviour)
    yield case(whole(rng, 2, 3, 5, 6), whole(rng, 2, 3, 2, 3), turned=True, behaviour="views, NaN and infinity")
    x = whole(rng, 1, 1, 4, 4)
    x[0, 0, 1, 2], x[0, 0, 3, 0] = np.nan, np.inf
    yield case(x, np.abs(whole(rng, 2, 1, 2, 2)) + 1, behaviour="views, NaN and infinity")


# %% [markdown]
# Slide the window. The picture is a 4 of the digits in `tinytorch.datasets`, the filter finds what gets brighter to the right. The
# frame marks what the window reads, the dots the numbers that are multiplied, and the right side what your `correlate` has made up
# to that place. Watch what stride, padding and dilation do to the size of the output.

# %% show
import matplotlib.pyplot as plt

from mlsysbook import explore, pick, slider
from tinytorch import datasets

images, labels = datasets.digits()[0]
FOUR = images[labels == 4][0, 0]
FILTER = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], "float32")


def slide(step, stride, padding, dilation):
    made = correlate(FOUR[None, None], FILTER[None, None], (stride, stride), (padding, padding), (dilation, dilation))[0, 0]
    step = min(step, made.size)
    i, j = np.unravel_index(step - 1, made.shape)
    rows, columns = stride * i + dilation * np.arange(3), stride * j + dilation * np.arange(3)
    padded = np.pad(FOUR, padding)
    return {"padded": padded.tolist(), "made": made.tolist(), "step": step, "rows": rows.tolist(), "columns": columns.tolist(),
            "sum": float((padded[np.ix_(rows, columns)] * FILTER).sum())}


def window_drawn(axes, result, settings):
    padded, made, p = np.array(result["padded"]), np.array(result["made"]), settings["padding"]
    left = padded.shape[1] + 1.5
    axes.imshow(padded, extent=(0, padded.shape[1], len(padded), 0), cmap="gray_r", alpha=0.6)
    axes.add_patch(plt.Rectangle((p, p), 8, 8, fill=False, ls=":", ec="0.4"))
    rows, columns = result["rows"], result["columns"]
    axes.add_patch(plt.Rectangle((columns[0], rows[0]), columns[2] - columns[0] + 1, rows[2] - rows[0] + 1, fill=False, ec="#b5330f", lw=2))
    for r in rows:
        axes.plot([c + 0.5 for c in columns], [r + 0.5] * 3, "o", color="#b5330f", ms=4)
    shown = np.where(np.arange(made.size).reshape(made.shape) < result["step"], made, np.nan)
    most = max(abs(made).max(), 1e-6)
    axes.imshow(shown, extent=(left, left + made.shape[1], made.shape[0], 0), cmap="RdBu_r", vmin=-most, vmax=most)
    axes.add_patch(plt.Rectangle((left, 0), made.shape[1], made.shape[0], fill=False, ec="0.4"))
    i, j = np.unravel_index(result["step"] - 1, made.shape)
    axes.add_patch(plt.Rectangle((left + j, i), 1, 1, fill=False, ec="#b5330f", lw=2))
    axes.set(xlim=(-0.2, left + 12.2), ylim=(12.2, -0.2), aspect="equal", title="left: image with padding; right: output so far")
    axes.axis("off")


def window_said(result, settings):
    made = np.array(result["made"])
    i, j = np.unravel_index(result["step"] - 1, made.shape)
    return (f"place {result['step']} of {made.size}: output ({i}, {j}) is the sum of nine products, {result['sum']:.2f}; "
            f"correlate has {made[i, j]:.2f}; the output is {made.shape[0]} × {made.shape[1]}")


explore(slide, {"step": slider(1, 100, start=22, steps=99), "stride": pick(1, 2, 3), "padding": pick(0, 1, 2), "dilation": pick(1, 2, 3)},
        draw=window_drawn, say=window_said)

# %% [markdown]
# ## 3. Without the copy
#
# im2col writes each number of an image into up to KH·KW rows before the product reads it. For the layer in the table
# that is 231 MB of windows, from 26 MB of images; the product itself reads them once.
#
# The sum can be ordered differently: one tap (u, v) of all filters at a time. Tap (u, v) multiplies a shifted view of
# the images, (N, C, OH, OW), with a matrix (O, C): a plain product of matrices, KH·KW of them, whose results are added
# up. Nothing is held but the padded images, one view's worth of scratch and the sum. Compilers of kernels call the idea
# **implicit GEMM**: the matrix of windows exists only as index arithmetic, while tiles of it pass through the cache.
#
# **Exercise 3.1** The correlation without the matrix of windows, for groups = 1. The check measures how much memory you
# allocate.

# %% solution="correlate_taps"
def correlate_taps(x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    """correlate, one tap of the filters at a time, with scratch space of about one image batch."""
    N, C, H, W = x.shape
    filters, _, KH, KW = weight.shape
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    OH, OW = (H + 2 * ph - dh * (KH - 1) - 1) // sh + 1, (W + 2 * pw - dw * (KW - 1) - 1) // sw + 1
    ### BEGIN SOLUTION
    if ph or pw:
        x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    total = np.zeros((N, filters, OH * OW), x.dtype)
    for u in range(KH):
        for v in range(KW):
            top, left = u * dh, v * dw
            shifted = x[:, :, top:top + sh * (OH - 1) + 1:sh, left:left + sw * (OW - 1) + 1:sw]
            total += weight[:, :, u, v] @ shifted.reshape(N, C, OH * OW)
    return total.reshape(N, filters, OH, OW)
    ### END SOLUTION


# %% check="correlate_taps" points=4
def by_taps(x, weight, weigh=False, **options):
    """The result, or, to weigh it, whether the most that was allocated stays below half of the matrix of windows."""
    if not weigh:
        return correlate_taps(x, weight, **options)
    tracemalloc.start()
    try:
        y = correlate_taps(x, weight, **options)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    matrix = y.size // y.shape[1] * weight[0].size * x.itemsize
    return {"result": y, "less than half of the matrix of windows": most < matrix / 2}

check("correlate_taps", [
    case(np.arange(1.0, 10).reshape(1, 1, 3, 3), np.array([[[[1.0, 0.0], [0.0, -1.0]]]])),
    case(np.ones((2, 8, 24, 24)), np.ones((8, 8, 5, 5)), weigh=True),
], call=by_taps)

# %% hidden="correlate_taps"
def cases(rng):
    for arrays, options, behaviour in some_products(rng, "tap by tap"):
        if "groups" not in options:
            yield case(*arrays, **options, behaviour=behaviour)
    for options in ({}, {"padding": (2, 2)}, {"stride": (1, 1), "dilation": (2, 1)}):
        yield case(whole(rng, 2, 8, 26, 24), whole(rng, 8, 8, 5, 5), weigh=True, **options, behaviour="no matrix of windows is held")


# %% [markdown]
# ## 4. Backward
#
# Every product x·w of the forward sum comes back twice: grad · x adds to the gradient of w, grad · w to that of x. The
# example of section 1, with an incoming gradient of 1 for the upper left place and 10 for the lower right:
#
# * the filter stood on 1, 2, 4, 5 at the first place and on 5, 6, 8, 9 at the other, so its gradient is
#   $\begin{pmatrix} 1 + 50 & 2 + 60 \\ 4 + 80 & 5 + 90 \end{pmatrix} =
#   \begin{pmatrix} 51 & 62 \\ 84 & 95 \end{pmatrix}$;
# * the image gets the filter back at every place where it stood, times that place's gradient, and adds up where windows
#   overlap:
#   $\begin{pmatrix} 1 & 0 & 0 \\ 0 & -1 + 10 & 0 \\ 0 & 0 & -10 \end{pmatrix}$.
#
# Each of the two takes as many multiplications as the forward pass. A backward pass through a convolution therefore
# multiplies twice as often as the forward, but for the first layer, whose images want no gradient. What it costs in time
# is measured in section 9.5.
#
# **Exercise 4.1** The gradient of the filters. **Exercise 4.2** The gradient of the images: mind the rows and columns
# that no window covered, which get zero, and the padding, which gets a gradient that nobody wants.

# %% solution="weight_grad"
#| export
def weight_grad(x, grad, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """The gradient for the weight (O, C / groups, *kernel) of correlate, given that of its result, (N, O, OH, OW)."""
    ### BEGIN SOLUTION
    view = windows(x, kernel, stride, padding, dilation)
    N, C, OH, OW, KH, KW = view.shape
    outputs = grad.shape[1]
    rows = view.reshape(N, groups, C // groups, OH, OW, KH, KW).transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, N * OH * OW, -1)
    pulls = grad.reshape(N, groups, outputs // groups, OH * OW).transpose(1, 2, 0, 3).reshape(groups, outputs // groups, N * OH * OW)
    return (pulls @ rows).reshape(outputs, C // groups, KH, KW)
    ### END SOLUTION


# %% solution="input_grad"
#| export
def input_grad(grad, weight, shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """The gradient for the images of correlate, of this shape (N, C, H, W), given that of its result, (N, O, OH, OW)."""
    ### BEGIN SOLUTION
    (N, C, H, W), (OH, OW) = shape, grad.shape[2:]
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    result = np.zeros((N, C, H + 2 * ph, W + 2 * pw), grad.dtype)
    pulls = grad.reshape(N, groups, -1, OH * OW)
    filters = weight.reshape(groups, len(weight) // groups, C // groups, *weight.shape[2:])
    for u in range(weight.shape[2]):
        for v in range(weight.shape[3]):
            part = (filters[:, :, :, u, v].swapaxes(1, 2) @ pulls).reshape(N, C, OH, OW)
            top, left = u * dh, v * dw
            result[:, :, top:top + sh * (OH - 1) + 1:sh, left:left + sw * (OW - 1) + 1:sw] += part
    return result[:, :, ph:ph + H, pw:pw + W]
    ### END SOLUTION


# %% check="weight_grad" points=4
def pulled_weight(x, weight, seed=0, **options):
    """The gradient of filters of that shape under a random incoming one."""
    shape = plain_windows(x, weight.shape[2:], *(options.get(k, d) for k, d in (
        ("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1))))).shape
    grad = np.random.default_rng(seed).integers(-4, 5, (len(x), len(weight), *shape[2:4])).astype(x.dtype)
    with Given():
        return weight_grad(x, grad, weight.shape[2:], **options)

check("weight_grad", [case(np.arange(1.0, 10).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2)), seed=1)], call=pulled_weight)

# %% hidden="weight_grad"
def cases(rng):
    for arrays, options, behaviour in some_products(rng, "the gradient of the filters"):
        yield case(*arrays, **options, seed=int(rng.integers(99)), behaviour=behaviour)


# %% check="input_grad" points=5
def pulled_images(x, weight, seed=0, **options):
    """The gradient of images of that shape under a random incoming one."""
    shape = plain_windows(x, weight.shape[2:], *(options.get(k, d) for k, d in (
        ("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1))))).shape
    grad = np.random.default_rng(seed).integers(-4, 5, (len(x), len(weight), *shape[2:4])).astype(x.dtype)
    with Given():
        return input_grad(grad, weight, x.shape, **options)

check("input_grad", [case(np.zeros((1, 1, 3, 3)), np.array([[[[1.0, 0.0], [0.0, -1.0]]]]), seed=1)], call=pulled_images)

# %% hidden="input_grad"
def cases(rng):
    for arrays, options, behaviour in some_products(rng, "windows that overlap add up"):
        yield case(*arrays, **options, seed=int(rng.integers(99)), behaviour=behaviour)
    for side in (8, 9, 10):
        yield case(np.zeros((1, 2, side, side)), whole(rng, 2, 2, 2, 2), stride=(3, 3), seed=int(rng.integers(99)),
                   behaviour="what no window covered gets zero")


# %% [markdown]
# With these a convolution is a Function like any other, and a module around it holds the parameters. Weights start as
# in `Linear`: uniform between ±1/√fan_in, where fan_in is C / groups · KH · KW.

# %%
#| export
class Correlate(Function):
    """correlate and a bias (O,), as one operation: (x, weight) or (x, weight, bias) -> (N, O, OH, OW)."""

    def forward(self, x, weight, *bias, **options):
        y = correlate(wide(x), wide(weight), **options)
        if bias:
            y = y + wide(bias[0])[:, None, None]
        return y.astype(x.dtype, copy=False)

    def backward(self, grad):
        x, weight = (wide(a).astype(grad.dtype, copy=False) for a in self.saved[:2])
        parts = [None, None]
        if self.wants[0]:
            parts[0] = input_grad(grad, weight, x.shape, **self.params)
        if self.wants[1]:
            parts[1] = weight_grad(x, grad, weight.shape[2:], **self.params)
        return (*parts, grad.sum(axis=(0, 2, 3)))[:len(self.wants)]


class Conv2d(Module):
    """Images x (N, in_channels, H, W) -> (N, out_channels, OH, OW).

    weight (out_channels, in_channels / groups, KH, KW) and bias (out_channels,) or None start uniform between
    ±1/sqrt(fan_in). Raises ShapeError for images of other channels, or smaller than the window; ValueError for options out
    of range.
    """

    def __init__(self, in_channels, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1, bias=True, rng=None,
                 dtype=float32):
        super().__init__()
        if min(in_channels, out_channels, groups) < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups divides in_channels and out_channels, all from 1 up; got {groups} groups for "
                             f"{in_channels} and {out_channels} channels")
        self.kernel = pair("kernel", kernel, 1)
        self.options = {"stride": pair("stride", stride, 1), "padding": pair("padding", padding, 0),
                        "dilation": pair("dilation", dilation, 1), "groups": groups}
        shape = out_channels, in_channels // groups, *self.kernel
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = uniform_(Parameter(zeros(shape, dtype)), -bound, bound, rng)
        self.bias = uniform_(Parameter(zeros(out_channels, dtype)), -bound, bound, rng) if bias else None

    def forward(self, x):
        channels = self.weight.shape[1] * self.options["groups"]
        if x.ndim != 4 or x.shape[1] != channels:
            raise ShapeError(f"Conv2d takes images (N, {channels}, H, W), got shape {x.shape}")
        for length, kernel, *option in zip(x.shape[2:], self.kernel, *list(self.options.values())[:3], strict=True):
            output_size(length, kernel, *option)
        bias = () if self.bias is None else (self.bias,)
        return Correlate.apply(x, self.weight, *bias, **self.options)

    def extra_repr(self):
        channels = self.weight.shape[1] * self.options["groups"]
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"{channels}, {len(self.weight)}, kernel={self.kernel}{options}, bias={self.bias is not None}"


class Flatten(Module):
    """All axes of each example as one: (N, C, H, W) -> (N, C H W). What stands between convolutions and a Linear."""

    def forward(self, x):
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

# %% [markdown]
# What do filters see? Two of them by hand on a picture of three shapes: the difference of neighbours to the left and
# right finds vertical edges, that of upper and lower ones finds horizontal edges. A trained network finds such filters
# in its first layer by itself.

# %% show
rows, columns = np.mgrid[:48, :48]
picture = ((rows - 14) ** 2 + (columns - 13) ** 2 < 81).astype("float32")
picture[28:42, 6:22] = 0.7
picture[(rows > columns - 10) & (columns > 28) & (rows < 30)] = 0.4
sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], "float32")
edges = correlate(picture[None, None], np.stack([sobel, sobel.T])[:, None], padding=(1, 1))[0]
figure, axes = plt.subplots(1, 3, figsize=(8.5, 2.9))
for axis, title, image in zip(axes, ("picture", "left to right", "top to bottom"), (picture, *edges), strict=True):
    axis.imshow(image, cmap="gray")
    axis.set_title(title)
    axis.axis("off")
plt.show()
print(f"shares of the picture on an edge: left to right {np.mean(abs(edges[0]) > 0.5):.0%}, "
      f"top to bottom {np.mean(abs(edges[1]) > 0.5):.0%}")

# %% [markdown]
# ## 5. Pooling
#
# Pooling makes images smaller without weights. `MaxPool2d(2)` keeps the largest of each 2 × 2 window, `AvgPool2d(2)`
# the mean.
#
# $$\begin{pmatrix} 1 & 5 & 2 & 2 \\ 3 & 4 & 2 & 2 \end{pmatrix} \to (5,\ 2) \qquad
# \text{gradient}\ (10, 20) \to \begin{pmatrix} 0 & 10 & 20 & 0 \\ 0 & 0 & 0 & 0 \end{pmatrix}$$
#
# The gradient of a maximum goes to where the maximum stood. `Max` of module 06 shares it among equal ones; pooling
# gives all of it to the first, as every framework does, since ties are common here (flat areas, zeros after a ReLU) and
# one place is one integer to remember. So the forward pass returns the places too: int64 numbers r·W + c that count
# through a plane of the image, not of the padded one.
#
# **Exercise 5.1** The largest of every window and its place. Windows may overlap. What is padded is never chosen, not
# even where a window holds nothing but -inf. NaN counts as larger than any number, as `argmax` does it.
#
# **Exercise 5.2** The gradient. Where windows overlap, a place that wins twice gets both.

# %% solution="max_pool"
#| export
def max_pool(x, kernel, stride, padding=(0, 0)):
    """The largest number of each window of x (N, C, H, W), and its place in the plane -> two arrays (N, C, OH, OW).

    All options are pairs. Of equal numbers the first is taken; NaN is the largest.
    """
    ### BEGIN SOLUTION
    H, W = x.shape[2:]
    size = kernel[0] * kernel[1]
    view = windows(x, kernel, stride, padding, fill=-np.inf)
    plane = windows(np.arange(H * W).reshape(1, 1, H, W), kernel, stride, padding, fill=-1)
    numbers = view.reshape(*view.shape[:4], size)
    places = np.broadcast_to(plane.reshape(1, 1, *view.shape[2:4], size), numbers.shape)
    first = np.broadcast_to((places >= 0).argmax(-1), numbers.shape[:4])
    best = numbers.argmax(-1)[..., None]
    best = np.where(np.take_along_axis(numbers, best, -1) == -np.inf, first[..., None], best)
    return tuple(np.take_along_axis(a, best, -1)[..., 0] for a in (numbers, places))
    ### END SOLUTION


# %% solution="max_pool_grad"
#| export
def max_pool_grad(grad, places, shape):
    """The gradient for the images (N, C, H, W) of max_pool, given that of its result and the places of the largest."""
    ### BEGIN SOLUTION
    result = np.zeros((shape[0] * shape[1], shape[2] * shape[3]), grad.dtype)
    planes = np.arange(len(result))[:, None]
    np.add.at(result, (planes, places.reshape(len(result), grad.shape[2] * grad.shape[3])), grad.reshape(len(result), -1))
    return result.reshape(shape)
    ### END SOLUTION


# %% check="max_pool" points=4
def pooled(x, kernel, stride, padding=(0, 0)):
    with Given():
        values, places = max_pool(x, kernel, stride, padding)
    return {"largest": values, "places": np.asarray(places, "int64")}

check("max_pool", [
    case(np.array([[[[1.0, 5, 2, 2], [3, 4, 2, 2]]]]), (2, 2), (2, 2)),
    case(np.array([[[[-1.0, -2], [-3, -4]]]]), (2, 2), (1, 1), (1, 1)),
], call=pooled)

# %% hidden="max_pool"
def cases(rng):
    for _ in range(3):
        shape = (2, 3, int(rng.integers(6, 9)), int(rng.integers(6, 9)))
        x = rng.permutation(np.arange(np.prod(shape), dtype="float64")).reshape(shape)
        yield case(x, (2, 3), (2, 3), behaviour="windows side by side")
        yield case(x, (3, 2), (1, 2), behaviour="windows that overlap")
        yield case(-x - 1, (3, 3), (2, 2), (1, 1), behaviour="padding is never chosen")
    yield case(np.full((1, 1, 2, 3), -np.inf), (2, 2), (1, 1), (1, 1), behaviour="padding is never chosen")
    yield case(rng.integers(0, 2, (1, 2, 6, 6)).astype("float32"), (3, 3), (2, 1), behaviour="of equal numbers the first")
    yield case(np.zeros((1, 1, 4, 4)), (2, 2), (2, 2), behaviour="of equal numbers the first")
    x = rng.normal(size=(1, 1, 4, 5))
    x[0, 0, 1, 2] = np.nan
    yield case(x, (2, 2), (1, 1), behaviour="NaN, no images")
    yield case(np.zeros((0, 2, 4, 4)), (2, 2), (2, 2), behaviour="NaN, no images")


# %% check="max_pool_grad" points=3
check("max_pool_grad", [
    case(np.array([[[[10.0, 20.0]]]]), np.array([[[[1, 2]]]]), (1, 1, 2, 4)),
    case(np.array([[[[1.0, 2.0]]]]), np.array([[[[3, 3]]]]), (1, 1, 2, 3)),
])

# %% hidden="max_pool_grad"
def cases(rng):
    for dtype in ("float64", "float32", "float64"):
        shape = (2, 3, int(rng.integers(3, 6)), int(rng.integers(3, 6)))
        places = rng.permuted(np.tile(np.arange(shape[2] * shape[3]), (6, 1)), axis=1)[:, :4].reshape(2, 3, 2, 2)
        yield case(whole(rng, 2, 3, 2, 2, dtype=dtype), places, shape, behaviour="each gradient to its place, plane by plane")
    for _ in range(3):
        yield case(whole(rng, 2, 2, 3, 3), rng.integers(0, 4, (2, 2, 3, 3)), (2, 2, 5, 4),
                   behaviour="a place that won several times")
    yield case(np.zeros((0, 2, 2, 2)), np.zeros((0, 2, 2, 2), "int64"), (0, 2, 4, 4), behaviour="no images")


# %%
#| export
def pooling(kernel, stride=None, padding=0):
    """Options of a pooling as pairs; windows lie side by side unless there is a stride."""
    kernel = pair("kernel", kernel, 1)
    options = {"kernel": kernel, "stride": kernel if stride is None else pair("stride", stride, 1),
               "padding": pair("padding", padding, 0)}
    if any(2 * p > k for p, k in zip(options["padding"], kernel, strict=True)):
        raise ValueError(f"padding is at most half of the kernel {kernel}, got {options['padding']}")
    return options


class MaxPool(Function):
    """max_pool as an operation."""

    needs = ((),)

    def forward(self, x, **options):
        values, self.places = max_pool(x, **options)
        return values

    def backward(self, grad):
        return (max_pool_grad(grad, self.places, self.shapes[0]),)


class AvgPool(Function):
    """The mean of every window. Zeros of the padding count, as in PyTorch unless it is told otherwise."""

    needs = ((),)

    def forward(self, x, **options):
        return windows(wide(x), **options).mean(axis=(4, 5)).astype(x.dtype, copy=False)

    def backward(self, grad):
        channels, (KH, KW) = self.shapes[0][1], self.params["kernel"]
        share = np.full((channels, 1, KH, KW), 1 / (KH * KW), grad.dtype)
        return (input_grad(grad, share, self.shapes[0], self.params["stride"], self.params["padding"], groups=channels),)


class Pool2d(Module):
    """What the two poolings of images (N, C, H, W) share: options, and the errors for images that do not fit."""

    def __init__(self, kernel, stride=None, padding=0):
        super().__init__()
        self.options = pooling(kernel, stride, padding)

    def forward(self, x):
        if x.ndim != 4:
            raise ShapeError(f"{type(self).__name__} takes images (N, C, H, W), got shape {x.shape}")
        for length, kernel, stride, padding in zip(x.shape[2:], *self.options.values(), strict=True):
            output_size(length, kernel, stride, padding)
        return self.function.apply(x, **self.options)

    def extra_repr(self):
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


class MaxPool2d(Pool2d):
    """The largest number of each window. Raises ShapeError if no window fits, ValueError for options out of range."""

    function = MaxPool


class AvgPool2d(Pool2d):
    """The mean of each window, zeros of the padding among them. Errors as MaxPool2d's."""

    function = AvgPool

# %% [markdown]
# ## 6. Batch normalisation
#
# Deep networks train badly if the scale of what a layer gets moves with every step of the layers before it. Batch
# normalisation (Ioffe and Szegedy 2015) fixes the scale by force: each channel is shifted and divided so that over the
# batch and all places it has mean 0 and variance 1, then given a scale and a shift that are learned:
#
# $$\hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}, \qquad y = \gamma \hat x + \beta$$
#
# In training μ and σ² are those of the batch. In evaluation there may be no batch, and an answer should not depend on
# who else asked. So training also keeps running averages, which are buffers and no parameters, and evaluation uses
# those. Two conventions of the field: the average moves by `momentum` = 0.1 of the difference; and the variance that
# is averaged divides by n − 1, while the one that normalises divides by n.
#
# **Worked example.** A channel holds 1, 3, 5, 7 in a batch: μ = 4, σ² = 5, and 20/3 with n − 1. With running mean 0 and
# variance 1 before, they are 0.4 and 1 + 0.1 · (6.667 − 1) = 1.567 afterwards. In evaluation a 4 becomes
# (4 − 0.4) / √1.567 = 2.88, while in training it was 0.
#
# **Exercise 6.1** `forward`. In training, refuse a batch with fewer than two numbers a channel, whose variance means
# nothing, and say what shape came. `Normalise` is given; it takes the statistics as arrays. The running ones are
# buffers; `copy_` writes a tensor in place.

# %%
#| export
def spread(values):
    """values (C,) as an array that broadcasts over images (N, C, H, W)."""
    return values[:, None, None]


class Normalise(Function):
    """(x - mean) / sqrt(var + eps) * weight + bias by channel. training says whether mean and var were computed from x."""

    needs = ((0, 1), (0,), ())

    def forward(self, x, weight, bias, mean, var, eps, training):
        y = (wide(x) - spread(mean)) / np.sqrt(spread(var) + eps) * spread(wide(weight)) + spread(wide(bias))
        return y.astype(x.dtype, copy=False)

    def backward(self, grad):
        mean, var, eps, training = (self.params[k] for k in ("mean", "var", "eps", "training"))
        x, weight = (None if a is None else wide(a).astype(grad.dtype, copy=False) for a in self.saved[:2])
        x = np.broadcast_to(spread(mean), self.shapes[0]) if x is None else x  # only the bias wants a gradient
        weight = np.ones(len(mean), grad.dtype) if weight is None else weight
        return batch_norm_grad(x, grad, weight, mean.astype(grad.dtype), var.astype(grad.dtype), eps, training)

# %% solution="batch_norm"
#| export
class BatchNorm2d(Module):
    """Each channel of images (N, C, H, W) to mean 0 and variance 1, times weight, plus bias, both (C,).

    In training by the statistics of the batch, which also move the buffers running_mean and running_var (divided by n - 1)
    by momentum; in evaluation by the buffers. Raises ShapeError for other channels, ValueError, with the shape, for fewer
    than two numbers a channel in training. Source: Ioffe and Szegedy 2015.
    """

    def __init__(self, channels, momentum=0.1, eps=1e-5, dtype=float32):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = Parameter(ones(channels, dtype)), Parameter(zeros(channels, dtype))
        self.register_buffer("running_mean", zeros(channels, dtype))
        self.register_buffer("running_var", ones(channels, dtype))

    def forward(self, x):
        if x.ndim != 4 or x.shape[1] != self.weight.numel():
            raise ShapeError(f"BatchNorm2d takes images (N, {self.weight.numel()}, H, W), got shape {x.shape}")
        ### BEGIN SOLUTION
        mean, var = self.running_mean.numpy().copy(), self.running_var.numpy().copy()
        if self.training:
            count = x.numel() // x.shape[1]
            if count < 2:
                raise ValueError(f"a variance wants two numbers or more a channel, got x of shape {x.shape}")
            numbers = wide(x.numpy())
            old_mean, old_var = mean, var
            mean, var = numbers.mean(axis=(0, 2, 3)), numbers.var(axis=(0, 2, 3))
            self.running_mean.copy_(old_mean + self.momentum * (mean - old_mean))
            self.running_var.copy_(old_var + self.momentum * (var * (count / (count - 1)) - old_var))
        return Normalise.apply(x, self.weight, self.bias, mean=mean, var=var, eps=self.eps, training=self.training)
        ### END SOLUTION

    def extra_repr(self):
        return f"{self.weight.numel()}, momentum={self.momentum}, eps={self.eps}"


# %% check="batch_norm" points=5
def normalised(batches, training=True, momentum=0.1, eps=1e-5, start=(0.0, 1.0)):
    """Batches through one layer: the last output, the running averages; for a refusal, what it names."""
    x = np.asarray(batches[-1])
    layer = BatchNorm2d(x.shape[1], momentum, eps, "float64" if x.dtype == "float64" else "float32")
    layer.running_mean.fill_(start[0])
    layer.running_var.fill_(start[1])
    with autograd.no_grad():
        layer.weight.copy_(np.linspace(1, 2, x.shape[1]))
        layer.bias.copy_(np.linspace(-1, 1, x.shape[1]))
    layer.training = training
    buffers = layer.running_mean, layer.running_var
    try:
        for batch in batches:
            y = layer.forward(Tensor(batch))
    except ValueError as error:
        return {"the message names the shape": str(x.shape) in str(error)}
    return {"output": y, "running mean": layer.running_mean, "running variance": layer.running_var,
            "the same buffers": buffers[0] is layer.running_mean and buffers[1] is layer.running_var}

check("batch_norm", [
    case([np.array([1.0, 3, 5, 7]).reshape(2, 1, 2, 1)]),
    case([np.array([4.0]).reshape(1, 1, 1, 1)], training=False, start=(0.4, 1.567)),
], call=normalised)

# %% hidden="batch_norm"
def cases(rng):
    def images(*shape, dtype="float64"):
        return rng.normal(2, 3, shape).astype(dtype)

    core = "training normalises by the batch"
    for shape in ((4, 3, 5, 6), (2, 5, 3, 3), (8, 2, 1, 1)):
        yield case([images(*shape)], behaviour=core)
    yield case([images(3, 2, 4, 4), images(3, 2, 4, 4), images(2, 2, 4, 4)], behaviour="running averages")
    yield case([images(1, 2, 1, 3), images(1, 2, 2, 1)], momentum=0.3, start=(1.0, 4.0), behaviour="running averages")
    for shape in ((4, 3, 5, 6), (1, 2, 1, 1)):
        yield case([images(*shape)], training=False, start=(1.5, 3.0), behaviour="evaluation uses them, and leaves them alone")
    yield case([images(2, 2, 3, 3), images(2, 2, 3, 3)], training=False, behaviour="evaluation uses them, and leaves them alone")
    yield case([images(4, 2, 3, 3, dtype="float32")], behaviour="float32, a channel of equal numbers, another eps")
    yield case([np.full((2, 2, 3, 3), 4.0)], behaviour="float32, a channel of equal numbers, another eps")
    yield case([images(4, 2, 3, 3)], eps=0.5, behaviour="float32, a channel of equal numbers, another eps")
    yield case([images(1, 3, 1, 1)], behaviour="one number a channel is refused in training")


# %% [markdown]
# The gradient has a surprise in it. In evaluation each element goes its own way, and the gradient of x is grad · γ / σ.
# In training the mean and the variance depend on every element too. A shift of the whole channel changes nothing, and
# neither does a stretch: so the gradient has no component along either. With n numbers a channel, and bars for means
# over them,
#
# $$dx = \frac{\gamma}{\sigma} \left( g - \bar g - \hat x \; \overline{g \hat x} \right), \qquad
# d\gamma = \sum g \hat x, \qquad d\beta = \sum g, \qquad \sigma = \sqrt{\text{var} + \varepsilon}.$$
#
# **Exercise 6.2** All three gradients, for both modes.

# %% solution="batch_norm_grad"
#| export
def batch_norm_grad(x, grad, weight, mean, var, eps, training):
    """The gradients for x, weight and bias of a batch normalisation that used mean and var (C,), the batch's if training."""
    ### BEGIN SOLUTION
    sigma = np.sqrt(spread(var) + grad.dtype.type(eps))
    h = (x - spread(mean)) / sigma
    dbias, dweight = grad.sum(axis=(0, 2, 3)), (grad * h).sum(axis=(0, 2, 3))
    if training:
        n = grad.dtype.type(x.size // x.shape[1])
        grad = grad - spread(dbias / n) - h * spread(dweight / n)
    return grad * (spread(weight) / sigma), dweight, dbias
    ### END SOLUTION


# %% check="batch_norm_grad" points=5
def pulled_norm(x, weight, training=True, eps=1e-5, seed=0):
    grad = np.random.default_rng(seed).normal(size=x.shape).astype(x.dtype)
    if training:
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    else:
        mean, var = np.linspace(-1, 1, x.shape[1]).astype(x.dtype), np.linspace(1, 3, x.shape[1]).astype(x.dtype)
    dx, dweight, dbias = batch_norm_grad(x, grad, weight, mean, var, eps, training)
    return {"x": dx, "weight": dweight, "bias": dbias}

check("batch_norm_grad", [
    case(np.array([1.0, 3, 5, 8]).reshape(2, 1, 2, 1), np.array([2.0])),
    case(np.array([1.0, 3, 5, 8]).reshape(2, 1, 2, 1), np.array([2.0]), training=False),
], call=pulled_norm, rtol=1e-7, atol=1e-10)

# %% hidden="batch_norm_grad"
def cases(rng):
    for training, behaviour in ((True, "training: the batch's statistics depend on x"), (False, "evaluation: they do not")):
        for shape in ((4, 3, 5, 6), (2, 5, 3, 1), (7, 2, 1, 1)):
            yield case(rng.normal(1, 2, shape), rng.uniform(0.5, 2, shape[1]), training=training, seed=int(rng.integers(99)),
                       behaviour=behaviour)
    yield case(rng.normal(1, 2, (3, 2, 4, 4)), rng.normal(size=2), eps=0.7, seed=3, behaviour="a large eps")
    yield case(rng.normal(1, 2, (3, 2, 4, 4)), rng.normal(size=2), eps=0.7, training=False, seed=4, behaviour="a large eps")


# %% [markdown]
# Your gradients against central differences, through the engine of module 06. A line that is not `ok` says which
# gradient is wrong, and where.

# %% show
def compare(name, f, *shapes):
    rng = np.random.default_rng(0)
    tensors = [Tensor(rng.normal(size=shape), requires_grad=True) for shape in shapes]
    try:
        autograd.gradcheck(f, *tensors)
    except AssertionError as error:
        print(f"{name:24} {error}")
    else:
        print(f"{name:24} ok")


def as_operation(cls, **options):
    return lambda *tensors: cls.apply(*tensors, **options)


plain = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
compare("Correlate", as_operation(Correlate, **plain), (2, 4, 5, 6), (4, 2, 2, 3), (4,))
compare("MaxPool", as_operation(MaxPool, **pooling(2, 1)), (2, 2, 4, 4))
compare("AvgPool", as_operation(AvgPool, **pooling(3, 2, 1)), (2, 2, 5, 5))
layer = BatchNorm2d(3, dtype="float64")
compare("BatchNorm2d, training", layer, (3, 3, 2, 2))
compare("BatchNorm2d, evaluation", layer.eval(), (3, 3, 2, 2))

# %% [markdown]
# ## 7. Counting before running
#
# **Work.** A layer's result has O·OH·OW numbers an image, each a sum of C / groups·KH·KW products: as many
# multiply-adds, and two FLOP each. The filters have O·C / groups·KH·KW weights. So each weight is used OH·OW times an
# image, which is what makes convolutions heavy in arithmetic and light in memory.
#
# **Receptive field.** How much of the image does one number of the last layer see? Walk forward, and keep two numbers:
# the field r, and the jump j, how many pixels apart two neighbours are. They start at 1. A layer whose window reaches
# over k takes in k − 1 more neighbours, each j pixels away: r grows by (k − 1)·j, then j is multiplied by the stride.
#
# **Worked example.** 3 × 3, stride 1; pooling 2 × 2, stride 2; 3 × 3, dilation 2. r = 1 + 2·1 = 3; then 3 + 1·1 = 4 and
# j = 2; then the window reaches over 5: 4 + 4·2 = 12.
#
# **Exercise 7.1** The field of a chain of layers, for one axis. **Exercise 7.2** Parameters and FLOP of a convolution
# for N images, the bias among the parameters and not in the FLOP, as is usual.

# %% solution="receptive_field"
#| export
def receptive_field(layers):
    """How many pixels along an axis one number sees, after layers given as (kernel, stride, dilation), first to last."""
    ### BEGIN SOLUTION
    field, jump = 1, 1
    for kernel, stride, dilation in layers:
        field += dilation * (kernel - 1) * jump
        jump *= stride
    return field
    ### END SOLUTION


# %% solution="conv_cost"
#| export
def conv_cost(shape, out_channels, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Parameters with a bias, and FLOP without it, of a convolution of images of shape (N, C, H, W) -> (int, int)."""
    N, C, H, W = shape
    OH, OW = ((n + 2 * p - d * (k - 1) - 1) // s + 1
              for n, k, s, p, d in zip((H, W), kernel, stride, padding, dilation, strict=True))
    ### BEGIN SOLUTION
    weights = out_channels * (C // groups) * kernel[0] * kernel[1]
    return weights + out_channels, 2 * N * OH * OW * weights
    ### END SOLUTION


# %% check="receptive_field" points=4
check("receptive_field", [case([(3, 1, 1), (2, 2, 1), (3, 1, 2)]), case([(7, 2, 1)]), case([])], compare="value")

# %% hidden="receptive_field"
def cases(rng):
    for n in (2, 3, 6):
        layers = [tuple(int(v) for v in (rng.integers(2, 6), rng.integers(1, 4), 1)) for _ in range(n)]
        yield case(layers, behaviour="kernels and strides")
        layers = [tuple(int(v) for v in (rng.integers(2, 6), rng.integers(1, 4), rng.integers(1, 4))) for _ in range(n)]
        yield case(layers, behaviour="dilation")
    yield case([(1, 2, 1), (1, 3, 1), (3, 1, 1)], behaviour="windows of one that skip")
    yield case([(1, 4, 3), (2, 5, 1)], behaviour="windows of one that skip")


# %% check="conv_cost" points=3
check("conv_cost", [
    case((1, 3, 224, 224), 64, (7, 7), stride=(2, 2), padding=(3, 3)),
    case((1, 64, 56, 56), 64, (3, 3), padding=(1, 1), groups=64),
], compare="value")

# %% hidden="conv_cost"
def cases(rng):
    for _ in range(4):
        c, o = (int(v) for v in rng.integers(2, 9, 2))
        yield case((int(rng.integers(2, 5)), c, 11, 13), o, (3, 2), stride=tuple(int(v) for v in rng.integers(1, 4, 2)),
                   padding=(1, 0), behaviour="any shape")
    for groups in (2, 4, 8):
        yield case((2, 8, 9, 9), 16, (3, 3), groups=groups, behaviour="groups share nothing")
    yield case((1, 8, 16, 12), 8, (3, 3), dilation=(2, 3), padding=(2, 2), groups=8, behaviour="groups share nothing")


# %% [markdown]
# The field can be measured too. The gradient of one number of the last layer is nonzero exactly on the pixels that it
# depends on. Random filters, no ReLU, one output in the middle:

# %% show
def measured_field(layers, side=64):
    """Width of the pixels whose gradient is not zero, for one number in the middle of the last layer."""
    x = Tensor(np.random.default_rng(2).normal(size=(1, 1, side, side)), requires_grad=True)
    y = x
    for kernel, stride, dilation in layers:
        y = Conv2d(1, 1, kernel, stride, dilation=dilation, rng=np.random.default_rng(kernel), dtype="float64")(y)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    seen = np.flatnonzero(x.grad.numpy().any(axis=(0, 1, 2)))
    return int(seen[-1] - seen[0] + 1)


for layers in ([(3, 1, 1)] * 3, [(3, 1, 1), (2, 2, 1), (3, 1, 2)], [(5, 2, 1), (3, 2, 1), (3, 1, 1)]):
    print(f"{layers}   counted {receptive_field(layers)}, measured {measured_field(layers)}")

# %% [markdown]
# ## 8. Layers that can be skipped
#
# A stack of 20 layers should be no worse than one of 10, since the rest could compute the identity. In practice it was
# worse, on the training data too: the identity is hard to learn for a convolution with a ReLU. A **residual block** (He
# et al. 2016) makes it the starting point: $y = \text{relu}(x + F(x))$, and F needs to learn only what is to be
# changed. The gradient of y with respect to x is 1 + F′, however small F′ is.
#
# When F changes the shape, by a stride or other channels, x has to follow: a 1 × 1 convolution with the same stride, a
# **projection**, takes its place.
#
# **Exercise 8.1** `forward`. Without a projection, `shortcut` is None.

# %% solution="residual"
#| export
class ResidualBlock(Module):
    """relu(F(x) + x), where F is two 3 × 3 convolutions, each with batch normalisation, and a ReLU between them.

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)). Where the shape changes, a 1 × 1
    convolution with batch normalisation stands in for x. Source: He et al. 2016.
    """

    def __init__(self, in_channels, out_channels, stride=1, rng=None, dtype=float32):
        super().__init__()
        self.body = Sequential(
            Conv2d(in_channels, out_channels, 3, stride, 1, bias=False, rng=rng, dtype=dtype), BatchNorm2d(out_channels, dtype=dtype),
            relu,
            Conv2d(out_channels, out_channels, 3, 1, 1, bias=False, rng=rng, dtype=dtype), BatchNorm2d(out_channels, dtype=dtype))
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = Sequential(Conv2d(in_channels, out_channels, 1, stride, bias=False, rng=rng, dtype=dtype),
                                       BatchNorm2d(out_channels, dtype=dtype))

    def forward(self, x):
        ### BEGIN SOLUTION
        return relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))
        ### END SOLUTION


# %% check="residual" points=3
def through_block(x, scale, offset, shortcut=None):
    """A block whose body is scale x + offset, and whose shortcut, if any, multiplies x."""
    block = object.__new__(ResidualBlock)
    Module.__init__(block)
    block.body = Sequential(lambda t: t * scale + offset)
    block.shortcut = None if shortcut is None else Sequential(lambda t: t * shortcut)
    return block.forward(Tensor(x))

check("residual", [
    case(np.array([1.0, -2.0]), 0.0, 0.0),
    case(np.array([1.0, -2.0]), -3.0, 1.0),
    case(np.array([1.0, -2.0]), 0.0, 1.0, shortcut=-2.0),
], call=through_block)

# %% hidden="residual"
def cases(rng):
    for _ in range(3):
        yield case(rng.normal(size=(2, 3)), float(rng.normal()), float(rng.normal()), behaviour="x is added, then the ReLU")
        yield case(rng.normal(size=(2, 3)), float(rng.normal()), float(rng.normal()), shortcut=float(rng.normal()),
                   behaviour="a projection stands in for x")
    yield case(np.array([-5.0, 5.0]), 0.5, 0.0, behaviour="the ReLU comes last")
    yield case(np.array([-1.0, 1.0]), 1.0, -0.5, shortcut=3.0, behaviour="the ReLU comes last")


# %% [markdown]
# Does it help? Two stacks of the same 16 convolutions, one with and one without the skip, both with batch
# normalisation. For every second layer: how large the gradient of the loss is on its first filters.

# %% show
def depth_of(residual, depth=8, channels=8):
    rng = np.random.default_rng(3)
    blocks = [ResidualBlock(channels, channels, rng=rng) for _ in range(depth)]
    y = Tensor(np.random.default_rng(4).normal(size=(8, channels, 12, 12)), "float32")
    for block in blocks:
        y = block(y) if residual else relu(block.body(y))
    (y * Tensor(np.random.default_rng(5).normal(size=y.shape), "float32")).mean().backward()
    return [float(np.linalg.norm(block.body[0].weight.grad.numpy())) for block in blocks]


with_skip, without = depth_of(True), depth_of(False)
print("block            " + "".join(f"{i:9}" for i in range(1, 9)))
for name, norms in (("with the skip", with_skip), ("without", without)):
    print(f"{name:17}" + "".join(f"{norm:9.4f}" for norm in norms))
print(f"first over last block: {with_skip[0] / with_skip[-1]:.2f} with the skip, {without[0] / without[-1]:.2f} without")

# %% [markdown]
# Batch normalisation keeps the signals of both stacks at scale 1, and still the gradients of the plain stack grow by
# nearly half with each block on their way down, more than tenfold over all, so that no learning rate suits all of them.
# The skip carries most of the gradient past the blocks.
#
# ## 9. What it costs
#
# Predict, then measure.

# %% show
def best(f, repeat=5):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)

# %% [markdown]
# ### 9.1 The matrix of windows
#
# 32 images of 64 channels, 56 × 56, float32; 3 × 3 filters, stride 1, padding 1. How many bytes does im2col write?

# %% answer="im2col_bytes" points=2
im2col_bytes = ""  # a number with its unit, such as "16 MB"
### BEGIN SOLUTION
im2col_bytes = f"{32 * 56 * 56 * 64 * 3 * 3 * 4} B"
### END SOLUTION

# %% key="im2col_bytes"
from mlsysbook import Key, Mistake


def key(v):
    places, row = 32 * 56 * 56, 64 * 3 * 3
    return Key(places * row * 4, "B", tol=0.05, mistakes=[
        Mistake(places * row, 0.5, "that counts numbers; a float32 takes 4 bytes"),
        Mistake(32 * 64 * 56 * 56 * 4, 0.25, "that is the images; each of their numbers stands in nine windows"),
        Mistake(56 * 56 * row * 4, 0.5, "that is for one image; there are 32"),
        Mistake(32 * 54 * 54 * row * 4, 0.5, "padding 1 keeps 56 × 56 places; without it there are 54 × 54"),
    ])

# %% [markdown]
# ### 9.2 From loops to a product
#
# One image of 8 channels, 14 × 14, 16 filters of 3 × 3. **How many times longer** do your loops take than `correlate`?

# %% predict="loops_time" points=1
# predict("loops_time", "number", low="number", high="number")
### BEGIN SOLUTION
predict("loops_time", "1500", low="150", high="10000")
### END SOLUTION

# %% show
rng = np.random.default_rng(6)
x, weight = rng.normal(size=(1, 8, 14, 14)).astype("float32"), rng.normal(size=(16, 8, 3, 3)).astype("float32")
loops, product = best(lambda: conv_loops(x, weight), 1), best(lambda: correlate(x, weight))
reveal("loops_time", f"{loops / product:.3g}")
print(f"loops {loops * 1e3:.1f} ms, one product {product * 1e3:.3f} ms; "
      f"largest difference {np.abs(conv_loops(x, weight) - correlate(x, weight)).max():.1e}")

# %% [markdown]
# ### 9.3 Who holds what
#
# Both ways of computing, on a layer of a small network. Scratch is the most that is allocated while they run, beside
# the result.

# %% show
def scratch(f, result):
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1] - result.nbytes
    finally:
        tracemalloc.stop()


x, weight = rng.normal(size=(4, 32, 28, 28)).astype("float32"), rng.normal(size=(32, 32, 3, 3)).astype("float32")
flop, result = conv_cost(x.shape, 32, (3, 3), padding=(1, 1))[1], correlate(x, weight, padding=(1, 1))
print("                     time     GFLOP/s   scratch, in bytes of the images")
for name, f in (("im2col and product", lambda: correlate(x, weight, padding=(1, 1))),
                ("tap by tap", lambda: correlate_taps(x, weight, padding=(1, 1)))):
    seconds = best(f)
    print(f"{name:18} {seconds * 1e3:6.2f} ms  {flop / seconds / 1e9:8.1f}   {scratch(f, result) / x.nbytes:10.1f}")

# %% [markdown]
# ### 9.4 Fewer FLOP
#
# MobileNets replace a 3 × 3 convolution of C channels by two layers: a depthwise one, 3 × 3 with a group for each
# channel, and a **pointwise** one, 1 × 1 from C to C. For C = 64: **by which factor** does that reduce the FLOP?

# %% answer="separable_ratio" points=2
separable_ratio = ""  # a number, such as "12.3"
### BEGIN SOLUTION
separable_ratio = f"{64 * 64 * 9 / (64 * 9 + 64 * 64):.2f}"
### END SOLUTION

# %% key="separable_ratio"
def key(v):
    def flop(*shape, **options):
        return conv_cost((1, 64, 28, 28), 64, *shape, **options)[1]

    whole_, depthwise, pointwise = flop((3, 3), padding=(1, 1)), flop((3, 3), padding=(1, 1), groups=64), flop((1, 1))
    return Key(whole_ / (depthwise + pointwise), "", tol=0.02, mistakes=[
        Mistake(whole_ / pointwise, 0.5, "that leaves out the depthwise layer"),
        Mistake(whole_ / depthwise, 0.25, "that leaves out the pointwise layer, which is most of the work"),
        Mistake((depthwise + pointwise) / whole_, 0.5, "that is the inverse"),
    ])

# %% [markdown]
# And **by which factor does the time fall**, with your `Conv2d`, at 28 × 28? One image at a time.

# %% predict="separable_time" points=1
# predict("separable_time", "number", low="number", high="number")
### BEGIN SOLUTION
predict("separable_time", "2.5", low="1", high="7")
### END SOLUTION

# %% show
manual_seed(7)
x = Tensor(rng.normal(size=(1, 64, 28, 28)), "float32")
full, depthwise, pointwise = Conv2d(64, 64, 3, padding=1), Conv2d(64, 64, 3, padding=1, groups=64), Conv2d(64, 64, 1)
with autograd.no_grad():
    times = [best(lambda layer=layer: layer(x), 9) for layer in (full, depthwise, pointwise)]
reveal("separable_time", f"{times[0] / (times[1] + times[2]):.3g}")
for name, layer, seconds in zip(("3 × 3", "depthwise", "pointwise"), (full, depthwise, pointwise), times, strict=True):
    flop = conv_cost(x.shape, 64, layer.kernel, padding=layer.options["padding"], groups=layer.options["groups"])[1]
    print(f"{name:10} {flop / 1e6:7.2f} MFLOP  {seconds * 1e3:7.3f} ms  {flop / seconds / 1e9:7.1f} GFLOP/s")

# %% [markdown]
# The depthwise layer does a small share of the FLOP and takes a large share of the time: each of its numbers is used
# nine times, where a full convolution uses it 9 × 64 times. Counting FLOP answers what a network computes, not how long
# it takes. Module 14 measures where time goes; the roofline of lab V1-11 says why.
#
# ### 9.5 There and back
#
# The full 3 × 3 layer again, in training: **how many times longer** than its forward pass is its backward pass, images
# and filters both wanting gradients?

# %% predict="backward_ratio" points=1
# predict("backward_ratio", "number", low="number", high="number")
### BEGIN SOLUTION
predict("backward_ratio", "2", low="1.3", high="3.5")
### END SOLUTION

# %% show
x = Tensor(rng.normal(size=(8, 64, 28, 28)), "float32", requires_grad=True)
forward, backward = [], []
for _ in range(5):
    start = time.perf_counter()
    y = full(x)
    middle = time.perf_counter()
    y.backward(Tensor(np.ones(y.shape, "float32")))
    forward.append(middle - start)
    backward.append(time.perf_counter() - middle)
reveal("backward_ratio", f"{min(backward) / min(forward):.3g}")
print(f"forward {min(forward) * 1e3:.2f} ms, backward {min(backward) * 1e3:.2f} ms")

# %% [markdown]
# Twice the multiplications is the least. In NumPy the gradient of the filters copies every window once more, in another order
# of axes, and that of the images writes a part for each tap to memory and adds it there: passes over memory that the
# count leaves out, and that take longer than the products. The framework's kernels, which copy windows in pieces
# that stay in the cache, need two to three times the forward.
#
# ## 10. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="forgotten_eval" points=4
# A classifier with batch normalisation reaches 97 % on its validation set, evaluated in batches of 256 with the layer
# left in training mode by mistake. In production it is called with one image at a time, still in training mode, and
# with single images of 1 × 1 at its last normalisation it fails; somebody repairs that by calling `eval()`, and the
# accuracy is 61 %. In six to ten sentences: say why the single image failed; why accuracy in training mode can be high
# and still be the wrong number; two reasons why the running statistics may be bad although training went well, and how
# you would see from the buffers which it is; and a repair that needs no new training of weights.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. One number a channel: its variance is 0 (or undefined with n − 1), the output would be β whatever the image says;
#    the layer refuses.
# 2. In training mode the prediction for one image depends on the other 255 (and on their labels' balance): the number
#    measures batches, not images, and changes with batch size and order. Mentioning that validation data then also
#    move the running averages earns the point too.
# 3. Two of: momentum too small or too few steps, so the averages still carry their start of 0 and 1 (buffers near these,
#    against the batch statistics); tiny training batches, whose variance estimates are noisy; training data that
#    differ from what production sends (augmentation, scaling), or statistics averaged while weights still moved fast.
#    Compare running_mean and running_var with statistics over a large sample of training data, layer by layer.
# 4. Weights frozen, run training data (or production data without labels) through the network in training mode without
#    gradients to estimate the averages anew, with a plain mean over many batches or a momentum that lets the start fade;
#    then eval().
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A convolution is a matrix product whose rows overlap. Written as one, it costs memory for the overlap; ordered by taps
# or tiles, it does not. Both gradients are correlations again, each as much work as the forward pass. Pooling remembers
# places; batch normalisation remembers statistics, and is a different function in evaluation; a residual block makes
# the identity the easy answer. FLOP and receptive fields can be counted before anything runs, time has to be measured.
#
# | here | PyTorch |
# |---|---|
# | `Conv2d` | `torch.nn.Conv2d`; also padding modes and "same" there |
# | `windows`, `correlate` | `torch.nn.functional.unfold`, and cuDNN's choice among im2col, implicit GEMM, Winograd and FFT |
# | `max_pool`, places | `F.max_pool2d(..., return_indices=True)` |
# | `BatchNorm2d` | the same name, momentum and eps; also counts batches there |
# | `ResidualBlock` | `torchvision.models.resnet.BasicBlock` |
# | `conv_cost` | `torch.utils.flop_counter`, which counts a multiply-add as two as well |
#
# Images have a grid; text has not. Module 10 turns text into numbers, and 11 to 13 build what has replaced convolutions
# wherever there is enough data to learn the neighbourhoods, too.
