"""Correlation with filters, and its gradients, of any size, stride, padding, dilation and number of groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import EPS, array, differences, inner, seeds, unwritten
from tinytorch._ext import _reference
from tinytorch._ext._reference.conv import correlate, target_sides
from tinytorch.backend import kernel

# Around the width of a vector (4, 8, 16), its multiples, and odd sides: each takes another layout of the copies.
SIDES = st.sampled_from([16, 32, 8, 7, 5, 3, 1, 40, 17, 24])


@st.composite
def cases(draw):
    """x (N, C, H, W), weight, and the arguments of a convolution that fit them."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    C, O = (groups * draw(st.sampled_from([1, 2, 3, 5, 9])) for _ in "CO")  # noqa: E741
    kernel_sides = draw(st.sampled_from([(3, 3), (1, 1), (2, 3), (5, 1), (4, 4), (1, 7)]))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2), (3, 1), (5, 3)]))
    padding = draw(st.sampled_from([(0, 0), (1, 1), (2, 0), (0, 3)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]))
    room = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, kernel_sides, padding, strict=True)]
    H, W = (max(draw(SIDES), n, 1) for n in room)
    N, seed = draw(st.sampled_from([0, 1, 2, 5])), draw(seeds)
    x, weight = array(seed, (N, C, H, W)), array(seed + 1, (O, C // groups, *kernel_sides))
    return x, weight, dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


def grad_of(x, weight, how, seed=2):
    sides = target_sides(x.shape[2:], weight.shape[2:], how["stride"], how["padding"], how["dilation"])
    return array(seed, (len(x), len(weight), *sides))


def wide(x, weight, how):
    return correlate(x.astype(np.float64), weight.astype(np.float64), **how)


@given(case=cases(), bias=st.booleans())
def test_conv2d_is_the_sum_over_windows(form, case, bias):
    x, weight, how = case
    b = array(3, len(weight)) if bias else None
    out = unwritten(grad_of(*case).shape)
    kernel("conv2d")(x, weight, out, b, **how)
    added = b[:, None, None] if bias else 0
    slack = (weight[0].size + 2) * EPS * (wide(np.abs(x), np.abs(weight), how) + np.abs(added))
    assert (np.abs(out - (wide(x, weight, how) + added)) <= slack).all()


def test_conv2d_is_what_its_definition_says(form):
    how = dict(stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
    x, weight, bias = array(0, (2, 4, 6, 7)), array(1, (6, 2, 3, 2)), array(2, 6)
    out = unwritten(grad_of(x, weight, how).shape)
    kernel("conv2d")(x, weight, out, bias, **how)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (2, 2)))
    for n, o, i, j in np.ndindex(out.shape):
        window = padded[n, o // 3 * 2:o // 3 * 2 + 2, 2 * i:2 * i + 3, j:j + 3:2]
        assert out[n, o, i, j] == pytest.approx((window * weight[o]).sum() + bias[o], abs=1e-5)


@given(case=cases())
def test_the_input_gradient_is_the_transpose_of_conv2d(form, case):
    x, weight, how = case
    grad, dx = grad_of(*case), unwritten(x.shape)
    kernel("conv2d_input_grad")(grad, weight, dx, **how)
    slack = weight[:, 0].size * EPS * inner(wide(np.abs(x), np.abs(weight), how), np.abs(grad))
    assert abs(inner(wide(x, weight, how), grad) - inner(x, dx)) <= slack
    # Against the twin too, number by number: an inner product forgives what two wrong places cancel.
    wanted, scale = unwritten(x.shape), unwritten(x.shape)
    _reference.conv2d_input_grad(grad, weight, wanted, **how)
    _reference.conv2d_input_grad(np.abs(grad), np.abs(weight), scale, **how)
    assert (np.abs(dx - wanted) <= 2 * weight[:, 0].size * EPS * scale).all()


@given(case=cases())
def test_the_weight_gradient_is_the_transpose_of_conv2d(form, case):
    x, weight, how = case
    grad, dweight, dbias = grad_of(*case), unwritten(weight.shape), unwritten(len(weight))
    kernel("conv2d_weight_grad")(x, grad, dweight, dbias, **how)
    terms = max(grad[:, 0].size, 1)
    slack = terms * EPS * inner(wide(np.abs(x), np.abs(weight), how), np.abs(grad))
    assert abs(inner(wide(x, weight, how), grad) - inner(weight, dweight)) <= slack
    wanted, scale = unwritten(weight.shape), unwritten(weight.shape)
    _reference.conv2d_weight_grad(x, grad, wanted, **how)
    _reference.conv2d_weight_grad(np.abs(x), np.abs(grad), scale, **how)
    assert (np.abs(dweight - wanted) <= 2 * terms * EPS * scale).all()
    totals = grad.astype(np.float64).sum(axis=(0, 2, 3))
    assert (np.abs(dbias - totals) <= terms * EPS * np.abs(grad).sum(axis=(0, 2, 3))).all()


def test_gradients_are_the_slopes_of_the_forward_pass(form):
    how = dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
    x, weight = array(0, (2, 4, 7, 8)), array(1, (6, 2, 3, 2))
    grad, dx, dweight = grad_of(x, weight, how), unwritten(x.shape), unwritten(weight.shape)
    kernel("conv2d_input_grad")(grad, weight, dx, **how)
    kernel("conv2d_weight_grad")(x, grad, dweight, **how)
    towards, turn = array(3, x.shape), array(4, weight.shape)
    assert inner(dx, towards) == pytest.approx(inner(differences(lambda x: correlate(x, weight, **how), x, towards), grad), rel=1e-4)
    assert inner(dweight, turn) == pytest.approx(inner(differences(lambda w: correlate(x, w, **how), weight, turn), grad), rel=1e-4)


@pytest.mark.parametrize("shape, filters", [((1, 70, 50, 48), 40), ((3, 130, 20, 20), 12), ((2, 3, 130, 130), 8), ((40, 5, 6, 6), 9)],
                         ids=["windows", "channels", "large", "images"])
def test_images_and_channels_that_are_cut_into_blocks(form, shape, filters):
    x, weight, how = array(0, shape), array(1, (filters, shape[1], 3, 3)), dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    grad, runs = grad_of(x, weight, how), []
    for threads in (1, 2, 3):
        out, dx, dweight, dbias = unwritten(grad.shape), unwritten(x.shape), unwritten(weight.shape), unwritten(filters)
        kernel("conv2d")(x, weight, out, threads=threads, **how)
        kernel("conv2d_input_grad")(grad, weight, dx, threads=threads, **how)
        kernel("conv2d_weight_grad")(x, grad, dweight, dbias, threads=threads, **how)
        runs.append((out, dx, dweight, dbias))
    np.testing.assert_allclose(runs[0][0], correlate(x, weight, **how), atol=1e-3)
    for one, other in zip(runs[0] * 2, runs[1] + runs[2], strict=True):
        np.testing.assert_array_equal(one, other)      # the number of threads changes no bit
    assert inner(runs[0][0], grad) == pytest.approx(inner(x, runs[0][1]), rel=1e-3) == inner(weight, runs[0][2])


@pytest.mark.parametrize("how", [dict(), dict(padding=(1, 1)), dict(dilation=(2, 3)), dict(groups=2), dict(stride=(1, 2))])
def test_the_input_gradient_of_few_large_windows(form, how):
    how = dict(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1) | how
    sides = ((n + 2 * p - 2) // d for n, p, d in zip((13, 12), how["padding"], how["dilation"], strict=True))
    x, weight = array(0, (2, 4, 13, 12)), array(1, (6, 4 // how["groups"], *sides))
    grad, dx, wanted = grad_of(x, weight, how), unwritten(x.shape), unwritten(x.shape)
    kernel("conv2d_input_grad")(grad, weight, dx, **how)
    _reference.conv2d_input_grad(grad, weight, wanted, **how)
    np.testing.assert_allclose(dx, wanted, atol=1e-4)


@pytest.mark.parametrize("side", [16, 7])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_stays_in_the_windows_that_saw_it(form, side, bad):
    how = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    x, weight = array(0, (2, 3, side, side)), array(1, (4, 3, 3, 3))
    grad = grad_of(x, weight, how)
    x[0, 1, side - 1, side - 1] = grad[1, 2, 0, side - 1] = bad
    out, dx, dweight, dbias = unwritten(grad.shape), unwritten(x.shape), unwritten(weight.shape), unwritten(4)
    with np.errstate(invalid="ignore"):
        kernel("conv2d")(x, weight, out, **how)
        kernel("conv2d_input_grad")(grad, weight, dx, **how)
        kernel("conv2d_weight_grad")(x, grad, dweight, dbias, **how)
    seen = np.zeros(out.shape, bool)
    seen[0, :, side - 2:, side - 2:] = True
    assert (np.isfinite(out) == ~seen).all()
    seen = np.zeros(x.shape, bool)
    seen[1, :, :2, side - 2:] = True
    assert (np.isfinite(dx) == ~seen).all()
    assert (np.isfinite(dbias) == [True, True, False, True]).all()
    seen = np.zeros(weight.shape, bool)
    seen[:, 1, 1:, 1:] = seen[2] = True        # x met grad below and right of it; grad met the border, and 0 * inf is NaN
    assert (np.isfinite(dweight) == ~seen).all()


FAULTS = {
    "channels": (dict(weight=array(0, (4, 2, 3, 3))), r"weight must be \(O, C / groups, KH, KW\), .* got \(4, 2, 3, 3\), C 3"),
    "groups": (dict(groups=2), "weight must be .* groups 2"),
    "filter": (dict(weight=array(0, (4, 3, 9, 3))), "a filter of 9 x 3.* is larger than an image of 6 x 6"),
    "out": (dict(out=unwritten((2, 4, 4, 5))), r"out must be .*shape \(2, 4, 4, 4\); got"),
    "dtype": (dict(x=np.ones((2, 3, 6, 6))), "x must be C-contiguous, float32"),
    "strides": (dict(x=array(0, (6, 6, 3, 2)).T), "x must be C-contiguous"),
    "stride": (dict(stride=(0, 1)), "stride is a pair of numbers from 1 up"),
    "padding": (dict(padding=(-1, 1)), "padding is a pair of numbers from 0 up"),
    "bias": (dict(bias=array(0, 3)), r"bias must be .*shape \(4,\)"),
    "read-only": (dict(out=np.broadcast_to(np.float32(0), (2, 4, 4, 4))), "out must be writable"),
    "itself": (None, "an output shares memory with another array"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_conv2d_refuses_arrays_that_do_not_fit(form, fault):
    changes, message = FAULTS[fault]
    good = dict(x=array(0, (2, 3, 6, 6)), weight=array(1, (4, 3, 3, 3)), out=unwritten((2, 4, 4, 4)))
    if changes is None:
        x = array(0, (2, 3, 3, 3))
        changes = dict(x=x, out=x, weight=array(0, (3, 3, 1, 1)))
    with pytest.raises(ValueError, match=f"^conv2d: {message}[^\n]*$"):
        kernel("conv2d")(**(good | changes))
    assert np.isnan(good["out"]).all()


def test_gradients_refuse_arrays_that_do_not_fit(form):
    x, weight, grad = array(0, (2, 3, 6, 6)), array(1, (4, 3, 3, 3)), array(2, (2, 4, 4, 4))
    with pytest.raises(ValueError, match=r"^conv2d_input_grad: grad must be .*shape \(2, 4, 4, 4\); got"):
        kernel("conv2d_input_grad")(grad[:1], weight, x)
    with pytest.raises(ValueError, match="^conv2d_weight_grad: dbias must be writable"):
        kernel("conv2d_weight_grad")(x, grad, weight, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="^conv2d_weight_grad: dweight must be .* no length 0"):
        kernel("conv2d_weight_grad")(x, grad, weight[:0])


def test_a_filter_as_large_as_the_image(form):
    x, weight = array(0, (1, 1, 150, 160)), array(1, (1, 1, 150, 160))
    grad, out, dx, dweight = np.ones((1, 1, 1, 1), np.float32), unwritten((1, 1, 1, 1)), unwritten(x.shape), unwritten(x.shape)
    kernel("conv2d")(x, weight, out)
    assert out.item() == pytest.approx(inner(x, weight), abs=0.01)
    kernel("conv2d_input_grad")(grad, weight, dx)
    kernel("conv2d_weight_grad")(x, grad, dweight)
    np.testing.assert_array_equal(dx, weight)
    np.testing.assert_array_equal(dweight, x)
