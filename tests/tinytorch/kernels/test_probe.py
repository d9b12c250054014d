"""The kernels that measure a machine: arithmetic in registers, and STREAM triad."""

import numpy as np
import pytest

from tests.tinytorch.kernels.strategies import array, unwritten
from tinytorch.backend import kernel


def test_multiply_add_counts_its_operations(form):
    assert kernel("multiply_add")(0) == 0
    assert kernel("multiply_add")(1000) >= 1000 and kernel("multiply_add")(1000, threads=2) >= 1000
    for bad in ((-1, 1), (1, 0)):
        with pytest.raises(ValueError, match="^multiply_add: rounds must be 0 or more and threads 1 or more; got"):
            kernel("multiply_add")(*bad)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_triad(form, threads):
    for shape in ((1,), (1037,), (3, 0), (5, 7)):
        a, b, c = unwritten(shape), array(1, shape), array(2, shape)
        assert kernel("triad")(a, b, c, 3.0, threads) == 12 * a.size
        np.testing.assert_allclose(a, b + 3 * c, rtol=1e-6, atol=1e-6)
    for bad in ((a, b, c[:2]), (a, b.astype(float), c), (a.T, b.T, c.T), (a, a, c)):
        with pytest.raises(ValueError, match="^triad: [^\n]+$"):
            kernel("triad")(*bad)
