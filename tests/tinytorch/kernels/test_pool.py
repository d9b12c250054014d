"""The largest number and the mean of windows, and their gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tinytorch.kernels.strategies import EPS, array, differences, extremes, inner, seeds, unwritten
from tinytorch._ext._reference.conv import target_sides
from tinytorch._ext._reference.pool import means
from tinytorch.backend import kernel


@st.composite
def cases(draw):
    """x (N, C, H, W), and kernel, stride and padding that fit it."""
    window = draw(st.sampled_from([(2, 2), (2, 2), (3, 3), (1, 1), (3, 2), (5, 5), (2, 7)]))
    stride = draw(st.sampled_from([window, (2, 2), (1, 1), (3, 1)]))
    padding = draw(st.sampled_from([(0, 0), (0, 0), tuple(k // 2 for k in window)]))
    H, W = (max(draw(st.sampled_from([1, 2, 5, 8, 16, 17, 32, 33])), k - 2 * p) for k, p in zip(window, padding, strict=True))
    x = array(draw(seeds), (draw(st.integers(0, 3)), draw(st.integers(0, 3)), H, W))
    if draw(st.booleans()):
        window, stride, padding = (H, W), (1, 1), (0, 0)        # all of the image
    return np.round(2 * x), dict(kernel=window, stride=stride, padding=padding)     # rounded, so that some are equal


def target(x, how):
    return (*x.shape[:2], *target_sides(x.shape[2:], how["kernel"], how["stride"], how["padding"]))


def pooled(x, how):
    out, index = unwritten(target(x, how)), unwritten(target(x, how), np.int32)
    kernel("max_pool2d")(x, out, index, **how)
    return out, index


def window_of(x, how, n, c, i, j):
    """Numbers of one window that lie in the image, with their places, in order."""
    (KH, KW), (sh, sw), (ph, pw), (H, W) = *how.values(), x.shape[2:]
    places = [(y, z) for y in range(i * sh - ph, i * sh - ph + KH) for z in range(j * sw - pw, j * sw - pw + KW)
              if 0 <= y < H and 0 <= z < W]
    return [x[n, c, y, z] for y, z in places], [y * W + z for y, z in places]


@given(case=cases())
def test_max_pool_takes_the_first_of_the_largest(form, case):
    x, how = case
    out, index = pooled(x, how)
    for at in list(np.ndindex(out.shape))[::7]:
        values, places = window_of(x, how, *at)
        assert out[at] == max(values) and index[at] == places[int(np.argmax(values))]


@pytest.mark.parametrize("window", [(2, 2), (3, 2)])
@given(seed=seeds)
def test_max_pool_of_extremes_is_what_numpy_says(form, window, seed):
    x, how = extremes(seed, (1, 2, 9, 21)), dict(kernel=window, stride=window, padding=(0, 0))
    out, index = pooled(x, how)
    for at in np.ndindex(out.shape):
        values, places = window_of(x, how, *at)
        np.testing.assert_array_equal(out[at], np.max(values))
        assert index[at] == places[int(np.argmax(values))]


def test_windows_of_nothing_but_minus_infinity_have_a_place(form):
    x = np.full((1, 1, 4, 6), -np.inf, np.float32)
    for how in (dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0)), dict(kernel=(3, 3), stride=(2, 2), padding=(1, 1))):
        out, index = pooled(x, how)
        assert (out == -np.inf).all()
        for at in np.ndindex(out.shape):
            assert index[at] == window_of(x, how, *at)[1][0]


@given(case=cases())
def test_the_gradient_of_max_pool_goes_where_the_largest_was(form, case):
    x, how = case
    out, index = pooled(x, how)
    grad, dx = array(1, out.shape), unwritten(x.shape)
    kernel("max_pool2d_backward")(grad, index, dx, **how)
    wanted = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(out.shape):
        wanted[n, c].reshape(-1)[index[n, c, i, j]] += grad[n, c, i, j]
    np.testing.assert_allclose(dx, wanted, atol=1e-5)


@given(case=cases())
def test_avg_pool_is_the_mean_of_windows_and_zeros_of_the_padding_count(form, case):
    x, how = case
    out = unwritten(target(x, how))
    kernel("avg_pool2d")(x, out, **how)
    size = how["kernel"][0] * how["kernel"][1]
    for at in list(np.ndindex(out.shape))[::7]:
        values, _ = window_of(x, how, *at)
        assert abs(out[at] - sum(map(float, values)) / size) <= EPS * np.abs(values).sum()


@given(case=cases())
def test_the_gradient_of_avg_pool_is_its_transpose(form, case):
    x, how = case
    grad, dx = array(1, target(x, how)), unwritten(x.shape)
    kernel("avg_pool2d_backward")(grad, dx, **how)
    towards = array(2, x.shape)
    slope = differences(lambda x: means(x, **how), x, towards) if x.size else np.zeros(grad.shape)
    bound = how["kernel"][0] * how["kernel"][1] * EPS * inner(means(np.abs(towards), **how), np.abs(grad)) + 1e-6
    assert abs(inner(dx, towards) - inner(slope, grad)) <= bound


@pytest.mark.parametrize("how", [dict(kernel=(2, 2), stride=(2, 2)), dict(kernel=(3, 3), stride=(2, 2), padding=(1, 1))])
def test_pooling_by_two_threads_gives_the_same_bits(form, how):
    x, runs = array(0, (8, 16, 41, 33)), []
    shape = target(x, how | dict(padding=how.get("padding", (0, 0))))
    grad = array(1, shape)
    for threads in (1, 2):
        out, mean, index = unwritten(shape), unwritten(shape), unwritten(shape, np.int32)
        dx, dmean = unwritten(x.shape), unwritten(x.shape)
        kernel("max_pool2d")(x, out, index, threads=threads, **how)
        kernel("avg_pool2d")(x, mean, threads=threads, **how)
        kernel("max_pool2d_backward")(grad, index, dx, threads=threads, **how)
        kernel("avg_pool2d_backward")(grad, dmean, threads=threads, **how)
        runs.append((out, mean, index, dx, dmean))
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


FAULTS = {
    "window": (dict(kernel=(9, 2)), "a window of 9 x 2 is larger than an image of 6 x 6"),
    "padding": (dict(padding=(2, 0)), r"padding is at most half of kernel \(2, 2\), got \(2, 0\)"),
    "stride": (dict(stride=(2, 0)), "stride is a pair of numbers from 1 up"),
    "out": (dict(out=unwritten((2, 3, 3, 2))), r"out must be .*shape \(2, 3, 3, 3\); got"),
    "index": (dict(index=np.zeros((2, 3, 3, 3))), "index must be .*int32"),
    "dtype": (dict(x=np.zeros((2, 3, 6, 6))), "x must be C-contiguous, float32"),
    "itself": (dict(kernel=(1, 1), stride=(1, 1), out=array(0, (2, 3, 6, 6)), index=np.zeros((2, 3, 6, 6), np.int32)),
               "an output shares memory"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_max_pool_refuses_what_does_not_fit(form, fault):
    changes, message = FAULTS[fault]
    good = dict(x=array(0, (2, 3, 6, 6)), out=unwritten((2, 3, 3, 3)), index=np.zeros((2, 3, 3, 3), np.int32),
                kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    call = good | changes
    if fault == "itself":
        call["x"] = call["out"]
    with pytest.raises(ValueError, match=f"^max_pool2d: {message}[^\n]*$"):
        kernel("max_pool2d")(**call)


@pytest.mark.parametrize("place", [-1, 36])
def test_the_gradient_refuses_places_outside_the_plane(form, place):
    index, dx = np.zeros((2, 3, 3, 3), np.int32), unwritten((2, 3, 6, 6))
    index[1, 2, 2, 2] = place
    with pytest.raises(ValueError, match=f"^max_pool2d_backward: index must count from 0 to 35, got .*{place}"):
        kernel("max_pool2d_backward")(array(0, index.shape), index, dx, (2, 2), (2, 2))
    assert np.isnan(dx).all()
