"""Activations against PyTorch: values in every float dtype, any axis, views, infinity and NaN."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

torch = pytest.importorskip("torch", reason="PyTorch is a test extra: pip install '.[torch]'")

import tinytorch as tt  # noqa: E402
from tinytorch.activations import erfc  # noqa: E402

F = torch.nn.functional
PAIRS = {
    "relu": (tt.relu, F.relu),
    "leaky_relu": (lambda x: tt.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2)),
    "sigmoid": (tt.sigmoid, torch.sigmoid),
    "tanh": (tt.tanh, torch.tanh),
    "gelu": (tt.gelu, F.gelu),
    "gelu tanh": (lambda x: tt.gelu(x, approximate="tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "silu": (tt.silu, F.silu),
}
ALONG = {"softmax": (tt.softmax, torch.softmax), "log_softmax": (tt.log_softmax, torch.log_softmax)}
# PyTorch's 1 + erf and 1 + tanh lose the left tail of GELU: absolute there, relative elsewhere.
TOLERANCE = {"float64": (1e-12, 1e-14), "float32": (2e-6, 1e-6), "float16": (1e-3, 1e-6)}
each = pytest.mark.parametrize("name", PAIRS)
each_along = pytest.mark.parametrize("name", ALONG)


def close(got, want, dtype):
    got, want = got.numpy(), want.numpy()
    assert got.shape == want.shape and got.dtype == want.dtype
    rtol, atol = TOLERANCE[dtype]
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


@each
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_values(name, dtype, rng):
    ours, theirs = PAIRS[name]
    for scale in (0.1, 1, 6, 1000):
        x = rng.normal(scale=scale, size=(7, 300)).astype(dtype)
        close(ours(x), theirs(torch.tensor(x)), dtype)


@each
@given(x=hnp.arrays("float64", hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=st.floats(-1e4, 1e4)))
def test_any_shape(name, x):
    ours, theirs = PAIRS[name]
    close(ours(tt.Tensor(x).T), theirs(torch.tensor(x).permute(tuple(reversed(range(x.ndim))))), "float64")


@each
def test_infinity_and_nan(name):
    ours, theirs = PAIRS[name]
    x = np.array([-np.inf, np.nan, 1e4, -1e4, np.inf])
    got, want = ours(x).numpy(), theirs(torch.tensor(x)).numpy()
    if name == "gelu":  # vectorised and not, PyTorch gives NaN or inf at +inf
        got, want = got[:-1], want[:-1]
    np.testing.assert_allclose(got, want, atol=1e-30)


@each_along
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rows(name, dtype, rng):
    ours, theirs = ALONG[name]
    for scale in (1, 30, 3000):
        x = rng.normal(scale=scale, size=(3, 5, 4)).astype(dtype)
        for axis in (0, 1, 2, -1):
            wide = torch.tensor(x).float() if dtype == "float16" else torch.tensor(x)  # PyTorch rounds half on the way
            close(ours(x, axis), theirs(wide, axis).to(torch.tensor(x).dtype), dtype)


@each_along
@given(x=hnp.arrays("float64", hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
                    elements=st.sampled_from((-np.inf, np.inf, np.nan, 0.0, 1.5, -1e4, 1e4))), data=st.data())
def test_rows_of_special_values(name, x, data):
    ours, theirs = ALONG[name]
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    close(ours(tt.Tensor(x), axis), theirs(torch.tensor(x), axis), "float64")


def test_erfc(rng):
    x = rng.uniform(-6, 6, 5000)
    np.testing.assert_allclose(erfc(x), torch.special.erfc(torch.tensor(x)).numpy(), rtol=2e-14)
