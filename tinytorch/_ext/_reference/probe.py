"""The limits of a machine as far as NumPy reaches them. One thread, but for what its BLAS takes."""

import numpy as np

from tinytorch._ext._reference import checks

SIDE = 256  # of the matrix whose product NumPy's BLAS computes from the first two levels of cache
_matrix = np.full((SIDE, SIDE), 1 / SIDE, np.float32)


def multiply_add(rounds, threads=1):
    """Multiply and add -> how many floating-point operations that were: products of matrices, at least `rounds` operations."""
    if rounds < 0 or threads < 1:
        raise ValueError(f"multiply_add: rounds must be 0 or more and threads 1 or more; got {rounds} and {threads}")
    products = -(-rounds // (2 * SIDE**3))
    for _ in range(products):
        _matrix @ _matrix
    return products * 2 * SIDE**3


def triad(a, b, c, factor=3.0, threads=1):
    """Write b + factor c into a: float32, one shape, C-contiguous, apart -> the bytes moved, 12 an element."""
    if threads < 1:
        raise ValueError(f"triad: threads must be 1 or more; got {threads}")
    checks.array("triad", "a", a, np.float32, a.shape, writable=True)
    for name, value in (("b", b), ("c", c)):
        checks.array("triad", name, value, np.float32, a.shape)
    checks.apart("triad", a, b, c)
    np.multiply(c, np.float32(factor), out=a)
    np.add(a, b, out=a)
    return 12 * a.size
