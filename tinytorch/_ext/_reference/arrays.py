"""Moving the elements of arrays."""

import numpy as np


def copy(x, out):
    """Write x, of any strides, into out: C-contiguous, of the same shape and dtype, not overlapping x."""
    if x.shape != out.shape or x.dtype != out.dtype or not (out.flags.c_contiguous and out.flags.writeable):
        raise copy_error(x, out)
    np.copyto(out, x)


def copy_error(x, out):
    """What is wrong with out as the target of a copy of x, as an exception to raise."""
    wanted = f"out must be writable, C-contiguous, {x.dtype}, shape {x.shape}"
    got = f"{out.dtype}, shape {out.shape}, C-contiguous {out.flags.c_contiguous}, writable {out.flags.writeable}"
    return ValueError(f"copy: {wanted}; got {got}")
