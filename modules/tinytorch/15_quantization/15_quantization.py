# %% [markdown]
# # TinyTorch 15: Quantization
#
# A model of seven billion float32 parameters takes 28 GB, and to say one word it reads all of them. In int8 it takes
# 7 GB and says its words four times as fast, if the numbers are really stored as bytes and really multiplied as bytes.
# Much of what is called quantization does neither: it rounds floats to 256 levels, keeps them as floats, and prints a
# size that no memory has. In this notebook `nbytes` is the size, a kernel for bytes does the products, and a clock says
# what it brings.
#
# **Where it sits.** What you write is exported as `tinytorch/quantization.py`. It replaces layers of a trained model by
# layers that hold integers.
#
# | module | what it has to do with quantization |
# |---|---|
# | 03 layers | `Linear`, forward hooks that see what flows through it, buffers for integers |
# | 06 autograd | gradients through a step function, which has none: section 7 |
# | 09 convolutions | `Conv2d` as a product of windows; a batch normalisation to be folded away |
# | the hardware kits | run what is quantised here on processors without floats |
#
# **Afterwards you can**
# 1. choose scale and zero point, and say what each choice costs in error;
# 2. calibrate activations by range, percentile or least squares, and see which outlier ruins which;
# 3. run a layer on int8 products, with zero points corrected and sums that cannot overflow;
# 4. train a network to live with four bits;
# 5. tell a smaller model from a model that is said to be smaller.
#
# **How to work.** Write code in place of `raise NotImplementedError()`, run the cell, run the check below it. Hidden
# cases bring other shapes, ranges that miss zero, constants, outliers and overflow. Every function is judged by itself.
# You need modules 03, 06 and 09. Three hours are typical.

# %%
#| export
"""Quantization: layers that hold and multiply integers.

    quantize_model(model, batches)       a copy with int8 Linear and Conv2d; static if batches calibrate it, else dynamic
    QuantizedLinear, QuantizedConv2d     int8 weights, a scale for each output; for evaluation, they record no gradients
    Int4Linear                           4 bits a weight, two in a byte, a scale for each group of a row
    FakeQuantize                         rounds in training and lets gradients pass
    fold_batch_norm, size_of             what to do before, and what it brings in bytes

A real number x is stored as the integer q = round(x / scale) + zero, so x is about scale (q - zero); rounding is to the
nearest, ties to even.

Errors, each one line: ValueError (numbers that are not finite, a share out of range), ShapeError (a group that does not
divide a row, an odd number of nibbles), DTypeError (what is no int8).
"""

import copy

import numpy as np

from tinytorch.backend import kernel
from tinytorch.convolutions import BatchNorm2d, Conv2d, windows
from tinytorch.layers import Linear, Module
from tinytorch.tensor import DTypeError, Function, ShapeError, Tensor

INT8 = 8
TINY = float(np.finfo(np.float32).tiny)  # below it float32 loses digits, and a scale its meaning

# %%
import time

from mlsysbook import answer, case, check, predict, reveal
from tinytorch import Adam, Sequential, autograd, cross_entropy, datasets, relu
from tinytorch.convolutions import Flatten, MaxPool2d

# %% [markdown]
# ## 1. A ruler with 256 marks
#
# Real numbers from −1 to 3 are to become int8, −128 to 127. The marks of the ruler are (3 − (−1)) / 255 = 0.01569 apart:
# the **scale**. Zero falls between two marks unless the ruler is moved a little: the **zero point** is the integer that
# stands for 0.0 exactly.
#
# $$\text{zero} = \text{round}\!\left(-128 - \frac{\text{low}}{\text{scale}}\right) = \text{round}(-128 + 63.75) = -64,
# \qquad q = \text{clip}\!\left(\text{round}\!\left(\frac{x}{\text{scale}}\right) + \text{zero}\right)$$
#
# So 0 is stored as −64, 3 as 127 and −1 as −128. Why must 0 be exact? Because zeros are everywhere: padding, the output of
# a ReLU, pruned weights. An error on 0 is the same error on a third of all numbers, and such errors do not average out.
# For the same reason a range that misses zero is first widened to hold it.
#
# That is **affine** quantization. The **symmetric** kind has zero = 0 and scale = largest magnitude / 127. It wastes
# marks on one-sided data, and is free of a correction that section 5 has to make. Weights are symmetric around 0 and
# use it; activations after a ReLU are not.
#
# **Exercise 1.1** Scale and zero point for a range. b bits have the integers from −2ᵇ⁻¹ to 2ᵇ⁻¹ − 1; symmetric ones leave
# out the lowest. Where the scale would be below `TINY`, the smallest normal float32, all numbers count as 0, and the scale
# is 1. **Exercise 1.2** Quantize and dequantize. `scale` and
# `zero` are numbers, or arrays that broadcast. What lies outside of the range is clipped. NaN and infinity have no
# place on any ruler: refuse them.

# %% solution="affine"
#| export
def affine(low, high, bits=INT8, symmetric=False):
    """Scale, a float, and zero point, an int, for numbers from low to high in signed integers of some bits.

    0.0 is exact. Symmetric: zero is 0 and the lowest integer is not used. Raises ValueError for ends that are not finite.
    """
    ### BEGIN SOLUTION
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"a range has finite ends, got {low} to {high}")
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    least, most = -2 ** (bits - 1), 2 ** (bits - 1) - 1
    scale = max(-low, high) / most if symmetric else (high - low) / (most - least)
    if scale < TINY:
        return 1.0, 0
    return scale, 0 if symmetric else int(np.rint(least - low / scale))
    ### END SOLUTION


# %% solution="quantize"
#| export
def quantize(x, scale, zero=0, bits=INT8):
    """The int8 array that stands for x: round(x / scale) + zero, clipped to integers of that many bits.

    Raises ValueError for NaN and infinity.
    """
    ### BEGIN SOLUTION
    if not np.isfinite(x).all():
        raise ValueError(f"cannot quantize NaN or infinity; {int((~np.isfinite(x)).sum())} of {np.size(x)} numbers are not finite")
    q = np.rint(x / scale) + zero
    return np.clip(q, -2 ** (bits - 1), 2 ** (bits - 1) - 1).astype(np.int8)
    ### END SOLUTION


def dequantize(q, scale, zero=0):
    """The float32 numbers that integers stand for."""
    ### BEGIN SOLUTION
    return ((q.astype(np.float32) - zero) * scale).astype(np.float32)
    ### END SOLUTION


# %% check="affine" points=4
def ruler(low, high, **options):
    try:
        scale, zero = affine(low, high, **options)
    except ValueError as error:
        return {"the message names": [str(low) in str(error), str(high) in str(error)]}
    return {"scale": float(scale), "zero": zero, "an int": isinstance(zero, int)}

check("affine", [case(-1.0, 3.0), case(-1.0, 3.0, symmetric=True), case(2.0, 3.0), case(float("-inf"), 1.0)],
      call=ruler, compare="value")

# %% hidden="affine"
def cases(rng):
    for _ in range(4):
        yield case(float(-rng.uniform(0.1, 9)), float(rng.uniform(0.1, 9)), behaviour="ranges on both sides of 0")
    for _ in range(2):
        yield case(float(-rng.uniform(0.1, 9)), float(rng.uniform(0.1, 9)), bits=int(rng.integers(2, 8)), behaviour="other bits")
        yield case(float(-rng.uniform(0.1, 9)), float(rng.uniform(0.1, 9)), bits=4, symmetric=True, behaviour="other bits")
    for symmetric in (False, True):
        yield case(float(rng.uniform(1, 2)), float(rng.uniform(3, 4)), symmetric=symmetric, behaviour="ranges that miss 0")
        yield case(-4.0, float(-rng.uniform(1, 2)), symmetric=symmetric, behaviour="ranges that miss 0")
        yield case(-2.5, 1.0, symmetric=symmetric, behaviour="symmetric, and nothing but 0")
        yield case(0.0, 0.0, symmetric=symmetric, behaviour="symmetric, and nothing but 0")
        yield case(-1e-300, 1e-320, symmetric=symmetric, behaviour="symmetric, and nothing but 0")
    yield case(float("nan"), 1.0, behaviour="ends that are not finite are refused")
    yield case(0.0, float("inf"), behaviour="ends that are not finite are refused")


