"""Operations in one piece: their Functions, where the tests of their kernels do not cover them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch.autograd  # noqa: F401 -- gives tensors their backward
from tests.tinytorch.kernels.strategies import array, differences, inner, seeds
from tinytorch.activations import gelu, relu, silu
from tinytorch.fused import ACTIVATIONS, AvgPool2d, BatchNorm2d, Conv2d, LayerNorm, Linear, MaxPool2d, RMSNorm
from tinytorch.tensor import DTypeError, ShapeError, Tensor


def plain(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


@given(leading=st.lists(st.integers(0, 5), max_size=2), width=st.integers(2, 40), seed=seeds)
@settings(max_examples=30)
def test_layer_norm_and_its_gradients(backend, leading, width, seed):
    operands = [array(seed, (*leading, width)), array(seed + 1, (width,)), array(seed + 2, (width,))]
    tensors = [Tensor(x, requires_grad=True) for x in operands]
    y = LayerNorm.apply(*tensors)
    exact = [x.astype(np.float64) for x in operands]
    np.testing.assert_allclose(y.numpy(), plain(*exact), rtol=1e-4, atol=1e-4)
    grad = array(seed + 3, y.shape)
    y.backward(grad)
    for k, tensor in enumerate(tensors):
        towards = array(seed + 4 + k, tensor.shape)
        slope = inner(grad, differences(lambda v, k=k: plain(*exact[:k], v, *exact[k + 1:]), exact[k], towards))
        noise = 1e-5 * np.sqrt(y.numel()) * (1 + float(np.abs(tensor.grad.numpy()).max(initial=0)))
        assert inner(tensor.grad.numpy(), towards) == pytest.approx(slope, rel=1e-3, abs=noise + 1e-4)


def test_layer_norm_of_what_does_not_fit(backend):
    x, weight = array(1, (3, 4)), array(2, (4,))
    for shape in ((3,), (1,), (3, 4)):
        with pytest.raises(ShapeError, match=r"x of shape \(3, 4\) wants weight and bias of its last axis, got"):
            LayerNorm.apply(Tensor(x), Tensor(array(3, shape)), Tensor(weight))
    with pytest.raises(DTypeError, match="float32 or float16, got float64"):
        LayerNorm.apply(*(Tensor(v.astype(np.float64)) for v in (x, weight, weight)))
    half = LayerNorm.apply(*(Tensor(v.astype(np.float16)) for v in (x, weight, weight)))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.numpy(), plain(x, weight, weight), atol=0.02)


def test_layer_norm_whose_weights_stand_still(backend):
    x, weight = Tensor(array(4, (3, 4)), requires_grad=True), Tensor(array(5, (4,)), requires_grad=True)
    LayerNorm.apply(x, weight, Tensor(np.zeros(4, np.float32))).sum().backward()
    alone = Tensor(weight.numpy(), requires_grad=True)
    LayerNorm.apply(Tensor(x.numpy()), alone, Tensor(np.zeros(4, np.float32))).sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), alone.grad.numpy())
    bias = Tensor(np.zeros(4, np.float32), requires_grad=True)
    LayerNorm.apply(Tensor(x.numpy()), Tensor(weight.numpy()), bias).sum().backward()
    np.testing.assert_array_equal(bias.grad.numpy(), np.full(4, 3, np.float32))


def correlate(x, weight, bias, stride, padding, dilation, groups):
    """Convolution in float64, a window at a time."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    high, wide = (dilation[k] * (weight.shape[2 + k] - 1) + 1 for k in (0, 1))
    sides = [(x.shape[2 + k] - (high, wide)[k]) // stride[k] + 1 for k in (0, 1)]
    out, each = np.empty((len(x), len(weight), *sides)), len(weight) // groups
    for o, i, j in np.ndindex(out.shape[1:]):
        first = o // each * weight.shape[1]
        window = x[:, first:first + weight.shape[1], i * stride[0]:i * stride[0] + high:dilation[0], j * stride[1]:j * stride[1] + wide:dilation[1]]
        out[:, o, i, j] = (window * weight[o]).sum((1, 2, 3)) + bias[o]
    return out


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": (1, 0)}, {"dilation": (1, 2), "padding": 1}, {"groups": 2}])
def test_conv2d_and_its_gradients(backend, options):
    groups = options.get("groups", 1)
    operands = [array(1, (2, 4, 7, 6)), array(2, (6, 4 // groups, 3, 2)), array(3, (6,))]
    tensors = [Tensor(x, requires_grad=True) for x in operands]
    y = Conv2d.apply(*tensors, **options)
    pairs = {"groups": groups} | {k: (v, v) if isinstance(v, int) else v
                                  for k, v in ({"stride": 1, "padding": 0, "dilation": 1} | options).items() if k != "groups"}
    exact = [x.astype(np.float64) for x in operands]
    np.testing.assert_allclose(y.numpy(), correlate(*exact, **pairs), rtol=1e-5, atol=1e-5)
    grad = array(4, y.shape)
    y.backward(grad)
    for k, tensor in enumerate(tensors):
        towards = array(5 + k, tensor.shape)
        slope = inner(grad, differences(lambda v, k=k: correlate(*exact[:k], v, *exact[k + 1:], **pairs), exact[k], towards))
        assert inner(tensor.grad.numpy(), towards) == pytest.approx(slope, rel=1e-4, abs=1e-3)
    x, weight = Tensor(operands[0]), Tensor(operands[1], requires_grad=True)
    Conv2d.apply(x, weight, **options).backward(grad)
    np.testing.assert_array_equal(weight.grad.numpy(), tensors[1].grad.numpy())


def test_conv2d_of_what_does_not_fit(backend):
    x, weight, bias = array(1, (1, 4, 5, 5)), array(2, (6, 4, 3, 3)), array(3, (6,))
    for bad, options in (((x[0], weight, bias), {}), ((x, weight[:, :2], bias), {}), ((x, weight, bias[:2]), {}), ((x, weight, bias), {"groups": 2})):
        with pytest.raises(ShapeError, match=r"wants \(N, C, H, W\), \(O, C / groups, KH, KW\) and \(O,\)"):
            Conv2d.apply(*map(Tensor, bad), **options)
    with pytest.raises(ShapeError, match="a window of 9 is larger than 5 with 1 of padding"):
        Conv2d.apply(*map(Tensor, (x, weight, bias)), padding=1, dilation=4)
    with pytest.raises(DTypeError, match="Conv2d takes float32 or float16, got float64"):
        Conv2d.apply(*(Tensor(v.astype(np.float64)) for v in (x, weight)))


@pytest.mark.parametrize("options", [{"kernel": 2}, {"kernel": (3, 2), "stride": 1, "padding": (1, 0)}])
def test_max_pool_and_its_gradient(backend, options):
    x = Tensor(array(1, (2, 3, 6, 7)), requires_grad=True)
    y = MaxPool2d.apply(x, **options)
    (high, wide), (up, left) = (options["kernel"],) * 2 if isinstance(options["kernel"], int) else options["kernel"], options.get("padding", (0, 0))
    step = options.get("stride", 2)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (up, up), (left, left)), constant_values=-np.inf)
    wanted = np.zeros(padded.shape, np.float32)
    for n, c, i, j in np.ndindex(y.shape):
        window = padded[n, c, i * step:i * step + high, j * step:j * step + wide]
        assert y.numpy()[n, c, i, j] == window.max()
        at = np.unravel_index(window.argmax(), window.shape)
        wanted[n, c, i * step + at[0], j * step + at[1]] += 1
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), wanted[:, :, up:up + 6, left:left + 7])
    with pytest.raises(ShapeError, match=r"MaxPool2d takes images \(N, C, H, W\), got shape \(2, 3\)"):
        MaxPool2d.apply(Tensor(array(1, (2, 3))), **options)


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 7), (0, 7)])
def test_linear_is_a_product_a_bias_and_an_activation(backend, activation, shape):
    steps = {None: lambda y: y, "relu": relu, "gelu": gelu, "gelu_tanh": lambda y: gelu(y, "tanh"), "silu": silu}
    operands = [array(1, shape), array(2, (9, 7)), array(3, (9,))]
    whole, apart = ([Tensor(v, requires_grad=True) for v in operands] for _ in range(2))
    y = Linear.apply(*whole, activation=activation)
    wanted = steps[activation](apart[0] @ apart[1].T + apart[2])
    np.testing.assert_allclose(y.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-5)
    grad = array(4, y.shape)
    y.backward(grad)
    wanted.backward(grad)
    for a, b in zip(whole, apart, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-5)
    x, weight = (Tensor(v, requires_grad=True) for v in operands[:2])
    Linear.apply(x, weight, activation="relu").backward(grad)
    still = Linear.apply(Tensor(operands[0]), Tensor(operands[1]), Tensor(operands[2], requires_grad=True), activation=activation)
    still.backward(grad)
    half = Linear.apply(*(Tensor(v.astype(np.float16)) for v in operands), activation=activation)
    np.testing.assert_allclose(half.numpy(), wanted.numpy(), rtol=0.02, atol=0.02)


