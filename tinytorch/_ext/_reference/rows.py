"""Operations on elements and rows."""

import numpy as np

from tinytorch._ext._reference import checks


def relu(x, out, threads=0):
    """Write max(x, 0) into out, of the same shape: float32, C-contiguous; out may be x."""
    check_elementwise("relu", out, x)
    np.maximum(x, 0, out=out)


def check_elementwise(kernel, out, *inputs):
    """Raise ValueError unless out and inputs are float32, C-contiguous, of one shape; out may be one of the inputs."""
    for x in inputs:
        checks.array(kernel, "an input", x, np.float32, out.shape)
    checks.array(kernel, "out", out, np.float32, inputs[0].shape, writable=True)
    checks.apart(kernel, out, *inputs, whole=True)
