# Exported from modules/tinytorch/09_convolutions by `mlsys build`; edit the module's source, not this file.

"""Convolutions: windows over images, their products with filters, pooling, and batch normalisation.

    Conv2d, MaxPool2d, AvgPool2d, BatchNorm2d, Flatten, ResidualBlock     modules on images (N, C, H, W)
    output_size, receptive_field, conv_cost                               what a layer makes, sees and costs

Options kernel, stride, padding and dilation are numbers or pairs (height, width). As everywhere in this field, the
product is a correlation: filters are not turned round.

Errors, each one line: ShapeError (a window that does not fit, channels that do not), ValueError (an option out of
range), TypeError (an option that is no integer).
"""

import math
import operator

import numpy as np

from tinytorch.activations import relu
from tinytorch.layers import Module, Parameter, Sequential, uniform_
from tinytorch.tensor import Function, ShapeError, float32, ones, zeros


def wide(array):
    """array in the precision in which sums are formed: float16 becomes float32."""
    return array.astype(float32) if array.dtype == np.float16 else array


def output_size(length, kernel, stride=1, padding=0, dilation=1):
    """How many places a window of `kernel` numbers has along an axis of `length`, padded by `padding` on either side.

    Raises ShapeError, with the reach of the window and length, if it has none.
    """
    reach = dilation * (kernel - 1) + 1
    if length + 2 * padding < reach:
        raise ShapeError(f"a window that reaches over {reach} does not fit a length of {length} "
                         f"with {padding} of padding on either side")
    return (length + 2 * padding - reach) // stride + 1


def pair(name, value, least):
    """An option for both axes, from one number or two. Raises TypeError or ValueError unless they are integers >= least."""
    values = value if isinstance(value, tuple | list) else (value, value)
    try:
        values = tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(f"{name} is a whole number or a pair of them, got {value!r}") from None
    if len(values) != 2 or min(values) < least:
        raise ValueError(f"{name} is a whole number from {least} up or a pair of them, got {value!r}")
    return values


def windows(x, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), fill=0):
    """Every window of images x (N, C, H, W), padded with fill, as a view (N, C, OH, OW, KH, KW). All options are pairs."""
    ph, pw = padding
    if ph or pw:
        x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    return view[:, :, ::stride[0], ::stride[1], ::dilation[0], ::dilation[1]]


