"""Operations on elements and rows: against float64, forward and backward."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import array, differences, extremes, inner, seeds, shapes, unwritten
from tinytorch.backend import kernel
from tinytorch.losses import CrossEntropyLoss
from tinytorch.tensor import Tensor

few = settings(max_examples=25)


def normal_cdf(x):
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))


def logistic(x):
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


FORMULAS = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * normal_cdf(x),
    "gelu_tanh": lambda x: x * logistic(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
    "silu": lambda x: x * logistic(x),
}


@few
@given(shape=shapes(axes=(1, 3)), seed=seeds, biased=st.booleans(), name=st.sampled_from(list(FORMULAS)))
def test_an_activation_is_its_formula(form, shape, seed, biased, name):
    x, bias = array(seed, shape, scale=4), array(seed + 1, shape[-1:]) if biased else None
    out, wide = unwritten(shape), (x + bias if biased else x).astype(np.float64)
    kernel("activate")(x, out, name, bias)
    # The left tail keeps its digits, but for those that rounding x² / 2, up to 80 there, costs its exponential.
    np.testing.assert_allclose(out, FORMULAS[name](wide), rtol=3e-5, atol=1e-37)
    again = x.copy()
    kernel("activate")(again, again, name, bias, threads=2)
    np.testing.assert_array_equal(again, out)


@few
@given(shape=shapes(axes=(1, 3)), seed=seeds, biased=st.booleans(), name=st.sampled_from(list(FORMULAS)))
def test_the_slope_of_an_activation_is_that_of_its_formula(form, shape, seed, biased, name):
    x, grad, bias = array(seed, shape, scale=2), array(seed + 2, shape), array(seed + 1, shape[-1:]) if biased else None
    x[np.abs(x) < 1e-4] = 1         # no slope of ReLU at 0
    wide, out = (x + bias if biased else x).astype(np.float64), unwritten(shape)
    kernel("activate_backward")(x, grad, out, name, bias)
    near = np.abs(wide) < 1e-4
    slope = differences(FORMULAS[name], wide, np.ones(shape))
    np.testing.assert_allclose(out[~near], (grad * slope)[~near], rtol=1e-5, atol=3e-6)
    kernel("activate_backward")(x, grad, grad, name, bias, threads=2)
    np.testing.assert_array_equal(grad, out)


def test_the_ends_of_activations(form):
    x = np.array([np.nan, np.inf, -np.inf, 1e4, -1e4, 3e38, -3e38, 0, -20], np.float32)
    ends = {
        "relu": [np.nan, np.inf, 0, 1e4, 0, 3e38, 0, 0, 0],
        "gelu": [np.nan, np.inf, np.nan, 1e4, 0, 3e38, 0, 0, 0],
        "gelu_tanh": [np.nan, np.inf, np.nan, 1e4, 0, 3e38, 0, 0, 0],
        "silu": [np.nan, np.inf, np.nan, 1e4, 0, 3e38, 0, 0, -20 / (1 + math.exp(20))],
    }
    for name, wanted in ends.items():
        out = unwritten(x.shape)
        kernel("activate")(x, out, name)
        np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-30, err_msg=name)
    closed = np.array([np.inf, np.nan], np.float32)
    kernel("activate_backward")(np.array([-1, np.nan], np.float32), closed, closed, "relu")
    assert closed[0] == 0 and np.isnan(closed[1])


def softmax64(x):
    with np.errstate(all="ignore"):
        powers = np.exp(x - x.max(-1, keepdims=True, initial=-np.inf))
        return powers / powers.sum(-1, keepdims=True)


@few
@given(shape=shapes(axes=(1, 3)), seed=seeds, logarithm=st.booleans())
def test_softmax_and_its_logarithm(form, shape, seed, logarithm):
    name = "log_softmax" if logarithm else "softmax"
    for x in (array(seed, shape, scale=30), extremes(seed, shape)):
        out, exact = unwritten(shape), softmax64(x.astype(np.float64))
        kernel(name)(x, out)
        if logarithm:
            with np.errstate(all="ignore"):
                wide = x.astype(np.float64) - x.max(-1, keepdims=True, initial=-np.inf).astype(np.float64)
                exact = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
        np.testing.assert_allclose(out, exact, rtol=1e-5, atol=1e-5 if logarithm else 1e-37)     # x - largest is rounded
        kernel(name)(x, x, threads=2)
        np.testing.assert_array_equal(x, out)


@few
@given(shape=shapes(axes=(1, 3)), seed=seeds, logarithm=st.booleans())
def test_softmax_backward_is_the_transpose_of_its_slope(form, shape, seed, logarithm):
    name = "log_softmax" if logarithm else "softmax"
    x, grad, along = array(seed, shape), array(seed + 1, shape), array(seed + 2, shape)
    y, out = unwritten(shape), unwritten(shape)
    kernel(name)(x, y)
    kernel(name + "_backward")(y, grad, out)
    slope = differences(lambda x: np.log(softmax64(x)) if logarithm else softmax64(x), x, along)
    assert math.isclose(inner(out, along), inner(grad, slope), rel_tol=1e-4, abs_tol=1e-3)
    kernel(name + "_backward")(y, grad, grad, threads=2)
    np.testing.assert_array_equal(grad, out)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 40), classes=st.integers(1, 40), seed=seeds, weighted=st.booleans(), ignored=st.sampled_from([0, 0.3, 1]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]), reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_cross_entropy_and_its_gradient_in_one_pass(form, rows, classes, seed, weighted, ignored, smoothing, reduction):
    rng = np.random.default_rng(seed)
    logits, labels = array(seed, (rows, classes), scale=5), rng.integers(0, classes, rows)
    labels[rng.random(rows) < ignored] = -7
    weight = rng.uniform(0.5, 2, classes).astype(np.float32) if weighted else None
    options = {"weight": weight, "ignore_index": -7, "label_smoothing": smoothing}

    def exact(logits, reduction=reduction):     # module 04, in float64
        loss = CrossEntropyLoss(**options, reduction=reduction)
        return loss(Tensor(logits), Tensor(labels)).numpy()

    wide = logits.astype(np.float64)
    losses, grad = unwritten(rows), unwritten(logits.shape)
    reduced = kernel("cross_entropy")(logits, labels, losses, grad, **options, reduction=reduction)
    np.testing.assert_allclose(losses, exact(wide, "none"), rtol=1e-5, atol=1e-5)
    whole = exact(wide, "sum" if reduction == "none" else reduction)
    np.testing.assert_allclose(reduced, whole, rtol=1e-5, atol=1e-5)
    if not np.isnan(whole):
        along = rng.normal(size=logits.shape)
        slope = differences(lambda x: exact(x, "sum" if reduction == "none" else reduction), logits, along)
        assert math.isclose(inner(grad, along), slope, rel_tol=1e-4, abs_tol=1e-4)
    alone = unwritten(rows)
    assert np.isclose(kernel("cross_entropy")(logits, labels, alone, **options, reduction=reduction, threads=2), reduced,
                      rtol=1e-6, atol=1e-6, equal_nan=True)


def test_cross_entropy_of_logits_without_end(form):
    logits = np.array([[1e4, -1e4, 0], [-np.inf, 0, 0], [np.nan, 0, 0], [-1e4, 1e4, 0]], np.float32)
    losses = unwritten(4)
    kernel("cross_entropy")(logits, np.array([0, 0, 1, 0]), losses, reduction="none")
    np.testing.assert_array_equal(losses, [0, np.inf, np.nan, 2e4])


def test_cross_entropy_refuses_a_label_that_is_no_class(form):
    logits, losses, grad = np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros((3, 4), np.float32)
    for label in (4, -1):
        with pytest.raises(ValueError, match=f"label {label} at position 1 is no class: 4 classes are 0 to 3"):
            kernel("cross_entropy")(logits, np.array([0, label, 0]), losses, grad)
    assert not losses.any() and not grad.any()


@few
@given(shape=shapes(axes=(1, 3)), seed=seeds)
def test_the_sum_of_rows(form, shape, seed):
    x, out = array(seed, shape), unwritten(shape[-1:])
    kernel("sum_rows")(x, out)
    axes = tuple(range(len(shape) - 1))
    bound = 40 * 1.2e-7 * np.abs(x).sum(axes) + 1e-30
    assert (np.abs(out - x.sum(axes, dtype=np.float64)) <= bound).all()


@pytest.mark.parametrize("rows", [0, 1, 64, 65, 9000])
def test_sums_over_rows_do_not_depend_on_threads(form, rng, rows):
    x, grad = rng.normal(size=(2, rows, 30)).astype(np.float32)
    weight, rstd, mean = np.ones(30, np.float32), np.ones(rows, np.float32), np.zeros(rows, np.float32)
    results = []
    for threads in (1, 2, 3):
        total, dx, dweight, dbias = unwritten(30), unwritten(x.shape), unwritten(30), unwritten(30)
        kernel("sum_rows")(x, total, threads=threads)
        kernel("layer_norm_backward")(x, weight, mean, rstd, grad, dx, dweight, dbias, threads=threads)
        results.append(b"".join(a.tobytes() for a in (total, dx, dweight, dbias)))
        np.testing.assert_allclose(total, x.sum(0, dtype=float), rtol=1e-4, atol=1e-3)
    assert len(set(results)) == 1


def norm64(x, weight, bias, eps, centred):
    x = x - x.mean(-1, keepdims=True) if centred else x
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight + bias


@few
@given(shape=shapes(axes=(1, 3)), seed=seeds, centred=st.booleans(), affine=st.booleans())
def test_norms_and_their_gradients(form, shape, seed, centred, affine):
    D, rows, eps = shape[-1], int(np.prod(shape[:-1])) if np.prod(shape) else 0, 1e-3
    x, grad = array(seed, shape, scale=3) + 2, array(seed + 1, shape)
    weight, bias = (array(seed + 2, D), array(seed + 3, D)) if affine else (None, None)
    out, mean, rstd = unwritten(shape), unwritten(rows), unwritten(rows)
    dx, dweight, dbias = unwritten(shape), unwritten(D) if affine else None, unwritten(D) if affine else None
    if centred:
        kernel("layer_norm")(x, weight, bias, out, mean, rstd, eps)
        kernel("layer_norm_backward")(x, weight, mean, rstd, grad, dx, dweight, dbias)
    else:
        bias, dbias = None, None
        kernel("rms_norm")(x, weight, out, rstd, eps)
        kernel("rms_norm_backward")(x, weight, rstd, grad, dx, dweight)
    if not rows:
        return
    w, b = 1.0 if weight is None else weight.astype(float), 0.0 if bias is None else bias.astype(float)
    np.testing.assert_allclose(out, norm64(x.astype(float), w, b, eps, centred), rtol=2e-4, atol=2e-4)
    along = array(seed + 4, shape)
    slope = differences(lambda x: norm64(x, w, b, eps, centred), x, along)
    assert math.isclose(inner(dx, along), inner(grad, slope), rel_tol=2e-3, abs_tol=2e-2)
    if affine:
        axes = tuple(range(len(shape) - 1))
        np.testing.assert_allclose(dweight, (grad * norm64(x.astype(float), 1.0, 0.0, eps, centred)).sum(axes), rtol=1e-3, atol=1e-3)
        if centred:
            np.testing.assert_allclose(dbias, grad.sum(axes, dtype=float), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fault", ["shape", "dtype", "strides", "read-only", "shifted"])
@pytest.mark.parametrize("name", ["activate", "softmax", "log_softmax"])
def test_arrays_that_do_not_fit_are_refused(form, name, fault):
    x, out, room = np.ones((4, 6), np.float32), np.zeros((4, 6), np.float32), np.zeros(30, np.float32)
    if fault == "read-only":
        out.flags.writeable = False
    x, out = {
        "shape": (x, out[:3]), "dtype": (x, out.astype(float)), "strides": (x.T, out.T),
        "shifted": (room[:24], room[1:25]), "read-only": (x, out),
    }[fault]
    with pytest.raises(ValueError, match=f"^{name}: [^\n]+$"):
        kernel(name)(x, out, *["relu"] * (name == "activate"))
    assert not out.any()


def test_other_faults_are_named(form):
    x, out, five = np.ones((4, 6), np.float32), np.zeros((4, 6), np.float32), np.zeros(5, np.float32)
    six, four = np.ones(6, np.float32), np.zeros(4, np.float32)
    faults = [
        ("activation is one of identity", "activate", (x, out, "swish")),
        (r"bias must be .*shape \(6,\)", "activate", (x, out, "relu", five)),
        ("shares memory", "activate", (x, out, "relu", out[0])),
        (r"out must be .*shape \(6,\)", "sum_rows", (x, five)),
        (r"labels must be .*int64, shape \(4,\)", "cross_entropy", (x, np.zeros(4, np.int32), four)),
        (r"losses must be .*shape \(4,\)", "cross_entropy", (x, np.zeros(4, np.int64), five)),
        ("shares memory", "cross_entropy", (x, np.zeros(4, np.int64), four, x)),
        ("rstd must have one element for each of 4 rows", "layer_norm", (x, six, six, out, four, five)),
        (r"weight must be .*shape \(6,\)", "rms_norm", (x, five, out, four)),
        ("dweight is given exactly if weight is", "rms_norm_backward", (x, six, four, x, out)),
        ("shares memory", "layer_norm_backward", (x, six, four, four, x, out, out[0], None)),
    ]
    for message, name, arguments in faults:
        with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
            kernel(name)(*arguments)
    assert not out.any()