def test_linear_of_what_does_not_fit(backend):
    x, weight, bias = array(1, (3, 4)), array(2, (5, 4)), array(3, (5,))
    for bad in ((x, weight.T, bias), (x, weight, bias[:4]), (x[0, 0, ...], weight, bias), (x, weight[0], bias)):
        with pytest.raises(ShapeError, match=r"wants \(\.\.\., K\), \(O, K\) and \(O,\)"):
            Linear.apply(*(Tensor(np.asarray(v)) for v in bad))
    with pytest.raises(ValueError, match="unknown activation 'tanh': choose from relu, gelu, gelu_tanh, silu"):
        Linear.apply(*map(Tensor, (x, weight, bias)), activation="tanh")
    with pytest.raises(DTypeError, match="Linear takes float32 or float16, got float64"):
        Linear.apply(Tensor(x.astype(np.float64)), Tensor(weight))


@pytest.mark.parametrize("options", [{"kernel": 2}, {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 0)}])
def test_avg_pool_and_its_gradient(backend, options):
    x = Tensor(array(1, (2, 3, 6, 7)), requires_grad=True)
    y = AvgPool2d.apply(x, **options)
    (high, wide), (up, left) = np.broadcast_to(options["kernel"], 2), options.get("padding", (0, 0))
    down, right = options.get("stride", (high, wide))
    padded, share = np.pad(x.numpy(), ((0, 0), (0, 0), (up, up), (left, left))), np.zeros((6 + 2 * up, 7 + 2 * left))
    for i, j in np.ndindex(y.shape[2:]):
        window = np.s_[i * down:i * down + high, j * right:j * right + wide]
        np.testing.assert_allclose(y.numpy()[:, :, i, j], padded[:, :, *window].mean((2, 3)), atol=1e-6)
        share[window] += 1 / (high * wide)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(share[up:up + 6, left:left + 7], x.shape), rtol=1e-6)
    with pytest.raises(ShapeError, match=r"AvgPool2d takes images \(N, C, H, W\), got shape \(2, 3\)"):
        AvgPool2d.apply(Tensor(array(1, (2, 3))), **options)