def correlate(x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Correlate x (N, C, H, W) with weight (O, C / groups, KH, KW) -> (N, O, OH, OW). Work 2 N O OH OW C KH KW / groups.

    Options but groups are pairs. Holds every window as a row of a matrix: KH KW times the images, if the stride is 1.
    """
    view = windows(x, weight.shape[2:], stride, padding, dilation)
    N, C, OH, OW, KH, KW = view.shape
    rows = view.reshape(N, groups, C // groups, OH, OW, KH, KW).transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, N * OH * OW, -1)
    filters = weight.reshape(groups, len(weight) // groups, -1).swapaxes(1, 2)
    return (rows @ filters).reshape(groups, N, OH, OW, -1).transpose(1, 0, 4, 2, 3).reshape(N, len(weight), OH, OW)


def weight_grad(x, grad, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """The gradient for the weight (O, C / groups, *kernel) of correlate, given that of its result, (N, O, OH, OW)."""
    view = windows(x, kernel, stride, padding, dilation)
    N, C, OH, OW, KH, KW = view.shape
    outputs = grad.shape[1]
    rows = view.reshape(N, groups, C // groups, OH, OW, KH, KW).transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, N * OH * OW, -1)
    pulls = grad.reshape(N, groups, outputs // groups, OH * OW).transpose(1, 2, 0, 3).reshape(groups, outputs // groups, N * OH * OW)
    return (pulls @ rows).reshape(outputs, C // groups, KH, KW)


def input_grad(grad, weight, shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """The gradient for the images of correlate, of this shape (N, C, H, W), given that of its result, (N, O, OH, OW)."""
    (N, C, H, W), (OH, OW) = shape, grad.shape[2:]
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    result = np.zeros((N, C, H + 2 * ph, W + 2 * pw), grad.dtype)
    pulls = grad.reshape(N, groups, -1, OH * OW)
    filters = weight.reshape(groups, len(weight) // groups, C // groups, *weight.shape[2:])
    for u in range(weight.shape[2]):
        for v in range(weight.shape[3]):
            part = (filters[:, :, :, u, v].swapaxes(1, 2) @ pulls).reshape(N, C, OH, OW)
            top, left = u * dh, v * dw
            result[:, :, top:top + sh * (OH - 1) + 1:sh, left:left + sw * (OW - 1) + 1:sw] += part
    return result[:, :, ph:ph + H, pw:pw + W]


class Correlate(Function):
    """correlate and a bias (O,), as one operation: (x, weight) or (x, weight, bias) -> (N, O, OH, OW)."""

    def forward(self, x, weight, *bias, **options):
        y = correlate(wide(x), wide(weight), **options)
        if bias:
            y = y + wide(bias[0])[:, None, None]
        return y.astype(x.dtype, copy=False)

    def backward(self, grad):
        x, weight = (wide(a).astype(grad.dtype, copy=False) for a in self.saved[:2])
        parts = [None, None]
        if self.wants[0]:
            parts[0] = input_grad(grad, weight, x.shape, **self.params)
        if self.wants[1]:
            parts[1] = weight_grad(x, grad, weight.shape[2:], **self.params)
        return (*parts, grad.sum(axis=(0, 2, 3)))[:len(self.wants)]


class Conv2d(Module):
    """Images x (N, in_channels, H, W) -> (N, out_channels, OH, OW).

    weight (out_channels, in_channels / groups, KH, KW) and bias (out_channels,) or None start uniform between
    ±1/sqrt(fan_in). Raises ShapeError for images of other channels, or smaller than the window; ValueError for options out
    of range.
    """

    def __init__(self, in_channels, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1, bias=True, rng=None,
                 dtype=float32):
        super().__init__()
        if min(in_channels, out_channels, groups) < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups divides in_channels and out_channels, all from 1 up; got {groups} groups for "
                             f"{in_channels} and {out_channels} channels")
        self.kernel = pair("kernel", kernel, 1)
        self.options = {"stride": pair("stride", stride, 1), "padding": pair("padding", padding, 0),
                        "dilation": pair("dilation", dilation, 1), "groups": groups}
        shape = out_channels, in_channels // groups, *self.kernel
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = uniform_(Parameter(zeros(shape, dtype)), -bound, bound, rng)
        self.bias = uniform_(Parameter(zeros(out_channels, dtype)), -bound, bound, rng) if bias else None

    def forward(self, x):
        channels = self.weight.shape[1] * self.options["groups"]
        if x.ndim != 4 or x.shape[1] != channels:
            raise ShapeError(f"Conv2d takes images (N, {channels}, H, W), got shape {x.shape}")
        for length, kernel, *option in zip(x.shape[2:], self.kernel, *list(self.options.values())[:3], strict=True):
            output_size(length, kernel, *option)
        bias = () if self.bias is None else (self.bias,)
        return Correlate.apply(x, self.weight, *bias, **self.options)

    def extra_repr(self):
        channels = self.weight.shape[1] * self.options["groups"]
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"{channels}, {len(self.weight)}, kernel={self.kernel}{options}, bias={self.bias is not None}"


class Flatten(Module):
    """All axes of each example as one: (N, C, H, W) -> (N, C H W). What stands between convolutions and a Linear."""

    def forward(self, x):
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def max_pool(x, kernel, stride, padding=(0, 0)):
    """The largest number of each window of x (N, C, H, W), and its place in the plane -> two arrays (N, C, OH, OW).

    All options are pairs. Of equal numbers the first is taken; NaN is the largest.
    """
    H, W = x.shape[2:]
    size = kernel[0] * kernel[1]
    view = windows(x, kernel, stride, padding, fill=-np.inf)
    plane = windows(np.arange(H * W).reshape(1, 1, H, W), kernel, stride, padding, fill=-1)
    numbers = view.reshape(*view.shape[:4], size)
    places = np.broadcast_to(plane.reshape(1, 1, *view.shape[2:4], size), numbers.shape)
    first = np.broadcast_to((places >= 0).argmax(-1), numbers.shape[:4])
    best = numbers.argmax(-1)[..., None]
    best = np.where(np.take_along_axis(numbers, best, -1) == -np.inf, first[..., None], best)
    return tuple(np.take_along_axis(a, best, -1)[..., 0] for a in (numbers, places))


def max_pool_grad(grad, places, shape):
    """The gradient for the images (N, C, H, W) of max_pool, given that of its result and the places of the largest."""
    result = np.zeros((shape[0] * shape[1], shape[2] * shape[3]), grad.dtype)
    planes = np.arange(len(result))[:, None]
    np.add.at(result, (planes, places.reshape(len(result), grad.shape[2] * grad.shape[3])), grad.reshape(len(result), -1))
    return result.reshape(shape)


def pooling(kernel, stride=None, padding=0):
    """Options of a pooling as pairs; windows lie side by side unless there is a stride."""
    kernel = pair("kernel", kernel, 1)
    options = {"kernel": kernel, "stride": kernel if stride is None else pair("stride", stride, 1),
               "padding": pair("padding", padding, 0)}
    if any(2 * p > k for p, k in zip(options["padding"], kernel, strict=True)):
        raise ValueError(f"padding is at most half of the kernel {kernel}, got {options['padding']}")
    return options


class MaxPool(Function):
    """max_pool as an operation."""

    needs = ((),)

    def forward(self, x, **options):
        values, self.places = max_pool(x, **options)
        return values

    def backward(self, grad):
        return (max_pool_grad(grad, self.places, self.shapes[0]),)


class AvgPool(Function):
    """The mean of every window. Zeros of the padding count, as in PyTorch unless it is told otherwise."""

    needs = ((),)

    def forward(self, x, **options):
        return windows(wide(x), **options).mean(axis=(4, 5)).astype(x.dtype, copy=False)

    def backward(self, grad):
        channels, (KH, KW) = self.shapes[0][1], self.params["kernel"]
        share = np.full((channels, 1, KH, KW), 1 / (KH * KW), grad.dtype)
        return (input_grad(grad, share, self.shapes[0], self.params["stride"], self.params["padding"], groups=channels),)


class Pool2d(Module):
    """What the two poolings of images (N, C, H, W) share: options, and the errors for images that do not fit."""

    def __init__(self, kernel, stride=None, padding=0):
        super().__init__()
        self.options = pooling(kernel, stride, padding)

    def forward(self, x):
        if x.ndim != 4:
            raise ShapeError(f"{type(self).__name__} takes images (N, C, H, W), got shape {x.shape}")
        for length, kernel, stride, padding in zip(x.shape[2:], *self.options.values(), strict=True):
            output_size(length, kernel, stride, padding)
        return self.function.apply(x, **self.options)

    def extra_repr(self):
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


class MaxPool2d(Pool2d):
    """The largest number of each window. Raises ShapeError if no window fits, ValueError for options out of range."""

    function = MaxPool


class AvgPool2d(Pool2d):
    """The mean of each window, zeros of the padding among them. Errors as MaxPool2d's."""

    function = AvgPool


def spread(values):
    """values (C,) as an array that broadcasts over images (N, C, H, W)."""
    return values[:, None, None]


class Normalise(Function):
    """(x - mean) / sqrt(var + eps) * weight + bias by channel. training says whether mean and var were computed from x."""

    needs = ((0, 1), (0,), ())

    def forward(self, x, weight, bias, mean, var, eps, training):
        y = (wide(x) - spread(mean)) / np.sqrt(spread(var) + eps) * spread(wide(weight)) + spread(wide(bias))
        return y.astype(x.dtype, copy=False)

    def backward(self, grad):
        mean, var, eps, training = (self.params[k] for k in ("mean", "var", "eps", "training"))
        x, weight = (None if a is None else wide(a).astype(grad.dtype, copy=False) for a in self.saved[:2])
        x = np.broadcast_to(spread(mean), self.shapes[0]) if x is None else x  # only the bias wants a gradient
        weight = np.ones(len(mean), grad.dtype) if weight is None else weight
        return batch_norm_grad(x, grad, weight, mean.astype(grad.dtype), var.astype(grad.dtype), eps, training)


class BatchNorm2d(Module):
    """Each channel of images (N, C, H, W) to mean 0 and variance 1, times weight, plus bias, both (C,).

    In training by the statistics of the batch, which also move the buffers running_mean and running_var (divided by n - 1)
    by momentum; in evaluation by the buffers. Raises ShapeError for other channels, ValueError, with the shape, for fewer
    than two numbers a channel in training. Source: Ioffe and Szegedy 2015.
    """

    def __init__(self, channels, momentum=0.1, eps=1e-5, dtype=float32):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = Parameter(ones(channels, dtype)), Parameter(zeros(channels, dtype))
        self.register_buffer("running_mean", zeros(channels, dtype))
        self.register_buffer("running_var", ones(channels, dtype))

    def forward(self, x):
        if x.ndim != 4 or x.shape[1] != self.weight.numel():
            raise ShapeError(f"BatchNorm2d takes images (N, {self.weight.numel()}, H, W), got shape {x.shape}")
        mean, var = self.running_mean.numpy().copy(), self.running_var.numpy().copy()
        if self.training:
            count = x.numel() // x.shape[1]
            if count < 2:
                raise ValueError(f"a variance wants two numbers or more a channel, got x of shape {x.shape}")
            numbers = wide(x.numpy())
            old_mean, old_var = mean, var
            mean, var = numbers.mean(axis=(0, 2, 3)), numbers.var(axis=(0, 2, 3))
            self.running_mean.copy_(old_mean + self.momentum * (mean - old_mean))
            self.running_var.copy_(old_var + self.momentum * (var * (count / (count - 1)) - old_var))
        return Normalise.apply(x, self.weight, self.bias, mean=mean, var=var, eps=self.eps, training=self.training)

    def extra_repr(self):
        return f"{self.weight.numel()}, momentum={self.momentum}, eps={self.eps}"


def batch_norm_grad(x, grad, weight, mean, var, eps, training):
    """The gradients for x, weight and bias of a batch normalisation that used mean and var (C,), the batch's if training."""
    sigma = np.sqrt(spread(var) + grad.dtype.type(eps))
    h = (x - spread(mean)) / sigma
    dbias, dweight = grad.sum(axis=(0, 2, 3)), (grad * h).sum(axis=(0, 2, 3))
    if training:
        n = grad.dtype.type(x.size // x.shape[1])
        grad = grad - spread(dbias / n) - h * spread(dweight / n)
    return grad * (spread(weight) / sigma), dweight, dbias


def receptive_field(layers):
    """How many pixels along an axis one number sees, after layers given as (kernel, stride, dilation), first to last."""
    field, jump = 1, 1
    for kernel, stride, dilation in layers:
        field += dilation * (kernel - 1) * jump
        jump *= stride
    return field


def conv_cost(shape, out_channels, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Parameters with a bias, and FLOP without it, of a convolution of images of shape (N, C, H, W) -> (int, int)."""
    N, C, H, W = shape
    OH, OW = ((n + 2 * p - d * (k - 1) - 1) // s + 1
              for n, k, s, p, d in zip((H, W), kernel, stride, padding, dilation, strict=True))
    weights = out_channels * (C // groups) * kernel[0] * kernel[1]
    return weights + out_channels, 2 * N * OH * OW * weights


class ResidualBlock(Module):
    """relu(F(x) + x), where F is two 3 × 3 convolutions, each with batch normalisation, and a ReLU between them.

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)). Where the shape changes, a 1 × 1
    convolution with batch normalisation stands in for x. Source: He et al. 2016.
    """

    def __init__(self, in_channels, out_channels, stride=1, rng=None, dtype=float32):
        super().__init__()
        self.body = Sequential(
            Conv2d(in_channels, out_channels, 3, stride, 1, bias=False, rng=rng, dtype=dtype), BatchNorm2d(out_channels, dtype=dtype),
            relu,
            Conv2d(out_channels, out_channels, 3, 1, 1, bias=False, rng=rng, dtype=dtype), BatchNorm2d(out_channels, dtype=dtype))
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = Sequential(Conv2d(in_channels, out_channels, 1, stride, bias=False, rng=rng, dtype=dtype),
                                       BatchNorm2d(out_channels, dtype=dtype))

    def forward(self, x):
        return relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))
