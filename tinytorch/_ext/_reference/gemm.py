"""Products of matrices."""

import numpy as np

from tinytorch._ext._reference import checks
from tinytorch._ext._reference.functions import FUNCTIONS

ACTIVATIONS = {"relu": 1, "gelu": 2, "gelu_tanh": 3, "silu": 4}  # numbers as in gemm.h


def gemm(a, b, out, bias=None, activation=None, before=None, add=False, threads=0):
    """Write a @ b + bias, through an activation, into out. a (..., M, K), b (..., K, N) of any strides, out (..., M, N).

    float32 or float64; leading axes broadcast as in NumPy. bias is (N,). activation, for float32, is "relu", "gelu",
    "gelu_tanh" or "silu"; before, like out, gets what went into it. add=True adds a @ b to what is in out.
    """
    check_gemm(a, b, out, bias, activation, before, add)
    with np.errstate(all="ignore"):
        if add:
            out += a @ b
            return
        np.matmul(a, b, out=out)
        if bias is not None:
            out += bias
        if before is not None:
            before[...] = out
        if activation is not None:
            out[...] = FUNCTIONS[activation](out)


def check_gemm(a, b, out, bias, activation, before, add):
    """Raise ValueError unless gemm can take these."""
    dtype = out.dtype if out.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    for name, x in (("a", a), ("b", b)):
        if x.dtype != dtype or not x.dtype.isnative or x.ndim < 2 or not x.flags.aligned or any(s % x.itemsize for s in x.strides):
            raise ValueError(f"gemm: {name} must be {dtype}, aligned, with two axes or more; got {x.dtype}, shape {x.shape}")
    try:
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        leading = None
    if leading is None or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"gemm: shapes {a.shape} and {b.shape} do not fit: a is (..., M, K), b is (..., K, N)")
    shape = (*leading, a.shape[-2], b.shape[-1])
    checks.array("gemm", "out", out, dtype, shape, writable=True)
    if activation is not None and (activation not in ACTIVATIONS or dtype != np.float32):
        raise ValueError(f"gemm: activation is one of {', '.join(ACTIVATIONS)}, for float32; got {activation!r}, {dtype}")
    if add and (bias is not None or activation is not None or before is not None):
        raise ValueError("gemm: add=True takes no bias, activation or before: they would apply to part of a sum")
    if bias is not None:
        checks.array("gemm", "bias", bias, dtype, shape[-1:])
        checks.apart("gemm", out, bias)
    if before is not None:
        checks.array("gemm", "before", before, dtype, shape, writable=True)
        checks.apart("gemm", before, a, b, out, *([] if bias is None else [bias]))
    checks.apart("gemm", out, a, b)
