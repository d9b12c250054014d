"""Arrays and shapes for the tests of kernels.

    @given(shape=shapes(axes=(1, 3)), seed=seeds)
    def test_relu(form, shape, seed):            # form: conftest.py runs this once for each form of the kernel
        x = array(seed, shape)
        out = unwritten(shape)
        kernel("relu")(x, out)
        np.testing.assert_array_equal(out, np.maximum(x, 0))
"""

import numpy as np
from hypothesis import strategies as st

EPS = float(np.finfo(np.float32).eps)
EXTREMES = np.array([0.0, -0.0, 1.0, -1.0, 1e4, -1e4, 88.8, -103.9, 1e-38, 3e38, np.inf, -np.inf, np.nan], np.float32)

lengths = st.integers(0, 40)
seeds = st.integers(0, 2**32 - 1)


def shapes(axes=(1, 4), most=40):
    """Shapes of this many axes, the fewest first; lengths are 0 to `most`, and no more than 4000 elements in all."""
    sides = st.lists(st.integers(0, most), min_size=axes[0], max_size=axes[1])
    return sides.map(tuple).filter(lambda shape: np.prod(shape, dtype=int) <= 4000)


def array(seed, shape, dtype=np.float32, scale=1.0):
    """Normal numbers, always the same for a seed."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def extremes(seed, shape):
    """Infinite, tiny, huge and missing numbers in any order."""
    return np.random.default_rng(seed).choice(EXTREMES, shape)


def unwritten(shape, dtype=np.float32):
    """An output full of NaN (of the largest number, for integers): what a kernel forgets to write shows."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max, dtype)


@st.composite
def strided(draw, shape, dtype=np.float32):
    """Normal numbers of this shape, behind permuted, stepped and reversed axes."""
    seed, steps = draw(seeds), draw(st.tuples(*[st.sampled_from([1, 1, 2, -1, -3])] * len(shape)))
    order = draw(st.permutations(range(len(shape))))
    stored = [shape[axis] * abs(steps[axis]) for axis in order]
    x = array(seed, stored, dtype).transpose(np.argsort(order))
    return x[tuple(slice(None, None, step) for step in steps)]


def differences(function, x, towards, step=1e-6):
    """The derivative of function at x along `towards`, in float64, by central differences -> an array like its result."""
    x, towards = np.asarray(x, np.float64), np.asarray(towards, np.float64)
    return (function(x + step * towards) - function(x - step * towards)) / (2 * step)


def inner(a, b):
    """The sum of products of elements, in float64."""
    return float(np.sum(np.asarray(a, np.float64) * np.asarray(b, np.float64)))
