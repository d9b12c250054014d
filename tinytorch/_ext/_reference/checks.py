"""What is wrong with an array that a kernel was given, in one line. Kernels test cheaply in C and come here to fail."""

import numpy as np


def array(kernel, name, value, dtype, shape, writable=False, native=True):
    """Raise ValueError unless value is a C-contiguous array of this dtype and shape, writable if that is asked for.

    native=False lets it be in any byte order and at any address. shape holds a length, or None for any, for each axis;
    ... in front stands for any number of axes.
    """
    flags = value.flags
    fits = (value.dtype == dtype and (not native or value.dtype.isnative and flags.aligned) and flags.c_contiguous
            and (flags.writeable or not writable) and _has_shape(value.shape, shape))
    if not fits:
        wanted = ["writable"] * writable + ["C-contiguous", str(np.dtype(dtype)), f"shape {_text(shape)}"]
        got = f"{value.dtype}, shape {value.shape}, C-contiguous {flags.c_contiguous}, writable {flags.writeable}"
        raise ValueError(f"{kernel}: {name} must be {', '.join(wanted)}; got {got}")


def apart(kernel, target, *others, whole=False):
    """Raise ValueError if the contiguous array target shares memory with another; whole=True lets it be the same array."""
    for other in others:
        same = whole and target.ctypes.data == other.ctypes.data and target.nbytes == other.nbytes
        if np.may_share_memory(target, other) and not same:
            raise ValueError(f"{kernel}: an output shares memory with another array; give it memory of its own")


def _has_shape(shape, wanted):
    if wanted[:1] == (...,):
        wanted = (None,) * (len(shape) - len(wanted) + 1) + wanted[1:]
    return len(shape) == len(wanted) and all(w is None or n == w for n, w in zip(shape, wanted, strict=True))


def _text(shape):
    names = ["..." if n is ... else "any" if n is None else str(n) for n in shape]
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"
