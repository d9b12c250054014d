"""Layers that no calibration made: any shape, operands at their limits. For C kernels and NumPy to agree on."""

from dataclasses import replace

import numpy as np

from boardkit.quantize import INT32, QuantLayer, Scale

WINDOW_KINDS = ("conv2d", "depthwise", "max_pool", "mean_pool")


def extreme(rng, shape, low=-128, high=127):
    """int8 that lie at the ends more often than chance would have it."""
    values = rng.integers(low, high + 1, shape)
    return np.where(rng.random(shape) < 0.3, rng.choice([low, high], shape), values).astype(np.int8)


def random_layer(rng, kind, *, side=6, channels=5, inner=None):
    """A QuantLayer of a kind and shape and constants that quantise never makes but the kernels allow."""
    n = lambda most, least=1: int(rng.integers(least, most + 1))  # noqa: E731
    zero = lambda: int(rng.choice([-128, 127, 0, n(127), -n(128)]))  # noqa: E731
    low, high = sorted((zero(), zero())) if rng.random() < 0.2 else (-128, 127)
    common = dict(input=Scale(0.05, zero()), output=Scale(0.1, zero()), low=low, high=high)
    if kind == "dense":
        inner, outer = inner or n(70), n(9)
        layer = QuantLayer(kind=kind, in_shape=(1, 1, inner), out_shape=(1, 1, outer), **common)
        shape, outputs = (outer, inner), outer
    else:
        h, w, c, o = n(side), n(side), n(channels), n(4)
        kernel, stride, padding = (n(4), n(4)), (n(3), n(3)), tuple(n(2, 0) for _ in range(4))
        out = [(size + a + b - k) // s + 1 for size, a, b, k, s in zip((h, w), padding[::2], padding[1::2], kernel, stride, strict=True)]
        if min(out) < 1:
            return random_layer(rng, kind, side=side, channels=channels)
        outputs = o if kind == "conv2d" else c
        layer = QuantLayer(kind=kind, in_shape=(h, w, c), out_shape=(*out, outputs), kernel=kernel, stride=stride, padding=padding, **common)
        shape = {"conv2d": (o, *kernel, c), "depthwise": (*kernel, c)}.get(kind)
    if shape is None:
        return layer
    weight = extreme(rng, shape)
    most = INT32 - 383 * int(np.abs(weight.astype(int)).sum())
    bias = np.where(rng.random(outputs) < 0.3, rng.choice([-most, most], outputs), rng.integers(-20_000, 20_000, outputs))
    per = outputs if rng.random() < 0.5 else 1
    multiplier = np.where(rng.random(per) < 0.3, rng.choice([0, 2**30, INT32], per), rng.integers(2**30, 2**31, per))
    shift = np.where(rng.random(per) < 0.2, rng.choice([-31, 30, 0, 1], per), rng.integers(-14, -3, per))
    return replace(layer, weight=weight, bias=bias.astype(np.int32), multiplier=multiplier.astype(np.int32), shift=shift.astype(np.int8))
