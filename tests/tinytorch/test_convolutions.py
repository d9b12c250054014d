"""Convolutions, pooling, batch normalisation: closed forms, properties, errors, and the kernels that stand in for layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import ShapeError, Tensor
from tinytorch.autograd import gradcheck, no_grad
from tinytorch.backend import backend as use_backend
from tinytorch.convolutions import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Correlate,
    Flatten,
    MaxPool2d,
    Normalise,
    ResidualBlock,
    conv_cost,
    correlate,
    input_grad,
    max_pool,
    output_size,
    receptive_field,
    weight_grad,
    windows,
)


@st.composite
def layers(draw):
    """Images, filters and options that fit each other."""
    groups, inner, outer = (draw(st.integers(1, 3)) for _ in range(3))
    pairs = {name: (draw(st.integers(low, 3)), draw(st.integers(low, 3))) for name, low in (("stride", 1), ("padding", 0), ("dilation", 1))}
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    least = [max(d * (k - 1) + 1 - 2 * p, 1) for k, p, d in zip(kernel, pairs["padding"], pairs["dilation"], strict=True)]
    sides = [n + draw(st.integers(0, 5)) for n in least]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-9, 10, (draw(st.integers(1, 2)), groups * inner, *sides)).astype("float64")
    weight = rng.integers(-9, 10, (groups * outer, inner, *kernel)).astype("float64")
    return x, weight, {**pairs, "groups": groups}


def one_by_one(x, weight, stride, padding, dilation, groups):
    """The sum of products, written out with indices of the padded images."""
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    sides = [output_size(*sizes) for sizes in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)]
    y = np.zeros((len(x), len(weight), *sides))
    inner, outer = weight.shape[1], len(weight) // groups
    for n, o, i, j in np.ndindex(y.shape):
        first = o // outer * inner
        for c, u, v in np.ndindex(weight.shape[1:]):
            y[n, o, i, j] += padded[n, first + c, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]] * weight[o, c, u, v]
    return y


@given(layers())
def test_a_correlation_is_the_sum_of_its_products(case):
    x, weight, options = case
    np.testing.assert_array_equal(correlate(x, weight, **options), one_by_one(x, weight, **options))


@given(layers(), st.integers(0, 99))
def test_gradients_are_the_adjoint_of_the_correlation(case, seed):
    """<g, x * w> is linear in x and in w, so each gradient is what turns it into a product with x or w alone."""
    x, weight, options = case
    y = correlate(x, weight, **options)
    grad = np.random.default_rng(seed).integers(-9, 10, y.shape).astype("float64")
    whole = float((grad * y).sum())
    assert float((input_grad(grad, weight, x.shape, **options) * x).sum()) == whole
    kernel = weight.shape[2:]
    assert float((weight_grad(x, grad, kernel, **options) * weight).sum()) == whole


def test_windows_of_an_unpadded_image_copy_nothing():
    x = np.arange(600.0).reshape(2, 3, 10, 10)
    assert np.shares_memory(windows(x, (3, 3), (2, 2), dilation=(2, 1)), x)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 3), st.integers(1, 4))
def test_output_size_counts_the_places(length, kernel, stride, padding, dilation):
    reach = dilation * (kernel - 1) + 1
    places = len(range(0, length + 2 * padding - reach + 1, stride))
    if places:
        assert output_size(length, kernel, stride, padding, dilation) == places
    else:
        with pytest.raises(ShapeError, match=rf"reaches over {reach} does not fit a length of {length} with {padding}"):
            output_size(length, kernel, stride, padding, dilation)


@pytest.mark.parametrize("function, shapes", [
    (lambda *t: Correlate.apply(*t, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), [(2, 4, 5, 6), (4, 2, 2, 3), (4,)]),
    (MaxPool2d(2, 1, 1), [(2, 2, 4, 3)]),
    (AvgPool2d((2, 3), 2, 1), [(2, 2, 5, 4)]),
    (BatchNorm2d(2, dtype="float64"), [(3, 2, 2, 2)]),
    (BatchNorm2d(2, dtype="float64").eval(), [(3, 2, 2, 2)]),
    (ResidualBlock(2, 3, 2, np.random.default_rng(0), "float64"), [(2, 2, 5, 4)]),
    (Flatten(), [(2, 2, 3, 1)]),
])
def test_gradients_against_central_differences(rng, function, shapes):
    gradcheck(function, *(Tensor(rng.normal(size=shape), requires_grad=True) for shape in shapes))


def test_parameters_of_a_normalisation_have_right_gradients(rng):
    x, statistics = rng.normal(size=(3, 2, 2, 2)), {"eps": 1e-5, "training": True}
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    weight, bias = (Tensor(rng.normal(size=2), requires_grad=True) for _ in range(2))
    gradcheck(lambda w, b: Normalise.apply(Tensor(x), w, b, mean=mean, var=var, **statistics), weight, bias)
    gradcheck(lambda b: Normalise.apply(Tensor(x), Tensor([1.0, 2.0], "float64"), b, mean=mean, var=var, **statistics), bias)


def test_pooling_never_takes_from_the_padding():
    x = np.full((1, 1, 3, 3), -np.inf)
    values, places = max_pool(x, (2, 2), (1, 1), (1, 1))
    assert (values == -np.inf).all() and places.min() >= 0 and places.max() < 9
    assert places[0, 0, 0, 0] == 0 and places[0, 0, 3, 3] == 8


def test_evaluation_leaves_the_buffers_alone_and_sees_one_image(rng):
    layer = BatchNorm2d(3)
    x = Tensor(rng.normal(2, 3, (8, 3, 4, 4)), "float32")
    for _ in range(100):
        layer(x)
    np.testing.assert_allclose(layer.running_mean.numpy(), x.numpy().mean(axis=(0, 2, 3)), rtol=1e-3)
    np.testing.assert_allclose(layer.running_var.numpy(), x.numpy().var(axis=(0, 2, 3), ddof=1), rtol=1e-3)
    before = layer.state_dict()
    one = layer.eval()(x[:1])
    np.testing.assert_allclose(one.numpy(), layer(x)[:1].numpy(), rtol=1e-6, atol=1e-6)
    assert all((before[name].numpy() == t.numpy()).all() for name, t in layer.state_dict().items())


def test_counts():
    assert conv_cost((1, 3, 224, 224), 64, (7, 7), (2, 2), (3, 3)) == (9408 + 64, 2 * 9408 * 112 * 112)
    assert receptive_field([(7, 2, 1), (3, 2, 1)] + [(3, 1, 1)] * 4) == 7 + 2 * 2 + 4 * 2 * 4  # ResNet's first stage
    assert receptive_field([]) == 1


@pytest.mark.parametrize("make, error, message", [
    (lambda: Conv2d(4, 6, 3, groups=4), ValueError, "groups divides in_channels and out_channels, all from 1 up; got 4 groups for 4 and 6"),
    (lambda: Conv2d(0, 6, 3), ValueError, "got 1 groups for 0 and 6 channels"),
    (lambda: Conv2d(4, 6, 0), ValueError, "kernel is a whole number from 1 up or a pair of them, got 0"),
    (lambda: Conv2d(4, 6, 3, stride=(1, 2, 3)), ValueError, r"stride is a whole number from 1 up or a pair of them, got \(1, 2, 3\)"),
    (lambda: Conv2d(4, 6, 3, padding=-1), ValueError, "padding is a whole number from 0 up or a pair of them, got -1"),
    (lambda: Conv2d(4, 6, 2.5), TypeError, "kernel is a whole number or a pair of them, got 2.5"),
    (lambda: MaxPool2d(2, padding=2), ValueError, r"padding is at most half of the kernel \(2, 2\), got \(2, 2\)"),
])
def test_options_are_refused_when_a_layer_is_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("backend", ["reference", "cython"])
@pytest.mark.parametrize("layer, shape, message", [
    (Conv2d(3, 4, 3), (2, 4, 5, 5), r"Conv2d takes images \(N, 3, H, W\), got shape \(2, 4, 5, 5\)"),
    (Conv2d(4, 4, 3, groups=2), (4, 5, 5), r"Conv2d takes images \(N, 4, H, W\), got shape \(4, 5, 5\)"),
    (Conv2d(3, 4, 3, dilation=4), (2, 3, 20, 8), "reaches over 9 does not fit a length of 8 with 0 of padding"),
    (MaxPool2d(3), (2, 3, 2, 9), "reaches over 3 does not fit a length of 2 with 0 of padding"),
    (AvgPool2d(3), (2, 3), r"AvgPool2d takes images \(N, C, H, W\), got shape \(2, 3\)"),
    (BatchNorm2d(3), (2, 4, 5, 5), r"BatchNorm2d takes images \(N, 3, H, W\), got shape \(2, 4, 5, 5\)"),
    (BatchNorm2d(3), (1, 3, 1, 1), r"a variance wants two numbers or more a channel, got x of shape \(1, 3, 1, 1\)"),
])
def test_images_that_do_not_fit_are_refused(backend, layer, shape, message):
    with use_backend(backend), pytest.raises(ValueError, match=message):
        layer(Tensor(np.ones(shape, "float32")))


@pytest.mark.parametrize("layer", [
    Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2), MaxPool2d(3, 2, 1), AvgPool2d((2, 3), 1), BatchNorm2d(4), BatchNorm2d(4).eval(),
])
def test_kernels_agree_with_numpy(rng, layer):
    images = rng.normal(size=(2, 4, 9, 8)).astype("float32")
    state, found = layer.state_dict(), []
    for backend in ("reference", "cython"):
        layer.load_state_dict(state)
        layer.zero_grad()
        x = Tensor(images, requires_grad=True)
        with use_backend(backend):
            y = layer(x)
            y.backward(Tensor(np.cos(np.arange(y.numel(), dtype="float32")).reshape(y.shape)))
        found.append([y, x.grad, *(p.grad for p in layer.parameters()), *(Tensor(b) for b in layer.buffers())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("layer, operation", [
    (Conv2d(4, 6, 3), "Conv2d"), (MaxPool2d(2), "MaxPool2d"), (AvgPool2d(2), "AvgPool2d"), (BatchNorm2d(4), "BatchNorm2d")])
def test_layers_are_one_operation_on_kernels(layer, operation):
    x = Tensor(np.ones((2, 4, 6, 6), "float32"), requires_grad=True)
    with use_backend("cython"):
        assert layer(x).grad_fn.name == operation
        own = type("Own", (type(layer),), {"forward": lambda self, x: x * 2})
        student = object.__new__(own)
        student.__dict__.update(layer.__dict__)
        assert student(x).grad_fn.name == "Mul"  # a student's forward runs as it is written


def test_a_network_of_them_learns(rng):
    """Where in the image a bright square stands, above or below: a convolution, a normalisation and a pooling are enough."""
    from tinytorch import SGD, Linear, Sequential, cross_entropy, relu

    labels = rng.integers(0, 2, 64)
    images = rng.normal(0, 0.3, (64, 1, 8, 8)).astype("float32")
    for image, label, row, column in zip(images, labels, rng.integers(0, 2, 64), rng.integers(0, 5, 64), strict=True):
        image[0, row + 4 * label:row + 4 * label + 3, column:column + 3] += 2
    model = Sequential(Conv2d(1, 4, 3, padding=1, rng=rng), BatchNorm2d(4), relu, MaxPool2d(2), Flatten(), Linear(64, 2, rng=rng))
    optimizer, losses = SGD(list(model.parameters()), lr=0.1), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = cross_entropy(model(Tensor(images)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with no_grad():
        right = (model.eval()(Tensor(images)).numpy().argmax(1) == labels).mean()
    assert losses[-1] < losses[0] / 5 and right > 0.95
