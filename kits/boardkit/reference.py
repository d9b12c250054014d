"""The kernels of kits/sketches/lib in NumPy, to the bit, for a batch at a time; and the same networks in floats.

Nothing here wraps: quantize.check refuses layers whose sums could leave 32 bits.
"""

from math import prod

import numpy as np

from .quantize import WINDOWED, QuantizeError, requantize


def windows(x, layer, fill):
    """(N, H, W, C) -> (N, OH, OW, KH, KW, C): what each window of a layer sees, `fill` outside the image."""
    top, bottom, left, right = layer.padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))
    return seen[:, :: layer.stride[0], :: layer.stride[1]].transpose(0, 1, 2, 4, 5, 3)


def products(layer, x):
    """Sums of products without bias, for inputs whose zero is 0: (N, H, W, C) -> (N, OH, OW, O)."""
    if layer.kind == "dense":
        return (x.reshape(len(x), -1) @ layer.weight.astype(x.dtype).T)[:, None, None, :]
    seen = windows(x, layer, 0)
    if layer.kind == "conv2d":
        flat = seen.reshape(*seen.shape[:3], -1)
        return flat @ layer.weight.astype(x.dtype).reshape(len(layer.weight), -1).T
    return (seen * layer.weight.astype(x.dtype)).sum(axis=(3, 4))


def pooled(layer, x, low):
    """The largest and the sum of the places inside of each window, and how many they are: (N, OH, OW, C), the same, (OH, OW, 1)."""
    places = windows(np.ones((1, *x.shape[1:3], 1), dtype=np.int64), layer, 0).sum(axis=(3, 4))[0]
    return windows(x, layer, low).max(axis=(3, 4)), windows(x, layer, 0).sum(axis=(3, 4)), places


def layer_output(layer, x):
    """One QuantLayer on int8 (N, *in_shape) -> int8 (N, *out_shape), exactly as its C kernel."""
    x = np.asarray(x).astype(np.int64).reshape(-1, *layer.in_shape)
    if layer.weight is not None:
        sums = products(layer, x - layer.input.zero) + layer.bias
        y = requantize(sums, layer.multiplier, layer.shift) + layer.output.zero
    elif layer.kind in WINDOWED:
        most, total, places = pooled(layer, x, -128)
        if layer.kind == "mean_pool":
            divisor = np.maximum(places, 1)
            most = np.sign(total) * ((np.abs(total) + places // 2) // divisor)
        y = np.where(places > 0, most, layer.output.zero)
    elif layer.kind == "softmax":
        flat = x.reshape(len(x), -1)
        table = layer.table.astype(np.int64)[flat.max(axis=1, keepdims=True) - flat]
        total = table.sum(axis=1, keepdims=True)
        y = (np.minimum((table * 256 + total // 2) // total, 255) - 128).reshape(x.shape)
    elif layer.kind == "argmax":
        y = x.reshape(len(x), -1).argmax(axis=1).reshape(-1, 1, 1, 1)
    else:
        raise QuantizeError(f"layer of kind {layer.kind!r}: unknown")
    return np.clip(y, layer.low, layer.high).astype(np.int8)


def activations(model, x):
    """int8 inputs (N, ...) or one sample -> list of int8 arrays (N, H, W, C): the input, then what each layer makes."""
    x = np.asarray(x)
    if x.dtype != np.int8:
        raise QuantizeError(f"x: got {x.dtype}; wanted int8, as model.input.quantize gives")
    each = prod(model.in_shape)
    if x.size == 0 or x.size % each or (x.ndim > 1 and prod(x.shape[1:]) not in (each, 1) and x.shape != model.in_shape):
        raise QuantizeError(f"x: got shape {x.shape}; wanted samples of {model.in_shape}, {each} bytes each")
    values = [x.reshape(-1, *model.in_shape)]
    for layer in model.layers:
        values.append(layer_output(layer, values[-1].reshape(-1, *layer.in_shape)))
    return values


def run(model, x):
    """int8 inputs (N, ...) -> int8 outputs (N, outputs), what the firmware answers. One sample may come without N."""
    y = activations(model, x)[-1]
    return y.reshape(len(y), -1)


def forward(layers, x):
    """Float layers on real (N, H, W, C) -> list of the outputs of each, in float64. What calibration looks at."""
    values, x = [], np.asarray(x, dtype=np.float64)
    for layer in layers:
        if layer.weight is not None:
            if layer.kind == "dense":
                x = x.reshape(len(x), 1, 1, -1)
            x = products(layer, x) + (0.0 if layer.bias is None else layer.bias)
        elif layer.kind in WINDOWED:
            most, total, places = pooled(layer, x, -np.inf)
            x = np.where(places > 0, total / np.maximum(places, 1) if layer.kind == "mean_pool" else most, 0.0)
        elif layer.kind == "softmax":
            e = np.exp(x - x.max(axis=(1, 2, 3), keepdims=True))
            x = e / e.sum(axis=(1, 2, 3), keepdims=True)
        else:
            x = x.reshape(len(x), -1).argmax(axis=1).astype(float).reshape(-1, 1, 1, 1)
        x = np.maximum(x, 0.0) if layer.relu else x
        values.append(x)
    return values
