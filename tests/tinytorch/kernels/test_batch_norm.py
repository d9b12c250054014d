"""Channels normalised over batch and positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import EPS, array, differences, inner, seeds, unwritten
from tinytorch.backend import kernel

shapes = st.tuples(st.integers(1, 9), st.integers(0, 7)) | st.tuples(*[st.integers(1, 9)] * 2, *[st.integers(1, 21)] * 2)


def definition(x, weight, bias, mean=None, var=None, eps=1e-5):
    """Batch norm in float64; mean and var as given, or of x."""
    axes, along = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=axes) if mean is None else mean
    var = x.var(axis=axes) if var is None else var
    h = (x - mean.reshape(along)) / np.sqrt(var.reshape(along) + eps)
    return h * weight.reshape(along) + bias.reshape(along), mean, var


def parameters(C, seed=5):
    return array(seed, C), array(seed + 1, C), array(seed + 2, C), np.abs(array(seed + 3, C)) + 0.1


@given(shape=shapes, seed=seeds)
def test_training_normalises_by_the_channel_itself(form, shape, seed):
    x, (weight, bias, *_) = array(seed, shape), parameters(shape[1])
    out, mean, var = unwritten(shape), unwritten(shape[1]), unwritten(shape[1])
    kernel("batch_norm")(x, weight, bias, out, mean, var)
    wanted, mean64, var64 = definition(x, weight, bias)
    np.testing.assert_allclose(mean, mean64, atol=1e-6)
    np.testing.assert_allclose(var, var64, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out, wanted, rtol=1e-3, atol=1e-3)       # a channel of nearly equal numbers has var << eps


@given(shape=shapes, seed=seeds)
def test_evaluation_takes_mean_and_variance_as_they_are(form, shape, seed):
    x, (weight, bias, mean, var) = array(seed, shape), parameters(shape[1])
    kept, out = (mean.copy(), var.copy()), unwritten(shape)
    kernel("batch_norm")(x, weight, bias, out, mean, var, 1e-3, False)
    np.testing.assert_allclose(out, definition(x, weight, bias, mean, var, 1e-3)[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal((mean, var), kept)


@pytest.mark.parametrize("training", [True, False])
@given(shape=shapes.filter(lambda shape: np.prod(shape) / max(shape[1], 1) >= 3), seed=seeds)
def test_gradients_are_the_slopes_of_the_definition(form, training, shape, seed):
    x, (weight, bias, mean, var) = array(seed, shape), parameters(shape[1])
    if training:
        _, mean, var = (np.asarray(part, np.float32) for part in definition(x, weight, bias))
    grad, given = array(seed + 1, shape), (None, None) if training else (mean.astype(np.float64), var.astype(np.float64))
    dx, dweight, dbias = unwritten(shape), unwritten(shape[1]), unwritten(shape[1])
    kernel("batch_norm_backward")(x, grad, weight, mean, var, dx, dweight, dbias, 1e-2, training)
    for which, result in enumerate((dx, dweight, dbias)):
        towards = array(seed + 2, result.shape)

        def along(value, which=which):
            operands = [x, weight, bias]
            operands[which] = value
            return definition(*operands, *given, 1e-2)[0]

        slope = differences(along, (x, weight, bias)[which], towards)
        size = np.abs(slope * grad).sum() + np.abs(result * towards).sum() + 1
        assert abs(inner(result, towards) - inner(slope, grad)) <= 2e-3 * size


def test_a_large_mean_does_not_drown_the_variance(form):
    x = array(0, (64, 3, 40)) + np.float32(1000)
    out, mean, var = unwritten(x.shape), unwritten(3), unwritten(3)
    kernel("batch_norm")(x, np.ones(3, np.float32), np.zeros(3, np.float32), out, mean, var)
    np.testing.assert_allclose(var, x.astype(np.float64).var(axis=(0, 2)), rtol=1000 * EPS)


def test_nan_stays_in_its_channel_and_two_threads_give_the_same_bits(form):
    x, (weight, bias, *_), runs = array(0, (40, 8, 33)), parameters(8), []
    x[3, 2, 7] = np.nan
    for threads in (1, 2):
        out, mean, var = unwritten(x.shape), unwritten(8), unwritten(8)
        kernel("batch_norm")(x, weight, bias, out, mean, var, threads=threads)
        dx, dweight, dbias = unwritten(x.shape), unwritten(8), unwritten(8)
        kernel("batch_norm_backward")(x, array(1, x.shape), weight, mean, var, dx, dweight, dbias, threads=threads)
        runs.append((out, mean, var, dx, dweight, dbias))
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
    out, mean, var, dx, dweight, dbias = runs[0]
    channels = np.arange(8) == 2
    for one in (out, dx):
        assert (np.isnan(one).any(axis=(0, 2)) == channels).all() and np.isnan(one[:, 2]).all()
    assert (np.isnan(dweight) == channels).all() and np.isfinite(dbias).all()


def test_batch_norm_refuses_arrays_that_do_not_fit(form):
    x, (weight, bias, mean, var) = array(0, (4, 3, 5)), parameters(3)
    good = dict(x=x, weight=weight, bias=bias, out=unwritten(x.shape), mean=mean, var=var)
    for changes, message in (
        (dict(weight=bias[:2]), r"weight must be .*shape \(3,\); got float32, shape \(2,\)"),
        (dict(out=unwritten((4, 3, 6))), r"out must be .*shape \(4, 3, 5\)"),
        (dict(x=x.astype(np.float64)), "x must be C-contiguous, float32"),
        (dict(x=x[0, 0], out=unwritten(5)), r"x must be .*shape \(any, any\)"),
        (dict(x=x[:0], out=unwritten((0, 3, 5))), "a mean wants at least one number a channel"),
        (dict(out=x), "an output shares memory"),
        (dict(var=mean), "an output shares memory"),
    ):
        with pytest.raises(ValueError, match=f"^batch_norm: {message}[^\n]*$"):
            kernel("batch_norm")(**(good | changes))
    assert np.isnan(good["out"]).all()
