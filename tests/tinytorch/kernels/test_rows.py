"""Operations on elements and rows."""

import numpy as np
import pytest
from hypothesis import given

from tests.tinytorch.kernels.strategies import array, extremes, seeds, shapes, unwritten
from tinytorch.backend import kernel


@given(shape=shapes(), seed=seeds)
def test_relu_is_the_larger_of_x_and_zero(form, shape, seed):
    for x in (array(seed, shape), extremes(seed, shape)):
        out = unwritten(shape)
        kernel("relu")(x, out)
        np.testing.assert_array_equal(out, np.maximum(x, 0))
        kernel("relu")(x, x)
        np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("fault", ["shape", "dtype", "strides", "read-only", "shifted"])
def test_relu_refuses_arrays_that_do_not_fit(form, fault):
    x, out = np.ones((4, 6), np.float32), np.zeros((4, 6), np.float32)
    room = np.zeros(30, np.float32)
    if fault == "read-only":
        out.flags.writeable = False
    x, out = {
        "shape": (x, out[:3]), "dtype": (x, out.astype(float)), "strides": (x.T, out.T),
        "shifted": (room[:24], room[1:25]), "read-only": (x, out),
    }[fault]
    with pytest.raises(ValueError, match="^relu: [^\n]+$"):
        kernel("relu")(x, out)
    assert not out.any()
