# Exported from modules/tinytorch/15_quantization by `mlsys build`; edit the module's source, not this file.

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


def affine(low, high, bits=INT8, symmetric=False):
    """Scale, a float, and zero point, an int, for numbers from low to high in signed integers of some bits.

    0.0 is exact. Symmetric: zero is 0 and the lowest integer is not used. Raises ValueError for ends that are not finite.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"a range has finite ends, got {low} to {high}")
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    least, most = -2 ** (bits - 1), 2 ** (bits - 1) - 1
    scale = max(-low, high) / most if symmetric else (high - low) / (most - least)
    if scale < TINY:
        return 1.0, 0
    return scale, 0 if symmetric else int(np.rint(least - low / scale))


def quantize(x, scale, zero=0, bits=INT8):
    """The int8 array that stands for x: round(x / scale) + zero, clipped to integers of that many bits.

    Raises ValueError for NaN and infinity.
    """
    if not np.isfinite(x).all():
        raise ValueError(f"cannot quantize NaN or infinity; {int((~np.isfinite(x)).sum())} of {np.size(x)} numbers are not finite")
    q = np.rint(x / scale) + zero
    return np.clip(q, -2 ** (bits - 1), 2 ** (bits - 1) - 1).astype(np.int8)


def dequantize(q, scale, zero=0):
    """The float32 numbers that integers stand for."""
    return ((q.astype(np.float32) - zero) * scale).astype(np.float32)


def channel_scales(weight, bits=INT8):
    """Symmetric scales of weight (O, ...), float32, one for each index of its first axis, shape (O, 1, ...)."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1, initial=0)
    scales = largest / np.float32(2 ** (bits - 1) - 1)
    scales = np.where(scales < TINY, 1, scales).astype(np.float32)
    return scales.reshape(-1, *[1] * (weight.ndim - 1))


def percentile_range(x, share=0.999):
    """Ends between which this share of all numbers of x lies, as much below as above -> two floats.

    Raises ValueError for a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is above 0 and at most 1, got {share}")
    low, high = np.quantile(x, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def mse_range(x, bits=INT8, steps=64):
    """The range, a share k / steps of that from min to max of x, whose affine quantization errs least -> two floats."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    best, found = np.inf, (low, high)
    for k in range(steps, 0, -1):
        ends = low * k / steps, high * k / steps
        scale, zero = affine(*ends, bits)
        error = float(np.mean((dequantize(quantize(x, scale, zero, bits), scale, zero) - x) ** 2))
        if error < best:
            best, found = error, ends
    return found


def fold_batch_norm(conv, norm):
    """A Conv2d that computes norm(conv(x)) of evaluation mode; both stay as they are."""
    factor = norm.weight.numpy() / np.sqrt(norm.running_var.numpy() + norm.eps)
    bias = 0 if conv.bias is None else conv.bias.numpy()
    o = conv.options
    folded = Conv2d(conv.weight.shape[1] * o["groups"], len(conv.weight), conv.kernel, o["stride"], o["padding"], o["dilation"],
                    o["groups"], dtype=conv.weight.dtype)
    folded.load_state_dict({"weight": conv.weight.numpy() * factor[:, None, None, None].astype(conv.weight.dtype),
                            "bias": ((bias - norm.running_mean.numpy()) * factor + norm.bias.numpy()).astype(conv.weight.dtype)})
    return folded


def int8_product(rows, zero, weight):
    """(rows - zero) weightᵀ in int32: rows (M, K) and weight (O, K) int8, zero an int -> (M, O). Exact for K up to 65,000.

    Raises DTypeError, with the dtypes, unless both are int8.
    """
    if rows.dtype != np.int8 or weight.dtype != np.int8:
        raise DTypeError(f"int8_product takes int8 rows and weight, got {rows.dtype} and {weight.dtype}")
    out, rows, weight = np.empty((len(rows), len(weight)), np.int32), np.ascontiguousarray(rows), np.ascontiguousarray(weight)
    if len(rows) == 1:
        kernel("gemv_int8")(weight, rows[0], out[0])  # reads the weight once, in its order
    else:
        kernel("gemm_int8")(rows, weight.T, out)
    return out - zero * weight.sum(axis=1, dtype=np.int32) if zero else out


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


class QuantizedLinear(Quantized):
    """A Linear whose weight is int8, with a scale for each output; products in int8. For evaluation: no gradients.

    input_range: the range of x, for a static layer; without it each call uses that of its own x.
    """

    def forward(self, x):
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


def swap_layers(model, choose):
    """Replace each module of a tree for which choose(name, module) returns another one -> the model."""
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


class FakeQuantize(Function):
    """x rounded to what integers of some bits can stand for, as floats; the gradient passes where x was not clipped.

    Parameters scale, zero and bits, as in quantize; x (any shape). Source: Bengio, Léonard and Courville 2013.
    """

    def forward(self, x, scale, zero=0, bits=INT8):
        q = np.rint(x / scale) + zero
        least, most = -2 ** (bits - 1), 2 ** (bits - 1) - 1
        self.inside = (q >= least) & (q <= most)
        return ((np.clip(q, least, most) - zero) * scale).astype(x.dtype)

    def backward(self, grad):
        return (np.where(self.inside, grad, grad.dtype.type(0)),)


def pack_nibbles(q):
    """int8 numbers from -8 to 7, (..., 2 n) -> bytes (..., n), the first of two in the lower half.

    Raises ShapeError, with the shape, if the last axis is odd.
    """
    if q.ndim == 0 or q.shape[-1] % 2:
        raise ShapeError(f"nibbles are packed in pairs along the last axis, got shape {q.shape}")
    halves = (q + 8).astype(np.uint8)
    return halves[..., ::2] | halves[..., 1::2] << 4


def unpack_nibbles(packed):
    """The int8 numbers (..., 2 n) that pack_nibbles made into bytes (..., n)."""
    both = np.stack([packed & 15, packed >> 4], axis=-1).astype(np.int8) - np.int8(8)
    return both.reshape(*packed.shape[:-1], 2 * packed.shape[-1])


def group_quantize(weight, group=32):
    """4-bit integers, int8 (O, K), and scales, float32 (O, K / group), of weight (O, K).

    Raises ShapeError, with K and the group, if it does not divide K.
    """
    rows, K = weight.shape
    if K % group:
        raise ShapeError(f"rows of {K} are no whole number of groups of {group}")
    groups = weight.reshape(rows, K // group, group)
    largest = np.abs(groups).max(axis=-1, initial=0)
    scales = np.where(largest / 7 < TINY, 1, largest / 7).astype(np.float32)
    return np.clip(np.rint(groups / scales[..., None]), -8, 7).astype(np.int8).reshape(rows, K), scales


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