# %% check="quantize" points=4
def there_and_back(x, scale, zero=0, bits=8):
    try:
        q = quantize(x, scale, zero, bits)
    except ValueError as error:
        return "NaN or infinity refused" if "finite" in str(error) or "NaN" in str(error) else "refused"
    return {"integers": q, "back": dequantize(q, scale, zero)}

check("quantize", [
    case(np.array([-1.0, 0.0, 3.0]), 4 / 255, -64),
    case(np.array([0.5, 1.5, 2.5, 99.0], "float32"), 1.0),
    case(np.array([1.0, np.nan]), 1.0),
], call=there_and_back)

# %% hidden="quantize"
def cases(rng):
    for shape in ((7,), (3, 4), (2, 3, 2)):
        yield case(rng.normal(0, 3, shape).astype("float32"), 0.03125, int(rng.integers(-60, 60)), behaviour="round, then shift")
    yield case(rng.uniform(-200, 200, 40), 0.5, 3, behaviour="round, then shift")
    yield case(np.array([0.5, 1.5, -0.5, -1.5, 2.5]), 1.0, behaviour="ties to even")
    yield case(np.array([0.25, 0.75, 1.25]), 0.5, 1, behaviour="ties to even")
    yield case(np.array([-1e9, 1e9, 127.4, -128.4]), 1.0, behaviour="clipped at both ends")
    yield case(np.array([-20.0, 20.0, 3.0]), 1.0, 0, 4, behaviour="clipped at both ends")
    yield case(np.array([300.0]), 1.0, -100, behaviour="clipped at both ends")
    yield case(rng.normal(size=(3, 4)), np.array([[0.1], [0.2], [0.05]]), behaviour="a scale for each row, other shapes")
    yield case(np.zeros((0, 3)), 0.5, behaviour="a scale for each row, other shapes")
    yield case(np.array([[1.0, np.inf]]), 1.0, behaviour="NaN and infinity are refused")


# %% [markdown]
# How large is the error? Rounding moves a number by at most half a scale, uniformly, so its mean square is
# scale² / 12. Each bit more halves the scale, and the error falls by a factor of 4: 6 dB.
#
# ## 2. A ruler for each row
#
# One scale for a whole weight matrix is set by its largest number. If one row holds numbers up to 10 and the others up
# to 0.1, the others have 1.27 marks on each side. A scale for each **output channel** costs four bytes a row and cures
# that. It is free in the product, because all numbers of a row of the weight end in the same output: the scale can be
# taken out of the sum.
#
# **Exercise 2.1** Symmetric scales for each index of the first axis, in a shape that broadcasts: (O, 1) for a matrix,
# (O, 1, 1, 1) for filters. A row whose scale would be below `TINY` gets 1.

# %% solution="channel_scales"
#| export
def channel_scales(weight, bits=INT8):
    """Symmetric scales of weight (O, ...), float32, one for each index of its first axis, shape (O, 1, ...)."""
    ### BEGIN SOLUTION
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1, initial=0)
    scales = largest / np.float32(2 ** (bits - 1) - 1)
    scales = np.where(scales < TINY, 1, scales).astype(np.float32)
    return scales.reshape(-1, *[1] * (weight.ndim - 1))
    ### END SOLUTION


# %% check="channel_scales" points=3
check("channel_scales", [
    case(np.array([[1.27, -0.5], [0.0, 0.0]], "float32")),
    case(np.ones((2, 1, 3, 3), "float32"), bits=4),
])

# %% hidden="channel_scales"
def cases(rng):
    for shape in ((5, 7), (3, 2, 3, 3), (6, 4), (4, 4)):
        rows = rng.uniform(0.01, 10, (shape[0], *[1] * (len(shape) - 1)))
        yield case((rng.normal(size=shape) * rows).astype("float32"), behaviour="the largest magnitude of each row")
    yield case(-np.abs(rng.normal(size=(3, 4))).astype("float32"), behaviour="negative rows, rows of zeros, other bits")
    yield case(np.zeros((2, 3), "float32"), behaviour="negative rows, rows of zeros, other bits")
    yield case(rng.normal(size=(3, 8)).astype("float32"), bits=4, behaviour="negative rows, rows of zeros, other bits")


# %% [markdown]
# ## 3. Activations: what range?
#
# Weights lie in the file; their range can be read off. Activations depend on the input. **Dynamic** quantization looks
# at each batch as it comes: exact, and a pass over the data each time. **Static** quantization decides beforehand, from
# a few batches of calibration data. But how? A thousand activations lie between 0 and 1 and one at 40. With the range up
# to 40 the thousand share six marks.
#
# | range | takes | and |
# |---|---|---|
# | min-max | the whole of what was seen | one outlier costs everybody |
# | percentile | what the middle 99.9 % need | clips the rest, by however much |
# | least squares | the range whose rounding and clipping errors add up to the least | needs a search |
#
# **Exercise 3.1** The ends between which a share of all numbers lies, with as much left out below as above;
# `np.quantile` interpolates as it should. Shares from 0 (excluded) to 1.
#
# **Exercise 3.2** Shrink the range from min to max, both ends by the same factor k / steps for k = 1 … steps, and
# take the one whose quantized numbers are nearest to x in the mean square. Of equally good ones take the widest.

# %% solution="percentile_range"
#| export
def percentile_range(x, share=0.999):
    """Ends between which this share of all numbers of x lies, as much below as above -> two floats.

    Raises ValueError for a share that is not above 0 and at most 1.
    """
    ### BEGIN SOLUTION
    if not 0 < share <= 1:
        raise ValueError(f"share is above 0 and at most 1, got {share}")
    low, high = np.quantile(x, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
    ### END SOLUTION


# %% solution="mse_range"
#| export
def mse_range(x, bits=INT8, steps=64):
    """The range, a share k / steps of that from min to max of x, whose affine quantization errs least -> two floats."""
    ### BEGIN SOLUTION
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    best, found = np.inf, (low, high)
    for k in range(steps, 0, -1):
        ends = low * k / steps, high * k / steps
        scale, zero = affine(*ends, bits)
        error = float(np.mean((dequantize(quantize(x, scale, zero, bits), scale, zero) - x) ** 2))
        if error < best:
            best, found = error, ends
    return found
    ### END SOLUTION


# %% check="percentile_range" points=3
def middle(x, share):
    try:
        return percentile_range(x, share)
    except ValueError as error:
        return {"the message names": str(share) in str(error)}

check("percentile_range", [case(np.arange(101.0), 0.9), case(np.arange(101.0), 1.0), case(np.arange(3.0), 1.5)],
      call=middle, compare="value")

# %% hidden="percentile_range"
def cases(rng):
    for share in (0.5, 0.9, 0.99):
        yield case(rng.normal(1, 2, 400), share, behaviour="as much below as above")
        yield case(rng.exponential(size=(20, 30)), share, behaviour="as much below as above")
    yield case(rng.normal(size=50), 1.0, behaviour="everything")
    for share in (0.0, -0.5, 1.01, 99.9):
        yield case(rng.normal(size=9), share, behaviour="other shares are refused")


# %%
def plain_affine(low, high, bits=8, symmetric=False):
    """What `affine` gives, given, so that each function is judged by itself."""
    low, high = min(low, 0.0), max(high, 0.0)
    n = 2 ** (bits - 1)
    step = max(-low, high) / (n - 1) if symmetric else (high - low) / (2 * n - 1)
    if step < TINY:
        return 1.0, 0
    return step, 0 if symmetric else int(np.rint(-n - low / step))


def plain_quantize(x, scale, zero=0, bits=8):
    return np.clip(np.rint(x / scale) + zero, -2 ** (bits - 1), 2 ** (bits - 1) - 1).astype(np.int8)


def plain_dequantize(q, scale, zero=0):
    return np.multiply(q.astype("float32") - zero, scale).astype("float32")


def plain_scales(weight, bits=8):
    steps = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True) / np.float32(2 ** (bits - 1) - 1)
    return np.where(steps < TINY, 1, steps).astype(np.float32)


