# Exported from modules/tinytorch/02_activations by `mlsys build`; edit the module's source, not this file.

"""Activations: functions of a tensor that are not linear, computed so that range and precision of the dtype suffice.

    relu  leaky_relu  sigmoid  tanh  gelu  silu     of each element     classes ReLU, LeakyReLU, Sigmoid, Tanh, GELU, SiLU
    softmax  log_softmax                            along an axis       classes Softmax, LogSoftmax

float32 and float64 keep their dtype; float16 is computed in float32 and rounded once; integers and bools give float32.
NaN stays NaN. The result is a new row-major tensor of the operand's shape.
"""

import math
from decimal import Decimal, localcontext

import numpy as np

from tinytorch.tensor import Function, float16, float32, normal_axis

BLOCK = 16_384  # elements; with a few temporaries in float32 this fits a second-level cache


def working_dtypes(dtype):
    """The dtype to compute in, and the dtype of the result."""
    if dtype == float16:
        return np.dtype(float32), np.dtype(float16)
    wide = dtype if dtype.kind == "f" else np.dtype(float32)
    return wide, wide


def blockwise(compute, x, size=BLOCK):
    """compute on every element of x, block by block -> a new row-major array of x's shape.

    compute(block) -> values: flat arrays of at most size elements in the working dtype of x. The result has the result
    dtype of x. Raises ValueError if size < 1.
    """
    if size < 1:
        raise ValueError(f"a block has at least one element, got size {size}")
    wide, result = working_dtypes(x.dtype)
    out = np.empty(x.shape, result)
    source, target = x.reshape(-1), out.reshape(-1)
    for start in range(0, x.size, size):
        block = slice(start, start + size)
        target[block] = compute(source[block].astype(wide, copy=False))
    return out


class Activation(Function):
    """A function of each element. A subclass defines compute(self, x, **params) on flat arrays of float32 or float64."""

    def forward(self, x, **params):
        return blockwise(lambda block: self.compute(block, **params), x)

    def compute(self, x, **params):
        raise NotImplementedError(f"{type(self).__name__} has no compute")


class ReLU(Activation):
    """max(x, 0). Source: Nair and Hinton 2010."""

    def compute(self, x):
        return np.maximum(x, 0)


class LeakyReLU(Activation):
    """x where x > 0, slope * x elsewhere. Source: Maas, Hannun and Ng 2013."""

    def __init__(self, slope=0.01):
        super().__init__(slope=slope)

    def compute(self, x, slope=0.01):
        return np.maximum(x, 0) + slope * np.minimum(x, 0)


class Sigmoid(Activation):
    """1 / (1 + exp(-x)). Nothing overflows on the way, and small values keep their digits."""

    def compute(self, x):
        return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


class SiLU(Activation):
    """x * sigmoid(x); NaN at -inf. Source: Elfwing, Uchibe and Doya 2017."""

    def compute(self, x):
        return x / (1 + np.exp(-x))


class Tanh(Activation):
    """Hyperbolic tangent: NumPy's own, in vector instructions where the processor has them."""

    def compute(self, x):
        return np.tanh(x)


PI = Decimal("3.14159265358979323846264338327950288419716939937510")


def scaled_erfc(z):
    """exp(z²) erfc(z) of a Decimal z >= 0. Series and continued fraction: Abramowitz and Stegun 1964, 7.1.6 and 7.1.14."""
    if z < 3:
        term = total = 2 * z / PI.sqrt()
        k = 0
        while term > Decimal("1e-40"):
            k += 1
            term *= 2 * z * z / (2 * k + 1)
            total += term
        return (z * z).exp() - total
    tail = z
    for k in range(120, 0, -1):
        tail = z + k / (2 * tail)
    return 1 / (tail * PI.sqrt())


def cosine(x):
    """cos of a Decimal, from its series."""
    term = total = Decimal(1)
    k = 0
    while abs(term) > Decimal("1e-40"):
        k += 2
        term *= -x * x / (k * (k - 1))
        total += term
    return total


