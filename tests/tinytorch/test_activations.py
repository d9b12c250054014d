"""Activations against closed forms in Python's math module, on any view of any dtype, at both ends of the range."""

import math
import tracemalloc
import warnings
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinytorch as tt
from tinytorch import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Storage, Tanh, Tensor
from tinytorch.activations import BLOCK, CHEBYSHEV, TERMS, Activation, blockwise, erfc, scaled_erfc, working_dtypes

FLOATS = ("float16", "float32", "float64")
OTHERS = ("bool", "int8", "int32", "int64")


def cdf(x):
    return math.erfc(-x / math.sqrt(2)) / 2


# One number at a time, in float64: slow, plain, and with other formulas than the module.
CLOSED = {
    "relu": lambda x: x if x > 0 else 0.0,
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "sigmoid": lambda x: math.exp(x) / (1 + math.exp(x)),
    "tanh": math.tanh,
    "gelu": lambda x: x * cdf(x),
    "silu": lambda x: x * CLOSED["sigmoid"](x),
}
FUNCTIONS = {name: getattr(tt, name) for name in CLOSED}
CLASSES = (ReLU(), LeakyReLU(), Sigmoid(), Tanh(), GELU(), GELU(approximate="tanh"), SiLU(), Softmax(), LogSoftmax())
EVERY = {repr(f): f for f in CLASSES}
every = pytest.mark.parametrize("f", EVERY.values(), ids=EVERY)


def closed(name, x):
    return np.array([CLOSED[name](float(v)) for v in x.ravel()]).reshape(x.shape)


def softmax_of_row(row):
    """By exact shifts and a sum without rounding."""
    e = [math.exp(v - max(row)) for v in row]
    return [v / math.fsum(e) for v in e]


def along(f, x, axis):
    """A function of rows, applied along an axis by hand."""
    out = np.empty_like(x)
    for index in np.ndindex(*(n for k, n in enumerate(x.shape) if k != axis % x.ndim)):
        where = (*index[:axis % x.ndim], slice(None), *index[axis % x.ndim:])
        out[where] = f([float(v) for v in x[where]])
    return out


@st.composite
def views(draw, dtype="float64", low=-50, high=50, min_dims=0):
    """A tensor behind permuted, stepped, reversed or repeated axes; some are empty."""
    shape = draw(hnp.array_shapes(min_dims=min_dims, max_dims=3, min_side=0, max_side=5))
    values = draw(hnp.arrays(dtype, shape, elements=st.floats(low, high, width=32)))
    x = Tensor(values).permute(*draw(st.permutations(range(len(shape)))))
    if shape and draw(st.booleans()):
        x = x[..., :: draw(st.sampled_from((2, -1)))]
    return x.expand(2, *x.shape) if draw(st.booleans()) else x


# Values


