"""Activations and their derivatives: of a float32 array, by NumPy, in float64 where digits would cancel."""

import math

import numpy as np

GELU_SCALE, GELU_CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715
# p of erfc(z) = t exp(p(2t - 1) - z²), t = 2 / (2 + z), z >= 0: the first terms of what module 02 computes.
ERFC = (
    -6.717940917e-01, 6.726431548e-01, 4.734388761e-02, -4.689364056e-02, -9.880019324e-03, 8.808825369e-03,
    1.794066250e-03, -2.288765239e-03, -2.279109660e-04, 5.737663720e-04, 8.000738162e-06, -8.728381022e-05,
)


def sigmoid(x):
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def normal_cdf(x):
    """The normal distribution function of float64 numbers."""
    z = np.abs(x) * math.sqrt(0.5)
    t = 2 / (2 + z)
    tail = 0.5 * t * np.exp(np.polynomial.polynomial.polyval(2 * t - 1, ERFC) - z * z)
    return np.where(x < 0, tail, 1 - tail)


def relu(x):
    return np.maximum(x, 0)


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    wide = x.astype(np.float64)
    return (wide * normal_cdf(wide)).astype(x.dtype)


def gelu_tanh(x):
    return x * sigmoid(GELU_SCALE * (x + GELU_CUBIC * x * x * x))


def silu_slope(x):
    s = sigmoid(x)
    return s + x * s * (1 - s)


def gelu_slope(x):
    wide = x.astype(np.float64)
    return (normal_cdf(wide) + wide * np.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)).astype(x.dtype)


def gelu_tanh_slope(x):
    s = sigmoid(GELU_SCALE * (x + GELU_CUBIC * x * x * x))
    return s + x * s * (1 - s) * GELU_SCALE * (1 + 3 * GELU_CUBIC * x * x)


FUNCTIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}
SLOPES = {"gelu": gelu_slope, "gelu_tanh": gelu_tanh_slope, "silu": silu_slope}