def plain_product(rows, zero, weight):
    return ((rows.astype(np.int64) - zero) @ weight.astype(np.int64).T).astype(np.int32)


class Given:
    """Inside, the notebook's own functions are the given ones."""

    names = {"affine": plain_affine, "quantize": plain_quantize, "dequantize": plain_dequantize, "channel_scales": plain_scales,
             "int8_product": plain_product}

    def __enter__(self):
        self.own = {name: globals().get(name) for name in self.names}
        globals().update(self.names)

    def __exit__(self, *_):
        globals().update(self.own)


# %% check="mse_range" points=5
def least_squares(x, bits=8, steps=64):
    with Given():
        low, high = mse_range(x, bits, steps)
    return {"low": float(low), "high": float(high)}

check("mse_range", [
    case(np.array([0.0, 0.1, 0.2, 0.3, 9.0]), bits=3, steps=16),
    case(np.linspace(-1, 1, 50), bits=8, steps=16),
], call=least_squares, compare="value")

# %% hidden="mse_range"
def cases(rng):
    for bits in (2, 4, 6):
        yield case(rng.normal(size=300), bits, 32, behaviour="rounding against clipping")
        yield case(rng.exponential(size=(20, 20)), bits, 32, behaviour="rounding against clipping")
    yield case(np.append(rng.normal(size=500), 60.0), 8, 48, behaviour="an outlier")
    yield case(np.append(rng.exponential(size=500), -90.0), 5, 48, behaviour="an outlier")
    yield case(np.zeros(20), 8, 8, behaviour="constants, and ranges that miss 0")
    yield case(np.full(20, 3.5), 4, 8, behaviour="constants, and ranges that miss 0")
    yield case(rng.uniform(5, 6, 60), 4, 16, behaviour="constants, and ranges that miss 0")


# %% [markdown]
# The three on one set of 10,000 activations, most of them small, ten of them large:

# %% show
rng = np.random.default_rng(0)
activations = np.abs(np.concatenate([rng.normal(0, 1, 9990), rng.normal(0, 1, 10) * 40])).astype("float32")
print("range            from 0 to      error of all      error of those below 3   (root mean square)")
small = activations < 3
for name, (low, high) in (("min-max", (0.0, float(activations.max()))), ("99.9 percentile", percentile_range(activations)),
                          ("least squares", mse_range(activations))):
    error = dequantize(quantize(activations, *affine(low, high)), *affine(low, high)) - activations
    print(f"{name:15} {high:10.2f}   {np.sqrt(np.mean(error**2)):13.4f}   {np.sqrt(np.mean(error[small]**2)):23.4f}")

# %% [markdown]
# The same activations under your hands, as a histogram with the marks of the ruler below it. Fewer bits part the marks, a
# narrower range brings them together and clips. Find the number of bits at which clipping begins to pay in the error of all.

# %% show
import matplotlib.pyplot as plt

from mlsysbook import explore, pick, slider

RANGES = {"min-max": lambda bits: (0.0, float(activations.max())), "99.9 percentile": lambda bits: percentile_range(activations),
          "least squares": lambda bits: mse_range(activations, bits)}


def quantized(bits, chosen, symmetric):
    scale, zero = affine(*RANGES[chosen](bits), bits, symmetric == "yes")
    q = quantize(activations, scale, zero, bits)
    error = dequantize(q, scale, zero) - activations
    least, most = -2 ** (bits - 1), 2 ** (bits - 1) - 1
    marks = dequantize(np.arange(least + (symmetric == "yes"), most + 1), scale, zero)
    clipped = float(np.mean(activations > marks[-1] + scale / 2))
    return {"scale": scale, "marks": marks.tolist(), "used": len(np.unique(q)), "clipped": clipped,
            "error": float(np.sqrt(np.mean(error**2))), "small": float(np.sqrt(np.mean(error[small] ** 2)))}


def histogram(axes, result, settings):
    axes.hist(activations, bins=230, range=(0, 57.5), color="#7fb0d8")
    axes.plot(result["marks"], np.full(len(result["marks"]), 0.6), "|", color="#b5330f", ms=14, clip_on=True)
    axes.axvline(result["marks"][-1], color="#b5330f", ls="--", lw=1)
    axes.set(yscale="log", xlim=(-1, 57), ylim=(0.4, 4000), xlabel="activation", ylabel="how many",
             title="red: the marks; dashed: the last one")


def loss_said(result, settings):
    return (f"marks {result['scale']:.4g} apart, {result['used']} of {len(result['marks'])} used, {result['clipped']:.2%} clipped; "
            f"error {result['error']:.4f}, of those below 3 {result['small']:.4f} (root mean square)")


explore(quantized, {"bits": slider(2, 8, start=4, steps=6), "chosen": pick(*RANGES), "symmetric": pick("no", "yes")},
        draw=histogram, say=loss_said)

# %% [markdown]
# The percentile serves the many and clips the five largest, and its error over all is the largest by far. Least squares does
# what its name says about the first column, and in this case it leaves the range nearly as it was. Which error matters
# is not a question about numbers but about the network: clipped outliers are sometimes noise, and in large language
# models they carry the meaning (Dettmers et al. 2022).
#
# ## 4. A batch normalisation has to go
#
# In evaluation, a batch normalisation behind a convolution multiplies each channel by γ / σ and adds a constant. So does
# a convolution with other weights: scaled filters and another bias. Folding the two saves a layer, and saves quantizing
# what stands between them.
#
# **Exercise 4.1** The convolution that does both, for evaluation, with a bias in any case. Neither layer is changed.

# %% solution="fold_batch_norm"
#| export
def fold_batch_norm(conv, norm):
    """A Conv2d that computes norm(conv(x)) of evaluation mode; both stay as they are."""
    ### BEGIN SOLUTION
    factor = norm.weight.numpy() / np.sqrt(norm.running_var.numpy() + norm.eps)
    bias = 0 if conv.bias is None else conv.bias.numpy()
    o = conv.options
    folded = Conv2d(conv.weight.shape[1] * o["groups"], len(conv.weight), conv.kernel, o["stride"], o["padding"], o["dilation"],
                    o["groups"], dtype=conv.weight.dtype)
    folded.load_state_dict({"weight": conv.weight.numpy() * factor[:, None, None, None].astype(conv.weight.dtype),
                            "bias": ((bias - norm.running_mean.numpy()) * factor + norm.bias.numpy()).astype(conv.weight.dtype)})
    return folded
    ### END SOLUTION