@pytest.mark.parametrize("name", CLOSED)
@given(x=views())
def test_each_element_has_its_closed_form(name, x):
    y = FUNCTIONS[name](x)
    assert y.shape == x.shape and y.is_contiguous() and y.dtype == x.dtype
    np.testing.assert_allclose(y.numpy(), closed(name, x.numpy()), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", CLOSED)
def test_float32_is_as_close_as_its_precision(name, rng):
    x = rng.uniform(-8, 8, 3000).astype("float32")
    np.testing.assert_allclose(FUNCTIONS[name](x).numpy(), closed(name, x), rtol=5e-6, atol=1e-30)


@given(views(low=-6, high=6), st.floats(-3, 3))
def test_leaky_relu_of_any_slope(x, slope):
    a = x.numpy()
    np.testing.assert_allclose(tt.leaky_relu(x, slope).numpy(), np.where(a > 0, a, slope * a))


@given(views(low=-8, high=8))
def test_the_tanh_form_of_gelu_is_its_formula_and_close_to_gelu(x):
    a = x.numpy()
    wanted = [v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in map(float, a.ravel())]
    y = tt.gelu(x, approximate="tanh").numpy()
    np.testing.assert_allclose(y.ravel(), wanted, rtol=1e-10, atol=1e-14)
    assert np.abs(y - tt.gelu(x).numpy()).max(initial=0) < 5e-4


@given(views(min_dims=1), st.data())
def test_softmax_along_any_axis(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    p, logs = tt.softmax(x, axis), tt.log_softmax(x, axis)
    assert p.shape == logs.shape == x.shape and p.is_contiguous() and logs.is_contiguous()
    wanted = along(softmax_of_row, x.numpy(), axis) if x.numel() else x.numpy()
    np.testing.assert_allclose(p.numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose(np.exp(logs.numpy()), wanted, rtol=1e-12)


@given(views(dtype="float32", min_dims=1, low=-30, high=30), st.sampled_from((-8192.0, 8192.0)))
def test_softmax_does_not_notice_a_shift(x, shift):
    moved = (x + shift) - shift  # what float32 keeps of x beside the shift
    for f in (tt.softmax, tt.log_softmax):
        np.testing.assert_allclose(f(x + shift).numpy(), f(moved).numpy(), rtol=1e-6, atol=1e-37)


def test_improbable_scores_keep_a_logarithm():
    x = Tensor([[0.0, -1e4, -200.0], [1e4, -1e4, 0.0]])
    np.testing.assert_array_equal(tt.log_softmax(x).numpy(), [[0, -1e4, -200], [0, -2e4, -1e4]])
    np.testing.assert_array_equal(tt.softmax(x).numpy(), [[1, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize("name", ["sigmoid", "silu", "gelu"])
def test_left_tails_keep_their_digits(name):
    x = np.linspace(-36, -5, 200)
    np.testing.assert_allclose(FUNCTIONS[name](x).numpy(), closed(name, x), rtol=4e-13)


# erfc


@pytest.mark.parametrize("dtype, low, high", [("float64", -6, 26), ("float32", -4, 9)])
def test_erfc_is_right_to_a_few_units_in_the_last_place(dtype, low, high):
    x = np.linspace(low, high, 20_001).astype(dtype)
    wanted = np.array([math.erfc(v) for v in x])
    units = np.abs(erfc(x) - wanted) / (wanted * np.finfo(dtype).eps * (1 + x.astype("float64") ** 2))
    assert erfc(x).dtype == dtype and units.max() < 4
    assert np.abs(erfc(x) - wanted).max() < 10 * np.finfo(dtype).eps


def test_erfc_of_special_values():
    for dtype in TERMS:
        with np.errstate(over="ignore"):
            y = erfc(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30], dtype))
        np.testing.assert_allclose(y, np.array([1, 1, 0, 2, np.nan, 0, 2], dtype), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("z", ["0.1", "1", "2.99", "3.01", "5", "20"])
def test_series_and_continued_fraction_agree_with_the_integral(z):
    """exp(z²) erfc(z) = 2/√π ∫ exp(-s² - 2zs) ds from 0 to ∞, by the trapezoidal rule."""
    z, h = float(z), 1e-4
    s = np.arange(0, 7, h)
    f = np.exp(-(s**2) - 2 * z * s)
    integral = (math.fsum(f) - 0.5) * h - h**2 / 12 * 2 * z  # Euler and Maclaurin: the slope at 0 is -2z
    assert float(scaled_erfc(Decimal(z))) == pytest.approx(2 / math.sqrt(math.pi) * integral, rel=1e-12)


def test_the_table_has_run_down_to_rounding_where_it_is_cut():
    for name, terms in TERMS.items():
        assert sum(map(abs, CHEBYSHEV[terms:])) < np.finfo(name).eps / 8


# Dtypes


@every
def test_floats_keep_their_dtype_and_others_give_float32(f):
    for name in FLOATS:
        assert f(Tensor([[-1.0, 0.0, 2.0]], name)).dtype == name
    for name in OTHERS:
        x = Tensor([[0, 1, 1]], name)
        np.testing.assert_array_equal(f(x).numpy(), f(x.astype("float32")).numpy())
        assert f(x).dtype == "float32"
    assert f(Tensor([100, -100], "int8")).numpy()[0] == f(Tensor([100.0, -100.0])).numpy()[0]


@every
def test_float16_is_rounded_once(f, rng):
    x = Tensor(np.concatenate([rng.uniform(-20, 20, 400), rng.uniform(-300, 300, 100)]), "float16").reshape(50, 10)
    got, exact = f(x).numpy().astype("float64"), f(x.astype("float64")).numpy()
    unit = np.spacing(np.abs(exact).astype("float16")).astype("float64")
    assert (np.abs(got - exact) <= 0.505 * unit + np.finfo("float32").eps).all()


def test_working_dtypes():
    for name in FLOATS + OTHERS:
        wide, result = working_dtypes(np.dtype(name))
        assert wide == ("float64" if name == "float64" else "float32")
        assert result == (name if name in FLOATS else "float32")


# The ends of the range


@every
@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_stays_and_does_not_spread(f, dtype):
    x = Tensor([[1.0, np.nan, 2.0], [1.0, 0.0, -1.0]], dtype)
    y = f(x).numpy()
    assert np.isnan(y[0]).all() if "Softmax" in repr(f) else np.isnan(y[0]).tolist() == [False, True, False]
    assert np.isfinite(y[1]).all()


@every
@pytest.mark.parametrize("dtype", FLOATS)
def test_large_values_are_finite_and_silent(f, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = f(Tensor([[-1e4, 1e4, 0.0], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], dtype)).numpy()
    assert np.isfinite(y).all()


def test_infinity():
    x = Tensor([-math.inf, math.inf])
    for name, wanted in {"relu": [0, math.inf], "leaky_relu": [-math.inf, math.inf], "sigmoid": [0, 1], "tanh": [-1, 1],
                         "gelu": [math.nan, math.inf], "silu": [math.nan, math.inf]}.items():
        np.testing.assert_array_equal(FUNCTIONS[name](x).numpy(), wanted, err_msg=name)
    np.testing.assert_array_equal(tt.gelu(x, "tanh").numpy(), [math.nan, math.inf])


def test_rows_with_infinity():
    x = Tensor([[0.0, -math.inf], [-math.inf, -math.inf], [0.0, math.inf]])
    np.testing.assert_array_equal(tt.softmax(x).numpy(), [[1, 0], [math.nan] * 2, [math.nan] * 2])
    np.testing.assert_array_equal(tt.log_softmax(x).numpy(), [[0, -math.inf], [math.nan] * 2, [math.nan] * 2])


def test_sigmoid_does_not_overflow_on_the_way():
    with np.errstate(over="raise"):
        for dtype in ("float32", "float64"):
            Sigmoid().compute(np.array([-1e4, -800, -100, 0, 100, 800, 1e4], dtype))


@every
def test_no_elements_and_no_axes(f):
    for shape in ((0,), (3, 0), (0, 3), (2, 0, 3)):
        assert f(tt.zeros(shape)).shape == shape
    if "Softmax" in repr(f):
        with pytest.raises(IndexError, match="0 axes"):
            f(Tensor(1.0))
    else:
        assert f(Tensor(1.0)).shape == () and f(2.5).item() == pytest.approx(f(Tensor([2.5])).item())


# Functions, classes, blocks


def test_functions_and_classes_agree():
    x = Tensor([[-1.5, 0.5, 3.0]])
    for f, g in ((tt.relu, ReLU()), (tt.sigmoid, Sigmoid()), (tt.tanh, Tanh()), (tt.silu, SiLU()), (tt.gelu, GELU()),
                 (lambda x: tt.leaky_relu(x, 0.3), LeakyReLU(slope=0.3)), (lambda x: tt.gelu(x, "tanh"), GELU("tanh")),
                 (lambda x: tt.softmax(x, 0), Softmax(axis=0)), (lambda x: tt.log_softmax(x, 0), LogSoftmax(axis=0))):
        np.testing.assert_array_equal(f(x).numpy(), g(x).numpy())


def test_parameters_are_kept_with_their_defaults():
    assert LeakyReLU().params == {"slope": 0.01} and Softmax().params == {"axis": -1}
    assert repr(GELU()) == "GELU(approximate='none')" and repr(ReLU()) == "ReLU()"


def test_errors_name_what_was_given():
    with pytest.raises(ValueError, match="'fast'.*'none'.*'tanh'"):
        tt.gelu(1.0, approximate="fast")
    with pytest.raises(IndexError, match="axis 2 .* 2 axes"):
        tt.softmax(tt.ones((2, 3)), axis=2)
    with pytest.raises(IndexError, match="axis -3 .* 2 axes"):
        tt.log_softmax(tt.ones((2, 3)), axis=-3)
    with pytest.raises(TypeError, match="leak"):
        LeakyReLU(leak=0.1)
    with pytest.raises(tt.DTypeError, match="str"):
        tt.relu("x")
    with pytest.raises(NotImplementedError, match="Activation has no compute"):
        Activation()(1.0)
    for size in (0, -3):
        with pytest.raises(ValueError, match=f"size {size}"):
            blockwise(np.exp, np.ones(3), size)


@given(hnp.arrays("float32", hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(-9, 9, width=32)), st.integers(1, 40))
def test_blocks_of_any_size_give_the_same(x, size):
    seen = []

    def compute(block):
        seen.append(block.size)
        return block * 2

    np.testing.assert_array_equal(blockwise(compute, x.T, size), x.T * 2)
    assert sum(seen) == x.size and max(seen) <= size


@every
def test_the_operand_is_left_alone(f, rng):
    a = rng.normal(size=(40, 30))
    x = Tensor(a)
    f(x), f(x.T)
    np.testing.assert_array_equal(x.numpy(), a)
    assert x.storage.version == 0


@pytest.mark.parametrize("f", [tt.gelu, tt.sigmoid, tt.silu, tt.leaky_relu])
def test_beside_the_result_an_activation_holds_some_blocks(f):
    x = tt.ones((1000, 1000))
    Storage.peak_bytes = before = Storage.live_bytes
    tracemalloc.start()
    try:
        f(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert Storage.peak_bytes - before == 4_000_000
    assert peak < 4_000_000 + 16 * 4 * BLOCK