def channels(x, weight, bias, mean=None, var=None):
    """Batch norm in float64."""
    mean, var = (x.mean((0, 2, 3)), x.var((0, 2, 3))) if mean is None else (mean, var)
    mean, var, weight, bias = (np.reshape(v, (-1, 1, 1)) for v in (mean, var, weight, bias))
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_and_its_gradients(backend, training):
    operands = [array(1, (4, 3, 5, 6)), array(2, (3,)), array(3, (3,))]
    running = [array(4, (3,)), np.abs(array(5, (3,))) + 1]
    before = [r.copy() for r in running]
    tensors = [Tensor(x, requires_grad=True) for x in operands]
    y = BatchNorm2d.apply(*tensors, running=running, training=training, momentum=0.25)
    exact, fixed = [x.astype(np.float64) for x in operands], () if training else before
    np.testing.assert_allclose(y.numpy(), channels(*exact, *fixed), rtol=1e-4, atol=1e-5)
    moved = [0.75 * before[0] + 0.25 * exact[0].mean((0, 2, 3)), 0.75 * before[1] + 0.25 * exact[0].var((0, 2, 3), ddof=1)]
    for got, wanted in zip(running, moved if training else before, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
    grad = array(6, y.shape)
    for array_in_use in running:
        array_in_use[:] = 7                    # what the backward pass needs is its own
    y.backward(grad)
    for k, tensor in enumerate(tensors):
        towards = array(7 + k, tensor.shape)
        slope = inner(grad, differences(lambda v, k=k: channels(*exact[:k], v, *exact[k + 1:], *fixed), exact[k], towards))
        assert inner(tensor.grad.numpy(), towards) == pytest.approx(slope, rel=1e-3, abs=1e-2)


def test_batch_norm_of_what_does_not_fit(backend):
    x, weight = Tensor(array(1, (2, 3, 2, 2))), Tensor(array(2, (3,)))
    with pytest.raises(ShapeError, match=r"takes x \(N, C, H, W\), weight and bias \(C,\); got \(2, 3, 2, 2\), \(3,\) and \(2,\)"):
        BatchNorm2d.apply(x, weight, Tensor(array(3, (2,))))
    with pytest.raises(ValueError, match="a variance wants two numbers or more a channel"):
        BatchNorm2d.apply(Tensor(array(1, (1, 3, 1, 1))), weight, weight)
    with pytest.raises(ValueError, match="the mean and variance to use are to be given as running"):
        BatchNorm2d.apply(x, weight, weight, training=False)
    with pytest.raises(ShapeError, match=r"running is a pair of float32 arrays of shape \(3,\), got"):
        BatchNorm2d.apply(x, weight, weight, running=[np.zeros(3), np.ones(3)])
    with pytest.raises(DTypeError, match="BatchNorm2d takes float32 or float16, got float64"):
        BatchNorm2d.apply(*(Tensor(v.numpy().astype(np.float64)) for v in (x, weight, weight)))


def test_rms_norm_is_what_its_steps_are(backend):
    """Forward and gradients, against the same formula in operations of module 01."""
    grads = []
    for fused in (True, False):
        x, weight = (Tensor(array(seed, shape), requires_grad=True) for seed, shape in ((1, (5, 3, 8)), (2, (8,))))
        y = RMSNorm.apply(x, weight, eps=1e-3) if fused else x / ((x * x).mean(-1, keepdims=True) + 1e-3) ** 0.5 * weight
        (y * Tensor(array(3, y.shape))).sum().backward()
        grads.append((y.numpy(), x.grad.numpy(), weight.grad.numpy()))
    for ours, steps in zip(*grads, strict=True):
        np.testing.assert_allclose(ours, steps, rtol=1e-4, atol=1e-5)
    with pytest.raises(ShapeError, match=r"x of shape \(5, 3, 8\) wants a weight of its last axis, got \(5,\)"):
        RMSNorm.apply(x, Tensor(array(1, (5,))))