# %% check="fold_batch_norm" points=4
def folded(seed, bias=True, **options):
    """Outputs of the folded layer and of the two, on random images, and whether the two stayed as they were."""
    rng = np.random.default_rng(seed)
    conv = Conv2d(4, 6, 3, bias=bias, rng=rng, dtype="float64", **options)
    norm = BatchNorm2d(6, eps=0.1, dtype="float64").eval()
    norm.load_state_dict({"weight": rng.normal(size=6), "bias": rng.normal(size=6), "running_mean": rng.normal(size=6),
                          "running_var": rng.uniform(0.5, 2, 6)})
    before = [{name: t.numpy().copy() for name, t in layer.state_dict().items()} for layer in (conv, norm)]
    x = Tensor(rng.normal(size=(2, 4, 7, 6)))
    one = fold_batch_norm(conv, norm)
    same = all((t.numpy() == old[name]).all() for layer, old in zip((conv, norm), before, strict=True)
               for name, t in layer.state_dict().items())
    return {"output": one(x), "class": type(one).__name__, "left alone": same, "has a bias": one.bias is not None}

check("fold_batch_norm", [case(0), case(1, bias=False)], call=folded)

# %% hidden="fold_batch_norm"
def cases(rng):
    for _ in range(3):
        yield case(int(rng.integers(1 << 20)), behaviour="one convolution for the two")
    yield case(int(rng.integers(1 << 20)), bias=False, behaviour="without a bias")
    yield case(int(rng.integers(1 << 20)), stride=2, padding=1, behaviour="options stay")
    yield case(int(rng.integers(1 << 20)), groups=2, dilation=(1, 2), padding=(2, 0), bias=False, behaviour="options stay")


# %% [markdown]
# ## 5. Products of bytes
#
# A layer computes $y = \sum_k x_k w_k$. With $x = s_x (q - z)$ and $w = s_w p$:
#
# $$y = s_x s_w \sum_k (q_k - z)\, p_k = s_x s_w \Big( \underbrace{\sum_k q_k p_k}_{\text{bytes}} - z
# \underbrace{\sum_k p_k}_{\text{known beforehand}} \Big)$$
#
# The first sum is a product of int8 matrices with int32 sums: processors have instructions for it, and
# `kernel("gemm_int8")(a, b, out)` writes a (M, K) times b (K, N) into out, int32. For a single row
# `kernel("gemv_int8")(weight, x, out)` is faster, which writes weight (N, K) times x (K,). Subtracting z from q before
# the product is no way out, since −128 − 127 does not fit a byte.
#
# **Worked example.** q = (10, −20), z = 5, p = (3, 4): 10·3 − 20·4 − 5·(3 + 4) = −50 − 35 = −85, which is
# 5·3 + (−25)·4.
#
# **Exercise 5.1** This product for rows (M, K) with their zero point and a weight (O, K) as layers hold it. NumPy's `@`
# on int8 arrays gives int8, wrapped around, and no warning.

# %% solution="int8_product"
#| export
def int8_product(rows, zero, weight):
    """(rows - zero) weightᵀ in int32: rows (M, K) and weight (O, K) int8, zero an int -> (M, O). Exact for K up to 65,000.

    Raises DTypeError, with the dtypes, unless both are int8.
    """
    ### BEGIN SOLUTION
    if rows.dtype != np.int8 or weight.dtype != np.int8:
        raise DTypeError(f"int8_product takes int8 rows and weight, got {rows.dtype} and {weight.dtype}")
    out, rows, weight = np.empty((len(rows), len(weight)), np.int32), np.ascontiguousarray(rows), np.ascontiguousarray(weight)
    if len(rows) == 1:
        kernel("gemv_int8")(weight, rows[0], out[0])  # reads the weight once, in its order
    else:
        kernel("gemm_int8")(rows, weight.T, out)
    return out - zero * weight.sum(axis=1, dtype=np.int32) if zero else out
    ### END SOLUTION


# %% check="int8_product" points=5
def of_bytes(rows, zero, weight, step=1):
    try:
        return int8_product(rows[::step], zero, weight)
    except TypeError as error:
        return {"the message names": [str(a.dtype) in str(error) for a in (rows, weight)]}

check("int8_product", [
    case(np.array([[10, -20]], "int8"), 5, np.array([[3, 4]], "int8")),
    case(np.full((1, 300), 127, "int8"), 0, np.full((2, 300), 127, "int8")),
    case(np.ones((1, 2), "int16"), 0, np.ones((1, 2), "int8")),
], call=of_bytes)

# %% hidden="int8_product"
def cases(rng):
    def some(*shape):
        return rng.integers(-128, 128, shape).astype("int8")

    for m, k, n in ((1, 9, 4), (7, 33, 5), (16, 64, 16), (3, 200, 2)):
        yield case(some(m, k), int(rng.integers(-128, 128)), some(n, k), behaviour="products, corrected by the zero point")
        yield case(some(m, k), 0, some(n, k), behaviour="no zero point")
    yield case(np.full((2, 4000), -128, "int8"), 127, np.full((2, 4000), -128, "int8"), behaviour="sums that need 32 bits")
    yield case(np.full((1, 900), 127, "int8"), -128, np.full((3, 900), -127, "int8"), behaviour="sums that need 32 bits")
    yield case(some(8, 6), 3, some(4, 6), step=2, behaviour="views, no rows, no columns")
    yield case(some(0, 6), 3, some(4, 6), behaviour="views, no rows, no columns")
    yield case(some(2, 0), 3, some(4, 0), behaviour="views, no rows, no columns")
    yield case(np.ones((2, 3), "float32"), 0, some(2, 3), behaviour="other dtypes are refused")
    yield case(some(2, 3), 0, np.ones((2, 3), "uint8"), behaviour="other dtypes are refused")


# %% [markdown]
# **Exercise 5.2** `forward` of a quantized layer. x has any axes before the last and is float32. In a static layer
# `input_scale` and `input_zero` were set by calibration; in a dynamic one `input_scale` is None, and scale and zero
# point come from the smallest and the largest number of x itself. The result is float32, without a graph; an empty
# batch gives an empty result.

# %%
#| export
class Quantized(Module):
    """What layers of int8 weights share: weight (O, ...) int8, scales (O,), bias (O,) or None, all buffers.

    input_range: the range of x, for a static layer, kept as input_scale and input_zero; without it, both are None.
    """

    def __init__(self, layer, input_range=None):
        super().__init__()
        weight = layer.weight.numpy()
        scales = channel_scales(weight)
        self.register_buffer("weight", Tensor(quantize(weight, scales)))
        self.register_buffer("scales", Tensor(scales.reshape(-1)))
        self.register_buffer("bias", None if layer.bias is None else Tensor(layer.bias.numpy().astype("float32")))
        self.input_scale, self.input_zero = (None, None) if input_range is None else affine(*input_range)

    def extra_repr(self):
        how = "dynamic" if self.input_scale is None else f"scale={self.input_scale:.4g}, zero={self.input_zero}"
        return f"weight {self.weight.shape}, {how}"


# %% solution="quantized_linear"
#| export
class QuantizedLinear(Quantized):
    """A Linear whose weight is int8, with a scale for each output; products in int8. For evaluation: no gradients.

    input_range: the range of x, for a static layer; without it each call uses that of its own x.
    """

    def forward(self, x):
        ### BEGIN SOLUTION
        array = x.numpy().astype(np.float32, copy=False)
        outputs, inputs = self.weight.shape
        if array.ndim == 0 or array.shape[-1] != inputs:
            raise ShapeError(f"QuantizedLinear takes {inputs} features on the last axis, got shape {array.shape}")
        rows = array.reshape(-1, inputs) if array.size else np.zeros((0, inputs), np.float32)
        scale, zero = self.input_scale, self.input_zero
        if scale is None:
            scale, zero = affine(rows.min(initial=0), rows.max(initial=0))
        y = int8_product(quantize(rows, scale, zero), zero, self.weight.numpy()) * (np.float32(scale) * self.scales.numpy())
        if self.bias is not None:
            y += self.bias.numpy()
        return Tensor.from_numpy(y.astype(np.float32, copy=False).reshape(*array.shape[:-1], outputs))
        ### END SOLUTION