def chebyshev_table(points=40):
    """Chebyshev coefficients of p(y), where erfc(z) = t exp(p(2t - 1) - z²) and t = 2 / (2 + z) -> list of floats."""
    with localcontext(prec=45):
        circle = [cosine(PI * q / (2 * points)) for q in range(4 * points)]
        halves = [2 * k + 1 for k in range(points)]
        nodes = [circle[h] for h in halves]
        values = [(scaled_erfc(4 / (1 + y) - 2) * 2 / (1 + y)).ln() for y in nodes]
        sums = [sum(v * circle[j * h % (4 * points)] for v, h in zip(values, halves, strict=True)) for j in range(points)]
        return [float(total / points * (2 if j else 1)) for j, total in enumerate(sums)]


CHEBYSHEV = chebyshev_table()
TERMS = {"float32": 12, "float64": 28}
POWERS = {name: np.polynomial.chebyshev.cheb2poly(CHEBYSHEV[:terms]).tolist() for name, terms in TERMS.items()}


def erfc(x):
    """Complementary error function of a float32 or float64 array, in its dtype.

    Relative error below 4 (1 + x²) units in the last place, so that the left tail of GELU keeps its digits.
    """
    z = np.abs(x)
    t = 2 / (2 + z)
    y = 2 * t - 1
    powers = POWERS[x.dtype.name]
    value = np.full_like(y, powers[-1])
    for power in reversed(powers[:-1]):  # in place: each step is two passes over a block in the cache
        value *= y
        value += power
    value -= z * z
    np.exp(value, out=value)
    value *= t
    return np.copysign(value, x) + 2 * np.signbit(x).astype(x.dtype)


class GELU(Activation):
    """x times the normal distribution function of x. approximate="tanh" takes the formula of GPT-2; NaN at -inf.

    Raises ValueError for another word. Source: Hendrycks and Gimpel 2016.
    """

    def __init__(self, approximate="none"):
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate={approximate!r}: choose 'none' or 'tanh'")
        super().__init__(approximate=approximate)

    def compute(self, x, approximate="none"):
        if approximate == "tanh":
            inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
            return x / (1 + np.exp(-2 * inner))  # (1 + tanh u) / 2 = sigmoid(2u), which does not cancel on the left
        return 0.5 * x * erfc(x * -math.sqrt(0.5))


class AlongAxis(Function):
    """A function along one axis. A subclass defines compute(self, x, axis) on arrays of float32 or float64.

    Raises IndexError if there is no such axis.
    """

    def __init__(self, axis=-1):
        super().__init__(axis=axis)

    def forward(self, x, axis=-1):
        wide, result = working_dtypes(x.dtype)
        return self.compute(x.astype(wide, copy=False), normal_axis(axis, x.ndim)).astype(result, copy=False)

    def compute(self, x, axis):
        raise NotImplementedError(f"{type(self).__name__} has no compute")


class Softmax(AlongAxis):
    """exp(x) / sum of exp(x) along an axis. A row of nothing but -inf, or with +inf in it, is NaN."""

    def compute(self, x, axis):
        out = x - x.max(axis, keepdims=True, initial=-np.inf)
        np.exp(out, out=out)
        out /= out.sum(axis, keepdims=True)
        return out


class LogSoftmax(AlongAxis):
    """x - log(sum of exp(x)) along an axis. A row of nothing but -inf, or with +inf in it, is NaN."""

    def compute(self, x, axis):
        out = x - x.max(axis, keepdims=True, initial=-np.inf)
        out -= np.log(np.exp(out).sum(axis, keepdims=True))
        return out


def relu(x):
    """max(x, 0)."""
    return ReLU.apply(x)


def leaky_relu(x, slope=0.01):
    """x where x > 0, slope * x elsewhere."""
    return LeakyReLU.apply(x, slope=slope)


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return Sigmoid.apply(x)


def tanh(x):
    """Hyperbolic tangent."""
    return Tanh.apply(x)


def gelu(x, approximate="none"):
    """x times the normal distribution function of x; approximate="tanh" takes the formula of GPT-2."""
    return GELU.apply(x, approximate=approximate)


def silu(x):
    """x * sigmoid(x)."""
    return SiLU.apply(x)


def softmax(x, axis=-1):
    """exp(x) / sum of exp(x) along an axis."""
    return Softmax.apply(x, axis=axis)


def log_softmax(x, axis=-1):
    """log(softmax(x)) along an axis, finite where softmax is 0."""
    return LogSoftmax.apply(x, axis=axis)