# %% check="quantized_linear" points=5
def through_layer(x, weight, bias=None, input_range=None):
    """The output of a layer of these weights, and what it holds in bytes."""
    with Given():
        layer = object.__new__(QuantizedLinear)
        Module.__init__(layer)
        scales = plain_scales(weight)
        layer.register_buffer("weight", Tensor(plain_quantize(weight, scales)))
        layer.register_buffer("scales", Tensor(scales.reshape(-1)))
        layer.register_buffer("bias", None if bias is None else Tensor(bias))
        layer.input_scale, layer.input_zero = (None, None) if input_range is None else plain_affine(*input_range)
        y = layer.forward(Tensor(x, requires_grad=True))
    return {"output": y, "no graph": not y.requires_grad}

check("quantized_linear", [
    case(np.array([[1.0, 2.0, -1.0]], "float32"), np.array([[1.0, 0.5, 0.25]], "float32")),
    case(np.array([[1.0, 2.0, -1.0]], "float32"), np.array([[1.0, 0.5, 0.25]], "float32"), input_range=(-0.5, 1.0)),
], call=through_layer, rtol=1e-5, atol=1e-5)

# %% hidden="quantized_linear"
def cases(rng):
    def some(*shape):
        return rng.normal(size=shape).astype("float32")

    for shape in ((5, 8), (1, 8), (9, 8)):
        yield case(some(*shape), some(4, 8), some(4), behaviour="dynamic: the range of this x")
    yield case(np.abs(some(6, 8)) + 1, some(3, 8), some(3), behaviour="dynamic: the range of this x")
    for ends in ((-1.0, 1.0), (0.0, 0.5), (-3.0, 0.1)):
        yield case(some(5, 8), some(4, 8), some(4), input_range=ends, behaviour="static: clipped to the calibrated range")
    for shape in ((8,), (2, 3, 8), (2, 1, 2, 8)):
        yield case(some(*shape), some(4, 8), some(4), input_range=(-2.0, 2.0), behaviour="any axes before the last")
    rows = some(4, 8) * np.array([[100.0], [1.0], [0.01], [0.0]], "float32")
    yield case(some(3, 8), rows, behaviour="a scale for each output, no bias")
    yield case(some(0, 8), some(4, 8), some(4), behaviour="no rows, constant input")
    yield case(np.zeros((2, 8), "float32"), some(4, 8), some(4), behaviour="no rows, constant input")


# %% [markdown]
# A convolution is the same product over windows. It is given, and so is an observer: a forward hook that remembers what
# a layer was fed.

# %%
#| export
class QuantizedConv2d(Quantized):
    """A Conv2d whose filters are int8, with a scale for each; products of windows in int8. Otherwise as QuantizedLinear."""

    def __init__(self, layer, input_range=None):
        super().__init__(layer, input_range)
        self.kernel, self.options = layer.kernel, dict(layer.options)

    def forward(self, x):
        array, weight, groups = x.numpy().astype(np.float32, copy=False), self.weight.numpy(), self.options["groups"]
        scale, zero = self.input_scale, self.input_zero
        if scale is None:
            scale, zero = affine(array.min(initial=0), array.max(initial=0))
        options = {name: self.options[name] for name in ("stride", "padding", "dilation")}
        view = windows(quantize(array, scale, zero), self.kernel, fill=zero, **options)
        N, C, OH, OW, KH, KW = view.shape
        parts = view.reshape(N, groups, C // groups, OH, OW, KH, KW).transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, N * OH * OW, -1)
        filters = weight.reshape(groups, len(weight) // groups, -1)
        y = np.concatenate([int8_product(rows, zero, part) for rows, part in zip(parts, filters, strict=True)], axis=1)
        y = y * (np.float32(scale) * self.scales.numpy())
        if self.bias is not None:
            y += self.bias.numpy()
        return Tensor.from_numpy(np.ascontiguousarray(y.reshape(N, OH, OW, -1).transpose(0, 3, 1, 2), np.float32))


class Observer:
    """A forward hook that keeps what a layer is fed. find: "minmax", or a function of all of it that gives a range."""

    def __init__(self, find="minmax"):
        self.find, self.seen = find, []

    def __call__(self, module, inputs, output):
        array = inputs[0].numpy()
        self.seen.append(np.array([array.min(), array.max()]) if self.find == "minmax" else array.ravel().copy())

    def range(self):
        seen = np.concatenate(self.seen)
        return (float(seen.min()), float(seen.max())) if self.find == "minmax" else self.find(seen)


def size_of(model):
    """Bytes that the parameters and buffers of a model take in memory."""
    return sum(t.nbytes for t in (*model.parameters(), *model.buffers()))

# %% [markdown]
# ## 6. A model, layer by layer
#
# **Exercise 6.1** Replace layers in a tree of modules. `choose(name, module)` is asked for the model itself and for
# everything below, with the names that `named_modules` gives; what it returns takes the module's place, None leaves it
# there. What was replaced is not entered. A module that stands in two places is asked about once, and its replacement
# stands in both. Returns the model, or what took its place.

# %% solution="swap_layers"
#| export
def swap_layers(model, choose):
    """Replace each module of a tree for which choose(name, module) returns another one -> the model."""
    ### BEGIN SOLUTION
    decided = {}

    def visit(name, module):
        if id(module) not in decided:
            new = choose(name, module)
            decided[id(module)] = module if new is None else new
            if new is None:
                for key, child in list(module._modules.items()):
                    if child is not None:
                        place = visit(f"{name}.{key}" if name else key, child)
                        if place is not child:
                            setattr(module, key, place)
        return decided[id(module)]

    return visit("", model)
    ### END SOLUTION


# %% check="swap_layers" points=4
class Tag(Module):
    """A module with a label, and others below it."""

    def __init__(self, label, **children):
        super().__init__()
        self.label = label
        for name, child in children.items():
            self.add_module(name, child)


def tree(description, shared):
    """[label, {name: description}] as modules; the label that is shared stands for one module."""
    label, children = description
    if label == shared.get("label") and "module" in shared:
        return shared["module"]
    module = Tag(label, **{name: tree(child, shared) for name, child in children.items()})
    if label == shared.get("label"):
        shared["module"] = module
    return module


def labels(module):
    return [module.label, {name: labels(child) for name, child in module._modules.items()}]


def swapped(description, wanted, shared=None):
    """The tree after labels in wanted were replaced, the names that were asked for, and whether it is the same root."""
    model, asked = tree(description, {"label": shared}), []

    def choose(name, module):
        asked.append(name)
        return Tag(module.label + "'", inner=Tag("below")) if module.label in wanted else None

    result = swap_layers(model, choose)
    return {"tree": labels(result), "asked": sorted(asked), "same root": result is model}

check("swap_layers", [
    case(["root", {"a": ["x", {}], "b": ["y", {"c": ["x", {}]}]}], ["x"]),
    case(["root", {"a": ["x", {}]}], ["root"]),
], call=swapped)

# %% hidden="swap_layers"
def cases(rng):
    def some(depth):
        label = str(rng.choice(list("xyz")))
        count = int(rng.integers(1, 4)) if depth else 0
        return [label, {f"m{k}": some(depth - 1) for k in range(count)}]

    core = "anywhere in the tree, not inside what is replaced"
    for _ in range(3):
        yield case(["root", {"a": some(2), "b": some(1)}], ["x"], behaviour=core)
        yield case(["root", {"a": some(2), "b": ["y", {"c": some(1)}]}], ["x", "z"], behaviour=core)
    yield case(["root", {"a": ["s", {"q": ["x", {}]}], "b": ["y", {"c": ["s", {}]}]}], ["s"], shared="s", behaviour="shared modules")
    yield case(["root", {"a": ["s", {"q": ["x", {}]}], "b": ["s", {}]}], ["x"], shared="s", behaviour="shared modules")
    yield case(["x", {"a": ["x", {}]}], ["x"], behaviour="the root itself, or nothing")
    yield case(["root", {"a": ["x", {}]}], ["q"], behaviour="the root itself, or nothing")


# %%
#| export
def quantize_model(model, batches=None, find="minmax"):
    """A copy of a trained model whose Linear and Conv2d layers work in int8, in evaluation mode; the model stays as it is.

    batches: inputs to calibrate static ranges with, by find: "minmax" or a function such as mse_range. Without, dynamic.
    Convolutions followed by a BatchNorm2d in a Sequential are folded first.
    """
    model = folded_copy(model).eval()
    ranges = {}
    if batches is not None:
        observers = {id(m): Observer(find) for m in model.modules() if isinstance(m, Linear | Conv2d)}
        handles = [m.register_forward_hook(observers[id(m)]) for m in model.modules() if id(m) in observers]
        for batch in batches:
            model(batch)
        for handle in handles:
            handle.remove()
        ranges = {key: observer.range() for key, observer in observers.items() if observer.seen}

    def choose(name, module):
        if isinstance(module, Linear):
            return QuantizedLinear(module, ranges.get(id(module)))
        return QuantizedConv2d(module, ranges.get(id(module))) if isinstance(module, Conv2d) else None

    return swap_layers(model, choose).eval()


def folded_copy(model):
    """A copy in which a BatchNorm2d right behind a Conv2d, in the same Sequential, is folded into it."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        names = list(module._modules)
        for first, second in zip(names, names[1:], strict=False):
            conv, norm = module._modules[first], module._modules[second]
            if isinstance(conv, Conv2d) and isinstance(norm, BatchNorm2d):
                setattr(module, first, fold_batch_norm(conv, norm))
                setattr(module, second, Identity())
    return model


class Identity(Module):
    """Returns its input."""

    def forward(self, x):
        return x

# %% [markdown]
# Now the network: two convolutions and a layer on handwritten digits, trained in float32, then quantized in three ways.
# The claim that is made everywhere, at most a point of accuracy, is a measurement here.

# %% show
def network(rng):
    return Sequential(Conv2d(1, 16, 3, padding=1, bias=False, rng=rng), BatchNorm2d(16), relu, MaxPool2d(2),
                      Conv2d(16, 32, 3, padding=1, bias=False, rng=rng), BatchNorm2d(32), relu, MaxPool2d(2),
                      Flatten(), Linear(128, 64, rng=rng), relu, Linear(64, 10, rng=rng))


def train(model, images, labels, epochs, rate=3e-3, seed=0):
    optimizer, rng = Adam(model.parameters(), lr=rate), np.random.default_rng(seed)
    model.train()
    for _ in range(epochs):
        order = rng.permutation(len(labels))
        for batch in np.split(order, range(64, len(order), 64)):
            optimizer.zero_grad()
            cross_entropy(model(Tensor(images[batch])), labels[batch]).backward()
            optimizer.step()
    return model.eval()


def accuracy_of(model, images, labels):
    with autograd.no_grad():
        return float((model(Tensor(images)).numpy().argmax(1) == labels).mean())


(images, labels_), (test_images, test_labels) = datasets.digits()
model = train(network(np.random.default_rng(1)), images, labels_, 10)
calibration = [Tensor(images[k:k + 64]) for k in range(0, 256, 64)]
variants = {"float32": model, "int8, dynamic": quantize_model(model), "int8, static, min-max": quantize_model(model, calibration),
            "int8, static, least squares": quantize_model(model, calibration, mse_range)}
print("                                bytes   accuracy on 359 digits")
for name, variant_ in variants.items():
    print(f"{name:28} {size_of(variant_):8,}   {accuracy_of(variant_, test_images, test_labels):8.1%}")

# %% [markdown]
# ## 7. Training for four bits
#
# Eight bits are easy. With four there are seven marks on each side of zero, and rounding after training hurts. So let
# the network feel the rounding while it trains: **fake quantization** rounds the weights in the forward pass, in floats.
# But the derivative of a staircase is 0 almost everywhere. The **straight-through estimator** (Bengio, Léonard and
# Courville 2013) passes the gradient as if nothing had been rounded, except where a number was clipped: there more of it
# would change nothing, and the gradient is 0.
#
# **Worked example.** 4 bits, scale 0.5, zero 0: the marks go from −4 to 3.5. x = (0.3, 1.8, 9) becomes (0.5, 2, 3.5); a
# gradient (1, 1, 1) becomes (1, 1, 0).
#
# **Exercise 7.1** Forward and backward. A number whose rounded value is on a mark of the ruler was not clipped.

# %% solution="fake_quantize"
#| export
class FakeQuantize(Function):
    """x rounded to what integers of some bits can stand for, as floats; the gradient passes where x was not clipped.

    Parameters scale, zero and bits, as in quantize; x (any shape). Source: Bengio, Léonard and Courville 2013.
    """

    def forward(self, x, scale, zero=0, bits=INT8):
        ### BEGIN SOLUTION
        q = np.rint(x / scale) + zero
        least, most = -2 ** (bits - 1), 2 ** (bits - 1) - 1
        self.inside = (q >= least) & (q <= most)
        return ((np.clip(q, least, most) - zero) * scale).astype(x.dtype)
        ### END SOLUTION

    def backward(self, grad):
        ### BEGIN SOLUTION
        return (np.where(self.inside, grad, grad.dtype.type(0)),)
        ### END SOLUTION


# %% check="fake_quantize" points=5
def faked(x, scale, zero=0, bits=8, seed=0):
    x = Tensor(x, requires_grad=True)
    y = FakeQuantize.apply(x, scale=scale, zero=zero, bits=bits)
    y.backward(Tensor(np.random.default_rng(seed).integers(1, 9, y.shape).astype(y.dtype)))
    return {"output": y, "gradient": x.grad}

check("fake_quantize", [
    case(np.array([0.3, 1.8, 9.0], "float32"), 0.5, bits=4),
    case(np.array([-70.0, 70.0], "float32"), 1.0, zero=60),
], call=faked)

# %% hidden="fake_quantize"
def cases(rng):
    for bits in (2, 4, 8):
        yield case(rng.normal(0, 3, (4, 5)).astype("float32"), 0.5, bits=bits, seed=1, behaviour="rounded forward, passed backward")
    yield case(rng.normal(0, 3, 9), 0.1, bits=8, seed=2, behaviour="rounded forward, passed backward")
    for zero in (-8, 3, 7):
        yield case(rng.normal(0, 4, 12).astype("float32"), 0.5, zero=zero, bits=4, seed=3, behaviour="a zero point")
    yield case(np.array([-8.49, -8.5, -8.51, 7.49, 7.51, 100.0, -100.0], "float32"), 1.0, bits=4, behaviour="clipped numbers stop it")
    yield case(np.array([[3.0, -3.0], [8.0, -8.0]], "float32"), np.array([[1.0], [0.5]], "float32"), bits=3,
               behaviour="clipped numbers stop it")
    rows = "a scale for each row, no elements"
    yield case(np.zeros((0, 2), "float32"), 1.0, behaviour=rows)
    yield case(rng.normal(size=(3, 4)).astype("float32"), np.array([[0.1], [1.0], [3.0]], "float32"), behaviour=rows)


# %% [markdown]
# Before you look: the digit network with 2-bit weights, rounded after training, and trained for five more epochs with
# fake quantization. **How many points of accuracy does the training win back** (in percent points; 5 means from 80 % to
# 85 %)?

# %% predict="won_back" points=1
# predict("won_back", "number", low="number", high="number")
### BEGIN SOLUTION
predict("won_back", "40", low="10", high="80")
### END SOLUTION

# %% show
class Rounded(Module):
    """A layer whose weight is rounded to some bits each time it is used."""

    def __init__(self, layer, bits):
        super().__init__()
        self.layer, self.bits = layer, bits

    def forward(self, x):
        weight = self.layer._parameters["weight"]
        held = FakeQuantize.apply(weight, scale=channel_scales(weight.numpy(), self.bits), bits=self.bits)
        self.layer._parameters["weight"] = held
        try:
            return self.layer(x)
        finally:
            self.layer._parameters["weight"] = weight


def rounded(model, bits):
    return swap_layers(folded_copy(model), lambda name, m: Rounded(m, bits) if isinstance(m, Linear | Conv2d) else None)


print("bits   rounded afterwards   trained with it")
for bits in (4, 3, 2):
    candidate = rounded(model, bits)
    after = accuracy_of(candidate.eval(), test_images, test_labels)
    trained = accuracy_of(train(candidate, images, labels_, 5, rate=1e-3, seed=bits), test_images, test_labels)
    print(f"{bits:4}   {after:18.1%}   {trained:15.1%}")
    if bits == 2:
        won = 100 * (trained - after)
reveal("won_back", f"{won:.3g}")

# %% [markdown]
# ## 8. Two in a byte
#
# Nothing in memory has four bits. Two numbers from −8 to 7 share a byte: add 8, so that they run from 0 to 15; the first
# goes to the lower half of the byte, the second to the upper. (−8, 7) becomes 0 + 16 · 15 = 240.
#
# With so few marks, one scale for a row of thousands is too coarse. Formats of language models have a scale for each
# **group** of 32 or 128 neighbours in a row: with 16 bits for it, 32 weights take 4.5 bits each.
#
# **Exercise 8.1** Pack and unpack along the last axis; an odd length is refused with the shape. **Exercise 8.2** Quantize
# a weight (O, K) in groups: symmetric, scale = largest magnitude / 7, or 1 where that is below `TINY`. If the group does
# not divide K, refuse, and name both.

# %% solution="nibbles"
#| export
def pack_nibbles(q):
    """int8 numbers from -8 to 7, (..., 2 n) -> bytes (..., n), the first of two in the lower half.

    Raises ShapeError, with the shape, if the last axis is odd.
    """
    ### BEGIN SOLUTION
    if q.ndim == 0 or q.shape[-1] % 2:
        raise ShapeError(f"nibbles are packed in pairs along the last axis, got shape {q.shape}")
    halves = (q + 8).astype(np.uint8)
    return halves[..., ::2] | halves[..., 1::2] << 4
    ### END SOLUTION


def unpack_nibbles(packed):
    """The int8 numbers (..., 2 n) that pack_nibbles made into bytes (..., n)."""
    ### BEGIN SOLUTION
    both = np.stack([packed & 15, packed >> 4], axis=-1).astype(np.int8) - np.int8(8)
    return both.reshape(*packed.shape[:-1], 2 * packed.shape[-1])
    ### END SOLUTION


# %% solution="group_quantize"
#| export
def group_quantize(weight, group=32):
    """4-bit integers, int8 (O, K), and scales, float32 (O, K / group), of weight (O, K).

    Raises ShapeError, with K and the group, if it does not divide K.
    """
    ### BEGIN SOLUTION
    rows, K = weight.shape
    if K % group:
        raise ShapeError(f"rows of {K} are no whole number of groups of {group}")
    groups = weight.reshape(rows, K // group, group)
    largest = np.abs(groups).max(axis=-1, initial=0)
    scales = np.where(largest / 7 < TINY, 1, largest / 7).astype(np.float32)
    return np.clip(np.rint(groups / scales[..., None]), -8, 7).astype(np.int8).reshape(rows, K), scales
    ### END SOLUTION


# %% check="nibbles" points=4
def packed_and_back(q):
    try:
        packed = pack_nibbles(q)
    except ValueError as error:
        return {"the message names the shape": str(q.shape) in str(error)}
    return {"bytes": packed, "back": unpack_nibbles(packed)}

check("nibbles", [case(np.array([-8, 7], "int8")), case(np.array([[0, 1, 2, 3]], "int8")), case(np.zeros((2, 3), "int8"))],
      call=packed_and_back)

# %% hidden="nibbles"
def cases(rng):
    for shape in ((2,), (3, 4), (2, 3, 6)):
        yield case(rng.integers(-8, 8, shape).astype("int8"), behaviour="the first in the lower half, and back")
    yield case(np.array([a for pair in ((i, j) for i in range(-8, 8) for j in range(-8, 8)) for a in pair], "int8"),
               behaviour="the first in the lower half, and back")
    yield case(np.zeros((2, 0), "int8"), behaviour="no elements, an odd length")
    for shape in ((3,), (4, 1)):
        yield case(np.zeros(shape, "int8"), behaviour="no elements, an odd length")


# %% check="group_quantize" points=5
def grouped(weight, group=32):
    try:
        q, scales = group_quantize(weight, group)
    except ValueError as error:
        return {"the message names": [str(weight.shape[1]) in str(error), str(group) in str(error)]}
    return {"integers": q, "scales": scales}

check("group_quantize", [
    case(np.array([[0.7, -0.3, 7.0, 1.0]], "float32"), 2),
    case(np.zeros((1, 4), "float32"), 4),
    case(np.ones((2, 10), "float32"), 4),
], call=grouped)

# %% hidden="group_quantize"
def cases(rng):
    for rows, groups, group in ((3, 2, 8), (5, 4, 32), (2, 3, 4)):
        factors = rng.uniform(0.01, 30, (rows, groups, 1))
        yield case((rng.normal(size=(rows, groups, group)) * factors).reshape(rows, -1).astype("float32"), group,
                   behaviour="a scale for each group of a row")
    yield case(rng.normal(size=(4, 32)).astype("float32"), behaviour="one group, groups of one, zeros")
    yield case(rng.normal(size=(2, 5)).astype("float32"), 1, behaviour="one group, groups of one, zeros")
    yield case(np.array([[0.0, 0, 3, -3]], "float32"), 2, behaviour="one group, groups of one, zeros")
    for K, group in ((30, 32), (33, 32), (7, 2)):
        yield case(np.ones((2, K), "float32"), group, behaviour="a group that does not divide the row is refused")


# %%
#| export
class Int4Linear(Module):
    """A Linear with 4 bits a weight and a float16 scale for each group of a row. For evaluation: no gradients.

    Weights are unpacked at each call, so it saves memory and not time. Buffers: packed (O, K / 2) bytes, kept as int8,
    scales (O, K / group) float16, bias or None.
    """

    def __init__(self, layer, group=32):
        super().__init__()
        q, scales = group_quantize(layer.weight.numpy(), group)
        self.register_buffer("packed", Tensor(pack_nibbles(q).view(np.int8)))
        self.register_buffer("scales", Tensor(scales.astype(np.float16)))
        self.register_buffer("bias", None if layer.bias is None else Tensor(layer.bias.numpy().astype("float32")))

    def forward(self, x):
        q, scales = unpack_nibbles(self.packed.numpy().view(np.uint8)), self.scales.numpy().astype(np.float32)
        rows, groups = scales.shape
        weight = (q.reshape(rows, groups, -1) * scales[..., None]).reshape(rows, -1)
        y = x.numpy().astype(np.float32, copy=False) @ weight.T
        return Tensor.from_numpy(np.ascontiguousarray(y if self.bias is None else y + self.bias.numpy()))

# %% [markdown]
# ## 9. What it costs
#
# ### 9.1 A language model in bytes
#
# Seven billion weights in 4-bit groups of 32 with a float16 scale each. How many bytes?

# %% answer="model_bytes" points=2
model_bytes = ""  # a number with its unit, such as "16 GB"
### BEGIN SOLUTION
model_bytes = f"{7e9 * (4 + 16 / 32) / 8} B"
### END SOLUTION

# %% key="model_bytes"
from mlsysbook import Key, Mistake


def key(v):
    return Key(7e9 * (4 + 16 / 32) / 8, "B", tol=0.02, mistakes=[
        Mistake(7e9 * 4 / 8, 0.5, "that leaves out the scales"),
        Mistake(7e9 * (4 + 32 / 32) / 8, 0.5, "that has float32 scales; these are float16"),
        Mistake(7e9 * (4 + 16) / 8, 0.25, "that has a scale for each weight; 32 share one"),
        Mistake(7e9 * 4.5, 0.25, "that is in bits"),
    ])

# %% [markdown]
# ### 9.2 How long may a row be
#
# Sums of products of int8 numbers, from −128 to 127 each, are held in int32. From which length K of a row on can the sum
# overflow, in the worst case?

# %% answer="longest_row" points=2
longest_row = ""  # a number, such as "1000"
### BEGIN SOLUTION
longest_row = f"{-(-2**31 // 128**2)}"
### END SOLUTION

# %% key="longest_row"
def key(v):
    return Key(2**31 / 128**2, "", tol=0.001, mistakes=[
        Mistake(2**31 / 127**2, 0.75, "the largest product is (-128)·(-128), not 127·127"),
        Mistake(2**32 / 128**2, 0.5, "a signed int32 ends at 2³¹"),
        Mistake(2**31 / 128, 0.25, "each term is a product of two such numbers"),
    ])

# %% [markdown]
# ### 9.3 Bytes against floats
#
# A product of 512 × 512 matrices, one thread, kernels of the framework. **How many times faster** is int8 with int32
# sums than float32?

# %% predict="int8_speed" points=1
# predict("int8_speed", "number", low="number", high="number")
### BEGIN SOLUTION
predict("int8_speed", "3", low="1", high="8")
### END SOLUTION

# %% show
def best(f, repeat=7):
    """Shortest of several runs, in seconds: the one that was disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def timed(m, k, n):
    a, b = rng.normal(size=(m, k)).astype("float32"), rng.normal(size=(n, k)).astype("float32")
    qa, qb = rng.integers(-128, 128, (m, k)).astype("int8"), rng.integers(-128, 128, (n, k)).astype("int8")
    out, sums = np.empty((m, n), "float32"), np.empty((m, n), "int32")
    floats = best(lambda: kernel("gemm")(a, b.T, out, threads=1))
    if m == 1:
        return floats, best(lambda: kernel("gemv_int8")(qb, qa[0], sums[0], threads=1))
    return floats, best(lambda: kernel("gemm_int8")(qa, qb.T, sums, threads=1))


floats, bytes_ = timed(512, 512, 512)
reveal("int8_speed", f"{floats / bytes_:.3g}")
print("shape                  float32        int8    ratio")
for m, k, n in ((512, 512, 512), (64, 512, 512), (1, 1024, 1024)):
    floats, bytes_ = timed(m, k, n)
    print(f"{m:4} x {k:4} x {n:4} {floats * 1e6:9.0f} µs {bytes_ * 1e6:8.0f} µs   {floats / bytes_:6.2f}")
layer = Linear(512, 512, rng=rng)
x = Tensor(rng.normal(size=(64, 512)), "float32")
with autograd.no_grad():
    whole = best(lambda: layer(x))
    print(f"\na whole Linear(512, 512) on 64 rows: float32 {whole * 1e6:.0f} µs")
    for name, quantized in (("int8, static", QuantizedLinear(layer, (-4.0, 4.0))), ("int8, dynamic", QuantizedLinear(layer)),
                            ("int4 in groups", Int4Linear(layer))):
        seconds = best(lambda quantized=quantized: quantized(x))
        print(f"{name:15} {size_of(quantized) / size_of(layer):5.1%} of the bytes, {seconds / whole:5.2f} of the time")

# %% [markdown]
# The product gains what the processor's instructions allow. A layer gains less, or loses: its input has to be rounded
# and its output scaled, passes over memory that NumPy makes one by one. Kernels of inference engines do both inside of
# the product. And the 4-bit layer unpacks its weights at each call: a seventh of the bytes, and slower. It
# pays where weights are read from memory once for each token, and only in a kernel that unpacks in registers.
#
# ## 10. Explain
#
# Answer in your own words in the cell below.

# %% [markdown] rubric="smaller_and_faster" points=4
# A team reports: "We quantized our recommendation model to int8. It is 4 times smaller, accuracy is unchanged at 93.1 %,
# and latency fell by 5 %." You look: weights are stored as float32 arrays that hold 256 different values; size was
# computed as parameters times one byte; accuracy was measured on the batches used for calibration; of the model's
# 2 GB, 1.9 GB are embedding tables that were left alone. In six to ten sentences: say what of the claim is false and
# how to measure it; why latency hardly changed; how large the model would be if only the dense layers were quantized
# truly, and if tables were too; and which two checks you would want before it is released.
#
# ### BEGIN MARK SCHEME
# One point each:
#
# 1. Size: nothing is smaller in memory; measure bytes of the stored arrays (nbytes, file, resident memory). Accuracy:
#    calibration data must not be test data; measure on held-out data.
# 2. Products still run in float32 (fake quantization adds work); the rest of the time is likely embedding look-ups,
#    bound by memory, which were not touched. 5 % is within noise unless shown otherwise.
# 3. Dense only: 0.1 GB becomes 0.025, total about 1.93 GB, 4 % smaller. With int8 tables: about 0.5 GB, a quarter
#    (plus scales).
# 4. Two of: accuracy by group or per class on held-out data against the float model (not only the mean); agreement of
#    outputs with the float model; range drift of activations in production for static ranges; latency percentiles on
#    the target machine; behaviour on outliers.
# ### END MARK SCHEME

# %% [markdown]
# ## Summary
#
# A scale and a zero point make a ruler; zero is always a mark on it. Weights have a scale for each row or group,
# activations a range that is measured or calibrated. Products of bytes are summed in 32 bits, and the zero point is
# taken out afterwards. Sizes are what `nbytes` says and speed is what a clock says, and the two do not follow from each
# other.
#
# | here | PyTorch and others |
# |---|---|
# | `affine`, `quantize` | `torch.quantize_per_tensor`; observers compute the parameters |
# | `channel_scales` | `torch.quantize_per_channel` |
# | `QuantizedLinear` dynamic, static | `torch.ao.quantization.quantize_dynamic`, `convert` after calibration |
# | `FakeQuantize` | `torch.fake_quantize_per_tensor_affine`, QAT |
# | `group_quantize`, `Int4Linear` | Q4_0 of llama.cpp; `torchao` int4 weight-only |
# | `fold_batch_norm` | `torch.nn.utils.fusion.fuse_conv_bn_eval` |
#
# Fewer bits are one way to a smaller model. Fewer numbers are another: module 16.
